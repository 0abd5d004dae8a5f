"""`dld://NAME` wherever a path of weights is asked for: `MODEL.WEIGHTS dld://teacher_tiny`.

Importing this module registers the prefix with detectron2's PathManager, which detectron2's checkpointers ask for files.
"""

from __future__ import annotations

from pathlib import Path

from detectron2.utils.file_io import PathManager
from iopath.common.file_io import PathHandler

from dld.model_zoo import PREFIX, find_weights

__all__ = ["PREFIX", "ShippedWeights"]


class ShippedWeights(PathHandler):
    """Files of shipped weights by name; their hash is compared every time one is asked for.

    Raises:
        KeyError: an unknown name; the message lists the known ones.  FileNotFoundError, ValueError: see
            :func:`dld.model_zoo.find_weights`.
    """

    def _get_supported_prefixes(self) -> list[str]:
        return [PREFIX]

    def _get_local_path(self, path: str, force: bool = False, **kwargs) -> str:
        return find_weights(path, readers=True)  # whoever asks, for a spotter or a reader

    def _isfile(self, path: str, **kwargs) -> bool:
        # an unknown name is an error that lists the known ones, not a file that happens to be missing
        return Path(self._get_local_path(path)).is_file()

    _exists = _isfile

    def _open(self, path: str, mode: str = "r", buffering: int = -1, **kwargs):
        if mode not in ("r", "rb"):
            raise ValueError(f"{path} is shipped with the package and is only read, not opened with mode {mode!r}")
        return open(self._get_local_path(path), mode, buffering)


PathManager.register_handler(ShippedWeights(), allow_override=True)
