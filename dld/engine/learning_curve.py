"""Accuracy of the reader of strips over the words it has read in training: curve.json and curve.png."""

from __future__ import annotations

import json
import os
from collections.abc import Callable

import torch
import torch.distributed as dist
from detectron2.engine import HookBase
from detectron2.utils import comm

from dld.utils.atomic_write import atomic_write

__all__ = ["CURVE_FILE", "CURVE_PICTURE", "LearningCurve", "plot_curve"]

CURVE_FILE, CURVE_PICTURE = "curve.json", "curve.png"
# as in the study: Okabe and Ito's colours, told apart by everybody
_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7")


class LearningCurve(HookBase):
    """Scores the reader whenever so many more words were read, by all processes together, and after the last step.

    The main process does it. The words and all rows are a part of every checkpoint: stand in front of what writes it. A run
    that goes on writes the rows of its checkpoint, and goes on counting.

    Args:
        period: words between two rows.
        evaluate: returns {data set: {rows: {kind: per cent}}}.
        folder: OUTPUT_DIR; gets curve.json, a list of {"words", "iteration", and each data set}, and curve.png.

    Raises:
        ValueError: a period below 1.
    """

    def __init__(self, period: int, evaluate: Callable[[], dict], folder: str) -> None:
        if period < 1:
            raise ValueError(f"MODEL.STRIPS.TRAINING.CURVE_WORDS must be positive, or 0 for no curve, got {period}")
        self.period, self.evaluate, self.folder = period, evaluate, folder
        self.words = 0
        self.rows: list[dict] = []

    def state_dict(self) -> dict:
        return {"words": self.words, "rows": list(self.rows)}

    def load_state_dict(self, state: dict) -> None:
        self.words, self.rows = state["words"], list(state["rows"])

    def before_train(self) -> None:
        # rows of a run that is broken off or replaced are not those of this one
        if comm.is_main_process() and os.path.exists(os.path.join(self.folder, CURVE_FILE)):
            self.write()

    def after_step(self) -> None:
        before = self.words
        self.words += self._read_in_step()
        ends = self.trainer.iter + 1 >= self.trainer.max_iter
        if (ends or self.words // self.period > before // self.period) and comm.is_main_process():
            self.rows.append({"words": self.words, "iteration": self.trainer.iter + 1, **self.evaluate()})
            self.write()

    def _read_in_step(self) -> int:
        """Return the words of the last step, of all processes."""
        step = self.trainer._trainer
        count = int(step.last_counts.get("word", 0))
        if comm.get_world_size() == 1:
            return count
        total = torch.tensor(count, device=step.device)
        dist.all_reduce(total)
        return int(total)

    def write(self) -> None:
        """Write rows and picture, each whole or not at all."""
        text = json.dumps(self.rows, indent=1)
        atomic_write(os.path.join(self.folder, CURVE_FILE), lambda f: f.write(text.encode()))
        plot_curve(self.rows, os.path.join(self.folder, CURVE_PICTURE))


def plot_curve(rows: list[dict], path: str) -> None:
    """Draw the per cent of all words that are read over the words of training: a panel a data set, a line a height."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(name for row in rows for name in row if name not in ("words", "iteration")))
    figure = Figure(figsize=(1 + 5 * max(len(names), 1), 4), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, max(len(names), 1), squeeze=False)[0]
    for panel, name in zip(panels, names, strict=False):
        heights = list(dict.fromkeys(height for row in rows for height in row.get(name, {})))
        for i, height in enumerate(heights):
            scored = [(row["words"] / 1e6, row[name][height]["all"]) for row in rows if height in row.get(name, {})]
            panel.plot(*zip(*scored, strict=True), "o-", color=_COLORS[i % len(_COLORS)], markersize=3, label=f"{height} rows")
        panel.set(title=name, xlabel="million words", ylabel="words read, %")
        panel.legend(fontsize=8, frameon=False)
    atomic_write(path, lambda f: figure.savefig(f, format="png"))
