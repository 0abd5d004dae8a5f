#!/usr/bin/env python
"""Read the words in pictures; see `--help`."""

import sys

from dld.cli.openmp import wait_briefly

wait_briefly()

from dld.cli.spot import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main())
