"""RoI masking: the crop of a word's box, multiplied by the word's mask and, for tall words, transposed to lie down."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from dld.modeling.poolers.channels_last_roi_align import ChannelsLastRoIAlign, float_level
from dld.structures.padded_polygons import PaddedPolygons

__all__ = ["MaskedRoIPooler"]


class MaskedRoIPooler(nn.Module):
    """Crops words out of one feature map to H x W and multiplies them by their masks.

    Tall words are cropped to W x H and transposed, so that their letters follow one another along W.

    Args:
        output_size: (H, W) of a crop.
        stride: image pixels per cell of the feature map.
        sampling_ratio: RoIAlign samples per bin and direction.
    """

    def __init__(self, output_size: tuple[int, int] = (8, 32), stride: int = 4, sampling_ratio: int = 2) -> None:
        super().__init__()
        H, W = output_size
        self.output_size = (H, W)
        self.lying = ChannelsLastRoIAlign((H, W), 1.0 / stride, sampling_ratio, aligned=True)
        self.standing = ChannelsLastRoIAlign((W, H), 1.0 / stride, sampling_ratio, aligned=True)

    def forward(
        self, features: torch.Tensor, boxes: list[torch.Tensor], masks: torch.Tensor, tall: torch.Tensor
    ) -> torch.Tensor:
        """Crop all words of a batch.

        Args:
            features: (N, C, H/stride, W/stride).
            boxes: N tensors (R_i, 4) in pixels of the network's input; R = sum R_i.
            masks: (R, H, W) from :meth:`polygon_masks` or :meth:`predicted_masks`.
            tall: bool (R,), which words are transposed; decided by the caller so that teacher and student agree.

        Returns:
            (R, C, H, W).
        """
        index = torch.cat([b.new_full((len(b), 1), i) for i, b in enumerate(boxes)])
        features = float_level(features)
        rois = torch.cat([index, torch.cat(boxes)], 1).float()
        order = torch.argsort(tall.to(torch.uint8), stable=True)
        count = int((~tall).sum())
        crops = self.lying(features, rois[order[:count]])
        if count < len(rois):
            crops = torch.cat([crops, self.standing(features, rois[order[count:]]).transpose(2, 3)])
            crops = crops[torch.argsort(order)]
        return crops * masks.unsqueeze(1).to(crops.dtype)

    def polygon_masks(self, polygons: PaddedPolygons, boxes: torch.Tensor, tall: torch.Tensor) -> torch.Tensor:
        """Draw ground-truth masks (R, H, W): the share of each cell that lies inside the word's polygon."""
        H, W = self.output_size
        masks = polygons.coverage(boxes, (H, W))
        if bool(tall.any()):
            standing = polygons.coverage(boxes, (W, H)).transpose(1, 2)
            masks = torch.where(tall[:, None, None], standing, masks)
        return masks

    def predicted_masks(self, probabilities: torch.Tensor, tall: torch.Tensor, threshold: float = 0.5) -> torch.Tensor:
        """Make masks (R, H, W) from the mask head's probabilities (R, M, M) over each box."""
        binary = (probabilities > threshold).to(torch.float32)
        # transposing the square mask turns a vertical word into a horizontal one
        binary = torch.where(tall[:, None, None], binary.transpose(1, 2), binary)
        return F.adaptive_avg_pool2d(binary.unsqueeze(1), self.output_size).squeeze(1)
