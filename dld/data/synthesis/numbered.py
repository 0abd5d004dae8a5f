"""Generated data sets by number: items are made on demand, and an index gives the same item wherever it is asked for."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import cv2
import torch.utils.data

__all__ = ["TRAIN_LENGTH", "NumberedDataset"]

TRAIN_LENGTH = 10_000_000


class NumberedDataset(torch.utils.data.Dataset, ABC):
    """Items by index; the item of an index is the same in every process, worker and order of access.

    Args:
        split: "train" or "val".
        length: number of items; None: 10,000,000 or `val_length`.
        config: what they look like; None: the defaults of `config_type`.
        name: prefix of file names and image ids, which are virtual.

    Attributes:
        kind: beginning of the default name.
        unit: what an item is called in errors, plural.

    Raises:
        ValueError: an unknown split or a length below 1.
    """

    kind: str
    unit: str
    val_length: int
    config_type: type

    def __init__(
        self, split: str = "train", length: int | None = None, config: Any | None = None, name: str | None = None
    ) -> None:
        if split not in ("train", "val"):
            raise ValueError(f"split {split!r} is neither 'train' nor 'val'")
        self.split = split
        self.length = (TRAIN_LENGTH if split == "train" else self.val_length) if length is None else length
        if self.length < 1:
            raise ValueError(f"length {self.length} of {self.kind} {split} is below 1")
        self.config = config or self.config_type()
        self.name = name or f"{self.kind}_{split}"
        self._in_worker = False

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return :meth:`item` of an index, which may count from the end.

        Raises:
            IndexError: there is no such item.
        """
        if index < 0:
            index += self.length
        if not 0 <= index < self.length:
            raise IndexError(f"{self.name} has {self.length} {self.unit}, there is no number {index}")
        if not self._in_worker and torch.utils.data.get_worker_info() is not None:
            cv2.setNumThreads(0)  # workers are the parallelism; OpenCV's own threads would fight them for the cores
            self._in_worker = True
        return self.item(index)

    @abstractmethod
    def item(self, index: int) -> dict[str, Any]:
        """Make the item of an index from 0 to `length` - 1."""
