"""How a request asks for its pictures to be read: the options of the spotter's call, as text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from dld.data.picture_views import check_rotation
from dld.data.tiles import check_tile
from dld.structures.scale_options import check_budget, check_scale

__all__ = ["OPTIONS", "ReadOptions"]

OPTIONS = {
    "scale": 'share of the full resolution to read at, such as 0.5; "auto" (default): what the selector chooses',
    "budget": "largest cost as a share of what full resolution costs, such as 0.6",
    "rotation": 'degrees by which the page is turned clockwise: 0 (default), 90, 180, 270; or "auto"',
    "tile": '"auto" (default): long and huge pictures are read in tiles, too; "off"; or the side of the tiles in pixels',
    "allow": "the only characters that are read, such as 0123456789.",
}
"""Name -> what it says."""


@dataclass(frozen=True)
class ReadOptions:
    """Options that pictures must share to be read together; see :meth:`dld.TextSpotter.__call__`.

    Args:
        scale, budget, rotation, tile: as checked there.
        allow: the only characters that are read, sorted; empty: all.
    """

    scale: float | str = "auto"
    budget: float | None = None
    rotation: int | str = 0
    tile: int | str = "auto"
    allow: str = ""

    @classmethod
    def parse(cls, values: Mapping[str, str]) -> ReadOptions:
        """Read the options that are there; an empty one is none.

        Raises:
            ValueError: names the option.
        """
        given = {name: value for name, value in values.items() if name in OPTIONS and value}
        fixed = check_scale(given.get("scale", "auto"))
        budget = check_budget(given["budget"]) if "budget" in given else None  # type: ignore[arg-type]
        if fixed is not None and budget is not None:
            raise ValueError("give scale or budget, not both")
        return cls(
            "auto" if fixed is None else fixed,
            budget,
            check_rotation(given.get("rotation", 0)),
            check_tile(given.get("tile", "auto")),
            "".join(sorted(set(given.get("allow", "")))),
        )

    def of_call(self) -> dict:
        """Return the keywords of the spotter's call."""
        return {"scale": self.scale, "budget": self.budget, "rotation": self.rotation, "tile": self.tile}
