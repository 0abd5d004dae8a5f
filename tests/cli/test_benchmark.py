import json

import pytest

from dld.cli import benchmark
from dld.cli.benchmark import PARTS, default_output, main, parts


def test_the_report_is_written_and_kept_when_a_part_is_added(tmp_path, capsys):
    target = tmp_path / "deep" / "report.json"
    assert main(["--only", "evaluation", "--quick", "--threads", "1", "--output", str(target)]) == 0
    report = json.loads(target.read_text())
    assert report["parts"]["evaluation"]["cpu_seconds"] > 0 and report["threads"] == 1 and report["quick"] is True
    assert report["versions"]["torch"] and report["device"] == "cpu"
    report["parts"]["beams"] = {"ratios": []}
    target.write_text(json.dumps(report))
    assert main(["--only", "evaluation", "--quick", "--threads", "1", "--update", "--output", str(target)]) == 0
    assert set(json.loads(target.read_text())["parts"]) == {"beams", "evaluation"}
    assert "evaluation: 5 images of 20 words" in capsys.readouterr().out


def test_a_part_that_fails_is_named_and_the_others_go_on(tmp_path, monkeypatch, capsys):
    def fail(setting):
        raise RuntimeError("loss_rec is 1 in one and 2 in the other")

    monkeypatch.setattr(benchmark, "parts", lambda: {**parts(), "beams": fail})
    target = tmp_path / "report.json"
    command = ["--only", "beams", "evaluation", "--quick", "--threads", "1", "--output", str(target)]
    assert main(command) == 1
    report = json.loads(target.read_text())
    assert "loss_rec" in report["failed"]["beams"] and "evaluation" in report["parts"]
    assert "beams failed: loss_rec" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--device", "cuda"], "sees no GPU"),
        (["--threads", "-1"], "--threads"),
        (["--only", "beams", "--weights", "no_such_weights"], "no_such_weights"),
        (["--only", "inference", "--config", "missing.yaml"], "missing.yaml"),
    ],
)
def test_what_cannot_be_measured_is_said(options, message, capsys, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert main([*options, "--quick", "--output", ""]) == 2
    assert message in capsys.readouterr().err


def test_every_part_has_its_function():
    assert tuple(parts()) == PARTS and all(callable(f) for f in parts().values())


def test_results_of_a_checkout_go_to_the_project():
    assert default_output("cpu").as_posix().endswith("projects/DLD/results/benchmark_cpu.json")
    assert default_output("cuda:1").name == "benchmark_gpu.json"


@pytest.mark.slow
def test_everything_runs(tmp_path):
    target = tmp_path / "report.json"
    assert main(["--quick", "--threads", "1", "--output", str(target)]) == 0
    report = json.loads(target.read_text())
    assert set(report["parts"]) == set(PARTS) and not report["failed"]
    wanted = {"ratio", "a_median", "b_median", "spread", "size", "threads"}
    assert len(report["ratios"]) >= 13 and all(wanted <= set(entry) for entry in report["ratios"].values())
    assert {"inference_tiny_half_teacher", "inference_R50_half_other"} <= set(report["stages"])
    assert (tmp_path / report["parts"]["growth"]["picture"]).is_file()
