"""Which weights of ours read, and at which resolution, written as one word on the command line."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dld.model_zoo import PREFIX, list_weights, weights_address
from dld.structures.scale_options import check_budget, check_scale

__all__ = ["WeightsChoice"]


@dataclass(frozen=True)
class WeightsChoice:
    """Weights and how they read: at their own choice of scale where neither scale nor budget is given.

    Attributes:
        name: of the reader.
        weights: as `find_weights` takes them, or a folder that `dld export` wrote.
        scale: share of the full resolution, or None.
        budget: largest share of the cost of full resolution, or None.
    """

    name: str
    weights: str
    scale: float | None = None
    budget: float | None = None

    @classmethod
    def parse(cls, text: str) -> WeightsChoice:
        """Read `[LABEL=]WEIGHTS[@SCALE]`, or `[LABEL=]WEIGHTS[@budget=SHARE]`.

        Without a label, shipped weights keep their name; files and folders are called by the last two parts of their path.

        Raises:
            ValueError: what stands after `@` is neither a scale nor a budget.
        """
        head, at, tail = text.rpartition("@")
        if not at or Path(text).exists():
            head, tail = text, ""
        kind, _, number = tail.rpartition("=")
        scale = budget = None
        if tail:
            try:
                if kind not in ("", "budget"):
                    raise ValueError(f"{kind!r} is unknown")
                if kind:
                    budget = check_budget(float(number))
                else:
                    scale = check_scale(float(number))
            except ValueError as error:
                raise ValueError(f"{text}: after @ comes a scale (@0.5) or a budget (@budget=0.6): {error}") from None
        label, equals, weights = head.partition("=")
        if not equals or Path(head).exists():
            weights = head
            label = head.removeprefix(PREFIX)
            label = label if label in list_weights() else "/".join(Path(head).resolve().parts[-2:])
            label += f"@{tail}" if tail else ""
        if not (label and weights):
            raise ValueError(f"{text}: expected WEIGHTS, WEIGHTS@SCALE or LABEL=WEIGHTS")
        return cls(label, weights, scale, budget)

    def path(self) -> str:
        """Return the path of the weights or of the folder of graphs. Raises as :func:`dld.model_zoo.find_weights`."""
        shipped = self.weights in list_weights()
        return self.weights if not shipped and Path(self.weights).is_dir() else weights_address(self.weights)
