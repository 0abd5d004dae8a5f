#!/usr/bin/env python
"""Label photos with what a spotter reads on them; see `--help`."""

import sys

from dld.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["label", *sys.argv[1:]]))
