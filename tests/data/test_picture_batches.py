import numpy as np
import pytest

from dld.data.picture_batches import open_batch, path_of, read_in_batches, with_pixels
from dld.structures.words import SpottingResult


class Reader:
    """Gives back what it is handed, and notes how."""

    def __init__(self):
        self.calls = []

    def __call__(self, sources, first, keep):
        self.calls.append((list(sources), first, keep))
        return list(sources)


def test_one_a_list_and_a_stream_are_read_in_their_order():
    read = Reader()
    assert read_in_batches("a.jpg", 2, read) == "a.jpg"
    assert read_in_batches(["a", "b", "c"], 2, read) == ["a", "b", "c"]
    stream = read_in_batches(iter("abcde"), 2, read)
    assert len(read.calls) == 3, "nothing of a stream is read before it is asked for"
    assert next(stream) == "a" and next(stream) == "b" and len(read.calls) == 4
    assert list(stream) == ["c", "d", "e"]
    assert [first for _, first, _ in read.calls] == [None, 0, 2, 0, 2, 4]
    # pictures of a stream are let go
    assert [keep for *_, keep in read.calls] == [True, True, True, False, False, False]


@pytest.mark.parametrize("size", [0, -1, 1.5, True, "2"])
def test_batch_sizes_that_make_no_sense_are_refused(size):
    with pytest.raises(ValueError, match="batch_size must be a whole number from 1"):
        read_in_batches(["a"], size, Reader())


def test_the_picture_that_cannot_be_read_is_named_by_its_place():
    good, bad = np.zeros((4, 5, 3), np.uint8), np.zeros((4, 5, 7), np.uint8)
    assert [x.shape for x in open_batch([good, good], "BGR", 6)] == [(4, 5, 3)] * 2
    with pytest.raises(ValueError, match="^picture 7: "):
        open_batch([good, bad], "BGR", 6)
    with pytest.raises(ValueError, match="^(?!picture)"):
        open_batch([bad], "BGR", None)


def test_results_of_a_stream_reopen_files_and_forget_arrays(tmp_path):
    def result():
        return SpottingResult(None, None, 5, 4, [])

    array = np.full((4, 5, 3), 7, np.uint8)
    assert path_of(tmp_path / "a.png") == str(tmp_path / "a.png") and path_of(array) is None
    assert np.array_equal(with_pixels(result(), array, "BGR", keep=True).pixels(), array)
    assert with_pixels(result(), array, "BGR", keep=False).pixels is None
    assert with_pixels(result(), "a.png", "BGR", keep=False).pixels is not None
