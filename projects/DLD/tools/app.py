#!/usr/bin/env python
"""Try a spotter in the browser; see `--help`."""

import os
import sys

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

from dld.cli.app import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main())
