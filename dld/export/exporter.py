"""Writes a trained spotter as ONNX graphs and `spotter.json`."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from detectron2.config import CfgNode

from dld import __version__
from dld.export.graphs import SelectorGraph
from dld.inference.scale_choice import dynamic
from dld.model_zoo import find_weights, sha256_of, variant_options
from dld.modeling.flops import DECODER_STEPS
from dld.modeling.graph_part import GraphPart
from dld.modeling.meta_arch.dynamic_spotter import DynamicSpotter
from dld.modeling.meta_arch.spotter import Spotter
from dld.runtime.bundle import INSTALL, write_settings

__all__ = ["OPSET", "export_spotter", "spotter_parts", "spotter_settings"]

OPSET = 17  # RoIAlign aligned as in torch needs 16


# dimensions that may differ from call to call, by the number of dimensions of an input: images, rows, columns or words
_DYNAMIC = {4: {0: "images", 2: "{}_rows", 3: "{}_columns"}, 3: {0: "words"}, 2: {0: "words"}, 1: {0: "words"}}


@torch.no_grad()
def spotter_parts(
    model: Spotter | DynamicSpotter, size: tuple[int, int] = (128, 192), images: int = 2, seed: int = 0
) -> dict[str, GraphPart]:
    """Return the graphs of a spotter by name, with examples from noise.

    Args:
        model: on the CPU, in evaluation mode.
        size: (H, W) of the example images, multiples of the backbone's divisor.
        images: of an example batch.
        seed: of the noise.

    Raises:
        ValueError: not a spotter, or a spotter, selector or number of classes that has no graph.
    """
    student = model.student if isinstance(model, DynamicSpotter) else model
    if not isinstance(student, Spotter):
        raise ValueError(f"a spotter and DynamicSpotter with one can be exported, not {type(student).__name__}")
    noise = torch.Generator().manual_seed(seed)
    parts = {}
    if isinstance(model, DynamicSpotter) and model.selector is not None:
        reduced = torch.randn(images, 3, size[0] // 2, size[1] // 2 - 1, generator=noise)
        selector = SelectorGraph(model.selector)
        selector(reduced)  # one that has no graph says so now
        parts["selector"] = GraphPart(selector, ("reduced",), ("logits",), (reduced,))
    parts.update(student.graph_parts(size, images, noise))
    return {name: part._replace(module=part.module.eval()) for name, part in parts.items()}


def spotter_settings(
    model: Spotter | DynamicSpotter, cfg: CfgNode, budget_table: Sequence[Sequence[float]] = ()
) -> dict[str, Any]:
    """Return what `spotter.json` says beside graphs, weights and version; arguments as in :func:`export_spotter`."""
    view = dynamic(model, cfg)
    student, selector = view.student, view.selector
    return {
        "architecture": type(model).__name__,
        "charset": "".join((student if student.reader is None else student.reader).charset.characters),
        "pixel_mean": student.pixel_mean.flatten().tolist(),
        "pixel_std": student.pixel_std.flatten().tolist(),
        "size_divisibility": student.size_divisibility,
        "short_side": cfg.INPUT.MIN_SIZE_TEST,
        "longest_side": cfg.INPUT.MAX_SIZE_TEST,
        **student.graph_settings(),
        "scales": {
            "candidates": list(view.scales),
            "input_scale": None if selector is None else selector.input_scale,
            "mu": float(view.mu),
            "expected_words": view.expected_words,
            "fixed_scale": view.fixed_scale,
            "decoder_steps": DECODER_STEPS,
            "cost_table": view.cost_table.to_dict(),
            "budget_table": [list(row) for row in budget_table],
            "words_per_score": getattr(selector, "words_per_score", None),
            "rows_losses": [[float(rows), *losses.tolist()] for rows, losses in view.rows_losses.items()],
        },
    }


def export_spotter(
    model: Spotter | DynamicSpotter,
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
