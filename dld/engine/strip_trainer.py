"""Training of the reader of strips: words instead of images, accuracy by height instead of end-to-end scores."""

from __future__ import annotations

import json
import logging
import os
from collections import Counter

import torch
from detectron2.engine import HookBase, hooks
from detectron2.utils import comm
from tqdm import tqdm

from dld.data.build import build_train_loader, get_text_dataset
from dld.data.strip_words import StripMapper
from dld.engine.learning_curve import LearningCurve
from dld.engine.run_folder import tidy_run_folder
from dld.engine.trainer import SpotterTrainer
from dld.evaluation.strip_accuracy import strip_accuracy
from dld.model_zoo import find_weights
from dld.modeling.recognition.strip_recognizer import (
    StripRecognizer,
    charset_of_strips,
    load_strip_recognizer,
)
from dld.strips.grouping import StripSize, strip_batches
from dld.utils.atomic_write import atomic_write
from dld.utils.number_format import inference_dtype
from dld.weights import load_weights_file, save_safetensors

__all__ = ["READER_FILE", "ReaderFile", "StripTrainer", "holds_reader", "read_set"]

logger = logging.getLogger(__name__)

READER_FILE = "reader.safetensors"
RESULTS_FILE = "strip_accuracy.json"


def holds_reader(path: str, trust_pickle: bool = False) -> bool:
    """Tell whether a file holds a reader of strips by itself, not a checkpoint of its training."""
    return "charset_codes" in load_weights_file(find_weights(path, readers=True), trust_pickle)["model"]


class ReaderFile(HookBase):
    """Writes the student as a file that MODEL.STRIPS.WEIGHTS and LOW_WEIGHTS take, whenever a checkpoint is written."""

    def __init__(self, period: int, folder: str) -> None:
        self.period, self.path = period, os.path.join(folder, READER_FILE)

    def after_step(self) -> None:
        if (self.trainer.iter + 1) % self.period == 0:
            self.write()

    def after_train(self) -> None:
        self.write()

    def write(self) -> None:
        """Write it, in half precision, whole or not at all."""
        student = self.trainer.unwrapped_model.student
        metadata = {"source": "training on strips", "iteration": str(self.trainer.iter + 1), **student.encoder_metadata}
        save_safetensors(self.path, student.state_dict(), metadata)


class EmptyBatchesBetween:
    """A loader whose batches are each followed by empty ones, in which nothing new is read."""

    def __init__(self, loader, count: int) -> None:
        self.loader, self.count = loader, count

    def __getattr__(self, name: str):
        return getattr(self.loader, name)

    def __iter__(self):
        for batch in self.loader:
            yield batch
            for _ in range(self.count):
                yield []


class StripTrainer(SpotterTrainer):
    """SpotterTrainer for :class:`~dld.modeling.meta_arch.strip_distiller.StripDistiller`.

    SOLVER.IMS_PER_BATCH counts images; a step reads all their words, up to INPUT.MAX_READ_WORDS of each.
    """

    start_without_weights = "the student starts from its teacher, MODEL.STRIPS.WEIGHTS (its encoder: MODEL.STRIPS.ENCODER)"

    @classmethod
    def build_train_loader(cls, cfg):
        """Build the endless loader over the words of DATASETS.TRAIN.

        With MODEL.STRIPS.TRAINING.COLUMN_REUSE n, n - 1 empty batches follow on each.
        """
        charset = charset_of_strips(cfg, load_strip_recognizer(cfg.MODEL.STRIPS.WEIGHTS).charset)
        mapper = StripMapper.from_config(cfg, charset)
        loader = build_train_loader(cfg, comm.get_rank(), comm.get_world_size(), mapper)
        reuse = cfg.MODEL.STRIPS.TRAINING.COLUMN_REUSE
        return EmptyBatchesBetween(loader, reuse - 1) if reuse > 1 else loader

    def resume_or_load(self, resume: bool = True) -> None:
        """Go on from the last checkpoint, or start from MODEL.WEIGHTS: a checkpoint of such a training or a reader's file."""
        path = self.cfg.MODEL.WEIGHTS
        going_on = resume and self.checkpointer.has_checkpoint()
        if path and not going_on and holds_reader(path, self.cfg.MODEL.TRUST_PICKLE):
            self.unwrapped_model.start_from(load_strip_recognizer(path))
            logger.info("the student starts from the reader %s", path)
            if comm.is_main_process() and resume:
                # the run was killed before its first checkpoint
                tidy_run_folder(self.cfg.OUTPUT_DIR, 0)
            return
        super().resume_or_load(resume)

    @classmethod
    def test(cls, cfg, model, evaluators=None) -> dict:
        """Score the reader as :meth:`scores` does, and write the shares."""
        results = cls.scores(cfg, model)
        if comm.is_main_process() and results:
            text = json.dumps(results, indent=2)
            atomic_write(os.path.join(cfg.OUTPUT_DIR, RESULTS_FILE), lambda f: f.write(text.encode()))
        return results

    @classmethod
    def scores(cls, cfg, model) -> dict:
        """Score every set of DATASETS.TEST at every height of MODEL.STRIPS.TRAINING.TEST_ROWS; log the shares.

        Returns:
            {set: {rows: {kind: per cent of words read}}}.
        """
        reader = getattr(model, "module", model).student
        results: dict[str, dict] = {}
        for name in cfg.DATASETS.TEST:
            results[name] = read_set(cfg, reader, name)
            for rows, shares in results[name].items():
                logger.info("%s, %s rows: %s", name, rows, "  ".join(f"{k} {v:.1f}" for k, v in shares.items()))
        return results

    def build_hooks(self) -> list:
        """Build the hooks of SpotterTrainer, that of the learning curve, and that of the reader's file."""
        ret, words = super().build_hooks(), self.cfg.MODEL.STRIPS.TRAINING.CURVE_WORDS
        if words and self.cfg.DATASETS.TEST:
            curve = LearningCurve(words, lambda: self.scores(self.cfg, self.model), self.cfg.OUTPUT_DIR)
            # in front of the checkpoints, which hold its rows
            at = [i for i, hook in enumerate(ret) if isinstance(hook, hooks.PeriodicWriter)]
            ret.insert(at[0] if at else len(ret), curve)
        if comm.is_main_process():
            ret.append(ReaderFile(self.cfg.SOLVER.CHECKPOINT_PERIOD, self.cfg.OUTPUT_DIR))
        return ret

    def hooks_after_evaluation(self) -> list:
        """Build none: the scores are of several heights, none of which is the one that counts, and nothing is found."""
        return []


@torch.no_grad()
def read_set(cfg, reader: StripRecognizer, name: str) -> dict[str, dict[str, float]]:
    """Read the annotated words of a data set; return {rows: shares}, see :func:`strip_accuracy`.

    At most TEST_IMAGES images are read where that is set. What is left out is logged by reason.

    Raises:
        ValueError: the set has no word to read.
    """
    node = cfg.MODEL.STRIPS.TRAINING
    mapper, dataset = StripMapper.from_config(cfg, reader.charset, False), get_text_dataset(name)
    count = min(len(dataset), node.TEST_IMAGES or len(dataset))
    dtype = inference_dtype(cfg.MODEL.INFERENCE_DTYPE, cfg.MODEL.DEVICE)
    rows_of: dict[str, list] = {str(rows): [] for rows in mapper.rows}
    skipped: Counter = Counter()
    trained = reader.training
    reader.eval()
    for i in tqdm(range(count), desc=f"words of {name}", unit="image", disable=None):
        record = mapper(dataset[i], None)
        skipped.update(record["skipped"])
        words = record["words"]
        for rows in mapper.rows:
            sizes = [StripSize(rows, word.width) for word in words]
            for at, pixels in strip_batches([word.strips[rows] for word in words], sizes):
                with torch.autocast(reader.head.weight.device.type, dtype, enabled=dtype is not None):
                    said = reader.read(pixels)
                for k, seen in zip(at, said, strict=True):
                    text = "".join(reader.charset.characters[j - 1] for j in seen.ids)
                    rows_of[str(rows)].append((words[k].text, text, words[k].height, words[k].fill))
    reader.train(trained)
    if skipped:
        logger.info("%s: left out: %s", name, ", ".join(f"{n} {reason}" for reason, n in sorted(skipped.items())))
    if not any(rows_of.values()):
        raise ValueError(f"{name}: no word to read in {count} images")
    return {rows: strip_accuracy(words) for rows, words in rows_of.items()}
