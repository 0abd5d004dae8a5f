#!/usr/bin/env python
"""Label photos with what a spotter reads on them; see `--help`."""

import sys

from dld.cli.openmp import wait_briefly

wait_briefly()

from dld.cli.label import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main())
