#!/usr/bin/env python
"""Accuracy against cost of a teacher and its students, as table, json and picture; see `--help`."""

import sys

from dld.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["analyze", *sys.argv[1:]]))
