"""The knobs of synthwords and synthstrips, checked where they are set."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

__all__ = ["SynthStripsConfig", "SynthWordsConfig"]


def _check_shared(config: "SynthWordsConfig | SynthStripsConfig", rates: Sequence[str]) -> None:
    """Check heights, effects and seed, which pages and strips have, and the named rates."""
    if not 4 <= config.min_height <= config.max_height:
        raise ValueError(
            f"min_height {config.min_height} and max_height {config.max_height}: need 4 <= min_height <= max_height"
        )
    if config.effects < 0 or config.seed < 0:
        raise ValueError(f"effects {config.effects} and seed {config.seed} must not be negative")
    for name in rates:
        if not 0 <= getattr(config, name) <= 1:
            raise ValueError(f"{name} {getattr(config, name)} is not in [0, 1]")


@dataclass(frozen=True)
class SynthWordsConfig:
    """What the images look like. The same values, seed, split and index always give the same image.

    Attributes:
        size: (height, width) in pixels.
        max_words: most words in an image.
        density: in (0, 1]; 1 fills every image up to ``max_words`` (as far as there is room), 0.5 makes every number
            of words from 1 to ``max_words`` equally likely, less leaves most images sparse.
        min_height, max_height: range of the height of capitals in pixels; every image draws its own part of that range.
        spread: an image's heights lie within a factor of at most this above and below its own centre (log-uniform in
            1..spread).
        curved_rate, plate_rate: fraction of signs with a curved baseline, and on a plate.
        empty_rate: fraction of images without any word.
        cut_rate: fraction of signs that reach over the border of the image (words cut by it are marked ignore).
        phrase_rate: fraction of signs with more than a lone word.
        effects: strength of light, blur, noise and JPEG; 0 leaves the drawing clean.
        seed: first component of every image's random seed.
        fonts_dir, backgrounds_dir, words_file: the user's own fonts, pictures and word list (None: those of the installed
            packages).
    """

    size: tuple[int, int] = (640, 640)
    max_words: int = 24
    density: float = 0.4
    min_height: float = 8.0
    max_height: float = 110.0
    spread: float = 2.5
    curved_rate: float = 0.2
    plate_rate: float = 0.5
    empty_rate: float = 0.04
    cut_rate: float = 0.03
    phrase_rate: float = 0.55
    effects: float = 1.0
    seed: int = 0
    fonts_dir: str | None = None
    backgrounds_dir: str | None = None
    words_file: str | None = None

    def __post_init__(self):
        height, width = self.size
        if height < 64 or width < 64:
            raise ValueError(f"size {self.size} (height, width): both must be at least 64 pixels")
        if self.max_words < 0:
            raise ValueError(f"max_words {self.max_words} is negative")
        if not 0 < self.density <= 1:
            raise ValueError(f"density {self.density} is not in (0, 1]")
        if self.spread < 1:
            raise ValueError(f"spread {self.spread} is below 1")
        _check_shared(self, ("curved_rate", "plate_rate", "empty_rate", "cut_rate", "phrase_rate"))

    @classmethod
    def names(cls) -> tuple[str, ...]:
        return tuple(f.name for f in fields(cls))


@dataclass(frozen=True)
class SynthStripsConfig:
    """What the strips look like. The same values, seed, split and index always give the same strips.

    Attributes:
        words: of an item.
        min_height, max_height: range of the height, in pixels, that a word has in the photo it seems to come from
            (log-uniform); it is reduced to that and enlarged again.
        neighbour_rate, lines_rate: fraction of words with words beside them, and with lines above or below.
        plate_rate: fraction on an even or mottled ground; the others stand on a background.
        warp: how far straightening went wrong; 0: not at all.
        effects: strength of light, blur, noise and JPEG; 0 leaves the drawing clean.
        seed: first component of every item's random seed.
        fonts_dir, backgrounds_dir, words_file: as in :class:`SynthWordsConfig`.
    """

    words: int = 32
    min_height: float = 6.0
    max_height: float = 64.0
    neighbour_rate: float = 0.35
    lines_rate: float = 0.3
    plate_rate: float = 0.5
    warp: float = 1.0
    effects: float = 1.0
    seed: int = 0
    fonts_dir: str | None = None
    backgrounds_dir: str | None = None
    words_file: str | None = None

    def __post_init__(self):
        if self.words < 1:
            raise ValueError(f"words {self.words} is below 1")
        if not 0 <= self.warp <= 2:
            raise ValueError(f"warp {self.warp} is not in [0, 2]")
        _check_shared(self, ("neighbour_rate", "lines_rate", "plate_rate"))

    @classmethod
    def names(cls) -> tuple[str, ...]:
        return tuple(f.name for f in fields(cls))
