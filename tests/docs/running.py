"""Run a documented command: the shell reads it, with recorders in place of the programs; then the programs run in this process.

So quotation marks, globs, loops and `<` are those of a real shell, and importing torch is paid for once, not by every command.
"""

from __future__ import annotations

import io
import os
import runpy
import signal
import subprocess
import sys
import types
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from checkout import ROOT
from run_settings import Run

__all__ = ["change_command", "going_on", "in_own_process", "record", "start"]

MINUTES = 20
RECORDER = """#!/bin/bash
printf '%s\\0' "$(($# + 1))" "${0##*/}" "$@" >> "$RECORD"
cat > "$RECORD.stdin"
"""
PROGRAMS = {
    "python": "",
    "pytest": "-m pytest",
    "torchrun": "-m torch.distributed.run",
    "dld": "-m dld.cli.main",
}
"""How each program is started with the interpreter of the tests."""


def change_command(text: str, run: Run) -> str:
    """The command with the changes of its entry."""
    for old, new in run.change:
        assert old in text, f"{old!r} does not stand in: {text}"
        text = text.replace(old, new)
    return f"{text} {run.append}".rstrip()


def _programs(folder: Path, content: dict[str, str]) -> str:
    """A PATH that has these scripts first."""
    folder.mkdir(exist_ok=True)
    for name, script in content.items():
        (folder / name).write_text(script)
        (folder / name).chmod(0o755)
    return f"{folder}{os.pathsep}{os.environ['PATH']}"


def record(text: str, work: Path) -> tuple[list[list[str]], bytes]:
    """(program, arguments ...) of everything that a command in a shell would start, and its standard input."""
    path = _programs(work / ".recorders", dict.fromkeys(PROGRAMS, RECORDER))
    log = work / ".record"
    log.unlink(missing_ok=True)
    environment = {**os.environ, "PATH": path, "RECORD": str(log)}
    done = subprocess.run(
        ["bash", "-euc", text], cwd=work, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    words = iter(log.read_bytes().decode().split("\0")[:-1])
    started = [[next(words) for _ in range(int(count))] for count in words]
    return started, log.with_name(".record.stdin").read_bytes()


def start(argv: Sequence[str], stdin: bytes, monkeypatch) -> int:
    """Run what was recorded in this process; returns the exit code."""
    program, *arguments = argv
    monkeypatch.setattr(sys, "stdin", types.SimpleNamespace(buffer=io.BytesIO(stdin)))
    if program == "dld":
        program, arguments = "python", ["-m", "dld.cli.main", *arguments]
    assert program == "python", f"{program} needs own_process"
    module = arguments[0] == "-m"
    monkeypatch.setattr(sys, "argv", arguments[module:])
    try:
        if module:
            runpy.run_module(arguments[1], run_name="__main__")
        else:
            runpy.run_path(arguments[0], run_name="__main__")
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def _environment(work: Path) -> dict[str, str]:
    """In which the programs are those of the interpreter of the tests."""
    scripts = {name: f'#!/bin/bash\nexec "{sys.executable}" {how} "$@"\n' for name, how in PROGRAMS.items()}
    # what `make` was told that runs this suite is nothing for the `make` of a document
    said = ("MAKEFLAGS", "MAKEOVERRIDES", "MFLAGS", "OWN_VENV", "PYTHON")
    outside = {key: value for key, value in os.environ.items() if key not in said}
    return {
        **outside,
        "PATH": _programs(work / ".programs", scripts),
        "CUDA_VISIBLE_DEVICES": "",
        "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
        "OMP_NUM_THREADS": "1",
        "DETECTRON2_DATASETS": str(work / "data"),
        "PYTHONUNBUFFERED": "1",
    }


@contextmanager
def going_on(run: Run, work: Path) -> Iterator[None]:
    """What an entry has beside its command, ready from the beginning to the end of this context; then it must end with 0."""
    text, ready = run.beside
    if not text:
        yield
        return
    process = subprocess.Popen(
        ["bash", "-euc", text],
        cwd=work,
        env=_environment(work),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        lines = []
        while not lines or ready not in lines[-1]:
            lines.append(process.stdout.readline())
            assert lines[-1], f"{ready!r} was never printed: {''.join(lines)[-3000:]}"
        yield
        os.killpg(process.pid, signal.SIGINT)
        output = process.communicate(timeout=60)[0]
        assert process.returncode == 0, output[-3000:]
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()


def in_own_process(text: str, run: Run, work: Path) -> str:
    """Run a command in a shell, its peers beside it; returns what they print.

    Raises:
        AssertionError: an exit code that is not 0; the message holds the end of the output.
    """
    environment = _environment(work)
    texts = [text, *(change_command(text, Run(change=peer)) for peer in run.peers)]
    processes = [
        subprocess.Popen(
            ["bash", "-euc", t],
            cwd=work,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        for t in texts
    ]
    output = ""
    try:
        if run.stop_at:
            for line in processes[0].stdout:
                output += line
                if run.stop_at in line:
                    os.killpg(processes[0].pid, signal.SIGINT)
                    break
            else:
                raise AssertionError(f"{run.stop_at!r} was never printed: {output[-3000:]}")
        for process in processes:
            output += process.communicate(timeout=60 * MINUTES)[0]
    finally:
        for process in processes:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
    codes = [process.returncode for process in processes]
    assert not any(codes), f"exit codes {codes}: {output[-4000:]}"
    return output
