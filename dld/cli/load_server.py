"""Put a load on `dld serve`: many clients against the same pictures read one by one in Python, some of them broken."""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

from dld.cli.command import add_weights, recorded_command, run_command
from dld.cli.openmp import wait_briefly

__all__ = ["add_arguments", "main", "run"]

EPILOG = """
examples:
  python projects/DLD/tools/load_server.py --pretrained teacher_tiny --clients 8 --seconds 120
  python projects/DLD/tools/load_server.py --pretrained teacher_tiny --images photos/ --serve --batch-size 4

It reads the pictures one by one for a third of the time, then starts a server of its own and sends them from all clients at
once. Words that differ from those read one by one are counted as wrong. Milliseconds are from a request to the last byte of
its answer; memory is what the server has in memory, as medians of the second and the last tenth of the time.

exit code: 0 all was right; 1 a wrong answer, or a server that did not end well; 2 a mistake in the options.
"""

START_SECONDS = 300
STOP_SECONDS = 120


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the tool."""
    add_weights(parser)
    parser.add_argument("--images", metavar="DIR", help="pictures to send; by default the samples of the package")
    parser.add_argument("--clients", type=int, default=8, metavar="N", help="that send at once (8)")
    parser.add_argument("--seconds", type=float, default=120.0, help="for which they send (120)")
    parser.add_argument("--broken", type=float, default=0.05, metavar="SHARE", help="of uploads that are broken (0.05)")
    parser.add_argument("--output", metavar="FILE", help="json with all figures")
    parser.add_argument("--serve", nargs=argparse.REMAINDER, default=[], help="last on the line: options of dld serve")


def main(argv: list[str] | None = None) -> int:
    """Run the tool; return its exit code, as in the epilog."""
    argv = list(sys.argv[1:] if argv is None else argv)

    def work(args: argparse.Namespace) -> int:
        args.argv = argv
        return run(args)

    return run_command("load_server.py", __doc__, EPILOG, add_arguments, work, argv)


def run(args: argparse.Namespace) -> int:
    """Measure both ways; print the figures.

    Raises:
        OSError, KeyError, ValueError: naming the file or the option.
    """
    from dld.benchmark.serving import metric_of, percentile, send_load
    from dld.serve.settings import check_installed
    from dld.utils.atomic_write import atomic_write_text

    if args.clients < 1 or not args.seconds > 0 or not 0 <= args.broken <= 1:
        raise ValueError("--clients must be at least 1, --seconds above 0, and --broken a share from 0 to 1")
    check_installed()
    pictures, alone = read_one_by_one(args)
    report = {
        "command": recorded_command("python projects/DLD/tools/load_server.py", args.argv),
        "pictures": len(pictures),
        "clients": args.clients,
        "broken": args.broken,
        "one_by_one": {
            "per_second": len(alone) / sum(alone),
            "p50_ms": 1000 * percentile(alone, 0.5),
            "p95_ms": 1000 * percentile(alone, 0.95),
        },
    }
    server, address = start_server(args)
    try:
        load = send_load(address, pictures, args.clients, args.seconds, args.broken)
        batches = metric_of(address, "dld_batch_size_sum") / max(metric_of(address, "dld_batch_size_count"), 1)
    finally:
        server.send_signal(signal.SIGTERM)
        try:
            code = server.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            server.kill()
            code = server.wait()
    tenth = max(len(load.memory) // 10, 1)
    first, last = (
        percentile(part, 0.5) / 1e6 for part in (load.memory[tenth : 2 * tenth] or load.memory, load.memory[-tenth:])
    )
    report["server"] = {
        "per_second": len(load.latencies) / load.seconds,
        "p50_ms": 1000 * percentile(load.latencies, 0.5),
        "p95_ms": 1000 * percentile(load.latencies, 0.95),
        "seconds": load.seconds,
        "statuses": {str(status): count for status, count in sorted(load.statuses.items())},
        "wrong": load.wrong,
        "mean_batch": batches,
        "memory_mb": [first, last, max(load.memory) / 1e6],
        "exit_code": code,
    }
    print_report(report)
    if args.output:
        atomic_write_text(Path(args.output), json.dumps(report, indent=1) + "\n")
    return 1 if load.wrong or code else 0


def read_one_by_one(args: argparse.Namespace) -> tuple[dict[bytes, list[str]], list[float]]:
    """Return the words of each picture, and the seconds of each reading for a third of the time."""
    from dld.data.samples import sample_files
    from dld.inference.input_files import find_inputs
    from dld.inference.predictor import TextSpotter

    files = find_inputs([args.images]) if args.images else sample_files()
    contents = [Path(path).read_bytes() for path in files]
    spotter = TextSpotter.from_pretrained(args.weights)
    words = {content: [word.text for word in spotter(content).words] for content in contents}
    seconds: list[float] = []
    end = time.perf_counter() + args.seconds / 3
    while time.perf_counter() < end:
        start = time.perf_counter()
        spotter(contents[len(seconds) % len(contents)])
        seconds.append(time.perf_counter() - start)
    return words, seconds


def start_server(args: argparse.Namespace) -> tuple[subprocess.Popen, str]:
    """Start a server on a free port; return it and its address when it is ready.

    Raises:
        ValueError: it did not become ready.
    """
    command = [sys.executable, "-m", "dld.cli.main", "serve", "--weights", args.weights, "--port", "0", "--quiet", *args.serve]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    line = server.stdout.readline() if server.stdout else ""
    if not line:
        raise ValueError(f"the server did not start (exit code {server.wait(START_SECONDS)})")
    return server, line.partition(" at ")[2].partition("/read")[0]


def print_report(report: dict) -> None:
    """Print the figures of both ways, a line each, and what happened."""
    alone, server = report["one_by_one"], report["server"]
    for name, row in (("one by one in Python", alone), (f"server, {report['clients']} clients", server)):
        print(f"{name:<24} {row['per_second']:6.2f} pictures/s   p50 {row['p50_ms']:.0f} ms   p95 {row['p95_ms']:.0f} ms")
    statuses = ", ".join(f"{count} x {status}" for status, count in server["statuses"].items())
    print(f"{server['seconds']:.0f} s, mean batch {server['mean_batch']:.1f}, answers: {statuses}; wrong: {server['wrong']}")
    memory = server["memory_mb"]
    print(f"memory {memory[0]:.0f} MB -> {memory[1]:.0f} MB (largest {memory[2]:.0f}); exit code {server['exit_code']}")


if __name__ == "__main__":
    wait_briefly()
    sys.exit(main())
