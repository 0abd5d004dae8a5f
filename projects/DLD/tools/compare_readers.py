#!/usr/bin/env python
"""Compare our spotters with RapidOCR and tesseract; see `--help`."""

import sys

from dld.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["compare", *sys.argv[1:]]))
