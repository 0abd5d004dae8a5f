"""Draws the study in two pictures: end-to-end H-mean over GFLOPs, and detection and end-to-end over the scale."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

__all__ = ["plot_accuracy_cost", "plot_scales"]

# Okabe and Ito's colours, told apart by everybody; the teacher is black.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
TEACHER_COLOR = "#222222"


def plot_accuracy_cost(rows: Sequence[Mapping[str, Any]], path: str | Path) -> None:
    """Draw one curve a model over its fixed scales; stars: the selector's own choice, with the 95 % interval of the score;
    diamonds: its choice under a budget. `rows` as `study_row` makes them."""
    figure, (axes,) = _figure(1)
    colors = _colors(rows)
    for model, color in colors.items():
        of_model = [row for row in rows if row["model"] == model]
        fixed = sorted((r for r in of_model if r["choice"] == "fixed"), key=lambda r: r["total_gflops"])
        x, y = _xy(fixed)
        axes.plot(x, y, "o-", color=color, markersize=4, linewidth=1.3, label=model)
        for row, a, b in zip(fixed, x, y, strict=True):
            # only one curve carries the scales: they would cover each other where students lie close
            if model == next(iter(colors)):
                axes.annotate(
                    f"{row['mean_scale']:g}", (a, b), xytext=(6, -10), textcoords="offset points", fontsize=8, color=color
                )
        budget = sorted((r for r in of_model if r["choice"] == "budget"), key=lambda r: r["total_gflops"])
        axes.plot(*_xy(budget), "D--", color=color, markersize=5, linewidth=1.0, markerfacecolor="white")
        for row in (r for r in of_model if r["choice"] == "chosen"):
            (a,), (b,) = _xy([row])
            low, high = (100 * value for value in row["e2e_interval"])
            # the centre of the interval is not the score: a resampled H-mean may be skewed
            axes.errorbar([a], [b], [[max(b - low, 0)], [max(high - b, 0)]], color=color, capsize=3, linewidth=1.0)
            axes.plot([a], [b], "*", color=color, markersize=15, markeredgecolor="white", markeredgewidth=0.8, zorder=5)
    handles = axes.get_legend_handles_labels()[0]
    for choice, marker, size, face, label in (
        ("fixed", "o", 4, "#555555", "fixed scale (the numbers)"),
        ("chosen", "*", 12, "#555555", "scale chosen per image, 95 % interval"),
        ("budget", "D", 5, "white", "chosen under a budget"),
    ):
        if any(row["choice"] == choice for row in rows):
            handles.append(
                Line2D([], [], color="#555555", marker=marker, markersize=size, markerfacecolor=face, linestyle="", label=label)
            )
    axes.legend(handles=handles, fontsize=8, frameon=False, loc="lower right")
    axes.set_xlabel("GFLOPs per image (everything that ran, selector included)")
    axes.set_ylabel("end-to-end H-mean, %")
    axes.set_xlim(left=0)
    axes.margins(y=0.12)
    _finish(figure, rows, path)


def plot_scales(rows: Sequence[Mapping[str, Any]], path: str | Path) -> None:
    """Draw detection and end-to-end H-mean of every model over its fixed scales: does detection bound reading?"""
    figure, panels = _figure(2)
    for axes, task, label in zip(panels, ("detection", "e2e"), ("detection", "end-to-end"), strict=True):
        for model, color in _colors(rows).items():
            fixed = sorted((r for r in rows if r["model"] == model and r["choice"] == "fixed"), key=lambda r: r["mean_scale"])
            x, y = [row["mean_scale"] for row in fixed], [100 * row[f"{task}_hmean"] for row in fixed]
            axes.plot(x, y, "o-", color=color, markersize=4, linewidth=1.3, label=model)
        axes.set_xlabel("scale (share of the teacher's resolution)")
        axes.set_ylabel(f"{label} H-mean, %")
        axes.margins(y=0.12)
    panels[0].legend(fontsize=8, frameon=False, loc="best")
    _finish(figure, rows, path)


def _figure(panels: int):
    # no pyplot: it would pick a window system and keep every figure alive
    figure = Figure(figsize=(7.5 if panels == 1 else 10, 5 if panels == 1 else 4.2), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, panels, squeeze=False)[0]
    for panel in axes:
        panel.grid(color="#dddddd", linewidth=0.6)
        panel.spines[["top", "right"]].set_visible(False)
        panel.set_axisbelow(True)
    return figure, axes


def _colors(rows: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Return a colour for each model, in the order in which they first appear; the teacher's rows come first."""
    models = list(dict.fromkeys(row["model"] for row in rows))
    return {m: TEACHER_COLOR if i == 0 else COLORS[(i - 1) % len(COLORS)] for i, m in enumerate(models)}


def _xy(rows: Sequence[Mapping[str, Any]]) -> tuple[list[float], list[float]]:
    return [row["total_gflops"] for row in rows], [100 * row["e2e_hmean"] for row in rows]


def _finish(figure: Figure, rows: Sequence[Mapping[str, Any]], path: str | Path) -> None:
    first = rows[0]
    figure.suptitle(f"{first.get('dataset', 'study')}: {first['images']} images, {first['words']} words", fontsize=10)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
