"""Measure speed and memory on this machine. Nothing else should be running.

Two variants are always measured alternately. Parts: inference (teacher at full size against half scale and against a
student at its own choice, with a split by stage), reading (ten words from strips of 48 rows against fewer), operators,
beams (against a search word by word), training (a DLD step against the published algorithm read plainly and against a plain
step, and its peak memory), data (pictures a second), growth (time and memory against size, words and scales, with a picture),
evaluation (scoring).
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path

from dld.cli.command import WEIGHTS, run_command

__all__ = ["add_arguments", "main", "run"]

PARTS = ("inference", "reading", "operators", "beams", "training", "data", "growth", "evaluation")
EPILOG = """
examples:
  python projects/DLD/tools/benchmark.py                          all of it, about ten minutes on two cores
  python projects/DLD/tools/benchmark.py --only beams training    two parts
  python projects/DLD/tools/benchmark.py --only inference --student output/dld_tiny/model_best.pth --update
  python projects/DLD/tools/benchmark.py --quick --output ''      does all of it run?
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the verb."""
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), help="parts to measure")
    parser.add_argument(
        "--output",
        metavar="FILE",
        help="json to write, after every part; default in a checkout: projects/DLD/results/benchmark_cpu.json (or _gpu)",
    )
    parser.add_argument("--update", action="store_true", help="keep what --output has of the parts not measured now")
    parser.add_argument("--weights", default="teacher_tiny", metavar="NAME|FILE", help=f"trained spotter: {WEIGHTS}")
    parser.add_argument("--student", default="", metavar="NAME|FILE", help="one with a selector, read at its own choice")
    parser.add_argument(
        "--config",
        default="",
        metavar="FILE",
        help="spotter measured with random weights; default configs/teacher_R50.yaml, 'none' for none",
    )
    parser.add_argument("--device", default="", help="cpu, cuda, ...; default: a GPU where there is one")
    parser.add_argument("--threads", type=int, default=0, help="threads of the processor; default: the usable cores")
    parser.add_argument("--minutes", type=float, default=12.0, help="about how long all parts may take together")
    parser.add_argument("--quick", action="store_true", help="everything as small as possible: only to see that it runs")
    parser.add_argument("--opts", nargs=argparse.REMAINDER, default=[], help="configuration overrides, KEY VALUE ...")


def measure_evaluation(setting) -> dict:
    """Measure the part "evaluation": all tasks on 500 images of 20 words, median of three runs; seconds of one core."""
    from dld.benchmark.scoring import benchmark_evaluation

    images = setting.either(500, 5)
    setting.say(f"evaluation: {images} images of 20 words, all tasks")
    runs = [benchmark_evaluation(images=images, words=20) for _ in range(setting.either(3, 1))]
    return {"cpu_seconds": statistics.median(r["cpu_seconds"] for r in runs), "runs": runs}


def parts() -> dict:
    """Return every part by name: a function of the setting."""
    from dld.benchmark.beams import measure_beams
    from dld.benchmark.data import measure_data
    from dld.benchmark.growth import measure_growth
    from dld.benchmark.inference import measure_inference
    from dld.benchmark.operators import measure_operators
    from dld.benchmark.reading import measure_reading
    from dld.benchmark.training import measure_training

    functions = (measure_inference, measure_reading, measure_operators, measure_beams, measure_training, measure_data)
    return dict(zip(PARTS, (*functions, measure_growth, measure_evaluation), strict=True))


def default_output(device: str) -> Path | None:
    """Return where `make bench` puts its results; None outside a checkout."""
    import dld

    project = Path(dld.__file__).resolve().parents[1] / "projects" / "DLD"
    name = f"benchmark_{'gpu' if device.startswith('cuda') else 'cpu'}.json"
    return project / "results" / name if project.is_dir() else None


def run(args: argparse.Namespace) -> dict:
    """Measure the wanted parts, one after another; return the report.

    A part in which two ways do not compute the same, or whose process fails, is reported and the others go on.

    Raises:
        ValueError, KeyError, FileNotFoundError: for what cannot be measured; the message names it.
    """
    import cv2
    import torch

    from dld.benchmark.report import describe_machine, markdown, merge_part, write_report
    from dld.benchmark.setting import Setting
    from dld.utils.device import present_device

    device = args.device or present_device("cuda")
    if present_device(device) != device:
        raise ValueError(f"--device {device}: torch sees no GPU here")
    if args.threads < 0 or args.minutes <= 0:
        raise ValueError(f"--threads must not be negative, --minutes above 0; got {args.threads} and {args.minutes}")
    about = describe_machine(device)
    threads = args.threads or about["cores"]
    torch.set_num_threads(threads)
    cv2.setNumThreads(0)
    output = default_output(device) if args.output is None and not args.quick else args.output and Path(args.output)
    report = {**about, "threads": threads, "quick": args.quick, "weights": args.weights, "failed": {}}
    if args.update and output and output.is_file():
        report = {**json.loads(output.read_text(encoding="utf-8")), **report}
    setting = Setting(
        weights=args.weights,
        student=args.student,
        config=args.config,
        device=device,
        threads=threads,
        quick=args.quick,
        # an eighth of the time for each comparison that stops by the clock: the other parts take about the rest
        seconds=args.minutes * 60 / 8,
        folder=output.parent if output else None,
        opts=list(args.opts),
    )
    setting.check()
    measures = parts()
    for name in args.only:
        try:
            merge_part(report, name, measures[name](setting))
        except RuntimeError as error:
            report["failed"][name] = str(error)
            setting.say(f"{name} failed: {error}")
        if output:
            write_report(report, output)
    setting.say("done" + (f" -> {output}" if output else ""))
    print(f"\n{about['machine']}, {report['device']}, {threads} threads, torch {about['versions']['torch']}\n")
    print(markdown(report), flush=True)
    return report


def main(argv: list[str] | None = None) -> int:
    """Run the verb; return its exit code, see :mod:`dld.cli.command`: 1 if a part failed."""
    return run_command("dld benchmark", __doc__, EPILOG, add_arguments, lambda args: int(bool(run(args)["failed"])), argv)
