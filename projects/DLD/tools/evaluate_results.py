#!/usr/bin/env python
"""Score predictions by an official protocol; see `dld.cli.evaluate`."""

import sys

from dld.cli.evaluate import main

if __name__ == "__main__":
    sys.exit(main())
