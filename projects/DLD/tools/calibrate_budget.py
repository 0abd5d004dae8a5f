#!/usr/bin/env python
"""Store a wanted mean cost with the weights of a spotter that chooses its scale; see `--help`."""

import os
import sys

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

from dld.cli.calibrate import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main())
