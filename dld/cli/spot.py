"""Read the words in pictures: drawings, a json, and the text on the terminal."""

from __future__ import annotations

import argparse
import glob
import logging
import os
import sys
from pathlib import Path

from tqdm import tqdm

__all__ = ["add_arguments", "find_pictures", "main"]

logger = logging.getLogger(__name__)

PICTURE_ENDINGS = {".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".ppm"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the verb."""
    parser.add_argument("--input", nargs="+", required=True, help="picture files, globs, or folders (searched recursively)")
    parser.add_argument("--output", required=True, help="folder for the pictures and results.json")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--weights", help="checkpoint of our trainer, or packed weights (.safetensors)")
    source.add_argument("--pretrained", help="name of weights shipped with the package")
    parser.add_argument("--config-file", default="", help="configuration; by default the one inside the checkpoint")
    parser.add_argument("--font", default=None, help="font file for the drawn text")
    parser.add_argument("--quiet", action="store_true", help="do not print the words")
    parser.add_argument("--opts", nargs=argparse.REMAINDER, default=[], help="configuration overrides, KEY VALUE ...")


def find_pictures(inputs: list[str]) -> list[Path]:
    """Files named by paths, globs and folders, in order and each once.

    Raises:
        FileNotFoundError: an input names nothing.
    """
    found: dict[Path, None] = {}
    for name in inputs:
        path = Path(name)
        if path.is_dir():
            files = sorted(p for p in path.rglob("*") if p.suffix.lower() in PICTURE_ENDINGS)
            if not files:
                raise FileNotFoundError(f"no pictures in folder {name}")
        elif path.exists():
            files = [path]
        else:
            files = sorted(Path(p) for p in glob.glob(name, recursive=True))
            if not files:
                raise FileNotFoundError(f"input {name} is no file, folder or glob that matches anything")
        found.update(dict.fromkeys(files))
    return list(found)


def output_names(pictures: list[Path], output: Path) -> list[Path]:
    """One drawing per picture in `output`, never over an input and never over each other."""
    inputs = {p.resolve() for p in pictures}
    names: list[Path] = []
    taken = set(inputs)
    for picture in pictures:
        name, count = output / f"{picture.stem}.jpg", 1
        while name.resolve() in taken:
            name = output / f"{picture.stem}_{count}.jpg"
            count += 1
        taken.add(name.resolve())
        names.append(name)
    return names


def main(argv: list[str] | None = None) -> int:
    """Exit code 0: all pictures read; 1: some could not be read; 2: nothing to do with what was given."""
    parser = argparse.ArgumentParser(prog="dld spot", description=__doc__)
    add_arguments(parser)
    args = parser.parse_args(argv)
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    from dld.data.dataset_mapper import read_dict_image
    from dld.engine.setup import load_config
    from dld.inference.predictor import TextSpotter
    from dld.model_zoo import find_weights
    from dld.structures.words import write_results
    from dld.utils.visualizer import TextVisualizer

    try:
        pictures = find_pictures(args.input)
        if args.config_file:
            weights = args.weights or find_weights(args.pretrained)
            spotter = TextSpotter(load_config(args.config_file, [*args.opts, "MODEL.WEIGHTS", weights]))
        elif args.pretrained:
            spotter = TextSpotter.from_pretrained(args.pretrained, args.opts)
        else:
            spotter = TextSpotter.from_checkpoint(args.weights, args.opts)
    except (FileNotFoundError, KeyError, ValueError) as error:
        print(f"error: {error.args[0] if isinstance(error, KeyError) else error}", file=sys.stderr)
        return 2
    output = Path(args.output)
    output.mkdir(parents=True, exist_ok=True)
    results, failed = [], 0
    for picture, drawing in zip(tqdm(pictures, unit="picture", disable=None), output_names(pictures, output), strict=True):
        try:
            image = read_dict_image({"file_name": str(picture)})
        except ValueError as error:
            logger.warning("skipped: %s", error)
            failed += 1
            continue
        result = spotter(image)
        result.file_name = str(picture)
        results.append(result)
        visualizer = TextVisualizer(image[:, :, ::-1], font_path=args.font)
        visualizer.draw_spotting(result)
        visualizer.get_output().save(str(drawing))
        if not args.quiet:
            tqdm.write(f"{picture}: " + (" | ".join(w.text for w in result.words) or "(no words)"))
    write_results(output / "results.json", results)
    print(f"{len(results)} pictures, {sum(len(r.words) for r in results)} words -> {output}/results.json")
    if failed:
        print(f"{failed} of {len(pictures)} inputs could not be read", file=sys.stderr)
    return 1 if failed else 0
