#!/usr/bin/env python
"""Score predictions by an official protocol; see `--help`."""

import sys

from dld.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["evaluate", *sys.argv[1:]]))
