#!/usr/bin/env python
"""Find every bad polygon, unknown character and unreadable image of a data set, and count; see --help."""

import sys

from dld.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["check", *sys.argv[1:]]))
