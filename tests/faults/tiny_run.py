"""A training run small enough to be killed and begun again many times, as the command that a user would type."""

import json
import os
import subprocess
import sys
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from tiny_settings import TINY  # noqa: E402

TRAIN_NET = ROOT / "projects" / "DLD" / "train_net.py"

# a disk on which every write takes a moment: a kill can hit it
SLOW_DISK = """
import os, sys, time
sync = os.fsync
def slow(descriptor):
    time.sleep(0.15)
    sync(descriptor)
os.fsync = slow
from dld.cli.train import main
sys.exit(main(sys.argv[1:]))
"""

GENERATED = [
    "DATASETS.TRAIN",
    "('synthwords_train',)",
    "DATASETS.SYNTHWORDS.SIZE",
    "[96, 128]",
    "DATASETS.SYNTHWORDS.VAL_LENGTH",
    "3",
    "INPUT.MIN_SIZE_TRAIN",
    "(96,)",
]


def overrides(*more: object) -> list[str]:
    """KEY VALUE words of a command line: the tiny spotter on small generated pictures, then `more`."""
    return [*map(str, TINY), *GENERATED, *map(str, more)]


def environment(**more: str) -> dict[str, str]:
    """Of a child process: one thread, this checkout first."""
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive", **more}


def train_command(
    output: Path, *more: object, config: str = "teacher_tiny", slow_disk: bool = False, script: Path = TRAIN_NET
) -> list[str]:
    """The command that trains into a folder; options first, then overrides."""
    options = [str(word) for word in more if str(word).startswith("--")]
    keys = [word for word in more if not str(word).startswith("--")]
    start = ["-c", SLOW_DISK] if slow_disk else [str(script)]
    config_file = ["--config-file", str(ROOT / "configs" / f"{config}.yaml")]
    return [sys.executable, *start, *config_file, *options, *overrides("OUTPUT_DIR", output, *keys)]


def run(command: list[str], timeout: float = 600, **env: str) -> subprocess.CompletedProcess:
    """Run to the end; stdout and stderr together as text."""
    return subprocess.run(
        command, env=environment(**env), cwd=ROOT, timeout=timeout, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


def metrics(folder: Path) -> list[dict]:
    """The lines of metrics.json without what the clock says."""
    clock = {"time", "data_time", "rank_data_time", "eta_seconds"}
    lines = (json.loads(line) for line in (folder / "metrics.json").read_text().splitlines())
    return [{k: v for k, v in line.items() if k not in clock} for line in lines]


def differences(a, b, where: str = "") -> list[str]:
    """Where two checkpoints (or lists, dicts, tensors, numbers in them) differ, bit for bit."""
    if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
        same = a.dtype == b.dtype and a.shape == b.shape and a.numpy().tobytes() == b.numpy().tobytes()
        return [] if same else [f"{where}: tensors differ"]
    if isinstance(a, dict) and isinstance(b, dict):
        missing = [f"{where}.{k}: only in one" for k in a.keys() ^ b.keys()]
        return missing + [d for k in a.keys() & b.keys() for d in differences(a[k], b[k], f"{where}.{k}")]
    if isinstance(a, list | tuple) and isinstance(b, list | tuple) and len(a) == len(b):
        return [d for i, (x, y) in enumerate(zip(a, b, strict=True)) for d in differences(x, y, f"{where}[{i}]")]
    return [] if type(a) is type(b) and a == b else [f"{where}: {a!r} against {b!r}"]


def compare_runs(first: Path, second: Path) -> list[str]:
    """Differences between two finished runs: last and best checkpoint in every bit, and every logged loss and score."""
    found = []
    for name in ("model_final.pth", "model_best.pth"):
        if not (first / name).exists():
            continue
        if not (second / name).exists():
            found.append(f"{name}: only in one")
            continue
        one, other = (torch.load(folder / name, weights_only=True) for folder in (first, second))
        for state, folder in ((one, first), (other, second)):
            state["config"] = state["config"].replace(str(folder), "")
        found += differences(one, other, name)
    return found + differences(metrics(first), metrics(second), "metrics.json")
