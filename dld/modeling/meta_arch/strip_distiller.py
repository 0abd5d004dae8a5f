"""Trains the reader of strips by itself: a frozen reader at 48 rows shows the student, column by column, what it reads.

The heights of a strip have equally many columns of text (`dld.strips.heights`), so columns can be compared one by one. N words,
L columns, V classes.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from detectron2.config import configurable
from detectron2.modeling import META_ARCH_REGISTRY
from torch import nn

from dld.data.strip_words import StripWord
from dld.modeling.meta_arch.kept_columns import KeptColumns
from dld.modeling.meta_arch.step_losses import StepLosses
from dld.modeling.recognition.strip_recognizer import (
    StripRecognizer,
    charset_of_strips,
    load_strip_recognizer,
    new_student,
)
from dld.strips.grouping import StripSize, strip_batches
from dld.strips.heights import STRIP_ROWS, checked_rows

__all__ = ["StripDistiller", "column_distillation_losses"]

# each loss, and the name of its weight
WEIGHTS = {
    "loss_ctc": "ctc",
    "loss_attention": "attention",
    "loss_kd_characters": "characters",
    "loss_kd_columns": "columns",
}
UNITS = dict.fromkeys(WEIGHTS, "word")


@META_ARCH_REGISTRY.register()
class StripDistiller(nn.Module):
    """A student that reads strips of some heights, and the frozen reader that it learns from.

    `forward` takes the outputs of :class:`~dld.data.strip_words.StripMapper` and returns losses, each a mean over words. Every
    step has one height, drawn from `rows`. There is nothing else to it: at test `student` reads
    (:func:`dld.engine.strip_trainer.read_set`).

    Where the decoder's loss is the only one, and none of its gradient reaches the columns, the rest of the student is frozen.

    Args:
        student: trained from its present weights.
        teacher: reads 48 rows; no submodule, so no checkpoint holds it. It has the characters of the student.
        rows: heights that are trained.
        rows_weights: how often each is drawn.
        temperatures: of the softened characters; the losses of several add up.
        weights: of the losses "ctc", "attention" (of a student with a decoder), "characters" and "columns".
        column_reuse: steps for each batch that is read, where the decoder is trained alone: the batches between are empty, and
            words are drawn from :class:`KeptColumns`. 1: each word is read whenever it is trained on.
        attention_share: of the decoder's gradient that reaches the columns.
    """

    @configurable
    def __init__(
        self,
        *,
        student: StripRecognizer,
        teacher: StripRecognizer,
        rows: Sequence[int],
        rows_weights: Sequence[float],
        temperatures: Sequence[float] = (1.0, 2.0),
        weights: dict[str, float] | None = None,
        attention_share: float = 0.0,
        column_reuse: int = 1,
    ) -> None:
        super().__init__()
        checked_rows(rows, "MODEL.STRIPS.TRAINING.ROWS")
        if len(rows_weights) != len(rows) or min(rows_weights) < 0 or not sum(rows_weights) > 0:
            raise ValueError(f"MODEL.STRIPS.TRAINING.ROWS_WEIGHTS must be {len(rows)} numbers >= 0, got {list(rows_weights)}")
        if not temperatures or min(temperatures) <= 0:
            raise ValueError(f"MODEL.STRIPS.TRAINING.TEMPERATURES must be positive, got {list(temperatures)}")
        if student.charset != teacher.charset:
            raise ValueError(f"the teacher reads {teacher.charset!r}, the student {student.charset!r}")
        self.student = student.requires_grad_(True)
        self._teacher = [teacher.eval().requires_grad_(False)]
        self.rows, self.rows_weights = [int(r) for r in rows], [float(w) for w in rows_weights]
        self.temperatures = tuple(temperatures)
        self.weights = {"ctc": 0.25, "attention": 1.0, "characters": 1.0, "columns": 1.0, **(weights or {})}
        self.attention_share = attention_share
        others = any(self.weights[x] > 0 for x in ("ctc", "characters", "columns"))
        self.trains_decoder_alone = not others and not attention_share
        if self.trains_decoder_alone:
            if student.decoder is None or not self.weights["attention"] > 0:
                raise ValueError("all losses of MODEL.STRIPS.TRAINING have weight 0, or there is no decoder to train")
            # no loss reaches the rest, and weight decay must not either
            student.requires_grad_(False).decoder.requires_grad_(True)
        if column_reuse < 1 or (column_reuse > 1 and not self.trains_decoder_alone):
            raise ValueError(
                "MODEL.STRIPS.TRAINING.COLUMN_REUSE must be at least 1, and 1 where more than the decoder is trained, got "
                f"{column_reuse}"
            )
        self.kept = KeptColumns() if column_reuse > 1 else None

    @classmethod
    def from_config(cls, cfg) -> dict:
        node = cfg.MODEL.STRIPS
        teacher, student = load_strip_recognizer(node.WEIGHTS), new_student(cfg)
        charset = charset_of_strips(cfg, teacher.charset)
        for reader in (teacher, student):
            reader.keep_characters(charset)
        training = node.TRAINING
        if training.DECODER_WIDTH and student.decoder is None:
            student.add_decoder(training.DECODER_WIDTH)
        return {
            "student": student.to(cfg.MODEL.DEVICE),
            "teacher": teacher.to(cfg.MODEL.DEVICE),
            "rows": training.ROWS,
            "rows_weights": training.ROWS_WEIGHTS or [1.0] * len(training.ROWS),
            "temperatures": training.TEMPERATURES,
            "weights": {
                "ctc": training.CTC_WEIGHT,
                "attention": training.ATTENTION_WEIGHT,
                "characters": training.CHARACTERS_WEIGHT,
                "columns": training.COLUMNS_WEIGHT,
            },
            "attention_share": training.ATTENTION_SHARE,
            "column_reuse": training.COLUMN_REUSE,
        }

    @property
    def teacher(self) -> StripRecognizer:
        return self._teacher[0]

    @property
    def device(self) -> torch.device:
        return self.student.head.weight.device

    def _apply(self, fn, recurse: bool = True):
        # .to() and .cuda() must reach the teacher although it is no submodule
        self.teacher._apply(fn)
        return super()._apply(fn, recurse)

    def start_from(self, reader: StripRecognizer) -> None:
        """Give the student the weights of another reader, cut to the student's characters.

        What the student has and the reader has not stays as it is, see :meth:`StripRecognizer.start_from`.

        Raises:
            ValueError: the reader does not know all characters, has a decoder that the student has not, or of another width, or
                has another encoder.
        """
        self.student.start_from(reader)

    def forward(self, batch: list[dict]) -> StepLosses:
        """Return the losses of the words of a batch, at a height that is drawn; of words that are kept where they are."""
        words = [word for record in batch for word in record["words"]]
        rows = self.rows[int(torch.multinomial(torch.tensor(self.rows_weights), 1).item())]
        if self.kept is None:
            return self.losses(words, rows)
        self._keep(self.kept, words, rows)
        return self._losses_of_kept(self.kept)

    @torch.no_grad()
    def _keep(self, kept: KeptColumns, words: list[StripWord], rows: int) -> None:
        for at, pixels in _batches(words, rows):
            for i, columns in zip(at, self.student.columns(self.student.strips_of(pixels)), strict=True):
                kept.add(columns, torch.tensor(self._ids(words[i].text), device=self.device))

    def _losses_of_kept(self, kept: KeptColumns) -> StepLosses:
        groups = kept.draw(self.student.charset.pad)
        count = sum(len(ids) for _, ids in groups)
        # every weight has a part in it, see losses()
        total = torch.stack([parameter.sum() for parameter in self.student.decoder.parameters()]).sum() * 0
        for columns, ids in groups:
            found = self.student.column_losses(columns, ids)["loss_attention"]
            total = total + len(ids) / count * found
        return StepLosses({"loss_attention": self.weights["attention"] * total}, UNITS, {"word": float(count)})

    def losses(self, words: list[StripWord], rows: int) -> StepLosses:
        """Return the weighted losses of words read at a height; 0, with a graph, where there is no word."""
        # every weight has a part in it: other processes wait for its gradient where there is no word
        nothing = torch.stack([parameter.sum() for parameter in self.student.parameters()]).sum() * 0
        total = {name: nothing for name in self._names()}
        for (at, pixels), (_, large) in zip(_batches(words, rows), _batches(words, STRIP_ROWS), strict=True):
            with torch.set_grad_enabled(not self.trains_decoder_alone):
                columns = self.student.columns(self.student.strips_of(pixels))
            targets = torch.nn.utils.rnn.pad_sequence(
                [torch.tensor(self._ids(words[i].text)) for i in at], batch_first=True, padding_value=self.student.charset.pad
            ).to(self.device)
            share = len(at) / len(words)
            found = self.student.column_losses(columns, targets, self.attention_share)
            if self.distills:
                logits = self.student.head(columns).float()
                with torch.no_grad():
                    wanted = self.teacher.columns(self.teacher.strips_of(large))
                    said = self.teacher.head(wanted).float()
                found.update(column_distillation_losses(columns, logits, wanted, said, self.temperatures))
            for name in total:
                total[name] = total[name] + share * found[name]
        weighted = {name: self.weights[WEIGHTS[name]] * value for name, value in total.items()}
        return StepLosses(weighted, UNITS, {"word": float(len(words))})

    def _names(self) -> list[str]:
        """Return the losses that count."""
        absent = {"loss_attention"} if self.student.decoder is None else set()
        return [name for name, weight in WEIGHTS.items() if self.weights[weight] > 0 and name not in absent]

    @property
    def distills(self) -> bool:
        """Whether the teacher is asked at all."""
        return self.weights["characters"] > 0 or self.weights["columns"] > 0

    def _ids(self, text: str) -> list[int]:
        charset = self.student.charset
        return charset.encode(text, len(text) + 1).tolist()


def column_distillation_losses(
    columns: torch.Tensor,
    logits: torch.Tensor,
    wanted: torch.Tensor,
    said: torch.Tensor,
    temperatures: Sequence[float],
) -> dict[str, torch.Tensor]:
    """Return two losses, each a mean over the columns of all words.

    - `loss_kd_characters`: sum over T of T^2 KL(teacher || student) of characters softened by T (Hinton et al. 2015).
    - `loss_kd_columns`: mean squared difference of column features with mean 0 and variance 1 over the channels.

    Args:
        columns, wanted: of student and teacher (N, L, C).
        logits, said: likewise (N, L, V).

    Raises:
        ValueError: the numbers of columns differ.
    """
    if columns.shape != wanted.shape:
        raise ValueError(f"columns of student {tuple(columns.shape)} and teacher {tuple(wanted.shape)} differ in shape")
    characters = logits.sum() * 0
    for t in temperatures:
        target = (said / t).log_softmax(-1)
        divergence = F.kl_div((logits / t).log_softmax(-1), target, reduction="none", log_target=True).sum(-1)
        characters = characters + t * t * divergence.mean()
    own, other = (F.layer_norm(x.float(), x.shape[-1:]) for x in (columns, wanted))
    return {"loss_kd_characters": characters, "loss_kd_columns": F.mse_loss(own, other)}


def _batches(words: list[StripWord], rows: int):
    """Yield positions and pixels of batches of one padded width; the same positions at every height."""
    return strip_batches([word.strips[rows] for word in words], [StripSize(rows, word.width) for word in words])
