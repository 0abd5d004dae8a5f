"""What each module of a spotter costs."""

import json

import pytest
import torch
from detectron2.modeling import build_model
from torch import nn

import dld.modeling  # noqa: F401  only registration
from dld.cli import analyze
from dld.modeling.flops import flops_by_module
from dld.structures.image_sizes import photo_size
from dld.study.parts import ELSEWHERE, measure_parts, parts_table


def test_a_module_inside_another_counts_for_itself_alone():
    inner = nn.Linear(4, 8, bias=False)
    outer = nn.Sequential(inner, nn.Linear(8, 2, bias=False))

    def call():
        outer(torch.zeros(3, 4))
        inner(torch.zeros(5, 4))
        torch.zeros(2, 2) @ torch.zeros(2, 2)

    total, own = flops_by_module(call, {"outer": outer, "inner": inner})
    assert own == {"outer": 2 * 3 * 8 * 2, "inner": 2 * (3 + 5) * 4 * 8}
    assert total == sum(own.values()) + 2 * 8
    assert not inner._forward_hooks and not inner._forward_pre_hooks


def test_a_picture_of_test_is_4_to_3():
    assert photo_size(640, 1600) == (640, 853) == photo_size(640, 0)
    assert photo_size(640, 800) == (600, 800)


@pytest.mark.parametrize("reader", ["", "StripRecognizer"])
def test_modules_add_up_to_the_cost_law(tiny_cfg, reader):
    tiny_cfg.MODEL.RECOGNITION.READER = reader
    model = build_model(tiny_cfg).eval()
    found = measure_parts(model, (100, 150), words=3, repeats=1)
    assert found["size"] == [128, 160]
    assert found["mac"] == pytest.approx(found["law_mac"], rel=0.01)
    rows = {row["module"]: row for row in found["rows"]}
    assert sum(row["mac"] for row in rows.values()) == pytest.approx(found["mac"], abs=len(rows))
    assert sum(row["share"] for row in rows.values()) == pytest.approx(1)
    counted = model.count_parts((128, 160), 3, 12)
    assert rows["backbone.bottom_up"]["mac"] == counted.backbone // 2
    assert rows["proposal_generator.rpn_head"]["mac"] == counted.rpn // 2
    held = sum(p.numel() for p in model.parameters()) + (sum(p.numel() for p in model.reader.parameters()) if reader else 0)
    assert found["parameters"] == held
    # what is trained but not asked at test computes nothing
    assert (rows["roi_heads.recognizer"]["mac"] == 0) == bool(reader)
    assert any(name.startswith("reader.") for name in rows) == bool(reader)
    assert ELSEWHERE not in rows or rows[ELSEWHERE]["mac"] == 0 or not reader
    assert found["ms"] > 0 and rows["backbone.bottom_up"]["ms"] > 0


@pytest.mark.parametrize("reader", ["", "StripRecognizer"])
def test_parts_of_a_spotter_without_proposals_add_up_too(tiny_cfg, reader):
    tiny_cfg.merge_from_list(["MODEL.META_ARCHITECTURE", "TextPerceptron", "MODEL.RECOGNITION.READER", reader])
    model = build_model(tiny_cfg).eval()
    found = measure_parts(model, (100, 150), words=3, repeats=1)
    assert found["mac"] == pytest.approx(found["law_mac"], rel=0.01)
    rows = {row["module"]: row for row in found["rows"]}
    heads = sum(row["mac"] for name, row in rows.items() if name.startswith("heads."))
    assert heads == pytest.approx(model.count_parts((128, 160), 3, 12).rpn // 2, abs=len(rows)) and heads > 0
    assert any(name.startswith("reader.") for name in rows) == bool(reader)


def test_parts_of_a_spotter_with_a_grid_add_up_too(tiny_cfg):
    tiny_cfg.merge_from_list(["MODEL.META_ARCHITECTURE", "Mango", "MODEL.RECOGNITION.CTC_WEIGHT", 0.0])
    tiny_cfg.merge_from_list(["MODEL.MANGO.GRID", 8, "MODEL.MANGO.GROUPS", 4, "MODEL.MANGO.CONVS", 1])
    model = build_model(tiny_cfg).eval()
    found = measure_parts(model, (100, 150), words=3, repeats=1)
    assert found["mac"] == pytest.approx(found["law_mac"], rel=0.01)
    rows = {row["module"]: row for row in found["rows"]}
    parts = model.count_parts((128, 160), 3, 12)
    finder = sum(row["mac"] for name, row in rows.items() if name.startswith("finder."))
    assert 0 < finder < (parts.rpn + parts.boxes) // 2
    assert rows[ELSEWHERE]["mac"] >= parts.attention // 2 > 0


def test_names_are_cut_where_it_is_wanted(tiny_cfg):
    model = build_model(tiny_cfg).eval()
    coarse, fine = (measure_parts(model, (64, 64), 0, depth, repeats=1) for depth in (1, 3))
    assert {row["module"] for row in coarse["rows"]} - {ELSEWHERE} == {"backbone", "proposal_generator", "roi_heads"}
    names = [row["module"] for row in fine["rows"]]
    assert {"backbone.bottom_up.res2", "proposal_generator.rpn_head.conv"} <= set(names)
    # an image without words
    assert coarse["mac"] == fine["mac"] == pytest.approx(coarse["law_mac"], rel=0.01)
    assert parts_table(fine).count("\n") == 1 + len(names) + 2
    with pytest.raises(ValueError, match="depth must be at least 1, got 0"):
        measure_parts(model, (64, 64), 0, 0)


def test_the_command_writes_a_table_for_every_spotter(tiny_weights, tmp_path, capsys):
    output = tmp_path / "parts"
    common = ["--teacher", tiny_weights["teacher"], "--threads", "1", "--output", str(output)]
    options = ["--student", f"dld={tiny_weights['student']}", "--parts", "--size", "64", "96", "--words", "2", "--repeats", "1"]
    assert analyze.main([*common, *options]) == 0
    teacher, student = json.loads((output / "parts.json").read_text())
    assert (teacher["name"], student["name"], teacher["threads"]) == ("teacher", "dld", 1)
    assert teacher["mac"] == student["mac"] and teacher["words"] == 2 and teacher["size"] == [64, 96]
    written = (output / "parts.md").read_text()
    assert written.strip() in capsys.readouterr().out and written.count("| by the cost law") == 2
    assert analyze.main(common) == 2
    assert "--dataset NAME is missing" in capsys.readouterr().err
