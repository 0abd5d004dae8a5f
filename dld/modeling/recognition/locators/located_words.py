"""Locators beside a spotter: their losses on annotated words, and their sides of the words that are found.

N images, R words, n points of a side.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from detectron2.structures import ImageList, Instances

from dld.modeling.losses.recognition import ctc_loss
from dld.modeling.recognition.locators.locator import Locator, box_sides, from_view, square_views, to_view
from dld.modeling.recognition.strip_recognizer import StripRecognizer
from dld.modeling.recognition.word_strips import WordStrips
from dld.strips.cutting import strip_widths, word_heights
from dld.strips.grouping import padded_widths
from dld.strips.heights import STRIP_ROWS
from dld.strips.sides import bends, sides_of_outlines

__all__ = ["ReadingLoss", "learned_sides", "locator_losses"]


class ReadingLoss:
    """How well a reader reads words between sides that learn from it.

    Args:
        reader: of strips of 48 rows; frozen, unless it is trained itself.
        images: normalised, from which strips are cut.
        pixel_mean, pixel_std: (3, 1, 1), of their normalisation.
    """

    def __init__(self, reader: StripRecognizer, images: ImageList, pixel_mean: torch.Tensor, pixel_std: torch.Tensor) -> None:
        self.reader, self.mean, self.std = reader, pixel_mean, pixel_std
        self.strips = WordStrips(images.tensor.float(), images.image_sizes, how=reader.straightening)

    def __call__(self, sides: torch.Tensor, words: Sequence[Instances]) -> torch.Tensor:
        """Return the CTC loss of the annotated text, per character and a mean over words.

        Args:
            sides: (R, 2, n, 2), pixels of the images.
            words: of each image, R in all, with `gt_text` in the characters of the reader.
        """
        ids = torch.cat([x.gt_text for x in words])
        if not len(sides):
            return sides.sum() * 0
        charset, parts = self.reader.charset, []
        counts = torch.tensor([len(x) for x in words])
        image = torch.repeat_interleave(torch.arange(len(words)), counts).to(sides.device)
        points = sides.detach().cpu().double().numpy()
        widths = strip_widths(points, word_heights(points))
        padded, columns = torch.from_numpy(padded_widths(widths)), torch.from_numpy(widths).to(sides.device)
        for width in padded.unique().tolist():
            alike = (padded == width).nonzero()[:, 0].to(sides.device)
            pixels, own = self.strips.cut(sides[alike], image[alike], columns[alike], STRIP_ROWS, width)
            pixels = ((pixels * self.std + self.mean) / 127.5 - 1).clamp(-1, 1) * own[:, None, None]
            logits = self.reader.logits(pixels.to(self.reader.head.weight.dtype))
            parts.append(len(alike) * ctc_loss(logits, ids[alike], charset.pad, charset.end))
        return torch.stack(parts).sum() / len(sides)


def locator_losses(
    locator: Locator, level: torch.Tensor, words: Sequence[Instances], reading_loss: ReadingLoss | None = None
) -> dict[str, torch.Tensor]:
    """Compute the losses of a locator on annotated words, by name.

    Args:
        level: pyramid level (N, C, H/stride, W/stride).
        words: of each image, with `gt_read_boxes`, at which it looks, and `gt_fiducials`, where it needs sides.
        reading_loss: for a locator that learns by reading, as `loss_read`.

    Raises:
        ValueError: the words have no sides, or of another number of points.
    """
    if locator.needs_sides and not all(x.has("gt_fiducials") for x in words):
        raise ValueError(f"words have no sides: INPUT.SIDE_POINTS must be MODEL.STRIPS.LOCATOR.POINTS, {locator.points}")
    boxes = [x.gt_read_boxes.tensor for x in words]
    every, view = torch.cat(boxes), locator.view(level, boxes)
    squares, n = square_views(every, locator.enlarge), locator.points
    sides = torch.full((len(every), 2, n, 2), torch.nan, device=every.device)
    if locator.needs_sides:
        # an image without words does not know how many points a side has
        points = [x.gt_fiducials.points for x in words if len(x)]
        sides = torch.cat([p.view(len(p), 2, -1, 2) for p in points]).float() if points else sides
    box = to_view(box_sides(every, n), squares)
    losses = locator.losses(view, box, to_view(sides, squares))
    if reading_loss is not None:
        losses["loss_read"] = reading_loss(from_view(locator.sides_in_view(view, box)[0], squares), words)
    return losses


@torch.no_grad()
def learned_sides(
    locator: Locator,
    found: Sequence[Instances],
    outlines: Sequence[Sequence[np.ndarray]],
    zooms: Sequence[np.ndarray],
    least_bend: float,
) -> tuple[list[list[np.ndarray | None]], list[int]]:
    """Ask a locator about the words that are not plainly straight.

    Args:
        found: of each image, with `pred_views` and `pred_view_boxes` of the network's input.
        outlines: of each image, polygons (P, 2) of the same words in pixels of the photo.
        zooms: of each image, pixels of the photo to one of the network's input, (2,), x and y.
        least_bend: words whose outlines are bent less (:func:`~dld.strips.sides.bends`) are not asked about.

    Returns:
        of each word its sides (2, n, 2) in pixels of the photo; None where the locator was not asked or found none. And of each
        image the number of words that it was asked about.
    """
    sides: list[list[np.ndarray | None]] = [[None] * len(shapes) for shapes in outlines]
    asked = [np.flatnonzero(bends(sides_of_outlines(shapes).points) >= least_bend) for shapes in outlines]
    owners = [(n, row) for n, rows in enumerate(asked) for row in rows.tolist()]
    if not owners:
        return sides, [0] * len(sides)
    views, boxes = (
        torch.cat([x.get(name)[torch.from_numpy(rows).to(x.get(name).device)] for x, rows in zip(found, asked, strict=True)])
        for name in ("pred_views", "pred_view_boxes")
    )
    located = locator.located(views, boxes)
    points, failed = located.sides.cpu().double().numpy(), located.fell_back.tolist()
    for (n, row), word, fell_back in zip(owners, points, failed, strict=True):
        if not fell_back:
            sides[n][row] = word * zooms[n]
    return sides, [len(rows) for rows in asked]
