#!/usr/bin/env python
"""The whole story on two CPU cores: read, distil for a few minutes, score, draw. What `make demo` runs.

1. The shipped tiny teacher reads a few generated pictures.
2. A student and a resolution selector are distilled from it for `--minutes`.
3. Teacher and student are scored on images of synthwords_val that neither has seen, at full, half and chosen scales.
4. Pictures with the words read and the chosen scale are written.
"""

import argparse
import os
import sys
import time
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

from detectron2.evaluation import inference_on_dataset  # noqa: E402
from tabulate import tabulate  # noqa: E402

from dld.cli.train import main as train  # noqa: E402
from dld.data.build import build_test_loader, get_text_dataset  # noqa: E402
from dld.data.dataset_mapper import read_dict_image  # noqa: E402
from dld.engine.setup import load_config, register_datasets  # noqa: E402
from dld.evaluation.text_evaluator import TextSpottingEvaluator  # noqa: E402
from dld.inference.predictor import TextSpotter  # noqa: E402
from dld.inference.scale_measurement import StudiedSpotter  # noqa: E402
from dld.model_zoo import find_weights  # noqa: E402
from dld.utils.visualizer import TextVisualizer  # noqa: E402

ROOT = Path(__file__).resolve().parents[3]
TEACHER = "teacher_tiny"


def draw(picture, result, path: Path) -> None:
    """Picture with words, scale and cost."""
    visualizer = TextVisualizer(picture[:, :, ::-1])
    visualizer.draw_spotting(result)
    visualizer.get_output().save(str(path))


def score(name: str, spotter: StudiedSpotter, loader, dataset: str) -> list:
    """One row of the table."""
    evaluator = TextSpottingEvaluator(dataset)
    start = time.perf_counter()
    scores = inference_on_dataset(spotter.model, loader, evaluator)
    seconds = time.perf_counter() - start
    results = list(evaluator.results.values())
    count = max(len(results), 1)
    return [
        name,
        sum(r.scale for r in results) / count,
        sum(r.gflops for r in results) / count,
        scores["detection"]["hmean"],
        scores["e2e"]["hmean"],
        scores["word_spotting"]["hmean"],
        1000 * seconds / count,
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", default="output/demo", help="folder for everything the demo writes")
    parser.add_argument("--minutes", type=float, default=3.0, help="minutes of distillation")
    parser.add_argument("--images", type=int, default=40, help="validation images that are scored")
    parser.add_argument("--pictures", type=int, default=8, help="pictures drawn")
    parser.add_argument("--opts", nargs=argparse.REMAINDER, default=[], help="configuration overrides of the distillation")
    args = parser.parse_args()
    output = Path(args.output)
    output.mkdir(parents=True, exist_ok=True)
    started = time.perf_counter()
    weights = find_weights(TEACHER)
    val = ["DATASETS.SYNTHWORDS.VAL_LENGTH", str(args.images)]
    cfg = load_config(str(ROOT / "configs/dld_tiny.yaml"), [*val, "DATALOADER.NUM_WORKERS", "0"])
    register_datasets(cfg)
    name = "synthwords_val"

    print(f"1/4  the shipped teacher ({TEACHER}) reads {args.pictures} generated pictures", flush=True)
    teacher = TextSpotter.from_checkpoint(weights)
    dataset = get_text_dataset(name)
    for i in range(min(args.pictures, len(dataset))):
        picture = read_dict_image(dataset[i])
        result = teacher(picture)
        draw(picture, result, output / "teacher" / f"{i}.jpg")
        print("     " + (" | ".join(w.text for w in result.words) or "(no words)"), flush=True)

    print(f"2/4  distilling a student and its resolution selector for {args.minutes:g} minutes", flush=True)
    training = output / "training"
    code = train(
        [
            "--config-file", str(ROOT / "configs/dld_tiny.yaml"),
            "MODEL.DISTILLATION.TEACHER_WEIGHTS", weights, "OUTPUT_DIR", str(training), "DATASETS.TEST", "()",
            "SOLVER.MAX_MINUTES", str(args.minutes), "SOLVER.IMS_PER_BATCH", "2", *val, *args.opts,
        ]
    )  # fmt: skip
    if code:
        return code

    print(f"3/4  scoring on {args.images} images of {name}", flush=True)
    student_weights = str(training / "model_final.pth")
    loader = build_test_loader(cfg, name)
    rows = []
    for label, weight_file, scale in (
        ("teacher, full resolution", weights, 1.0),
        ("teacher, half resolution", weights, 0.5),
        ("student, half resolution", student_weights, 0.5),
        ("DLD, scale chosen per image", student_weights, None),
    ):
        spotter = StudiedSpotter.load(label, weight_file)
        spotter.set_scale(scale)
        rows.append(score(label, spotter, loader, name))
    head = ["", "mean scale", "GFLOPs", "detection H", "end-to-end H", "word spotting H", "ms/image"]
    table = tabulate(rows, headers=head, floatfmt=("", ".2f", ".1f", ".1f", ".1f", ".1f", ".0f"))
    (output / "table.txt").write_text(table + "\n", encoding="utf-8")
    print(table, flush=True)

    print(f"4/4  drawing what the student reads -> {output}/student", flush=True)
    student = TextSpotter.from_checkpoint(student_weights)
    for i in range(min(args.pictures, len(dataset))):
        picture = read_dict_image(dataset[i])
        draw(picture, student(picture), output / "student" / f"{i}.jpg")
    seconds = time.perf_counter() - started
    print(f"done in {seconds:.0f} s: table {output}/table.txt, pictures {output}/teacher and {output}/student")
    return 0


if __name__ == "__main__":
    sys.exit(main())
