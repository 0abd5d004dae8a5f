"""What is written in each format is found out to be of it, and comes back with its text, outline and don't-care flag."""

import json

import numpy as np
import pytest
from PIL import Image

from dld.data.annotation import ImageAnnotation, TextAnnotation
from dld.data.label_formats.collection import collect_labels
from dld.data.label_formats.registry import LABEL_FORMATS

BENT = [[10, 60], [30.25, 40], [60, 35.5], [90, 41], [111.13, 60], [100, 75], [85, 60], [60, 55], [35, 58], [20, 77]]
WORDS = [
    ([[10, 10], [60.5, 8], [61, 30], [9.75, 31]], "Slow", False),
    (BENT, 'A <b> & "c", \\ 100% é 中文', False),
    ([[70, 5], [110, 5], [110, 25], [70, 25]], "doubtful", True),
    ([[1, 1], [8, 1], [8, 6], [1, 6]], "", True),
    ([[40, 2], [50, 2], [50, 6]], "###", True),
    ([[-3.5, 80], [130, 80], [130, 88], [-3.5, 88]], "longer than the twenty-five characters of one format", False),
    ([[13, 62], [21, 62], [21, 70], [13, 70]], "ignore", False),
]


@pytest.fixture
def photos(tmp_path):
    """Pictures of 120 x 90 with names that need care."""
    folder = tmp_path / "my photos"
    for name in NAMES:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (120, 90)).save(folder / name)
    return folder


NAMES = ("a b.jpg", "deep/er/x+y%20.png", "deep/größe#1.png")


def images():
    words = [[TextAnnotation(np.array(p, float), text, ignore) for p, text, ignore in WORDS], [], []]
    words[2] = words[0][:1]
    return [ImageAnnotation(name, name, 120, 90, w) for name, w in zip(NAMES, words, strict=True)]


@pytest.mark.parametrize("name", LABEL_FORMATS)
@pytest.mark.parametrize("named", [True, False])
def test_text_outline_and_flag_come_back(photos, tmp_path, name, named):
    label_format = LABEL_FORMATS[name]
    path = tmp_path / "labels" if label_format.per_image else tmp_path / f"labels{label_format.ending}"
    label_format.write(path, images(), photos)
    found, collection = collect_labels([path], [photos], name if named else None)
    assert found == name and collection.sources == {n: photos / n for n in NAMES}
    read = {image.file_name: image for image in collection.images}
    for image in images():
        again = read[image.file_name]
        assert (again.width, again.height) == (120, 90) and len(again.words) == len(image.words)
        for word, expected in zip(again.words, image.words, strict=True):
            # percent of the width and back: the sixth decimal
            assert np.abs(word.polygon - expected.polygon).max() <= (1e-6 if name == "label-studio" else 0)
            assert word.ignore == expected.ignore
            # "###" stands for "no text", and may be read as one or the other
            assert word.text == expected.text or {word.text, expected.text} <= {"", "###"}


@pytest.mark.parametrize("name", [name for name in LABEL_FORMATS if LABEL_FORMATS[name].ending == ".json"])
def test_each_json_is_of_one_format_only(photos, tmp_path, name):
    LABEL_FORMATS[name].write(tmp_path / "labels", images(), photos) if name == "labelme" else None
    path = tmp_path / "labels.json" if name != "labelme" else tmp_path / "labels" / "a b.json"
    if name != "labelme":
        LABEL_FORMATS[name].write(path, images(), photos)
    content = json.loads(path.read_text(encoding="utf-8"))
    assert [f.name for f in LABEL_FORMATS.values() if f.ending == ".json" and f.fits(content)] == [name]


@pytest.mark.parametrize("name", ["coco", "adelaidet"])
def test_pycocotools_reads_what_was_written(photos, tmp_path, name, capsys):
    coco = pytest.importorskip("pycocotools.coco")
    LABEL_FORMATS[name].write(tmp_path / "labels.json", images(), photos)
    read = coco.COCO(str(tmp_path / "labels.json"))
    capsys.readouterr()
    assert [image["file_name"] for image in read.loadImgs(read.getImgIds())] == list(NAMES)
    assert len(read.getAnnIds(imgIds=[1])) == len(WORDS) and len(read.getAnnIds(imgIds=[1], iscrowd=True)) == 3
    pixels = int(read.annToMask(read.loadAnns(read.getAnnIds(imgIds=[3]))[0]).sum())
    assert pixels == pytest.approx(1094, abs=20)  # of the first word, by the shoelace formula
