"""Recognition encoder, from the RoI features of a word to a row of context features."""

from __future__ import annotations

import torch
from detectron2.layers import Conv2d, get_norm
from torch import nn

from dld.utils.threads import few_words_on_one_thread

__all__ = ["Layers", "RecognitionEncoder", "RecurrentEncoder"]

# outputs of a recogniser's layers for R words by group, (R, ...) each, the shallowest first; all of a group have one shape
Layers = dict[str, tuple[torch.Tensor, ...]]


def conv_norm_relu(in_channels: int, out_channels: int, norm: str, kernel: int = 3, **conv) -> nn.Sequential:
    """Build convolution, normalisation and ReLU; the convolution has a bias only if there is no norm."""
    return nn.Sequential(
        Conv2d(in_channels, out_channels, kernel, bias=not norm, **conv),
        get_norm(norm, out_channels) or nn.Identity(),
        nn.ReLU(inplace=True),
    )


class BidirectionalLSTM(nn.Module):
    """LSTM in both directions and a projection: (R, L, in_dim) -> (R, L, out_dim)."""

    def __init__(self, in_dim: int, hidden_dim: int, out_dim: int) -> None:
        super().__init__()
        self.rnn = nn.LSTM(in_dim, hidden_dim, bidirectional=True, batch_first=True)
        self.projection = nn.Linear(2 * hidden_dim, out_dim)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.projection(self.rnn(x)[0])


class RecurrentEncoder(nn.Module):
    """What encoders have behind their columns.

    Attributes:
        sequence: bidirectional LSTMs.
    """

    sequence: nn.Sequential

    def contextualize(self, columns: torch.Tensor) -> torch.Tensor:
        """Run the recurrent part: columns (R, L, width) -> context feature (R, L, width), float32."""
        if not len(columns):
            return columns + sum(p.sum() for p in self.sequence.parameters()) * 0
        few = few_words_on_one_thread(len(columns), columns.device)
        with few, torch.autocast(columns.device.type, enabled=False):
            return self.sequence(columns.float())


class RecognitionEncoder(RecurrentEncoder):
    """Four 3x3 convolutions, reduction of the height from 8 to 1, two bidirectional LSTMs (as in the paper's base spotter).

    Crops of 8 x 32 become L = 33 columns: max-pooling 8 -> 4 rows (its padding adds one column), then two 2x2
    convolutions 4 -> 2 -> 1.

    Args:
        in_channels: channels of the RoI features.
        width: channels of every layer and of the context feature.
        norm: detectron2 name of the normalisation ("BN", "GN", "FrozenBN", "SyncBN", "naiveSyncBN").
        num_convs: 3x3 convolutions before the pooling.

    Attributes:
        layer_groups: number of layers and channels of each group of :meth:`layers`.
    """

    def __init__(self, in_channels: int, width: int, norm: str = "BN", num_convs: int = 4) -> None:
        super().__init__()
        self.convs = nn.Sequential(
            *(conv_norm_relu(in_channels if i == 0 else width, width, norm, padding=1) for i in range(num_convs))
        )
        self.squeeze = nn.Sequential(
            nn.MaxPool2d(kernel_size=2, stride=(2, 1), padding=(0, 1)),
            conv_norm_relu(width, width, norm, kernel=2, stride=(2, 1), padding=(0, 1)),
            conv_norm_relu(width, width, norm, kernel=2, stride=(2, 1)),
        )
        self.sequence = nn.Sequential(BidirectionalLSTM(width, width, width), BidirectionalLSTM(width, width, width))
        self.width = width
        self.layer_groups = {"crops": (num_convs, width), "columns": (1 + len(self.sequence), width)}

    def columns(self, roi_features: torch.Tensor) -> torch.Tensor:
        """Run the convolutional part: (R, C, H, W) -> (R, W + 1, width), float32; each column sees its own neighbourhood."""
        if not len(roi_features):
            # batch norm cannot run on an empty batch; the sums keep the graph complete for distributed training
            convolutions = [*self.convs.parameters(), *self.squeeze.parameters()]
            unused = sum(p.sum() for p in convolutions) * 0 + roi_features.sum() * 0
            return roi_features.new_zeros((0, roi_features.shape[3] + 1, self.width), dtype=torch.float32) + unused
        return self._squeezed(self.convs(roi_features))

    def _squeezed(self, crops: torch.Tensor) -> torch.Tensor:
        return self.squeeze(crops).squeeze(2).transpose(1, 2).float()

    def columns_of_crops(self, crops: torch.Tensor) -> torch.Tensor:
        """Run what follows the 3x3 convolutions: (R, width, H, W) -> (R, W + 1, width), float32."""
        if not len(crops):
            unused = sum(p.sum() for p in self.squeeze.parameters()) * 0 + crops.sum() * 0
            return crops.new_zeros((0, crops.shape[3] + 1, self.width), dtype=torch.float32) + unused
        return self._squeezed(crops)

    def layers(self, roi_features: torch.Tensor) -> Layers:
        """Return what every layer makes of (R, C, H, W), the shallowest first; the numbers are those of :meth:`forward`.

        Returns:
            "crops", (R, width, H, W) of each 3x3 convolution; "columns", float32 (R, W + 1, width) of the convolutional part
            and of each LSTM. The last of them is the context feature.
        """
        crops = []
        if len(roi_features):
            x = roi_features
            for conv in self.convs:
                x = conv(x)
                crops.append(x)
            columns = self._squeezed(x)
        else:
            columns = self.columns(roi_features)
            H, W = roi_features.shape[2:]
            crops = [columns.new_zeros((0, self.width, H, W)) + columns.sum() for _ in self.convs]
        rows = [columns]
        if len(columns):
            few = few_words_on_one_thread(len(columns), columns.device)
            with few, torch.autocast(columns.device.type, enabled=False):
                for lstm in self.sequence:
                    rows.append(lstm(rows[-1].float()))
        else:
            rows += [self.contextualize(columns)] * len(self.sequence)
        return {"crops": tuple(crops), "columns": tuple(rows)}

    def forward(self, roi_features: torch.Tensor) -> torch.Tensor:
        """Encode (R, C, H, W) -> context feature (R, W + 1, width), float32."""
        return self.contextualize(self.columns(roi_features))
