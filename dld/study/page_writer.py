"""Turns a finished study into its page: the images of the gallery are read again, everything else is known."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from dld import __version__
from dld.data.dataset_mapper import read_dict_image
from dld.evaluation.ground_truth import ground_truth_of
from dld.study.examples import ExampleReader
from dld.study.page import Example, Panel, Report, render_page
from dld.study.page_marks import encode_picture, judge
from dld.study.ranking import pick_images, rank_images
from dld.study.run import Study
from dld.utils.atomic_write import atomic_write_text

__all__ = ["check_report_path", "make_report", "write_report"]


def check_report_path(path: str | os.PathLike, images: int) -> None:
    """Check that a page can be written there, before hours are spent on what it shows.

    Raises:
        ValueError: a folder, or a number of images below 0.
    """
    if Path(path).is_dir():
        raise ValueError(f"--html {path} is a folder: name a file, such as {Path(path) / 'report.html'}")
    if images < 0:
        raise ValueError(f"--html-images must be at least 0, got {images}")


def make_report(study: Study, rows: Sequence[Mapping[str, Any]], images: int) -> Report:
    """Collect the content of the page.

    Args:
        study: after `measure`.
        rows: of its points, as results.json has them.
        images: most images of the gallery.
    """
    compared = study.compared()
    readings = {name: measurement.readings(study.images.count) for name, measurement in compared.items()}
    picked = pick_images(rank_images(readings), images)
    readers = {name: ExampleReader(measurement) for name, measurement in compared.items()}
    examples = []
    for score in tqdm(picked, desc="report", unit="image", disable=None):
        item = study.images.images[score.index]
        image = read_dict_image(item)
        record = study.images.mapper({**item, "image": image})
        truth = ground_truth_of(record)
        panels, full = [], next(iter(score.readings.values())).gflops
        for name, reader in readers.items():
            result = reader.read(score.index, record)
            marks = judge(truth, result, study.images.protocol)
            panels.append(Panel(name, result.scale, result.gflops, result.gflops / full, marks))
        height, width = image.shape[:2]
        examples.append(Example(score, str(item["image_id"]), width, height, encode_picture(image), panels))
    first = rows[0]
    facts = {
        "Protocol": study.images.protocol.title,
        "Short side": f"{first['short_side']} px",
        "Device": first["device"],
        "Threads": str(first["threads"]),
        "DLD": __version__,
        "Gallery": f"{len(examples)} of {study.images.count} images",
    }
    candidates = {student.name: student.model.scales for student in study.students if student.selects}
    return Report(rows, facts, first["command"], candidates, examples)


def write_report(path: str | os.PathLike, report: Report) -> None:
    """Write the page; it appears whole or not at all."""
    atomic_write_text(path, render_page(report))
