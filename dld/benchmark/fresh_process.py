"""Measures one thing in a process of its own, whose memory nothing before has enlarged."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import dld
from dld.benchmark.setting import Setting

__all__ = ["MARK", "in_fresh_process"]

MARK = "RESULT "


def in_fresh_process(setting: Setting, point: dict) -> dict:
    """Return what :func:`dld.benchmark.measured_point.measure_point` gives for `point`.

    Raises:
        RuntimeError: the process failed; the message has the end of what it said.
    """
    options = {k: v for k, v in asdict(setting).items() if not k.startswith("_") and k != "folder"}
    code = [sys.executable, "-m", "dld.benchmark.measured_point", json.dumps({"setting": options, "point": point})]
    root = str(Path(dld.__file__).resolve().parents[1])
    path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH", "")]))
    done = subprocess.run(code, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path})
    lines = [line for line in done.stdout.splitlines() if line.startswith(MARK)]
    if done.returncode or not lines:
        raise RuntimeError(f"measuring {point} in a process of its own failed: {done.stderr.strip()[-1500:]}")
    return json.loads(lines[-1].removeprefix(MARK))
