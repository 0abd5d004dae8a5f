"""A recogniser that reads straightened strips of words, cut from the photo, instead of crops of the feature map."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from detectron2.config import configurable
from detectron2.layers import ShapeSpec
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from dld.config import configured_charset
from dld.model_zoo import find_weights
from dld.modeling.recognition.recognizer import RECOGNIZER_REGISTRY
from dld.modeling.recognition.strip_network import COLUMN_WIDTH, ColumnMixer, StripBody
from dld.strips.collapsing import allowed_classes
from dld.strips.heights import FORMS, LOW_ROWS
from dld.text.charset import Charset, named_charset

__all__ = ["StripRecognizer", "build_strip_recognizer", "load_strip_recognizer"]


@RECOGNIZER_REGISTRY.register()
class StripRecognizer(nn.Module):
    """Reads strips with a convolutional body, a mixer of columns and a CTC head.

    It is for use at test: in evaluation mode and without gradients from the start. Its weights may be of any floating
    format; what it is fed takes theirs.

    Args:
        charset: the characters of the head, whose class 0 is the blank.

    Attributes:
        low: the same network with weights that were distilled to read strips of at most `LOW_ROWS` rows; None: there are none,
            one network reads all heights.
    """

    low: StripRecognizer | None

    @configurable
    def __init__(self, *, charset: Charset) -> None:
        super().__init__()
        self.low = None
        self.body, self.mixer = StripBody(), ColumnMixer()
        self.head = nn.Linear(COLUMN_WIDTH, charset.num_outputs)
        self.charset = charset
        self.register_buffer("charset_codes", charset.codes())
        self.register_buffer("allowed", None, persistent=False)
        self.to(memory_format=torch.channels_last)
        self.requires_grad_(False).eval()

    @classmethod
    def from_config(cls, cfg, input_shape: ShapeSpec | None = None) -> dict:
        return {"charset": configured_charset(cfg)}

    def at_rows(self, rows: int) -> StripRecognizer:
        """The network that reads strips of this height."""
        return self.low if self.low is not None and rows <= LOW_ROWS else self

    def columns(self, strips: torch.Tensor) -> torch.Tensor:
        """Column features (N, L, 120) of normalised strips (N, 3, H, W): H of `FORMS`, W the padded columns of that form."""
        x = self.body(strips)
        # int: a traced graph cannot pool over a size that it is told at run time, and the rows of a graph are always the same
        return self.mixer(F.avg_pool2d(x, (int(x.shape[2]), FORMS[int(strips.shape[2])].pooled)))

    def logits(self, strips: torch.Tensor) -> torch.Tensor:
        """CTC logits (N, L, classes), float32; of :attr:`low` for low strips."""
        network = self.at_rows(int(strips.shape[2]))
        return network.head(network.columns(strips)).float()

    def forward(self, strips: torch.Tensor, allowed: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        """The most probable class of every column and its probability, (N, L) each; 0 is the blank.

        Args:
            strips: see :meth:`columns`.
            allowed: bool (classes,), what may be read; None: see :meth:`allow`. Probabilities are those among these classes.
        """
        logits, allowed = self.logits(strips), self.allowed if allowed is None else allowed
        if allowed is not None:
            logits = logits.masked_fill(~allowed, -torch.inf)
        probabilities, ids = logits.softmax(-1).max(-1)
        return ids, probabilities

    def allow(self, characters: str) -> None:
        """Read no other characters from now on; of an empty string: all. See :func:`allowed_classes`.

        Raises:
            ValueError: see :func:`allowed_classes`.
        """
        self.allowed = None
        if characters:
            allowed = allowed_classes(characters, self.charset.characters)
            self.allowed = torch.from_numpy(allowed).to(self.head.weight.device)

    @torch.inference_mode()
    def read_batch(self, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """:meth:`forward` of pixels float32 (N, H, W, 3) as `strip_batches` makes them, from and to NumPy."""
        weight = self.head.weight
        # a transposed view of rows of pixels is channels-last already
        strips = torch.from_numpy(pixels).to(weight.device, weight.dtype).permute(0, 3, 1, 2)
        ids, probabilities = self(strips)
        return ids.cpu().numpy(), probabilities.cpu().numpy()

    @property
    def allowed_characters(self) -> str:
        """What :meth:`allow` was told; empty: everything."""
        if self.allowed is None:
            return ""
        return "".join(c for c, kept in zip(self.charset.characters, self.allowed[1:].tolist(), strict=True) if kept)

    def keep_characters(self, charset: Charset) -> None:
        """Cut the heads to the characters of another charset, in its order.

        Raises:
            ValueError: it has characters that the head does not know.
        """
        if self.low is not None:
            self.low.keep_characters(charset)
        known = {c: i + 1 for i, c in enumerate(self.charset.characters)}
        missing = [c for c in charset.characters if c not in known]
        if missing:
            raise ValueError(
                f"the reader of strips knows no {' '.join(missing[:8])!r} ({len(missing)} of {len(charset)} characters): "
                "MODEL.RECOGNITION.READER '' reads with the trained recogniser instead"
            )
        rows = [Charset.end, *(known[c] for c in charset.characters)]
        head = nn.Linear(COLUMN_WIDTH, charset.num_outputs, device=self.head.weight.device, dtype=self.head.weight.dtype)
        head.weight.data.copy_(self.head.weight.data[rows])
        head.bias.data.copy_(self.head.bias.data[rows])
        self.head, self.charset, self.allowed = head.requires_grad_(False), charset, None
        self.charset_codes = charset.codes().to(self.charset_codes.device)


def load_strip_recognizer(path: str) -> StripRecognizer:
    """A recogniser of strips from a .safetensors file, named as :func:`dld.model_zoo.find_weights` takes it.

    Raises:
        FileNotFoundError, ValueError: naming the file.  KeyError: no shipped weights of that name.
    """
    try:
        file = find_weights(path, readers=True)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"the reader of strips (MODEL.STRIPS.WEIGHTS): {error}") from error
    try:
        state = load_file(file)
        reader = StripRecognizer(charset=Charset.from_codes(state["charset_codes"]))
        reader.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in state.items()})
    except (SafetensorError, KeyError, RuntimeError, TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"{path} does not hold a reader of strips: {error}") from error
    return reader


def build_strip_recognizer(cfg) -> StripRecognizer | None:
    """The trained reader that MODEL.RECOGNITION.READER asks for, with the configured characters; None where it is empty.

    Raises:
        ValueError: an unknown reader, or characters that it does not know.  FileNotFoundError, KeyError: its weights.
    """
    name = cfg.MODEL.RECOGNITION.READER
    if not name:
        return None
    if name != StripRecognizer.__name__:
        raise ValueError(f"MODEL.RECOGNITION.READER must be {StripRecognizer.__name__} or empty, got {name!r}")
    reader = load_strip_recognizer(cfg.MODEL.STRIPS.WEIGHTS)
    if cfg.MODEL.STRIPS.LOW_WEIGHTS and min(cfg.MODEL.STRIPS.ROWS, default=LOW_ROWS + 1) <= LOW_ROWS:
        reader.low = load_strip_recognizer(cfg.MODEL.STRIPS.LOW_WEIGHTS)
    name = cfg.MODEL.STRIPS.CHARSET
    reader.keep_characters(named_charset(name, reader.charset.characters) if name else configured_charset(cfg))
    reader.allow(cfg.MODEL.STRIPS.ALLOW)
    return reader
