"""Turn networks of PP-OCRv6 "small" (ONNX, in the package rapidocr) into weights of ours.

The recogniser becomes the reader of strips. The result is compared with onnxruntime, where that is installed, before anything
is written. By default it keeps the characters that European languages write (ASCII, Latin with accents, Greek, punctuation,
currencies) of the 18,709 in the file. The detector becomes a backbone that training starts from (--detector).
"""

from __future__ import annotations

import argparse
import unicodedata
from collections.abc import Iterable
from pathlib import Path

from dld.cli.command import run_command

__all__ = ["add_arguments", "european", "largest_difference", "main", "run"]

EPILOG = """
example:
  pip install --no-deps --target rapidocr rapidocr==3.10.0
  dld convert --onnx rapidocr/rapidocr/models/PP-OCRv6_rec_small.onnx --output strip_reader.safetensors
  dld convert --onnx rapidocr/rapidocr/models/PP-OCRv6_det_small.onnx --detector configs/teacher_ppocr.yaml \\
    --output start.safetensors
"""
TOLERANCE = 1e-4


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's options to its parser."""
    parser.add_argument("--onnx", required=True, metavar="FILE", help="PP-OCRv6_rec_small.onnx or PP-OCRv6_det_small.onnx")
    parser.add_argument(
        "--detector", metavar="CONFIG", help="the file is the detector: start of a spotter of this configuration"
    )
    parser.add_argument("--output", required=True, metavar="FILE", help="file to write, ending in .safetensors")
    parser.add_argument(
        "--charset", metavar="FILE", help="all, or a UTF-8 file with the characters to keep; default: European ones"
    )


def european(characters: Iterable[str]) -> list[str]:
    """Select printable ASCII, Latin up to U+024F, Greek, general punctuation, currencies and a few letter-like signs."""
    blocks = ((0x20, 0x7E), (0xA1, 0x24F), (0x370, 0x3FF), (0x2010, 0x2044), (0x20A0, 0x20BF), (0x2116, 0x2122))
    kept = [c for c in characters if any(a <= ord(c) <= b for a, b in blocks) and unicodedata.category(c)[0] != "C"]
    return sorted(kept, key=ord)


def largest_difference(reader, onnx_file: str | Path, width: int = 160) -> float | None:
    """Return the largest difference of probabilities to onnxruntime on noise, all characters; None if not installed.

    Raises:
        ValueError: onnxruntime cannot run the file.
    """
    import numpy as np
    import torch

    try:
        import onnxruntime
    except ImportError:
        return None
    noise = torch.randn(2, 3, 48, width, generator=torch.Generator().manual_seed(0)) / 2
    with torch.inference_mode():
        ours = reader.logits(noise).softmax(-1).numpy()
    try:
        session = onnxruntime.InferenceSession(str(onnx_file))
        theirs = session.run(None, {session.get_inputs()[0].name: noise.numpy()})[0]
        return float(np.abs(ours - theirs).max())
    except Exception as error:  # onnxruntime's own exceptions have no class in common
        raise ValueError(f"{onnx_file} cannot be compared with onnxruntime: {error}") from error


def run(args: argparse.Namespace) -> None:
    """Read, compare, cut the head, write.

    Raises:
        FileNotFoundError, ImportError, ValueError: naming the file, the package or the difference.
    """
    from dld.modeling.recognition.ppocr_weights import read_ppocr
    from dld.text.charset import Charset
    from dld.weights import save_safetensors

    if not args.output.endswith(".safetensors"):
        raise ValueError(f"--output must end in .safetensors, got {args.output}")
    if not Path(args.output).parent.is_dir():
        raise FileNotFoundError(f"--output {args.output}: its folder does not exist")
    if args.detector:
        return convert_detector(args)
    reader = read_ppocr(args.onnx)
    apart = largest_difference(reader, args.onnx)
    if apart is not None and not apart <= TOLERANCE:  # nan does not agree
        raise ValueError(f"{args.onnx}: the result differs from onnxruntime by {apart:.2g}, more than {TOLERANCE:g}")
    if args.charset != "all":
        known = reader.charset.characters
        reader.keep_characters(Charset.from_file(args.charset) if args.charset else Charset(european(known)))
    about = {"source": Path(args.onnx).name, "licence": "Apache-2.0, PaddleOCR"}
    save_safetensors(args.output, reader.state_dict(), about)
    difference = "not compared (no onnxruntime)" if apart is None else f"within {apart:.1g} of onnxruntime"
    size = Path(args.output).stat().st_size / 1e6
    print(f"{args.output}: {size:.1f} MB, {len(reader.charset)} characters, before rounding to half precision {difference}")


def convert_detector(args: argparse.Namespace) -> None:
    """Write the weights of a new spotter whose backbone is the detector's: MODEL.WEIGHTS of a training.

    Raises:
        FileNotFoundError, ImportError, ValueError: naming the file, the package or what does not fit.
    """
    import torch
    from detectron2.modeling import build_model

    from dld.engine.setup import load_config
    from dld.modeling.backbone.ppocr_detector import read_ppocr_detector
    from dld.modeling.backbone.text_convnet_fpn import TextConvNetFPN
    from dld.weights import save_safetensors

    if args.charset:
        raise ValueError("--charset is for the recogniser: a detector reads nothing")
    cfg = load_config(args.detector, ["MODEL.DEVICE", "cpu", "MODEL.WEIGHTS", ""])
    torch.manual_seed(max(cfg.SEED, 0))
    model = build_model(cfg)
    backbone = getattr(model, "backbone", None)
    if not isinstance(backbone, TextConvNetFPN):
        name = cfg.MODEL.BACKBONE.NAME
        raise ValueError(f"--detector {args.detector}: MODEL.BACKBONE.NAME must be build_text_convnet_fpn_backbone, got {name}")
    read_ppocr_detector(args.onnx, backbone, cfg.MODEL.PIXEL_MEAN, cfg.MODEL.PIXEL_STD)
    about = {"source": Path(args.onnx).name, "licence": "Apache-2.0, PaddleOCR", "config": cfg.dump()}
    save_safetensors(args.output, model.state_dict(), about, half=False)
    print(f"{args.output}: {Path(args.output).stat().st_size / 1e6:.1f} MB, to train from: MODEL.WEIGHTS {args.output}")


def main(argv: list[str] | None = None) -> int:
    """Run the verb; return its exit code, see :mod:`dld.cli.command`."""
    return run_command("dld convert", __doc__, EPILOG, add_arguments, run, argv)
