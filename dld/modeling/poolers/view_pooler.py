"""Views of words as they stand: crops of their boxes in one of three forms, multiplied by the words' masks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import isqrt

import torch
import torch.nn.functional as F
from torch import nn

from dld.modeling.poolers.channels_last_roi_align import ChannelsLastRoIAlign, float_level
from dld.structures.padded_polygons import PaddedPolygons

__all__ = ["ViewPooler", "in_forms"]


def in_forms(
    form: torch.Tensor, forms: Sequence[tuple[int, int]], call: Callable[[torch.Tensor, tuple[int, int]], torch.Tensor]
) -> torch.Tensor:
    """Do something with the words of each form together, and put the results back into the order of the words.

    Args:
        form: int64 (R,), at least one word.
        forms: rows and columns of each form.
        call: gets the indices of the words of a form and its rows and columns, and returns a row for each word.
    """
    parts, order = [], []
    for k, shape in enumerate(forms):
        own = (form == k).nonzero()[:, 0]
        if len(own):
            parts.append(call(own, shape))
            order.append(own)
    return torch.cat(parts)[torch.cat(order).argsort()]


class ViewPooler(nn.Module):
    """Crops words out of one feature map as they stand, neither turned nor straightened.

    A view has S^2 cells in one of the forms of :func:`~dld.structures.tall.view_forms`: lying H x W, standing W x H, square
    S x S, with H W = S^2. Its cells are handed on row by row as S x S, whatever its form, so that the words of a batch are one
    tensor; `forms` says how to fold them back.

    Args:
        output_size: (H, W) of a lying view.
        stride: image pixels per cell of the feature map.
        sampling_ratio: RoIAlign samples per bin and direction.

    Raises:
        ValueError: H W is no square number.
    """

    def __init__(self, output_size: tuple[int, int] = (8, 32), stride: int = 4, sampling_ratio: int = 2) -> None:
        super().__init__()
        H, W = output_size
        S = isqrt(H * W)
        if S * S != H * W:
            raise ValueError(
                f"MODEL.RECOGNITION.POOLER_RESOLUTION must have a square number of cells for an AnchorRecognizer, got {H} x {W}"
            )
        self.side, self.forms = S, ((H, W), (W, H), (S, S))
        self.crops = nn.ModuleList(
            ChannelsLastRoIAlign(shape, 1.0 / stride, sampling_ratio, aligned=True) for shape in self.forms
        )

    def forward(
        self, features: torch.Tensor, boxes: list[torch.Tensor], masks: torch.Tensor, form: torch.Tensor
    ) -> torch.Tensor:
        """Crop all words of a batch.

        Args:
            features: (N, C, H/stride, W/stride).
            boxes: N tensors (R_i, 4) in pixels of the network's input; R = sum R_i.
            masks: (R, S, S) from :meth:`polygon_masks` or :meth:`predicted_masks`.
            form: int64 (R,), decided by the caller so that teacher and student agree.

        Returns:
            float32 (R, C, S, S).
        """
        index = torch.cat([b.new_full((len(b), 1), i) for i, b in enumerate(boxes)])
        rois, features = torch.cat([index, torch.cat(boxes)], 1).float(), float_level(features)
        if not len(rois):
            return self.crops[-1](features, rois)

        def crop(own: torch.Tensor, shape: tuple[int, int]) -> torch.Tensor:
            return self._folded(self.crops[self.forms.index(shape)](features, rois[own]))

        return in_forms(form, self.forms, crop) * masks.unsqueeze(1)

    def polygon_masks(self, polygons: PaddedPolygons, boxes: torch.Tensor, form: torch.Tensor) -> torch.Tensor:
        """Draw ground-truth masks (R, S, S): the share of each cell that lies inside the word's polygon."""
        if not len(boxes):
            return boxes.new_zeros((0, self.side, self.side))
        return in_forms(form, self.forms, lambda own, shape: self._folded(polygons[own].coverage(boxes[own], shape)))

    def predicted_masks(self, probabilities: torch.Tensor, form: torch.Tensor, threshold: float = 0.5) -> torch.Tensor:
        """Make masks (R, S, S) from the mask head's probabilities (R, M, M) over each box."""
        binary = (probabilities > threshold).to(torch.float32)
        return in_forms(form, self.forms, lambda own, shape: self._folded(F.adaptive_avg_pool2d(binary[own], shape)))

    def _folded(self, cells: torch.Tensor) -> torch.Tensor:
        return cells.reshape(*cells.shape[:-2], self.side, self.side)
