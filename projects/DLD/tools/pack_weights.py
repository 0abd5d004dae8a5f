#!/usr/bin/env python
"""Pack a checkpoint for use; see `--help`."""

import sys

from dld.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["pack", *sys.argv[1:]]))
