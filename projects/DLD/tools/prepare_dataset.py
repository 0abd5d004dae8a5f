#!/usr/bin/env python
"""Turn an unpacked official data set into $DETECTRON2_DATASETS/NAME/{annotations.json,images/}; see --help."""

import sys

from dld.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["prepare", *sys.argv[1:]]))
