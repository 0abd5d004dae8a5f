"""Hooks of the training loop."""

from __future__ import annotations

import logging
import math
import os
import time

import torch
from detectron2.data import MetadataCatalog
from detectron2.engine import HookBase
from detectron2.utils import comm

from dld.data.dataset_mapper import read_dict_image
from dld.drawing.visualizer import TextVisualizer

__all__ = ["BestSpotter", "FinalCheckpoint", "PicturesOfPredictions", "TimeLimit"]

logger = logging.getLogger(__name__)


class BestSpotter(HookBase):
    """Keeps `model_best.pth`, the checkpoint of the best end-to-end H-mean; a run is resumed from the latest, not from it.

    Stands behind the evaluation and in front of the periodic checkpoint, so that the checkpoint knows the newest best score.

    Args:
        eval_period: iterations between two evaluations; the last iteration is evaluated as well.
        checkpointer: writes it.
        metric: name in the event storage.
    """

    def __init__(self, eval_period: int, checkpointer, metric: str = "e2e/hmean") -> None:
        self.period, self.checkpointer, self.metric = eval_period, checkpointer, metric
        self.best_metric: float | None = None
        self.best_iter: int | None = None

    def state_dict(self) -> dict:
        return {"best_metric": self.best_metric, "best_iter": self.best_iter}

    def load_state_dict(self, state: dict) -> None:
        self.best_metric, self.best_iter = state["best_metric"], state["best_iter"]

    def after_step(self) -> None:
        done = self.trainer.iter + 1
        if done % self.period == 0 and done != self.trainer.max_iter:
            self.compare()

    def after_train(self) -> None:
        if self.trainer.iter + 1 >= self.trainer.max_iter:
            self.compare()

    def compare(self) -> None:
        """Save the model if the latest score is higher than any before."""
        latest = self.trainer.storage.latest().get(self.metric)
        if latest is None:
            logger.warning("the evaluation gave no %s: no best checkpoint is kept", self.metric)
            return
        score, iteration = latest
        # what is scored at the end counts as of an iteration that does not take place
        iteration = min(iteration, self.trainer.max_iter - 1)
        if not math.isfinite(score) or (self.best_metric is not None and score <= self.best_metric):
            return
        # before saving: the checkpoint itself must know that it is the best
        self.best_metric, self.best_iter = score, iteration
        self.checkpointer.save("model_best", is_last=False, iteration=iteration)
        logger.info("best %s so far: %.2f after iteration %d", self.metric, score, iteration + 1)


class TimeLimit(HookBase):
    """Ends training, as if at its last iteration, after so many minutes; every process ends at the same iteration.

    Args:
        minutes: wall-clock time from the first step of this run on.
    """

    def __init__(self, minutes: float) -> None:
        self.seconds = 60.0 * minutes

    def before_train(self) -> None:
        self.start = time.monotonic()

    def after_step(self) -> None:
        over = time.monotonic() - self.start > self.seconds
        if comm.get_world_size() > 1:
            over = comm.all_gather(over)[0]
        if over and self.trainer.iter + 1 < self.trainer.max_iter:
            logger.info("time limit: training ends after iteration %d", self.trainer.iter + 1)
            self.trainer.max_iter = self.trainer.iter + 1


class FinalCheckpoint(HookBase):
    """Writes `model_final.pth` where a time limit ends training; PeriodicCheckpointer does at the planned end."""

    def __init__(self, checkpointer) -> None:
        self.checkpointer = checkpointer

    def before_train(self) -> None:
        self.planned = self.trainer.max_iter

    def after_step(self) -> None:
        if self.trainer.iter + 1 == self.trainer.max_iter < self.planned:
            self.checkpointer.save("model_final", iteration=self.trainer.iter)


class PicturesOfPredictions(HookBase):
    """Draws what the model reads on the first images of a data set, to tensorboard and OUTPUT_DIR/pictures.

    Args:
        period: iterations between two drawings; the last iteration draws as well.
        dataset: sequence of dataset dicts.
        mapper: test mapper.
        output_dir: pictures go to its folder `pictures/`.
        count: images drawn.
        metadata: of the data set.
    """

    def __init__(self, period: int, dataset, mapper, output_dir: str, count: int, name: str) -> None:
        self.period, self.dataset, self.mapper, self.count = period, dataset, mapper, count
        self.folder, self.metadata = os.path.join(output_dir, "pictures"), MetadataCatalog.get(name)

    def after_step(self) -> None:
        done = self.trainer.iter + 1
        if done % self.period == 0 or done == self.trainer.max_iter:
            self.draw()

    @torch.no_grad()
    def draw(self) -> None:
        """Draw the pictures now."""
        os.makedirs(self.folder, exist_ok=True)
        model = self.trainer.unwrapped_model
        was_training = model.training
        model.eval()
        try:
            for i in range(min(self.count, len(self.dataset))):
                self._draw_one(model, i)
        finally:
            model.train(was_training)
        logger.info("pictures of predictions are in %s", self.folder)

    def _draw_one(self, model, i: int) -> None:
        record = self.dataset[i]
        output = model([self.mapper(record)])[0]
        visualizer = TextVisualizer(read_dict_image(record)[:, :, ::-1], self.metadata)
        visualizer.draw_spotting(output["instances"])
        picture = visualizer.get_output()
        picture.save(os.path.join(self.folder, f"{self.trainer.iter + 1:07d}_{i}.jpg"))
        self.trainer.storage.put_image(f"predictions/{i}", picture.get_image().transpose(2, 0, 1).astype("float32") / 255)
