"""The part of the strip recogniser that is trained with a spotter: annotated words as strips of the photos, and their losses.

N images, R words, n points of a side, L columns, C channels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from detectron2.structures import Instances
from torch import nn

from dld.modeling.losses.recognition import attention_loss, ctc_loss
from dld.modeling.recognition.decoder import AttentionDecoder
from dld.modeling.recognition.recognizer import KeepsLayers, Photos, RecognitionFeatures, join_features, trim
from dld.modeling.recognition.strip_encoder import StripEncoder
from dld.modeling.recognition.strip_network import ColumnMixer
from dld.modeling.recognition.word_strips import WordStrips
from dld.modeling.sampling import random_numbers_of
from dld.strips.cutting import strip_widths, word_heights
from dld.strips.grouping import padded_widths
from dld.strips.heights import FORMS, STRIP_ROWS, checked_rows
from dld.text.charset import Charset

__all__ = ["AnnotatedStrips", "annotated_sides"]

# heights are drawn from another stream of an image than its anchors and proposals
_HEIGHTS = 0x57_21_95


class AnnotatedStrips(KeepsLayers, nn.Module):
    """Reads annotated words for :class:`~dld.modeling.roi_heads.text_roi_heads.TextROIHeads`; a base of `StripRecognizer`.

    Args:
        max_length: largest number of characters in a word.
        ctc_weight, loss_weight: of the CTC loss beside that of the decoder, and of both.
        attention_share: of the decoder's gradient that reaches the columns.
        train_rows: heights of strips in training, of which one is drawn for each image; at test it is 48.
        pixel_mean, pixel_std: of the images' normalisation, BGR.
        straightening: see :class:`WordStrips`.
    """

    reads_strips = True
    charset: Charset
    body: StripEncoder
    mixer: ColumnMixer
    head: nn.Linear
    decoder: AttentionDecoder | None

    def __init__(
        self,
        *,
        max_length: int = 32,
        ctc_weight: float = 1.0,
        loss_weight: float = 1.0,
        attention_share: float = 0.0,
        train_rows: Sequence[int] = (STRIP_ROWS,),
        pixel_mean: Sequence[float] = (127.5, 127.5, 127.5),
        pixel_std: Sequence[float] = (127.5, 127.5, 127.5),
        straightening: str = "blend",
    ) -> None:
        super().__init__()
        self.max_length, self.ctc_weight, self.loss_weight = max_length, ctc_weight, loss_weight
        self.attention_share, self.straightening = attention_share, straightening
        self.train_rows = checked_rows(train_rows, "MODEL.STRIPS.TRAINING.ROWS")
        self.told_rows: int | None = None
        # from the values of the images to those of strips, x / 127.5 - 1
        mean, std = (torch.tensor(list(x), dtype=torch.float32).view(-1, 1, 1) for x in (pixel_mean, pixel_std))
        self.register_buffer("gain", std / 127.5, persistent=False)
        self.register_buffer("shift", mean / 127.5 - 1, persistent=False)

    def annotated_features(
        self, level: torch.Tensor | None, words: list[Instances], photos: Photos | None
    ) -> RecognitionFeatures:
        """Compute the features of annotated words at one height an image.

        Args:
            level: not used, for strips are of the photos.
            words: of each image; those of `photos` are cut.
            photos: with `gt_read_sides` (PaddedPolygons (R, 2n, 2)) of each word, see
                :func:`~dld.data.dataset_mapper.words_to_instances`.

        Returns:
            `roi` (R, C, 1, L), the columns of the convolutional body, and `context` (R, L, C), the mixed ones. Of words of
            different lengths L is that of the longest; the last column of shorter ones is repeated.

        Raises:
            ValueError: there are no photos, or their words have no sides.
        """
        if photos is None:
            raise ValueError("strips are cut from photos, and none were given")
        sides = annotated_sides(photos.words)
        counts = [len(x) for x in photos.words]
        image = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts)).to(sides.device)
        if not len(sides):
            return self._features_of(sides.new_zeros(0, 3, STRIP_ROWS, 8))
        rows = torch.tensor(self._drawn_rows(photos.seeds, len(counts)), device=sides.device)[image]
        points = sides.cpu().double().numpy()
        widths = strip_widths(points, word_heights(points))
        padded = torch.from_numpy(padded_widths(widths)).to(sides.device)
        columns = torch.from_numpy(widths).to(sides.device)
        strips = WordStrips(photos.images.tensor.float(), photos.images.image_sizes, how=self.straightening)
        parts, order = [], []
        for height, width in torch.stack([rows, padded], 1).unique(dim=0).tolist():
            alike = ((rows == height) & (padded == width)).nonzero()[:, 0]
            pixels, own = strips.cut(sides[alike], image[alike], columns[alike], height, width)
            pixels = (pixels * self.gain + self.shift).clamp(-1, 1) * own[:, None, None]
            parts.append(self._features_of(pixels))
            order.append(alike)
        back = torch.cat(order).argsort()
        return join_features(parts).at(back)

    def _features_of(self, strips: torch.Tensor) -> RecognitionFeatures:
        if self.keeps_layers:
            crops = tuple(_pooled(x, strips) for x in self.body.last_layers(strips))
            columns = self.mixer.layers(crops[-1])
            return RecognitionFeatures(crops[-1], columns[-1], layers={"crops": crops, "columns": columns})
        body = self.body_columns(strips)
        return RecognitionFeatures(body, self.mixer(body))

    def body_columns(self, strips: torch.Tensor) -> torch.Tensor:
        """Return features (N, 384, 1, L) of the convolutional body, each the mean of a column of strips (N, 3, H, W)."""
        return _pooled(self.body(strips), strips)

    @property
    def layer_groups(self) -> dict[str, tuple[int, int]]:
        """Number of layers and channels of each group of `RecognitionFeatures.layers`: "crops", (R, C, 1, L) of the encoder's
        layers of one shape, and "columns", (R, L, C) of the mixer's."""
        return {"crops": self.body.last_layer_group, "columns": self.mixer.layer_group}

    def losses_from(self, group: str, features: torch.Tensor, targets: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return :meth:`losses` where the last layer of a group, "crops" or "columns", gave these features.

        The mixer sees the repeated columns at the end of shorter words, which strips of the width of each word have not.
        """
        context = self.mixer(features) if group == "crops" else features
        return self.losses(RecognitionFeatures(features, context), targets)

    def _drawn_rows(self, seeds: Sequence[int | None] | None, images: int) -> list[int]:
        """Draw the height of each image's strips, if none was told; at test it is the largest there is."""
        if self.told_rows is not None:
            return [self.told_rows] * images
        if not self.training:
            return [STRIP_ROWS] * images
        drawn = []
        for seed in seeds or [None] * images:
            with random_numbers_of(None if seed is None else seed ^ _HEIGHTS, torch.device("cpu")):
                drawn.append(self.train_rows[int(torch.randint(len(self.train_rows), ()))])
        return drawn

    @contextmanager
    def at_height(self, rows: int) -> Iterator[None]:
        """Read annotated words at this height meanwhile, in training, too."""
        self.told_rows = rows
        try:
            yield
        finally:
            self.told_rows = None

    @property
    def ctc_head(self) -> nn.Module:
        """The linear head on the columns."""
        return self.head

    def ctc_logits(self, features: RecognitionFeatures) -> torch.Tensor:
        """Compute CTC logits float32 (R, L, V), class 0 the blank."""
        return self.head(features.context).float()

    def losses(self, features: RecognitionFeatures, targets: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return `loss_ctc` and, with a decoder, `loss_rec`, of the features of R words against ids (R, T)."""
        found = self.column_losses(features.context, targets, self.attention_share)
        losses = {"loss_ctc": self.ctc_weight * found["loss_ctc"]}
        if "loss_attention" in found:
            losses["loss_rec"] = found["loss_attention"]
        return {name: self.loss_weight * value for name, value in losses.items()}

    def column_losses(
        self, columns: torch.Tensor, targets: torch.Tensor, attention_share: float = 0.0
    ) -> dict[str, torch.Tensor]:
        """Compute `loss_ctc` and, with a decoder, `loss_attention` of R words.

        The decoder learns from columns that its gradient does not reach: it made the columns worse for both heads.

        Args:
            columns: (R, L, 120), see :meth:`StripRecognizer.columns`.
            targets: ids (R, T) as `Charset.encode` gives them.
            attention_share: share of the decoder's gradient that does reach the columns, 0 to 1.
        """
        charset, targets = self.charset, trim(targets, self.charset.pad)
        losses = {"loss_ctc": ctc_loss(self.head(columns).float(), targets, charset.pad, charset.end)}
        if self.decoder is not None:
            cut = columns.detach()
            seen = cut + attention_share * (columns - cut) if attention_share else cut
            losses["loss_attention"] = attention_loss(self.decoder(seen, targets), targets, charset.pad)
        return losses


def _pooled(features: torch.Tensor, strips: torch.Tensor) -> torch.Tensor:
    # int: a traced graph cannot pool over a size that it is told at run time, and the rows of a graph are always the same
    return F.avg_pool2d(features, (int(features.shape[2]), FORMS[int(strips.shape[2])].pooled))


def annotated_sides(words: Sequence[Instances], field: str = "gt_read_sides") -> torch.Tensor:
    """Return the sides of annotated words, float32 (R, 2, n, 2); for a word without sides those of its box.

    Args:
        field: "gt_read_sides", or "gt_fiducials", which are not moved.

    Raises:
        ValueError: the words have no field for them.
    """
    if not all(x.has(field) for x in words):
        raise ValueError("words have no sides: INPUT.SIDE_POINTS must be at least 2 where strips are read")
    # an image without words does not know how many points a side has
    points = [x.get(field).points for x in words if len(x)] or [words[0].get(field).points]
    sides = torch.cat([p.view(len(p), 2, p.shape[1] // 2, 2) for p in points]).float()
    boxes = torch.cat([x.gt_boxes.tensor for x in words])
    share = torch.linspace(0, 1, sides.shape[2], device=sides.device)
    x = boxes[:, :1] + (boxes[:, 2:3] - boxes[:, :1]) * share
    level = torch.stack([torch.stack([x, boxes[:, k : k + 1].expand_as(x)], -1) for k in (1, 3)], 1)
    known = sides.isfinite().all(3).all(2).all(1)
    return torch.where(known[:, None, None, None], sides, level)
