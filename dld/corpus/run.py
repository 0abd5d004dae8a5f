"""Reads a corpus with a ray cluster: what is asked for is checked, the folder begun or gone on with, the rest read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from tqdm import tqdm

from dld import __version__
from dld.corpus.addresses import check_installed
from dld.corpus.part_reader import PartReport
from dld.corpus.picture_list import find_pictures
from dld.corpus.ray_pool import RayPool, connected
from dld.corpus.result_folder import ResultFolder
from dld.data.picture_batches import ReadsPictures
from dld.utils.threads import usable_processors

__all__ = ["CorpusJob", "CorpusSummary", "read_corpus"]

LARGEST_PART = 1000
_PARTS_EACH = 4


@dataclass(frozen=True)
class CorpusJob:
    """What is read, and by how many.

    Args:
        inputs: see :func:`~dld.corpus.picture_list.find_pictures`.
        output: folder or address of the results.
        settings: what the results depend on beside the version, plain json.
        load: gives the spotter in a process that reads; it is handed there, so it must be a function of a module.
        options: of the spotter's call.
        workers: processes; None: as many as the machines hold.
        threads: of each.
        address: of a ray cluster; empty: this machine.
        part_size: pictures in a file; None: `LARGEST_PART`, or fewer where each process would get less than `_PARTS_EACH`.
        device: "cpu", "cuda", or empty: a GPU for each process where the cluster has one.
    """

    inputs: Sequence[str]
    output: str
    settings: Mapping[str, Any]
    load: Callable[[str], ReadsPictures]
    options: Mapping[str, Any]
    workers: int | None = None
    threads: int = 1
    address: str = ""
    part_size: int | None = None
    device: str = ""


@dataclass
class CorpusSummary:
    """What a run leaves.

    Args:
        pictures, failed: rows of all parts, those with an error.
        read, words: pictures and words of this run.
        again: pictures that were named more than once; they are read once.
        left: parts that are not there.
        interrupted: ctrl-c ended the run.
        passed_over: files of the folders that are no pictures, by ending.
    """

    pictures: int = 0
    failed: int = 0
    read: int = 0
    words: int = 0
    again: int = 0
    left: int = 0
    interrupted: bool = False
    passed_over: Counter[str] | None = None


def read_corpus(job: CorpusJob) -> CorpusSummary:
    """Read what is not read yet.

    Raises:
        ImportError: ray or pyarrow is missing; names the extra.
        OSError, KeyError, ValueError: a mistake of the user, naming the file or the option.
        UnfinishedError: processes end one after another.
    """
    check_installed("ray", "pyarrow.parquet")
    for name, value in (("--workers", job.workers), ("--threads", job.threads), ("--part-size", job.part_size)):
        if value is not None and value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")
    summary = CorpusSummary(passed_over=Counter())
    folder = ResultFolder(job.output)
    pictures, summary.again = find_pictures(job.inputs, job.output, summary.passed_over)
    workers = job.workers or (max(usable_processors() // job.threads, 1) if not job.address else LARGEST_PART)
    usual = min(LARGEST_PART, max(-(-len(pictures) // (_PARTS_EACH * workers)), 1))
    folder.begin(pictures, {"dld": __version__, **job.settings}, job.part_size, usual)
    del pictures  # they stand in the folder
    sizes = folder.sizes()
    left = sorted(set(range(len(sizes))) - folder.finished())
    if left:
        with connected(job.address, workers * job.threads) as resources:
            _read_parts(job, folder, sizes, left, resources, summary)
    summary.left = len(set(range(len(sizes))) - folder.finished())
    if not summary.left:
        folder.clear()
    summary.pictures, summary.failed = folder.count()
    return summary


def _read_parts(
    job: CorpusJob,
    folder: ResultFolder,
    sizes: Sequence[int],
    left: Sequence[int],
    resources: Mapping[str, float],
    summary: CorpusSummary,
) -> None:
    cards = int(resources.get("GPU", 0)) if job.device != "cpu" else 0
    if job.device == "cuda" and not cards:
        raise ValueError("--device cuda: the cluster has no GPU")
    room = int(resources.get("CPU", 0)) // job.threads
    if cards:
        room = min(room, cards)
    if room < 1:
        raise ValueError(f"--threads {job.threads}: the cluster has {int(resources.get('CPU', 0))} CPUs, no process fits")
    device = "cuda" if cards else "cpu"
    arguments = (folder.name, partial(job.load, device), job.options, job.threads)
    pool = RayPool(job.workers or room, job.threads, 1 if cards else 0, arguments)
    total = sum(sizes)
    with tqdm(total=total, initial=total - sum(sizes[part] for part in left), unit="picture", disable=None) as bar:

        def report(found: PartReport) -> None:
            summary.read += found.pictures
            summary.words += found.words
            summary.failed += found.failed
            bar.set_postfix_str(f"{summary.failed} could not be read" if summary.failed else "", refresh=False)
            bar.update(found.pictures)

        try:
            pool.read(left, report)
        except KeyboardInterrupt:
            summary.interrupted = True
