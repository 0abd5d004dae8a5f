#!/usr/bin/env python
"""Try a spotter in the browser; see `--help`."""

import sys

from dld.cli.openmp import wait_briefly

wait_briefly()

from dld.cli.app import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main())
