#!/usr/bin/env python
"""Fit the resolution selector of a trained student for any gamma; see `--help`."""

import os
import sys

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

from dld.cli.fit import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main())
