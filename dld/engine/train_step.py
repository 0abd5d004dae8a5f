"""One optimisation step: mixed precision, gradient clipping, and a stop with a report on a loss that is not finite."""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext

import torch
import torch.distributed as dist
from detectron2.engine import SimpleTrainer
from detectron2.utils import comm
from detectron2.utils.events import get_event_storage

from dld.engine.process_average import averaged_over_processes
from dld.utils.number_format import bfloat16_instructions

__all__ = ["NonFiniteLossError", "StepTrainer", "amp_dtype"]

logger = logging.getLogger(__name__)


class NonFiniteLossError(FloatingPointError):
    """A loss or a gradient became NaN or infinite."""


def amp_dtype(enabled: bool, name: str, device: torch.device) -> torch.dtype | None:
    """Return the number format of mixed precision on this device, None for full precision.

    CPUs take bfloat16 for any `name`: they have no fast float16. CPUs without instructions for bfloat16 take full precision,
    with a warning.

    Raises:
        ValueError: an unknown `name`.
    """
    if not enabled:
        return None
    if name not in ("float16", "bfloat16"):
        raise ValueError(f"SOLVER.AMP.DTYPE must be float16 or bfloat16, got {name!r}")
    if device.type != "cpu":
        return getattr(torch, name)
    if not bfloat16_instructions():
        logger.warning("this CPU has no bfloat16 instructions: SOLVER.AMP.ENABLED is passed over, everything is float32")
        return None
    return torch.bfloat16


class StepTrainer(SimpleTrainer):
    """detectron2's SimpleTrainer for any device.

    Args:
        model: returns a dict of scalar losses for a batch.
        data_loader, optimizer: as in SimpleTrainer.
        dtype: number format under autocast, None for full precision.
        clip_groups: lists of parameters clipped together.
        clip_norm: largest L2 norm of a group's gradient, one for all groups or one each; 0 clips nothing.
        seed: random numbers of a step depend on it, the iteration and the rank alone, so that a resumed run
            continues as the unbroken one would have.
        dump_dir: where the report of a loss that is not finite is written.

    Attributes:
        last_scales: the scales at which the images of the last step were read, where the model chooses them.
        last_counts: number of each unit that the losses of the last step were taken over, in this process.
    """

    def __init__(
        self, model, data_loader, optimizer, *, dtype=None, clip_groups=(), clip_norm=0.0, seed=0, dump_dir=None
    ) -> None:
        super().__init__(model, data_loader, optimizer)
        self.device = next(model.parameters()).device
        self.dtype, self.seed, self.dump_dir = dtype, seed, dump_dir
        self.clip_groups = [list(g) for g in clip_groups]
        self.clip_norms = [clip_norm] * len(self.clip_groups) if isinstance(clip_norm, (int, float)) else list(clip_norm)
        scaled = dtype == torch.float16
        self.last_scales: list[float] | None = None
        self.last_counts: dict = {}
        self.grad_scaler = torch.amp.GradScaler(self.device.type, enabled=scaled)

    def losses(self, data: list[dict]) -> dict[str, torch.Tensor]:
        """Compute the losses of a batch by name."""
        return self.model(data)

    def precision(self) -> AbstractContextManager:
        """Return the context of mixed precision in which losses are computed."""
        return nullcontext() if self.dtype is None else torch.autocast(self.device.type, self.dtype)

    def run_step(self) -> None:
        """Draw a batch, compute losses, learn from them."""
        start = time.perf_counter()
        data = next(self._data_loader_iter)
        data_time = time.perf_counter() - start
        self.last_scales = None
        torch.manual_seed((self.seed * 1_000_003 + self.iter) * 131 + comm.get_rank())
        with self.precision():
            try:
                loss_dict = self.losses(data)
            except FloatingPointError as error:  # detectron2 checks the proposals while they are made
                self._stop(f"forward pass ({error})", {}, data)
                raise
        self.last_scales = getattr(loss_dict, "scales", None)
        self.last_counts = getattr(loss_dict, "counts", {})
        loss_dict = self.weighted(averaged_over_processes(loss_dict), getattr(loss_dict, "shared", None))
        total = sum(loss_dict.values())
        self.check(total, loss_dict, data, "loss")
        self.update(total, loss_dict, data)
        self._write_metrics(loss_dict, data_time)

    def weighted(
        self, losses: dict[str, torch.Tensor], shared: Mapping[str, list[torch.Tensor]] | None
    ) -> dict[str, torch.Tensor]:
        """Return the losses as they are learned from; here as they are.

        Args:
            shared: see `StepLosses`.
        """
        return losses

    def update(self, total: torch.Tensor, loss_dict: dict[str, torch.Tensor], data: list[dict]) -> None:
        """Compute the gradients of the sum of the losses, clip them, update the weights."""
        self.optimizer.zero_grad()
        self.grad_scaler.scale(total).backward()
        self.after_backward()
        self._clip(loss_dict, data)
        self.grad_scaler.step(self.optimizer)
        self.grad_scaler.update()

    def learn_alone(
        self,
        parameter: torch.Tensor,
        optimizer: torch.optim.Optimizer,
        total: torch.Tensor,
        loss_dict: dict[str, torch.Tensor],
        data: list[dict],
    ) -> None:
        """Move a parameter that is none of the model's; its gradient is the mean over the processes, the weights get none.

        Args:
            optimizer: of this parameter, and of others that stay.
            total: the loss that it follows.
            loss_dict, data: for the report of a gradient that is not finite.
        """
        scale = self.grad_scaler.get_scale()
        (gradient,) = torch.autograd.grad(total * scale, [parameter])
        gradient = gradient / scale
        if comm.get_world_size() > 1:
            dist.all_reduce(gradient)
            gradient /= comm.get_world_size()
        if self.grad_scaler.is_enabled() and not gradient.isfinite().all():
            return  # too large for float16: the scaler lowers its factor at the next step of the weights
        self.check(gradient.sum(), loss_dict, data, "gradient")
        optimizer.zero_grad()
        parameter.grad = gradient
        optimizer.step()

    def _clip(self, loss_dict, data) -> None:
        if not self.clip_groups:
            return
        self.grad_scaler.unscale_(self.optimizer)
        for i, (group, limit) in enumerate(zip(self.clip_groups, self.clip_norms, strict=True)):
            norm = torch.nn.utils.clip_grad_norm_(group, limit if limit > 0 else float("inf"))
            if not self.grad_scaler.is_enabled():  # a scaler skips such a step itself and lowers its factor
                self.check(norm, loss_dict, data, "gradient")
            get_event_storage().put_scalar(f"grad_norm/{i}" if i else "grad_norm", float(norm))

    def check(self, value: torch.Tensor, loss_dict, data: list[dict], what: str) -> None:
        """Stop with a report (NonFiniteLossError) if a scalar is not finite."""
        if not bool(torch.isfinite(value)):
            self._stop(what, loss_dict, data)

    def _stop(self, what: str, loss_dict, data: list[dict]) -> None:
        """Write the report of a value that is not finite and raise NonFiniteLossError."""
        report = {
            "what": what,
            "iteration": self.iter,
            "losses": {k: float(v.detach()) for k, v in loss_dict.items()},
            "images": [d.get("file_name", "?") for d in data],
        }
        if self.last_scales is not None:
            report["scales"] = [float(s) for s in self.last_scales]
        text = json.dumps(report, indent=2)
        where = ""
        if self.dump_dir:
            path = os.path.join(self.dump_dir, f"non_finite_{self.iter:07d}_rank{comm.get_rank()}.json")
            try:
                with open(path, "w") as f:
                    f.write(text)
                where = f" (written to {path})"
            except OSError as error:  # the report below must not be lost for want of a file
                where = f" (not written to {path}: {error})"
        raise NonFiniteLossError(f"the {what} is not finite{where}: {text}")

    @property
    def unwrapped_model(self) -> torch.nn.Module:
        """Return the model without its distributed wrapper."""
        return getattr(self.model, "module", self.model)

    def state_dict(self) -> dict:
        ret = super().state_dict()
        ret["grad_scaler"] = self.grad_scaler.state_dict()
        return ret

    def load_state_dict(self, state_dict: dict) -> None:
        super().load_state_dict(state_dict)
        self.grad_scaler.load_state_dict(state_dict.get("grad_scaler", {}) or self.grad_scaler.state_dict())
