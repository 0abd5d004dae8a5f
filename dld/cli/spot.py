"""Read the words in pictures, films and cameras: text on the terminal, drawings, json."""

from __future__ import annotations

import argparse
import itertools
import logging
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from dld.cli.command import add_weights, run_command

if TYPE_CHECKING:
    import numpy as np

    from dld.inference.document_files import DocumentFiles
    from dld.inference.input_files import FreeNames
    from dld.inference.output_files import ResultLog
    from dld.inference.predictor import TextSpotter

__all__ = ["add_arguments", "main", "run"]

logger = logging.getLogger(__name__)

EPILOG = """
examples:
  dld spot --input photo.jpg folder/ "more/*.png" --output out --pretrained teacher_tiny
  dld spot --input clip.mp4 --output out --pretrained teacher_tiny --batch-size 4
  dld spot --input - --pretrained teacher_tiny < photo.jpg
  dld spot --engine ray --input photos/ --output parquet --pretrained teacher_tiny --workers 2
  dld spot --camera 0 --output out --weights output/dld_tiny/model_best.pth --budget 0.6

in the output folder: a drawing of every picture (.jpg) and film (.mp4), results.jsonl (a line for every picture and frame,
written as it goes) and results.json (the same as one file, at the end). It never overwrites an input.

exit code: 0 everything was read; 1 something could not be read and was skipped, a warning says what; 2 a mistake in the
options, or a full disk; 130 interrupted (what was read until then is complete in the output folder).
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the verb."""
    parser.add_argument(
        "--input",
        nargs="+",
        default=[],
        metavar="FILE",
        help="picture files, globs, folders (searched recursively for pictures), films; - is one picture on standard input",
    )
    parser.add_argument("--camera", type=int, metavar="N", help="read camera N until interrupted with ctrl-c")
    parser.add_argument("--output", metavar="DIR", help="folder for drawings and json; without it the words are only printed")
    parser.add_argument(
        "--output-format",
        nargs="+",
        default=[],
        metavar="FORMAT",
        help="further files of pictures in the output folder: txt, hocr, alto, pdf (searchable); csv: one table of all words",
    )
    parser.add_argument("--no-pictures", action="store_true", help="write json only, no drawings and films")
    add_weights(parser)
    parser.add_argument("--config-file", default="", help="configuration; by default the one inside the checkpoint")
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument("--scale", default="auto", help="auto (default), or the share of full resolution to read at: 0.5")
    choice.add_argument("--budget", type=float, metavar="SHARE", help="largest cost as a share of the teacher's: 0.6")
    parser.add_argument("--charset", default="", choices=["ascii", "latin", "all"], help="characters to read, where strips are")
    parser.add_argument("--allow", default="", metavar="CHARACTERS", help="read no others: 0123456789.")
    parser.add_argument(
        "--rotation",
        default="0",
        metavar="DEGREES",
        help="by which the pages are turned clockwise: 0 (default), 90, 180, 270; or auto: found for each, at a cost",
    )
    parser.add_argument(
        "--tile",
        default="auto",
        metavar="PIXELS",
        help="auto (default): long and huge pictures are read in tiles, too; off; or the side of the tiles",
    )
    parser.add_argument(
        "--pages",
        action="store_true",
        help="read all pages of TIFF and PDF, all frames of animated pictures, not the first alone",
    )
    parser.add_argument(
        "--batch-size",
        type=int,
        metavar="N",
        help="pictures or frames read at once; default: a CPU one for each thread, at most 4; a GPU, and of a camera, 1",
    )
    parser.add_argument("--device", help="cpu, cuda, cuda:1, ...; by default a GPU where there is one")
    parser.add_argument("--max-frames", type=int, metavar="N", help="stop each film and the camera after N frames")
    parser.add_argument("--font", metavar="FILE", help="font file for the drawn text")
    parser.add_argument("--quiet", action="store_true", help="do not print the words")
    many = parser.add_argument_group(
        "many pictures, several machines (--engine ray)",
        "--input takes folders, globs, lists (.txt: a path or an address on each line) and addresses (s3://bucket/folder); "
        "--output gets Parquet files. The same command goes on where it was stopped",
    )
    many.add_argument("--engine", default="local", choices=["local", "ray"], help="local (default); ray: a pool of processes")
    many.add_argument("--workers", type=int, metavar="N", help="processes, each with a spotter; by default as many as fit")
    many.add_argument("--threads", type=int, metavar="N", help="of each process (1)")
    many.add_argument("--address", default="", metavar="ADDRESS", help="a ray cluster: auto, host:port; else this machine")
    many.add_argument("--part-size", type=int, metavar="N", help="pictures in a Parquet file (1000, fewer for few pictures)")
    parser.add_argument("--opts", nargs=argparse.REMAINDER, default=[], help="configuration overrides, KEY VALUE ...")


def main(argv: list[str] | None = None) -> int:
    """Run the verb; return its exit code, as in the epilog."""
    return run_command("dld spot", __doc__, EPILOG, add_arguments, run, argv)


def run(args: argparse.Namespace) -> int:
    """Read everything; return the exit code.

    Raises:
        OSError, KeyError, ValueError: the message names the file or the option.
    """
    if args.engine == "ray":
        from dld.cli.spot_ray import run_with_ray

        return run_with_ray(args)
    given = [name for name in ("workers", "threads", "address", "part_size") if getattr(args, name) not in (None, "")]
    if given:
        raise ValueError(f"--{given[0].replace('_', '-')} is an option of --engine ray")

    from dld.cli.load_spotter import load_spotter, pictures_at_once
    from dld.documents.searchable_pdf import check_installed
    from dld.inference.document_files import OUTPUT_FORMATS, DocumentFiles
    from dld.inference.input_files import FreeNames, find_inputs, is_video
    from dld.inference.output_files import ResultLog

    if not args.input and args.camera is None:
        raise ValueError("nothing to read: give --input or --camera")
    if args.max_frames is not None and args.max_frames < 1:
        raise ValueError(f"--max-frames must be at least 1, got {args.max_frames}")
    unknown = [name for name in args.output_format if name not in OUTPUT_FORMATS]
    if unknown:
        raise ValueError(f"--output-format must be of {', '.join(OUTPUT_FORMATS)}, got {', '.join(unknown)}")
    if args.output_format and args.output is None:
        raise ValueError("--output-format writes files: give --output, too")
    if "pdf" in args.output_format:
        check_installed()
    passed_over: Counter[str] = Counter()
    inputs = find_inputs(args.input, args.output, passed_over)
    spotter = load_spotter(args)
    options = {"scale": args.scale, "budget": args.budget, "rotation": args.rotation, "tile": args.tile}
    options["batch_size"] = pictures_at_once(args.batch_size, spotter)
    spotter([], **options)  # raises now if something is wrong with the options
    with ExitStack() as stack:
        log = names = documents = None
        if args.output is not None:
            names = FreeNames(args.output, inputs)
            log = stack.enter_context(ResultLog(names.fixed("results.jsonl"), names.fixed("results.json")))
            if args.output_format:
                documents = stack.enter_context(DocumentFiles(names, args.output_format))
        job = _Job(args, spotter, options, log, None if args.no_pictures else names, documents)
        try:
            job.pictures([path for path in inputs if not is_video(path)])
            for path in filter(is_video, inputs):
                job.film(path)
            if args.camera is not None:
                job.film(args.camera)
        except KeyboardInterrupt:
            # ctrl-c is the way to stop a camera
            job.interrupted = not job.filming_camera
    return job.report(passed_over)


@dataclass(eq=False)
class _Picture:
    path: Path
    pixels: np.ndarray
    page: int | None = None  # from 1, of files that have several and are read whole


class _Job:
    """Reads inputs one after another and counts what became of them."""

    def __init__(
        self,
        args,
        spotter: TextSpotter,
        options: dict,
        log: ResultLog | None,
        names: FreeNames | None,
        documents: DocumentFiles | None,
    ) -> None:
        self.args, self.spotter, self.options, self.log, self.names = args, spotter, options, log, names
        self.documents = documents
        self.read = self.words = self.failed = 0
        self.interrupted = self.filming_camera = False

    def pictures(self, paths: list[Path]) -> None:
        from dld.inference.output_files import save_drawing
        from dld.inference.predictor import spot_items

        for picture, result in spot_items(self.spotter, self._readable(paths), **self.options):
            result.file_name, more = str(picture.path), {}
            if picture.page is not None:
                result.image_id, more["page"] = f"{picture.path.stem}_page{picture.page}", picture.page
            if self.names is not None:
                drawing = self.names.like(picture.path, ".jpg")
                save_drawing(result, picture.pixels, drawing, self.args.font)
                more["drawing"] = drawing.name
            if self.documents is not None:
                more["documents"] = self.documents.add(picture.path, result, picture.pixels, picture.page or 1)
            self._add(result, **more)
            where = picture.path if picture.page is None else f"{picture.path} page {picture.page}"
            self._say(f"{where}: ", result)

    def _readable(self, paths: list[Path]) -> Iterator[_Picture]:
        from dld.data.pages import count_pages, read_pages
        from dld.data.picture import read_picture
        from dld.inference.input_files import STDIN

        # no bar for a single picture, nor without a terminal
        for path in tqdm(paths, unit="picture", disable=None if len(paths) > 1 else True):
            source = sys.stdin.buffer.read() if path == STDIN else path
            try:
                if self.args.pages:
                    pages = count_pages(source)
                    for number, pixels in enumerate(read_pages(source), 1):
                        yield _Picture(path, pixels, number if pages > 1 else None)
                else:
                    yield _Picture(path, read_picture(source))
                    self._tell_of_pages(source)
            except (OSError, ValueError) as error:
                self._skip(error)

    @staticmethod
    def _tell_of_pages(source: Path | bytes) -> None:
        from dld.data.pages import not_read

        more = 0 if isinstance(source, bytes) else not_read(source)
        if more:
            logger.warning("%s: %s not read; --pages reads them", source, _count(more, "more page"))

    def film(self, source: Path | int) -> None:
        from dld.inference.output_files import DrawnFilm
        from dld.inference.predictor import spot_items
        from dld.inference.video import VideoReader

        self.filming_camera = isinstance(source, int)
        try:
            reader = VideoReader(source)
        except (OSError, ValueError) as error:
            self._skip(error)
            return
        with reader, ExitStack() as stack:
            stem = Path(f"camera{source}" if self.filming_camera else source)
            film = None
            if self.names is not None:
                film = stack.enter_context(DrawnFilm(self.names.like(stem, ".mp4"), reader.fps, self.args.font))
            count = min(filter(None, (reader.count, self.args.max_frames)), default=None)
            frames = itertools.islice(reader, self.args.max_frames)
            frames = tqdm(frames, desc=reader.name, total=count, unit="frame", disable=None)
            options, shown = self.options, None
            if self.filming_camera and self.args.batch_size is None:
                options = {**options, "batch_size": 1}  # nobody waits for the next frame
            try:
                for frame, result in spot_items(self.spotter, frames, **options):
                    result.file_name, result.image_id = reader.name, f"{stem.stem}_{frame.index:06d}"
                    if film is not None:
                        film.add(result, frame.pixels)
                    self._add(result, frame=frame.index, seconds=round(frame.seconds, 3))
                    if result.text != shown:
                        shown = result.text
                        self._say(f"{reader.name} {frame.seconds:.2f} s: ", result)
            except ValueError as error:
                self._skip(error)

    def _add(self, result, **more) -> None:
        self.read += 1
        self.words += len(result.words)
        if self.log is not None:
            self.log.add(result, **more)

    def _say(self, where: str, result) -> None:
        if not self.args.quiet:
            tqdm.write(where + (" | ".join(line.text for line in result.lines) or "(no words)"))

    def _skip(self, error: Exception) -> None:
        logger.warning("skipped: %s", error)
        self.failed += 1

    def report(self, passed_over: Counter[str]) -> int:
        from dld.inference.input_files import list_passed_over

        where = f" -> {self.log.document}" if self.log is not None else ""
        counts = f"{_count(self.read, 'image')}, {_count(self.words, 'word')}"
        print(f"{counts}{where}", file=sys.stderr if self.log is None else sys.stdout)
        if passed_over:
            print(list_passed_over(passed_over), file=sys.stderr)
        if self.failed:
            print(f"{_count(self.failed, 'input')} could not be read", file=sys.stderr)
        if self.interrupted:
            print("interrupted: the rest was not read", file=sys.stderr)
            return 130
        return 1 if self.failed else 0


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
