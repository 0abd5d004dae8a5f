#!/usr/bin/env python
"""Read the words in pictures; see `--help`."""

import os
import sys

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

from dld.cli.spot import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main())
