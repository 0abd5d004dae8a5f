"""Same seed, same configuration, same machine: the same checkpoint, byte for byte.

    python tests/faults/determinism.py --steps 50

Trains three times into a folder of the same name and prints the SHA-256 of each checkpoint. It holds on CPU, for any number of
loader workers; on GPU sums are added in an order that differs from run to run (atomic additions in RoIAlign's backward pass).
"""

import argparse
import hashlib
import shutil
import sys
import tempfile
from pathlib import Path

from tiny_run import run, train_command


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as name:
        hashes = [checkpoint_hash(Path(name), args.steps, args.seed, workers) for workers in (0, 0, 2)]
        other = checkpoint_hash(Path(name), args.steps, args.seed + 1, 0)
    same = len(set(hashes)) == 1
    print(f"determinism: {args.steps} steps three times, the third with 2 workers: {'the same' if same else 'DIFFERENT'}")
    print(f"SHA-256 {' '.join(h[:16] for h in hashes)}; with another seed {other[:16]}")
    return 0 if same and other != hashes[0] else 1


def checkpoint_hash(folder: Path, steps: int, seed: int, workers: int) -> str:
    """SHA-256 of the weights, optimizer and everything else of the last checkpoint of a run."""
    output = folder / "output"
    shutil.rmtree(output, ignore_errors=True)
    options = ["SOLVER.MAX_ITER", steps, "SEED", seed, "DATALOADER.NUM_WORKERS", workers, "INPUT.ROTATION", 10.0]
    done = run(train_command(output, *options))
    if done.returncode:
        sys.exit(done.stdout[-3000:])
    return state_hash(output / "model_final.pth")


def state_hash(path: Path) -> str:
    """SHA-256 of everything in a checkpoint but its configuration, which says how many workers there were."""
    import torch

    digest = hashlib.sha256()

    def add(value) -> None:
        if isinstance(value, torch.Tensor):
            digest.update(str((value.dtype, tuple(value.shape))).encode() + value.numpy().tobytes())
        elif isinstance(value, dict):
            for key in sorted(value, key=str):
                digest.update(str(key).encode())
                add(value[key])
        elif isinstance(value, list | tuple):
            for item in value:
                add(item)
        else:
            digest.update(repr(value).encode())

    state = torch.load(path, weights_only=True)
    del state["config"]
    add(state)
    return digest.hexdigest()


if __name__ == "__main__":
    sys.exit(main())
