#!/usr/bin/env python
"""Find every bad polygon, unknown character and unreadable image of a data set, and count; see --help."""

import sys

from dld.cli.check import main

if __name__ == "__main__":
    sys.exit(main())
