"""Straightened strips of words, sampled on the device from a batch of images or feature maps, with gradients to both.

N images, R words, n points of a side, C channels. `dld.strips.cutting` does the same for one photo in NumPy, where words are
read at test.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from dld.modeling.recognition.word_grids import GRIDS, strip_axes
from dld.strips.heights import FORMS

__all__ = ["WordStrips"]

# the smallest side of a reduced image
_LEAST_SIDE = 2


class WordStrips:
    """Cuts words out of images, or out of feature maps of them, between their sides.

    What is smaller in a strip than in the image is sampled from an image that was halved as often as needed, each pixel
    the mean of four; the halves are made once for all words. What is larger is sampled bicubically. Beyond the image's border
    its last pixel goes on. No loop runs over words: one call samples all words of an image and a level.

    Args:
        images: (N, C, H, W), padded on the right and below.
        sizes: (H_i, W_i) of each image without its padding.
        stride: pixels of the coordinates to one cell of `images`; 1 for images.
        how: "blend", the straight blend of the two sides, or "tps", a thin-plate spline through their points.

    Raises:
        ValueError: another `how`.
    """

    def __init__(self, images: torch.Tensor, sizes: list[tuple[int, int]], stride: int = 1, how: str = "blend") -> None:
        if how not in GRIDS:
            raise ValueError(f"strips are straightened by {' or '.join(GRIDS)}, got {how!r}")
        self.levels, self.sizes, self.stride, self.grid = [images], sizes, stride, GRIDS[how]

    def __getitem__(self, level: int) -> torch.Tensor:
        """Return the batch reduced `level` times by two."""
        while len(self.levels) <= level:
            self.levels.append(F.avg_pool2d(self.levels[-1], 2))
        return self.levels[level]

    @property
    def deepest(self) -> int:
        """The level beyond which a side would have less than two pixels."""
        return max(int(min(self.levels[0].shape[-2:])) // _LEAST_SIDE, 1).bit_length() - 1

    def cut(self, sides: torch.Tensor, image: torch.Tensor, widths: torch.Tensor, rows: int, width: int) -> torch.Tensor:
        """Cut R words to strips of one size.

        Args:
            sides: (R, 2, n, 2), pixels of the images; gradients flow to them.
            image: int64 (R,), the image of each word.
            widths: int64 (R,), columns of each strip at 48 rows (:func:`~dld.strips.cutting.strip_widths`).
            rows: of the strips, a key of `FORMS`.
            width: padded columns at 48 rows, at least the largest of `widths`.

        Returns:
            (R, C, rows, columns) in the values of the images, and bool (R, columns), which columns are the word's; the others
            are 0.
        """
        form = FORMS[rows]
        total = int(form.columns(width))
        columns = torch.as_tensor(form.columns(widths.cpu().numpy()), device=sides.device)
        own = torch.arange(total, device=sides.device) < columns[:, None]
        heights = (sides[:, 1] - sides[:, 0]).detach().norm(dim=-1).mean(1).clamp(min=1.0) / self.stride
        shrink = (heights / form.text_rows).log2()
        level = shrink.round().clamp(0, self.deepest).long()
        points = self.grid(sides, *strip_axes(widths, rows, total))  # R, rows, columns, 2, in pixels
        strips = points.new_zeros((len(sides), self.levels[0].shape[1], rows, total))
        kinds = torch.stack([image, level, (level > shrink).long()], 1)
        for i, which, cubic in kinds.unique(dim=0).tolist():
            alike = (kinds == kinds.new_tensor([i, which, cubic])).all(1).nonzero()[:, 0]
            strips = strips.index_copy(0, alike, self._sample(points[alike], i, which, bool(cubic)))
        return strips * own[:, None, None], own

    def _sample(self, points: torch.Tensor, image: int, level: int, cubic: bool) -> torch.Tensor:
        """Sample one image at points (R, rows, columns, 2) in pixels; (R, C, rows, columns)."""
        R, rows, columns, _ = points.shape
        # without the padding: cubic samples would see it
        height, width = (max(int(side / self.stride / 2**level), 1) for side in self.sizes[image])
        pixels = self[level][image : image + 1, :, :height, :width].float()
        grid = points / (self.stride * 2**level) * points.new_tensor([2 / width, 2 / height]) - 1
        how = "bicubic" if cubic else "bilinear"
        # all words below each other: one image, one call
        out = F.grid_sample(pixels, grid.view(1, R * rows, columns, 2), how, "border", align_corners=False)
        return out[0].view(-1, R, rows, columns).transpose(0, 1)
