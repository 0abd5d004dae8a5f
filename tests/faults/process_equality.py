"""Several processes against one: the same losses, the same scores, and an end for all when one dies.

    python tests/faults/process_equality.py

runs on CPU (gloo) and prints one line a comparison. Losses are compared in float64, where five steps leave no doubt. In float32
they are compared over all five steps with frozen norm, and over the first two with synchronised norm, the second of them
without the losses of proposals: a proposal of an untrained network may change places there for a last bit, and takes a
thousandth of such a loss with it. One process that starts from weights that differ in their last bits stands beside it
("itself").
"""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from tiny_run import TRAIN_NET, environment, run, train_command

SYNCHRONISED = ["MODEL.TINY_RESNET.NORM", "naiveSyncBN", "MODEL.FPN.NORM", "naiveSyncBN"]
SYNCHRONISED += ["MODEL.RECOGNITION.NORM", "naiveSyncBN_N"]  # the processes have different numbers of words
FROZEN = [key if i % 2 == 0 else "FrozenBN" for i, key in enumerate(SYNCHRONISED)]
STEPS = ["SOLVER.IMS_PER_BATCH", 4, "SOLVER.REFERENCE_BATCH", 4, "SOLVER.MAX_ITER", 5]
TOLERANCE = 1e-4  # in float32, over the steps that can be compared
FLOAT32_STEPS = 2
OF_PROPOSALS = ("loss_cls", "loss_box_reg")
TOLERANCE_DOUBLE = 1e-6  # masks and matched anchors are float32 all the same
IN_DOUBLE = Path(__file__).with_name("train_in_double.py")


def losses(folder: Path) -> dict[str, list[float]]:
    """Every loss of every iteration, as the last checkpoint of a short run keeps them."""
    recent = torch.load(folder / "model_final.pth", weights_only=True)["trainer"]["last_scalars"]
    return {name: [value for value, _ in kept["values"]] for name, kept in recent.items() if "loss" in name}


def largest_deviation(one: dict[str, list[float]], other: dict[str, list[float]], steps: int | None = None) -> float:
    """Largest |a - b| / |a| over all losses and the first `steps` iterations; infinite where names or lengths differ."""
    if one.keys() != other.keys() or any(len(one[name]) != len(other[name]) for name in one):
        return float("inf")
    pairs = [pair for name in one for pair in list(zip(one[name], other[name], strict=True))[:steps]]
    return max(abs(a - b) / max(abs(a), 1e-12) for a, b in pairs)


def finish(command: list[str], **env: str) -> str:
    done = run(command, **env)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command[:6])} ... ended with {done.returncode}:\n{done.stdout[-4000:]}")
    return done.stdout


def torchrun(command: list[str], processes: int) -> list[str]:
    """The same command under torchrun; a free port, so that several may run at once."""
    return [command[0], "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes), *command[1:]]


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def two_nodes(folder: Path, *more: object, script: Path = TRAIN_NET) -> list[subprocess.Popen]:
    """Two machines of one process each, both of them this one."""
    url = f"tcp://127.0.0.1:{free_port()}"
    started = []
    for rank in range(2):
        options = ["--num-gpus", "1", "--num-machines", "2", "--machine-rank", rank, "--dist-url", url]
        command = train_command(folder, *more, script=script)
        place = command.index("--config-file")
        command[place:place] = list(map(str, options))
        with open(folder.parent / f"node{rank}.log", "w") as log:
            started.append(subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=environment()))
    return started


def with_processes(command: list[str], count: int) -> list[str]:
    place = command.index("--config-file")
    return [*command[:place], "--num-gpus", str(count), *command[place:]]


def compare_training(folder: Path, norm: list[str]) -> dict[str, float]:
    """How far two processes, two under torchrun, and two nodes are from one process with the whole batch, in float64."""

    def command(name: str) -> list[str]:
        return train_command(folder / name, *STEPS, *norm, script=IN_DOUBLE)

    finish(command("one"))
    finish(with_processes(command("two"), 2))
    finish(torchrun(command("torchrun"), 2))
    (folder / "nodes").mkdir()
    nodes = two_nodes(folder / "nodes" / "output", *STEPS, *norm, script=IN_DOUBLE)
    if any(node.wait(600) for node in nodes):
        raise RuntimeError((folder / "nodes" / "node0.log").read_text()[-4000:])
    expected = losses(folder / "one")
    places = {"two": folder / "two", "torchrun": folder / "torchrun", "two nodes": folder / "nodes" / "output"}
    return {name: largest_deviation(expected, losses(place)) for name, place in places.items()}


def compare_rounding(folder: Path, norm: list[str]) -> dict[str, tuple[float, float]]:
    """Deviations in float32 from one process, over the first steps and over all: of two processes ("two"), and of one that
    starts from weights with other last bits ("itself")."""
    finish(train_command(folder / "start", *STEPS, *norm, "SOLVER.MAX_ITER", 1, "SOLVER.BASE_LR", 1e-12))
    kept = torch.load(folder / "start" / "model_final.pth", weights_only=True)
    generator = torch.Generator().manual_seed(1)
    starts = {"same": kept["model"], "bits": {k: with_noise(v, generator) for k, v in kept["model"].items()}}
    for name, state in starts.items():
        torch.save({"model": state, "config": kept["config"]}, folder / f"{name}.pth")
    for name, start in {"one": "same", "itself": "bits", "two": "same"}.items():
        command = train_command(folder / name, *STEPS, *norm, "MODEL.WEIGHTS", folder / f"{start}.pth")
        finish(with_processes(command, 2) if name == "two" else command)
    expected = losses(folder / "one")
    found = {}
    for name in ("two", "itself"):
        kept = losses(folder / name)
        begin = largest_deviation(expected, kept, 1)
        rest = largest_deviation(without_proposals(expected), without_proposals(kept), FLOAT32_STEPS)
        found[name] = max(begin, rest), largest_deviation(expected, kept)
    return found


def without_proposals(kept: dict[str, list[float]]) -> dict[str, list[float]]:
    return {name: values for name, values in kept.items() if name not in OF_PROPOSALS}


def with_noise(value: torch.Tensor, generator: torch.Generator, relative: float = 1e-7) -> torch.Tensor:
    """Every parameter and statistic a bit or so from what it was."""
    if not value.is_floating_point() or not value.dim():
        return value
    return value * (1 + relative * torch.randn(value.shape, generator=generator))


def compare_evaluation(folder: Path, images: int = 7) -> dict[int, bool]:
    """Whether the files of scores and of results of 2 and 3 processes are byte for byte those of one."""
    finish(train_command(folder / "model", "SOLVER.MAX_ITER", 1))
    find = ["MODEL.ROI_HEADS.SCORE_THRESH_TEST", 0.0, "TEST.DETECTIONS_PER_IMAGE", 5]
    weights = folder / "model" / "model_final.pth"
    options = ["--eval-only", "DATASETS.TEST", "('synthwords_val',)", "MODEL.WEIGHTS", weights, *find]
    options += ["DATASETS.SYNTHWORDS.VAL_LENGTH", images]
    content = {}
    for count in (1, 2, 3):
        place = folder / f"eval{count}"
        finish(with_processes(train_command(place, *options), count))
        content[count] = [(place / f"synthwords_val_{kind}.json").read_bytes() for kind in ("results", "scores")]
    return {count: content[count] == content[1] for count in (2, 3)}


def children(process: int) -> list[int]:
    """Training processes below one: those that import the training code, without helpers of multiprocessing."""
    found = []
    for task in Path(f"/proc/{process}/task").glob("*"):
        for child in map(int, (task / "children").read_text().split()):
            command = Path(f"/proc/{child}/cmdline").read_bytes()
            if b"spawn_main" in command or b"train_net.py" in command:
                found.append(child)
    return sorted(found)


def wait_for_training(process: subprocess.Popen, log: Path, seconds: float = 600) -> None:
    """Return a second after the log says that the first iteration begins; RuntimeError if that never happens."""
    end = time.monotonic() + seconds
    while "training from iteration" not in log.read_text():
        if process.poll() is not None or time.monotonic() > end:
            process.kill()
            raise RuntimeError(log.read_text()[-4000:])
        time.sleep(0.1)
    time.sleep(1)


def seconds_until_the_others_end(command: list[str], folder: Path) -> tuple[float, int, str]:
    """Start two processes, SIGKILL the second in the middle of training; seconds to the end, exit code, and the output."""
    log = folder / "death.log"
    with open(log, "w") as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, env=environment())
    wait_for_training(process, log)
    ranks = children(process.pid)
    os.kill(ranks[-1], signal.SIGKILL)
    started = time.monotonic()
    code = process.wait(120)
    taken = time.monotonic() - started
    left = [rank for rank in ranks if Path(f"/proc/{rank}/cmdline").exists() and Path(f"/proc/{rank}/cmdline").read_bytes()]
    return (taken if not left else float("inf")), code, log.read_text()


def main() -> int:
    failures = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for label, norm in (("frozen norm", FROZEN), ("synchronised norm", SYNCHRONISED)):
            for what, deviation in compare_training(folder / label.split()[0], norm).items():
                failures += deviation > TOLERANCE_DOUBLE
                print(f"losses, {label}, float64, {what} against one: largest relative deviation {deviation:.1e}", flush=True)
            for what, (first, all_steps) in compare_rounding(folder / f"{label.split()[0]} rounding", norm).items():
                compared = all_steps if norm is FROZEN else first
                failures += what == "two" and compared > TOLERANCE
                steps = f"{first:.1e} in the first {FLOAT32_STEPS} steps, {all_steps:.1e} in all"
                print(f"losses, {label}, float32, {what} against one: {steps}", flush=True)
        for count, same in compare_evaluation(folder / "evaluation").items():
            failures += not same
            print(f"evaluation on {count} processes against one: {'the same bytes' if same else 'DIFFERENT'}", flush=True)
        for what, command in death_commands(folder).items():
            taken, code, output = seconds_until_the_others_end(command, folder)
            failures += taken > 60 or code == 0
            print(f"one of two processes killed, {what}: the other ended after {taken:.1f} s, exit code {code}", flush=True)
    print(f"several processes: {failures} failures")
    return 1 if failures else 0


def death_commands(folder: Path) -> dict[str, list[str]]:
    endless = ["SOLVER.MAX_ITER", 100_000, "SOLVER.CHECKPOINT_PERIOD", 100_000]
    return {
        "--num-gpus 2": with_processes(train_command(folder / "death", *endless), 2),
        "torchrun": torchrun(train_command(folder / "death2", *endless), 2),
    }


if __name__ == "__main__":
    sys.exit(main())
