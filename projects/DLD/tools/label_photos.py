#!/usr/bin/env python
"""Label photos with what a spotter reads on them; see `--help`."""

import os
import sys

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

from dld.cli.label import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main())
