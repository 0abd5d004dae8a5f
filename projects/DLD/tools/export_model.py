#!/usr/bin/env python
"""Write a trained spotter as ONNX graphs and compare them with PyTorch; see `--help`."""

import os
import sys

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

from dld.cli.export import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main())
