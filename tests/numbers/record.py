"""Record the numbers that a change of the code's shape must not change: words, losses, scores.

    python tests/numbers/record.py --output before.json
    python tests/numbers/record.py --tree OTHER_CHECKOUT --output after.json
    python tests/numbers/record.py --compare before.json after.json

A checkout is run from outside, through its commands and `dld.TextSpotter`, so modules and classes may be moved and renamed. All
numbers are kept in full. They hold for one machine and one set of packages, whose versions are recorded beside them.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("torch", "torchvision", "detectron2", "sal-detectron2", "numpy", "opencv-python-headless", "onnx", "onnxruntime")

SPOTTERS = ("teacher_tiny", "dld_tiny")
# name -> weights and options of a call of `dld spot`
READINGS = {
    "teacher_tiny": ("teacher_tiny",),
    "dld_tiny": ("dld_tiny",),
    "teacher_tiny, feature map": (
        "teacher_tiny", "--opts", "MODEL.RECOGNITION.READER", "", "MODEL.INFERENCE_DTYPE", "float32",
    ),
    "teacher_tiny, half": ("teacher_tiny", "--scale", "0.5", "--opts", "MODEL.INFERENCE_DTYPE", "float32"),
    "dld_tiny, budget": (
        "dld_tiny", "--budget", "0.4", "--batch-size", "4", "--opts", "MODEL.INFERENCE_DTYPE", "float32",
    ),
}  # fmt: skip

SHORT = [
    "SOLVER.IMS_PER_BATCH", "2", "SOLVER.MAX_ITER", "3", "SOLVER.STEPS", "()", "SOLVER.WARMUP_ITERS", "0",
    "DATALOADER.NUM_WORKERS", "0", "DATASETS.TEST", "()", "SEED", "7", "MODEL.DEVICE", "cpu",
]  # fmt: skip
TAUGHT = ["MODEL.DISTILLATION.TEACHER_WEIGHTS", "dld://teacher_tiny"]
EXACT = ["SOLVER.AMP.ENABLED", "False"]
# name -> configuration and overrides; half of them in the format of the configuration, half in float32
TRAININGS = {
    "teacher": ("teacher_tiny", []),
    "teacher, trained": ("teacher_tiny", ["MODEL.WEIGHTS", "dld://teacher_tiny", *EXACT]),
    "recogniser": ("pretrain_tiny", []),
    "distiller, WordLossSelector": ("dld_tiny", TAUGHT),
    "distiller, BackboneSelector, gumbel": ("ablations/selector_gumbel", TAUGHT),
    "distiller, BackboneSelector, soft_target": ("ablations/selector_soft_target", [*TAUGHT, *EXACT]),
    "distiller, ResolutionSelector": ("dld_tiny", [*TAUGHT, *EXACT, "MODEL.SELECTOR.NAME", "ResolutionSelector"]),
    "distiller, forced_top1": ("ablations/forced_top1", TAUGHT),
    "distiller, sequence_paper, spotting": (
        "ablations/sequence_paper",
        [*TAUGHT, *EXACT, "MODEL.SELECTOR.WORDS.LOSS", "spotting"],
    ),
}

# Training logs medians, and only every 20 steps: what is measured is written down on its way into detectron2's storage.
WATCHED = """
import json, pathlib, runpy, sys
from detectron2.utils.events import EventStorage

log, tree, script = sys.argv[1:4]
put = EventStorage.put_scalar
found = open(log, "w")

def note(self, name, value, *rest, **options):
    put(self, name, value, *rest, **options)
    print(json.dumps([self.iter, name, float(value)]), file=found, flush=True)

EventStorage.put_scalar = note
import dld
assert pathlib.Path(dld.__file__).is_relative_to(tree), dld.__file__
sys.argv[:] = sys.argv[3:]
sys.path.insert(0, str(pathlib.Path(script).parent))
runpy.run_path(script, run_name="__main__")
"""
CLOCK = {"time", "data_time", "rank_data_time", "eta_seconds"}

READ_ONNX = """
import sys
from dld import TextSpotter

spotter = TextSpotter.from_onnx(sys.argv[1])
for path in sys.argv[2:]:
    print(spotter(path).to_json())
"""

PROTOCOLS = ("icdar2013", "icdar2015", "totaltext", "ctw1500")
CURVED = ("totaltext", "ctw1500")
TEXTS = ("EXIT", "exit", "Hotel's", "Open!", "(café)", "a-b", "24/7", "WAY", "it", "Straße", "Coffee", "###", "12:30", "No,1")
LEXICON = ("EXIT", "EXIST", "Hotel", "Hostel", "Open", "café", "WAY", "WAX", "it", "Straße", "Coffee", "Toffee", "2024")


def main(argv: list[str] | None = None) -> int:
    """Record or compare; exit code 1 for numbers that differ."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tree", type=Path, default=ROOT, metavar="DIR", help="checkout to run (the one of this file)")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--output", type=Path, metavar="FILE", help="json to write")
    what.add_argument("--compare", type=Path, nargs=2, metavar=("A", "B"), help="print what differs between two records")
    args = parser.parse_args(argv)
    if args.output:
        numbers = record(args.tree.resolve())
        args.output.write_text(json.dumps(numbers, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
        return 0
    found = differences(*(json.loads(path.read_text(encoding="utf-8")) for path in args.compare))
    print("\n".join([*found, f"{len(found)} numbers differ"]))
    return 1 if found else 0


def record(tree: Path) -> dict[str, Any]:
    """Run everything in a checkout; returns json types."""
    begin = time.monotonic()

    def say(what: str) -> None:
        print(f"[{time.monotonic() - begin:4.0f} s] {what}", flush=True)

    with tempfile.TemporaryDirectory() as name:
        checkout = Checkout(tree, Path(name))
        numbers: dict[str, Any] = {"packages": {package: version(package) for package in PACKAGES}}
        numbers["scores"] = {}
        for protocol in PROTOCOLS:
            say(f"score by {protocol}")
            numbers["scores"][protocol] = checkout.score(protocol)
        numbers["words"] = {}
        for key, (weights, *options) in READINGS.items():
            say(f"read: {key}")
            numbers["words"][key] = checkout.read(weights, options)
        numbers["words of ONNX"] = {}
        for weights in SPOTTERS:
            say(f"export and read: {weights}")
            numbers["words of ONNX"][weights] = checkout.read_exported(weights)
        numbers["steps"] = {}
        for key, (config, overrides) in TRAININGS.items():
            say(f"train: {key}")
            numbers["steps"][key] = checkout.train(config, overrides)
        say("done")
    return numbers


def version(package: str) -> str | None:
    """Of an installed package."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


class Checkout:
    """Runs the commands of a checkout.

    Args:
        tree: its root.
        folder: where files may be left.
    """

    def __init__(self, tree: Path, folder: Path) -> None:
        self.tree, self.folder = tree, folder
        self.pictures = sorted(tree.glob("dld/**/samples/images/*.jpg"))
        if not self.pictures:
            raise FileNotFoundError(f"{tree}: no sample pictures in dld/**/samples/images")

    def run(self, *command: object, codes: tuple[int, ...] = (0,)) -> str:
        """Run this interpreter with the words of `command`, on one thread; returns what was printed.

        Raises:
            RuntimeError: another exit code than `codes`; with the end of what was printed.
        """
        environment = {
            **os.environ,
            "PYTHONPATH": str(self.tree),
            "OMP_NUM_THREADS": "1",
            "OMP_WAIT_POLICY": "passive",
            "CUDA_VISIBLE_DEVICES": "",
        }
        words = [sys.executable, *map(str, command)]
        done = subprocess.run(words, cwd=self.tree, env=environment, capture_output=True, text=True, encoding="utf-8")
        if done.returncode not in codes:
            shown = " ".join(word if len(word) < 200 else "..." for word in words)
            raise RuntimeError(f"exit code {done.returncode} of {shown}\n{(done.stdout + done.stderr)[-3000:]}")
        return done.stdout

    def dld(self, *words: object, codes: tuple[int, ...] = (0,)) -> str:
        """Run `dld VERB ...`."""
        return self.run("-m", "dld.cli.main", *words, codes=codes)

    def read(self, weights: str, options: list[str]) -> dict[str, Any]:
        """What `dld spot` reads in the sample pictures."""
        output = self.new_folder()
        source = ["--input", *self.pictures, "--output", output, "--pretrained", weights]
        self.dld("spot", *source, "--no-pictures", "--quiet", "--device", "cpu", *options)
        return by_picture(json.loads((output / "results.json").read_text(encoding="utf-8"))["images"])

    def read_exported(self, weights: str) -> dict[str, Any]:
        """What the graphs of `dld export` read in the sample pictures."""
        output = self.new_folder()
        # 1: a word was read differently than by PyTorch, which is told by the words themselves
        self.dld("export", "--pretrained", weights, "--output", output, "--images", self.pictures[0], codes=(0, 1))
        return by_picture([json.loads(line) for line in self.run("-c", READ_ONNX, output, *self.pictures).splitlines()])

    def train(self, config: str, overrides: list[str]) -> dict[str, dict[str, list[float]]]:
        """Everything but the clock that three steps of training measure: iteration -> name -> values."""
        output = self.new_folder()
        script = self.tree / "projects" / "DLD" / "train_net.py"
        options = ["--config-file", self.tree / "configs" / f"{config}.yaml", "--num-gpus", "1"]
        words = [*SHORT, *overrides, "OUTPUT_DIR", output / "trained"]
        self.run("-c", WATCHED, output / "log", self.tree, script, *options, *words)
        steps: dict[str, dict[str, list[float]]] = {}
        for line in (output / "log").read_text().splitlines():
            iteration, name, value = json.loads(line)
            if name not in CLOCK:
                steps.setdefault(str(iteration), {}).setdefault(name, []).append(value)
        return steps

    def score(self, protocol: str) -> dict[str, Any]:
        """Scores that `dld evaluate` gives to generated words, without and with a lexicon, for each rule of using one."""
        folder = self.new_folder()
        rng = random.Random(protocol)
        truth, found = generated_words(rng, protocol in CURVED)
        write_lines(folder / "truth", "gt_{}.txt", truth, protocol)
        write_lines(folder / "found", "res_{}.txt", found, protocol)
        # probabilities of characters, which the weighted rule looks at, are in files of this layout only
        write_results(folder / "found.json", found, rng)
        (folder / "generic.txt").write_text("\n".join(LEXICON), encoding="utf-8")
        scores = {}
        for rule, predictions in (("plain", "found"), ("limited", "found"), ("weighted", "found.json")):
            files = ["--gt", folder / "truth", "--predictions", folder / predictions, "--output", folder / "scores.json"]
            lexicon = ["--lexicon", "none", "generic", "--lexicon-dir", folder, "--lexicon-rule", rule]
            self.dld("evaluate", *files, "--protocol", protocol, *lexicon)
            scores[rule] = json.loads((folder / "scores.json").read_text(encoding="utf-8"))
            for path in ("ground_truth", "predictions"):
                del scores[rule][path]
        return scores

    def new_folder(self) -> Path:
        return Path(tempfile.mkdtemp(dir=self.folder))


def by_picture(results: list[dict[str, Any]]) -> dict[str, Any]:
    """Results under the names of their pictures."""
    return {Path(result.pop("file_name")).name: result for result in results}


def generated_words(rng: random.Random, curved: bool) -> tuple[dict[str, list], dict[str, list]]:
    """Ground truth and a submission, image -> (polygon, text): words hit, missed, moved, misread, found twice, false ones."""
    truth, found = {}, {}
    for image in range(1, 31):
        words = [(outline(rng, curved), rng.choice(TEXTS)) for _ in range(rng.randrange(12))]
        guesses = []
        for polygon, text in words:
            for _ in range(rng.choice((0, 1, 1, 1, 2))):
                read = rng.choice((text, text, text.upper(), text[1:], text + "!", text[::-1]))
                guesses.append((moved(rng, polygon), read if read.strip("#") else "word"))
        guesses += [(outline(rng, curved), rng.choice(LEXICON)) for _ in range(rng.randrange(4))]
        rng.shuffle(guesses)
        truth[f"img_{image}"], found[f"img_{image}"] = words, guesses
    return truth, found


def outline(rng: random.Random, curved: bool) -> list[tuple[int, int]]:
    """A clockwise polygon of four points, or of six or eight with an arched top and bottom."""
    x, y, width, height = rng.randrange(500), rng.randrange(400), rng.randrange(12, 140), rng.randrange(8, 40)
    count = rng.choice((3, 4)) if curved else 2
    rise = [rng.randrange(-3, 4) for _ in range(count)]
    top = [(x + width * i // (count - 1), y + rise[i]) for i in range(count)]
    return top + [(across, down + height) for across, down in reversed(top)]


def moved(rng: random.Random, polygon: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """The polygon, its points moved by a little; now and then it crosses itself or is turned round."""
    reach = rng.choice((1, 3, 8))
    points = [(x + rng.randint(-reach, reach), y + rng.randint(-reach, reach)) for x, y in polygon]
    kind = rng.random()
    if kind < 0.05:
        points[0], points[1] = points[1], points[0]
    return points[::-1] if kind > 0.95 else points


def write_lines(folder: Path, name: str, words: dict[str, list], protocol: str) -> None:
    """Words as official files have them, a file for each image."""
    folder.mkdir()
    for image, items in words.items():
        lines = [official_line(polygon, text, protocol) + "\n" for polygon, text in items]
        (folder / name.format(image)).write_text("".join(lines), encoding="utf-8")


def official_line(polygon: list[tuple[int, int]], text: str, protocol: str) -> str:
    """A box and a quoted text, a quadrilateral, or a polygon."""
    if protocol == "icdar2013":
        across, down = zip(*polygon, strict=True)
        return f'{min(across)},{min(down)},{max(across)},{max(down)},"{text}"'
    return ",".join(f"{x},{y}" for x, y in polygon) + (",####" if protocol in CURVED else ",") + text


def write_results(path: Path, words: dict[str, list], rng: random.Random) -> None:
    """Words as a results file, with random scores."""
    images = []
    for image, items in words.items():
        entries = [
            {"text": text, "polygon": polygon, "score": rng.random(), "char_scores": [rng.random() for _ in text]}
            for polygon, text in items
        ]
        images.append({"image_id": image, "file_name": None, "width": 640, "height": 480, "words": entries})
    path.write_text(json.dumps({"schema": "dld-results/1", "dataset": None, "images": images}), encoding="utf-8")


def differences(a: Any, b: Any) -> list[str]:
    """A line for every value of two records that is not the same to the last bit, or is only in one."""
    first, second = dict(leaves(a)), dict(leaves(b))
    return [
        f"{key}: {first.get(key, 'nothing')} against {second.get(key, 'nothing')}"
        for key in [*first, *(key for key in second if key not in first)]
        if first.get(key) != second.get(key)
    ]


def leaves(value: Any, where: str = "") -> Iterator[tuple[str, str]]:
    """Place and text of every value; the text of a float is exact, and tells -0.0 from 0.0 and takes nan for nan."""
    items = list(value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ())
    if not items:
        yield where, repr(value)
        return
    for key, item in items:
        yield from leaves(item, f"{where}/{key}")


if __name__ == "__main__":
    sys.exit(main())
