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


def write_release(root, boxes=BOXES, texts=TEXTS):
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
