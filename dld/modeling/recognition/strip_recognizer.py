"""A recogniser that reads straightened strips of words, cut from the photo, instead of crops of the feature map."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from detectron2.config import configurable
from detectron2.layers import ShapeSpec
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import nn
from yaml import YAMLError

from dld.config import configured_charset
from dld.model_zoo import find_weights
from dld.modeling.recognition.annotated_strips import AnnotatedStrips
from dld.modeling.recognition.beam_search import BeamSequences, beam_search
from dld.modeling.recognition.column_decoder import ColumnDecoder
from dld.modeling.recognition.ctc_beam_search import ctc_beam_search
from dld.modeling.recognition.decoder import AttentionDecoder
from dld.modeling.recognition.joint_reading import joint_beams, read_jointly
from dld.modeling.recognition.recognizer import RECOGNIZER_REGISTRY
from dld.modeling.recognition.strip_encoder import (
    DEFAULT_ENCODER,
    StripEncoder,
    build_strip_encoder,
    described_encoder,
    encoder_description,
    named_encoder,
    start_encoder,
)
from dld.modeling.recognition.strip_network import COLUMN_WIDTH, ColumnMixer, StripBody
from dld.strips.collapsing import Characters, allowed_classes, attended, collapse
from dld.strips.heights import LOW_ROWS, checked_rows
from dld.text.charset import Charset, named_charset

__all__ = [
    "HEADS",
    "StripRecognizer",
    "build_strip_recognizer",
    "charset_of_strips",
    "holds_decoder",
    "load_strip_recognizer",
    "needs_decoder",
    "new_student",
    "no_decoder",
]

logger = logging.getLogger(__name__)

HEADS = ("ctc", "attention", "joint")
# the decoder's say in a joint reading, chosen on photos of Total-Text and ICDAR 2015 (study.md, Heads)
DECODER_WEIGHT = 0.2


@RECOGNIZER_REGISTRY.register()
class StripRecognizer(AnnotatedStrips):
    """Reads strips with an encoder, a mixer of columns, and a CTC head or an attention decoder on the columns.

    Built from a configuration it is a branch of the spotter (MODEL.RECOGNITION.NAME StripRecognizer) that is trained with it,
    from the weights MODEL.STRIPS.WEIGHTS. Built by itself it is for use at test: in evaluation mode and without gradients
    from the start. Its weights may be of any floating format; what it is fed takes theirs. Both heads give each character its
    probability, and both know the same characters.

    Args:
        charset: the characters of the heads. Class 0 is the blank of CTC and the end of the decoder.
        decoder_width: width of the attention decoder; 0: there is none.
        decoder_kind: its class; files of before :class:`ColumnDecoder` hold an `AttentionDecoder`.
        encoder: makes the features that are mixed; None: :class:`StripBody`.
        encoder_metadata: what the metadata of a file say of it, see :func:`encoder_description`.
        start: a reader whose weights these start from.
        training: see :class:`AnnotatedStrips`; None: its defaults.

    Attributes:
        head_name: which head :meth:`read` uses, one of `HEADS`; see :meth:`use_head`.
        decoder_weight: share of the decoder in a joint reading, see :func:`joint_beams`.
        low: the same network with weights that were distilled to read strips of at most `LOW_ROWS` rows; None: there are none,
            one network reads all heights.
    """

    low: StripRecognizer | None

    @configurable
    def __init__(
        self,
        *,
        charset: Charset,
        decoder_width: int = 0,
        decoder_kind: type[AttentionDecoder] = ColumnDecoder,
        encoder: StripEncoder | None = None,
        encoder_metadata: Mapping[str, str] | None = None,
        start: StripRecognizer | None = None,
        training: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(**(training or {}))
        self.low, self.head_name, self.decoder_weight = None, HEADS[0], DECODER_WEIGHT
        self.body, self.mixer = StripBody() if encoder is None else encoder, ColumnMixer()
        self.encoder_metadata = dict(encoder_metadata or {})
        self.head = nn.Linear(COLUMN_WIDTH, charset.num_outputs)
        self.decoder = _new_decoder(charset, decoder_width, decoder_kind) if decoder_width else None
        self.charset = charset
        self.register_buffer("charset_codes", charset.codes())
        self.register_buffer("allowed", None, persistent=False)
        self.to(memory_format=torch.channels_last)
        if training is None:
            self.requires_grad_(False).eval()
        if start is not None:
            self.start_from(start)

    @classmethod
    def from_config(cls, cfg, input_shape: ShapeSpec | None = None) -> dict:
        node, training = cfg.MODEL.RECOGNITION, cfg.MODEL.STRIPS.TRAINING
        start = None
        if cfg.MODEL.STRIPS.WEIGHTS:
            try:
                start = load_strip_recognizer(cfg.MODEL.STRIPS.WEIGHTS)
            except FileNotFoundError as error:
                # a trained spotter on another machine: its checkpoint holds the reader; a training has looked before
                logger.warning("%s: the reader has random weights until a checkpoint is loaded", error)
        encoder = build_strip_encoder(cfg)
        try:
            start_encoder(cfg, encoder)
        except FileNotFoundError as error:
            logger.warning("%s: the encoder has random weights until a checkpoint is loaded", error)
        return {
            "charset": configured_charset(cfg),
            "decoder_width": training.DECODER_WIDTH,
            "encoder": encoder,
            "encoder_metadata": encoder_description(cfg),
            "start": start,
            "training": {
                "max_length": node.MAX_LENGTH,
                "ctc_weight": node.CTC_WEIGHT,
                "loss_weight": node.LOSS_WEIGHT,
                "attention_share": training.ATTENTION_SHARE,
                "train_rows": training.ROWS,
                "pixel_mean": cfg.MODEL.PIXEL_MEAN,
                "pixel_std": cfg.MODEL.PIXEL_STD,
                "straightening": cfg.MODEL.STRIPS.STRAIGHTENING,
            },
        }

    def start_from(self, reader: StripRecognizer) -> None:
        """Take the weights of another reader, cut to these characters; a decoder that it has not got stays as it is.

        A reader with the default encoder gives one with another encoder all but that.

        Raises:
            ValueError: the reader does not know all characters, has a decoder that this one has not, or of another width, or
                has another encoder.
        """
        self._check_encoder(reader)
        reader.keep_characters(self.charset)
        own, given = (0 if network.decoder is None else network.decoder.cell.hidden_size for network in (self, reader))
        if given not in (0, own):
            raise ValueError(
                f"the reader has an attention decoder of width {given}, the student {own or 'none'}: "
                f"set MODEL.STRIPS.TRAINING.DECODER_WIDTH {given}"
            )
        if given:
            self.decoder = _new_decoder(self.charset, given, type(reader.decoder)).to(self.head.weight.device)
            self.decoder.requires_grad_(self.head.weight.requires_grad).train(self.training)
        state = reader.state_dict()
        if reader.encoder_name != self.encoder_name:
            state = {name: value for name, value in state.items() if not name.startswith("body.")}
        # what is missing is the decoder, or the encoder
        self.load_state_dict(state, strict=given == own and reader.encoder_name == self.encoder_name)
        if own and not given:
            self._start_decoder()

    @property
    def encoder_name(self) -> str:
        """Its name in MODEL.STRIPS.ENCODER.NAME."""
        return self.encoder_metadata.get("encoder", DEFAULT_ENCODER)

    def _check_encoder(self, reader: StripRecognizer) -> None:
        if reader.encoder_name == self.encoder_name:
            own, given = ({k: tuple(v.shape) for k, v in x.body.state_dict().items()} for x in (self, reader))
            odd = next((k for k in [*own, *given] if own.get(k) != given.get(k)), None)
            if odd is not None:
                raise ValueError(
                    f"the reader's encoder {self.encoder_name} is of another configuration: its {odd} is {given.get(odd)}, "
                    f"that of MODEL.STRIPS.ENCODER {own.get(odd)}"
                )
        elif reader.encoder_name != DEFAULT_ENCODER:
            raise ValueError(
                f"the reader has the encoder {reader.encoder_name}, the student {self.encoder_name}: "
                f"set MODEL.STRIPS.ENCODER.NAME {reader.encoder_name}"
            )

    def add_decoder(self, width: int = 160) -> None:
        """Give the reader a new attention decoder, to be trained: random weights but for what it reads at a place."""
        decoder = _new_decoder(self.charset, width).to(self.head.weight.device)
        self.decoder = decoder.requires_grad_(self.head.weight.requires_grad).train(self.training)
        self._start_decoder()

    def _start_decoder(self) -> None:
        if isinstance(self.decoder, ColumnDecoder):
            self.decoder.read_as(self.head)

    def use_head(self, name: str, decoder_weight: float = DECODER_WEIGHT) -> None:
        """Read strips of all heights with this head, or with both ("joint"), from now on.

        Of a joint reading, strips that a :attr:`low` without a decoder reads are read by its CTC head.

        Raises:
            ValueError: an unknown name, a weight outside [0, 1], or a decoder that is not there.
        """
        if name not in HEADS:
            raise ValueError(f"MODEL.STRIPS.HEAD must be one of {', '.join(HEADS)}, got {name!r}")
        if not 0 <= decoder_weight <= 1:
            raise ValueError(f"MODEL.STRIPS.DECODER_WEIGHT must be in [0, 1], got {decoder_weight}")
        for network, key in ((self, "WEIGHTS"), (self.low, "LOW_WEIGHTS")):
            if needs_decoder(name, key) and network is not None and network.decoder is None:
                raise ValueError(no_decoder(key, name))
        self.head_name, self.decoder_weight = name, decoder_weight

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
        """Return column features (N, L, 120) of normalised strips (N, 3, H, W): H and padded W of `FORMS`."""
        return self.mixer(self.body_columns(strips))

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
        allowed = torch.from_numpy(allowed_classes(characters, self.charset.characters)) if characters else None
        self.allowed = None if allowed is None else allowed.to(self.head.weight.device)

    @torch.no_grad()
    def beams(self, columns: torch.Tensor, k: int = 3, beam_width: int | None = None) -> BeamSequences:
        """Return the k most probable readings of columns (R, L, 120) by the head that reads.

        Only what :meth:`allow` allows; log-probabilities are of whole readings, not divided by their length, largest first; of
        all possible readings the probabilities add up to 1, of both heads together to less. (The decoder's include readings cut
        after L + 1 characters.)

        Args:
            columns: of this network's :meth:`columns`; for low strips ask :attr:`low`.
            beam_width: see :func:`ctc_beam_search` and :func:`beam_search`; of both heads the number of candidates.
        """
        options = {"num_sequences": k, "beam_width": beam_width, "allowed": self.allowed}
        if self.head_name == "joint" and self.decoder is not None:
            options = {"num_sequences": k, "candidates": beam_width, "allowed": self.allowed}
            logits = self.head(columns).float()
            return joint_beams(logits, self._decoder(), columns, decoder_weight=self.decoder_weight, **options)
        if self.head_name != "attention":
            return ctc_beam_search(self.head(columns).float(), **options)
        return beam_search(self._decoder(), columns, max_length=columns.shape[1], **options)

    def _decoder(self) -> AttentionDecoder:
        assert self.decoder is not None, "use_head asks for it"
        return self.decoder

    @torch.inference_mode()
    def read(self, pixels: np.ndarray) -> list[Characters]:
        """Read pixels float32 (N, H, W, 3) as `strip_batches` makes them with the chosen head."""
        network = self.at_rows(pixels.shape[1])
        if self.head_name == "ctc" or (self.head_name == "joint" and network.decoder is None):
            return collapse(*self.read_batch(pixels))
        columns = network.columns(self.strips_of(pixels))
        if self.head_name == "joint":
            logits = network.head(columns).float()
            gap = self.charset.characters.index(" ") + 1 if " " in self.charset.characters else None
            return read_jointly(logits, network._decoder(), columns, self.decoder_weight, self.allowed, gap)
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


def _new_decoder(charset: Charset, width: int, kind: type[AttentionDecoder] = ColumnDecoder) -> AttentionDecoder:
    return kind(COLUMN_WIDTH, width, charset.num_inputs, charset.num_outputs, charset.start, charset.end)


@torch.no_grad()
def _cut_decoder(decoder: AttentionDecoder, charset: Charset, rows: list[int]) -> AttentionDecoder:
    """Return a decoder that knows the characters of `charset`, which are the classes `rows` of another, the end first."""
    state = decoder.state_dict()
    state["embedding.weight"] = state["embedding.weight"][[*rows, decoder.start]]
    for layer in ("output", "glimpse"):
        for name in (f"{layer}.weight", f"{layer}.bias"):
            if name in state:
                state[name] = state[name][rows]
    cut = _new_decoder(charset, decoder.hidden_dim, type(decoder)).to(decoder.output.weight)
    cut.load_state_dict(state)
    return cut.requires_grad_(False).eval()


def needs_decoder(head: str, key: str) -> bool:
    """Tell whether MODEL.STRIPS.HEAD needs a decoder in the weights MODEL.STRIPS.`key`: a joint reading only in WEIGHTS."""
    return head == "attention" or (head == "joint" and key == "WEIGHTS")


def no_decoder(key: str, head: str = "attention") -> str:
    """Return what to say where MODEL.STRIPS.HEAD asks for a decoder that the weights of MODEL.STRIPS.`key` do not hold."""
    return f"MODEL.STRIPS.HEAD {head}: MODEL.STRIPS.{key} hold no attention decoder, only ctc can read"


def holds_decoder(file: str) -> bool:
    """Tell whether a file holds an attention decoder; what cannot be opened counts as if: loading it says what is wrong."""
    try:
        with safe_open(file, "pt") as weights:
            return any(name.startswith("decoder.") for name in weights.keys())  # noqa: SIM118  it is no dict
    except (OSError, SafetensorError):
        return True


def stored_charset(file: str) -> Charset | None:
    """Return the characters that the reader in a file knows; None of what cannot be opened: loading it says what is wrong."""
    try:
        with safe_open(file, "pt") as weights:
            return Charset.from_codes(weights.get_tensor("charset_codes"))
    except (OSError, SafetensorError):
        return None


def other_characters(charset: Charset) -> str:
    """Return what to say where a locator learns from a reader of these characters, which its spotter does not read."""
    return f"MODEL.STRIPS.CHARSET must be empty to train a locator by reading, it gives {charset!r}"


def metadata_of(file: str) -> dict[str, str]:
    """Return the texts that a .safetensors file carries."""
    with safe_open(file, "pt") as weights:
        return weights.metadata() or {}


def load_strip_recognizer(path: str, key: str = "WEIGHTS") -> StripRecognizer:
    """Return a recogniser of strips from a .safetensors file, named as :func:`dld.model_zoo.find_weights` takes it.

    Its encoder is the one that the file describes, whatever MODEL.STRIPS.ENCODER says.

    Args:
        key: of MODEL.STRIPS, that names the file.

    Raises:
        FileNotFoundError, ValueError: naming the key or the file.  KeyError: no shipped weights of that name.
    """
    try:
        file = find_weights(path, readers=True)
    except (FileNotFoundError, KeyError) as error:
        raise type(error)(f"the reader of strips (MODEL.STRIPS.{key}): {error}") from error
    try:
        state = load_file(file)
        metadata = metadata_of(file)
        width = len(state.get("decoder.key.bias", ()))
        kind = ColumnDecoder if "decoder.glimpse.bias" in state else AttentionDecoder
        reader = StripRecognizer(
            charset=Charset.from_codes(state["charset_codes"]),
            decoder_width=width,
            decoder_kind=kind,
            encoder=described_encoder(metadata),
            encoder_metadata={k: v for k, v in metadata.items() if k in ("encoder", "encoder_config")},
        )
        reader.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in state.items()})
    except (SafetensorError, YAMLError, AssertionError, KeyError, RuntimeError, TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"{path} does not hold a reader of strips: {error}") from error
    return reader


def new_student(cfg) -> StripRecognizer:
    """Return a reader of the encoder MODEL.STRIPS.ENCODER with the weights MODEL.STRIPS.WEIGHTS, in evaluation mode.

    If those are of a reader with another encoder, only mixer and heads are, and the encoder starts from
    MODEL.STRIPS.ENCODER.WEIGHTS.

    Raises:
        ValueError, FileNotFoundError, KeyError: naming the key or the file.
    """
    reader = load_strip_recognizer(cfg.MODEL.STRIPS.WEIGHTS)
    if named_encoder(cfg) == reader.encoder_name:
        return reader
    encoder = build_strip_encoder(cfg)
    start_encoder(cfg, encoder)
    return StripRecognizer(
        charset=reader.charset,
        decoder_width=0 if reader.decoder is None else reader.decoder.hidden_dim,
        encoder=encoder,
        encoder_metadata=encoder_description(cfg),
        start=reader,
    )


def charset_of_strips(cfg, known: Charset) -> Charset:
    """Return the characters that MODEL.STRIPS.CHARSET names, of those that a reader knows; if it is empty the configured ones.

    Raises:
        ValueError: an unknown name.
    """
    name = cfg.MODEL.STRIPS.CHARSET
    return named_charset(name, known.characters) if name else configured_charset(cfg)


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
    if cfg.MODEL.STRIPS.LOW_WEIGHTS and checked_rows(cfg.MODEL.STRIPS.ROWS)[-1] <= LOW_ROWS:
        reader.low = load_strip_recognizer(cfg.MODEL.STRIPS.LOW_WEIGHTS, "LOW_WEIGHTS")
    reader.keep_characters(charset_of_strips(cfg, reader.charset))
    reader.use_head(cfg.MODEL.STRIPS.HEAD, cfg.MODEL.STRIPS.DECODER_WEIGHT)
    reader.allow(cfg.MODEL.STRIPS.ALLOW)
    return reader
