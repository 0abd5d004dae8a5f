"""Dynamic low-resolution distillation for text spotting, an extension of detectron2.

Importing this package imports neither torch nor detectron2; `dld.TextSpotter` is looked up when it is first used.
"""

import importlib

from dld.utils.primitive_cache import keep_compiled_layers
from dld.utils.user_name import name_the_user

__version__ = "0.1.0"
__all__ = ["TextSpotter", "__version__"]

name_the_user()
keep_compiled_layers()

_LAZY = {"TextSpotter": "dld.inference.predictor"}


def __getattr__(name: str):
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'dld' has no attribute {name!r}")
