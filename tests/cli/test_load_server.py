"""The tool that puts a load on `dld serve`, with the tiny student."""

import json

import cv2
import pytest

from dld.cli import load_server


def test_figures_of_both_ways(tiny_weights, tmp_path, make_record, capsys):
    pytest.importorskip("fastapi_offline", reason='the server needs more packages: pip install "dld[serve]"')
    (tmp_path / "photos").mkdir()
    for seed in range(3):
        cv2.imwrite(str(tmp_path / "photos" / f"{seed}.png"), make_record(seed=seed)["image"])
    output = tmp_path / "load.json"
    code = load_server.main(
        ["--weights", tiny_weights["student"], "--images", str(tmp_path / "photos"), "--clients", "3", "--seconds", "1.5",
         "--broken", "0.4", "--output", str(output), "--serve", "--batch-size", "2"]
    )  # fmt: skip
    printed = capsys.readouterr().out
    report = json.loads(output.read_text())
    server = report["server"]
    assert code == 0 and server["exit_code"] == 0 and server["wrong"] == 0, printed
    assert server["per_second"] > 0 and server["p50_ms"] <= server["p95_ms"] and 1 <= server["mean_batch"] <= 2
    assert set(server["statuses"]) <= {"200", "400", "415"} and len(server["statuses"]) > 1
    assert report["one_by_one"]["per_second"] > 0 and min(server["memory_mb"]) > 50
    assert "--clients 3" in report["command"] and "3 clients" in printed and "memory " in printed


def test_mistakes(tiny_weights, capsys):
    assert load_server.main(["--weights", tiny_weights["student"], "--clients", "0"]) == 2
    assert "--clients must be at least 1" in capsys.readouterr().err
