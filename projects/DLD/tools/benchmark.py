#!/usr/bin/env python
"""Measure speed on this machine; see `--help`."""

import os
import sys

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

from dld.cli.benchmark import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main())
