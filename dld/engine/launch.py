"""Starts one process or several: `--num-gpus N` as in detectron2, or torchrun."""

from __future__ import annotations

import logging
import os

import torch
import torch.distributed as dist
from detectron2.engine import default_argument_parser
from detectron2.engine import launch as detectron2_launch
from detectron2.utils import comm

__all__ = ["check_counts", "launch", "process_count", "started_by_torchrun"]

logger = logging.getLogger(__name__)


def started_by_torchrun() -> bool:
    """Tell whether torchrun (or anything that sets its variables) started this process."""
    return "TORCHELASTIC_RUN_ID" in os.environ or {"RANK", "WORLD_SIZE", "LOCAL_RANK"} <= set(os.environ)


def check_counts(num_gpus: int, num_machines: int, machine_rank: int) -> None:
    """Raise ValueError for more GPUs than are present, or counts that make no sense; torchrun's own count goes first."""
    present = torch.cuda.device_count()
    if started_by_torchrun():
        count = local_count()
        if present and count > present:
            raise ValueError(f"torchrun started {count} processes here, {present} GPU(s) present")
        return
    if num_gpus < 0 or num_machines < 1 or not 0 <= machine_rank < num_machines:
        raise ValueError(
            f"--num-gpus {num_gpus} --num-machines {num_machines} --machine-rank {machine_rank}: need at least one "
            "machine and a rank below their number"
        )
    if present and num_gpus > present:
        raise ValueError(f"--num-gpus {num_gpus} asked for, {present} GPU(s) present")


def process_count(num_gpus: int, num_machines: int) -> int:
    """Return the number of processes of the whole job."""
    return int(os.environ["WORLD_SIZE"]) if started_by_torchrun() else max(num_gpus, 1) * num_machines


def local_count() -> int:
    """Return the number of processes that torchrun started on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", os.environ["WORLD_SIZE"]))


def launch(main, num_gpus: int, num_machines: int, machine_rank: int, dist_url: str, args: tuple) -> None:
    """Run `main(*args)` in every process of the job.

    On a machine without GPU, `num_gpus` counts CPU processes (gloo). Under torchrun the processes exist already. When a
    process of this machine dies, the others are ended and its error is raised here; on other machines the next exchange
    with it fails.

    Raises:
        ValueError: more GPUs asked for than present, or counts that make no sense; the message says how many there are.
    """
    if started_by_torchrun():
        join_torchrun()
        _work_and_leave_together(main, *args)
        return
    check_counts(num_gpus, num_machines, machine_rank)
    if not torch.cuda.device_count() and num_gpus > 1:
        logger.warning("no GPU: %d CPU processes (gloo) instead", num_gpus)
        # the processes share the cores; each taking all of them is slower than each taking its part
        threads = max((os.cpu_count() or 1) // num_gpus, 1)
        os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    if num_machines == 1 and dist_url == default_argument_parser().get_default("dist_url"):
        # detectron2's default is one port for each user: a second job on this machine would not start
        dist_url = "auto"
    detectron2_launch(_work_and_leave_together, max(num_gpus, 1), num_machines, machine_rank, dist_url, (main, *args))


def _work_and_leave_together(main, *args) -> None:
    """Run `main(*args)`; no process takes its connections away while others still work."""
    main(*args)
    # not after an error: the others may be waiting for this process, which must end for them to end
    if dist.is_initialized():
        comm.synchronize()
        dist.destroy_process_group()


def join_torchrun() -> None:
    """Join the process group torchrun set up, and detectron2's group of this machine's processes."""
    check_counts(0, 1, 0)
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    comm.create_local_process_group(local_count())
