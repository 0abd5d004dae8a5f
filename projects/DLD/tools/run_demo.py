#!/usr/bin/env python
"""The whole story on two CPU cores, in less than five minutes: read, distil, compare. What `make demo` runs.

1. The shipped teacher and the shipped student read the sample pictures: their words, the scale that was chosen, its cost.
2. The student is distilled on for `--minutes` on generated pictures.
3. Teacher, shipped student and the student after those minutes are compared on pictures that none of them has seen.
"""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from dld.cli.command import run_command
from dld.cli.openmp import wait_briefly

wait_briefly()

import numpy as np  # noqa: E402
import torch  # noqa: E402
from detectron2.config import CfgNode  # noqa: E402
from detectron2.engine import HookBase  # noqa: E402
from tabulate import tabulate  # noqa: E402

from dld.config import DISTILLER  # noqa: E402
from dld.config_files import merge_overrides  # noqa: E402
from dld.data.annotation import read_annotations  # noqa: E402
from dld.data.samples import ANNOTATIONS, IMAGES  # noqa: E402
from dld.engine.distill_trainer import DistillTrainer  # noqa: E402
from dld.engine.setup import register_datasets  # noqa: E402
from dld.evaluation.ground_truth import GroundTruthWord  # noqa: E402
from dld.evaluation.matching import score_dataset  # noqa: E402
from dld.evaluation.protocol import icdar2015  # noqa: E402
from dld.evaluation.report import write_json  # noqa: E402
from dld.inference.predictor import TextSpotter, config_from_checkpoint  # noqa: E402
from dld.model_zoo import weights_address  # noqa: E402
from dld.study.measure import StudiedSpotter  # noqa: E402
from dld.study.run import Study  # noqa: E402
from dld.study.table import study_row  # noqa: E402
from dld.utils.device import present_device  # noqa: E402

REPORT_SECONDS = 10
COMPARE_SECONDS = 75  # on a slow machine fewer pictures are compared


def say(text: str) -> None:
    """Print at once, also into a pipe."""
    print(text, flush=True)


def in_reading_order(words: Sequence, height: int) -> str:
    """Join texts line by line, a line being a tenth of the picture: so that two readings can be compared by eye."""

    def place(word) -> tuple[int, float]:
        x, y = np.asarray(word.polygon).mean(0)
        return int(10 * y / height), float(x)

    return " | ".join(word.text for word in sorted(words, key=place)) or "(no words)"


def read_samples(spotters: dict[str, TextSpotter], folder: Path, limit: int = 0) -> dict[str, tuple[int, int]]:
    """Read and draw the sample pictures with each spotter; one without selector reads at full resolution.

    Args:
        spotters: by the name of their weights, which is the folder of their drawings too.
        limit: first pictures; 0: all.

    Returns:
        name -> words read right, and words written, by the rules of ICDAR 2015.
    """
    images = read_annotations(ANNOTATIONS)[: limit or None]
    width = max(map(len, (*spotters, "written")))
    truth = {im.image_id: [GroundTruthWord(w.polygon, w.text, w.ignore) for w in im.words] for im in images}
    read: dict[str, dict] = {name: {} for name in spotters}
    for image in images:
        written = in_reading_order([w for w in image.words if not w.ignore], image.height)
        say(f"  {image.file_name}\n    {'written':<{width}}  {written}")
        for name, spotter in spotters.items():
            selects = getattr(spotter.model, "selector", None) is not None
            result = spotter(str(IMAGES / image.file_name), scale="auto" if selects else 1.0)
            read[name][image.image_id] = result.words
            (folder / name).mkdir(parents=True, exist_ok=True)
            result.draw().save(folder / name / image.file_name)
            cost = f"scale {result.scale:.2f}, {result.gflops:5.1f} GFLOPs, {result.cost:4.0%} of the teacher's cost"
            say(f"    {name:<{width}}  {in_reading_order(result.words, image.height)}\n    {'':<{width}}  ({cost})")
    scores = {name: score_dataset(truth, words, icdar2015)["e2e"].score for name, words in read.items()}
    return {name: (score.matched, score.words) for name, score in scores.items()}


def distillation_config(teacher: str, student: str, minutes: float, output: Path, opts: list[str]) -> CfgNode:
    """Set the configuration inside the shipped student to be distilled on gently until the time is over.

    Args:
        teacher, student: weights.
        opts: overrides KEY VALUE KEY VALUE ...
    """
    cfg = config_from_checkpoint(student)
    settings = [
        "MODEL.META_ARCHITECTURE",
        DISTILLER,
        "MODEL.DISTILLATION.TEACHER_WEIGHTS",
        teacher,
        "MODEL.DEVICE",
        present_device("cuda"),
        "DATASETS.TRAIN",
        "('synthwords_train',)",
        "DATASETS.TRAIN_WEIGHTS",
        "[]",
        # other pictures than those that the shipped student was trained on
        "DATASETS.SYNTHWORDS.SEED",
        "1",
        "DATASETS.TEST",
        "()",
        "TEST.PICTURE_PERIOD",
        "0",
        "DATALOADER.NUM_WORKERS",
        "1",
        # trained weights are continued: a small constant rate, and no plan of how far a machine comes in the time
        "SOLVER.IMS_PER_BATCH",
        "2",
        "SOLVER.REFERENCE_BATCH",
        "0",
        "SOLVER.BASE_LR",
        "0.00005",
        "SOLVER.WARMUP_ITERS",
        "10",
        "SOLVER.LR_SCHEDULER_NAME",
        "WarmupMultiStepLR",
        "SOLVER.STEPS",
        "()",
        "SOLVER.MAX_ITER",
        "1000000",
        "SOLVER.CHECKPOINT_PERIOD",
        "1000000",
        "SOLVER.MAX_MINUTES",
        str(float(minutes)),
        "OUTPUT_DIR",
        str(output),
    ]
    merge_overrides(cfg, [*settings, *opts])
    return cfg


class Progress(HookBase):
    """A line every few seconds: time, steps, loss, the scales that the pictures of the last step were read at."""

    def __init__(self, minutes: float, seconds: float = REPORT_SECONDS) -> None:
        self.minutes, self.seconds = minutes, seconds

    def before_train(self) -> None:
        self.start = self.said = time.monotonic()

    def after_step(self) -> None:
        now = time.monotonic()
        if now - self.said < self.seconds and self.trainer.iter:
            return
        self.said = now
        loss = self.trainer.storage.latest().get("total_loss", (float("nan"), 0))[0]
        scales = " ".join(f"{scale:g}" for scale in self.trainer.last_scales)
        passed = f"{now - self.start:4.0f} of {60 * self.minutes:.0f} s"
        say(f"  {passed}  step {self.trainer.iter + 1:4d}  loss {loss:7.3f}  scales {scales}")


def distil_on(cfg: CfgNode) -> str:
    """Train until SOLVER.MAX_MINUTES are over; returns the path of the weights. The log goes to OUTPUT_DIR/log.txt."""
    output = Path(cfg.OUTPUT_DIR)
    output.mkdir(parents=True, exist_ok=True)
    handler = logging.FileHandler(output / "log.txt", mode="w", encoding="utf-8")
    loggers = [logging.getLogger(name) for name in ("dld", "detectron2", "fvcore")]
    for logger in loggers:
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
    try:
        register_datasets(cfg)
        trainer = DistillTrainer(cfg)
        trainer.resume_or_load(resume=False)
        trainer.register_hooks([Progress(cfg.SOLVER.MAX_MINUTES)])
        trainer.train()
    finally:
        for logger in loggers:
            logger.removeHandler(handler)
        handler.close()
    return str(output / "model_final.pth")


def measure_within(study: Study, seconds: float, step: int = 5) -> int:
    """Measure a study on a few more pictures at a time until all are done or the time is over; returns how many are done."""
    total, start = study.images.count, time.monotonic()
    for count in (*range(step, total, step), total):
        study.images.count = count
        study.measure()
        passed = time.monotonic() - start
        say(f"  {passed:4.0f} s  {count} of {total} pictures")
        if passed > seconds:
            break
    return study.images.count


def compare(teacher: str, student: str, trained: str, minutes: float, images: int, fixed: float = 0.5) -> list[dict]:
    """Measure the rows of the table, on the first generated validation pictures: all at full precision, image by image in turn.

    Args:
        teacher, student, trained: weights.
        fixed: scale that teacher and student are told, for comparison with the selector's choice.
    """
    after = f"DLD after {minutes:g} more min"
    names = {"teacher": teacher, "DLD as shipped": student, after: trained}
    spotters = [StudiedSpotter.load(name, weights) for name, weights in names.items()]
    with tempfile.TemporaryDirectory() as cache:  # times of another run are not those of this one
        study = Study(
            spotters, "synthwords_val", images, [1.0, fixed], Path(cache), student_scales=[fixed], only_chosen=[after]
        )
        measure_within(study, COMPARE_SECONDS)
        points = study.points()
    about = {"dataset": "synthwords_val", "threads": torch.get_num_threads()}
    return [{**study_row(point, points[0]), **about} for point in points]


def table(rows: list[dict]) -> str:
    """Format the rows for people, scores in per cent."""
    body = []
    for row in rows:
        low, high = row["e2e_interval"]
        body.append(
            (
                row["name"],
                f"{row['mean_scale']:.2f}",
                f"{row['total_gflops']:.1f}",
                f"{row['teacher_share']:.0%}",
                f"{100 * row['detection_hmean']:.1f}",
                f"{100 * row['e2e_hmean']:.1f} [{100 * low:.0f}, {100 * high:.0f}]",
                f"{100 * row['word_spotting_hmean']:.1f}",
                f"{row['ms_per_image']:.0f}",
            )
        )
    head = ("", "mean scale", "GFLOPs", "of teacher", "detection", "end-to-end [95 %]", "word spotting", "ms an image")
    return tabulate(body, head, colalign=("left", *["right"] * 7), disable_numparse=True)


def main(argv: list[str] | None = None) -> int:
    """Run the demo; return its exit code, see :mod:`dld.cli.command`."""
    return run_command("run_demo.py", __doc__, "", add_arguments, run, argv)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the demo."""
    parser.add_argument("--output", default="output/demo", help="folder for everything the demo writes")
    parser.add_argument("--teacher", default="teacher_tiny", help="name of shipped weights")
    parser.add_argument("--student", default="dld_tiny", help="name of shipped weights with a resolution selector")
    parser.add_argument("--minutes", type=float, default=2.0, help="minutes of distillation")
    parser.add_argument("--images", type=int, default=40, help="generated pictures that are scored")
    parser.add_argument("--samples", type=int, default=0, help="only the first sample pictures; 0: all")
    parser.add_argument("--opts", nargs=argparse.REMAINDER, default=[], help="configuration overrides of the distillation")


def run(args: argparse.Namespace) -> None:
    """Read, distil, compare; write everything.

    Raises:
        OSError, KeyError, ValueError: naming the weights or the key.
    """
    output, started = Path(args.output), time.perf_counter()
    teacher, student = weights_address(args.teacher), weights_address(args.student)

    say(f"1/3  {args.teacher} and {args.student}, as shipped, read the sample pictures")
    spotters = {args.teacher: TextSpotter.from_checkpoint(teacher), args.student: TextSpotter.from_checkpoint(student)}
    for name, (right, words) in read_samples(spotters, output / "samples", args.samples).items():
        say(f"  {name} reads {right} of {words} words right -> {output / 'samples' / name}")

    say(f"2/3  {args.student} is distilled on for {args.minutes:g} minutes (log: {output / 'training' / 'log.txt'})")
    cfg = distillation_config(teacher, student, args.minutes, output / "training", args.opts)
    trained = distil_on(cfg)

    say(f"3/3  teacher, shipped student and continued student on {args.images} generated pictures")
    rows = compare(teacher, student, trained, args.minutes, args.images)
    write_json(output / "results.json", {"rows": rows})
    (output / "table.txt").write_text(table(rows) + "\n", encoding="utf-8")
    say(f"\n{table(rows)}\n")
    say(
        f"{rows[0]['images']} pictures decide little: see the intervals. {args.minutes:g} minutes teach little: they show how "
        "it is trained. The study on 1,000 pictures and on photos is in projects/DLD/docs/study.md."
    )
    say(f"done in {time.perf_counter() - started:.0f} s: pictures, table.txt, results.json and training/ are in {output}")


if __name__ == "__main__":
    sys.exit(main())
