"""Tables of the page. Every cell that is sorted by a number carries it in `data-value`."""

from collections.abc import Mapping, Sequence
from typing import Any

from dld.study.page_charts import model_classes
from dld.study.page_marks import as_html
from dld.study.ranking import ImageScore, mistakes

__all__ = ["image_table", "row_table", "signed"]

Cell = tuple[str, float | str]  # its html, its sort key


def row_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Make the table of all points of the study; row I has the id `row-I`, to which the chart's points lead."""
    header = (
        ("method", ""),
        ("scale", "mean share of the teacher's resolution"),
        ("GFLOPs", "an image, everything that ran"),
        ("of teacher", "share of the teacher's GFLOPs"),
        ("detection", "H-mean, %"),
        ("end-to-end", "H-mean, % [95% interval]"),
        ("to teacher", "difference of end-to-end [95% interval]"),
        ("word spotting", "H-mean, %"),
        ("ms", "median an image"),
    )
    classes, body = model_classes(rows), []
    for index, row in enumerate(rows):
        low, high = (100 * v for v in row["e2e_interval"])
        change = {key: 100 * value for key, value in row["e2e_difference"].items()}
        gamma = "" if row.get("gamma") is None else f' <span class="faint">γ {row["gamma"]:g}</span>'
        name = f'<span class="dot {classes[row["model"]]}"></span><bdi>{as_html(row["name"])}</bdi>{gamma}'
        body.append(
            (
                f"row-{index}",
                [
                    (name, row["name"]),
                    (f"{row['mean_scale']:.2f}", row["mean_scale"]),
                    (f"{row['total_gflops']:.2f}", row["total_gflops"]),
                    (f"{row['teacher_share']:.0%}", row["teacher_share"]),
                    (f"{100 * row['detection_hmean']:.1f}", row["detection_hmean"]),
                    (f"{100 * row['e2e_hmean']:.1f} [{low:.1f}, {high:.1f}]", row["e2e_hmean"]),
                    (f"{signed(change['value'])} [{signed(change['low'])}, {signed(change['high'])}]", change["value"]),
                    (f"{100 * row['word_spotting_hmean']:.1f}", row["word_spotting_hmean"]),
                    (f"{row['ms_per_image']:.0f}", row["ms_per_image"]),
                ],
            )
        )
    return _table("rows", "All points of the study", header, body)


def image_table(images: Sequence[ImageScore], titles: Mapping[int, str]) -> str:
    """Make the table of the images of the gallery, each linked to its place there.

    Args:
        titles: of the images, by index.
    """
    teacher, *students = images[0].readings
    header = [
        ("image", ""),
        ("lost", "against the teacher"),
        ("mistakes", "missed + misread + false"),
        ("words", "that count"),
        (teacher, "words right"),
    ]
    for name in students:
        header += [(name, "words right"), ("scale", f"of {name}"), ("missed", name), ("misread", name), ("false", name)]
    if not students:
        header += [("missed", teacher), ("misread", teacher), ("false", teacher)]
    body = []
    for image in images:
        title = titles[image.index]
        link = f'<a href="#image-{image.index}"><bdi>{as_html(title)}</bdi></a>'
        cells: list[Cell] = [(link, title), *map(_whole, (image.lost, image.errors, image.words))]
        for name, reading in image.readings.items():
            cells.append(_whole(reading.counts["e2e"].matched))
            if name != teacher:
                cells.append((f"{reading.scale:g}", reading.scale))
            if name != teacher or not students:
                cells += map(_whole, mistakes(reading.counts))
        body.append((f"listed-{image.index}", cells))
    return _table("images", "Images of the gallery, the worst first", header, body)


def _table(name: str, caption: str, header: Sequence[tuple[str, str]], body: Sequence[tuple[str, list[Cell]]]) -> str:
    head = "".join(
        f'<th scope="col"><button type="button"><bdi>{as_html(title)}</bdi></button><small>{as_html(what)}</small></th>'
        for title, what in header
    )
    lines = []
    for key, cells in body:
        (first, value), *rest = cells
        line = f'<th scope="row" data-value="{as_html(str(value))}">{first}</th>'
        line += "".join(f'<td data-value="{as_html(str(value))}">{shown}</td>' for shown, value in rest)
        lines.append(f'<tr id="{key}">{line}</tr>')
    return (
        f'<div class="scroll" role="region" aria-label="{caption}" tabindex="0"><table class="sortable" id="table-{name}">'
        f"<caption>{caption}</caption><thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table></div>"
    )


def _whole(value: int) -> Cell:
    return str(value), value


def signed(value: float, decimals: int = 1) -> str:
    """Format a number with its sign, a typographic minus where it is negative."""
    return f"{value:+.{decimals}f}".replace("-", "\u2212")
