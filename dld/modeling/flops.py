"""Counts the arithmetic of what really runs.

Conventions, used everywhere in this project:
  * one multiply-accumulate (MAC) is 2 FLOPs;
  * "total" is everything that ran, in GFLOPs of 1e9 FLOPs;
  * "paper" is what published tables on dynamic resolution call FLOPS: 2^30 MACs of the convolutions of backbone,
    feature pyramid and region proposal network alone;
  * convolutions, matrix products, LSTMs, RoIAlign and interpolation count; normalisation, activations, sums, softmax,
    sorting and non-maximum suppression do not, and :attr:`FlopCount.not_counted` names each of them that ran.

torch's counter silently leaves out LSTMs on the CPU (they run as one fused operator), RoIAlign and interpolation. This
module has their formulas.
"""

from __future__ import annotations

import contextlib
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
import torchvision.ops  # noqa: F401  defines torchvision::roi_align
from detectron2.structures import Boxes
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from dld.modeling.poolers.channels_last_roi_align import float_levels
from dld.modeling.recognition.joint_reading import CANDIDATES
from dld.strips.heights import FORMS, STRIP_ROWS
from dld.utils.threads import in_calling_thread

__all__ = [
    "DECODER_STEPS",
    "FlopCount",
    "SpotterFlops",
    "count_flops",
    "empty_image",
    "evaluating",
    "flops_by_module",
    "run_decoding",
    "run_parts",
    "run_strips",
    "spotter_flops",
    "strip_flops",
    "watched_modules",
]

aten = torch.ops.aten

# Steps that the greedy decoder is charged for where no reading gives a better number. All words of an image run until
# the longest has ended, which is checked every 4 steps. Among a few English words the longest has 8 to 11 characters
# and one end symbol.
DECODER_STEPS = 12


def _mkldnn_lstm_flops(x, weight_ih, weight_hh, *args, out_shape=None, **kwargs) -> int:
    # one layer, one direction: x (T, R, in), weights (4 H, in) and (4 H, H)
    return 2 * math.prod(x[:-1]) * (math.prod(weight_ih) + math.prod(weight_hh))


def _cudnn_lstm_flops(x, weights, *args, out_shape=None, **kwargs) -> int:
    # every matrix of every layer and direction multiplies one row per step and word; biases have one dimension
    return 2 * math.prod(x[:-1]) * sum(math.prod(w) for w in weights if len(w) == 2)


def _lstm_flops(x, hx, params, *args, out_shape=None, **kwargs) -> int:
    # the operator before it is split into its parts, as it appears under inference_mode
    return _cudnn_lstm_flops(x, params)


def _roi_align_flops(x, rois, scale, height, width, sampling_ratio, aligned, *args, out_shape=None, **kwargs) -> int:
    # 4 weighted neighbours per sample; an adaptive sampling ratio (0 or less) is taken as 2
    samples = (sampling_ratio if sampling_ratio > 0 else 2) ** 2
    return 2 * 4 * samples * math.prod(out_shape)


def _bilinear_flops(x, *args, out_shape=None, **kwargs) -> int:
    return 2 * 4 * math.prod(out_shape)


def _grid_sample_flops(x, grid, mode, *args, out_shape=None, **kwargs) -> int:
    # 4 weighted neighbours of a sample; 16 where it is bicubic (mode 2)
    return 2 * (16 if mode == 2 else 4) * math.prod(out_shape)


def _antialiased_bilinear_flops(x, *args, out_shape=None, **kwargs) -> int:
    # separable: along rows first, then along columns; the triangle filter spans 2 x the reduction
    (N, C, H, W), (h, w) = x, out_shape[-2:]
    return round(2 * N * C * (H * w * 2 * max(W / w, 1) + h * w * 2 * max(H / h, 1)))


_FORMULAS = {
    aten.mkldnn_rnn_layer: _mkldnn_lstm_flops,
    aten._cudnn_rnn: _cudnn_lstm_flops,
    aten.lstm: _lstm_flops,
    torch.ops.torchvision.roi_align: _roi_align_flops,
    aten.upsample_bilinear2d: _bilinear_flops,
    aten._upsample_bilinear2d_aa: _antialiased_bilinear_flops,
    aten.grid_sampler_2d: _grid_sample_flops,
}

# rows and columns of the masks that words are read with; a larger one costs nothing that counts
_MASK_SIDE = 28

# fields of SpotterFlops that `run_parts` names, and first the trunk: bottom-up network and pyramid
PARTS = ("trunk", "rpn", "boxes", "masks", "stem", "recognition", "decoding", "locating", "attention")

# Operators that move, make or look at numbers without computing on them.
_MOVES = frozenset(
    "_conj_copy _local_scalar_dense _reshape_alias _to_copy _unsafe_index _unsafe_view arange cat clone "
    "constant_pad_nd copy_ detach embedding empty empty_like empty_strided fill_ full full_like gather index "
    "index_put_ index_select lift_fresh masked_fill new_empty new_full new_ones new_zeros nonzero ones ones_like "
    "pad rand randn repeat_interleave scalar_tensor scatter select_scatter slice_scatter stack unsqueeze_ "
    "upsample_nearest2d where zero_ zeros zeros_like".split()
)


@dataclass(frozen=True)
class FlopCount:
    """What a call computed, in FLOPs, 2 per MAC."""

    total_flops: int
    by_op: dict[str, int]
    by_module: dict[str, int]  # nested: the number of a module includes those of its children
    not_counted: dict[str, int] = field(repr=False)  # arithmetic without a formula: operator -> number of calls

    @property
    def gflops(self) -> float:
        """1e9 FLOPs."""
        return self.total_flops / 1e9


class _Uncounted(TorchDispatchMode):
    """Records the operators that no formula covers."""

    def __init__(self, formulas) -> None:
        super().__init__()
        self.formulas, self.calls = formulas, Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        packet = func.overloadpacket
        if packet not in self.formulas and not func.is_view and packet.__name__ not in _MOVES:
            self.calls[str(packet)] += 1
        return func(*args, **(kwargs or {}))


def count_flops(call: Callable[[], Any]) -> FlopCount:
    """Run `call` without gradients and count what it computes.

    Example::

        count_flops(lambda: model([{"image": image}])).gflops

    Args:
        call: anything that runs torch operators, on any device.
    """
    counter = FlopCounterMode(display=False, custom_mapping=_FORMULAS)
    # enter the recording mode first, so that it sees the parts into which the counter splits composite operators
    with torch.no_grad(), in_calling_thread(), _Uncounted(counter.flop_registry) as uncounted, counter:
        call()
    modules = {name: sum(ops.values()) for name, ops in counter.get_flop_counts().items()}
    by_op = {str(op): flops for op, flops in counter.get_flop_counts().get("Global", {}).items()}
    total = modules.pop("Global", 0)
    return FlopCount(total, by_op, modules, dict(uncounted.calls))


def flops_by_module(call: Callable[[], Any], modules: Mapping[str, nn.Module]) -> tuple[int, dict[str, int]]:
    """Count a call as :func:`count_flops` does; return all FLOPs, and those of each module without the modules inside it.

    Args:
        modules: by name; those of them that run inside another one count for themselves alone.
    """
    counter = FlopCounterMode(display=False, custom_mapping=_FORMULAS)
    own, running, since = Counter(dict.fromkeys(modules, 0)), [], 0

    def turn() -> None:
        nonlocal since
        now = counter.get_total_flops()
        if running:
            own[running[-1]] += now - since
        since = now

    with torch.no_grad(), counter, watched_modules(modules, running, turn):
        call()
    return counter.get_total_flops(), dict(own)


@contextlib.contextmanager
def watched_modules(modules: Mapping[str, nn.Module], running: list[str], turn: Callable[[], None]) -> Iterator[None]:
    """Keep in `running`, inside, the names of the modules that run, the innermost last; `turn` is called before each change."""

    def enter(name: str) -> Callable:
        def before(*_: Any) -> None:
            turn()
            running.append(name)

        return before

    def leave(*_: Any) -> None:
        turn()
        running.pop()

    with contextlib.ExitStack() as hooks:
        hooks.enter_context(in_calling_thread())
        for name, module in modules.items():
            for handle in (module.register_forward_pre_hook(enter(name)), module.register_forward_hook(leave)):
                hooks.callback(handle.remove)
        yield


@contextlib.contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Put the module into evaluation mode inside, and restore the mode of each submodule afterwards."""
    modes = [(m, m.training) for m in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for m, mode in modes:
            m.training = mode


@dataclass(frozen=True)
class SpotterFlops:
    """FLOPs of a text spotter on one image, by part."""

    backbone: int  # bottom-up network
    fpn: int
    rpn: int  # or the dense heads of a spotter without proposals
    boxes: int  # all proposals, or the grid of a spotter that has one
    masks: int  # all words, the box head's further rounds on them, and what a learned locator looks at
    stem: int  # convolution of the recogniser on the finest level; 0 without words
    recognition: int  # crops, encoder and attention keys of all words; or one strip of the expected width for each word
    decoding: int  # all words, all steps
    locating: int = 0  # sides of all words; at test a learned locator is asked about some of them
    attention: int = 0  # maps of all words over the finest level, and what lies under them

    @property
    def total(self) -> int:
        """Everything that ran."""
        return self.shrinking + self.fixed

    @property
    def shrinking(self) -> int:
        """FLOPs that are proportional to the number of padded pixels."""
        return self.backbone + self.fpn + self.rpn + self.stem + self.attention

    @property
    def fixed(self) -> int:
        """FLOPs of proposals and words, which are the same at any scale of the image."""
        return self.boxes + self.masks + self.locating + self.recognition + self.decoding

    @property
    def total_gflops(self) -> float:
        """Total in 1e9 FLOPs."""
        return self.total / 1e9

    @property
    def paper_gflops(self) -> float:
        """2^30 MACs of backbone, FPN and RPN: the published tables' convention."""
        return (self.backbone + self.fpn + self.rpn) / 2 / 2**30


def spotter_flops(
    model: nn.Module,
    image_size: tuple[int, int],
    num_words: int,
    num_proposals: int | None = None,
    num_steps: int = DECODER_STEPS,
) -> SpotterFlops:
    """Run every part of a spotter on an empty image (:meth:`Spotter.run_parts`) and count it.

    Args:
        model: a `Spotter`; its mode and its statistics stay as they are.
        image_size: padded (H, W), multiples of the backbone's size divisibility.
        num_words: words kept after non-maximum suppression, each with its mask and reading.
        num_proposals: boxes that the box head scores; None: the most that the RPN passes on at test.
        num_steps: steps that the decoder runs, one a character, the end symbol included.

    Raises:
        ValueError: the backbone never gets an image of this size.
    """
    counts: Counter[str] = Counter()

    def count(part: str, call: Callable[[], Any]) -> Any:
        flops, result = _counted(call)
        counts[part] += flops
        return result

    with evaluating(model):
        model.run_parts(image_size, num_words, num_steps, count, num_proposals)
        backbone, _ = _counted(lambda: model.bottom_up(empty_image(model, image_size)))
    return SpotterFlops(backbone, counts["trunk"] - backbone, **{part: counts[part] for part in PARTS[1:]})


def run_parts(
    model: nn.Module,
    image_size: tuple[int, int],
    num_words: int,
    run: Callable[[str, Callable[[], Any]], Any],
    num_proposals: int | None = None,
    num_steps: int = DECODER_STEPS,
) -> None:
    """Run every part of a `TextSpottingRCNN` on an empty image, in the order of reading; arguments as of `spotter_flops`.

    Strips are those of `num_words` words of the expected width. What chooses among boxes is no part.

    Args:
        model: in evaluation mode.
        run: gets the name of a part (one of `PARTS`; some come several times) and the call, and returns the call's result.
    """
    heads, rpn = model.roi_heads, model.proposal_generator
    if num_proposals is None:
        num_proposals = rpn.post_nms_topk[False]
    image = empty_image(model, image_size)
    features = run("trunk", lambda: model.backbone(image))
    run("rpn", lambda: rpn.rpn_head([features[f] for f in rpn.in_features]))
    features = float_levels(features)
    run("boxes", lambda: heads.box_predictor(heads.box_head(_pooled(heads, "box", features, num_proposals))))
    if not num_words:
        return
    for _ in range(heads.box_rounds - 1):
        # the kept boxes are asked about again
        run("masks", lambda: heads.box_predictor(heads.box_head(_pooled(heads, "box", features, num_words))))
    run("masks", lambda: heads.mask_head.layers(_pooled(heads, "mask", features, num_words)))
    level = features[heads.recognizer_feature]
    if model.locator is not None:
        # all words are cropped for it, and it is asked about some
        boxes = _boxes(num_words, level.device)
        view = run("masks", lambda: model.locator.view(level, [boxes]))
        run("locating", lambda: model.locator.located(view, boxes))
    if model.reader is not None:
        run("recognition", lambda: run_strips(model.reader, model.expected_strip_width, STRIP_ROWS, num_words))
        return
    level = run("stem", lambda: heads.recognizer.stem(level))
    context = run("recognition", lambda: _encode(heads.recognizer, level, num_words))
    memory = run("recognition", lambda: heads.recognizer.decoder.prepare(context))
    run("decoding", lambda: run_decoding(heads.recognizer.decoder, memory, num_words, num_steps))


def strip_flops(reader: nn.Module, width: int, rows: int) -> int:
    """Count the FLOPs of reading one strip of `width` padded columns (at 48 rows) at `rows` rows with a `StripRecognizer`.

    An attention head is charged `DECODER_STEPS` steps: of width 160 each takes less than 0.1 % of a strip of 48 rows. A joint
    reading is charged those of each candidate, and the CTC head.
    """
    return count_flops(lambda: run_strips(reader, width, rows, 1)).total_flops


def run_strips(reader: nn.Module, width: int, rows: int, count: int) -> torch.Tensor:
    """Read `count` empty strips; arguments as of :func:`strip_flops`."""
    weight = reader.head.weight
    strips = torch.zeros(count, 3, rows, int(FORMS[rows].columns(width)), device=weight.device, dtype=weight.dtype)
    network = reader.at_rows(rows)
    if reader.head_name == "ctc" or (reader.head_name == "joint" and network.decoder is None):
        return reader.logits(strips)
    columns = network.columns(strips)
    ids = torch.zeros(count, DECODER_STEPS, dtype=torch.int64, device=weight.device)
    if reader.head_name == "attention":
        return network.decoder(columns, ids)
    network.head(columns)
    return network.decoder(columns, ids.unsqueeze(1).expand(-1, CANDIDATES, -1))


def empty_image(model: nn.Module, size: tuple[int, int]) -> torch.Tensor:
    """Return a black image (1, 3, H, W) as the spotter's network gets it.

    Raises:
        ValueError: the network never gets an image of this size.
    """
    step = max(model.size_divisibility, 1)
    if size[0] % step or size[1] % step:
        raise ValueError(f"image_size must be multiples of {step}, got {tuple(size)}")
    image = torch.zeros(1, 3, *size, device=model.device)
    return image.contiguous(memory_format=torch.channels_last) if model.channels_last else image


def _counted(call: Callable[[], Any]) -> tuple[int, Any]:
    outputs: list[Any] = []
    flops = count_flops(lambda: outputs.append(call())).total_flops
    return flops, outputs[0]


def _boxes(count: int, device: torch.device) -> torch.Tensor:
    return torch.tensor([[0.0, 0.0, 32.0, 16.0]], device=device).expand(count, 4)


def _pooled(heads: nn.Module, kind: str, features: dict[str, torch.Tensor], count: int) -> torch.Tensor:
    levels = [features[f] for f in getattr(heads, f"{kind}_in_features")]
    return getattr(heads, f"{kind}_pooler")(levels, [Boxes(_boxes(count, levels[0].device))])


def _encode(recognizer: nn.Module, level: torch.Tensor, R: int) -> torch.Tensor:
    return recognizer.found_context(level, [_boxes(R, level.device)], level.new_ones(R, _MASK_SIDE, _MASK_SIDE))


def run_decoding(decoder: nn.Module, memory: Any, R: int, T: int) -> None:
    """Run T steps of an `AttentionDecoder` on the columns of R words that it has prepared."""
    state = decoder.initial_state(memory)
    ids = torch.zeros(R, 1, dtype=torch.int64, device=memory.keys.device)
    for _ in range(T):
        _, state = decoder.step(ids, state, memory)
