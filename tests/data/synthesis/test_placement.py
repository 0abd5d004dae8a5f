"""Signs get places that are free, for as long as there are any."""

import numpy as np

from dld.data.synthesis.placement import FreeRoom


def test_places_never_overlap_and_stay_inside():
    rng, room, taken = np.random.default_rng(0), FreeRoom(160, 120), np.zeros((120, 160), int)
    while (place := room.find(rng, 30, 14)) is not None:
        x, y = place
        assert 0 <= x <= 130 and 0 <= y <= 106
        taken[y : y + 14, x : x + 30] += 1
        room.take(x, y, x + 30, y + 14)
    assert taken.max() == 1
    assert taken.mean() > 0.25  # random packing on a grid; giving up at the first clash leaves a few percent


def test_no_place_for_what_is_larger_than_the_image():
    assert FreeRoom(100, 100).find(np.random.default_rng(0), 120, 20) is None


def test_the_last_gap_is_found():
    room = FreeRoom(100, 100)
    room.take(0, 0, 100, 60)
    x, y = room.find(np.random.default_rng(0), 90, 32)
    assert y >= 60


def test_rectangles_across_the_border_count_inside_only():
    room = FreeRoom(100, 100)
    assert room.is_free(-50, -50, 20, 20)
    room.take(-50, -50, 8, 8)
    assert not room.is_free(0, 0, 4, 4)
    assert room.is_free(12, 12, 300, 300)
