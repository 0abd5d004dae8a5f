"""Cost of a scale: FLOPs of the student at each candidate scale, as a share of the teacher's at full size.

N images, S candidate scales, c_i the cost of scale s_i.

A spotter's cost is a sum of linear parts:
  * per padded pixel: backbone, pyramid, RPN and, for an image with words, the recogniser's convolution on the finest level;
  * a constant: boxes, as many proposals as the RPN passes on at test;
  * per word: mask, crop, encoder; a learned locator of sides, where it is asked about the word (before that is known: always);
  * per word and decoding step;
  * per word and padded pixel, where words are read by maps over the whole image.
If the spotter reads strips, a strip of W padded columns (at 48 rows) costs a + b W + c W^2 in place of crop, encoder and
steps: convolutions are linear, the attention among its columns is quadratic. At a lower height a and b are others, c is the
same, for all heights have the same columns of text. An encoder that pads strips inside costs d more for each of those columns.
Each part is counted once on the real network.
After that, the cost of any image takes a few multiplications.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, asdict, astuple, dataclass, fields
from typing import Any, Protocol

import torch
from torch import nn

from dld.modeling.flops import DECODER_STEPS, SpotterFlops, count_flops, evaluating, strip_flops
from dld.modeling.resolution.rescale import padded_size, scaled_size
from dld.strips.grouping import StripSize
from dld.strips.heights import STRIP_ROWS
from dld.strips.strip_law import StripLaw, strip_laws

__all__ = ["CostTable", "SpotterCost", "stored_cost"]

# Largest relative difference allowed between the linear law and a direct count.
_TOLERANCE = 0.01


class Counted(Protocol):
    """The part of a :class:`~dld.modeling.meta_arch.spotter.Spotter` that this module needs."""

    size_divisibility: int
    reader: nn.Module | None
    expected_strip_width: int
    strip_rows: tuple[int, ...]

    def count_parts(
        self, image_size: tuple[int, int], words: int, steps: int, proposals: int | None = None
    ) -> SpotterFlops: ...


@dataclass(frozen=True)
class SpotterCost:
    """Linear cost of one spotter on one image. FLOPs, 2 per multiply-accumulate."""

    per_pixel: float  # backbone, FPN and RPN, per padded pixel: the "paper" convention counts these alone
    stem_per_pixel: float  # per padded pixel of an image that has words
    per_image: float  # boxes of all proposals
    per_word: float
    per_step: float  # per word and decoding step
    divisibility: int  # sides are padded to multiples of this
    # a strip of 48 rows and W padded columns: constant + linear W + square W^2; all 0 if the spotter reads crops
    strip_constant: float = 0.0
    strip_linear: float = 0.0
    strip_square: float = 0.0
    expected_strip_width: int = 0  # columns of the strip of a word of which nothing is known yet
    # of every other height that is read: rows, constant and linear part
    other_strips: tuple[tuple[float, float, float], ...] = ()
    # of every height at which the reader's encoder pads strips: rows, to what multiple of columns, and what each of them costs
    padded_strips: tuple[tuple[float, float, float], ...] = ()
    per_word_pixel: float = 0.0  # per word and padded pixel
    per_located: float = 0.0  # the part of `per_word` that only words cost which a learned locator is asked about

    @classmethod
    def measure(cls, model: Counted, num_proposals: int | None = None) -> SpotterCost:
        """Count a spotter on small empty images; this takes a few seconds on a CPU for ResNet-50.

        Args:
            model: its mode, statistics and random state do not change.
            num_proposals: boxes that the box head scores; None: the most that the RPN passes on at test.

        Raises:
            ValueError: a second count, at another size and number of words, differs by more than 1 % from the linear law.
        """
        # multiples of 64, so that the coarsest level also has a whole number of cells
        unit = max(model.size_divisibility, 32) * 2
        height, width, words, steps = 2 * unit, 3 * unit, 2, 3
        counted = model.count_parts((height, width), words, steps, num_proposals)
        strips = _strip_law(model)
        cost = cls(
            per_pixel=(counted.backbone + counted.fpn + counted.rpn) / (height * width),
            stem_per_pixel=counted.stem / (height * width),
            per_image=float(counted.boxes),
            per_word=(counted.masks + counted.locating + (0 if strips else counted.recognition)) / words,
            per_step=counted.decoding / (words * steps),
            divisibility=model.size_divisibility,
            per_word_pixel=counted.attention / (words * height * width),
            per_located=counted.locating / words,
            **strips,
        )
        check = model.count_parts((3 * unit, 4 * unit), 5, 7, num_proposals)
        pixels = 12 * unit * unit
        expected = {
            "pixels": ((cost.per_pixel + cost.stem_per_pixel + 5 * cost.per_word_pixel) * pixels, check.shrinking),
            "words": (
                cost.per_image + 5 * (cost.per_word + 7 * cost.per_step + cost.expected_reading),
                check.fixed,
            ),
        }
        for what, (linear, counted_now) in expected.items():
            if abs(linear - counted_now) > _TOLERANCE * counted_now:
                raise ValueError(
                    f"the cost of {type(model).__name__} is not linear in {what}: {linear:.4g} FLOPs expected, "
                    f"{counted_now:.4g} counted"
                )
        return cost

    def numbers(self) -> list[float]:
        """Return the law as a list, for a configuration, without `per_located`; see :func:`stored_cost`."""
        *numbers, others, padded, per_word_pixel, _ = astuple(self)
        # a height below 0 is one of those that are padded
        triples = (*others, *((-rows, *rest) for rows, *rest in padded))
        last = (per_word_pixel,) if per_word_pixel else ()
        return [float(value) for value in (*numbers, *itertools.chain.from_iterable(triples), *last)]

    def reading_flops(self, strips: Sequence[StripSize]) -> float:
        """Return the FLOPs of reading these strips; a height that the law does not hold costs as much as 48 rows."""
        laws = self.strip_laws
        return float(sum(laws.get(rows, laws[STRIP_ROWS]).flops(width) for rows, width in strips)) if laws else 0.0

    @property
    def strip_laws(self) -> dict[int, StripLaw]:
        """What a strip costs at each height that is known; empty where crops are read."""
        return strip_laws(vars(self)) if self.expected_strip_width else {}

    @property
    def expected_reading(self) -> float:
        """FLOPs of reading the strip of a word of which nothing is known yet: at 48 rows."""
        return self.reading_flops([StripSize(STRIP_ROWS, self.expected_strip_width)])

    def flops(
        self,
        pixels: torch.Tensor,
        words: torch.Tensor,
        steps: float | torch.Tensor = DECODER_STEPS,
        strips: float | torch.Tensor | None = None,
        asked: int | None = None,
    ) -> torch.Tensor:
        """Return the FLOPs of everything that runs.

        Args:
            pixels: padded pixels; any shape that broadcasts with `words`.
            words: number of words found, each with its mask.
            steps: decoding steps that run, the end symbol included.
            strips: :meth:`reading_flops` of the strips that were read; None: :attr:`expected_reading` per word.
            asked: of the words, those that a learned locator was asked about; None: all.

        Returns:
            float64 of the broadcast shape.
        """
        pixels, words = pixels.double(), words.double()
        per_pixel = self.per_pixel + self.stem_per_pixel * (words > 0) + self.per_word_pixel * words
        reading = words * self.expected_reading if strips is None else strips
        spared = 0.0 if asked is None else self.per_located * (words - asked)
        return per_pixel * pixels + self.per_image + words * (self.per_word + self.per_step * steps) - spared + reading


@dataclass(frozen=True)
class CostTable:
    """Costs of a student with its selector beside its teacher.

    What the student is charged at scale s: the spotter at that scale's padded pixels, the selector and its reduced copy
    of the image, and the resize. The teacher is charged the spotter at full size. Decoding is charged for
    `DECODER_STEPS` steps unless the caller knows better: it is 2 % of a word, and how long words are does not depend
    on the scale. For other scales than the candidates: `dataclasses.replace(table, scales=(0.45,))`.
    """

    student: SpotterCost
    teacher: SpotterCost
    scales: tuple[float, ...]
    # FLOPs per unpadded pixel of the full image, including its reduction; 0 without a selector
    selector_per_pixel: float

    @classmethod
    def measure(
        cls,
        student: Counted,
        teacher: Counted | None,
        selector: nn.Module | None,
        scales: Sequence[float] | None = None,
        teacher_cost: SpotterCost | None = None,
    ) -> CostTable:
        """Count the networks.

        Args:
            student, teacher: spotters; without a teacher, `teacher_cost` gives its cost.
            selector: a `ResolutionSelector`, or None if scales are fixed by hand.
            scales: candidate scales; None: those of the selector.
            teacher_cost: cost of a teacher that is not loaded; None: the teacher has the student's architecture.
        """
        if scales is None:
            if selector is None:
                raise ValueError("give the candidate scales, or the selector that has them")
            scales = selector.scales
        cost = SpotterCost.measure(student)
        return cls(
            student=cost,
            teacher=(teacher_cost or cost) if teacher is None else SpotterCost.measure(teacher),
            scales=tuple(float(s) for s in scales),
            selector_per_pixel=0.0 if selector is None else _selector_flops_per_pixel(selector),
        )

    def padded_pixels(self, image_sizes: Sequence[tuple[int, int]]) -> torch.Tensor:
        """Return the student's number of input pixels, int64 (N, S), for unpadded full sizes (H, W)."""
        rows = [[_pixels(size, s, self.student.divisibility) for s in self.scales] for size in image_sizes]
        return torch.tensor(rows, dtype=torch.int64).view(len(image_sizes), len(self.scales))

    def flops(
        self,
        image_sizes: Sequence[tuple[int, int]],
        words: torch.Tensor | Sequence[int],
        steps: float | torch.Tensor = DECODER_STEPS,
        strip_sizes: Sequence[StripSize] | None = None,
        asked: int | None = None,
    ) -> torch.Tensor:
        """Return the FLOPs of selector, resize and student at every candidate scale.

        Args:
            image_sizes: unpadded (H, W) of N images at the teacher's resolution.
            words: number of words found in each image, (N,).
            steps: decoding steps, one number or (N, 1).
            strip_sizes: of the strips that were read in each image; None: one of the expected width for each word.
            asked: see :meth:`SpotterCost.flops`.

        Returns:
            float64 (N, S) on the CPU.
        """
        words = torch.as_tensor(words, device="cpu").view(-1, 1)
        strips = None if strip_sizes is None else self.student.reading_flops(strip_sizes)
        spotting = self.student.flops(self.padded_pixels(image_sizes), words, steps, strips, asked)
        area = torch.tensor([h * w for h, w in image_sizes], dtype=torch.float64).view(-1, 1)
        scales = torch.tensor(self.scales, dtype=torch.float64)
        return spotting + area * (self.selector_per_pixel + _resize_flops_per_pixel(scales))

    def teacher_flops(
        self,
        image_sizes: Sequence[tuple[int, int]],
        words: torch.Tensor | Sequence[int],
        steps: float | torch.Tensor = DECODER_STEPS,
        strip_sizes: Sequence[StripSize] | None = None,
        asked: int | None = None,
    ) -> torch.Tensor:
        """Return the teacher's FLOPs at full size, float64 (N,); arguments as in :meth:`flops`, `steps` a number or (N,).

        The teacher reads the same strips at 48 rows, whatever height they were read at.
        """
        pixels = torch.tensor([_pixels(size, 1.0, self.teacher.divisibility) for size in image_sizes])
        full = None if strip_sizes is None else [StripSize(STRIP_ROWS, size.width) for size in strip_sizes]
        strips = None if full is None else self.teacher.reading_flops(full)
        return self.teacher.flops(pixels, torch.as_tensor(words, device="cpu"), steps, strips, asked)

    def costs(self, image_sizes: Sequence[tuple[int, int]], words: torch.Tensor | Sequence[int]) -> torch.Tensor:
        """Return c_i: :meth:`flops` divided by :meth:`teacher_flops`, float32 (N, S) on the CPU."""
        return (self.flops(image_sizes, words) / self.teacher_flops(image_sizes, words).view(-1, 1)).float()

    def paper_gflops(self, image_sizes: Sequence[tuple[int, int]]) -> torch.Tensor:
        """Return 2^30 MACs of the student's backbone, FPN and RPN alone, as published tables do, float64 (N, S)."""
        return self.student.per_pixel * self.padded_pixels(image_sizes).double() / 2 / 2**30

    def to_dict(self) -> dict:
        """Return plain numbers, for checkpoints and json."""
        return {**asdict(self), "scales": list(self.scales)}

    @classmethod
    def from_dict(cls, values: Mapping) -> CostTable:
        """Make the table from the result of :meth:`to_dict`.

        Raises:
            KeyError: a number is missing; the message names it.
        """
        missing = [f.name for f in fields(cls) if f.name not in values]
        if missing:
            raise KeyError(f"cost table lacks {', '.join(missing)}")
        spotters = {}
        for name in ("student", "teacher"):
            known = [f for f in fields(SpotterCost) if f.name in values[name]]
            lacking = [f.name for f in fields(SpotterCost) if f.default is MISSING and f not in known]
            if lacking:
                raise KeyError(f"cost table lacks {', '.join(f'{name}.{key}' for key in lacking)}")
            numbers = {f.name: values[name][f.name] for f in known}
            for key in ("other_strips", "padded_strips"):
                numbers[key] = tuple(tuple(law) for law in numbers.get(key, ()))
            spotters[name] = SpotterCost(**numbers)
        return cls(scales=tuple(values["scales"]), selector_per_pixel=values["selector_per_pixel"], **spotters)


def stored_cost(numbers: Sequence[float]) -> SpotterCost | None:
    """Return the law of MODEL.DISTILLATION.TEACHER_COST, as :meth:`SpotterCost.numbers` gives it; None of an empty list.

    Raises:
        ValueError: another number of numbers.
    """
    if not len(numbers):
        return None
    *names, others, padded, last, _ = (f.name for f in fields(SpotterCost))
    more = len(numbers) - len(names)
    if more < 0 or more % 3 == 2:
        raise ValueError(
            f"MODEL.DISTILLATION.TEACHER_COST must hold {', '.join(names)}, three numbers for each of {others} "
            f"and {padded}, and {last} where there is one, got {len(numbers)} numbers"
        )
    whole = ("divisibility", "expected_strip_width")
    known = {n: int(v) if n in whole else float(v) for n, v in zip(names, numbers, strict=False)}
    rest = iter(float(v) for v in numbers[len(names) : len(numbers) - more % 3])
    laws = tuple(zip(rest, rest, rest, strict=True))
    return SpotterCost(
        **known,
        other_strips=tuple(law for law in laws if law[0] > 0),
        padded_strips=tuple((-rows, multiple, cost) for rows, multiple, cost in laws if rows < 0),
        per_word_pixel=float(numbers[-1]) if more % 3 else 0.0,
    )


def _strip_law(model: nn.Module) -> dict[str, Any]:
    """Return the laws of the heights that are read, and of 48 rows, at which the teacher reads."""
    if model.reader is None:
        return {}
    laws = {rows: _law_of_rows(model.reader, rows) for rows in {STRIP_ROWS, *model.strip_rows}}
    sorted_laws = [laws[rows] for rows in sorted(laws, reverse=True)]
    full = laws[STRIP_ROWS]
    return {
        "strip_constant": full.constant,
        "strip_linear": full.linear,
        "strip_square": full.square,
        "expected_strip_width": model.expected_strip_width,
        "other_strips": tuple((float(x.rows), x.constant, x.linear) for x in sorted_laws if x.rows != STRIP_ROWS),
        "padded_strips": tuple((float(x.rows), float(x.multiple), x.padded) for x in sorted_laws if x.padded),
    }


def _law_of_rows(reader: nn.Module, rows: int) -> StripLaw:
    """Count the cost of a strip at three widths that need no padding, and at one that does; check the law at another."""
    multiple = int(reader.at_rows(rows).body.column_multiple)
    unknown = StripLaw(rows, 0.0, 0.0, 0.0, multiple)
    # the first from 160 on that is not padded, and twice and three times as much
    first = next(width for width in range(160, 160 + 8 * multiple, 8) if not unknown.padding(width))
    widths = torch.tensor([first, 2 * first, 3 * first], dtype=torch.float64)
    counted = torch.tensor([strip_flops(reader, int(w), rows) for w in widths], dtype=torch.float64)
    law = StripLaw(rows, *torch.linalg.solve(widths[:, None] ** torch.arange(3), counted).tolist(), multiple)
    width = first + 8
    if columns := int(law.padding(width)):
        law = law._replace(padded=(strip_flops(reader, width, rows) - float(law.flops(width))) / columns)
    expected, check = float(law.flops(96)), strip_flops(reader, 96, rows)
    if abs(expected - check) > _TOLERANCE * check:
        raise ValueError(
            f"the cost of strips of {rows} rows is not quadratic in their width: {expected:.4g} FLOPs expected, "
            f"{check:.4g} counted"
        )
    return law


def _pixels(size: tuple[int, int], scale: float, divisibility: int) -> int:
    height, width = padded_size(scaled_size(size, scale), divisibility)
    return height * width


def _resize_flops_per_pixel(scales: torch.Tensor) -> torch.Tensor:
    # per pixel of the full image: 3 channels, 2 taps along the rows and 2 s along the columns, 2 FLOPs a tap
    flops = 2 * 3 * (2 + 2 * scales)
    return torch.where(scales < 1, flops, torch.zeros_like(flops))


def _selector_flops_per_pixel(selector: nn.Module, side: int = 512) -> float:
    device = next(selector.parameters()).device
    image = torch.zeros(1, 3, side, side, device=device)
    with evaluating(selector):
        return count_flops(lambda: selector(image, [(side, side)])).total_flops / side**2
