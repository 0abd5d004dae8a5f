"""Writes a trained spotter as ONNX graphs and `spotter.json`."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from detectron2.config import CfgNode
from torch import nn

from dld import __version__
from dld.export.graphs import (
    BoxGraph,
    CharacterGraph,
    DetectorGraph,
    MaskGraph,
    ReaderGraph,
    SelectorGraph,
    pyramid_levels,
)
from dld.inference.scale_choice import dynamic
from dld.model_zoo import find_weights, sha256_of, variant_options
from dld.modeling.flops import DECODER_STEPS
from dld.modeling.meta_arch.dynamic_spotter import DynamicSpotter
from dld.modeling.meta_arch.text_spotter import TextSpottingRCNN
from dld.modeling.recognition.strip_recognizer import StripRecognizer
from dld.runtime.bundle import INSTALL, strip_graph, write_settings
from dld.strips.heights import FORMS

__all__ = ["OPSET", "GraphPart", "export_spotter", "spotter_parts", "spotter_settings"]

OPSET = 17  # RoIAlign aligned as in torch needs 16


class GraphPart(NamedTuple):
    """A graph to write: its module, the names of its inputs and outputs, and example inputs.

    `axes` names the dimensions of each input that may differ from call to call; None: those of `_DYNAMIC`.
    """

    module: nn.Module
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    example: tuple[torch.Tensor, ...]
    axes: dict[str, dict[int, str]] | None = None


# dimensions that may differ from call to call, by the number of dimensions of an input: images, rows, columns or words
_DYNAMIC = {4: {0: "images", 2: "{}_rows", 3: "{}_columns"}, 3: {0: "words"}, 2: {0: "words"}, 1: {0: "words"}}


@torch.no_grad()
def spotter_parts(
    model: TextSpottingRCNN | DynamicSpotter, size: tuple[int, int] = (128, 192), images: int = 2, seed: int = 0
) -> dict[str, GraphPart]:
    """Return the graphs of a spotter by name, with examples from noise.

    Args:
        model: on the CPU, in evaluation mode.
        size: (H, W) of the example images, multiples of the backbone's divisor.
        images: of an example batch.
        seed: of the noise.

    Raises:
        ValueError: not one of the two spotters, or a selector or a number of classes that has no graph.
    """
    student = model.student if isinstance(model, DynamicSpotter) else model
    if not isinstance(student, TextSpottingRCNN):
        raise ValueError(f"TextSpottingRCNN and DynamicSpotter with one can be exported, not {type(student).__name__}")
    heads = student.roi_heads
    if heads.num_classes != 1:
        raise ValueError(f"one class can be exported, MODEL.ROI_HEADS.NUM_CLASSES is {heads.num_classes}")
    noise = torch.Generator().manual_seed(seed)
    batch = torch.randn(images, 3, *size, generator=noise)
    names = tuple(pyramid_levels(student))
    parts = {}
    if isinstance(model, DynamicSpotter) and model.selector is not None:
        selector, reduced = SelectorGraph(model.selector), batch[:, :, : size[0] // 2, : size[1] // 2 - 1]
        selector(reduced)  # one that has no graph says so now
        parts["selector"] = GraphPart(selector, ("reduced",), ("logits",), (reduced,))
    detector = DetectorGraph(student)
    parts["detector"] = GraphPart(detector, ("images",), (*names, "proposals", "proposal_logits", "proposal_level"), (batch,))
    levels = detector(batch)[: len(names)]
    # lying, standing, small and large: every level and both kinds of crops
    corner, side = torch.rand(8, 2, generator=noise), torch.rand(8, 2, generator=noise) ** 2
    extent = torch.tensor([size[1], size[0]])
    boxes = torch.cat([corner * extent / 2, (corner + side) * extent / 2 + 4], 1)
    regions = torch.cat([torch.arange(8).remainder(images)[:, None].float(), boxes], 1)
    parts["boxes"] = GraphPart(BoxGraph(student), (*names, "regions"), ("scores", "boxes"), (*levels, regions))
    parts["masks"] = GraphPart(MaskGraph(student), (*names, "regions"), ("masks",), (*levels, regions))
    if student.reader is not None:
        for rows in student.strip_rows:
            parts[strip_graph(rows)] = _strip_part(student.reader, rows, 2 * images, size[1] // 8 * 8, noise)
        return {name: part._replace(module=part.module.eval()) for name, part in parts.items()}
    masks = parts["masks"].module(*levels, regions)
    reader = ReaderGraph(student, masks.shape[-1])
    read = (levels[names.index(heads.recognizer_feature)], regions, masks)
    parts["reader"] = GraphPart(reader, (heads.recognizer_feature, "regions", "masks"), ("context", "keys"), read)
    decoder = heads.recognizer.decoder
    previous = torch.arange(8).remainder(decoder.num_outputs)
    state = torch.randn(2, 8, decoder.hidden_dim, generator=noise).tanh()
    parts["characters"] = GraphPart(
        CharacterGraph(decoder),
        ("previous", "hidden", "cell", "context", "keys"),
        ("ids", "probabilities", "next_hidden", "next_cell"),
        (previous, *state, *reader(*read)),
    )
    return {name: part._replace(module=part.module.eval()) for name, part in parts.items()}


def _strip_part(reader: StripRecognizer, rows: int, words: int, width: int, noise: torch.Generator) -> GraphPart:
    """Make the part of the reader of strips, on noise (words, 3, rows, columns of `width`). Its rows are fixed."""
    if reader.head_name != "ctc":
        raise ValueError("MODEL.STRIPS.HEAD attention cannot be exported, its steps depend on the word: export with HEAD ctc")
    strips = torch.rand(words, 3, rows, int(FORMS[rows].columns(width)), generator=noise) * 2 - 1
    reader = copy.deepcopy(reader).to("cpu", torch.float32)
    allowed = torch.ones(reader.charset.num_outputs, dtype=torch.bool)
    axes = {"strips": {0: "words", 3: "columns"}, "allowed": {}}
    return GraphPart(reader, tuple(axes), ("ids", "probabilities"), (strips, allowed), axes)


def spotter_settings(
    model: TextSpottingRCNN | DynamicSpotter, cfg: CfgNode, budget_table: Sequence[Sequence[float]] = ()
) -> dict[str, Any]:
    """Return what `spotter.json` says beside graphs, weights and version; arguments as in :func:`export_spotter`."""
    view = dynamic(model, cfg)
    student, selector = view.student, view.selector
    heads, rpn = student.roi_heads, student.proposal_generator
    predictor = heads.box_predictor
    threshold = predictor.test_score_thresh if heads.spot_threshold is None else heads.spot_threshold
    return {
        "architecture": type(model).__name__,
        "levels": pyramid_levels(student),
        "recognizer_level": heads.recognizer_feature,
        "charset": "".join((student if student.reader is None else student.reader).charset.characters),
        "pixel_mean": student.pixel_mean.flatten().tolist(),
        "pixel_std": student.pixel_std.flatten().tolist(),
        "size_divisibility": student.backbone.size_divisibility,
        "short_side": cfg.INPUT.MIN_SIZE_TEST,
        "longest_side": cfg.INPUT.MAX_SIZE_TEST,
        "proposals": {
            "nms_threshold": rpn.nms_thresh,
            "count": rpn.post_nms_topk[False],
            "min_size": rpn.min_box_size,
        },
        "detections": {
            "score_threshold": threshold,
            "nms_threshold": predictor.test_nms_thresh,
            "count": predictor.test_topk_per_image,
        },
        "box_rounds": heads.box_rounds,
        "reading": _reading_settings(student),
        "scales": {
            "candidates": list(view.scales),
            "input_scale": None if selector is None else selector.input_scale,
            "mu": float(view.mu),
            "expected_words": view.expected_words,
            "fixed_scale": view.fixed_scale,
            "decoder_steps": DECODER_STEPS,
            "cost_table": view.cost_table.to_dict(),
            "budget_table": [list(row) for row in budget_table],
        },
    }


def _reading_settings(student: TextSpottingRCNN) -> dict[str, Any]:
    """Return how words are read, and what that needs."""
    if student.reader is not None:
        return {
            "how": "strips",
            "min_score": float(student.min_score),
            "split_at_spaces": student.split_at_spaces,
            "rows": list(student.strip_rows),
            "most_enlarged": float(student.most_enlarged),
            "turn_below": float(student.turn_below),
            "allow": student.reader.allowed_characters,
        }
    heads = student.roi_heads
    return {
        "how": "crops",
        "max_length": heads.recognizer.max_length,
        "words_per_chunk": heads.words_per_chunk,
        "state_width": heads.recognizer.decoder.hidden_dim,
        "min_text_score": student.min_text_score,
    }


def export_spotter(
    model: TextSpottingRCNN | DynamicSpotter,
    cfg: CfgNode,
    folder: str | Path,
    weights: str | Path | None = None,
    budget_table: Sequence[Sequence[float]] = (),
) -> dict[str, GraphPart]:
    """Write the graphs of a spotter, in float32, and `spotter.json`.

    Args:
        model: any device; stays as it is.
        cfg: its configuration, for the sizes of test images and the candidate scales of a plain spotter.
        folder: created if missing; graphs in it are replaced.
        weights: what the model was loaded from; `spotter.json` names its file and hash.
        budget_table: rows of mean cost and mu, as `TextSpotter.budget_table` has them.

    Returns:
        the written parts; their modules are the reference to compare the graphs with.

    Raises:
        ImportError: the onnx package is not installed.
        ValueError: see :func:`spotter_parts`.
    """
    try:
        import onnx
    except ImportError:
        raise ImportError(f"exporting needs onnx: {INSTALL}") from None
    folder = Path(folder)
    model = copy.deepcopy(model).to("cpu", torch.float32).eval()
    parts = spotter_parts(model)
    folder.mkdir(parents=True, exist_ok=True)
    for name, part in parts.items():
        path = folder / f"{name}.onnx"
        _write_graph(part, path)
        onnx.checker.check_model(str(path))
    # last: after an interrupted export the hashes do not fit the graphs, and reading refuses the folder
    about = None if weights is None else about_weights(weights)
    graphs = {name: f"{name}.onnx" for name in parts}
    settings = {"dld_version": __version__, "weights": about, **spotter_settings(model, cfg, budget_table), "graphs": graphs}
    write_settings(folder, settings)
    return parts


def about_weights(weights: str | Path) -> dict[str, str]:
    """Return file name and hash of what is exported, and the options of a variant."""
    file, options = find_weights(weights), variant_options(weights)
    about = {"file": Path(file).name, "sha256": sha256_of(file)}
    return {**about, "options": " ".join(map(str, options))} if options else about


def _write_graph(part: GraphPart, path: Path) -> None:
    with warnings.catch_warnings():
        # tracing warns of every size that Python sees; the parity report shows that no size was frozen
        warnings.simplefilter("ignore")
        torch.onnx.export(
            part.module,
            part.example,
            str(path),
            input_names=list(part.inputs),
            output_names=list(part.outputs),
            dynamic_axes=_dynamic_axes(part),
            opset_version=OPSET,
            # the tracing exporter: the other one writes graphs that agree as well, but takes 20 times as long
            dynamo=False,
        )


def _dynamic_axes(part: GraphPart) -> dict[str, dict[int, str]]:
    return {
        name: {
            axis: label.format(name) for axis, label in (_DYNAMIC[x.dim()] if part.axes is None else part.axes[name]).items()
        }
        for name, x in zip(part.inputs, part.example, strict=True)
    }
