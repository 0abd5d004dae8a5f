"""The resize in numpy is the one that the networks were trained behind."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from dld.runtime.antialias import resize_antialiased, triangle_weights


def test_weights_of_four_samples_reduced_to_two():
    """Triangles of half-width 2 about 1 and 3; samples stand at 0.5, 1.5, 2.5, 3.5. Cut at the border: 3 + 3 + 1 = 7."""
    index, weights = triangle_weights(4, 2)
    dense = np.zeros((2, 4))
    for i, w in zip(index, weights, strict=True):
        dense[[0, 1], i] += w
    np.testing.assert_allclose(dense, [[3 / 7, 3 / 7, 1 / 7, 0], [0, 1 / 7, 3 / 7, 3 / 7]], atol=1e-7)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ((37, 53), (11, 16)),
        ((64, 48), (32, 24)),
        ((20, 31), (19, 31)),
        ((640, 1037), (449, 726)),
        ((9, 7), (18, 13)),
        ((5, 1), (1, 1)),
    ],
)
def test_equal_to_torch(before, after):
    image = np.random.default_rng(0).normal(size=(3, *before)).astype(np.float32)
    wanted = F.interpolate(torch.from_numpy(image)[None], size=after, mode="bilinear", align_corners=False, antialias=True)
    found = resize_antialiased(image, after)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, wanted[0].numpy(), atol=2e-6)


def test_the_same_size_is_the_same_array():
    image = np.ones((3, 4, 5), np.float32)
    assert resize_antialiased(image, (4, 5)) is image
