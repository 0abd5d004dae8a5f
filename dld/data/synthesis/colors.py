"""Colours of text and plates: BGR triples with a wanted difference in brightness."""

import numpy as np

__all__ = ["contrasting", "luma", "muted_color", "random_color"]

_SIGN_COLORS = (
    (250, 250, 250), (240, 240, 235), (15, 15, 15), (40, 40, 40), (40, 30, 200), (30, 20, 150), (30, 210, 245), (60,
    220, 250), (160, 70, 20), (110, 45, 15), (70, 120, 20), (50, 80, 10), (200, 200, 200), (120, 120, 120), (30, 120,
    240), (60, 60, 90), (190, 220, 235), (140, 180, 200), (30, 50, 80), (200, 160, 60),
)  # fmt: skip


def luma(color) -> float:
    """Compute the brightness (0 to 255, ITU-R BT.601) of a BGR colour."""
    return 0.114 * color[0] + 0.587 * color[1] + 0.299 * color[2]


def random_color(rng: np.random.Generator) -> tuple[float, float, float]:
    """Draw a colour that signs have, or any colour."""
    if rng.random() < 0.65:
        base = _SIGN_COLORS[int(rng.integers(len(_SIGN_COLORS)))]
        shift = rng.uniform(-18, 18, 3)
        return tuple(float(min(max(b + s, 0), 255)) for b, s in zip(base, shift, strict=True))
    return tuple(float(v) for v in rng.uniform(0, 255, 3))


def muted_color(rng: np.random.Generator) -> tuple[float, float, float]:
    """Draw a colour of walls, skies and streets: any brightness, mostly near grey."""
    color = rng.uniform(0, 255, 3)
    grey, keep = rng.uniform(15, 245), min(1.0, rng.exponential(0.28))
    return tuple(float(min(max(grey + keep * (c - color.mean()), 0), 255)) for c in color)


def _with_luma(color, wanted: float) -> tuple[float, float, float]:
    """Bring ``color`` to brightness ``wanted``; keep its hue, lower its saturation as far as the range 0..255 demands."""
    chroma = [c - luma(color) for c in color]
    fit = 1.0
    for c in chroma:
        if c > 0:
            fit = min(fit, (255 - wanted) / c)
        elif c < 0:
            fit = min(fit, wanted / -c)
    return tuple(float(min(max(wanted + fit * c, 0), 255)) for c in chroma)


def contrasting(rng: np.random.Generator, ground, difference: float) -> tuple[float, float, float]:
    """Draw a random hue, brighter or darker than ``ground`` by ``difference`` (less where there is no room for it)."""
    base = luma(ground)
    room_up, room_down = 255 - base, base
    up = rng.random() < 0.5
    if (room_up if up else room_down) < difference:
        up = room_up > room_down
    wanted = min(max(base + (difference if up else -difference), 0), 255)
    return _with_luma(random_color(rng), wanted)
