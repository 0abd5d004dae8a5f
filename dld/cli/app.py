"""Try a spotter in the browser: drop a picture, move the budget, see words, scale, cost and time."""

from __future__ import annotations

import argparse
import ipaddress
import os
import signal
import sys
import tempfile
import threading
from pathlib import Path

from dld.cli.command import WEIGHTS, run_command

__all__ = ["add_arguments", "main", "run"]

EPILOG = """
examples:
  dld app
  dld app --weights output/dld_tiny/model_best.pth --port 8000

The page is for this computer alone, unless --host says otherwise. It sends nothing anywhere, and the pictures given to it are
deleted when it is stopped with ctrl-c. It needs gradio: pip install "dld[app]".
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the verb."""
    parser.add_argument(
        "--weights",
        nargs="+",
        default=[],
        metavar="NAME|FILE",
        help=f"what to choose from first, beside the other shipped weights: {WEIGHTS}",
    )
    parser.add_argument("--device", help="cpu, cuda, cuda:1, ...; by default a GPU where there is one")
    parser.add_argument("--font", metavar="FILE", help="font file for the drawn text")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at (127.0.0.1: this computer only)")
    parser.add_argument("--port", type=int, help="by default the first free one from 7860 on")


def main(argv: list[str] | None = None) -> int:
    """Run the verb; return its exit code, see :mod:`dld.cli.command`."""
    return run_command("dld app", __doc__, EPILOG, add_arguments, run, argv)


def run(args: argparse.Namespace) -> None:
    """Serve the page until ctrl-c or SIGTERM stops it.

    Raises:
        ImportError: gradio is not installed.
        OSError, KeyError, ValueError: naming the file, the device or the port.
    """
    from dld.app.page import build_page, import_gradio, launch_page

    if args.port is not None and not 0 < args.port < 65536:
        raise ValueError(f"--port must lie between 1 and 65535, got {args.port}")
    if not is_this_computer(args.host):
        print(
            f"warning: with --host {args.host} everyone who reaches this computer over the network can use the page; "
            "it asks for no password",
            file=sys.stderr,
        )
    weights = offered_weights(args.weights)
    with tempfile.TemporaryDirectory(prefix="dld_app_", ignore_cleanup_errors=True) as folder:
        # gradio reads this at import: the folder of uploaded files
        os.environ["GRADIO_TEMP_DIR"] = folder
        import_gradio()

        from dld.app.reader import Reader

        reader = Reader(weights, args.device, args.font)
        reader.spotter(next(iter(reader.weights)))  # raises now if something is wrong with it
        page = build_page(reader)
        try:
            print(f"the page is at {launch_page(page, args.host, args.port)}  (stop it with ctrl-c)", flush=True)
            # however the program ends, the pictures that it was given are deleted
            signal.signal(signal.SIGTERM, signal.default_int_handler)
            threading.Event().wait()
        except KeyboardInterrupt:
            print("stopped", file=sys.stderr)
        finally:
            page.close(verbose=False)


def offered_weights(files: list[str]) -> dict[str, str]:
    """Return what opens weights, by name: the given files first, then the shipped ones.

    Raises:
        FileNotFoundError, ValueError: a file that is not there or damaged.
    """
    from dld.model_zoo import PREFIX, list_weights, weights_address

    offered = {}
    for given in files:
        path = weights_address(given)
        if given.removeprefix(PREFIX) in list_weights():
            offered[given.removeprefix(PREFIX)] = path
            continue
        # the folder tells checkpoints apart, they are all called model_best.pth
        name = "/".join(Path(path).resolve().parts[-2:])
        offered[path if name in offered else name] = path
    return offered | {name: weights_address(name) for name in list_weights()}


def is_this_computer(host: str) -> bool:
    """Tell whether only this computer reaches a server that listens at that address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
