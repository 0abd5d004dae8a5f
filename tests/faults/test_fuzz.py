"""Anything at all given to a parser is either read or refused with a ValueError; polygons keep their promises."""

import io
import json
import os
import zipfile

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dld.data.annotation import find_schema_problems, images_from_document, read_annotations, write_annotations
from dld.data.datasets.coco_text import read_coco_text
from dld.data.datasets.ctw1500 import parse_ctw1500
from dld.data.datasets.icdar import parse_icdar2013, parse_icdar2015, parse_icdar2017_mlt
from dld.data.datasets.total_text import parse_total_text
from dld.data.repair import repair_annotations
from dld.evaluation.ground_truth import read_ground_truth
from dld.evaluation.overlap import measure_overlap
from dld.evaluation.protocol import get_protocol
from dld.evaluation.submission import read_submission
from dld.structures.polygon import MOST_POINTS, clip_polygon, is_simple, polygon_area, repair_polygon
from dld.structures.words import SpottingResult

FUZZ = settings(
    max_examples=int(os.environ.get("FUZZ_EXAMPLES", "25")),  # 1,000 find more, in minutes
    derandomize="FUZZ_EXAMPLES" not in os.environ,  # the gate always tries the same ones
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)

numbers = st.one_of(
    st.integers(-99, 2000).map(str),
    st.floats().map(str),
    st.sampled_from(["", " ", "1e309", "-0", "+7", "0x1f", "1_000", "\u0661", "9" * 400, "nan"]),
)
pieces = st.one_of(
    numbers,
    st.sampled_from([",", " ", ",####", "\t", '"', "\\", "\n", "\r", "###", "\ufeff", "\x00", "Latin,", "&", "&amp;"]),
    st.sampled_from(["x: [[", "]], y: [[", "]], ornt: [u'c'], transcriptions: [", "u'a'", "]", "["]),
    st.sampled_from(["<box>", "</box>", "<label>", "</label>", "<segs>", "</segs>", "<"]),
    st.text(max_size=5),
)
contents = st.lists(pieces, max_size=60).map(lambda parts: "".join(parts).encode("utf-8", "surrogatepass"))
# lines that are nearly right get past the first checks
nearly = st.builds(
    lambda count, values, text: (",".join((values * 30)[:count]) + "," + text).encode("utf-8", "surrogatepass"),
    st.integers(0, 40),
    st.lists(numbers, min_size=1, max_size=8),
    st.text(max_size=20),
)
files = st.one_of(contents, nearly, st.binary(max_size=200))

PARSERS = {
    "gt_1.txt": [parse_icdar2013, parse_icdar2015, parse_icdar2017_mlt, parse_total_text, parse_ctw1500],
    "1.xml": [parse_ctw1500],
}


@pytest.mark.parametrize(("name", "parse"), [(n, p) for n, ps in PARSERS.items() for p in ps])
@FUZZ
@given(content=files)
def test_ground_truth_of_anything(tmp_path, name, parse, content):
    path = tmp_path / name
    path.write_bytes(content)
    try:
        words = parse(path)
    except ValueError as error:
        assert name in str(error) and len(str(error)) < 1000
        return
    for word in words:
        assert word.polygon.ndim == 2 and np.isfinite(word.polygon).all()
        assert isinstance(word.text, str) and isinstance(word.ignore, bool)


@pytest.mark.parametrize("protocol", ["icdar2013", "icdar2015", "totaltext", "ctw1500"])
@FUZZ
@given(content=files)
def test_predictions_and_scored_ground_truth_of_anything(tmp_path, protocol, content):
    protocol = get_protocol(protocol)
    path = tmp_path / "sub.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("res_img_1.txt", content)
    for read in (lambda: read_submission(path, protocol, ["img_1"]).words["img_1"], lambda: read_ground_truth(path, protocol)):
        try:
            words = read()
        except ValueError as error:
            assert "sub.zip" in str(error) and len(str(error)) < 1000
            continue
        words = words if isinstance(words, list) else next(iter(words.values()))
        assert all(np.isfinite(w.polygon).all() for w in words)


@FUZZ
@given(st.binary(max_size=60), st.integers(0, 400), st.integers(0, 400))
def test_a_damaged_zip(tmp_path_factory, noise, start, cut):
    good = io.BytesIO()
    with zipfile.ZipFile(good, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("res_img_1.txt", "1,1,9,1,9,9,1,9,word\n" * 9)
        archive.writestr("res_img_2.txt", "")
    data = bytearray(good.getvalue())
    data[start : start + len(noise)] = noise
    path = tmp_path_factory.getbasetemp() / "damaged.zip"
    path.write_bytes(bytes(data[: len(data) - cut]))
    try:
        read_submission(path, get_protocol("icdar2015"), ["img_1", "img_2"])
    except ValueError as error:
        assert "damaged.zip" in str(error)


values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.just(10**400)),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=4), inner, max_size=4)),
    max_leaves=8,
)
points = st.lists(st.lists(st.one_of(st.integers(-10, 100), st.floats(), values), min_size=1, max_size=3), max_size=6)
words = st.one_of(values, st.fixed_dictionaries({"polygon": points, "text": st.text()}, optional={"ignore": values}))
images = st.one_of(
    values,
    st.fixed_dictionaries(
        {
            "file_name": st.one_of(values, st.text(max_size=12), st.just("a.png")),
            "width": values,
            "height": st.just(9),
            "words": st.one_of(values, st.lists(words, max_size=3)),
        },
        optional={"id": values},
    ),
)
documents = st.one_of(
    values, st.fixed_dictionaries({"schema": st.just("dld-text/1"), "images": st.one_of(values, st.lists(images, max_size=3))})
)


@FUZZ
@given(documents)
def test_any_json_is_an_annotation_or_has_problems(document):
    problems = list(find_schema_problems(document))
    assert all(len(str(problem)) < 1000 for problem in problems)
    if problems:
        return
    loaded = images_from_document(document)
    repair_annotations(loaded)
    assert all(np.isfinite(w.polygon).all() for image in loaded for w in image.words)


sound_words = st.fixed_dictionaries(
    {
        "polygon": st.lists(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=2), min_size=3, max_size=9),
        "text": st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(str.strip),
    }
)


@FUZZ
@given(st.lists(sound_words, max_size=3))
def test_what_is_written_is_read_again(tmp_path, words):
    image = {"file_name": "a.png", "id": "a", "width": 9, "height": 9, "words": words}
    before = images_from_document({"images": [image]})
    write_annotations(tmp_path / "a.json", before, "own")
    (after,) = read_annotations(tmp_path / "a.json")
    for one, other in zip(before[0].words, after.words, strict=True):
        assert (one.polygon == other.polygon).all() and one.text == other.text


@FUZZ
@given(documents)
def test_any_json_given_as_coco_text(tmp_path, document):
    path = tmp_path / "cocotext.json"
    parts = {
        "imgs": {"1": document, "2": {"id": 2, "file_name": "b.jpg", "set": "train", "width": 9, "height": 9}},
        "anns": {"1": document, "2": {"image_id": 2, "mask": [1, 2, 3], "bbox": document}},
    }
    for content in (document, parts, {"imgs": document, "anns": document}):
        path.write_text(json.dumps(content))
        try:
            read_coco_text(path)
        except ValueError as error:
            assert "cocotext.json" in str(error)


@FUZZ
@given(values)
def test_any_json_given_as_results(tmp_path, value):
    path = tmp_path / "results.json"
    word = {"text": "a", "polygon": value, "score": value}
    for words in (value, [value], [word]):
        path.write_text(json.dumps({"schema": "dld-results/1", "images": [{"image_id": "a", "width": value, "words": words}]}))
        try:
            read_submission(path, get_protocol("icdar2015"), ["a"])
        except ValueError as error:
            assert "results.json" in str(error)
    assert SpottingResult.from_dict({"words": []}).words == []


coordinates = st.floats(-200, 200) | st.integers(-20, 20).map(float)
outlines = st.lists(st.tuples(coordinates, coordinates), min_size=0, max_size=24).map(lambda p: np.array(p).reshape(-1, 2))


@FUZZ
@given(outlines)
def test_a_repaired_polygon_is_simple_and_no_larger_than_its_box(outline):
    repaired = repair_polygon(outline)
    if repaired is None:
        return
    assert is_simple(repaired)
    size = np.ptp(outline, axis=0)
    assert 0 < polygon_area(repaired) <= size.prod() * (1 + 1e-9)
    assert (repaired.min(0) >= outline.min(0) - 1e-6).all() and (repaired.max(0) <= outline.max(0) + 1e-6).all()


@FUZZ
@given(outlines)
def test_a_clipped_polygon_lies_in_the_image(outline):
    clipped = clip_polygon(outline, 50, 30)
    if clipped is not None:
        assert is_simple(clipped)
        assert (clipped >= -1e-9).all() and (clipped <= np.array([50, 30]) + 1e-9).all()


@FUZZ
@given(outlines, outlines)
def test_overlaps_are_shares(one, other):
    overlap = measure_overlap([one, other], [other, one], get_protocol("totaltext"))
    assert (overlap.iou >= 0).all() and (overlap.iou <= 1 + 1e-6).all() and np.isfinite(overlap.iou).all()
    assert overlap.iou[0, 0] == pytest.approx(overlap.iou[1, 1], abs=1e-6)


def test_an_outline_of_too_many_points_is_no_polygon():
    angle = np.linspace(0, 2 * np.pi, MOST_POINTS + 1, endpoint=False)
    circle = np.stack([np.cos(angle), np.sin(angle)], 1)
    assert repair_polygon(circle) is None and repair_polygon(circle[:-1]) is not None
