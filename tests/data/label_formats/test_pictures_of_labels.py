"""Labels and their pictures: found whatever path the tool wrote, in the pixels that training sees, or refused by name."""

import json

import numpy as np
import pytest
from PIL import Image

from dld.data.label_formats.bezier import bezier_outline, fit_bezier
from dld.data.label_formats.collection import collect_labels
from dld.data.label_formats.pictures import PictureFinder, plain_name

WORD = {"transcription": "a", "points": [[10, 20], [30, 20], [30, 40], [10, 40]], "difficult": False}


def picture(path, width=120, height=80, orientation=1):
    path.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.new("RGB", (width, height)).save(path, exif=exif)
    return path


def label_txt(folder, *names):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "Label.txt").write_text("".join(f"{name}\t{json.dumps([WORD])}\n" for name in names), encoding="utf-8")
    return [folder / "Label.txt"]


def mmocr(path, name, width, height):
    instances = [{"polygon": [10, 20, 30, 20, 30, 40, 10, 40], "text": "a", "ignore": False}]
    item = {"img_path": name, "width": width, "height": height, "instances": instances}
    path.write_text(json.dumps({"metainfo": {}, "data_list": [item]}))
    return [path]


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("a.jpg", "a.jpg"),
        ("C:\\Users\\me\\photos\\day 1\\a.jpg", "Users/me/photos/day 1/a.jpg"),
        ("../images/a.jpg", "images/a.jpg"),
        ("/data/local-files/?d=photos/day%201/x%2By.jpg", "photos/day 1/x+y.jpg"),
        ("https://host:8080/data/upload/1/ab12cd34-a%20b.jpg?token=1", "data/upload/1/ab12cd34-a b.jpg"),
        ("s3://bucket/day/a.jpg", "day/a.jpg"),
        ("what?.jpg", "what?.jpg"),
    ],
)
def test_the_path_in_a_name(written, name):
    assert plain_name(written) == name


def test_the_longest_end_of_a_path_counts_and_nothing_outside_is_found(tmp_path):
    photos = tmp_path / "photos"
    for name in ("a.jpg", "day/a.jpg", "b (1).jpg", "deadbeef.jpg"):
        picture(photos / name)
    picture(tmp_path / "secret.jpg")
    find = PictureFinder([photos]).find
    assert [str(find(name)[1]) for name in ("x/day/a.jpg", "/else/a.jpg", "/data/upload/3/1a2b3c4d-a.jpg")] == [
        "day/a.jpg",
        "a.jpg",
        "a.jpg",
    ]
    assert str(find("/data/upload/3/1a2b3c4d-b_1.jpg")[1]) == "b (1).jpg" and str(find("deadbeef.jpg")[1]) == "deadbeef.jpg"
    assert find("../secret.jpg") is None and find(str(tmp_path / "secret.jpg")) is None and find("") is None
    picture(photos / "day" / "only.jpg")
    assert str(PictureFinder([photos]).find("C:\\x\\only.jpg")[1]) == "day/only.jpg"


def test_the_picture_beside_its_label_file_is_meant(tmp_path):
    for day in ("1", "2"):
        picture(tmp_path / day / "a.jpg")
    find = PictureFinder([tmp_path]).find
    assert str(find("a.jpg", tmp_path / "2" / "a.json")[1]) == "2/a.jpg"
    assert str(find("..\\1\\a.jpg", tmp_path / "2" / "a.json")[1]) == "1/a.jpg"
    assert find("a.jpg", tmp_path / "a.json") is None  # which of the two?
    assert PictureFinder([tmp_path / "1"]).find("../2/b.jpg", tmp_path / "1" / "b.json") is None


def test_the_size_says_which_pixels_were_labelled(tmp_path):
    picture(tmp_path / "photos" / "a.jpg", 120, 80, orientation=6)  # stored 120 x 80, shown 80 x 120
    for size, box in (((80, 120), [10, 20, 30, 40]), ((120, 80), [40, 10, 60, 30])):
        _, collection = collect_labels(mmocr(tmp_path / "l.json", "a.jpg", *size), [tmp_path / "photos"])
        (image,) = collection.images
        assert (image.width, image.height) == (80, 120)
        assert [*image.words[0].polygon.min(0), *image.words[0].polygon.max(0)] == box
        assert "EXIF rotation (a.jpg)" in collection.notes[0]
    _, collection = collect_labels(label_txt(tmp_path, "a.jpg"), [tmp_path / "photos"])
    assert collection.images[0].words[0].polygon[0].tolist() == [10, 20]  # PPOCRLabel shows pictures upright
    with pytest.raises(ValueError, match=r"l.json: data_list\[0\]: labels of 60 x 40 pixels, but .*a.jpg has 80 x 120"):
        collect_labels(mmocr(tmp_path / "l.json", "a.jpg", 60, 40), [tmp_path / "photos"])


def test_missing_double_and_unlabelled_pictures_are_said(tmp_path):
    photos = tmp_path / "photos"
    for name in ("a.jpg", "a.png", "deep/c.jpg"):
        picture(photos / name)
    labels = label_txt(tmp_path, "photos/a.jpg", "photos/gone.jpg", "photos/a.png")
    with pytest.raises(FileNotFoundError, match=r"1 of 3 pictures .* the first is 'photos/gone.jpg' \(.*Label.txt: line 2\)"):
        collect_labels(labels, [photos])
    _, collection = collect_labels(labels, [photos], allow_missing=True)
    assert [image.image_id for image in collection.images] == ["a.jpg", "a.png"]
    assert any("left out, their pictures are not there: photos/gone.jpg" in note for note in collection.notes)
    assert any("1 pictures have no labels and are left out: c.jpg" in note for note in collection.notes)
    with pytest.raises(ValueError, match=r"Label.txt: line 2: .*a.jpg has labels already in .*Label.txt: line 1"):
        collect_labels(label_txt(tmp_path, "x/a.jpg", "y/a.jpg"), [photos])


def test_a_bent_word_and_its_curves_have_one_shape():
    import shapely

    at = np.linspace(7 / 6 * np.pi, 11 / 6 * np.pi, 7)
    upper = np.stack([100 + 80 * np.cos(at), 100 + 80 * np.sin(at)], 1)
    lower = np.stack([100 + 55 * np.cos(at), 100 + 55 * np.sin(at)], 1)[::-1]
    outline = np.concatenate([upper, lower])
    for points in (outline, outline[::-1], np.roll(outline, 5, axis=0)):
        control = fit_bezier(points)
        found, given = shapely.Polygon(bezier_outline(control)), shapely.Polygon(outline)
        assert found.intersection(given).area / found.union(given).area > 0.95
        assert np.allclose(control[[0, 3, 4, 7]], [upper[0], upper[-1], lower[0], lower[-1]])


def test_a_quadrangle_and_its_curves_are_one():
    quad = np.array([[137, 142], [239, 139], [237, 197], [133, 194]], float)
    assert bezier_outline(fit_bezier(quad)).tolist() == quad.tolist()
    flat = np.array([[0, 0], [10, 0], [20, 0.0]])
    assert np.isfinite(fit_bezier(flat)).all()
