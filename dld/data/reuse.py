"""Use every generated picture several times: rendering one can cost more than a small model's step on it."""

from __future__ import annotations

from collections import OrderedDict

from torch.utils.data import Dataset

__all__ = ["ReusedPictures"]


class ReusedPictures(Dataset):
    """A streamed data set read in blocks of `pool` pictures, each block `times` times over before the next begins.

    Element i is picture (i // (times pool)) pool + i mod pool of the data set, so it depends on i alone, a batch of up to
    `pool` holds no picture twice, and one process that reads on in order renders every picture once. What is read in
    order by W worker processes in turn is rendered by each of them that meets it, min(W, times) times at most.

    Args:
        pictures: data set whose elements are costly and of no order; as long as before.
        times: how often each is used; the augmentation makes another view of it every time.
        pool: pictures kept in memory.

    Raises:
        ValueError: times or pool below 1.
    """

    def __init__(self, pictures: Dataset, times: int, pool: int = 32) -> None:
        if times < 1 or pool < 1:
            raise ValueError(f"DATASETS.SYNTHWORDS.REUSE must be at least 1, got {times} (with a pool of {pool})")
        self.pictures, self.times, self.pool = pictures, times, pool
        self._kept: OrderedDict[int, dict] = OrderedDict()

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, index: int) -> dict:
        chosen = index // (self.times * self.pool) * self.pool + index % self.pool
        if chosen not in self._kept:
            self._kept[chosen] = self.pictures[chosen]
            if len(self._kept) > self.pool:
                self._kept.popitem(last=False)
        return self._kept[chosen]
