"""Measures how time and peak memory grow with image, words and candidate scales. Every point has a process of its own."""

from __future__ import annotations

from pathlib import Path

from dld.benchmark.fresh_process import in_fresh_process
from dld.benchmark.setting import Setting

__all__ = ["growth_of", "measure_growth", "plot_growth"]

AXES = {
    "side": ("pixels of a side (10 words)", "GFLOPs"),
    "words": ("words in 640 x 640", "GFLOPs"),
    "scales": ("candidate scales of a training step", "passes"),
}


def measure_growth(setting: Setting) -> dict:
    """Measure the part "growth": a curve by axis, and how much faster than its work time grows on each; draw a picture.

    Work is counted FLOPs for reading, and forward passes for a training step: S scales, teacher, and three for the student.
    """
    sides = setting.either((320, 640, 960, 1280), (64, 128))
    words, scales = setting.either((0, 10, 100, 500), (0, 3)), setting.either((1, 2, 4, 6), (1, 2))
    fixed, side = setting.either(640, 64), setting.either(320, 64)
    plan = {
        "side": [(x, {"what": "reading", "side": x, "words": 10}) for x in sides],
        "words": [(n, {"what": "reading", "side": fixed, "words": n}) for n in words],
        "scales": [(n, {"what": "training", "way": "ours", "scales": n, "side": side}) for n in scales],
    }
    curves: dict[str, list[dict]] = {}
    for axis, points in plan.items():
        setting.say(f"growth: {AXES[axis][0]}: {', '.join(str(x) for x, _ in points)}")
        curves[axis] = []
        for x, point in points:
            found = in_fresh_process(setting, point)
            work = found.get("gflops", x + 4)
            memory = found["peak_bytes"] - found["before_bytes"]
            row = {"x": x, "seconds": found["seconds"], "bytes": memory, "work": work, "size": found["size"]}
            curves[axis].append(row)
    report = {"curves": curves, "faster_than_work": {axis: growth_of(rows) for axis, rows in curves.items()}}
    if setting.folder is not None:
        picture = Path(setting.folder) / f"growth_{setting.device.split(':')[0]}.png"
        plot_growth(curves, picture)
        report["picture"] = picture.name
        setting.say(f"-> {picture}")
    return report


def growth_of(rows: list[dict]) -> dict[str, float]:
    """Compare the last point with the first: time and memory as multiples, each divided by the multiple of the work.

    At 1 and below, nothing grows faster than its work.
    """
    first, last = rows[0], rows[-1]
    work = last["work"] / first["work"]
    return {k: last[k] / max(first[k], 1e-9) / work for k in ("seconds", "bytes")}


def plot_growth(curves: dict[str, list[dict]], path: Path) -> None:
    """Draw time (left axis) and peak memory (right) of every curve, with the work scaled to the last time."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(1, len(curves), figsize=(4.2 * len(curves), 3.4), constrained_layout=True)
    for panel, (axis, rows) in zip(panels, curves.items(), strict=True):
        label, unit = AXES[axis]
        x = [row["x"] for row in rows]
        seconds = [row["seconds"] for row in rows]
        work = [row["work"] / rows[-1]["work"] * seconds[-1] for row in rows]
        panel.plot(x, seconds, "o-", color="tab:blue", label="time")
        panel.plot(x, work, ":", color="tab:gray", label=f"work ({unit}), scaled")
        panel.set(xlabel=label, ylabel="seconds", ylim=(0, None))
        memory = panel.twinx()
        memory.plot(x, [row["bytes"] / 2**20 for row in rows], "s--", color="tab:orange", label="peak memory")
        memory.set(ylabel="MiB above what the model takes", ylim=(0, None))
        handles = [*panel.get_lines(), *memory.get_lines()]
        panel.legend(handles, [h.get_label() for h in handles], fontsize=7, loc="upper left")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)
