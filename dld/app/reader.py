"""What the page does with a picture, without the page: weights by name, one reading, and what to say about it."""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field

from PIL import Image

from dld.data.picture import read_picture
from dld.drawing.glyphs import LabelFont
from dld.inference.predictor import TextSpotter
from dld.structures.words import SpottingResult, Word

__all__ = ["CHOICES", "Answer", "Reader"]

logger = logging.getLogger(__name__)

CHOICES = ("auto", "budget", "fixed scale")
"""How the scale comes about: the selector's choice, its choice within a budget, or told."""

KEPT = 2  # spotters in memory: a comparison goes back and forth between two


@dataclass(frozen=True)
class Answer:
    """What the page shows.

    Attributes:
        picture: with the words drawn, or None.
        words: in the order of the result.
        figures: names and values that describe the reading.
        notes: what the user should know about it.
        error: why there is no reading, or "".
    """

    picture: Image.Image | None = None
    words: list[Word] = field(default_factory=list)
    figures: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    error: str = ""


class Reader:
    """Reads one picture at a time.

    Args:
        weights: path or `dld://NAME` by the name that the page shows.
        device: as for :class:`~dld.inference.predictor.TextSpotter`.
        font: font file of the drawn text, or None.
    """

    def __init__(self, weights: Mapping[str, str], device: str | None = None, font: str | None = None) -> None:
        if not weights:
            raise ValueError("there are no weights to read with")
        LabelFont(font)  # raises now if something is wrong with it
        self.weights, self.device, self.font = dict(weights), device, font
        self._spotters: OrderedDict[str, TextSpotter] = OrderedDict()
        self._lock = threading.Lock()

    def spotter(self, name: str) -> TextSpotter:
        """Return the spotter of that name, loaded if it is not in memory.

        Raises:
            KeyError, FileNotFoundError, ValueError: naming the weights or the file.
        """
        if name not in self.weights:
            raise KeyError(f"no weights are called {name!r}; there are: {', '.join(self.weights)}")
        if name not in self._spotters:
            loaded = TextSpotter.from_checkpoint(self.weights[name], device=self.device)
            while len(self._spotters) >= KEPT:
                self._spotters.popitem(last=False)
            self._spotters[name] = loaded
        self._spotters.move_to_end(name)
        return self._spotters[name]

    def read(self, path: str | None, name: str, choice: str, budget: float, scale: float) -> Answer:
        """Read a picture; anything that goes wrong is the answer's `error`, nothing is raised.

        Args:
            path: of the picture; None where there is none yet.
            name: of the weights.
            choice: one of `CHOICES`.
            budget: share of the teacher's cost, for "budget".
            scale: for "fixed scale".
        """
        if path is None:
            return Answer()
        with self._lock:
            try:
                return self._read(path, name, choice, budget, scale)
            except (OSError, KeyError, ValueError, MemoryError) as error:
                message = error.args[0] if isinstance(error, KeyError) else error
                return Answer(error=str(message).replace(path, "this file") or "There is not enough memory for this picture.")
            except Exception:  # our mistake: the page says so, the terminal says where
                logger.exception("%s could not be read", path)
                return Answer(error="Something went wrong inside the program; the terminal that it runs in says what.")

    def _read(self, path: str, name: str, choice: str, budget: float, scale: float) -> Answer:
        if choice not in CHOICES:
            raise ValueError(f"the choice of the scale must be one of {', '.join(CHOICES)}, got {choice!r}")
        spotter, notes = self.spotter(name), []
        pixels = read_picture(path)
        # an emptied number field is None, which for the spotter would be no budget at all
        options = {"budget": budget or 0.0} if choice == "budget" else {"scale": scale if choice == "fixed scale" else "auto"}
        if getattr(spotter.model, "selector", None) is None:
            if choice == "auto":
                options = {"scale": 1.0}  # its only scale, told so that the result has a cost
                notes.append("These weights choose no scale by themselves: read at full resolution.")
            elif choice == "budget":
                notes.append("These weights choose no scale by themselves: read at the largest that keeps to the budget.")
        with _Warnings() as warnings:
            start = time.perf_counter()
            result = spotter(pixels, **options)
            seconds = time.perf_counter() - start
        picture = result.draw(pixels, self.font, caption="")
        return Answer(picture, result.words, _figures(result, seconds), notes + warnings.messages)


def _figures(result: SpottingResult, seconds: float) -> list[tuple[str, str]]:
    figures = [("Words", str(len(result.words)))]
    if result.scale is not None:
        figures.append(("Scale", f"{result.scale:.3g}"))
    if result.cost is not None:
        figures.append(("Of the teacher's cost", f"{result.cost:.0%}"))
    if result.gflops is not None:
        figures.append(("GFLOPs", f"{result.gflops:.1f}"))
    return [*figures, ("Time", f"{1000 * seconds:.0f} ms" if seconds < 1 else f"{seconds:.1f} s")]


class _Warnings(logging.Handler):
    """Collects the package's warnings meanwhile: they are for the user of the page."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage()
        self.messages.append(message[:1].upper() + message[1:] + ".")

    def __enter__(self) -> _Warnings:
        logging.getLogger("dld").addHandler(self)
        return self

    def __exit__(self, *failure) -> None:
        logging.getLogger("dld").removeHandler(self)
