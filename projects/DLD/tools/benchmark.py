#!/usr/bin/env python
"""Measure speed on this machine; see `--help`."""

import sys

from dld.cli.openmp import wait_briefly

wait_briefly()

from dld.cli.benchmark import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main())
