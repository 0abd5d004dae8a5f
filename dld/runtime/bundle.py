"""The folder of an exported spotter: ONNX graphs, and `spotter.json` with everything else.

`spotter.json` (schema dld-onnx/1) holds the file and SHA-256 of each graph, charset, normalisation, sizes, thresholds, the
candidate scales and what they cost. See `REQUIRED`.
"""

from __future__ import annotations

import ctypes
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from dld.model_zoo import sha256_of
from dld.strips.heights import STRIP_ROWS, strip_graph

__all__ = [
    "GRAPHS",
    "INSTALL",
    "REQUIRED",
    "SCHEMA",
    "SETTINGS_FILE",
    "GraphRunner",
    "graphs_of",
    "how_words_are_read",
    "read_settings",
    "write_settings",
]

SCHEMA = "dld-onnx/1"
SETTINGS_FILE = "spotter.json"
# by the way words are read, see "reading"; also "selector", where there is one, and for strips one of each height
GRAPHS = {
    "crops": ("detector", "boxes", "masks", "reader", "characters"),
    "strips": ("detector", "boxes", "masks"),
}
REQUIRED = {
    "dld_version": "of the program that wrote the folder",
    "architecture": "TextSpottingRCNN or DynamicSpotter",
    "weights": "file name and sha256 of what was exported, and the options of a shipped variant; or null",
    "graphs": "file and sha256 by name",
    "levels": "pyramid levels that the detector puts out, in order",
    "recognizer_level": "the one that words are read from",
    "charset": "all characters in the order of their ids, from 1; 0 ends a word, the number after the last starts one",
    "pixel_mean": "of blue, green, red",
    "pixel_std": "of blue, green, red",
    "size_divisibility": "sides of the padded image are multiples of it",
    "short_side": "pixels of the teacher's resolution",
    "longest_side": "most pixels of the long side",
    "proposals": "threshold of suppression, most that are kept, smallest side in pixels",
    "detections": "least score, threshold of suppression, most that are kept",
    "reading": (
        'how: "strips" cut from the picture, with their least score, whether they are split at spaces, their '
        'heights, how much a word is enlarged at most, and the only characters to read; or "crops" of the '
        "features (also where nothing is said), with most characters of a word, words read at once, width of the decoder's "
        "state, least score of a text"
    ),
    "scales": "candidates, what the selector reads, mu, expected words, fixed scale, cost table, budget table",
}
INSTALL = 'pip install "dld[export]"'
_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


def write_settings(folder: str | Path, settings: Mapping[str, Any]) -> None:
    """Write `spotter.json`; the hashes of the graphs named in settings["graphs"] are taken from their files."""
    folder = Path(folder)
    files = {name: {"file": file, "sha256": sha256_of(folder / file)} for name, file in settings["graphs"].items()}
    text = json.dumps({"schema": SCHEMA, **settings, "graphs": files}, ensure_ascii=False, indent=1, allow_nan=False)
    (folder / SETTINGS_FILE).write_text(text + "\n", encoding="utf-8")


def graphs_of(settings: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the names of all graphs that must be there; a selector's need not."""
    how = how_words_are_read(settings)
    heights = settings["reading"].get("rows", [STRIP_ROWS]) if how == "strips" else []
    return (*GRAPHS[how], *map(strip_graph, heights))


def how_words_are_read(settings: Mapping[str, Any]) -> str:
    """Return the key of `GRAPHS`; folders written before there were strips do not name it."""
    reading = settings.get("reading")
    return reading.get("how", "crops") if isinstance(reading, Mapping) else "crops"


def read_settings(folder: str | Path) -> dict[str, Any]:
    """Read `spotter.json` and verify the graphs it names.

    Raises:
        FileNotFoundError: no such folder, no `spotter.json` in it, or a graph is missing.
        ValueError: not json, another schema, a key is missing, an unknown way to read words, or a graph is not the one that
            was written.
    """
    folder = Path(folder)
    path = folder / SETTINGS_FILE
    if not folder.is_dir():
        raise FileNotFoundError(f"folder {folder} does not exist: `dld export --weights FILE --output {folder}` writes it")
    if not path.is_file():
        raise FileNotFoundError(f"{folder} holds no {SETTINGS_FILE}: it is not a folder that `dld export` wrote")
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not a json file ({error})") from None
    found = settings.get("schema") if isinstance(settings, dict) else type(settings).__name__
    if found != SCHEMA:
        raise ValueError(f'{path}: expected "schema": "{SCHEMA}", found {found!r}: export the weights again')
    missing = [key for key in REQUIRED if key not in settings]
    how = how_words_are_read(settings)
    if not isinstance(how, str) or how not in GRAPHS:
        raise ValueError(f"{path}: words are read from one of {', '.join(GRAPHS)}, found {how!r}: export the weights again")
    if how == "strips" and "min_score" not in settings["reading"]:
        missing.append("reading.min_score")
    missing += [f"graphs.{name}" for name in graphs_of(settings) if name not in settings.get("graphs", {})]
    if missing:
        raise ValueError(f"{path} lacks {', '.join(missing)}: export the weights again")
    for name, entry in settings["graphs"].items():
        graph = folder / entry["file"]
        if not graph.is_file():
            raise FileNotFoundError(f"graph {name!r} is missing: {graph}")
        digest = sha256_of(graph)
        if digest != entry["sha256"]:
            raise ValueError(f"{graph} has SHA-256 {digest}, {path} says {entry['sha256']}: export the weights again")
    return settings


class GraphRunner:
    """The graphs of a folder in onnxruntime.

    Args:
        folder: what `dld export` wrote.
        settings: what :func:`read_settings` returned for it.
        device: "cpu" or "cuda"; None: "cuda" where onnxruntime has it.
        threads: threads inside one operator; None: as many as there are cores.

    Raises:
        ImportError: onnxruntime is not installed.
        ValueError: an unknown device, or an onnxruntime without it.
    """

    def __init__(
        self, folder: str | Path, settings: Mapping[str, Any], device: str | None = None, threads: int | None = None
    ) -> None:
        try:
            import onnxruntime
        except ImportError:
            raise ImportError(f"reading with ONNX graphs needs onnxruntime: {INSTALL}") from None
        available = onnxruntime.get_available_providers()
        if device is None:
            device = "cuda" if _PROVIDERS["cuda"] in available else "cpu"
        if device not in _PROVIDERS:
            raise ValueError(f"device must be one of {', '.join(_PROVIDERS)}, got {device!r}")
        if _PROVIDERS[device] not in available:
            raise ValueError(f"this onnxruntime has no {_PROVIDERS[device]}, only {', '.join(available)}")
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        if threads is not None:
            options.intra_op_num_threads = threads
        # operators that CUDA lacks run on the CPU
        providers = list(dict.fromkeys([_PROVIDERS[device], _PROVIDERS["cpu"]]))
        files = {name: str(Path(folder) / entry["file"]) for name, entry in settings["graphs"].items()}
        session = onnxruntime.InferenceSession
        self._open = lambda: {name: session(file, options, providers=providers) for name, file in files.items()}
        self.sessions, self._process = self._open(), os.getpid()

    def __call__(self, name: str, *inputs: np.ndarray) -> list[np.ndarray]:
        """Run graph `name` on its inputs in order; return its outputs.

        A process that was forked since opens the graphs anew: the threads of its sessions live in the other process, and now
        and then it would wait for them for ever.
        """
        if os.getpid() != self._process:
            # to free the former sessions is to wait for their threads, so they are kept until the process ends
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(self.sessions))
            self.sessions, self._process = self._open(), os.getpid()
        session = self.sessions[name]
        names = [x.name for x in session.get_inputs()]
        return session.run(None, dict(zip(names, inputs, strict=True)))
