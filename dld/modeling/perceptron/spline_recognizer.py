"""The recogniser of the Text Perceptron: words straightened by a thin-plate spline on the feature map, then read as crops."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from detectron2.config import configurable
from detectron2.layers import ShapeSpec
from detectron2.structures import Instances
from torch import nn

from dld.modeling.poolers.channels_last_roi_align import float_level
from dld.modeling.recognition.annotated_strips import annotated_sides
from dld.modeling.recognition.recognizer import Photos, RecognitionFeatures, TextRecognizer
from dld.modeling.recognition.word_grids import sampling_grid, tps_grid

__all__ = ["SplinePooler", "SplineRecognizer"]


class SplinePooler(nn.Module):
    """Straightens words of a feature map to H x W, with gradients to the map and to the points of their sides.

    The spline (:func:`~dld.modeling.recognition.word_grids.tps_grid`) leaves the background outside: no mask is needed. Beyond
    the map its last cell goes on.

    Args:
        output_size: (H, W) of a crop.
        stride: image pixels per cell of the feature map.
        samples: per cell of a crop and direction, as RoIAlign takes them: a rectangle's crop is that of RoIAlign.
    """

    def __init__(self, output_size: tuple[int, int] = (8, 32), stride: int = 4, samples: int = 2) -> None:
        super().__init__()
        if samples < 1:
            raise ValueError(f"MODEL.RECOGNITION.POOLER_SAMPLING_RATIO must be at least 1 for a spline, got {samples}")
        self.output_size, self.stride, self.samples = tuple(output_size), stride, samples

    def forward(self, level: torch.Tensor, sides: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
        """Crop all words of a batch.

        Args:
            level: (N, C, H/stride, W/stride).
            sides: (R, 2, n, 2) in pixels of the network's input.
            image: int64 (R,), the image of each word.

        Returns:
            float32 (R, C, H, W).
        """
        (h, w), R, level = self.output_size, len(sides), float_level(level)
        if not R:
            # no number, but a part of the graph
            return level[:1, :, :1, :1].expand(-1, -1, h, w)[:0]
        rows, columns = h * self.samples, w * self.samples
        v, u = ((torch.arange(count, device=sides.device) + 0.5) / count for count in (rows, columns))
        size = (level.shape[2] * self.stride, level.shape[3] * self.stride)
        grid = sampling_grid(tps_grid(sides, v, u.expand(R, -1)), size)
        crops, order = [], []
        for i in image.unique().tolist():
            own = (image == i).nonzero()[:, 0]
            # all words below each other: one image, one call
            below = grid[own].view(1, len(own) * rows, columns, 2)
            out = F.grid_sample(level[i : i + 1], below, "bilinear", "border", align_corners=False)
            crops.append(out[0].view(-1, len(own), rows, columns).transpose(0, 1))
            order.append(own)
        return F.avg_pool2d(torch.cat(crops)[torch.cat(order).argsort()], self.samples)


class SplineRecognizer(TextRecognizer):
    """A :class:`~dld.modeling.recognition.recognizer.TextRecognizer` whose crops lie between the sides of words.

    The weights of one fit the other.
    """

    @configurable
    def __init__(self, **recognizer) -> None:
        super().__init__(**recognizer)

    @classmethod
    def from_config(cls, cfg, input_shape: ShapeSpec) -> dict:
        node = cfg.MODEL.RECOGNITION
        ret = super().from_config(cfg, input_shape)
        ret["pooler"] = SplinePooler(tuple(node.POOLER_RESOLUTION), input_shape.stride, node.POOLER_SAMPLING_RATIO)
        return ret

    def features_between(self, level: torch.Tensor, sides: torch.Tensor, image: torch.Tensor) -> RecognitionFeatures:
        """Compute RoI and context features; arguments as of :meth:`SplinePooler.forward`, of the finest pyramid level."""
        roi = self.pooler(self.stem(level), sides, image)
        columns = self.encoder.columns(roi)
        return RecognitionFeatures(roi, self.encoder.contextualize(columns), columns)

    def annotated_features(
        self, level: torch.Tensor, words: list[Instances], photos: Photos | None = None
    ) -> RecognitionFeatures:
        """Compute features between the annotated sides (`gt_read_sides`) of N images' words; without sides, of their boxes.

        Args:
            level: finest pyramid level.
            photos: not used.
        """
        counts = torch.tensor([len(x) for x in words])
        image = torch.repeat_interleave(torch.arange(len(words)), counts).to(level.device)
        return self.features_between(level, annotated_sides(words), image)
