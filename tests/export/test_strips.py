"""A spotter that reads strips of the photo: its graphs, and what is read with them."""

import copy
import json
import shutil
import subprocess
import sys
from functools import partial
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from test_onnx_spotter import assert_same

from dld.export.exporter import export_spotter, spotter_parts, spotter_settings
from dld.export.parity import compare_graphs
from dld.modeling.resolution.cost import CostTable
from dld.runtime import onnx_spotter
from dld.runtime.bundle import SETTINGS_FILE, GraphRunner
from dld.runtime.onnx_spotter import OnnxTextSpotter

# strips are sampled at 1/32 of a pixel and in 256 steps: where an outline lies between two, rounding decides
same = partial(assert_same, tolerance=1e-2)

# of the heights that the shipped weights read
STRIPS = ("strips", "strips32", "strips24", "strips16")


@pytest.mark.parametrize(("size", "images"), [((64, 160), 1), ((96, 320), 3)])
def test_the_graphs_agree_with_their_modules_at_any_width(strips, size, images):
    parts = spotter_parts(strips.pytorch.model, size, images, seed=1)
    assert parts["strips"].example[0].shape == (2 * images, 3, 48, size[1])
    report = compare_graphs(parts, strips.onnx.run)
    assert set(report) == {"detector", "boxes", "masks", *STRIPS}
    for name in STRIPS:
        assert report[name]["ids"] == 0 and report[name]["probabilities"] < 1e-3


@torch.no_grad()
def test_the_module_is_the_reader(strips):
    model = strips.pytorch.model
    part = spotter_parts(model, (64, 96), 1)["strips"]
    for found, wanted in zip(part.module(*part.example), model.reader(*part.example), strict=True):
        torch.testing.assert_close(found, wanted)


def test_only_words_and_columns_of_strips_may_differ(strips):
    for name, rows in zip(STRIPS, (48, 32, 24, 16), strict=True):
        strips_in, allowed = strips.onnx.run.sessions[name].get_inputs()
        assert (strips_in.name, strips_in.shape) == ("strips", ["words", 3, rows, "columns"])
        assert (allowed.name, allowed.shape) == ("allowed", [len(strips.onnx.characters) + 1])


def test_the_words(strips, pictures):
    results = [(strips.pytorch(p), strips.onnx(p)) for p in pictures]
    near = [x for one, other in results for x in same(one, other)]
    assert len(near) >= 12 and np.mean(near) > 0.8
    assert sum(len(w.text) > 1 for one, _ in results for w in one.words) > 6, "the reader reads something"


@pytest.mark.parametrize("options", [{"scale": 0.5}, {"budget": 0.45}])
def test_words_and_costs_at_other_scales(strips, pictures, options):
    for picture in pictures[:2]:
        same(strips.pytorch(picture, **options), strips.onnx(picture, **options))


def test_words_and_costs_at_scales_of_its_choice(selecting_strips, pictures):
    settings = selecting_strips.onnx.settings
    assert set(settings["graphs"]) == {"selector", "detector", "boxes", "masks", *STRIPS}
    assert settings["scales"]["cost_table"]["student"]["strip_linear"] > 0
    alone = [selecting_strips.pytorch(p) for p in pictures]
    assert len({one.scale for one in alone}) > 1 and sum(len(one.words) for one in alone) >= 8
    for one, other in zip(alone, selecting_strips.onnx(pictures, batch_size=4), strict=True):
        same(one, other)


def test_heights_are_chosen_for_their_cost_by_both(selecting_strips, pictures, tmp_path):
    spotter = copy.copy(selecting_strips.pytorch)
    spotter.model, spotter._views = copy.deepcopy(spotter.model), {}
    model = spotter.model
    model.student.strip_rows = (48, 32, 24, 16)
    model.rows_losses = {row: np.linspace(0, loss, 7) for row, loss in ((48, 0.0), (32, 1e-4), (24, 2e-3), (16, 9e-3))}
    model.selector.words_per_score = 0.4
    model.mu.fill_(1.0)
    model.cost_table = CostTable.measure(model.student, None, model.selector, model.scales)
    export_spotter(model, spotter.cfg, tmp_path)
    graphs = OnnxTextSpotter(tmp_path, "cpu", threads=1)
    own, rows = [spotter(p) for p in pictures], set()
    for one, other in zip(own, graphs(pictures, batch_size=4), strict=True):
        same(one, other)
        assert [w.rows for w in one.words] == [w.rows for w in other.words]
        rows |= {w.rows for w in one.words}
    # at a scale that is told nothing says what computing is worth
    told = {w.rows for p in pictures for w in spotter(p, scale=0.75).words}
    assert max(told) == 48 > max(rows) and len(rows) > 1


def test_a_batch_gives_the_words_of_one_by_one(strips, pictures):
    empty = np.full((200, 300, 3), 127, np.uint8)
    batch = [*pictures, empty]
    for batched, picture in zip(strips.onnx(batch, batch_size=5), batch, strict=True):
        same(strips.onnx(picture), batched)


def test_strips_are_cut_from_the_picture_that_was_given(strips, pictures, monkeypatch):
    """All strips of a batch share the calls of the graph, and a larger picture is not reduced before they are cut."""
    fed, run = [], strips.onnx.run
    monkeypatch.setattr(strips.onnx, "run", lambda name, *x: fed.append(x[0].shape) or run(name, *x))
    large = np.repeat(np.repeat(pictures[0], 2, 0), 2, 1)
    same(strips.pytorch(large), strips.onnx(large))
    alone = len(fed)
    strips.onnx([large, large], batch_size=2)
    assert {shape[1:3] for shape in fed} == {(3, 48)} and len(fed) - alone == alone


def test_a_reader_of_another_format_is_exported_in_float32(strips):
    model = copy.deepcopy(strips.pytorch.model)
    model.reader.to(torch.bfloat16)
    assert next(copy.deepcopy(model).to("cpu", torch.float32).reader.parameters()).dtype == torch.float32
    part = spotter_parts(model, (64, 64), 1)["strips"]
    assert {p.dtype for p in part.module.parameters()} == {torch.float32}
    assert next(model.reader.parameters()).dtype == torch.bfloat16, "the model stays as it is"


def test_settings_say_how_words_are_read(strips, teacher):
    settings = strips.onnx.settings
    assert settings["reading"] == {
        "how": "strips",
        "min_score": 0.0,
        "split_at_spaces": True,
        "rows": [48, 32, 24, 16],
        "most_enlarged": 2.0,
        "turn_below": 0.0,
        "join_pieces": True,
        "allow": "",
    }
    assert settings["detections"]["score_threshold"] == 0.1
    assert teacher.onnx.settings["reading"]["how"] == "crops"
    threshold = teacher.pytorch.model.roi_heads.box_predictor.test_score_thresh
    assert teacher.onnx.settings["detections"]["score_threshold"] == threshold
    model = copy.copy(strips.pytorch.model)
    model.min_score = 0.75
    assert spotter_settings(model, strips.pytorch.cfg)["reading"]["min_score"] == 0.75


def test_an_unsure_word_is_left_out_by_both(strips, pictures, monkeypatch):
    scores = sorted(w.score for p in pictures for w in strips.onnx(p).words)
    middle = int(np.argmax(np.diff(scores)))
    least = (scores[middle] + scores[middle + 1]) / 2
    monkeypatch.setattr(strips.pytorch.model, "min_score", least)
    monkeypatch.setitem(strips.onnx.settings["reading"], "min_score", least)
    results = [(strips.pytorch(p), strips.onnx(p)) for p in pictures]
    assert sum(len(same(one, other)) for one, other in results) == len(scores) - middle - 1


def test_folders_from_before_there_were_strips_are_read(teacher, pictures, tmp_path):
    folder = tmp_path / "old"
    shutil.copytree(teacher.folder, folder)
    settings = json.loads((folder / SETTINGS_FILE).read_text())
    del settings["reading"]["how"]
    table = settings["scales"]["cost_table"]
    for name in ("student", "teacher"):
        table[name] = {k: v for k, v in table[name].items() if "strip" not in k}
    (folder / SETTINGS_FILE).write_text(json.dumps(settings))
    old = OnnxTextSpotter(folder, "cpu", threads=1)
    same(teacher.onnx(pictures[0], scale=0.75), old(pictures[0], scale=0.75))


def test_reading_imports_neither_torch_nor_detectron2(strips, pictures, tmp_path):
    path = tmp_path / "drawn.png"
    cv2.imwrite(str(path), pictures[0])
    code = (
        "import sys\n"
        "from dld.runtime.onnx_spotter import OnnxTextSpotter\n"
        f"result = OnnxTextSpotter({str(strips.folder)!r}, 'cpu', 1)({str(path)!r})\n"
        "print(len(result.words), {'torch', 'torchvision', 'detectron2'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip() == f"{len(strips.onnx(path).words)} set()"


def test_only_allowed_characters_are_read_by_both(strips, pictures):
    """Those of the plainest words: all others give way."""
    model = copy.copy(strips.pytorch.model)
    texts = "".join(w.text for p in pictures for w in strips.onnx(p).words)
    allow = "".join(sorted(set(texts) - {" "})[:3])
    assert len(set(texts)) > 3
    limited = OnnxTextSpotter(strips.folder, "cpu", threads=1, allow=allow)
    reader = copy.deepcopy(model.reader)
    model.reader.allow(allow)
    try:
        for picture in pictures[:2]:
            one = limited(picture)
            same(strips.pytorch(picture), one)
            assert set("".join(w.text for w in one.words)) <= set(allow)
    finally:
        model.reader.allow(reader.allowed_characters)


def test_folders_of_before_read_all_characters(strips, monkeypatch):
    """Their graphs take strips alone."""

    class Before(GraphRunner):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            self.sessions = {k: SimpleNamespace(get_inputs=lambda v=v: v.get_inputs()[:1]) for k, v in self.sessions.items()}

    monkeypatch.setattr(onnx_spotter, "GraphRunner", Before)
    old = OnnxTextSpotter(strips.folder, "cpu", threads=1)
    fed = []
    monkeypatch.setattr(old, "run", lambda name, *x: fed.append(len(x)) or [np.zeros((2, 4), int), np.ones((2, 4))])
    old._read_strips(np.zeros((2, 48, 96, 3), np.float32))
    assert fed == [1]
    with pytest.raises(ValueError, match="cannot be told to these graphs: export the weights again"):
        OnnxTextSpotter(strips.folder, "cpu", allow="1")


def test_the_attention_head_is_refused_in_one_line(strips):
    model = copy.copy(strips.pytorch.model)
    model._reader = [copy.deepcopy(model.reader)]
    model.reader.add_decoder(16)
    assert "strips" in spotter_parts(model, (64, 64), 1), "a decoder that does not read is no hindrance"
    model.reader.use_head("attention")
    with pytest.raises(ValueError, match="MODEL.STRIPS.HEAD attention cannot be exported.*: export with HEAD ctc"):
        spotter_parts(model, (64, 64), 1)
