"""SIGKILL a training run again and again, resume it each time, and compare it bit for bit with an unbroken one.

    python tests/faults/kill_campaign.py --kills 20
    python tests/faults/kill_campaign.py --kills 5 --distill

Every second kill waits for a checkpoint that is being written (on a disk slowed down for that), the others come at a random
moment of the training loop. When a run comes to its end before the kills are used up, it is compared and begun anew.
"""

import argparse
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tiny_run import compare_runs, environment, run, train_command

SCHEDULE = [
    "SOLVER.MAX_ITER", 24, "SOLVER.CHECKPOINT_PERIOD", 4, "SOLVER.STEPS", "(16,)", "SOLVER.WARMUP_ITERS", 6,
    "DATASETS.TEST", "('synthwords_val',)", "TEST.EVAL_PERIOD", 8, "INPUT.ROTATION", 8.0,
    "MODEL.ROI_HEADS.SCORE_THRESH_TEST", 0.0, "TEST.DETECTIONS_PER_IMAGE", 3,
]  # fmt: skip
STARTED = "training from iteration"


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--distill", action="store_true", help="kill the distiller (configs/dld_tiny.yaml) instead")
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        found, counts = campaign(Path(folder), args.kills, args.seed, args.distill)
    for line in found[:20]:
        print(line)
    print(
        f"kill campaign ({'distiller' if args.distill else 'teacher'}): {counts['kills']} kills, {counts['writing']} of them "
        f"while a checkpoint was written, {counts['runs']} whole runs compared: {len(found)} differences"
    )
    return 1 if found else 0


def campaign(folder: Path, kills: int, seed: int, distill: bool = False) -> tuple[list[str], dict[str, int]]:
    """Differences that were found, and counts of kills, of kills during a write, and of whole runs compared."""
    schedule, config = list(SCHEDULE), "teacher_tiny"
    if distill:
        config = "dld_tiny"
        finish(train_command(folder / "teacher", "SOLVER.MAX_ITER", 1, "SOLVER.CHECKPOINT_PERIOD", 100))
        schedule += ["MODEL.DISTILLATION.TEACHER_WEIGHTS", folder / "teacher" / "model_final.pth"]
        schedule += ["MODEL.SELECTOR.SCALES", "[0.5, 0.75, 1.0]"]
    whole = folder / "unbroken"
    started = time.monotonic()
    finish(train_command(whole, *schedule, config=config))
    length = (time.monotonic() - started) / 2  # about half of it is the loop, the rest is getting ready
    chance, found = random.Random(seed), []
    counts = {"kills": 0, "writing": 0, "runs": 0}
    broken = folder / "broken"
    while counts["kills"] < kills:
        during_write = counts["kills"] % 2 == 1
        command = train_command(broken, "--resume", *schedule, config=config, slow_disk=during_write)
        delay = chance.uniform(0, 0.15) if during_write else chance.uniform(0, length)
        outcome = start_and_kill(command, broken, delay, during_write)
        counts["writing"] += outcome == "writing"
        counts["kills"] += outcome != "finished"
        if outcome == "finished":
            found += compare_runs(whole, broken)
            counts["runs"] += 1
            shutil.rmtree(broken)
    finish(train_command(broken, "--resume", *schedule, config=config))
    found += compare_runs(whole, broken)
    found += [f"left behind: {path.name}" for path in broken.iterdir() if path.name.endswith(".tmp")]
    counts["runs"] += 1
    return found, counts


def finish(command: list[str]) -> None:
    done = run(command)
    if done.returncode:
        sys.exit(f"a run that nobody killed ended with {done.returncode}:\n{done.stdout[-3000:]}")


def start_and_kill(command: list[str], output: Path, delay: float, during_write: bool) -> str:
    """Start, wait for the loop (and for a checkpoint half written), wait `delay` seconds, kill.

    Returns:
        "writing" if a temporary file was left behind, "training" if not, "finished" if the run was faster.
    """
    log = output.with_suffix(".log")
    with open(log, "w") as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, env=environment(), start_new_session=True)
    ready = [lambda: STARTED in log.read_text(errors="replace")]
    if during_write:
        ready.append(lambda: output.is_dir() and any(output.glob("*.tmp")))
    for condition in ready:
        while not condition():
            if process.poll() is not None:
                return _ended(process, log)
            time.sleep(0.005)
    time.sleep(delay)
    if process.poll() is not None:
        return _ended(process, log)
    process.send_signal(signal.SIGKILL)
    process.wait()
    return "writing" if any(output.glob("*.tmp")) else "training"


def _ended(process: subprocess.Popen, log: Path) -> str:
    if process.returncode:
        text = log.read_text(errors="replace")
        resumed = re.findall(r"resuming after iteration \d+", text)
        sys.exit(f"a resumed run ({resumed}) ended with {process.returncode}:\n{text[-3000:]}")
    return "finished"


if __name__ == "__main__":
    sys.exit(main())
