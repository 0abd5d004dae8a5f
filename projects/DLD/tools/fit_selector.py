#!/usr/bin/env python
"""Fit the resolution selector of a trained student for any gamma; see `--help`."""

import sys

from dld.cli.openmp import wait_briefly

wait_briefly()

from dld.cli.fit import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main())
