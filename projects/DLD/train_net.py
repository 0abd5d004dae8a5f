#!/usr/bin/env python
"""Train, distil and evaluate text spotters; see `--help` and projects/DLD/docs/training.md."""

import sys

from dld.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
