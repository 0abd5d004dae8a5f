"""Readers to compare: our spotters, and what a user would install instead. All take pixels and give words.

Every reader runs on the CPU, in a given number of threads, with its own defaults otherwise. RapidOCR and tesseract come
with the extra `dld[readers]` and are imported when they are used.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from PIL import Image

from dld.compare.reader_words import words_of_rapidocr, words_of_tesseract
from dld.compare.weights_choice import WeightsChoice
from dld.inference.predictor import TextSpotter
from dld.model_zoo import weights_id
from dld.runtime.onnx_spotter import OnnxTextSpotter
from dld.structures.words import SpottingResult, Word
from dld.study.cache import fingerprint

__all__ = ["DldReader", "RapidOcrReader", "Reader", "TesseractReader"]

INSTALL = 'pip install "dld[readers]"'


class Reader(Protocol):
    """A reader to compare.

    Attributes:
        name: of its rows.
        about: what decides what it reads and how fast, in json types: models or weights, options, versions.
    """

    name: str
    about: Mapping[str, Any]

    def __call__(self, pixels: np.ndarray) -> SpottingResult:
        """Read the words of a picture, uint8 BGR (H, W, 3), in its pixels."""
        ...


class DldReader:
    """Our spotter.

    Args:
        choice: weights, or a folder that `dld export` wrote, and the scale or the budget at which they read.
        threads: of onnxruntime, for an exported folder; the program sets those of torch.
        short_side: pixels to which the shorter side is resized (INPUT.MIN_SIZE_TEST); 0: as configured.
        opts: further configuration overrides, KEY VALUE ...

    Raises:
        FileNotFoundError, KeyError, ValueError, ImportError: naming the weights or the key.
    """

    def __init__(self, choice: WeightsChoice, threads: int, short_side: int = 0, opts: Sequence[str] = ()) -> None:
        self.name, path = choice.name, choice.path()
        self.options = {key: value for key in ("scale", "budget") if (value := getattr(choice, key)) is not None}
        if os.path.isdir(path):
            if opts:
                raise ValueError(f"{path} is an exported folder: its configuration is fixed, it takes no --opts")
            self.spotter = OnnxTextSpotter(path, "cpu", threads)
            import onnxruntime  # installed, the line above needs it

            if short_side:
                self.spotter.settings["short_side"] = short_side
            short_side = self.spotter.settings["short_side"]
            model = {"graphs": fingerprint(self.spotter.settings)}
            versions = {"onnxruntime": onnxruntime.__version__}
        else:
            size = ["INPUT.MIN_SIZE_TEST", short_side] if short_side else []
            self.spotter = TextSpotter.from_checkpoint(path, [*size, *opts], "cpu")
            short_side = self.spotter.cfg.INPUT.MIN_SIZE_TEST
            model = {"sha256": weights_id(path), "configuration": fingerprint(self.spotter.cfg.MODEL.dump())}
            versions = {"torch": torch.__version__}
        self.about = {"reader": "dld", **model, **self.options, "short_side": short_side, "versions": versions}

    def __call__(self, pixels: np.ndarray) -> SpottingResult:
        return self.spotter(pixels, **self.options)


class RapidOcrReader:
    """RapidOCR on onnxruntime with the models inside its package, and `return_word_box=True`.

    Those of rapidocr 3.10 are PP-OCRv6 "small" for detection and recognition, which read Chinese and English, and the
    classifier of upside-down lines of PP-OCRv4. Models for English alone would have to be downloaded.

    Raises:
        ImportError: it is not installed.
    """

    def __init__(self, threads: int) -> None:
        try:
            import onnxruntime
            from rapidocr import RapidOCR
        except ImportError as error:
            raise ImportError(f"reading with rapidocr needs rapidocr and onnxruntime ({error}): {INSTALL}") from error
        engine = "EngineConfig.onnxruntime"
        self.name = "rapidocr"
        self.engine = RapidOCR(
            params={
                "Global.return_word_box": True,
                "Global.log_level": "error",  # it warns of every photo without text
                f"{engine}.intra_op_num_threads": threads,
                f"{engine}.inter_op_num_threads": threads,
            }
        )
        cfg = self.engine.cfg
        models = {name: _model_name(getattr(cfg, name)) for name in ("Det", "Cls", "Rec")}
        versions = {"rapidocr": version("rapidocr"), "onnxruntime": onnxruntime.__version__}
        self.about = {"reader": "rapidocr", "models": models, "versions": versions}

    def __call__(self, pixels: np.ndarray) -> SpottingResult:
        return _result(pixels, words_of_rapidocr(self.engine(pixels)))


class TesseractReader:
    """Tesseract's program through pytesseract, English.

    Its time includes what every call costs: writing the picture to a temporary file (uncompressed, which is quicker than
    pytesseract's own PNG), the start of the program, and the loading of its model.

    Args:
        mode: page segmentation mode; 11 looks for sparse text, 3 is tesseract's default for whole pages.

    Raises:
        ValueError: a mode that reads no text.
        ImportError, FileNotFoundError: pytesseract, the program or its English model is not installed.
    """

    def __init__(self, threads: int, mode: int = 11) -> None:
        if mode not in range(1, 14) or mode == 2:
            raise ValueError(f"tesseract's page segmentation mode must be 1 or 3 to 13, got {mode}")
        try:
            import pytesseract
        except ImportError as error:
            raise ImportError(f"reading with tesseract needs pytesseract ({error}): {INSTALL}") from error
        try:
            program = str(pytesseract.get_tesseract_version())
            languages = pytesseract.get_languages()
        except (OSError, pytesseract.TesseractNotFoundError) as error:
            raise FileNotFoundError(
                "reading with tesseract needs its program, which is not on the PATH: apt install tesseract-ocr "
                "(macOS: brew install tesseract)"
            ) from error
        if "eng" not in languages:
            raise FileNotFoundError(f"tesseract has no English model, only {languages}: apt install tesseract-ocr-eng")
        self.name = f"tesseract psm {mode}"
        self.threads, self.mode, self.api = threads, mode, pytesseract
        versions = {"tesseract": program, "pytesseract": version("pytesseract")}
        self.about = {"reader": "tesseract", "mode": mode, "language": "eng", "versions": versions}

    def __call__(self, pixels: np.ndarray) -> SpottingResult:
        image = Image.fromarray(np.ascontiguousarray(pixels[:, :, ::-1]))
        image.format = "PPM"
        with _environment(OMP_THREAD_LIMIT=str(self.threads), OMP_NUM_THREADS=str(self.threads)):
            data = self.api.image_to_data(image, lang="eng", config=f"--psm {self.mode}", output_type=self.api.Output.DICT)
        return _result(pixels, words_of_tesseract(data))


def _result(pixels: np.ndarray, words: list[Word]) -> SpottingResult:
    height, width = pixels.shape[:2]
    return SpottingResult(None, None, width, height, words)


def _model_name(part: Any) -> str:
    if part.model_path:
        return Path(part.model_path).name
    # enumerations, or strings for a language that it does not know
    fields = (getattr(part[key], "value", part[key]) for key in ("ocr_version", "task_type", "model_type", "lang_type"))
    return " ".join(map(str, fields))


@contextmanager
def _environment(**variables: str) -> Iterator[None]:
    """Set environment variables for the programs that are started meanwhile."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
