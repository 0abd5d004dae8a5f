#!/usr/bin/env python
"""Put a load on `dld serve`; see `--help`."""

import sys

from dld.cli.openmp import wait_briefly

wait_briefly()  # before torch is imported

from dld.cli.load_server import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main())
