"""SynthText: converted once, then read record by record."""

import pickle

import numpy as np
import pytest
from detectron2.data import DatasetCatalog, get_detection_dataset_dicts
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from dld.data.datasets.builtin import register_all
from dld.data.datasets.synth_text import SynthTextRecords, convert_synth_text, words_from_matlab


def corners(x, y, w=10, h=4):
    return np.array([[x, x + w, x + w, x], [y, y, y + h, y + h]], dtype=float)


BOXES = [
    np.stack([corners(1, 1), corners(20, 1), corners(1, 10)], axis=2),
    corners(3.123456, 5),  # one word: Matlab drops the last dimension
    np.stack([corners(-30, 1), corners(20, 1)], axis=2),
]
TEXTS = [["Lines:\nLost  ", "'Kevin "], ["Ünö"], ["out in"]]
NAMES = ["1/ant_0.jpg", "1/ant_1.jpg", "2/bee_0.jpg"]


def write_release(root, boxes=BOXES, texts=TEXTS, characters=None):
    io = pytest.importorskip("scipy.io")

    def cells(values):
        row = np.empty((1, len(values)), dtype=object)
        row[0] = [None] * len(values)
        for i, value in enumerate(values):
            row[0, i] = value
        return row

    for i, name in enumerate(NAMES):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (60 + i, 40)).save(root / name)
    io.savemat(
        root / "gt.mat",
        {
            "imnames": cells([np.array([n]) for n in NAMES]),
            "wordBB": cells(boxes),
            "txt": cells([np.array(t) for t in texts]),
            **({} if characters is None else {"charBB": cells(characters)}),
        },
    )
    return root


@pytest.fixture
def converted(tmp_path):
    release = write_release(tmp_path / "SynthText")
    counts = convert_synth_text(release / "gt.mat", release, tmp_path / "synthtext_train")
    (tmp_path / "synthtext_train" / "images").symlink_to(release, target_is_directory=True)
    return tmp_path, counts


def test_records_say_what_the_matlab_file_says(converted):
    root, counts = converted
    assert (counts.images, counts.words, counts.outside, counts.ignored) == (3, 6, 1, 1)
    assert {p.name for p in (root / "synthtext_train").iterdir()} == {"annotations.jsonl", "annotations.npy", "images"}
    records = SynthTextRecords(root / "synthtext_train", root / "images")
    assert len(records) == 3
    first, second, third = (records[i] for i in range(3))
    assert [a["text"] for a in first["annotations"]] == ["Lines:", "Lost", "'Kevin"]
    assert first["annotations"][1]["polygon"].tolist() == [[20, 1], [30, 1], [30, 5], [20, 5]]
    assert (first["image_id"], first["width"], first["height"]) == ("1/ant_0", 60, 40)
    assert first["file_name"] == str(root / "images" / "1" / "ant_0.jpg")
    assert [a["text"] for a in second["annotations"]] == ["Ünö"]
    assert second["annotations"][0]["polygon"][0].tolist() == pytest.approx([3.12, 5])
    assert [a["ignore"] for a in third["annotations"]] == [True, False]
    assert records[-1]["image_id"] == third["image_id"]
    with pytest.raises(IndexError):
        records[3]


def test_the_registered_data_set_streams_and_works_in_workers(converted, monkeypatch):
    root, _ = converted
    register_all()
    monkeypatch.setenv("DETECTRON2_DATASETS", str(root))
    records = DatasetCatalog.get("synthtext_train")
    assert isinstance(records, Dataset)
    assert isinstance(get_detection_dataset_dicts(["synthtext_train"]), Dataset)  # detectron2 leaves it streamed
    expected = [records[i]["image_id"] for i in range(3)]  # opened here, used in forked workers
    loader = DataLoader(records, batch_size=None, num_workers=2)
    assert [r["image_id"] for r in loader] == expected
    assert pickle.loads(pickle.dumps(records))[1]["image_id"] == expected[1]


def test_what_a_pickle_carries_does_not_grow_with_the_data_set(converted):
    root, _ = converted
    assert len(pickle.dumps(SynthTextRecords(root / "synthtext_train", root / "images"))) < 1000


def test_an_index_of_another_file_is_refused(converted):
    root, _ = converted
    with open(root / "synthtext_train" / "annotations.jsonl", "ab") as file:
        file.write(b"{}\n")
    with pytest.raises(ValueError, match="is not the index"):
        SynthTextRecords(root / "synthtext_train", root / "images")


def test_words_that_do_not_fit_their_boxes_are_named(tmp_path):
    release = write_release(tmp_path, texts=[TEXTS[0], ["two words"], TEXTS[2]])
    with pytest.raises(ValueError, match=r"gt\.mat: image 1 \(1/ant_1\.jpg\): 1 boxes but 2 words"):
        convert_synth_text(release / "gt.mat", release, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_a_missing_image_or_file_is_named(tmp_path):
    release = write_release(tmp_path)
    (release / NAMES[2]).unlink()
    with pytest.raises(FileNotFoundError, match=r"bee_0\.jpg"):
        convert_synth_text(release / "gt.mat", release, tmp_path / "out")
    with pytest.raises(FileNotFoundError, match=r"other\.mat"):
        convert_synth_text(tmp_path / "other.mat", release, tmp_path / "out")
    (tmp_path / "gt.mat").write_bytes(b"not matlab" * 50)
    with pytest.raises(ValueError, match=r"gt\.mat: expected SynthText"):
        convert_synth_text(tmp_path / "gt.mat", release, tmp_path / "out")


def test_one_word_in_matlabs_dropped_dimension():
    (word,) = words_from_matlab(corners(1, 2), np.array(["a"]))
    assert word.polygon.tolist() == [[1, 2], [11, 2], [11, 6], [1, 6]]
    with pytest.raises(ValueError, match="wordBB"):
        words_from_matlab(np.zeros((4, 2, 1)), np.array(["a"]))


def test_characters_are_kept_where_they_fit_their_words(tmp_path):
    def row(start, count):
        return np.stack([corners(start + 2 * i + 0.04, 1, 2) for i in range(count)], axis=2)

    known = [np.concatenate([row(0, 6), row(20, 4), row(40, 6)], axis=2), row(0, 3), row(0, 5)]
    known[1][0, 0, 0] = np.nan
    release = write_release(tmp_path / "SynthText", boxes=[*BOXES[:2], BOXES[2] + 30], characters=known)
    records = tmp_path / "out"
    counts = convert_synth_text(release / "gt.mat", release, records)
    assert counts.without_characters == 1 and "characters of 1 words did not fit" in str(counts)
    first, second, third = (SynthTextRecords(records, release)[i]["annotations"] for i in range(3))
    assert [word["characters"].shape for word in first] == [(6, 4, 2), (4, 4, 2), (6, 4, 2)]
    np.testing.assert_allclose(first[1]["characters"][3], [[26, 1], [28, 1], [28, 5], [26, 5]])
    assert "characters" not in second[0], "a corner is nowhere"
    assert [len(word["characters"]) for word in third] == [3, 2]
    words = words_from_matlab(BOXES[0], np.array(TEXTS[0]), row(0, 15))
    assert [word.characters for word in words] == [None, None, None], "16 characters, 15 places"


def test_characters_of_other_images_are_refused(tmp_path):
    cells = [np.zeros((2, 4, 16)), np.zeros((2, 4, 3))]
    release = write_release(tmp_path)
    from scipy.io import loadmat, savemat

    table = {key: value for key, value in loadmat(str(release / "gt.mat")).items() if not key.startswith("__")}
    row = np.empty((1, 2), dtype=object)
    row[0, 0], row[0, 1] = cells
    savemat(release / "gt.mat", {**table, "charBB": row})
    with pytest.raises(ValueError, match=r"gt\.mat: charBB is of 2 images, not of 3"):
        convert_synth_text(release / "gt.mat", release, tmp_path / "out")
