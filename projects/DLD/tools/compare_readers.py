#!/usr/bin/env python
"""Compare our spotters with RapidOCR and tesseract; see `--help`."""

import sys

from dld.cli.openmp import wait_briefly

wait_briefly()

from dld.cli.compare import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main())
