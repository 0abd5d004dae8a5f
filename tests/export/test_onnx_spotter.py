"""The exported spotter reads what the one in PyTorch reads."""

import multiprocessing
import os
import subprocess
import sys

import cv2
import numpy as np
import pytest
import shapely
from PIL import Image

from dld.export.parity import compare_pictures, match_words, polygon_distance
from dld.runtime.onnx_spotter import OnnxTextSpotter


def assert_same(a, b, tolerance=1e-3) -> list[bool]:
    """Same texts in the same order, scores within `tolerance`; says of each polygon whether it is within half a pixel.

    Polygons are simplified with a tolerance of 1 % of their length: where two corners are equally good, rounding decides.
    """
    assert [w.text for w in b.words] == [w.text for w in a.words]
    assert (b.width, b.height, b.scale, b.file_name) == (a.width, a.height, a.scale, a.file_name)
    assert b.unread == a.unread
    if a.cost is None:
        assert b.cost is b.gflops is None
    else:
        assert b.cost == pytest.approx(a.cost, rel=1e-6) and b.gflops == pytest.approx(a.gflops, rel=1e-6)
    near, others = [], list(b.words)
    for one in a.words:
        # words of one text and, but for rounding, one score may change places
        alike = [w for w in others if w.text == one.text and abs(w.score - one.score) <= tolerance]
        assert alike, f"nothing like {one}"
        other = min(alike, key=lambda w: polygon_distance(one.polygon, w.polygon))
        others = [w for w in others if w is not other]
        distance = polygon_distance(one.polygon, other.polygon)
        assert distance < 0.5 + 0.01 * shapely.length(shapely.LinearRing(one.polygon))
        near.append(distance < 0.5)
        assert other.score == pytest.approx(one.score, abs=tolerance)
        assert other.char_scores == pytest.approx(one.char_scores, abs=tolerance)
    return near


def test_the_teachers_words(teacher, pictures):
    near = [x for p in pictures for x in assert_same(teacher.pytorch(p), teacher.onnx(p))]
    assert len(near) >= 12 and np.mean(near) > 0.8
    assert teacher.onnx(pictures[0]).scale is None


def test_the_students_words_at_scales_of_its_choice(student, pictures):
    results = [(student.pytorch(p), student.onnx(p)) for p in pictures]
    near = [x for one, other in results for x in assert_same(one, other)]
    assert len(near) >= 8 and np.mean(near) > 0.8
    assert len({one.scale for one, _ in results}) > 1


def test_a_forked_process_reads_the_same(teacher, pictures):
    spotter = OnnxTextSpotter(teacher.folder, "cpu", threads=2)
    before = [word.text for word in spotter(pictures[0]).words]  # which starts the threads
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    child = context.Process(target=lambda: results.put([word.text for word in spotter(pictures[0]).words]))
    child.start()
    assert results.get(timeout=240) == before and before
    child.join()


def test_a_forked_process_opens_the_graphs_anew(teacher, pictures, monkeypatch):
    """Sessions of another process may wait for threads that this one has not got: one run in a hundred did."""
    spotter = OnnxTextSpotter(teacher.folder, "cpu", threads=2)
    before, sessions = spotter(pictures[0]), spotter.run.sessions
    assert_same(before, spotter(pictures[0]))
    assert spotter.run.sessions is sessions
    another = os.getpid() + 1
    monkeypatch.setattr(os, "getpid", lambda: another)
    assert_same(before, spotter(pictures[0]))
    assert set(spotter.run.sessions) == set(sessions)
    assert not {id(session) for session in sessions.values()} & {id(session) for session in spotter.run.sessions.values()}


def test_a_batch_gives_the_words_of_one_by_one(student, pictures):
    for batched, picture in zip(student.onnx(pictures, batch_size=4), pictures, strict=True):
        assert_same(student.onnx(picture), batched)


def test_pictures_of_one_shape_go_through_the_graphs_together(teacher, pictures, monkeypatch):
    fed, run = [], teacher.onnx.spot.run
    monkeypatch.setattr(teacher.onnx.spot, "run", lambda name, *x: fed.append((name, x[0].shape)) or run(name, *x))
    batch = [pictures[0], pictures[1], np.fliplr(pictures[0])]
    results = teacher.onnx(batch, batch_size=3)
    assert [shape for name, shape in fed if name == "detector"] == [(2, 3, 320, 448), (1, 3, 448, 320)]
    for result, picture in zip(results, batch, strict=True):
        assert_same(teacher.pytorch(picture), result)


@pytest.mark.parametrize("options", [{"scale": 0.5}, {"scale": 1.3}, {"budget": 0.45}, {"budget": 0.01}])
def test_scale_and_budget(teacher, student, pictures, options):
    for spotter in (teacher, student):
        for picture in pictures[:2]:
            assert_same(spotter.pytorch(picture, **options), spotter.onnx(picture, **options))


def test_turned_and_long_pictures(student, pictures):
    turned = np.ascontiguousarray(np.rot90(pictures[0], -1))
    strip = np.concatenate([pictures[0]] * 5)
    for picture, options in ((turned, {"rotation": "auto"}), (turned, {"rotation": 90}), (strip, {}), (strip, {"tile": 200})):
        ours, theirs = student.onnx(picture, **options), student.pytorch(picture, **options)
        assert ours.rotation == theirs.rotation and ours.text == theirs.text
        assert ours.gflops == pytest.approx(theirs.gflops, rel=0.02) and ours.cost == pytest.approx(theirs.cost, rel=0.02)


def test_pictures_without_words(student, pictures):
    empty = np.full((200, 300, 3), 127, np.uint8)
    assert student.onnx(empty).words == [] and student.pytorch(empty).words == []
    results = student.onnx([empty, pictures[0], empty], batch_size=3, scale=0.75)
    assert [bool(r.words) for r in results] == [False, True, False]
    assert student.onnx(np.zeros((1, 1, 3), np.uint8)).words == student.pytorch(np.zeros((1, 1, 3), np.uint8)).words


def test_pictures_in_any_form(teacher, pictures, tmp_path):
    path = tmp_path / "drawn.png"
    cv2.imwrite(str(path), pictures[0])
    result = teacher.onnx(path)
    assert_same(teacher.pytorch(path), result)
    rgb = np.ascontiguousarray(pictures[0][:, :, ::-1])
    texts = [w.text for w in result.words]
    for other in (teacher.onnx(Image.fromarray(rgb)), teacher.onnx(rgb, channel_order="RGB")):
        assert texts and [w.text for w in other.words] == texts
    np.testing.assert_array_equal(result.pixels(), pictures[0])
    lazy = teacher.onnx(iter([path, pictures[0]]))
    assert [[w.text for w in r.words] for r in lazy] == [texts, texts]


def test_mistakes_are_those_of_the_other_spotter(teacher, pictures, tmp_path):
    (tmp_path / "notes.png").write_text("no picture")
    cases = [
        {"images": tmp_path / "notes.png"},
        {"images": [pictures[0], tmp_path / "notes.png"]},
        {"images": 3},
        {"images": tmp_path / "missing.png"},
        {"images": np.zeros((4, 4, 5), np.uint8)},
        {"images": pictures[0], "scale": 0},
        {"images": pictures[0], "budget": -1},
        {"images": pictures[0], "scale": 0.5, "budget": 0.5},
        {"images": pictures[0], "batch_size": 0},
        {"images": pictures[0], "channel_order": "GBR"},
    ]
    for case in cases:
        with pytest.raises((ValueError, FileNotFoundError)) as wanted:
            teacher.pytorch(**case)
        with pytest.raises(wanted.type) as found:
            teacher.onnx(**case)
        assert str(found.value) == str(wanted.value)


def test_reading_imports_neither_torch_nor_detectron2(teacher, pictures, tmp_path):
    path = tmp_path / "drawn.png"
    cv2.imwrite(str(path), pictures[0])
    code = (
        "import sys\n"
        "from dld.runtime.onnx_spotter import OnnxTextSpotter\n"
        f"result = OnnxTextSpotter({str(teacher.folder)!r}, 'cpu', 1)({str(path)!r})\n"
        "print([w.text for w in result.words], {'torch', 'torchvision', 'detectron2'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip() == f"{[w.text for w in teacher.pytorch(path).words]} set()"


def test_a_report_of_both(student, pictures):
    report = compare_pictures(student.pytorch, student.onnx, pictures[:2])
    assert report["pictures"] == report["same_scales"] == 2 and report["different"] == []
    assert report["same_words"] == report["words"] == report["exported_words"] > 0
    assert report["polygons_within_half"] > 0.8 * report["words"] and report["polygon_pixels"] < 5
    assert report["score"] < 1e-3 and report["char_score"] < 1e-3


def test_a_report_says_what_differs(teacher, pictures):
    """Read at two scales: not everything is found twice."""
    report = compare_pictures(teacher.onnx, lambda p: teacher.onnx(p, scale=0.3), pictures[:2])
    assert report["same_scales"] == 0 and report["same_words"] < report["words"]
    one = report["different"][0]
    assert one["picture"] in ("0", "1") and one["pytorch"] != one["onnx"]
    words = teacher.onnx(pictures[0]).words
    assert len(match_words(words, words[1:])) == len(words) - 1
