#!/usr/bin/env python
"""Compare our spotters with RapidOCR and tesseract; see `--help`."""

import os
import sys

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

from dld.cli.compare import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main())
