#!/usr/bin/env python
"""Write a trained spotter as ONNX graphs and compare them with PyTorch; see `--help`."""

import sys

from dld.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["export", *sys.argv[1:]]))
