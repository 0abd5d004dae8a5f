#!/usr/bin/env python
"""Fit the resolution selector of a trained student for any gamma; see `--help`."""

import sys

from dld.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["fit", *sys.argv[1:]]))
