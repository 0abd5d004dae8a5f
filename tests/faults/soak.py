"""Long runs: memory that does not grow, and losses that stay finite.

    python tests/faults/soak.py inference --count 2000
    python tests/faults/soak.py training --count 1000
    python tests/faults/soak.py bfloat16 --count 500

The first reads generated pictures of mixed sizes with the shipped teacher (or --weights), the others train the small model of
the tests. Memory is judged in the first two: the median of the last tenth of the run against that of the second, which means
something from some hundred steps or pictures on, when the allocator has met every size. Each prints one line of summary.
"""

import argparse
import json
import math
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from tiny_run import environment, train_command

LIMIT = 0.05


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["inference", "training", "bfloat16"])
    parser.add_argument("--count", type=int, help="pictures or steps (2000, 1000, 500)")
    parser.add_argument("--weights", default="", help="checkpoint that reads; default: teacher_tiny")
    parser.add_argument("--longest", type=int, default=1200, help="longest side of a picture in pixels")
    args = parser.parse_args(argv)
    count = args.count or {"inference": 2000, "training": 1000, "bfloat16": 500}[args.what]
    if args.what == "inference":
        memory, bad = read_pictures(count, args.weights, args.longest)
    else:
        memory, bad = train(count, args.what == "bfloat16")
    growth = relative_growth(memory)
    print(
        f"soak {args.what}: {count} {'pictures' if args.what == 'inference' else 'steps'}, resident memory "
        f"{level(memory, 1):.0f} MB -> {level(memory, 9):.0f} MB ({growth:+.1%}, limit {LIMIT:.0%}), {bad} values not finite"
    )
    return 1 if bad or (growth > LIMIT and args.what != "bfloat16") else 0


def level(memory: list[float], tenth: int) -> float:
    """Median of a tenth of the samples, 0 the first."""
    return float(np.median(np.array_split(np.asarray(memory), 10)[tenth]))


def relative_growth(memory: list[float]) -> float:
    """Last tenth against second: the first fills caches."""
    return level(memory, 9) / level(memory, 1) - 1


def resident(process: int | str = "self") -> float:
    """Megabytes."""
    return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * resource.getpagesize() / 1e6


def read_pictures(count: int, weights: str, longest: int) -> tuple[list[float], int]:
    import torch

    from dld.data.synthesis.config import SynthWordsConfig
    from dld.data.synthesis.synthwords import SynthWordsDataset
    from dld.inference.predictor import TextSpotter

    torch.set_num_threads(1)
    spotter = TextSpotter.from_checkpoint(weights) if weights else TextSpotter.from_pretrained("teacher_tiny")
    rng, memory, bad = np.random.default_rng(0), [], 0
    pictures = SynthWordsDataset("val", 16, SynthWordsConfig(size=(longest, longest)))
    pool = [pictures[i]["image"] for i in range(16)]
    for i in range(count):
        height, width = rng.integers(longest // 8, longest + 1, 2)
        result = spotter(np.ascontiguousarray(pool[i % len(pool)][:height, :width]))
        bad += sum(not (np.isfinite(w.polygon).all() and math.isfinite(w.score)) for w in result.words)
        memory.append(resident())
    return memory, bad


def train(steps: int, bfloat16: bool) -> tuple[list[float], int]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "output"
        options = ["SOLVER.MAX_ITER", steps, "SOLVER.CHECKPOINT_PERIOD", max(steps // 10, 1), "INPUT.ROTATION", 10.0]
        options += ["SOLVER.AMP.ENABLED", bfloat16]
        log = Path(name) / "log"
        with open(log, "w") as out:
            process = subprocess.Popen(train_command(folder, *options), stdout=out, stderr=subprocess.STDOUT, env=environment())
        memory = []
        while process.poll() is None:
            if "training from iteration" in log.read_text(errors="replace"):
                memory.append(resident(process.pid))
            time.sleep(0.2)
        if process.returncode:
            sys.exit(f"the training ended with {process.returncode}:\n{log.read_text()[-3000:]}")
        lines = [json.loads(line) for line in (folder / "metrics.json").read_text().splitlines()]
        losses = [value for line in lines for key, value in line.items() if "loss" in key or key == "grad_norm"]
        # a process that has ended shows no memory any more
        return [m for m in memory if m > 0], sum(not math.isfinite(value) for value in losses) + (not losses)


if __name__ == "__main__":
    sys.exit(main())
