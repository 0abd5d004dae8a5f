#!/usr/bin/env python
"""Accuracy against cost of a teacher and its students, as table, json and picture; see `--help`."""

import os
import sys

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

from dld.cli.analyze import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main())
