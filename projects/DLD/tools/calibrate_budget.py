#!/usr/bin/env python
"""Store a wanted mean cost with the weights of a spotter that chooses its scale; see `--help`."""

import sys

from dld.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["calibrate", *sys.argv[1:]]))
