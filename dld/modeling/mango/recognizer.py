"""The recogniser of MANGO: a feature of each character position of a word, gathered through its map, and read with the others.

N images, K cells of words, L positions, C channels of the level, D of the context feature, P cells of the level in one image.
"""

from __future__ import annotations

import torch
from torch import nn

from dld.modeling.mango.heads import tower
from dld.modeling.mango.position_decoder import PositionDecoder
from dld.modeling.recognition.encoder import BidirectionalLSTM
from dld.text.charset import Charset
from dld.utils.threads import few_words_on_one_thread

__all__ = ["FUSIONS", "PositionRecognizer"]

FUSIONS = ("mean", "sum")
# a position whose map covers less of the image than this has a feature near 0: nothing stands there
LEAST_MASS = 1e-4


class PositionRecognizer(nn.Module):
    """Convolutions on the level, the sum of their features under each position's map, two bidirectional LSTMs, a classifier.

    Args:
        channels: C.
        width: D, of the LSTMs.
        hidden_dim: of the classifier.
        charset: characters; kept as a buffer so that every checkpoint contains its own charset.
        max_length: largest number of characters in a word; L is one more.
        convs, groups: of the tower on the level, see :func:`~dld.modeling.mango.heads.tower`.
        fusion: "mean": the sum is divided by the map's mass, so that features of large and small words, and of large and small
            images, are alike; "sum": it is not, as published.

    Raises:
        ValueError: an unknown fusion, or a classifier without width.
    """

    def __init__(
        self,
        channels: int,
        width: int,
        hidden_dim: int,
        charset: Charset,
        max_length: int,
        convs: int = 4,
        groups: int = 32,
        fusion: str = "mean",
    ) -> None:
        super().__init__()
        if fusion not in FUSIONS:
            raise ValueError(f"MODEL.MANGO.FUSION must be one of {', '.join(FUSIONS)}, got {fusion!r}")
        if hidden_dim < 1:
            raise ValueError(f"MODEL.MANGO.FC_DIM must be at least 1, got {hidden_dim}")
        self.tower = tower(channels, channels, convs, groups)
        self.sequence = nn.Sequential(BidirectionalLSTM(channels, width, width), BidirectionalLSTM(width, width, width))
        self.decoder = PositionDecoder(width, hidden_dim, charset.num_outputs, charset.start, charset.end, max_length + 1)
        self.charset, self.max_length, self.fusion = charset, max_length, fusion
        self.register_buffer("charset_codes", charset.codes())

    def gather(self, maps: torch.Tensor, features: torch.Tensor) -> torch.Tensor:
        """Return the features under maps of one image, float32 (K, L, C).

        "mean" is sum(m f) / (sum(m) + e P), e = 1e-4: the maps' mass is a share of the image, which is the same at any scale.

        Args:
            maps: (K, L, P).
            features: of the tower on the level, (C, P).
        """
        K, L, P = maps.shape
        with torch.autocast(maps.device.type, enabled=False):
            total = (maps.flatten(0, 1) @ features.float().T).view(K, L, len(features))
            return total if self.fusion == "sum" else total / (maps.sum(-1, keepdim=True) + LEAST_MASS * P)

    def contextualize(self, gathered: torch.Tensor) -> torch.Tensor:
        """Run the LSTMs: (K, L, C) -> context feature float32 (K, L, D)."""
        if not len(gathered):
            unused = sum(p.sum() for p in self.sequence.parameters()) * 0 + gathered.sum() * 0
            return gathered.new_zeros(0, gathered.shape[1], self.sequence[-1].projection.out_features) + unused
        few = few_words_on_one_thread(len(gathered), gathered.device)
        with few, torch.autocast(gathered.device.type, enabled=False):
            return self.sequence(gathered.float())
