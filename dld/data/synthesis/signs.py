"""One sign: what it says, in which face, arranged how, and turned how towards the camera. Colour comes later."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from dld.data.synthesis.config import SynthWordsConfig
from dld.data.synthesis.fonts import FontFace
from dld.data.synthesis.geometry import plane_homography, project
from dld.data.synthesis.glyph_cache import CachedFace
from dld.data.synthesis.lettering import (
    Lettering,
    Line,
    arrange_arc,
    arrange_badge,
    arrange_lines,
    arrange_wave,
    set_line,
)
from dld.data.synthesis.vocabulary import Vocabulary, set_case

__all__ = ["Camera", "Sign", "choose_face", "design_sign", "face_for"]

Face = TypeVar("Face", FontFace, CachedFace)


@dataclass(frozen=True)
class Camera:
    """How the scene is seen; the signs of one image share it, each with a little turn of its own (radians)."""

    roll: float
    yaw: float
    pitch: float

    @staticmethod
    def draw(rng: np.random.Generator) -> "Camera":
        sigma = rng.random(3) * np.radians((7, 36, 18))
        return Camera(*(float(v) for v in rng.standard_normal(3) * sigma))


@dataclass
class Sign:
    """A lettered plane and the homography that puts its centre at (0, 0) of the image.

    Attributes:
        capital_px: letter height in the plane.  plated: whether a plate is to be painted.
    """

    lettering: Lettering
    homography: np.ndarray
    capital_px: float
    plated: bool

    def corners(self) -> np.ndarray:
        """Return the plane's corners (4, 2) in pixels of the image."""
        h, w = self.lettering.ink.shape
        return project(self.homography, np.array([[0, 0], [w, 0], [w, h], [0, h]], float))

    def scaled(self, factor: float) -> "Sign":
        return Sign(self.lettering, np.diag([factor, factor, 1.0]) @ self.homography, self.capital_px, self.plated)

    def moved(self, x: float, y: float) -> "Sign":
        shift = np.array([[1, 0, x], [0, 1, y], [0, 0, 1.0]])
        return Sign(self.lettering, shift @ self.homography, self.capital_px, self.plated)


def choose_face(rng: np.random.Generator, families: Mapping[str, list[Face]]) -> Face:
    """Draw a family, then one of its faces."""
    names = list(families)
    faces = families[names[int(rng.integers(len(names)))]]
    return faces[int(rng.integers(len(faces)))]


def face_for(rng: np.random.Generator, families: Mapping[str, list[Face]], face: Face, words: list[str]) -> Face:
    """Return the face if it draws all the words, else one that does, if there is one: few have every script."""
    if all(map(face.can_draw, words)):
        return face
    able = {name: fit for name, faces in families.items() if (fit := [f for f in faces if all(map(f.can_draw, words))])}
    upright = {name: faces for name, faces in able.items() if not faces[0].script}  # words may be in capitals by now
    return choose_face(rng, upright or able) if able else face


def _texts(rng: np.random.Generator, vocabulary: Vocabulary, face: FontFace, phrase: bool, most: int) -> list[str]:
    words = vocabulary.phrase(rng) if phrase else [vocabulary.word(rng)]
    style = vocabulary.case_style(rng)
    if face.script and style == "upper":
        style = "title"
    return [set_case(word, style) for word in words[:most]]


def _lines(rng, face: FontFace, words: list[str], capital_px: float, tracking: float, gap: float, widest: float) -> list[Line]:
    lines = []
    while words:
        line, used = set_line(face, words, capital_px, tracking, gap, widest)
        if line is not None:
            lines.append(line)
        words = words[used:]
    return lines


def _roll(rng: np.random.Generator) -> float:
    u = rng.random()
    if u < 0.8:
        degrees = rng.standard_normal() * 2.5
    elif u < 0.92:
        degrees = rng.uniform(-15, 15)
    elif u < 0.98:
        degrees = rng.uniform(-45, 45)
    else:
        degrees = rng.standard_normal() * 3 + (90 if rng.random() < 0.3 else -90)
    return math.radians(degrees)


def design_sign(
    rng: np.random.Generator,
    config: SynthWordsConfig,
    vocabulary: Vocabulary,
    families: dict[str, list[FontFace]],
    camera: Camera,
    capital_px: float,
    most: int,
) -> Sign | None:
    """Design a sign of at most ``most`` words with capitals of ``capital_px`` image pixels; return None when nothing fits."""
    face = choose_face(rng, families)
    phrase = most > 1 and rng.random() < config.phrase_rate
    curved = rng.random() < config.curved_rate
    words = _texts(rng, vocabulary, face, phrase, most)
    if vocabulary.beyond_ascii:
        face = face_for(rng, families, face, words)
    tracking = rng.uniform(0.05, 0.45) if rng.random() < 0.15 and not face.script else 0.0
    gap = rng.uniform(0.35, 0.7) + tracking
    limit = 0.95 * config.size[1]
    widest = limit * (1.0 if curved else rng.uniform(0.35, 1.0) if phrase else 1.0)
    lines = _lines(rng, face, words, capital_px, tracking, gap, widest)
    if not lines:
        longest = capital_px * 0.8 * max(len(word) for word in words)
        capital_px = max(config.min_height, capital_px * min(0.7, limit / longest))
        lines = _lines(rng, face, words, capital_px, tracking, gap, limit)
        if not lines:
            return None
    plated = rng.random() < config.plate_rate
    room = rng.uniform(0.25, 1.0, 2) if plated else (0.25, 0.25)
    pad = (max(2, round(capital_px * room[0])), max(2, round(capital_px * room[1])))
    lettering = _arrange(rng, lines, curved, capital_px, pad)
    if lettering.disc is not None:
        plated = plated or rng.random() < 0.5
    h, w = lettering.ink.shape
    yaw, pitch = (
        camera.yaw + math.radians(4) * rng.standard_normal(),
        camera.pitch + math.radians(4) * rng.standard_normal(),
    )
    limits = math.radians(55), math.radians(40)
    yaw, pitch = (min(max(angle, -limit), limit) for angle, limit in zip((yaw, pitch), limits, strict=True))
    shear = 0.0 if plated or rng.random() < 0.85 else rng.uniform(-0.25, 0.25)
    nearness = min(0.5, 0.03 + 1.3 * rng.random() * math.hypot(w, h) / math.hypot(*config.size))
    homography = plane_homography((w, h), camera.roll + _roll(rng), yaw, pitch, nearness, shear)
    return Sign(lettering, homography, capital_px, plated)


def _arrange(rng: np.random.Generator, lines: list[Line], curved: bool, capital_px: float, pad: tuple[int, int]) -> Lettering:
    if curved and lines[0].width > 2.0 * capital_px:
        u = rng.random()
        first = lines[0]
        if u < 0.22 and len(lines) > 1:
            middle = lines[2:4] if rng.random() < 0.6 else []
            return arrange_badge(first, lines[1], middle, pad[1])
        if u < 0.9:
            slimness = first.width / first.height
            sharpest = min(2.8, 0.3 + 0.3 * slimness)
            turn = 0.2 + (sharpest - 0.2) * rng.random() ** 1.5
            return arrange_arc(first, turn, rng.random() < 0.7, pad)
        period = first.width * rng.uniform(0.8, 2.0)
        return arrange_wave(first, period * rng.uniform(0.03, 0.09), period, rng.uniform(0, 2 * math.pi), pad)
    align = ("left", "center", "center", "right")[int(rng.integers(4))]
    return arrange_lines(lines, align, capital_px * rng.uniform(0.2, 0.7), pad)
