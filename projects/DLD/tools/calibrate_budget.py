#!/usr/bin/env python
"""Store a wanted mean cost with the weights of a spotter that chooses its scale; see `--help`."""

import sys

from dld.cli.openmp import wait_briefly

wait_briefly()

from dld.cli.calibrate import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main())
