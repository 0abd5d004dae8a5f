"""Write a trained spotter as ONNX graphs, and compare what they read with what PyTorch reads."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from dld.cli.command import add_weights, run_command

__all__ = ["add_arguments", "main", "run"]

EPILOG = """
examples:
  dld export --pretrained teacher_tiny --output exported/teacher_tiny
  python projects/DLD/tools/export_model.py --weights output/dld_tiny/model_best.pth --output exported/dld_tiny \\
    --images photos/

Read with the result, without PyTorch weights:
  from dld import TextSpotter
  spotter = TextSpotter.from_onnx("exported/dld_tiny")
  print([word.text for word in spotter("photo.jpg").words])

Exit code 1: the graphs were written, but a picture was read differently; parity.json says which.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the verb."""
    add_weights(parser)
    parser.add_argument("--output", required=True, metavar="DIR", help="folder for the graphs, spotter.json and parity.json")
    parser.add_argument("--images", nargs="+", default=[], metavar="PICTURE", help="pictures, globs or folders to compare on")
    parser.add_argument("--limit", type=int, default=8, help="most pictures to compare on; without --images generated ones")
    parser.add_argument("--opts", nargs=argparse.REMAINDER, default=[], help="configuration overrides, KEY VALUE ...")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Export, compare, and return what was written to parity.json.

    Raises:
        ImportError: onnx or onnxruntime is not installed.
        ValueError, KeyError, FileNotFoundError: naming the file or the option.
    """
    from dld.data.picture import read_picture
    from dld.inference.input_files import find_inputs

    if args.limit < 1:
        raise ValueError(f"--limit must be at least 1, got {args.limit}")
    pictures = find_inputs(args.images)[: args.limit] if args.images else None
    for picture in pictures or ():
        read_picture(picture)  # a picture that cannot be read raises before the work begins

    import torch

    from dld import __version__
    from dld.export.exporter import export_spotter, spotter_parts
    from dld.export.parity import compare_graphs, compare_pictures
    from dld.inference.predictor import TextSpotter
    from dld.model_zoo import weights_address
    from dld.runtime.onnx_spotter import OnnxTextSpotter

    weights = weights_address(args.weights)
    # the graphs compute in float32, so their reference must do the same
    opts = [*args.opts, "MODEL.INFERENCE_DTYPE", "float32"]
    spotter = TextSpotter.from_checkpoint(weights, opts, device="cpu")
    export_spotter(spotter.model, spotter.cfg, args.output, weights, spotter.budget_table)
    exported = OnnxTextSpotter(args.output)
    if pictures is None:
        pictures = _generated_pictures(args.limit)
    import onnx
    import onnxruntime

    report = {
        "dld": __version__,
        "torch": torch.__version__,
        "onnx": onnx.__version__,
        "onnxruntime": onnxruntime.__version__,
        # a size and batch other than those the graphs were traced with
        "graphs": compare_graphs(spotter_parts(spotter.model, (224, 160), 1, seed=1), exported.run),
        "words": compare_pictures(spotter, exported, pictures),
    }
    (Path(args.output) / "parity.json").write_text(json.dumps(report, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    return report


def _generated_pictures(count: int):
    from dld.data.synthesis.synthwords import SynthWordsDataset

    pictures = SynthWordsDataset("val")
    return [pictures[index]["image"] for index in range(count)]


def main(argv: list[str] | None = None) -> int:
    """Run the verb; return its exit code, see :mod:`dld.cli.command`: 1 if a picture was read differently."""
    return run_command("dld export", __doc__, EPILOG, add_arguments, lambda args: show(run(args), args.output), argv)


def show(report: dict[str, Any], output: str) -> int:
    """Print the parity report; return 1 if a picture was read differently."""
    for name, outputs in report["graphs"].items():
        print(f"{name:<10} largest difference  " + "  ".join(f"{key} {value:.1e}" for key, value in outputs.items()))
    words = report["words"]
    print(
        f"{words['same_words']} of {words['words']} words the same on {words['pictures']} pictures; scores within "
        f"{words['score']:.1e}, {words['polygons_within_half']} polygons within half a pixel, the farthest "
        f"{words['polygon_pixels']:.2g}"
    )
    for one in words["different"]:
        print(f"  different: {one['picture']}: {one['pytorch']} became {one['onnx']}")
    print(f"-> {output}")
    return 1 if words["different"] else 0
