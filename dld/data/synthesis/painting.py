"""Colour for a lettered sign: plate, shadow, extrusion, outline and fill, as one premultiplied BGRA image."""

from dataclasses import dataclass

import cv2
import numpy as np

from dld.data.synthesis.colors import contrasting, luma, random_color
from dld.data.synthesis.lettering import Lettering

__all__ = ["PlateStyle", "TextStyle", "draw_plate_style", "draw_text_style", "paint"]


@dataclass(frozen=True)
class PlateStyle:
    """The panel behind the text. ``kind``: "box", "round" (rounded corners), "oval" or "disc"."""

    kind: str
    color: tuple[float, float, float]
    border: tuple[float, float, float] | None
    border_width: int
    opacity: float


@dataclass(frozen=True)
class TextStyle:
    """How letters are drawn; distances in pixels of the plane.

    Attributes:
        color, second: fill, and the fill at the foot of the letters for a gradient (or None).
        opacity: of the fill; hollow: only the outline is drawn.
        outline: (colour, width) or None.  shadow: (dx, dy, blur sigma, opacity) or None.  extrude: (colour, dx, dy)
            or None.
        glow: (colour, sigma) or None.
    """

    color: tuple[float, float, float]
    second: tuple[float, float, float] | None = None
    opacity: float = 1.0
    hollow: bool = False
    outline: tuple[tuple[float, float, float], int] | None = None
    shadow: tuple[int, int, float, float] | None = None
    extrude: tuple[tuple[float, float, float], int, int] | None = None
    glow: tuple[tuple[float, float, float], float] | None = None


def draw_plate_style(rng: np.random.Generator, ground, capital_px: float, disc: bool) -> PlateStyle:
    """Draw the style of a plate that stands out from ``ground`` (BGR) more or less."""
    color = random_color(rng) if rng.random() < 0.7 else contrasting(rng, ground, rng.uniform(10, 200))
    kind = "disc" if disc else ("box", "box", "round", "round", "oval")[int(rng.integers(5))]
    border = contrasting(rng, color, rng.uniform(30, 200)) if rng.random() < 0.4 else None
    opacity = 1.0 if rng.random() < 0.85 else rng.uniform(0.6, 0.95)
    return PlateStyle(kind, color, border, max(1, round(capital_px * rng.uniform(0.04, 0.2))), opacity)


def draw_text_style(rng: np.random.Generator, ground, capital_px: float, busy: bool) -> TextStyle:
    """Draw a style of letters whose contrast to ``ground`` ranges from plain to hard.

    Args:
        ground: mean BGR behind the text.  capital_px: letter height in pixels.
        busy: the text stands on the background, not on a plate: outlines and shadows are likelier, as on real photos.
    """
    u = rng.random()
    difference = rng.uniform(100, 240) if u < 0.55 else rng.uniform(50, 120) if u < 0.88 else rng.uniform(12, 50)
    color = contrasting(rng, ground, difference)
    likely = 0.25 if busy else 0.1
    second = contrasting(rng, ground, difference * rng.uniform(0.7, 1.2)) if rng.random() < 0.08 else None
    if second is not None and (luma(second) > luma(ground)) != (luma(color) > luma(ground)):
        second = None
    outline = shadow = extrude = glow = None
    hollow = False
    big = capital_px >= 14
    if rng.random() < likely and big:
        other = contrasting(rng, color, rng.uniform(60, 220))
        outline = (other, max(1, round(capital_px * rng.uniform(0.03, 0.1))))
    elif capital_px >= 28 and rng.random() < 0.03:
        hollow, outline = True, (color, max(1, round(capital_px * rng.uniform(0.03, 0.06))))
    reach = capital_px * rng.uniform(0.04, 0.18)
    angle = rng.uniform(0, 2 * np.pi)
    dx, dy = round(reach * np.cos(angle)), round(reach * abs(np.sin(angle)))
    u = rng.random()
    if u < likely:
        shadow = (dx, dy, reach * rng.uniform(0.1, 0.8), rng.uniform(0.35, 0.9))
    elif u < likely + 0.06 and big:
        side = tuple(c * rng.uniform(0.3, 0.6) for c in color)
        extrude = (side, dx, dy)
    elif u < likely + 0.09:
        glow = (contrasting(rng, ground, rng.uniform(40, 200)), capital_px * rng.uniform(0.1, 0.35))
    opacity = 1.0 if rng.random() < 0.8 else rng.uniform(0.55, 0.95)
    return TextStyle(color, second, opacity, hollow, outline, shadow, extrude, glow)


def _over(canvas: np.ndarray, mask: np.ndarray, color, opacity: float = 1.0) -> None:
    """Lay ``color`` with coverage ``mask`` times ``opacity`` over a premultiplied BGRA canvas, in place (uint8)."""
    weight = mask.astype(np.float32) if opacity >= 1 else mask * np.float32(opacity)
    weight *= np.float32(1 / 255)
    if isinstance(color, np.ndarray):
        layer = color
    else:
        layer = np.empty_like(canvas)
        layer[:] = (*(round(c) for c in color), 255)
    cv2.blendLinear(layer, canvas, weight, 1 - weight, canvas)


def _shifted(mask: np.ndarray, dx: float, dy: float) -> np.ndarray:
    return cv2.warpAffine(mask, np.float32([[1, 0, dx], [0, 1, dy]]), (mask.shape[1], mask.shape[0]))


def _thickened(mask: np.ndarray, radius: int) -> np.ndarray:
    return cv2.dilate(mask, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1)))


def _rounded(size: tuple[int, int], radius: int, inset: int = 0) -> np.ndarray:
    h, w = size
    mask = np.zeros((h, w), np.uint8)
    r = max(0, min(radius, (h - 2 * inset) // 2 - 1, (w - 2 * inset) // 2 - 1))
    cv2.rectangle(mask, (inset + r, inset), (w - 1 - inset - r, h - 1 - inset), 255, -1)
    cv2.rectangle(mask, (inset, inset + r), (w - 1 - inset, h - 1 - inset - r), 255, -1)
    for x in (inset + r, w - 1 - inset - r):
        for y in (inset + r, h - 1 - inset - r):
            cv2.circle(mask, (x, y), r, 255, -1, cv2.LINE_AA)
    return mask


def _plate_mask(plate: PlateStyle, lettering: Lettering, inset: int) -> np.ndarray:
    h, w = lettering.ink.shape
    if plate.kind == "disc" and lettering.disc is not None:
        x, y, r = lettering.disc
        mask = np.zeros((h, w), np.uint8)
        cv2.circle(mask, (round(x), round(y)), max(1, round(r) - 1 - inset), 255, -1, cv2.LINE_AA)
        return mask
    if plate.kind == "oval":
        return _rounded((h, w), h, inset)
    return _rounded((h, w), h // 6 if plate.kind == "round" else 0, inset)


def _textured(color, texture: np.ndarray, depth: float) -> np.ndarray:
    """Vary the brightness of ``color`` by a grey image (uint8); return an opaque BGRA layer."""
    light = (texture.astype(np.float32) - 128) * np.float32(depth)
    return np.dstack([*(np.clip(light + np.float32(c), 0, 255) for c in color), np.full_like(light, 255)]).astype(np.uint8)


def paint(
    rng: np.random.Generator,
    lettering: Lettering,
    style: TextStyle,
    plate: PlateStyle | None,
    texture: np.ndarray | None = None,
) -> np.ndarray:
    """Paint a sign.

    Args:
        texture: grey image (uint8, H x W) of the surface: it mottles the plate, and wears letters painted on a wall.

    Returns:
        premultiplied BGRA (uint8, H x W x 4), transparent where the sign shows nothing.
    """
    fill = lettering.ink
    h, w = fill.shape
    canvas = np.zeros((h, w, 4), np.uint8)
    if plate is not None:
        surface = plate.color if texture is None else _textured(plate.color, texture, rng.uniform(0.1, 0.5))
        _over(canvas, _plate_mask(plate, lettering, 0), plate.border or surface, plate.opacity)
        if plate.border is not None:
            _over(canvas, _plate_mask(plate, lettering, plate.border_width), surface)
        if plate.kind == "disc" and lettering.disc is not None and rng.random() < 0.4:
            x, y, r = lettering.disc
            ring = contrasting(rng, plate.color, rng.uniform(20, 150))
            center, width = (round(x), round(y)), max(1, round(r * 0.02))
            cv2.circle(canvas, center, round(r * 0.97), (*map(round, ring), 255), width, cv2.LINE_AA)
    elif texture is not None:
        worn = cv2.add(texture, int(rng.integers(90, 170)))
        fill = cv2.multiply(fill, worn, scale=1 / 255)
    if style.glow is not None:
        color, sigma = style.glow
        halo = cv2.GaussianBlur(_thickened(fill, max(1, round(sigma / 2))), (0, 0), max(sigma, 0.5))
        _over(canvas, halo, color, 0.9)
    edge = None
    if style.outline is not None:
        thick = _thickened(fill, style.outline[1])
        edge = cv2.subtract(thick, fill) if style.hollow else thick
    if style.shadow is not None:
        dx, dy, sigma, opacity = style.shadow
        cast = _shifted(fill if edge is None else edge, dx, dy)
        _over(canvas, cv2.GaussianBlur(cast, (0, 0), sigma) if sigma > 0.4 else cast, (0, 0, 0), opacity)
    if style.extrude is not None:
        color, dx, dy = style.extrude
        body = fill
        for step in range(1, max(abs(dx), abs(dy)) + 1):
            part = step / max(abs(dx), abs(dy))
            body = np.maximum(body, _shifted(fill, round(dx * part), round(dy * part)))
        _over(canvas, body, color)
    if edge is not None:
        _over(canvas, edge, style.outline[0], style.opacity)
    if style.hollow:
        return canvas
    color = style.color
    if style.second is not None:
        blend = np.linspace(0, 1, h, dtype=np.float32)[:, None, None]
        row = (1 - blend) * np.float32((*style.color, 255)) + blend * np.float32((*style.second, 255))
        color = np.ascontiguousarray(np.broadcast_to(row, (h, w, 4)).astype(np.uint8))
    _over(canvas, fill, color, style.opacity)
    return canvas
