"""What can be said about the running of a documented command, and the changes that many of them share."""

from __future__ import annotations

import sys
from dataclasses import dataclass

__all__ = [
    "LOCAL",
    "ONE",
    "ONE_GPU",
    "Run",
    "SMALL",
    "SMALL_SPOTTER",
    "SMALL_WORDS",
    "STEP",
    "TEACHER_WEIGHTS",
    "TOOLS",
    "TRAIN",
    "TWO",
    "make",
]


@dataclass(frozen=True)
class Run:
    """One way to run a command.

    Attributes:
        append: words added at its end.
        change: (what stands there, what stands there instead), in this order; each must stand there.
        leaves: files or folders that must be there afterwards.
        says: what must stand in its output.
        first: a command that is run before, for what this one needs.
        without: stand-ins that must not be there before.
        needs: Python package without which it is skipped.
        own_process: run by a shell as it is; else its Python runs in the process of the test.
        stop_at: a line of a command that goes on for ever, which is then interrupted with ctrl-c.
        beside: a command that goes on beside it, and the line that says it is ready; stopped with ctrl-c afterwards.
        peers: changes of further copies that run at the same time, as on other machines.
        slow: takes more than some seconds.
    """

    append: str = ""
    change: tuple[tuple[str, str], ...] = ()
    leaves: tuple[str, ...] = ()
    says: str = ""
    first: str = ""
    without: tuple[str, ...] = ()
    needs: str = ""
    own_process: bool = False
    stop_at: str = ""
    beside: tuple[str, str] = ("", "")
    peers: tuple[tuple[tuple[str, str], ...], ...] = ()
    slow: bool = False


STEP = (
    "MODEL.DEVICE cpu SOLVER.MAX_ITER 1 SOLVER.STEPS '()' SOLVER.WARMUP_ITERS 0 SOLVER.AMP.ENABLED False "
    "DATALOADER.NUM_WORKERS 0 TEST.PICTURE_PERIOD 0 INPUT.MIN_SIZE_TRAIN '(96,)' INPUT.MIN_SIZE_TEST 96 "
    "INPUT.TEXT_CROP.SIZE '[96, 96]' DATASETS.SYNTHWORDS.SIZE '[96, 128]' DATASETS.SYNTHWORDS.VAL_LENGTH 1"
)
"""One step on tiny images, and one tiny image to score."""
ONE = f"{STEP} SOLVER.IMS_PER_BATCH 1"
TWO = f"{STEP} SOLVER.IMS_PER_BATCH 2"
SMALL = "INPUT.MIN_SIZE_TEST 96 MODEL.DEVICE cpu"
SMALL_SPOTTER = ('("teacher_tiny")', '("teacher_tiny", opts=["INPUT.MIN_SIZE_TEST", 96])')
SMALL_WORDS = f"{SMALL} DATASETS.SYNTHWORDS.SIZE [96,128]"
TRAIN = "python projects/DLD/train_net.py --config-file configs"
TOOLS = "python projects/DLD/tools"
ONE_GPU = ("--num-gpus 8", "--num-gpus 0")
LOCAL = "tcp://127.0.0.1:29571"
TEACHER_WEIGHTS = "MODEL.DISTILLATION.TEACHER_WEIGHTS"


def make(goal: str, **options) -> Run:
    """A goal of the Makefile without its set-up, in the interpreter of the tests."""
    return Run(change=(("make", f"make -o setup PYTHON={sys.executable}"),), own_process=True, **options)
