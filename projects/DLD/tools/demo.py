#!/usr/bin/env python
"""Read the words in pictures; see `--help`."""

import sys

from dld.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["spot", *sys.argv[1:]]))
