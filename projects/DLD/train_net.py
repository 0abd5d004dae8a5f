#!/usr/bin/env python
"""Train, distil and evaluate text spotters; see `--help` and projects/DLD/README.md."""

import sys

from dld.cli.openmp import wait_briefly

wait_briefly()

from dld.cli.train import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main())
