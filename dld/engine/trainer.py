"""Training loop of the base spotter: detectron2's DefaultTrainer, for any device and number of processes."""

from __future__ import annotations

import logging
import weakref
from functools import partial

import torch
from detectron2.engine import DefaultTrainer, TrainerBase, hooks
from detectron2.solver.build import get_default_optimizer_params
from detectron2.utils import comm
from detectron2.utils.events import EventStorage, get_event_storage
from torch.nn.parallel import DistributedDataParallel

import dld.modeling  # noqa: F401  only registration
from dld.data.build import build_test_loader, build_train_loader, get_text_dataset
from dld.data.dataset_mapper import TextDatasetMapper
from dld.engine.checkpoint import SpotterCheckpointer
from dld.engine.hooks import BestSpotter, FinalCheckpoint, PicturesOfPredictions, TimeLimit
from dld.engine.run_folder import periodic_checkpoints, tidy_run_folder
from dld.engine.search_options import SearchOptions
from dld.engine.train_step import StepTrainer, amp_dtype
from dld.engine.width_search import CutWidths, SearchWidths
from dld.evaluation.text_evaluator import TextSpottingEvaluator
from dld.modeling.meta_arch.spotter import Spotter

__all__ = ["SpotterTrainer", "distribute", "scaled_learning_rate"]

logger = logging.getLogger(__name__)

# detectron2's writers show the median over so many iterations, and write as often
SMOOTHED = 20
# what the clock says differs from run to run
TIMINGS = ("time", "data_time", "rank_data_time", "eta_seconds")


def distribute(model: torch.nn.Module) -> torch.nn.Module:
    """Wrap for several processes. Unlike detectron2's helper this names no device for models on CPU."""
    if comm.get_world_size() == 1:
        return model
    device = next(model.parameters()).device
    ids = [device.index if device.index is not None else comm.get_local_rank()] if device.type == "cuda" else None
    return DistributedDataParallel(model, device_ids=ids, broadcast_buffers=False)


def scaled_learning_rate(base: float, batch: int, reference: int) -> float:
    """Scale the rate linearly (Goyal et al. 2017): `base` was meant for `reference` images a batch; 0 leaves it alone."""
    return base * batch / reference if reference else base


def rate_factors(cfg, model: torch.nn.Module) -> dict[str, float]:
    """Return the factors of the learning rate of a model, by the beginning of parameters' names.

    They are those of its spotters (:meth:`~dld.modeling.meta_arch.spotter.Spotter.learning_rate_factors`) and its selector.
    """
    factors = {"selector.": cfg.MODEL.SELECTOR.LR_FACTOR}
    for name, module in model.named_modules():
        if isinstance(module, Spotter):
            factors |= {f"{name}.{start}".lstrip("."): factor for start, factor in module.learning_rate_factors(cfg).items()}
    return factors


def rate_factor(factors: dict[str, float], name: str) -> float:
    """Return the factor of a parameter: of the longest beginning that fits; 1 where none does."""
    return factors[max(fitting, key=len)] if (fitting := [start for start in factors if name.startswith(start)]) else 1.0


class SpotterTrainer(DefaultTrainer):
    """Builds model, optimizer, loader, hooks and checkpointer from a configuration.

    Attributes as in DefaultTrainer; `resume_or_load` and `train` likewise. Checkpoints hold model, optimizer,
    scheduler, iteration, AMP scaler and the state of the hooks; the order of the data and every random number follow
    from seed and iteration.
    """

    step_class = StepTrainer
    start_without_weights = "MODEL.WEIGHTS is empty: every layer, the backbone included, starts from random weights"

    def __init__(self, cfg) -> None:
        TrainerBase.__init__(self)
        cfg = self.auto_scale_workers(cfg, comm.get_world_size())
        self.cfg = cfg
        self.start_iter, self.max_iter = 0, cfg.SOLVER.MAX_ITER
        model = self.build_model(cfg)
        optimizer = self.build_optimizer(cfg, model)
        loader = self.build_train_loader(cfg)
        dtype = amp_dtype(cfg.SOLVER.AMP.ENABLED, cfg.SOLVER.AMP.DTYPE, torch.device(cfg.MODEL.DEVICE))
        self._trainer = self.step_class(
            distribute(model),
            loader,
            optimizer,
            dtype=dtype,
            clip_groups=self.clip_groups(model),
            clip_norm=self.clip_norms(),
            seed=max(cfg.SEED, 0),
            dump_dir=cfg.OUTPUT_DIR,
        )
        self.scheduler = self.build_lr_scheduler(cfg, optimizer)
        self.checkpointer = SpotterCheckpointer(
            model,
            cfg.OUTPUT_DIR,
            charset_transfer=cfg.MODEL.CHARSET_TRANSFER,
            trust_pickle=cfg.MODEL.TRUST_PICKLE,
            extra={"config": cfg.dump()},
            searches=cfg.MODEL.COMPRESSION.ENABLED,
            trainer=weakref.proxy(self),
        )
        self.register_hooks(self.build_hooks())

    @property
    def unwrapped_model(self) -> torch.nn.Module:
        """Return the model without its distributed wrapper."""
        return self._trainer.unwrapped_model

    def resume_or_load(self, resume: bool = True) -> None:
        """Go on from the last checkpoint of OUTPUT_DIR, or start from MODEL.WEIGHTS, or from nothing; log which."""
        super().resume_or_load(resume)
        self.data_loader.batch_sampler.start_iteration = self.start_iter
        if comm.is_main_process() and resume:
            # also where the run was killed before its first checkpoint
            tidy_run_folder(self.cfg.OUTPUT_DIR, self.start_iter)
            self._periodic.recent_checkpoints = periodic_checkpoints(self.cfg.OUTPUT_DIR)
        if self.start_iter:
            start = f"resuming after iteration {self.start_iter}"
        elif self.cfg.MODEL.WEIGHTS:
            start = f"starting from the weights {self.cfg.MODEL.WEIGHTS}"
        else:
            start = self.start_without_weights
        logger.info(start)

    @classmethod
    def clip_groups(cls, model: torch.nn.Module) -> list[list[torch.nn.Parameter]]:
        """Return groups of parameters whose gradients are clipped together."""
        return [[p for p in model.parameters() if p.requires_grad]]

    def clip_norms(self) -> list[float]:
        """Return the largest gradient norm of each of :meth:`clip_groups`; 0: not clipped."""
        clip = self.cfg.SOLVER.CLIP_GRADIENTS
        return [clip.CLIP_VALUE if clip.ENABLED else 0.0]

    @classmethod
    def build_model(cls, cfg) -> torch.nn.Module:
        """Build the model with detectron2's build_model; log its size instead of its print-out."""
        from detectron2.modeling import build_model

        model = build_model(cfg)
        total = sum(p.numel() for p in model.parameters())
        logger.info("%s: %.2f M parameters on %s", type(model).__name__, total / 1e6, cfg.MODEL.DEVICE)
        return model

    @classmethod
    def build_optimizer(cls, cfg, model: torch.nn.Module) -> torch.optim.Optimizer:
        """Build AdamW or SGD over the trained parameters, with detectron2's rules for weight decay."""
        rate = scaled_learning_rate(cfg.SOLVER.BASE_LR, cfg.SOLVER.IMS_PER_BATCH, cfg.SOLVER.REFERENCE_BATCH)
        groups = get_default_optimizer_params(
            model,
            base_lr=rate,
            weight_decay_norm=cfg.SOLVER.WEIGHT_DECAY_NORM,
            bias_lr_factor=cfg.SOLVER.BIAS_LR_FACTOR,
            weight_decay_bias=cfg.SOLVER.WEIGHT_DECAY_BIAS,
            lr_factor_func=partial(rate_factor, rate_factors(cfg, model)),
        )
        logger.info("learning rate %.2e for batches of %d images", rate, cfg.SOLVER.IMS_PER_BATCH)
        if cfg.SOLVER.OPTIMIZER == "AdamW":
            return torch.optim.AdamW(groups, lr=rate, weight_decay=cfg.SOLVER.WEIGHT_DECAY)
        if cfg.SOLVER.OPTIMIZER == "SGD":
            return torch.optim.SGD(groups, lr=rate, momentum=cfg.SOLVER.MOMENTUM, weight_decay=cfg.SOLVER.WEIGHT_DECAY)
        raise ValueError(f"SOLVER.OPTIMIZER must be AdamW or SGD, got {cfg.SOLVER.OPTIMIZER!r}")

    @classmethod
    def build_train_loader(cls, cfg):
        """Build the endless loader over DATASETS.TRAIN."""
        return build_train_loader(cfg, comm.get_rank(), comm.get_world_size())

    @classmethod
    def build_test_loader(cls, cfg, dataset_name: str):
        """Build the loader over one set of DATASETS.TEST."""
        return build_test_loader(cfg, dataset_name)

    @classmethod
    def build_evaluator(cls, cfg, dataset_name: str):
        """Build the evaluator of detection, end-to-end and word-spotting scores by the protocol of the data set, or by
        TEST.PROTOCOL."""
        return TextSpottingEvaluator(dataset_name, cfg.TEST.PROTOCOL or None, cfg.OUTPUT_DIR)

    def build_hooks(self) -> list:
        """Build the hooks: timing, schedule, search of widths, evaluation, best checkpoint, pictures, checkpoints, writers."""
        cfg = self.cfg
        ret = [hooks.IterationTimer(), hooks.LRScheduler()]
        main = comm.is_main_process()
        if cfg.SOLVER.MAX_MINUTES:
            ret.append(TimeLimit(cfg.SOLVER.MAX_MINUTES))
        options, last = SearchOptions.of(cfg), []
        if options is not None:
            search = SearchWidths(cfg, options, self.unwrapped_model)
            ret.append(search)
            # in every process: the gates are taken out of each, the file is written by the first
            last.append(CutWidths(search, self.checkpointer))

        def evaluate():
            self._last_eval_results = self.test(self.cfg, self.model)
            # detectron2 flattens the results into the storage: e2e/hmean, or NAME/e2e/hmean for several sets
            return self._last_eval_results

        if cfg.DATASETS.TEST:
            ret.append(hooks.EvalHook(cfg.TEST.EVAL_PERIOD, evaluate))
            if main:
                ret += self.hooks_after_evaluation()
        if main:
            # behind evaluation and writers: a run resumed from a checkpoint written before them would lack their scores
            self._periodic = hooks.PeriodicCheckpointer(self.checkpointer, cfg.SOLVER.CHECKPOINT_PERIOD, max_to_keep=3)
            ret.append(hooks.PeriodicWriter(self.build_writers(), period=SMOOTHED))
            ret += [self._periodic, FinalCheckpoint(self.checkpointer)]
        return [*ret, *last]

    def hooks_after_evaluation(self) -> list:
        """Build what keeps the best checkpoint by the scores, and draws predictions on the first set of DATASETS.TEST."""
        cfg, name = self.cfg, self.cfg.DATASETS.TEST[0]
        metric = f"{name}/e2e/hmean" if len(cfg.DATASETS.TEST) > 1 else "e2e/hmean"
        # also with EVAL_PERIOD 0: then only the scores after the last iteration count
        ret = [BestSpotter(cfg.TEST.EVAL_PERIOD or cfg.SOLVER.MAX_ITER, self.checkpointer, metric)]
        if cfg.TEST.PICTURE_PERIOD:
            mapper = TextDatasetMapper(cfg, False)
            dataset, period = get_text_dataset(name), cfg.TEST.PICTURE_PERIOD
            ret.append(PicturesOfPredictions(period, dataset, mapper, cfg.OUTPUT_DIR, cfg.TEST.PICTURES, name))
        return ret

    def state_dict(self) -> dict:
        """Add the scalars that the writers will need: logs show medians over 20 iterations, and are written as often."""
        ret = super().state_dict()
        storage = getattr(self, "storage", None)
        if storage is not None:
            # the writers, which come before the checkpoints, write every SMOOTHED iterations and at the end
            at_end = self.iter + 1 == self.max_iter
            written = self.iter if at_end else (self.iter + 1) // SMOOTHED * SMOOTHED - 1
            hints, scalars = storage.smoothing_hints(), {}
            for name, history in storage.histories().items():
                # some are put several times an iteration; without smoothing only the latest counts
                values = history.values()[-50 * SMOOTHED :] if hints[name] else history.values()[-1:]
                values = [[value, i] for value, i in values if i > self.iter - SMOOTHED]
                if values and name not in TIMINGS and (hints[name] or values[-1][1] > written):
                    scalars[name] = {"smoothed": hints[name], "written": values[-1][1] <= written, "values": values}
            ret["last_scalars"] = scalars
        return ret

    def load_state_dict(self, state_dict: dict) -> None:
        super().load_state_dict(state_dict)
        self._last_scalars = state_dict.get("last_scalars", {})

    def train(self):
        """Run from `start_iter` until `max_iter`, which a hook may lower; return the last scores, if any.

        After an error nothing is evaluated or saved any more (the other processes might wait for this one in vain); what
        was measured until then is written out.

        Raises:
            OSError: nothing more can be written; the message names the last whole checkpoint.
        """
        logger.info("training from iteration %d to %d", self.start_iter, self.max_iter)
        self.iter = self.start_iter
        with EventStorage(self.start_iter) as self.storage:
            self._restore_scalars()
            try:
                self.before_train()
                while self.iter < self.max_iter:
                    self.before_step()
                    self.run_step()
                    self.after_step()
                    self.iter += 1
                self.after_train()
            except OSError as error:
                self._write_what_was_measured()
                last = self.checkpointer.get_checkpoint_file() or "none yet"
                raise OSError(
                    f"training stopped in iteration {self.iter}: {error}. The last whole checkpoint is {last}; --resume "
                    "goes on from it"
                ) from error
            except BaseException:
                self._write_what_was_measured()
                raise
        return getattr(self, "_last_eval_results", None)

    def _restore_scalars(self) -> None:
        for name, kept in getattr(self, "_last_scalars", {}).items():
            for value, iteration in kept["values"]:
                if kept["written"]:
                    # into the history alone: the latest value would be written once more
                    self.storage._history[name].update(value, iteration)
                    self.storage._smoothing_hints[name] = kept["smoothed"]
                else:
                    self.storage.put_scalar(name, value, smoothing_hint=kept["smoothed"], cur_iter=iteration)

    def _write_what_was_measured(self) -> None:
        for hook in self._hooks:
            if isinstance(hook, hooks.PeriodicWriter):
                try:
                    hook.after_train()
                except Exception as error:  # the disk that is full for the checkpoint is full for the log as well
                    logger.warning("the last measurements could not be written: %s", error)

    def run_step(self) -> None:
        self._trainer.iter = self.iter
        self._trainer.run_step()
        get_event_storage().put_scalar("images_seen", (self.iter + 1) * self.cfg.SOLVER.IMS_PER_BATCH, False)
