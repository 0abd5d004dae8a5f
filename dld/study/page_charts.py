"""The study's charts as inline SVG: accuracy against cost, and how often each scale was chosen.

Colours, fonts and the dark scheme stand in the style sheet, only classes and coordinates here.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from dld.evaluation.protocol import TASKS
from dld.study.page_marks import as_html

__all__ = ["TASK_NAMES", "accuracy_cost_chart", "model_classes", "scale_chart", "ticks"]

TASK_NAMES = {"detection": "detection", "e2e": "end-to-end", "word_spotting": "word spotting"}
WIDTH, HEIGHT = 720, 400
LEFT, RIGHT, TOP, BOTTOM = 64, 20, 16, 64  # margins
COLORS = 6  # of students, in the style sheet; the teacher has the colour of the text


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Return round numbers from `low` or below to `high` or above, 1, 2 or 5 times a power of ten apart: `most` or one more."""
    span = max(high - low, 1e-9 * max(abs(high), 1), 1e-9)
    power = 10 ** math.floor(math.log10(span / most))
    step = next(power * k for k in (1, 2, 5, 10, 20) if span / (power * k) <= most - 1)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(k * step, 10) for k in range(first, max(last, first + 1) + 1)]


def model_classes(rows: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Return the class of the colour of each model, in the order of their first rows; the teacher's is m0."""
    models = list(dict.fromkeys(row["model"] for row in rows))
    return {model: f"m{(i - 1) % COLORS + 1 if i else 0}" for i, model in enumerate(models)}


def accuracy_cost_chart(rows: Sequence[Mapping[str, Any]], task: str) -> str:
    """Draw the H-mean of a task in per cent over GFLOPs: a curve a model over its fixed scales, a star with the 95 % interval
    (of end-to-end) for the selector's own choice, diamonds for its choice under a budget.

    Every point is a link to `#row-I`, its row of the table.

    Args:
        rows: as `study_row` makes them.
    """
    assert task in TASKS
    values = [100 * row[f"{task}_hmean"] for row in rows]
    if task == "e2e":
        values += [100 * v for row in rows if row["choice"] == "chosen" for v in row["e2e_interval"]]
    across, up = ticks(0, max(row["total_gflops"] for row in rows)), ticks(min(values), max(values))

    def x(value: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * value / across[-1]

    def y(value: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (value - up[0]) / (up[-1] - up[0])

    parts = [
        f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(v):.1f}" y2="{y(v):.1f}"/>'
        f'<text class="tick" x="{LEFT - 8}" y="{y(v) + 4:.1f}" text-anchor="end">{v:g}</text>'
        for v in up
    ]
    parts += [f'<text class="tick" x="{x(v):.1f}" y="{HEIGHT - BOTTOM + 20}" text-anchor="middle">{v:g}</text>' for v in across]
    parts.append(f'<text class="axis" x="{WIDTH - RIGHT}" y="{HEIGHT - 10}" text-anchor="end">GFLOPs an image</text>')
    parts.append(f'<line class="axis-line" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(up[0]):.1f}" y2="{y(up[0]):.1f}"/>')
    for model, color in model_classes(rows).items():
        mine = [(i, row) for i, row in enumerate(rows) if row["model"] == model]
        parts.append(f'<g class="series {color}" data-model="{as_html(model)}">')
        for choice in ("fixed", "budget"):
            line = sorted((row["total_gflops"], 100 * row[f"{task}_hmean"]) for _, row in mine if row["choice"] == choice)
            if len(line) > 1:
                path = " ".join(f"{x(a):.1f},{y(b):.1f}" for a, b in line)
                parts.append(f'<polyline class="{choice}" points="{path}"/>')
        parts += [_point(i, row, task, x, y, named=color == "m0") for i, row in mine]
        parts.append("</g>")
    what = f"{TASK_NAMES[task].capitalize()} H-mean over GFLOPs; the figures are in the table below."
    return f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="group" aria-label="{what}">{"".join(parts)}</svg>'


def _point(index: int, row: Mapping[str, Any], task: str, x, y, named: bool) -> str:
    hmean = 100 * row[f"{task}_hmean"]
    a, b = x(row["total_gflops"]), y(hmean)
    text = (
        f"{row['name']}: {hmean:.1f}% {TASK_NAMES[task]}, {row['total_gflops']:.2f} GFLOPs, "
        f"{row['teacher_share']:.0%} of the teacher's"
    )
    bar = ""
    if row["choice"] == "chosen" and task == "e2e":
        low, high = (y(100 * v) for v in row["e2e_interval"])
        ends = "".join(f"M{a - 5:.1f} {end:.1f}h10" for end in (low, high))
        bar = f'<path class="interval" d="M{a:.1f} {low:.1f}V{high:.1f}{ends}"/>'
    name = ""
    if named and row["choice"] == "fixed":
        name = f'<text class="scale" x="{a + 7:.1f}" y="{b + 16:.1f}">{row["mean_scale"]:g}</text>'
    shape = {"fixed": "M-4 0a4 4 0 1 0 8 0a4 4 0 1 0 -8 0z", "chosen": STAR, "budget": "M0 -6l6 6l-6 6l-6 -6z"}[row["choice"]]
    return (
        f'<a class="point {row["choice"]}" href="#row-{index}" aria-label="{as_html(text)}"><title>{as_html(text)}</title>{bar}'
        f'<circle class="target" cx="{a:.1f}" cy="{b:.1f}" r="13"/>'
        f'<g transform="translate({a:.1f} {b:.1f})"><path class="shape" d="{shape}"/></g></a>{name}'
    )


def _star(outer: float = 11, inner: float = 4.6) -> str:
    corners = [((outer, inner)[k % 2], k * math.pi / 5) for k in range(10)]
    return "M" + "L".join(f"{r * math.sin(angle):.1f} {-r * math.cos(angle):.1f}" for r, angle in corners) + "z"


STAR = _star()


def scale_chart(row: Mapping[str, Any], scales: Sequence[float], color: str) -> str:
    """Draw how many images of a row were read at each of `scales`, as columns with their shares."""
    counts = [row["scale_histogram"].get(f"{scale:g}", 0) for scale in scales]
    width, height, foot, head = 320, 200, 44, 24
    step = width / len(scales)
    bar = min(0.7 * step, 56)
    parts = [f'<line class="axis-line" x1="0" x2="{width}" y1="{height - foot}" y2="{height - foot}"/>']
    for k, (scale, count) in enumerate(zip(scales, counts, strict=True)):
        middle, tall = (k + 0.5) * step, (height - foot - head) * count / max(counts)
        top = height - foot - tall
        parts.append(
            f'<rect class="bar" x="{middle - bar / 2:.1f}" y="{top:.1f}" width="{bar:.1f}" height="{tall:.1f}" rx="2">'
            f"<title>scale {scale:g}: {count} images</title></rect>"
            f'<text class="share" x="{middle:.1f}" y="{top - 6:.1f}" text-anchor="middle">{count / sum(counts):.0%}</text>'
            f'<text class="tick" x="{middle:.1f}" y="{height - foot + 17}" text-anchor="middle">{scale:g}</text>'
        )
    parts.append(f'<text class="axis" x="{width / 2}" y="{height - 8}" text-anchor="middle">scale</text>')
    told = ", ".join(f"{scale:g}: {count}" for scale, count in zip(scales, counts, strict=True))
    label = as_html(f"Images of {row['name']} by chosen scale. {told}")
    return (
        f'<svg class="chart small {color}" viewBox="0 0 {width} {height}" role="img" aria-label="{label}">'
        f"{''.join(parts)}</svg>"
    )
