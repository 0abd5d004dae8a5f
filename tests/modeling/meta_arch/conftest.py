import numpy as np
import pytest
from distilling import as_distiller

from dld.data.dataset_mapper import TextDatasetMapper


@pytest.fixture
def cfg(tiny_cfg):
    """Of the distiller."""
    return as_distiller(tiny_cfg)


@pytest.fixture
def make_batch(cfg, make_record):
    """Mapped training images from one pair of (words, ignored indices) each; odd ones stand on end if `sizes` differ."""

    def batch(*images, sizes=((96, 128),)):
        mapper, rng = TextDatasetMapper(cfg, True), np.random.default_rng(0)
        records = [
            make_record(words, *sizes[i % len(sizes)], ignore=ignore, seed=i) for i, (words, ignore) in enumerate(images)
        ]
        return [mapper(record, rng) for record in records]

    return batch
