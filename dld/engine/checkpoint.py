"""Checkpoints that are written whole or not at all and know their charset."""

from __future__ import annotations

import logging
import os
from typing import IO

import torch
from detectron2.checkpoint import DetectionCheckpointer
from torch import nn

from dld.model_zoo import find_weights
from dld.text.charset import Charset
from dld.utils.atomic_write import atomic_write
from dld.weights import OF_A_SEARCH, load_weights_file

__all__ = [
    "SpotterCheckpointer",
    "WholeSpotterCheckpointer",
    "names_of_own",
    "rename_torchvision_resnet",
    "transfer_charset",
]

logger = logging.getLogger(__name__)

CODES = "charset_codes"
STUDENT = "student."


def rename_torchvision_resnet(state: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    """Rename weights of torchvision's ResNet to detectron2's names; drop the classifier.

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


def names_of_own(model: nn.Module, state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Give weights of another spotter the names that the same weights have in this one, see `Spotter.weights_elsewhere`."""
    names = getattr(model, "weights_elsewhere", {})
    renamed = {}
    for name, value in state.items():
        start = next((start for start in names if name.startswith(start)), "")
        renamed[names.get(start, "") + name[len(start) :]] = value
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
        searches: checkpoints are of a search of widths, which only goes on from its own; else those are refused.
    """

    takes_student = True  # a plain spotter trains on from the student of weights that choose scales

    def __init__(
        self, model, save_dir="", *, charset_transfer=False, trust_pickle=False, extra=None, searches=False, **checkpointables
    ) -> None:
        super().__init__(model, save_dir, **checkpointables)
        self.searches, self._resumes = searches, False
        self.charset_transfer, self.trust_pickle, self.extra = charset_transfer, trust_pickle, extra or {}

    def save(self, name: str, *, is_last: bool = True, **kwargs) -> None:
        """Write `name`.pth and then the note of which file is the last; each whole or not at all.

        Args:
            is_last: resuming goes on from this file; False leaves the note as it is.
            kwargs: values to save beside the weights.
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
        """Load as in detectron2, also by names of shipped weights; a path that does not exist raises an error that names it."""
        if path and "://" not in path:
            path = find_weights(path)
        # detectron2 names what is to be loaded beside the weights where a run starts, and takes all where it goes on
        self._resumes = self.searches and not args and kwargs.get("checkpointables") is None
        try:
            return super().load(path, *args, **kwargs)
        finally:
            # detectron2 leaves it set after an error and then refuses to load anything else
            self._parsed_url_during_load = None

    def _load_file(self, filename: str) -> dict:
        loaded = load_weights_file(filename, self.trust_pickle)
        self._compare_searches(loaded, filename)
        if "layer1.0.conv1.weight" in loaded["model"]:
            logger.info("%s holds a torchvision ResNet: its names are mapped onto the backbone", filename)
            loaded["model"] = rename_torchvision_resnet(loaded["model"], "backbone.bottom_up.")
        loaded["model"] = names_of_own(self.model, self._of_student(loaded["model"], filename))
        self._compare_charsets(loaded["model"], filename)
        return loaded

    def _compare_searches(self, loaded: dict, filename: str) -> None:
        gated = "SearchWidths" in (loaded.get("trainer") or {}).get("hooks", {})
        if gated and not self._resumes:
            raise ValueError(f"{filename} {OF_A_SEARCH}")
        if self._resumes and not gated:
            raise ValueError(
                f"{filename} is of a training without a search of widths: MODEL.COMPRESSION.ENABLED must be False to go on "
                "with it; a search starts from MODEL.WEIGHTS in an OUTPUT_DIR of its own"
            )

    def _of_student(self, state: dict[str, torch.Tensor], filename: str) -> dict[str, torch.Tensor]:
        """Return the weights of the student alone where a plain spotter loads what chooses scales."""
        if not self.takes_student or hasattr(self.model, STUDENT.rstrip(".")) or not any(n.startswith(STUDENT) for n in state):
            return state
        logger.info("%s holds a student with what chooses its scale: the student is taken", filename)
        return {name.removeprefix(STUDENT): value for name, value in state.items() if name.startswith(STUDENT)}

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

    Args:
        ctc_head: it must not be missing, either.
    """

    takes_student = False  # whoever wants a teacher does not want the student of another

    def __init__(self, *arguments, ctc_head: bool = False, **options) -> None:
        super().__init__(*arguments, **options)
        self.ctc_head = ctc_head

    def _log_incompatible_keys(self, incompatible) -> None:
        missing = [name for name in incompatible.missing_keys if ".ctc_head." not in name]
        shapes = [f"{name} {tuple(stored)} instead of {tuple(own)}" for name, stored, own in incompatible.incorrect_shapes]
        if self.ctc_head and len(missing) < len(incompatible.missing_keys):
            raise ValueError("these weights have no CTC head, of which MODEL.DISTILLATION.BEAMS ctc takes the beams")
        if missing or shapes:
            raise ValueError(
                f"not a spotter of this configuration: {len(missing)} of {len(self.model.state_dict())} weights are "
                f"missing, {len(shapes)} have another shape: {', '.join([*missing, *shapes][:3])}"
            )
        super()._log_incompatible_keys(incompatible)
