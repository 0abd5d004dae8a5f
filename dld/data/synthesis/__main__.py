"""``python -m dld.data.synthesis --count 20 --output DIR``: pictures and annotation, or a speed."""

import argparse
import time
from pathlib import Path

import cv2
import numpy as np

from dld.data.annotation import ImageAnnotation, TextAnnotation, write_annotations
from dld.data.synthesis.config import SynthWordsConfig
from dld.data.synthesis.scene import SyntheticImage, render_synthwords
from dld.data.synthesis.synthwords import dense_options

READABLE, IGNORED = (0, 220, 0), (0, 0, 255)


def draw_overlay(picture: SyntheticImage) -> np.ndarray:
    """A copy with the outline and the label of every word, green where it counts and red where it is ignored."""
    image = picture.image.copy()
    for polygon, text, ignore in picture.words:
        color = IGNORED if ignore else READABLE
        cv2.polylines(image, [np.round(polygon * 16).astype(np.int32)], True, color, 1, cv2.LINE_AA, 4)
        x, y = polygon.min(0)
        cv2.putText(image, text, (int(x), max(9, int(y) - 2)), cv2.FONT_HERSHEY_SIMPLEX, 0.4, color, 1, cv2.LINE_AA)
    return image


def benchmark(config: SynthWordsConfig, split: str, seconds: float = 10.0) -> str:
    """Images and words per second of processor time, one thread, start-up left out."""
    threads = cv2.getNumThreads()
    cv2.setNumThreads(0)
    for index in range(3):
        render_synthwords(index, split=split, config=config)
    start, count, words = time.process_time(), 0, 0
    while time.process_time() - start < seconds:
        words += len(render_synthwords(count, split=split, config=config).words)
        count += 1
    spent = time.process_time() - start
    cv2.setNumThreads(threads)
    height, width = config.size
    rate = f"{count / spent:.1f} images/s, {words / spent:.0f} words/s"
    return f"{height} x {width}: {rate} a core ({words / count:.1f} words per image, {count} images)"


def write_samples(config: SynthWordsConfig, split: str, count: int, output: Path, overlay: bool) -> int:
    """Writes ``images/*.png`` and ``annotations.json`` under ``output``; returns the number of words."""
    (output / "images").mkdir(parents=True, exist_ok=True)
    images = []
    for index in range(count):
        picture = render_synthwords(index, split=split, config=config)
        name = f"{index:09d}.png"
        pixels = draw_overlay(picture) if overlay else picture.image
        if not cv2.imwrite(str(output / "images" / name), pixels):
            raise OSError(f"cannot write {output / 'images' / name}")
        words = [
            TextAnnotation(np.asarray(polygon, np.float64), text, ignore) for polygon, text, ignore in picture.words
        ]
        height, width = picture.image.shape[:2]
        images.append(ImageAnnotation(name, f"{index:09d}", width, height, words))
    write_annotations(output / "annotations.json", images, f"synthwords_{split}")
    return sum(len(image.words) for image in images)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m dld.data.synthesis", description="Write or time synthwords images."
    )
    parser.add_argument("--count", type=int, default=20, help="number of images")
    parser.add_argument("--output", type=Path, help="folder for images/ and annotations.json")
    parser.add_argument("--size", type=int, nargs="+", default=[640], help="height and width, or one number for both")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--split", choices=("train", "val"), default="train")
    parser.add_argument("--max-words", type=int)
    parser.add_argument("--density", type=float)
    parser.add_argument("--dense", action="store_true", help="pack the images with words")
    parser.add_argument("--fonts-dir", help="folder of .ttf or .otf files")
    parser.add_argument("--backgrounds-dir", help="folder of pictures without text")
    parser.add_argument("--words-file", help="one word a line, the most frequent first")
    parser.add_argument("--overlay", action="store_true", help="draw outlines and labels into the pictures")
    parser.add_argument("--benchmark", action="store_true", help="print images per second instead of writing")
    args = parser.parse_args(arguments)
    if not args.benchmark and args.output is None:
        parser.error("--output DIR is needed (or --benchmark)")
    size = (args.size[0], args.size[-1])
    options = {"size": size, "seed": args.seed} | (dense_options(size) if args.dense else {})
    for key in ("max_words", "density", "fonts_dir", "backgrounds_dir", "words_file"):
        if getattr(args, key) is not None:
            options[key] = getattr(args, key)
    try:
        config = SynthWordsConfig(**options)
    except ValueError as error:
        parser.error(str(error))
    if args.benchmark:
        print(benchmark(config, args.split))
    else:
        words = write_samples(config, args.split, args.count, args.output, args.overlay)
        print(f"{args.count} images with {words} words: {args.output}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
