"""Training and test loaders whose order depends on a position alone, so that a run can be resumed anywhere."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence

import cv2
import numpy as np
import torch
from detectron2.data import DatasetCatalog, build_detection_test_loader
from torch.utils.data import DataLoader, Dataset, Sampler

from dld.data.dataset_mapper import TextDatasetMapper
from dld.data.datasets.builtin import check_known
from dld.data.reuse import ReusedPictures
from dld.data.synthesis.synthwords import SynthWordsDataset

__all__ = ["MixtureDataset", "PositionSampler", "build_test_loader", "build_train_loader", "get_text_dataset"]

logger = logging.getLogger(__name__)

# up to this size a data set is shuffled anew every epoch; beyond it (generated images) it is read in order
LARGEST_SHUFFLED = 2_000_000
BLOCK = 1000
ATTEMPTS = 10


def get_text_dataset(name: str):
    """Return the registered data set: a list of dicts or a map-style Dataset.

    Raises:
        KeyError: unknown name; the message lists the text data sets.
    """
    check_known(name)
    return DatasetCatalog.get(name)


class MixtureDataset(Dataset):
    """An endless sequence of training samples drawn from several data sets; sample p depends on seed and p alone.

    In every block of 1000 positions each data set has a fixed number of places, in random order; within a data set,
    images come in an order shuffled every epoch.

    Args:
        datasets: sequences of dataset dicts.
        weights: how often each is drawn, relative.
        mapper: called with a dict and a `numpy.random.Generator`.
        seed: of order and augmentation.

    Raises:
        ValueError: no images, or weights that do not fit the data sets.
    """

    def __init__(self, datasets: Sequence, weights: Sequence[float], mapper, seed: int) -> None:
        if not datasets or any(len(d) == 0 for d in datasets):
            raise ValueError("a training set has no images")
        weights = np.asarray(weights, dtype=np.float64)
        if weights.shape != (len(datasets),) or not (weights >= 0).all() or not weights.sum() > 0:
            raise ValueError(f"{len(datasets)} training sets need as many weights >= 0, got {weights.tolist()}")
        self.datasets, self.mapper, self.seed = list(datasets), mapper, seed
        exact = weights / weights.sum() * BLOCK
        # at least one place each: beside 800,000 generated images 229 photos would never be drawn
        self.places = np.maximum(np.floor(exact), weights > 0).astype(int)
        order = np.argsort(-(exact - self.places), kind="stable")
        self.places[order[: max(BLOCK - self.places.sum(), 0)]] += 1
        self.places[np.argmax(self.places)] += BLOCK - self.places.sum()
        self._block: tuple[int, np.ndarray] | None = None
        self._orders: dict[int, tuple[int, np.ndarray]] = {}

    def __len__(self) -> int:
        return 2**62

    def locate(self, position: int) -> tuple[int, int]:
        """Return the data set of a position and the index in it."""
        block, offset = divmod(position, BLOCK)
        if self._block is None or self._block[0] != block:
            kinds = np.repeat(np.arange(len(self.datasets)), self.places)
            self._block = (block, np.random.default_rng([self.seed, 1, block]).permutation(kinds))
        kinds = self._block[1]
        which = int(kinds[offset])
        drawn = block * int(self.places[which]) + int((kinds[:offset] == which).sum())
        return which, self._index(which, drawn)

    def _index(self, which: int, drawn: int) -> int:
        size = len(self.datasets[which])
        epoch, place = divmod(drawn, size)
        if size > LARGEST_SHUFFLED:
            return place
        if which not in self._orders or self._orders[which][0] != epoch:
            order = np.random.default_rng([self.seed, 2, which, epoch]).permutation(size)
            self._orders[which] = (epoch, order)
        return int(self._orders[which][1][place])

    def __getitem__(self, position: int) -> dict:
        rng = np.random.default_rng([self.seed, 3, position])
        which, index = self.locate(position)
        for _ in range(ATTEMPTS):
            try:
                return self.mapper(self.datasets[which][index], rng)
            except ValueError as error:
                logger.warning("skipped a training image: %s", error)
                index = int(rng.integers(len(self.datasets[which])))
                failure = error
        raise ValueError(f"{ATTEMPTS} training images in a row cannot be used, the last: {failure}")


class PositionSampler(Sampler):
    """Batches of positions for one process, from `start_iteration` on, without end.

    Args:
        batch: images per iteration over all processes.
        rank, world: of this process.
    """

    def __init__(self, batch: int, rank: int = 0, world: int = 1) -> None:
        if batch % world:
            raise ValueError(f"SOLVER.IMS_PER_BATCH = {batch} must be a multiple of the {world} processes")
        self.batch, self.rank, self.world = batch, rank, world
        self.start_iteration = 0

    def __iter__(self) -> Iterator[list[int]]:
        share = self.batch // self.world
        iteration = self.start_iteration
        while True:
            first = iteration * self.batch + self.rank * share
            yield list(range(first, first + share))
            iteration += 1


def as_list(batch: list) -> list:
    return batch


def start_worker(worker_id: int) -> None:
    # the workers are the parallelism; threads of their own would fight the training process for its cores
    cv2.setNumThreads(0)
    torch.set_num_threads(1)


def build_train_loader(cfg, rank: int = 0, world: int = 1, mapper=None) -> DataLoader:
    """Build the endless loader over `cfg.DATASETS.TRAIN`; `loader.batch_sampler.start_iteration` says where it begins."""
    names = list(cfg.DATASETS.TRAIN)
    if not names:
        raise ValueError("DATASETS.TRAIN is empty")
    datasets = [get_text_dataset(n) for n in names]
    if cfg.DATASETS.SYNTHWORDS.REUSE != 1:
        reuse = cfg.DATASETS.SYNTHWORDS.REUSE
        datasets = [ReusedPictures(d, reuse) if isinstance(d, SynthWordsDataset) else d for d in datasets]
    weights = list(cfg.DATASETS.TRAIN_WEIGHTS) or [len(d) for d in datasets]
    mapper = mapper or TextDatasetMapper(cfg, True)
    report_dont_care(names, datasets, mapper)
    dataset = MixtureDataset(datasets, weights, mapper, max(cfg.SEED, 0))
    workers = cfg.DATALOADER.NUM_WORKERS
    return DataLoader(
        dataset,
        batch_sampler=PositionSampler(cfg.SOLVER.IMS_PER_BATCH, rank, world),
        num_workers=workers,
        collate_fn=as_list,
        worker_init_fn=start_worker,
        prefetch_factor=4 if workers else None,
        persistent_workers=workers > 0,
    )


def report_dont_care(names: list[str], datasets: list, mapper: TextDatasetMapper) -> None:
    """Log once, for every data set held in memory, how many words are don't care and why."""
    for name, dataset in zip(names, datasets, strict=True):
        if not isinstance(dataset, list):
            logger.info("%s: %d images, generated or streamed", name, len(dataset))
            continue
        words = [a for d in dataset for a in d.get("annotations", ())]
        asked = sum(a["ignore"] for a in words)
        long = sum(not a["ignore"] and len(a["text"]) > mapper.max_length for a in words)
        unknown = sum(
            not a["ignore"] and len(a["text"]) <= mapper.max_length and not mapper.charset.covers(a["text"]) for a in words
        )
        logger.info(
            "%s: %d images, %d words; don't care: %d annotated so, %d longer than %d characters, %d outside the charset",
            name,
            len(dataset),
            len(words),
            asked,
            long,
            mapper.max_length,
            unknown,
        )


def build_test_loader(cfg, name: str, mapper=None) -> DataLoader:
    """Build the loader over one test set, split over the processes."""
    return build_detection_test_loader(
        get_text_dataset(name),
        mapper=mapper or TextDatasetMapper(cfg, False),
        num_workers=cfg.DATALOADER.NUM_WORKERS,
        batch_size=cfg.TEST.IMS_PER_BATCH,
    )
