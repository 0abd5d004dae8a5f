"""Label photos with what a spotter reads on them, to train on: sure words become words, doubtful ones don't-care."""

from __future__ import annotations

import argparse
import logging
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from dld.cli.command import add_weights, run_command

if TYPE_CHECKING:
    import numpy as np

    from dld.data.annotation import ImageAnnotation

__all__ = ["add_arguments", "main", "run"]

logger = logging.getLogger(__name__)

EPILOG = """
examples:
  dld label --input photos/ --pretrained teacher_tiny --output labels.json
  dld label --input photos/ --weights output/teacher_tiny/model_best.pth --min-score 0.95 --output labels.json
  dld check --json labels.json --images photos/
  dld label --input photos/ --pretrained teacher_tiny --format cvat --output annotations.xml

The labels are an annotation file, schema dld-text/1, with polygons in pixels of the upright photos: look at it, correct it,
and train with DATASETS.REGISTER "[('photos', 'labels.json', 'photos/')]". With --format they are files of a labelling tool,
and `dld prepare` takes them back.

exit code: 0 everything was read; 1 something could not be read and was skipped, a warning says what; 2 a mistake in the
options; 130 interrupted (the labels of what was read until then are written).
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the verb."""
    parser.add_argument(
        "--input",
        required=True,
        type=Path,
        metavar="DIR",
        help="folder of photos, searched recursively; file names in the labels are relative to it",
    )
    parser.add_argument("--output", required=True, type=Path, metavar="FILE", help="labels to write; labelme: a folder")
    parser.add_argument(
        "--format",
        default="dld",
        metavar="FORMAT",
        help="dld (the default, dld-text/1), labelme, cvat, label-studio, ppocrlabel, mmocr, adelaidet or coco: "
        "to correct the labels in that tool",
    )
    parser.add_argument("--force", action="store_true", help="write over labels that are there")
    add_weights(parser)
    parser.add_argument(
        "--min-score",
        type=float,
        default=0.9,
        metavar="P",
        help="a word is a label where its score x the probabilities of its characters reaches this (%(default)s); "
        "below it is don't-care",
    )
    parser.add_argument(
        "--drop-below",
        type=float,
        default=0.3,
        metavar="P",
        help="detections of a lower score are left out, and so are background (%(default)s)",
    )
    parser.add_argument("--keep-unsure", action="store_true", help="keep images without a single sure word, too")
    parser.add_argument(
        "--batch-size",
        type=int,
        metavar="N",
        help="photos read at once; default: a CPU one for each thread, at most 4; a GPU 1",
    )
    parser.add_argument("--device", help="cpu, cuda, cuda:1, ...; by default a GPU where there is one")
    parser.add_argument("--opts", nargs=argparse.REMAINDER, default=[], help="configuration overrides, KEY VALUE ...")


def main(argv: list[str] | None = None) -> int:
    """Run the verb; return its exit code, as in the epilog."""
    return run_command("dld label", __doc__, EPILOG, add_arguments, run, argv)


def run(args: argparse.Namespace) -> int:
    """Read every photo and write the labels; return the exit code.

    Raises:
        OSError, KeyError, ValueError: the message names the file or the option.
    """
    from dld.cli.load_spotter import pictures_at_once
    from dld.data.annotation import image_ids
    from dld.data.label_formats.registry import LABEL_FORMATS
    from dld.inference.input_files import find_inputs, list_passed_over
    from dld.inference.labels import count_labels

    check_options(args)
    label_format = LABEL_FORMATS[args.format]
    passed_over: Counter[str] = Counter()
    paths = find_inputs([str(args.input)], passed_over=passed_over)
    label_format.check_names([path.relative_to(args.input).as_posix() for path in paths])
    spotter = load_spotter(args)
    at_once = pictures_at_once(args.batch_size, spotter)
    spotter([], batch_size=at_once)  # raises now if something is wrong with the option
    job = _Job(args, spotter, at_once)
    interrupted = False
    try:
        job.read(paths)
    except KeyboardInterrupt:
        interrupted = True
    images = [image for image in job.images if args.keep_unsure or not all(word.ignore for word in image.words)]
    # ids are only known now: a.jpg and a.png must not get the same one
    for image, image_id in zip(images, image_ids([image.file_name for image in images]), strict=True):
        image.image_id = image_id
    if images:
        label_format.write(args.output, images, args.input)
        print(f"{count_labels(images, len(job.images) - len(images))} -> {args.output}")
    else:
        print(f"no photo has a word of confidence {args.min_score:g} or more: no labels are written", file=sys.stderr)
    if passed_over:
        print(list_passed_over(passed_over), file=sys.stderr)
    if job.failed:
        print(f"{job.failed} photos could not be read", file=sys.stderr)
    if interrupted:
        print("interrupted: the rest was not read", file=sys.stderr)
        return 130
    return 1 if job.failed or not images else 0


def check_options(args: argparse.Namespace) -> None:
    """Raise ValueError or FileNotFoundError for what would only be noticed after all photos were read."""
    from dld.data.label_formats.registry import LABEL_FORMATS

    for name in ("min_score", "drop_below"):
        value = getattr(args, name)
        if not 0 <= value <= 1:
            raise ValueError(f"--{name.replace('_', '-')} is a probability from 0 to 1, got {value:g}")
    if not args.input.is_dir():
        raise FileNotFoundError(f"--input {args.input} is no folder: the file names in the labels are relative to one")
    if args.format not in LABEL_FORMATS:
        raise ValueError(f"--format {args.format}: unknown, expected one of {', '.join(LABEL_FORMATS)}")
    label_format = LABEL_FORMATS[args.format]
    if label_format.per_image and args.output.is_file():
        raise NotADirectoryError(f"--output {args.output} must be a folder: {args.format} has a file for each photo")
    if not label_format.per_image and args.output.suffix != label_format.ending:
        raise ValueError(f"--output {args.output} must end in {label_format.ending}")
    there = label_format.written(args.output)
    if there is not None and not args.force:
        raise ValueError(f"{there} exists and may have been corrected by hand: --force writes over it")


def load_spotter(args: argparse.Namespace):
    """Load the spotter that the options name, told to give its doubtful detections, too."""
    from dld.inference.predictor import TextSpotter
    from dld.model_zoo import weights_address

    # a spotter leaves out what it reads badly, but here that becomes don't-care
    opts = ["MODEL.ROI_HEADS.SCORE_THRESH_TEST", args.drop_below, "MODEL.RECOGNITION.SCORE_THRESH_TEST", 0.0]
    opts += ["MODEL.STRIPS.DETECTION_THRESH", args.drop_below, "MODEL.STRIPS.SCORE_THRESH", 0.0, *args.opts]
    return TextSpotter.from_checkpoint(weights_address(args.weights), opts, args.device)


@dataclass(eq=False)
class _Photo:
    path: Path
    pixels: np.ndarray
    name: str


class _Job:
    """Reads photos one after another; `images` holds the labels of those that could be read."""

    def __init__(self, args: argparse.Namespace, spotter, at_once: int) -> None:
        self.args, self.spotter, self.at_once = args, spotter, at_once
        self.images: list[ImageAnnotation] = []
        self.failed = 0

    def read(self, paths: list[Path]) -> None:
        from dld.inference.labels import label_image
        from dld.inference.predictor import spot_items

        for photo, result in spot_items(self.spotter, self._readable(paths), batch_size=self.at_once):
            self.images.append(label_image(result, photo.name, photo.name, self.args.min_score))

    def _readable(self, paths: list[Path]) -> Iterator[_Photo]:
        from dld.data.picture import read_picture
        from dld.inference.labels import relative_name

        for path in tqdm(paths, unit="photo", disable=None):
            try:
                pixels = read_picture(path)
                name = relative_name(path, self.args.input, (pixels.shape[1], pixels.shape[0]))
            except (OSError, ValueError) as error:
                logger.warning("skipped: %s", error)
                self.failed += 1
            else:
                yield _Photo(path, pixels, name)
