import json

from dld.cli.benchmark import main


def test_the_report_holds_what_was_measured(tmp_path, capsys):
    target = tmp_path / "deep" / "report.json"
    assert main(["--only", "generator", "--output", str(target)]) == 0
    part = json.loads(target.read_text())["parts"]["generator"]
    assert part["images_per_second"] > 0 and part["images_per_cpu_second"] > 0
    assert "images_per_second" in capsys.readouterr().out
