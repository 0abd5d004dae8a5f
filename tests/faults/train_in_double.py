"""train_net.py with all arithmetic of Python's side in float64: what differs between two runs then is not rounding.

A file of its own, and patched on import, since processes that are spawned import it again.
"""

import os
import sys

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import torch  # noqa: E402
from detectron2.structures import Boxes  # noqa: E402

from dld.cli.train import main  # noqa: E402


def _boxes(self: Boxes, tensor) -> None:
    self.tensor = torch.as_tensor(tensor).double().reshape(-1, 4)


torch.set_default_dtype(torch.float64)
torch.Tensor.float = torch.Tensor.double  # losses ask for float32 by name
Boxes.__init__ = _boxes

if __name__ == "__main__":
    sys.exit(main())
