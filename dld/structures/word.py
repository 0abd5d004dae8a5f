"""One word: what was read, where, and how surely."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

__all__ = ["Word", "exact_number"]


@dataclass
class Word:
    """One word: what was read, where, and how surely.

    Args:
        text: the transcription.
        polygon: (P, 2) float array, pixels of the given image. Floating point arrays are kept as they are, anything
            else becomes float32.
        score: how sure the word is, in [0, 1]: of its detection and its reading together where strips are read
            (`dld.strips.scoring.word_score`), of its detection alone where masked crops are.
        char_scores: one probability for each character of `text`, or an empty list where none are known.
        rows: height in pixels of the strip that it was read from, or None where it was not read from a strip.
    """

    text: str
    polygon: np.ndarray
    score: float = 1.0
    char_scores: list[float] = field(default_factory=list)
    rows: int | None = None

    def __post_init__(self) -> None:
        if not (isinstance(self.polygon, np.ndarray) and np.issubdtype(self.polygon.dtype, np.floating)):
            self.polygon = np.asarray(self.polygon, dtype=np.float32)
        if self.polygon.size == 0:
            self.polygon = self.polygon.reshape(0, 2)
        if self.polygon.ndim != 2 or self.polygon.shape[1] != 2:
            raise ValueError(f"polygon of word {self.text!r} has shape {self.polygon.shape}, expected (P, 2)")

    @property
    def box(self) -> tuple[float, float, float, float]:
        """The smallest upright box around the word in pixels: x0, y0, x1, y1; not finite where it has no place."""
        if not len(self.polygon):
            return math.nan, math.nan, math.nan, math.nan
        (x0, y0), (x1, y1) = self.polygon.min(0), self.polygon.max(0)
        return float(x0), float(y0), float(x1), float(y1)

    def to_dict(self) -> dict[str, Any]:
        """Return plain json types; a coordinate that is not finite becomes null."""
        return {
            "text": self.text,
            "polygon": _exact_decimals(self.polygon),
            "score": exact_number(self.score),
            "char_scores": [exact_number(score) for score in self.char_scores],
            **({} if self.rows is None else {"rows": int(self.rows)}),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Word":
        """Invert `to_dict`. Raises ValueError naming the field that is missing or of the wrong kind."""
        if not isinstance(values, Mapping):
            raise ValueError(f"expected an object for a word, got {type(values).__name__}")
        text = values.get("text")
        if not isinstance(text, str):
            raise ValueError(f"'text' must be a string, got {text!r}")
        try:
            polygon = np.array(values["polygon"], dtype=np.float32)
        except KeyError:
            raise ValueError(f"'polygon' is missing (word {text!r})") from None
        except (TypeError, ValueError):
            raise ValueError(f"'polygon' must be a list of [x, y] pairs, got {values['polygon']!r}") from None
        try:
            score, *char_scores = (
                math.nan if value is None else float(value)
                for value in (values.get("score", 1.0), *(values.get("char_scores") or ()))
            )
        except (TypeError, ValueError):
            raise ValueError(f"'score' and 'char_scores' of word {text!r} must be numbers") from None
        rows = values.get("rows")
        if rows is not None and (isinstance(rows, bool) or not isinstance(rows, int)):
            raise ValueError(f"'rows' of word {text!r} must be a whole number, got {rows!r}")
        return cls(text, polygon, score, char_scores, rows)


def _exact_decimals(polygon: np.ndarray) -> list[list[float | None]]:
    # The shortest decimals that read back as the same float32: 10.3, not 10.300000190734863. Nothing is rounded, so
    # that a file is scored exactly as the predictions in memory were.
    values = polygon.astype("U32").astype(np.float64) if polygon.dtype == np.float32 else polygon
    if np.isfinite(values).all():
        return values.tolist()
    return [[exact_number(value) for value in point] for point in values.tolist()]


def exact_number(value: float | None) -> float | None:
    """Return the number as json knows it: null for one that is not finite."""
    return float(value) if value is not None and math.isfinite(value) else None
