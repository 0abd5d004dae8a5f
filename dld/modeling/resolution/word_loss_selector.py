"""A selector that finds the words first: where they are, and what each of them loses at every scale.

What one scale loses on an image is a sum over its words, and each word is a lesson of its own. A selector that is shown only
the sum must find out by itself what in the picture it came from, for which hundreds of images are not enough.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from detectron2.config import configurable
from detectron2.structures import ImageList
from torch import nn

from dld.modeling.losses.word_maps import WordMaps, word_map_targets, word_maps_loss
from dld.modeling.resolution.backbone_selector import BackboneSelector, early_stages
from dld.modeling.resolution.rescale import rescale_images
from dld.modeling.resolution.scale_comparison import ScaleComparison
from dld.modeling.resolution.selector import SELECTOR_REGISTRY
from dld.modeling.resolution.selector_losses import draw_scales

__all__ = ["WORD_LOSSES", "WordLossSelector"]

WORD_LOSSES = ("reading", "spotting")


@SELECTOR_REGISTRY.register()
class WordLossSelector(BackboneSelector):
    """Maps of the density of readable words and of their loss at each candidate scale, from early backbone features.

    The density map is that of counting by regression (Lempitsky and Zisserman 2010): its sum over any region is the number
    of words there. Density times loss, summed over the image, is what a scale is expected to lose on it. The scores are
    that sum, negative, in units of `words_per_image` x `temperature`; the cost has no part in them, so one selector serves
    every gamma: the choice is argmax_i (z_i - mu c_i) with mu = gamma / temperature.

    Args:
        body: bottom-up network with two output levels, of strides 4 and 8 or the like.
        levels: their names, the finer first; the maps have the size of the second.
        hidden: channels of the two layers before the maps.
        words_per_image: number of words by which the loss of an image is divided. Gamma weighs the cost against the result,
            so every word has the same weight. A mean over each image's words would give the only word of one image the weight
            of all words of another.
        temperature: unit of the scores.
        word_loss: "reading", how much less probable a word's text is for the student than for its teacher; "spotting", the
            same, but words that the student no longer finds count as lost. This needs its detection at every scale.
        common: see :class:`~dld.modeling.resolution.selector.ScaleSelector`.

    Raises:
        ValueError: `word_loss` is unknown, or a number is not above 0.
    """

    @configurable
    def __init__(
        self,
        *,
        body: nn.Module,
        levels: tuple[str, str],
        hidden: int = 48,
        words_per_image: float = 4.0,
        temperature: float = 0.1,
        word_loss: str = "reading",
        **common,
    ) -> None:
        super().__init__(body=body, level=levels[1], hidden=hidden, **common)
        if words_per_image <= 0 or temperature <= 0:
            raise ValueError(
                f"MODEL.SELECTOR.WORDS.PER_IMAGE and TARGET_TEMPERATURE must be above 0, got {words_per_image}, {temperature}"
            )
        if word_loss not in WORD_LOSSES:
            raise ValueError(f"MODEL.SELECTOR.WORDS.LOSS must be one of {', '.join(WORD_LOSSES)}, got {word_loss!r}")
        self.word_loss = word_loss
        self.levels, self.words_per_image, self.temperature = tuple(levels), words_per_image, temperature
        self.words_per_score = words_per_image * temperature
        fine, coarse = (body.output_shape()[name].channels for name in levels)
        self.fine = nn.Conv2d(fine, hidden, 3, stride=2, padding=1)
        self.coarse = nn.Conv2d(coarse, hidden, 1)
        self.mix = nn.Conv2d(hidden, hidden, 3, padding=1)
        self.head = nn.Conv2d(hidden, 1 + len(self.scales), 1)
        for conv in (self.fine, self.coarse, self.mix):
            nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
            nn.init.zeros_(conv.bias)
        nn.init.normal_(self.head.weight, std=0.01)
        # few cells contain a word, and the loss of a word is a fraction
        nn.init.constant_(self.head.bias[:1], -4.0)
        nn.init.constant_(self.head.bias[1:], -1.0)

    @classmethod
    def from_config(cls, cfg) -> dict:
        node = cfg.MODEL.SELECTOR.WORDS
        body, levels = early_stages(cfg, node.LEVEL, 2)
        return {
            **cls.common_arguments(cfg),
            "body": body,
            "levels": levels,
            "words_per_image": node.PER_IMAGE,
            "temperature": node.TARGET_TEMPERATURE,
            "word_loss": node.LOSS,
        }

    @property
    def mu(self) -> float:
        """Weight of the cost in these scores: gamma in their unit."""
        return self.gamma / self.temperature

    def learn(
        self, batch: ImageList, comparison: ScaleComparison, generators: list[torch.Generator] | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Compute loss and scales, see :class:`~dld.modeling.resolution.selector.ScaleSelector`; maps learn from each word."""
        with torch.autocast(batch.device.type, enabled=False):
            maps = self.maps(batch.tensor, batch.image_sizes)
            targets = [
                word_map_targets(x.boxes, x.loss, size, tuple(m.density.shape))
                for x, m, size in zip(comparison.words, maps, batch.image_sizes, strict=True)
            ]
            loss = word_maps_loss(maps, targets, self.words_per_image)
            logits = self.scores_of_totals(torch.stack([m.total() for m in maps])).detach()
        return loss, draw_scales(logits - self.mu * comparison.cost, generators, self.uniform_share)

    def risk(self, comparison: ScaleComparison) -> torch.Tensor:
        lost = torch.stack([x.loss.sum(0) for x in comparison.words]) / self.words_per_image
        return lost.float() + self.gamma * comparison.cost

    def maps(self, images: torch.Tensor, image_sizes: Sequence[tuple[int, int]]) -> list[WordMaps]:
        """Compute the maps of every image; arguments as in :meth:`forward`."""
        found: list[WordMaps | None] = [None] * len(image_sizes)
        for members, pixels in self.by_size(images, image_sizes):
            density, losses = self._heads(self.body(rescale_images(pixels, self.input_scale, 1).tensor))
            for k, i in enumerate(members):
                found[i] = WordMaps(density[k], losses[k])
        return found

    def scores_of(self, features: dict[str, torch.Tensor]) -> torch.Tensor:
        """Compute logits (N, S) from the features of images of one size."""
        density, losses = self._heads(features)
        return self.scores_of_totals((density.unsqueeze(1) * losses).sum((2, 3)))

    def scores_of_totals(self, totals: torch.Tensor) -> torch.Tensor:
        """Compute logits (N, S) from the loss of every scale on each image, summed over its words (N, S)."""
        return -totals / self.words_per_score

    def _heads(self, features: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """Compute density (N, h, w) and losses (N, S, h, w)."""
        fine, coarse = (features[name] for name in self.levels)
        x = F.relu(self.fine(fine) + self.coarse(coarse))
        x = F.softplus(self.head(F.relu(self.mix(x))).float())
        return x[:, 0], x[:, 1:]
