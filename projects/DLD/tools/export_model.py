#!/usr/bin/env python
"""Write a trained spotter as ONNX graphs and compare them with PyTorch; see `--help`."""

import sys

from dld.cli.openmp import wait_briefly

wait_briefly()

from dld.cli.export import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main())
