#!/usr/bin/env python
"""Train, distil and evaluate text spotters; see `--help` and projects/DLD/README.md."""

import os
import sys

# set before torch is loaded: threads that spin while they wait slow each other down on shared cores
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

from dld.cli.train import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main())
