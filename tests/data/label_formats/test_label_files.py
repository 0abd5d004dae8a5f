"""Files as the tools write them, worked out by hand, and broken ones."""

import json

import numpy as np
import pytest

from dld.data.label_formats.entry import Entry
from dld.data.label_formats.registry import LABEL_FORMATS, NoLabelsError, read_labels

QUAD = [[137, 142], [239, 139], [237, 197], [133, 194]]


@pytest.fixture
def read(tmp_path):
    """Read one file of this content; the images, and the notes."""

    def read(content, name="labels.json", label_format=None):
        text = content if isinstance(content, str) else json.dumps(content)
        (tmp_path / name).write_text(text, encoding="utf-8")
        _, labels, _ = read_labels([tmp_path / name], label_format)
        return labels

    return read


def words(labels):
    return [(w.text, w.ignore, w.polygon.tolist()) for image in labels.images for w in image.words]


def labelme(*shapes):
    return {"version": "5", "shapes": list(shapes), "imagePath": "..\\p\\a.jpg", "imageWidth": 640, "imageHeight": 480}


def shape(label, points=QUAD, **more):
    return {"label": label, "points": points, **more}


def test_labelme(read):
    labels = read(
        labelme(
            shape("Slow"),
            shape("word", description="Down", flags={"ignore": True}),
            shape("Ignore", description="faint"),
            shape("ignore"),
            shape("###"),
            shape("box", [[30, 20], [10, 5]], shape_type="rectangle"),
            shape("dot", [[3, 4]], shape_type="point"),
        )
    )
    box = [[10, 5], [30, 5], [30, 20], [10, 20]]
    assert words(labels) == [
        ("Slow", False, QUAD),
        ("Down", True, QUAD),
        ("faint", True, QUAD),
        ("ignore", False, QUAD),
        ("", True, QUAD),
        ("box", False, box),
    ]
    assert labels.images[0].size == (640, 480) and labels.images[0].name == "..\\p\\a.jpg"
    assert dict(labels.notes) == {"shapes of type point passed over: no outlines of words": 1}


CVAT = """<?xml version="1.0"?><annotations><version>1.1</version>
<image id="0" name="a.jpg" width="640" height="480">{}</image></annotations>"""
POINTS = 'points="137.00,142.00;239.00,139.00;237.00,197.00;133.00,194.00"'


def test_cvat(read):
    shapes = f"""<polygon label="word" {POINTS}><attribute name="text">Slow &amp; Co</attribute></polygon>
        <polyline label="ignore" {POINTS}><attribute name="Transcription">Down</attribute></polyline>
        <polygon label="word" {POINTS}/>
        <box label="text" xtl="10" ytl="20" xbr="30" ybr="24" rotation="90.0"><attribute name="value">7</attribute></box>
        <ellipse label="word" cx="1" cy="2" rx="3" ry="4"/><tag label="x"/>"""
    labels = read(CVAT.format(shapes), "a.xml")
    # the box of 20 x 4 turned by 90 degrees about its middle (20, 22): its top left corner comes to the top right
    turned = [[22, 12], [22, 32], [18, 32], [18, 12]]
    assert [w[:2] for w in words(labels)] == [("Slow & Co", False), ("Down", True), ("", True), ("7", False)]
    assert words(labels)[0][2] == QUAD and np.allclose(words(labels)[3][2], turned)
    assert dict(labels.notes) == {"shapes of type ellipse passed over: no outlines of words": 1}


def region(number, kind, value, **more):
    size = {"original_width": 640, "original_height": 480, "image_rotation": 0}
    return {**size, "id": f"r{number}", "type": kind, "value": value, **more}


def task(*results, **more):
    return {"data": {"ocr": "/data/upload/1/ab12-a.jpg"}, "annotations": [{"result": list(results)}], **more}


def test_label_studio(read):
    percent = [[x / 6.4, y / 4.8] for x, y in QUAD]
    labels = read(
        [
            task(
                region(0, "polygon", {"points": percent}),
                region(0, "textarea", {"text": ["Slow"]}),
                region(1, "textarea", {"text": "Down"}),
                region(1, "polygonlabels", {"points": percent, "polygonlabels": ["Don't care"]}),
                region(2, "rectangle", {"x": 50, "y": 50, "width": 10, "height": 5, "rotation": 90}),
                region(2, "textarea", {"text": ["one", "two"]}),
                {"type": "choices", "id": "c", "value": {"choices": ["outdoor"]}},
            )
        ]
    )
    (slow, down, two) = words(labels)
    assert slow[:2] == ("Slow", False) and np.allclose(slow[2], QUAD) and down[:2] == ("Down", True)
    # 64 x 24 pixels at (320, 240), turned clockwise about that corner
    assert np.allclose(two[2], [[320, 240], [320, 304], [296, 304], [296, 240]])
    assert two[:2] == ("one two", True) and labels.notes["regions have several texts: don't-care"] == 1


def test_label_studio_takes_the_last_annotation_then_predictions(read):
    def one(text, **more):
        results = [region(0, "polygon", {"points": QUAD}), region(0, "textarea", {"text": [text]})]
        return {"result": [dict(r, value=r["value"] | {"points": [[1, 1], [2, 1], [2, 2]]}) for r in results], **more}

    annotations = [one("new", updated_at="2026-02-01"), one("old", updated_at="2026-01-01"), one("no", was_cancelled=True)]
    several = {"data": {"image": "a.jpg"}, "annotations": annotations, "predictions": [one("guess")]}
    guessed = {"data": {"image": "b.jpg"}, "annotations": [], "predictions": [one("guess")]}
    labels = read([several, guessed, {"data": {"image": "c.jpg"}, "annotations": [], "predictions": [12]}])
    assert [(i.name, i.words[0].text) for i in labels.images] == [("a.jpg", "new"), ("b.jpg", "guess")]
    assert sum(labels.notes.values()) == 3


def test_ppocrlabel(read):
    values = [
        {"transcription": "Slow", "points": QUAD, "difficult": False},
        {"transcription": "Down", "points": QUAD, "difficult": True},
        {"transcription": "待识别", "points": QUAD},
    ]
    labels = read(f"p/a.jpg\t{json.dumps(values)}\np/b.jpg\t[]\n", "Label.txt")
    assert words(labels) == [("Slow", False, QUAD), ("Down", True, QUAD), ("", True, QUAD)]
    assert [image.name for image in labels.images] == ["p/a.jpg", "p/b.jpg"]


def test_mmocr(read):
    flat = [v for point in QUAD for v in point]
    instances = [{"polygon": flat, "ignore": 0, "text": "Slow"}, {"bbox": [1, 2, 5, 4], "ignore": True, "text": "Down"}]
    item = {"img_path": "a.jpg", "height": 480, "width": 640, "instances": instances}
    labels = read({"metainfo": {}, "data_list": [item]})
    assert words(labels) == [("Slow", False, QUAD), ("Down", True, [[1, 2], [5, 2], [5, 4], [1, 4]])]


def coco(*annotations):
    image = {"id": 7, "file_name": "a.jpg", "height": 480, "width": 640}
    categories = [{"id": 1, "name": "text"}, {"id": 2, "name": "ignore"}]
    made = [{"image_id": 7, "category_id": 1, **annotation} for annotation in annotations]
    return {"images": [image], "categories": categories, "annotations": made}


def test_coco(read):
    pytest.importorskip("pycocotools")
    flat = [v for point in QUAD for v in point]
    # columns 2 and 3 (of 480 pixels each), rows 10 to 14
    runs = {"size": [480, 640], "counts": [970, 5, 475, 5, 480 * 640 - 1455]}
    labels = read(
        coco(
            {"segmentation": [flat], "attributes": {"transcription": "Slow"}},
            {"segmentation": runs, "iscrowd": 1, "utf8_string": "Down"},
            {"segmentation": [], "bbox": [1, 2, 4, 2], "attributes": {"text": 24}},
            {"segmentation": [flat], "category_id": 2, "text": "x"},
            {"segmentation": [[0, 0, 2, 0, 2, 2, 0, 2], [6, 0, 8, 0, 8, 2, 6, 2]], "text": "ab"},
        )
    )
    slow, down, box, ignored, parts = words(labels)
    assert slow == ("Slow", False, QUAD)
    assert down[:2] == ("Down", True) and sorted(down[2]) == [[2, 10], [2, 15], [4, 10], [4, 15]]
    assert box == ("24", False, [[1, 2], [5, 2], [5, 4], [1, 4]]) and ignored[1]
    assert sorted(parts[2]) == [[0, 0], [0, 2], [8, 0], [8, 2]]


STRAIGHT = [0, 0, 10, 0, 20, 0, 30, 0, 30, 9, 20, 9, 10, 9, 0, 9]
BENT = [0, 0, 10, -10, 20, -10, 30, 0, 30, 9, 20, 9, 10, 9, 0, 9]


def test_adelaidet(read):
    slow = [51, 76, 79, 87] + [96] * 21
    strange = [35, 95] + [96] * 23
    polys = [0, 0, 5, 0, 5, 5, 0, 5]
    labels = read(
        coco(
            {"bezier_pts": STRAIGHT, "rec": slow, "iscrowd": 0},
            {"bezier_pts": BENT, "rec": strange},
            {"polys": polys, "rec": slow, "iscrowd": 1},
        )
    )
    first, bent, last = words(labels)
    assert first == ("Slow", False, [[0, 0], [30, 0], [30, 9], [0, 9]])
    assert last == ("Slow", True, [[0, 0], [5, 0], [5, 5], [0, 5]])
    assert bent[:2] == ("C\ufffd", True) and len(bent[2]) == 12
    # at a third of the way the curve has x = 10 and y = 3 (4/9 + 2/9) / 3 * -10
    third = np.array(bent[2])[3]
    assert np.allclose(third, [10, -10 * (3 * (4 / 27) + 3 * (2 / 27))])


@pytest.mark.parametrize(
    ("content", "name", "message"),
    [
        (labelme(shape("a", [[1, 2], [3, "x"], [4, 5]])), "a.json", "shapes[0].points: expected points of two numbers"),
        (labelme(shape("a"), shape("a", [[1, 2], [3, 4]])), "a.json", "shapes[1].points: expected 3 to 1000 points, got 2"),
        (labelme({"points": QUAD}), "a.json", "shapes[0]: 'label' is missing"),
        (labelme(shape("a", [[1, 2], [3, 4], [float("nan"), 1]])), "a.json", "within 1,000,000"),
        (CVAT.format('<polygon points="1,2;3" label="w"/>'), "a.xml", "image 'a.jpg': shape 1 (polygon): expected points as"),
        (CVAT.format('<box label="w" xtl="1" ytl="2"/>'), "a.xml", "shape 1 (box): 'xbr' is missing"),
        (CVAT.format("<polygon>"), "a.xml", "not XML that can be read: mismatched tag"),
        ("<annotations><track/></annotations>", "a.xml", "CVAT for images 1.1"),
        ([task(region(0, "polygon", {"points": [[1, 2]]}))], "a.json", "[0].annotations[0].result[0].value.points: expected 3"),
        ([task(region(0, "polygon", {"points": QUAD}, image_rotation=90))], "a.json", "result[0]: the picture was turned"),
        ([{"annotation_id": 1, "ocr": "a.jpg"}], "a.json", "[0]: 'data' is missing: export as JSON, not as JSON-MIN"),
        ('a.jpg\t[]\nb.jpg\t[{"transcription": "a"', "Label.txt", "line 2: expected a path, a tab and a json list"),
        ('a.jpg\t[{"transcription": "a", "points": 3}]', "Label.txt", "line 1[0].points: expected a list, got 3"),
        ({"metainfo": {}, "data_list": [{"img_path": 3}]}, "a.json", "data_list[0].img_path: expected a string, got 3"),
        (coco({"segmentation": [[1, 2, 3]]}), "a.json", "annotations[0].segmentation[0]: expected points"),
        (coco({"segmentation": {"size": [4, 4], "counts": [1]}}), "a.json", "the mask has 4 x 4 pixels, its image 640 x 480"),
        (coco({"segmentation": {"size": [480, 640], "counts": [1]}}), "a.json", "annotations[0].segmentation: not run lengths"),
        (coco({"image_id": 8}), "a.json", "annotations[0]: no image has the id 8"),
        (
            coco({"bezier_pts": [1, 2, 3, 4], "rec": []}),
            "a.json",
            "annotations[0].bezier_pts: expected 8 to 1000 points",
        ),
        (coco({"bezier_pts": STRAIGHT, "rec": [1, 4000]}), "a.json", "rec[1]: expected 0 to 96, AdelaiDet's 96 characters"),
        ('{"images": [', "a.json", "a.json:1: not valid json"),
        ({"schema": "dld-text/1", "images": [{"file_name": "a\\b.jpg"}]}, "a.json", "images[0].file_name: must be relative"),
    ],
)
def test_a_mistake_is_one_line_that_names_file_and_entry(read, tmp_path, content, name, message):
    with pytest.raises(ValueError) as caught:
        read(content, name)
    said = str(caught.value)
    assert message in said and str(tmp_path / name) in said and "\n" not in said


def spoilt(value):
    """A document with one value in it replaced by something else or taken away, for every value there is."""
    yield from JUNK
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in items:
        if isinstance(value, dict):
            yield {k: v for k, v in value.items() if k != key}
        for other in spoilt(part):
            copy = dict(value) if isinstance(value, dict) else list(value)
            copy[key] = other
            yield copy


JUNK = (None, -1, 1e300, float("nan"), "x", [], {}, [[]], [{}], True)
FLAT = [v for point in QUAD for v in point]
SOUND = {
    "labelme": labelme(shape("a", flags={"ignore": False}, description="b", shape_type="polygon")),
    "label-studio": [task(region(0, "polygon", {"points": QUAD}), region(0, "textarea", {"text": ["a"]}))],
    "mmocr": {"metainfo": {}, "data_list": [{"img_path": "a", "instances": [{"polygon": FLAT, "text": "a", "ignore": False}]}]},
    "coco": coco({"segmentation": {"size": [480, 640], "counts": [970, 5, 306225]}, "iscrowd": 0, "attributes": {"text": "a"}}),
    "adelaidet": coco({"bezier_pts": STRAIGHT, "rec": [3, 96], "iscrowd": 0}),
}


@pytest.mark.parametrize("name", SOUND)
def test_whatever_is_wrong_is_a_mistake_with_a_place(name, tmp_path):
    if name == "coco":
        pytest.importorskip("pycocotools")
    known, file = LABEL_FORMATS[name], tmp_path / "labels.json"
    assert known.fits(SOUND[name]) and words(known.read(Entry(file, "", SOUND[name])))
    refused = 0
    for document in spoilt(SOUND[name]):
        if known.fits(document):
            try:
                known.read(Entry(file, "", document))
            except ValueError as error:
                refused += 1
                assert str(error).startswith(f"{file}: ")
    assert refused > 50


def test_formats_are_told_apart_or_asked_for(read, tmp_path):
    with pytest.raises(NoLabelsError, match="no labels of a known format in .*: known are dld, labelme, cvat"):
        read({"some": "json"})
    with pytest.raises(ValueError, match="no labels of the format coco in .*; there are labels of the format labelme"):
        read(labelme(), label_format="coco")
    (tmp_path / "b.json").write_text(json.dumps(coco()))
    (tmp_path / "._c.json").write_bytes(b"\0\5\x16\7")
    with pytest.raises(ValueError, match="labels of several formats in .*: .*--format says which are meant"):
        read_labels([tmp_path])
    found, labels, others = read_labels([tmp_path], "labelme")
    assert found is LABEL_FORMATS["labelme"] and len(labels.images) == 1 and others == [tmp_path / "b.json"]


def test_an_entry_says_where_it_stands(tmp_path):
    entry = Entry(tmp_path / "f.json", "", {"a": [{"b": 1}]})
    assert entry.items("a")[0].at("b").place == "a[0].b"
    assert not entry.has("c") and entry.at("a").at(0).flag("b") and not entry.flag("c")
