"""Measures one point in a process of its own: `python -m dld.benchmark.measured_point JSON` prints one line of json."""

from __future__ import annotations

import json
import statistics
import sys

import torch

from dld.benchmark.forced_words import forced_words, random_boxes
from dld.benchmark.fresh_process import MARK
from dld.benchmark.peak_memory import current_bytes, peak_bytes, reset_peak
from dld.benchmark.setting import Setting, spotter_of, train_batches
from dld.benchmark.timing import seconds_of
from dld.benchmark.training import TrainingStep, distiller

__all__ = ["measure_point"]


def measure_point(setting: Setting, point: dict) -> dict:
    """Measure seconds, memory before and at its highest (bytes), and the size of what ran.

    Args:
        point: `what` "training" with `way` ("ours", "plain") and, optionally, `scales` (how many candidates) and `side`
            (pixels); or `what` "reading" with `side` and `words`.
    """
    prepare = {"training": _training, "reading": _reading}[point["what"]]
    call, about = prepare(setting, point)
    reset_peak(setting.device)
    before = current_bytes(setting.device)
    times = [seconds_of(call, setting.device) for _ in range(setting.either(4, 1))]
    found = {"before_bytes": before, "peak_bytes": peak_bytes(setting.device)}
    # the first call includes what is set up once
    return {**found, "seconds": statistics.median(times[1:] or times), **about}


def _training(setting: Setting, point: dict):
    if "scales" in point:
        scales = torch.linspace(0.3, 0.8, point["scales"] + 1)[1:].tolist()
        setting.opts = [*setting.opts, "MODEL.SELECTOR.SCALES", [round(s, 3) for s in scales]]
    if "side" in point:
        setting.opts = [*setting.opts, "INPUT.MIN_SIZE_TRAIN", (point["side"],), "SOLVER.IMS_PER_BATCH", 2]
    cfg, model = distiller(setting)
    batch = next(train_batches(cfg, 1))
    step = TrainingStep(model)
    way = {"ours": step.ours, "plain": step.plain}[point["way"]]
    height, width = batch[0]["image"].shape[-2:]
    return lambda: way(batch), {"size": f"batch {len(batch)}, {height} x {width}, float32"}


def _reading(setting: Setting, point: dict):
    _, model = spotter_of(setting, setting.weights)
    side, words = point["side"], point["words"]
    record = {"image": torch.rand(3, side, side) * 255, "height": side, "width": side}

    def read() -> None:
        with torch.inference_mode(), forced_words(model.student) as given:
            given.update(boxes=random_boxes(words, (side, side)), size=(side, side))
            model.student([record])

    gflops = model.cost_table.teacher_flops([(side, side)], [words]).item() / 1e9
    return read, {"size": f"{side} x {side}, {words} words", "gflops": gflops}


def main(argv: list[str]) -> int:
    given = json.loads(argv[0])
    setting = Setting(**given["setting"])
    torch.set_num_threads(setting.threads)
    print(MARK + json.dumps(measure_point(setting, given["point"])), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
