"""Readers in turns on the same photos: who reads when, what is kept, and scores worked out by hand."""

from collections import Counter
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest

from dld.compare.run import PhotoSet, ReadingError, draw_readings, measure_readers, open_cache, reading_order, scored_entries
from dld.compare.table import comparison_rows, comparison_table
from dld.structures.words import SpottingResult, Word

# two photos: the first of two words, the second of one and a word that does not count
TRUTH = [
    [("stone", [10, 10, 60, 30], False), ("river", [10, 50, 60, 70], False)],
    [("EXIT", [10, 10, 60, 30], False), ("far", [80, 10, 100, 20], True)],
]


def corners(box):
    x0, y0, x1, y1 = box
    return np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]], dtype=np.float32)


class Reader:
    """Reads words that it was given for each photo, which it knows by the value of the first pixel."""

    def __init__(self, name, words, calls=None, scale=None):
        self.name, self.words, self.calls, self.scale = name, words, calls if calls is not None else [], scale
        self.about = {"reader": name, "versions": {name: "1"}}

    def __call__(self, pixels):
        photo = int(pixels[0, 0, 0])
        self.calls.append((self.name, photo))
        pixels[:] = 99  # a reader may do what it likes with its pixels
        words = [Word(text, corners(box)) for text, box in self.words[photo]]
        return SpottingResult(None, None, pixels.shape[1], pixels.shape[0], words, scale=self.scale)


@pytest.fixture
def photos(register_records, make_annotation):
    def record(i, words):
        image = np.full((80, 120, 3), i, np.uint8)
        annotations = [make_annotation(corners(box), text, ignore) for text, box, ignore in words]
        return {
            "file_name": f"{i}.png",
            "image_id": f"photo_{i}",
            "height": 80,
            "width": 120,
            "image": image,
            "annotations": annotations,
        }

    register_records("two_photos", [record(i, words) for i, words in enumerate(TRUTH)])
    return PhotoSet.open("two_photos")


@pytest.fixture
def readers():
    calls = []
    right = [[(text, box) for text, box, ignore in words if not ignore] for words in TRUTH]
    # misreads one of two, reads the second photo, and finds one in the don't-care word and one where nothing is
    poor = [
        [("stone", [10, 10, 60, 30]), ("diver", [12, 50, 60, 70])],
        [("exit", [10, 10, 60, 30]), ("x", [80, 10, 100, 20]), ("y", [80, 50, 100, 70])],
    ]
    return [Reader("right", right, calls, 0.5), Reader("poor", poor, calls), Reader("blind", [[], []], calls)]


def measured(photos, readers, folder, **options):
    cache = open_cache(folder, photos, readers, {"machine": "this one"})
    count = measure_readers(photos, readers, cache, **{"pause": 0.0, "warm_up": 0, **options})
    return cache, count


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_in_two_rounds_every_reader_has_every_place_twice(count):
    orders = [reading_order(count, index) for index in range(2 * count)]
    assert all(sorted(order) == list(range(count)) for order in orders)
    for place in range(count):
        assert Counter(order[place] for order in orders) == dict.fromkeys(range(count), 2)


@pytest.mark.parametrize("count", [2, 3, 4, 7])
def test_in_two_rounds_every_reader_follows_every_other_twice(count):
    after = Counter(pair for index in range(2 * count) for pair in pairwise(reading_order(count, index)))
    assert after == {(a, b): 2 for a in range(count) for b in range(count) if a != b}


def test_each_photo_is_read_by_all_before_the_next(photos, readers, tmp_path):
    seconds = iter([0.1, 0.2, 0.3, 0.4, 0.5, 0.6])

    def clock(call):
        call()
        return next(seconds)

    cache, count = measured(photos, readers, tmp_path, warm_up=1, clock=clock)
    calls = readers[0].calls
    assert calls[:3] == [("right", 0), ("poor", 0), ("blind", 0)]  # warm-up, not timed
    assert calls[3:] == [("right", 0), ("poor", 0), ("blind", 0), ("poor", 1), ("blind", 1), ("right", 1)]
    assert count == 2
    ms = {name: [cache[i]["readers"][name]["ms"] for i in (0, 1)] for name in ("right", "poor", "blind")}
    assert ms == {"right": [100, pytest.approx(600)], "poor": [200, 400], "blind": [300, 500]}


def test_scores_by_hand(photos, readers, tmp_path):
    cache, _ = measured(photos, readers, tmp_path, clock=lambda call: call() or 0.25)
    right, poor, blind = comparison_rows([cache[0], cache[1]], ["right", "poor", "blind"])
    assert right["counts"] == {"detection": [3, 3, 3], "e2e": [3, 3, 3], "word_spotting": [3, 3, 3]}
    # the word in the don't-care region is set aside: 4 detections, of which 3 find a word and 2 read it
    assert poor["counts"] == {"detection": [3, 4, 3], "e2e": [2, 4, 3], "word_spotting": [2, 4, 3]}
    assert poor["per_photo"]["counts"]["e2e"] == [[1, 2, 2], [1, 2, 1]] and poor["per_photo"]["words_found"] == [2, 3]
    assert poor["e2e_precision"] == 0.5 and poor["e2e_recall"] == pytest.approx(2 / 3)
    assert poor["e2e_hmean"] == pytest.approx(4 / 7) and poor["detection_hmean"] == pytest.approx(6 / 7)
    difference = poor["e2e_difference"]
    assert difference["to"] == "right" and difference["value"] == pytest.approx(4 / 7 - 1)
    # the three samples of two photos: the first twice, both, the second twice
    assert (difference["low"], difference["high"]) == pytest.approx((2 / 4 - 1, 4 / 6 - 1))
    assert right["e2e_difference"]["value"] == 0 and blind["e2e_hmean"] == 0
    assert (poor["words"], poor["words_found"], poor["ms_median"], poor["ms_mean"]) == (3, 5, 250, 250)
    assert (right["mean_scale"], poor["mean_scale"]) == (0.5, None)
    assert [row["per_photo"]["image_id"] for row in (right, poor)] == [["photo_0", "photo_1"]] * 2


def test_words_without_punctuation_are_counted_from_the_same_readings(photos, readers, tmp_path):
    words = readers[0].words
    readers[0].words = [[(f"{text}!", box) for text, box in of_photo] for of_photo in words]
    strict = PhotoSet.open("two_photos", punctuation="inner")
    cache, count = measured(strict, readers, tmp_path)
    assert count == 2 and strict.key() == photos.key()
    plain, again = scored_entries(photos, cache), scored_entries(strict, cache)
    for entries, right in (plain, 0), (again, 3):
        rows = comparison_rows(entries, ["right", "poor"])
        assert rows[0]["counts"]["e2e"] == [right, 3, 3] and rows[0]["counts"]["detection"] == [3, 3, 3]
        assert rows[1]["counts"]["e2e"] == [2, 4, 3]
    assert [e["readers"]["right"]["ms"] for e in plain] == [e["readers"]["right"]["ms"] for e in again]
    assert measured(photos, readers, tmp_path)[1] == 0


def test_the_table_shows_per_cent_and_milliseconds(photos, readers, tmp_path):
    cache, _ = measured(photos, readers, tmp_path, clock=lambda call: call() or 0.25)
    lines = comparison_table(comparison_rows([cache[0], cache[1]], ["right", "poor"])).splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert cells[2] == ["right", "100.0", "100.0 [100.0, 100.0]", "", "100.0", "3", "0.50", "250", "250"]
    assert cells[3] == ["poor", "85.7", "57.1 [50.0, 66.7]", "-42.9 [-50.0, -33.3]", "57.1", "5", "", "250", "250"]
    assert "e2e to right" in cells[0] and len(lines) == 4


def test_an_interrupted_comparison_goes_on_where_it_stopped(photos, readers, tmp_path):
    stopped = SimpleNamespace(photo=1)

    class Interrupted(Reader):
        def __call__(self, pixels):
            if pixels[0, 0, 0] == stopped.photo:
                raise KeyboardInterrupt
            return super().__call__(pixels)

    readers[2] = Interrupted("blind", [[], []], readers[0].calls)
    with pytest.raises(KeyboardInterrupt):
        measured(photos, readers, tmp_path)
    stopped.photo = None
    readers[0].calls.clear()
    cache, count = measured(photos, readers, tmp_path)
    assert count == 1 and {photo for _, photo in readers[0].calls} == {1} and len(cache) == 2
    assert measured(photos, readers, tmp_path)[1] == 0


def test_another_version_of_a_reader_is_another_comparison(photos, readers, tmp_path):
    measured(photos, readers, tmp_path)
    readers[1].about["versions"] = {"poor": "2"}
    assert measured(photos, readers, tmp_path)[1] == 2
    assert measured(photos, readers[:2], tmp_path)[1] == 2


def test_a_reader_that_fails_is_named_with_the_photo(photos, readers, tmp_path):
    readers[1].words = [readers[1].words[0]]
    with pytest.raises(ReadingError, match="poor failed on photo photo_1: IndexError"):
        measured(photos, readers, tmp_path)


def test_first_photos_are_drawn_with_the_words_of_each_reader(photos, readers, tmp_path):
    cache, _ = measured(photos, readers, tmp_path)
    assert draw_readings(photos, cache, tmp_path / "pictures", 1) == 3
    names = {path.name for path in (tmp_path / "pictures").iterdir()}
    assert names == {f"two_photos_photo_0_{name}.jpg" for name in ("right", "poor", "blind")}


def test_a_set_has_at_least_one_photo(photos):
    assert PhotoSet.open("two_photos", 1).count == 1 and PhotoSet.open("two_photos", 9).count == 2
    with pytest.raises(ValueError, match="has 2 images, -1 were asked for"):
        PhotoSet.open("two_photos", -1)
    with pytest.raises(KeyError, match="unknown data set 'none'"):
        PhotoSet.open("none")
