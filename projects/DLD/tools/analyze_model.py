#!/usr/bin/env python
"""Accuracy against cost of a teacher and its students, as table, json and picture; see `--help`."""

import sys

from dld.cli.openmp import wait_briefly

wait_briefly()

from dld.cli.analyze import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main())
