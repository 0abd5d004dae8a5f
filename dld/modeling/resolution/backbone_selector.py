"""A selector whose eyes are the teacher's: the first stages of its backbone know text before the first step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from detectron2.config import configurable
from detectron2.layers import ShapeSpec
from detectron2.modeling.backbone import BACKBONE_REGISTRY
from torch import nn

from dld.modeling.resolution.rescale import rescale_images
from dld.modeling.resolution.selector import SELECTOR_REGISTRY, check_scales

__all__ = ["BackboneSelector", "early_stages"]


def early_stages(cfg, levels: int) -> tuple[nn.Module, tuple[str, ...]]:
    """The spotter's bottom-up network up to MODEL.SELECTOR.LEVEL, untrained, and the names of its last `levels` levels.

    Raises:
        ValueError: there is no such level, or not as many up to it.
    """
    name = cfg.MODEL.SELECTOR.LEVEL
    body = BACKBONE_REGISTRY.get(cfg.MODEL.BACKBONE.NAME)(cfg, ShapeSpec(channels=len(cfg.MODEL.PIXEL_MEAN))).bottom_up
    known = list(body.stage_names)
    if name not in known[levels - 1 :]:
        raise ValueError(f"MODEL.SELECTOR.LEVEL must be one of {known[levels - 1 :]}, got {name!r}")
    last = known.index(name) + 1
    for later in known[last:]:
        delattr(body, later)
    body.stages, body.stage_names = body.stages[:last], body.stage_names[:last]
    kept = tuple(known[last - levels : last])
    body._out_features = list(kept)
    return body, kept


@SELECTOR_REGISTRY.register()
class BackboneSelector(nn.Module):
    """Scores of the candidate scales from early backbone features of a reduced copy of the image.

    Stem and first stages of the spotter's own bottom-up network, then mean and maximum over the image, then two linear
    layers. Its batch norm keeps the teacher's statistics, so scores do not depend on the batch; the images of one call
    must be of one size, since padding would be seen (:meth:`forward` runs each size apart).

    Args:
        body: bottom-up network with one output level.
        level: name of that level.
        scales: candidate scales s_i in (0, 1], ascending.
        hidden: width of the layer between pooling and scores.
        input_scale: reduction of the image, in (0, 1].
    """

    @configurable
    def __init__(
        self, *, body: nn.Module, level: str, scales: Sequence[float], hidden: int = 64, input_scale: float = 0.375
    ) -> None:
        super().__init__()
        check_scales(scales, input_scale)
        self.body, self.level = body, level
        # number format of the convolutions at test, as the spotter's; None: float32, as always in training
        self.inference_dtype: torch.dtype | None = None
        self.scales, self.input_scale = tuple(float(s) for s in scales), input_scale
        channels = body.output_shape()[level].channels
        self.head = nn.Sequential(nn.Linear(2 * channels, hidden), nn.ReLU(), nn.Linear(hidden, len(self.scales)))
        # every scale is equally likely at the start
        nn.init.zeros_(self.head[-1].weight)
        nn.init.zeros_(self.head[-1].bias)

    @classmethod
    def from_config(cls, cfg) -> dict:
        node = cfg.MODEL.SELECTOR
        body, (level,) = early_stages(cfg, 1)
        return {"body": body, "level": level, "scales": tuple(node.SCALES), "input_scale": node.INPUT_SCALE}

    def train(self, mode: bool = True) -> BackboneSelector:
        """Training mode, batch norm excepted."""
        super().train(mode)
        for m in self.body.modules():
            if isinstance(m, nn.modules.batchnorm._BatchNorm):
                m.eval()
        return self

    def start_from(self, bottom_up: Mapping[str, torch.Tensor]) -> None:
        """Copy the stages it has from a spotter's bottom-up network.

        Raises:
            KeyError: that network lacks one of them.
        """
        own = self.body.state_dict()
        missing = [name for name in own if name not in bottom_up]
        if missing:
            raise KeyError(f"the teacher's backbone lacks {missing[0]} and {len(missing) - 1} more of the selector's")
        self.body.load_state_dict({name: bottom_up[name] for name in own})

    def forward(self, images: torch.Tensor, image_sizes: Sequence[tuple[int, int]]) -> torch.Tensor:
        """Logits float32 (N, S); arguments as in :class:`~dld.modeling.resolution.selector.ResolutionSelector`."""
        logits: list[torch.Tensor | None] = [None] * len(image_sizes)
        reduced = self.inference_dtype is not None and not self.training
        with torch.autocast(images.device.type, self.inference_dtype, enabled=reduced):
            for members, pixels in self.by_size(images, image_sizes):
                scores = self.scores_of(self.body(rescale_images(pixels, self.input_scale, 1).tensor))
                for i, row in zip(members, scores, strict=True):
                    logits[i] = row
        return torch.stack(logits)

    def scores_of(self, features: dict[str, torch.Tensor]) -> torch.Tensor:
        """Logits (N, S) from the features of images of one size."""
        x = features[self.level].float()
        return self.head(torch.cat([x.mean((2, 3)), x.amax((2, 3))], 1))

    @staticmethod
    def by_size(images: torch.Tensor, image_sizes: Sequence[tuple[int, int]]):
        """Positions of the images of each size, and their unpadded pixels."""
        for size in dict.fromkeys(image_sizes):
            members = [i for i, other in enumerate(image_sizes) if other == size]
            yield members, [images[i, :, : size[0], : size[1]] for i in members]
