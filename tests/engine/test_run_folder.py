import json
import os

import pytest

from dld.engine.run_folder import cut_metrics, periodic_checkpoints, remove_unfinished


def lines(*iterations):
    return "".join(json.dumps({"iteration": i, "total_loss": 0.5}) + "\n" for i in iterations)


@pytest.mark.parametrize(
    ("before", "start", "after", "cut"),
    [
        (lines(19, 39, 59), 40, lines(19, 39), 1),
        (lines(19, 39, 59), 60, lines(19, 39, 59), 0),
        (lines(19, 39) + '{"iteration": 5', 60, lines(19, 39), 1),
        (lines(19) + "[1]\n" + lines(39), 60, lines(19), 2),
        ("", 1, "", 0),
    ],
)
def test_lines_of_iterations_to_come_and_broken_lines_are_cut(tmp_path, before, start, after, cut):
    path = tmp_path / "metrics.json"
    path.write_text(before)
    assert cut_metrics(str(path), start) == cut
    assert path.read_text() == after


def test_a_writer_that_has_the_file_open_goes_on_behind_the_cut(tmp_path):
    path = tmp_path / "metrics.json"
    path.write_text(lines(19, 39))
    with open(path, "a") as writer:
        cut_metrics(str(path), 20)
        writer.write(lines(39))
    assert path.read_text() == lines(19, 39)


def test_no_metrics_yet(tmp_path):
    assert cut_metrics(str(tmp_path / "metrics.json"), 5) == 0


def test_only_what_a_dead_process_was_writing_is_removed(tmp_path):
    names = [f"model_final.pth.{2**22 + 5}.tmp", f"model_final.pth.{os.getpid()}.tmp", "model_final.pth", "notes.tmp"]
    for name in names:
        (tmp_path / name).write_bytes(b"")
    assert remove_unfinished(str(tmp_path)) == names[:1]
    assert sorted(os.listdir(tmp_path)) == sorted(names[1:])


def test_periodic_checkpoints_come_oldest_first(tmp_path):
    for name in ("model_0000009.pth", "model_0000003.pth", "model_best.pth", "model_final.pth", "model_3.pth"):
        (tmp_path / name).write_bytes(b"")
    assert [os.path.basename(p) for p in periodic_checkpoints(str(tmp_path))] == ["model_0000003.pth", "model_0000009.pth"]
