"""Checkpoints that are written whole or not at all, read without running code, and know their charset."""

from __future__ import annotations

import logging
import os
from typing import IO, Any

import numpy as np
import torch
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.utils.file_io import PathManager

import dld.model_zoo.paths  # noqa: F401  only registration of dld://NAME
from dld.text.charset import Charset
from dld.utils.atomic_write import atomic_write

__all__ = [
    "SpotterCheckpointer",
    "WholeSpotterCheckpointer",
    "load_weights_file",
    "rename_torchvision_resnet",
    "save_safetensors",
    "transfer_charset",
]

logger = logging.getLogger(__name__)

CODES = "charset_codes"


def load_weights_file(path: str, trust_pickle: bool = False) -> dict[str, Any]:
    """Read a checkpoint without running any code in it.

    `.safetensors` and `.pth` (`weights_only`) are safe. `.pkl` files are refused unless trusted. `dld://NAME` is the file of
    shipped weights.

    Returns:
        dict with "model" and whatever else the file holds.

    Raises:
        FileNotFoundError, ValueError: naming the file.  KeyError: no shipped weights of that name.
    """
    path = PathManager.get_local_path(path)
    if os.path.isfile(os.path.join(path, "spotter.json")):
        raise FileNotFoundError(f"{path} is a folder of `dld export`, not weights: TextSpotter.from_onnx reads with it")
    if not os.path.isfile(path):
        raise FileNotFoundError(f"weights {path} do not exist")
    if path.endswith(".safetensors"):
        return _read_safetensors(path)
    if path.endswith(".pkl"):
        if not trust_pickle:
            raise ValueError(
                f"{path} is a pickle, which can run any code when it is loaded. If you trust its source, set "
                "MODEL.TRUST_PICKLE True; otherwise use .safetensors or .pth weights."
            )
        import pickle

        with open(path, "rb") as f:
            loaded = pickle.load(f, encoding="latin1")
        return _with_weights(loaded, path)
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise ValueError(f"{path} is not a checkpoint of plain tensors: {error}") from error
    return _with_weights(loaded, path)


def _with_weights(loaded: Any, path: str) -> dict[str, Any]:
    """A loaded file as a dict with "model", a dict of tensors (or arrays) by name; anything else is refused."""
    if not isinstance(loaded, dict):
        raise ValueError(f"{path} holds a {type(loaded).__name__}, not a dict of tensors")
    checkpoint = loaded if "model" in loaded else {"model": loaded}
    weights = checkpoint["model"]
    odd = None if isinstance(weights, dict) else type(weights).__name__
    if odd is None:
        strange = ((k, v) for k, v in weights.items() if not (isinstance(k, str) and isinstance(v, (torch.Tensor, np.ndarray))))
        odd = next((f"{type(v).__name__} under {k!r}" for k, v in strange), None)
    if odd is not None:
        raise ValueError(f"{path} holds no weights: expected tensors by name, found a {odd}")
    return checkpoint


def _read_safetensors(path: str) -> dict[str, Any]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as f:
            loaded: dict[str, Any] = dict(f.metadata() or {})
            loaded["model"] = {name: f.get_tensor(name) for name in f.keys()}  # noqa: SIM118  no mapping
    except SafetensorError as error:
        raise ValueError(f"{path} is not a safetensors file: {error}") from error
    return loaded


def save_safetensors(path: str, state: dict[str, torch.Tensor], metadata: dict[str, str], half: bool = True) -> None:
    """Write weights in half precision with their configuration beside them, whole or not at all.

    Args:
        path: ends in .safetensors.
        state: tensors by name; floating-point ones become float16 if `half`.
        metadata: texts, "config" among them, which :func:`load_weights_file` gives back.
    """
    from safetensors.torch import save

    packed = {k: (v.half() if half and v.is_floating_point() else v).contiguous() for k, v in state.items()}
    atomic_write(path, lambda f: f.write(save(packed, metadata)))


def rename_torchvision_resnet(state: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    """Names of torchvision's ResNet as detectron2's; the classifier is dropped.

    torchvision's networks read RGB, ours BGR: the input channels of the first convolution change places.

    Args:
        state: weights whose names begin with `conv1.`, `layer1.` and so on.
        prefix: put before every name, `backbone.bottom_up.` for a pyramid.
    """
    renamed = {}
    for name, value in state.items():
        if name.startswith("fc.") or name.endswith("num_batches_tracked"):
            continue
        if name == "conv1.weight":
            value = value.flip(1)
        parts = name.split(".")
        if parts[0] in ("conv1", "bn1"):
            parts = ["stem", "conv1", *(["norm"] if parts[0] == "bn1" else []), *parts[1:]]
        elif parts[0].startswith("layer"):
            block = [f"res{int(parts[0][5:]) + 1}", parts[1]]
            if parts[2] == "downsample":
                block += ["shortcut", *(["norm"] if parts[3] == "1" else [])]
                parts = block + parts[4:]
            elif parts[2].startswith("bn"):
                parts = [*block, f"conv{parts[2][2:]}", "norm", *parts[3:]]
            else:
                parts = block + parts[2:]
        renamed[prefix + ".".join(parts)] = value
    return renamed


def transfer_charset(
    state: dict[str, torch.Tensor], fresh: dict[str, torch.Tensor], stored: Charset, wanted: Charset, prefix: str
) -> int:
    """Move the rows of shared characters from one charset's numbering to another's, in place.

    Args:
        state: checkpoint; its embedding, output and CTC weights are replaced by tensors of the wanted sizes.
        fresh: the model's own state, from which characters that are new keep their initial rows.
        stored, wanted: the two charsets.
        prefix: of the recogniser, ending in a dot.

    Returns:
        how many characters both have.
    """
    old, new = {c: i + 1 for i, c in enumerate(stored.characters)}, {c: i + 1 for i, c in enumerate(wanted.characters)}
    shared = [c for c in wanted.characters if c in old]
    outputs = ([stored.end, *(old[c] for c in shared)], [wanted.end, *(new[c] for c in shared)])
    inputs = (outputs[0] + [stored.start], outputs[1] + [wanted.start])
    rows = {"decoder.embedding.weight": inputs}
    rows.update({f"{layer}.{kind}": outputs for layer in ("decoder.output", "ctc_head") for kind in ("weight", "bias")})
    for name, (source, target) in rows.items():
        name = prefix + name
        if name in state and name in fresh:
            value = fresh[name].clone()
            value[target] = torch.as_tensor(state[name])[source].to(value)
            state[name] = value
    state[prefix + CODES] = wanted.codes()
    return len(shared)


class SpotterCheckpointer(DetectionCheckpointer):
    """detectron2's checkpointer, atomic and safe, that refuses weights of another charset.

    Args:
        charset_transfer: keep the rows of the characters both charsets have instead of refusing.
        trust_pickle: see :func:`load_weights_file`.
        extra: plain values saved into every checkpoint (the configuration as text, for one).
    """

    def __init__(
        self, model, save_dir="", *, charset_transfer=False, trust_pickle=False, extra=None, **checkpointables
    ) -> None:
        super().__init__(model, save_dir, **checkpointables)
        self.charset_transfer, self.trust_pickle, self.extra = charset_transfer, trust_pickle, extra or {}

    def save(self, name: str, *, is_last: bool = True, **kwargs) -> None:
        """Write `name`.pth and then the note of which file is the last; each whole or not at all.

        Args:
            is_last: resuming goes on from this file; False leaves the note as it is.
            kwargs: values saved beside the weights.
        """
        if not self.save_dir or not self.save_to_disk:
            return
        data = {"model": self.model.state_dict(), **self.extra}
        for key, item in self.checkpointables.items():
            data[key] = item.state_dict()
        data.update(kwargs)
        basename = f"{name}.pth"
        path = os.path.join(self.save_dir, basename)
        logger.info("saving checkpoint %s", path)

        def write(f: IO[bytes]) -> None:
            torch.save(data, f)

        atomic_write(path, write)
        if is_last:
            self.tag_last_checkpoint(basename)

    def tag_last_checkpoint(self, last_filename_basename: str) -> None:
        path = os.path.join(self.save_dir, "last_checkpoint")
        atomic_write(path, lambda f: f.write(last_filename_basename.encode()))

    def load(self, path: str, *args, **kwargs) -> dict:
        """As in detectron2; a path that does not exist is an error that names it."""
        if path and "://" not in path and not os.path.isfile(path):
            raise FileNotFoundError(f"weights {path} do not exist (MODEL.WEIGHTS or the last checkpoint of OUTPUT_DIR)")
        try:
            return super().load(path, *args, **kwargs)
        finally:
            # detectron2 leaves it set after an error and then refuses to load anything else
            self._parsed_url_during_load = None

    def _load_file(self, filename: str) -> dict:
        loaded = load_weights_file(filename, self.trust_pickle)
        if "layer1.0.conv1.weight" in loaded["model"]:
            logger.info("%s holds a torchvision ResNet: its names are mapped onto the backbone", filename)
            loaded["model"] = rename_torchvision_resnet(loaded["model"], "backbone.bottom_up.")
        self._compare_charsets(loaded["model"], filename)
        return loaded

    def _compare_charsets(self, state: dict[str, torch.Tensor], filename: str) -> None:
        own = self.model.state_dict()
        for name in [n for n in own if n.endswith(CODES)]:
            if name not in state:
                continue
            stored, wanted = Charset.from_codes(state[name]), Charset.from_codes(own[name])
            if stored == wanted:
                continue
            if not self.charset_transfer:
                raise ValueError(
                    f"{filename} was trained on {stored!r}, the model reads {wanted!r}. Set "
                    "MODEL.RECOGNITION.CHARSET_FILE to the checkpoint's charset, or MODEL.CHARSET_TRANSFER True to "
                    "keep what both have."
                )
            shared = transfer_charset(state, own, stored, wanted, name[: -len(CODES)])
            logger.info("charset transfer: %d of %d characters keep their weights", shared, len(wanted))


class WholeSpotterCheckpointer(SpotterCheckpointer):
    """SpotterCheckpointer to which a missing or misshapen weight is an error: for teachers and for use.

    The CTC head may be missing: it is for training alone.
    """

    def _log_incompatible_keys(self, incompatible) -> None:
        missing = [name for name in incompatible.missing_keys if ".ctc_head." not in name]
        shapes = [f"{name} {tuple(stored)} instead of {tuple(own)}" for name, stored, own in incompatible.incorrect_shapes]
        if missing or shapes:
            raise ValueError(
                f"not a spotter of this configuration: {len(missing)} of {len(self.model.state_dict())} weights are "
                f"missing, {len(shapes)} have another shape: {', '.join([*missing, *shapes][:3])}"
            )
        super()._log_incompatible_keys(incompatible)
