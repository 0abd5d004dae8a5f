"""Measure speed on this machine: scoring and picture generation. Nothing else should be running."""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from pathlib import Path

__all__ = ["add_arguments", "main"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the verb."""
    parser.add_argument("--only", nargs="+", choices=sorted(PARTS), default=sorted(PARTS), help="parts to measure")
    parser.add_argument("--output", default="", help="json file to write")


def measure_evaluation() -> dict:
    """All tasks on 500 images of 20 words, median of three runs; CPU seconds are those of one core."""
    from dld.evaluation.benchmark import benchmark_evaluation

    runs = [benchmark_evaluation(images=500, words=20) for _ in range(3)]
    middle = statistics.median(r["cpu_seconds"] for r in runs)
    return {"what": "score 500 images of 20 words, all tasks", "cpu_seconds": middle, "runs": runs}


def measure_generator() -> dict:
    """Images of 640 x 640 with 8 words and all effects, one process, after warm-up."""
    from dld.data.synthesis.config import SynthWordsConfig
    from dld.data.synthesis.synthwords import SynthWordsDataset

    images = SynthWordsDataset("train", config=SynthWordsConfig(max_words=8, density=1.0))
    for i in range(10):
        images[i]
    wall, cpu = time.perf_counter(), time.process_time()
    count = 100
    for i in range(10, 10 + count):
        images[i]
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return {
        "what": "render synthwords, 640 x 640, 8 words",
        "images_per_second": count / wall,
        "images_per_cpu_second": count / cpu,
    }


PARTS = {"evaluation": measure_evaluation, "generator": measure_generator}


def main(argv: list[str] | None = None) -> int:
    """Print a line a part and, with --output, write them as json with the machine they were measured on."""
    parser = argparse.ArgumentParser(prog="dld benchmark", description=__doc__)
    add_arguments(parser)
    args = parser.parse_args(argv)
    import cv2

    cv2.setNumThreads(0)  # one core: what is stated is per core
    report = {"cores": os.cpu_count(), "machine": platform.processor() or platform.machine(), "parts": {}}
    for name in args.only:
        found = PARTS[name]()
        report["parts"][name] = found
        numbers = ", ".join(f"{k} {v:.2f}" for k, v in found.items() if isinstance(v, float))
        print(f"{name}: {found['what']}: {numbers}", flush=True)
    if args.output:
        Path(args.output).parent.mkdir(parents=True, exist_ok=True)
        Path(args.output).write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
        print(f"-> {args.output}")
    return 0
