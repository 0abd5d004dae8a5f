import json

import pytest

from dld.benchmark.growth import growth_of, plot_growth
from dld.benchmark.report import TARGETS, describe_machine, markdown, merge_part, write_report


def entry(ratio, **more):
    return {"ratio": ratio, "a_median": 2.5, "b_median": 0.25, "spread": 0.031, "size": "small", "threads": 2, **more}


def test_parts_come_together_and_are_replaced_by_name(tmp_path):
    report = {}
    merge_part(report, "beams", {"ratios": {"beam_search": entry(9.0)}})
    merge_part(report, "inference", {"ratios": {"x": entry(2.0)}, "stages": {"x": {"boxes": 0.25}}, "words": {"x": [3]}})
    merge_part(report, "beams", {"ratios": {"beam_search": entry(11.0)}})
    assert report["ratios"]["beam_search"]["ratio"] == 11.0 and report["stages"] == {"x": {"boxes": 0.25}}
    assert report["parts"] == {"beams": {"ratios": ["beam_search"]}, "inference": {"words": {"x": [3]}, "ratios": ["x"]}}
    write_report(report, tmp_path / "deep" / "r.json")
    assert json.loads((tmp_path / "deep" / "r.json").read_text()) == report
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["r.json"]


def test_the_tables_say_what_was_measured_and_what_was_wanted():
    report = {"device": "cpu"}
    merge_part(report, "beams", {"ratios": {"beam_search": entry(9.96)}, "stages": {"s": {"boxes": 0.25, "other": 0.001}}})
    merge_part(report, "training", {"ratios": {"training_memory": entry(1.1, unit="bytes", a_median=3 << 20)}})
    table = markdown(report)
    assert "| beam_search | 9.96 | 2.50 s | 250.00 ms | 3% | small |" in table
    assert "| beam_search: ratio | >= 10 | 9.96 | **missed** |" in table
    assert "| training_memory: ratio | <= 1.2 | 1.10 | met |" in table and "| 3 MiB |" in table
    assert "| s | 250.0 | 1.0 | 251.0 |" in table
    assert ">= 100" in markdown({**report, "device": "some GPU"})


def test_targets_name_each_ratio_once():
    names = [t[0] for t in TARGETS]
    assert len(names) == len(set(names)) == 9


def test_the_machine_is_named():
    about = describe_machine("cpu")
    assert about["device"] == "cpu" and about["cores"] >= 1 and about["machine"]
    assert {"torch", "python", "dld", "detectron2"} <= set(about["versions"])


def test_growth_beyond_the_work_by_hand(tmp_path):
    rows = [
        {"x": 1, "seconds": 2.0, "bytes": 100, "work": 5.0},
        {"x": 2, "seconds": 3.0, "bytes": 150, "work": 7.0},
        {"x": 4, "seconds": 8.0, "bytes": 100, "work": 10.0},
    ]
    # work doubled: time grew fourfold, memory not at all
    assert growth_of(rows) == {"seconds": pytest.approx(2.0), "bytes": pytest.approx(0.5)}
    plot_growth({"side": rows, "words": rows, "scales": rows}, tmp_path / "pictures" / "growth.png")
    assert (tmp_path / "pictures" / "growth.png").stat().st_size > 10_000
