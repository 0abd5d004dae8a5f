"""Pages of words with known order: outlines as a detector gives them, from the ink of a real typeface."""

from dataclasses import dataclass, field

import numpy as np
from matplotlib import get_data_path
from PIL import ImageFont

FACE = f"{get_data_path()}/fonts/ttf/DejaVuSans.ttf"
WORDS = (
    "the of and a to in is was he for it with as his on be at by had not are but from or have an they which one were all "
    "her she there would their we him been has when who will no more if out so said what up its about than into them can "
    "only other time new some could these two may first then do any like my now over such our man me even most made "
    "after also did many off before must well back through years much where your way down should because long each "
    "jumpy 1984 12,50 No. Mr. I 7 EXIT OPEN Street quality paper gymnastics -"
).split()


@dataclass
class Page:
    """Words in the order of reading; `lines` and `columns` number the line and the column of each."""

    outlines: list[np.ndarray] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)

    def add(self, text: str, outline: np.ndarray, line: int) -> None:
        self.outlines.append(np.asarray(outline, dtype=np.float64))
        self.texts.append(text)
        self.lines.append(line)

    def without(self, gone: np.ndarray) -> "Page":
        """The page without some of its words, bool (N,)."""
        kept = np.flatnonzero(~gone).tolist()
        return Page(*([column[i] for i in kept] for column in (self.outlines, self.texts, self.lines)))

    def moved(self, change) -> "Page":
        """The page with `change` applied to the points (P, 2) of every outline."""
        return Page([change(p) for p in self.outlines], self.texts, self.lines)


def paragraph(rng, page: Page, left: float, top: float, width: float, size: int, lines: int, justified: bool = False) -> float:
    """Words on straight lines from (left, top); returns the y below them."""
    face = ImageFont.truetype(FACE, size)
    space, line = face.getlength(" "), max(page.lines, default=-1) + 1
    leading = rng.uniform(1.15, 1.7) * size
    for row in range(lines):
        words, used = [], 0.0
        while True:
            text = WORDS[rng.integers(len(WORDS))]
            if used + face.getlength(text) > width:
                break
            words.append(text)
            used += face.getlength(text) + space
        words = words or ["a"]
        last = row == lines - 1
        if last:
            words = words[: rng.integers(1, len(words) + 1)]
        spread = 0.0
        if justified and not last and len(words) > 2:
            spread = min((width - used + space) / (len(words) - 1), 1.2 * size)
        x, y = left, top + row * leading
        for text in words:
            x0, y0, x1, y1 = face.getbbox(text)
            grow = 0.06 * size
            page.add(text, box(x + x0 - grow, y + y0 - grow, x + x1 + grow, y + y1 + grow), line + row)
            x += face.getlength(text) + space + spread
    return top + lines * leading


def box(x0, y0, x1, y1) -> np.ndarray:
    """An outline of 16 points, as those of masks have many."""
    s = np.linspace(0, 1, 8)[:, None]
    upper = np.array([[x0, y0]]) * (1 - s) + np.array([[x1, y0]]) * s
    return np.concatenate([upper, upper[::-1] + [0, y1 - y0]])


def straight(rng) -> Page:
    """One column: a heading, then one to three paragraphs."""
    page, size = Page(), int(rng.integers(14, 40))
    y = paragraph(rng, page, 40, 30, 800, int(size * rng.uniform(1.2, 2)), 1)
    for _ in range(rng.integers(1, 4)):
        y = paragraph(rng, page, 40, y + rng.uniform(0.3, 1.5) * size, 800, size, int(rng.integers(2, 9)), rng.random() < 0.5)
    return page


def two_columns(rng) -> Page:
    """A heading over both, or none, and two columns of paragraphs that need not be on the same lines."""
    page, size = Page(), int(rng.integers(14, 28))
    top, gutter = 30.0, rng.uniform(1.3, 3) * size
    if rng.random() < 0.6:
        top = paragraph(rng, page, 40, top, 900, 2 * size, 1) + 0.5 * size
    for column in range(2):
        y = top + column * rng.uniform(0, 1) * size * (rng.random() < 0.5)
        for _ in range(rng.integers(1, 4)):
            justified = rng.random() < 0.5
            y = paragraph(rng, page, 40 + column * (450 + gutter), y, 450, size, int(rng.integers(3, 9)), justified)
            y += rng.uniform(0.2, 1.2) * size
    return page


def slanted(rng) -> Page:
    """Either of the two, turned by up to 25 degrees and seen a little from the side."""
    page = (straight, two_columns)[rng.integers(2)](rng)
    angle, lean = np.radians(rng.uniform(-25, 25)), rng.uniform(-0.1, 0.1)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) @ np.array([[1, lean], [0, 1]])
    return page.moved(lambda p: p @ turn.T)


def curved(rng) -> Page:
    """Lines on arcs around one centre, above each other, as on a seal or a bottle."""
    page, size = straight(rng), 0
    upward = rng.random() < 0.5
    radius = rng.uniform(700, 1500)

    def bend(p):
        angle, r = (p[:, 0] - 440) / radius, radius + (p[:, 1] if not upward else -p[:, 1]) * 0.8 + size
        side = 1 if not upward else -1
        return np.stack([440 + r * np.sin(angle), side * r * np.cos(angle)], 1)

    return page.moved(bend)


def standing(rng) -> Page:
    """Lines that run downwards, from right to left: a page turned clockwise that nobody said was turned."""
    return straight(rng).moved(lambda p: np.stack([-p[:, 1], p[:, 0]], 1))


def roughened(rng, page: Page, share: float = 0.04) -> Page:
    """Outlines as a detector sees them: their points off by a share of the height, and begun anywhere, either way round."""
    outlines = []
    for p in page.outlines:
        height = np.sqrt(np.linalg.det(np.cov(p.T)) / max(np.trace(np.cov(p.T)), 1e-9)) * 4
        p = p + rng.normal(0, share * height, p.shape)
        p = np.roll(p, rng.integers(len(p)), axis=0)
        outlines.append(p[::-1] if rng.random() < 0.5 else p)
    return Page(outlines, page.texts, page.lines)


KINDS = {"straight": straight, "two columns": two_columns, "slanted": slanted, "curved": curved, "standing": standing}
