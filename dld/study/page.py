"""Renders the page: its parts in order, filled into templates/report.html with style and script inside.

Nothing is loaded from elsewhere, and the page forbids it to itself: its content security policy allows pictures in data
URIs, its own style and the one script by its hash. Texts come from data sets and models; all of them are escaped.
"""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from string import Template
from typing import Any

from dld.evaluation.protocol import TASKS
from dld.study.page_charts import TASK_NAMES, accuracy_cost_chart, model_classes, scale_chart
from dld.study.page_marks import Mark, Picture, as_html, overlay
from dld.study.page_tables import image_table, row_table, signed
from dld.study.ranking import ImageScore

__all__ = ["Example", "Panel", "Report", "render_page"]

TEMPLATES = Path(__file__).parent / "templates"
# how a panel lists its words: class, sign, what it means
VERDICTS = {
    "right": ("✓", "right"),
    "misread": ("≠", "wrong text (what was read ≠ what is written)"),
    "missed": ("−", "missed"),
    "false": ("+", "false detection"),
    "dont_care": ("○", "don't care, not counted"),
}


@dataclass(frozen=True)
class Panel:
    """One reading of an image: whose (name of the row), at which scale, its cost, and the marks."""

    name: str
    scale: float
    gflops: float
    share: float  # of the teacher's GFLOPs on this image
    marks: list[Mark]

    def count(self, *verdicts: str) -> int:
        return sum(mark.verdict in verdicts for mark in self.marks)


@dataclass(frozen=True)
class Example:
    """An image of the gallery with its panels, the teacher's first."""

    score: ImageScore
    title: str
    width: int
    height: int
    picture: Picture
    panels: list[Panel]


@dataclass(frozen=True)
class Report:
    """What the page shows.

    Attributes:
        rows: of results.json, the teacher at scale 1 first.
        facts: further lines of the head: what was measured, and how.
        candidates: scales of each student with a selector, by model.
        examples: the worst first.
    """

    rows: Sequence[Mapping[str, Any]]
    facts: Mapping[str, str]
    command: str
    candidates: Mapping[str, Sequence[float]] = field(default_factory=dict)
    examples: Sequence[Example] = ()


def render_page(report: Report) -> str:
    """Render the page as html."""
    script = (TEMPLATES / "report.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode()
    policy = (
        f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; "
        "base-uri 'none'; form-action 'none'"
    )
    first = report.rows[0]
    return Template((TEMPLATES / "report.html").read_text(encoding="utf-8")).substitute(
        policy=policy,
        style=(TEMPLATES / "report.css").read_text(encoding="utf-8"),
        script=script,
        dataset=as_html(str(first.get("dataset", "study"))),
        lead=f"{first['images']:,} images, {first['words']:,} words",
        facts="".join(f"<div><dt>{as_html(k)}</dt><dd><bdi>{as_html(v)}</bdi></dd></div>" for k, v in report.facts.items()),
        command=as_html(report.command),
        summary="".join(map(_summary, [row for row in report.rows if row["choice"] == "chosen"])),
        charts="".join(f'<div class="task" data-task="{t}">{accuracy_cost_chart(report.rows, t)}</div>' for t in TASKS),
        tasks="".join(_task_choice(task) for task in TASKS),
        legend=_legend(report.rows),
        rows=row_table(report.rows),
        scales=_scales(report),
        images=_images(report),
        gallery="".join(map(_example, report.examples)),
        verdicts="".join(_key(verdict) for verdict in VERDICTS),
    )


def _summary(row: Mapping[str, Any]) -> str:
    change = {key: 100 * value for key, value in row["e2e_difference"].items()}
    return (
        f'<div class="card"><h3><bdi>{as_html(row["name"])}</bdi></h3>'
        f"<p><b>{row['teacher_share']:.0%}</b> of the teacher's cost</p>"
        f"<p><b>{100 * row['e2e_hmean']:.1f}%</b> end-to-end, {signed(change['value'])} to the teacher "
        f'<span class="faint">[{signed(change["low"])}, {signed(change["high"])}]</span></p>'
        f"<p>mean scale <b>{row['mean_scale']:.2f}</b></p></div>"
    )


def _task_choice(task: str) -> str:
    checked = " checked" if task == "e2e" else ""
    return f'<label><input type="radio" name="task" value="{task}"{checked}> {TASK_NAMES[task]}</label>'


def _legend(rows: Sequence[Mapping[str, Any]]) -> str:
    models = "".join(
        f'<label><input type="checkbox" data-model="{as_html(model)}" checked> <span class="dot {color}"></span>'
        f"<bdi>{as_html(model)}</bdi></label>"
        for model, color in model_classes(rows).items()
    )
    kinds = {"fixed": "● fixed scale", "chosen": "★ scale chosen per image, 95% interval", "budget": "◆ chosen under a budget"}
    present = [text for choice, text in kinds.items() if any(row["choice"] == choice for row in rows)]
    return models + "".join(f'<span class="faint">{text}</span>' for text in present)


def _scales(report: Report) -> str:
    classes = model_classes(report.rows)
    charts = []
    for row in report.rows:
        if row["choice"] == "fixed":
            continue
        scales = sorted({*report.candidates.get(row["model"], ()), *map(float, row["scale_histogram"])})
        trend = row.get("spearman")
        told = "" if trend is None else f"<p>Spearman with the height of the words: <b>{signed(trend, 2)}</b></p>"
        charts.append(
            f"<figure><figcaption><bdi>{as_html(row['name'])}</bdi></figcaption>"
            f"{scale_chart(row, scales, classes[row['model']])}{told}</figure>"
        )
    return "".join(charts) or "<p>No student chooses its scale.</p>"


def _images(report: Report) -> str:
    if not report.examples:
        return "<p>No images were asked for.</p>"
    titles = {example.score.index: example.title for example in report.examples}
    return image_table([example.score for example in report.examples], titles)


def _example(example: Example) -> str:
    index, picture = example.score.index, example.picture
    # the picture is in the page once: the other panels use the first one's
    image = f'<image id="picture-{index}" href="{picture.uri}" width="{picture.width}" height="{picture.height}"/>'
    panels = []
    for panel in example.panels:
        panels.append(_panel(example, panel, image))
        image = f'<use href="#picture-{index}"/>'
    score = example.score
    lost = f"{score.lost} lost, " if len(example.panels) > 1 else ""
    return (
        f'<article id="image-{index}" tabindex="-1"><h3><bdi>{as_html(example.title)}</bdi> '
        f'<span class="faint">{example.width} × {example.height}, {score.words} words, {lost}{score.errors} mistakes</span>'
        f'<a class="back" href="#listed-{index}">list ↑</a></h3><div class="panels">{"".join(panels)}</div></article>'
    )


def _panel(example: Example, panel: Panel, image: str) -> str:
    counts = {verdict: panel.count(verdict) for verdict in VERDICTS if verdict != "dont_care"}
    told = ", ".join(f"{count} {verdict}" for verdict, count in counts.items() if count) or "nothing that counts"
    label = as_html(f"{example.title} as {panel.name} reads it at scale {panel.scale:g}: {told}")
    picture = example.picture
    chips = "".join(
        f'<li class="{mark.verdict}"><span aria-label="{VERDICTS[mark.verdict][1]}">{VERDICTS[mark.verdict][0]}</span> '
        f"<bdi>{as_html(mark.label)}</bdi></li>"
        for mark in sorted(panel.marks, key=lambda mark: list(VERDICTS).index(mark.verdict))
        if mark.label
    )
    return (
        f"<figure><figcaption><b><bdi>{as_html(panel.name)}</bdi></b> · scale <b>{panel.scale:g}</b> · "
        f"{panel.gflops:.1f} GFLOPs ({panel.share:.0%})<br>{as_html(told)}</figcaption>"
        f'<button type="button" class="enlarge" aria-label="enlarge: {label}">'
        f'<svg class="photo" viewBox="0 0 {picture.width} {picture.height}" role="img" aria-label="{label}">'
        f'{image}{overlay(panel.marks, picture)}</svg></button><ul class="words">{chips}</ul></figure>'
    )


def _key(verdict: str) -> str:
    sign, text = VERDICTS[verdict]
    return f'<li class="{verdict}"><span aria-hidden="true">{sign}</span> {as_html(text)}</li>'
