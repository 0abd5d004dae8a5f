"""A recogniser that reads straightened strips of words, cut from the photo, instead of crops of the feature map."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from detectron2.config import configurable
from detectron2.layers import ShapeSpec
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import nn

from dld.config import configured_charset
from dld.model_zoo import find_weights
from dld.modeling.losses.recognition import attention_loss, ctc_loss
from dld.modeling.recognition.beam_search import BeamSequences, beam_search
from dld.modeling.recognition.ctc_beam_search import ctc_beam_search
from dld.modeling.recognition.decoder import AttentionDecoder
from dld.modeling.recognition.recognizer import RECOGNIZER_REGISTRY, trim
from dld.modeling.recognition.strip_network import COLUMN_WIDTH, ColumnMixer, StripBody
from dld.strips.collapsing import Characters, allowed_classes, attended, collapse
from dld.strips.heights import FORMS, LOW_ROWS
from dld.text.charset import Charset, named_charset

__all__ = [
    "HEADS",
    "StripRecognizer",
    "build_strip_recognizer",
    "charset_of_strips",
    "holds_decoder",
    "load_strip_recognizer",
    "no_decoder",
]

HEADS = ("ctc", "attention")


@RECOGNIZER_REGISTRY.register()
class StripRecognizer(nn.Module):
    """Reads strips with a convolutional body, a mixer of columns, and a CTC head or an attention decoder on the columns.

    It is for use at test: in evaluation mode and without gradients from the start. Its weights may be of any floating
    format; what it is fed takes theirs. Both heads give each character its probability, and both know the same characters.

    Args:
        charset: the characters of the heads. Class 0 is the blank of CTC and the end of the decoder.
        decoder_width: width of the attention decoder; 0: there is none.

    Attributes:
        head_name: which head :meth:`read` uses, one of `HEADS`; see :meth:`use_head`.
        low: the same network with weights that were distilled to read strips of at most `LOW_ROWS` rows; None: there are none,
            one network reads all heights.
    """

    low: StripRecognizer | None

    @configurable
    def __init__(self, *, charset: Charset, decoder_width: int = 0) -> None:
        super().__init__()
        self.low, self.head_name = None, HEADS[0]
        self.body, self.mixer = StripBody(), ColumnMixer()
        self.head = nn.Linear(COLUMN_WIDTH, charset.num_outputs)
        self.decoder = _new_decoder(charset, decoder_width) if decoder_width else None
        self.charset = charset
        self.register_buffer("charset_codes", charset.codes())
        self.register_buffer("allowed", None, persistent=False)
        self.to(memory_format=torch.channels_last)
        self.requires_grad_(False).eval()

    @classmethod
    def from_config(cls, cfg, input_shape: ShapeSpec | None = None) -> dict:
        return {"charset": configured_charset(cfg)}

    def add_decoder(self, width: int = 160) -> None:
        """Give the reader a new attention decoder of random weights, to be trained."""
        decoder = _new_decoder(self.charset, width).to(self.head.weight.device)
        self.decoder = decoder.requires_grad_(self.head.weight.requires_grad).train(self.training)

    def use_head(self, name: str) -> None:
        """Read strips of all heights with this head from now on.

        Raises:
            ValueError: an unknown name, or a decoder that is not there.
        """
        if name not in HEADS:
            raise ValueError(f"MODEL.STRIPS.HEAD must be one of {', '.join(HEADS)}, got {name!r}")
        for network, key in ((self, "WEIGHTS"), (self.low, "LOW_WEIGHTS")):
            if name == "attention" and network is not None and network.decoder is None:
                raise ValueError(no_decoder(key))
        self.head_name = name

    def compute_in(self, dtype: torch.dtype | None) -> StripRecognizer:
        """Convert all weights but the decoder's, whose recurrences add up errors, to a number format; None: leave them."""
        for network in (self, self.low):
            for part in (network.body, network.mixer, network.head) if network is not None else ():
                part.to(dtype=dtype)
        return self

    def at_rows(self, rows: int) -> StripRecognizer:
        """Return the network that reads strips of this height."""
        return self.low if self.low is not None and rows <= LOW_ROWS else self

    def columns(self, strips: torch.Tensor) -> torch.Tensor:
        """Column features (N, L, 120) of normalised strips (N, 3, H, W): H of `FORMS`, W the padded columns of that form."""
        x = self.body(strips)
        # int: a traced graph cannot pool over a size that it is told at run time, and the rows of a graph are always the same
        return self.mixer(F.avg_pool2d(x, (int(x.shape[2]), FORMS[int(strips.shape[2])].pooled)))

    def logits(self, strips: torch.Tensor) -> torch.Tensor:
        """Return CTC logits (N, L, classes), float32; of :attr:`low` for low strips."""
        network = self.at_rows(int(strips.shape[2]))
        return network.head(network.columns(strips)).float()

    def forward(self, strips: torch.Tensor, allowed: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the most probable class of every column and its probability, (N, L) each; 0 is the blank.

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

    def losses(self, columns: torch.Tensor, targets: torch.Tensor, attention_share: float = 0.0) -> dict[str, torch.Tensor]:
        """Compute `loss_ctc` and, with a decoder, `loss_attention` of R words.

        The decoder learns from columns that its gradient does not reach: it made the columns worse for both heads.

        Args:
            columns: (R, L, 120), see :meth:`columns`.
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

    @torch.no_grad()
    def beams(self, columns: torch.Tensor, k: int = 3, beam_width: int | None = None) -> BeamSequences:
        """Return the k most probable readings of columns (R, L, 120) by the head that reads.

        Only what :meth:`allow` allows; log-probabilities are of whole readings, not divided by their length, largest first; of
        all possible readings the probabilities add up to 1. (The decoder's include readings cut after L + 1 characters.)

        Args:
            columns: of this network's :meth:`columns`; for low strips ask :attr:`low`.
            beam_width: see :func:`ctc_beam_search` and :func:`beam_search`.
        """
        options = {"num_sequences": k, "beam_width": beam_width, "allowed": self.allowed}
        if self.head_name == "ctc":
            return ctc_beam_search(self.head(columns).float(), **options)
        return beam_search(self._decoder(), columns, max_length=columns.shape[1], **options)

    def _decoder(self) -> AttentionDecoder:
        assert self.decoder is not None, "use_head asks for it"
        return self.decoder

    @torch.inference_mode()
    def read(self, pixels: np.ndarray) -> list[Characters]:
        """Read pixels float32 (N, H, W, 3) as `strip_batches` makes them with the chosen head."""
        if self.head_name == "ctc":
            return collapse(*self.read_batch(pixels))
        network = self.at_rows(pixels.shape[1])
        columns = network.columns(self.strips_of(pixels))
        # a character has a column of its own, so there are no more than columns
        steps = network._decoder().greedy_with_columns(columns, columns.shape[1], allowed=self.allowed)
        return attended(*(x.cpu().numpy() for x in steps), length=columns.shape[1])

    def strips_of(self, pixels: np.ndarray) -> torch.Tensor:
        """Return pixels float32 (N, H, W, 3) as strips (N, 3, H, W) in the format of the weights, on their device."""
        weight = self.head.weight
        # a transposed view of rows of pixels is channels-last already
        return torch.from_numpy(pixels).to(weight.device, weight.dtype).permute(0, 3, 1, 2)

    @torch.inference_mode()
    def read_batch(self, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return what :meth:`forward` says of pixels as :meth:`read` takes them, in NumPy: always the head of CTC."""
        ids, probabilities = self(self.strips_of(pixels))
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
        if self.decoder is not None:
            self.decoder = _cut_decoder(self.decoder, charset, rows)
        self.head, self.charset, self.allowed = head.requires_grad_(False), charset, None
        self.charset_codes = charset.codes().to(self.charset_codes.device)


def _new_decoder(charset: Charset, width: int) -> AttentionDecoder:
    return AttentionDecoder(COLUMN_WIDTH, width, charset.num_inputs, charset.num_outputs, charset.start, charset.end)


@torch.no_grad()
def _cut_decoder(decoder: AttentionDecoder, charset: Charset, rows: list[int]) -> AttentionDecoder:
    """Return a decoder that knows the characters of `charset`, which are the classes `rows` of another, the end first."""
    state = decoder.state_dict()
    state["embedding.weight"] = state["embedding.weight"][[*rows, decoder.start]]
    for name in ("output.weight", "output.bias"):
        state[name] = state[name][rows]
    cut = _new_decoder(charset, decoder.hidden_dim).to(decoder.output.weight)
    cut.load_state_dict(state)
    return cut.requires_grad_(False).eval()


def no_decoder(key: str) -> str:
    """Return what to say where MODEL.STRIPS.HEAD asks for a decoder that the weights of MODEL.STRIPS.`key` do not hold."""
    return f"MODEL.STRIPS.HEAD attention: MODEL.STRIPS.{key} hold no attention decoder, only ctc can read"


def holds_decoder(file: str) -> bool:
    """Tell whether a file holds an attention decoder; what cannot be opened counts as if: loading it says what is wrong."""
    try:
        with safe_open(file, "pt") as weights:
            return any(name.startswith("decoder.") for name in weights.keys())  # noqa: SIM118  it is no dict
    except (OSError, SafetensorError):
        return True


def load_strip_recognizer(path: str) -> StripRecognizer:
    """Return a recogniser of strips from a .safetensors file, named as :func:`dld.model_zoo.find_weights` takes it.

    Raises:
        FileNotFoundError, ValueError: naming the file.  KeyError: no shipped weights of that name.
    """
    try:
        file = find_weights(path, readers=True)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"the reader of strips (MODEL.STRIPS.WEIGHTS): {error}") from error
    try:
        state = load_file(file)
        width = len(state.get("decoder.key.bias", ()))
        reader = StripRecognizer(charset=Charset.from_codes(state["charset_codes"]), decoder_width=width)
        reader.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in state.items()})
    except (SafetensorError, KeyError, RuntimeError, TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"{path} does not hold a reader of strips: {error}") from error
    return reader


def charset_of_strips(cfg, reader: StripRecognizer) -> Charset:
    """Return the characters that MODEL.STRIPS.CHARSET names, of those that a reader knows; if it is empty the configured ones.

    Raises:
        ValueError: an unknown name.
    """
    name = cfg.MODEL.STRIPS.CHARSET
    return named_charset(name, reader.charset.characters) if name else configured_charset(cfg)


def build_strip_recognizer(cfg) -> StripRecognizer | None:
    """Return the trained reader that MODEL.RECOGNITION.READER asks for, with the configured characters; None where it is empty.

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
    reader.keep_characters(charset_of_strips(cfg, reader))
    reader.use_head(cfg.MODEL.STRIPS.HEAD)
    reader.allow(cfg.MODEL.STRIPS.ALLOW)
    return reader
