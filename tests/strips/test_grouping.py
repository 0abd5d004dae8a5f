"""Strips in batches of one padded width."""

import numpy as np

from dld.strips.cutting import MOST_HEIGHTS
from dld.strips.grouping import PADDED_WIDTHS, StripSize, padded_widths, strip_batches
from dld.strips.heights import FORMS, MARGIN

WIDEST = MOST_HEIGHTS * 40 + 2 * MARGIN


def strips_of(widths, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 256, (48, w, 3), np.uint8) for w in widths]


def batches_of(strips):
    return strip_batches(strips, [StripSize(48, int(w)) for w in padded_widths([s.shape[1] for s in strips])])


def test_padded_widths_are_the_smallest_that_hold():
    assert all(w % 8 == 0 for w in PADDED_WIDTHS) and list(PADDED_WIDTHS) == sorted(PADDED_WIDTHS)
    assert PADDED_WIDTHS[-1] == WIDEST == 808
    widths = np.arange(1, WIDEST + 1)
    assert padded_widths(widths).tolist() == [min(p for p in PADDED_WIDTHS if p >= w) for w in widths]
    assert padded_widths([]).shape == (0,)


def test_each_strip_is_in_one_batch_normalised_and_padded_with_0():
    strips = strips_of(np.random.default_rng(3).integers(28, WIDEST + 1, 60))
    seen = []
    for positions, pixels in batches_of(strips):
        assert pixels.dtype == np.float32 and pixels.shape[:2] == (len(positions), 48) and pixels.shape[3] == 3
        assert pixels.shape[2] in PADDED_WIDTHS
        for i, row in zip(positions, pixels, strict=True):
            width = strips[i].shape[1]
            np.testing.assert_allclose(row[:, :width], strips[i] / 127.5 - 1, atol=1e-6)
            assert not row[:, width:].any()
        seen += positions.tolist()
    assert sorted(seen) == list(range(60))


def test_black_is_minus_one_and_white_is_one():
    strip = np.zeros((48, 96, 3), np.uint8)
    strip[:, 48:] = 255
    ((_, pixels),) = batches_of([strip])
    assert (pixels[0, :, :48] == -1).all()
    np.testing.assert_allclose(pixels[0, :, 48:], 1, atol=1e-6)


def test_a_strip_is_padded_the_same_in_any_company():
    strips = strips_of([30, 100, 150, 400, 808, 96, 97])
    together = {i: row for positions, pixels in batches_of(strips) for i, row in zip(positions, pixels, strict=True)}
    for i, strip in enumerate(strips):
        ((positions, pixels),) = batches_of([strip])
        assert positions.tolist() == [0]
        np.testing.assert_array_equal(pixels[0], together[i])


def test_batches_are_bounded_and_hold_what_they_may():
    widths = [28] * 200 + [808] * 25 + [300] * 50
    shapes = [pixels.shape for _, pixels in batches_of(strips_of(widths))]
    assert all(n * w <= 8192 for n, _, w, _ in shapes)
    # of 96 columns 85 fit, of 416 19, of 808 10: three batches of each, as even as can be, the largest first
    assert [(n, w) for n, _, w, _ in shapes] == [
        *[(9, 808), (17, 416), (17, 416), (16, 416), (8, 808), (8, 808)],
        *[(67, 96), (67, 96), (66, 96)],
    ]


def test_two_readers_get_batches_of_about_half_of_the_work():
    sizes = [StripSize(48, 96)] * 7 + [StripSize(48, 160)] + [StripSize(48, 256)] * 2
    strips = [np.zeros((48, size.width, 3), np.uint8) for size in sizes]
    batches = list(strip_batches(strips, sizes, readers=2))
    # 1,344 columns, of which seven words of 96 fill a half
    assert [(len(at), pixels.shape[2]) for at, pixels in batches] == [(7, 96), (2, 256), (1, 160)]
    assert sorted(i for at, _ in batches for i in at.tolist()) == list(range(10))
    alone = list(strip_batches(strips[:5], sizes[:5], readers=2))
    assert [len(at) for at, _ in alone] == [3, 2]
    low = [StripSize(24, 96)] * 4 + [StripSize(48, 96)]
    mixed = list(strip_batches([np.zeros((s.rows, 48, 3), np.uint8) for s in low], low, readers=2))
    assert [(len(at), pixels.shape[1]) for at, pixels in mixed] == [(4, 24), (1, 48)]


def test_no_strip():
    assert list(strip_batches([], [])) == []


def test_every_height_is_padded_to_whole_columns_of_text():
    """As many of them as 48 rows have, so that all heights can be compared column by column."""
    for form in FORMS.values():
        for width in PADDED_WIDTHS:
            columns = int(form.columns(width))
            assert columns == width * form.share and columns == 4 * form.pooled * (width // 8)


def test_a_batch_holds_one_height():
    sizes = [StripSize(rows, 160) for rows in (24, 48, 16, 24, 32)]
    strips = [np.full((s.rows, int(FORMS[s.rows].columns(150)), 3), 255, np.uint8) for s in sizes]
    found = {}
    for positions, pixels in strip_batches(strips, sizes):
        (rows,) = {sizes[i].rows for i in positions}
        assert pixels.shape == (len(positions), rows, int(FORMS[rows].columns(160)), 3)
        found[rows] = positions.tolist()
    assert found == {16: [2], 24: [0, 3], 32: [4], 48: [1]}
