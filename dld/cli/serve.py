"""Serve a spotter by HTTP: pictures in, words out, those of concurrent requests read in batches."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from pathlib import Path

from dld.cli.app import is_this_computer
from dld.cli.command import add_weights, run_command

__all__ = ["TOKEN_VARIABLE", "add_arguments", "main", "run"]

TOKEN_VARIABLE = "DLD_SERVE_TOKEN"

EPILOG = f"""
examples:
  dld serve --pretrained teacher_tiny
  dld serve --weights output/dld_tiny/model_best.pth --port 9000 --token-file token.txt

  curl --data-binary @photo.jpg http://127.0.0.1:8000/read
  curl -F files=@a.jpg -F files=@b.jpg "http://127.0.0.1:8000/read?scale=0.5"

POST /read reads, GET /health tells whether it can, GET /metrics is for Prometheus, GET /docs describes it all. It serves this
computer alone, unless --host says otherwise. A token, from --token-file or the variable {TOKEN_VARIABLE}, is then asked of
every request for /read and /metrics. Ctrl-c or SIGTERM ends it when the last request is answered. It needs more packages:
pip install "dld[serve]".

exit code: 0 stopped; 2 a mistake in the options, or the port is taken.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the verb."""
    add_weights(parser)
    parser.add_argument("--config-file", default="", help="configuration; by default the one inside the checkpoint")
    parser.add_argument("--charset", default="", choices=["ascii", "latin", "all"], help="characters to read, where strips are")
    parser.add_argument("--allow", default="", metavar="CHARACTERS", help="read no others: 0123456789.")
    parser.add_argument("--device", help="cpu, cuda, cuda:1, ...; by default a GPU where there is one")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at (127.0.0.1: this computer only)")
    parser.add_argument("--port", type=int, default=8000, help="8000; 0: any that is free")
    parser.add_argument("--batch-size", type=int, default=8, metavar="N", help="most pictures read at once (8)")
    parser.add_argument(
        "--batch-wait", type=float, default=5.0, metavar="MS", help="milliseconds that a picture waits for others (5)"
    )
    parser.add_argument("--queue", type=int, default=64, metavar="N", help="pictures that may wait; beyond: 503 (64)")
    parser.add_argument("--timeout", type=float, default=60.0, metavar="SECONDS", help="from a request to its answer: 504 (60)")
    parser.add_argument("--max-bytes", type=int, default=20_000_000, metavar="N", help="of a request: 413 (20 million)")
    parser.add_argument("--max-pixels", type=int, default=50_000_000, metavar="N", help="of a picture: 413 (50 million)")
    parser.add_argument("--token-file", metavar="FILE", help=f"what clients must know: 401; or the variable {TOKEN_VARIABLE}")
    parser.add_argument(
        "--allow-urls", action="store_true", help="fetch pictures from public http and https addresses that clients name"
    )
    parser.add_argument("--quiet", action="store_true", help="write no line for each request")
    parser.add_argument("--opts", nargs=argparse.REMAINDER, default=[], help="configuration overrides, KEY VALUE ...")


def main(argv: list[str] | None = None) -> int:
    """Run the verb; return its exit code, as in the epilog."""
    return run_command("dld serve", __doc__, EPILOG, add_arguments, run, argv)


def run(args: argparse.Namespace) -> int:
    """Serve until ctrl-c or SIGTERM.

    Raises:
        ImportError: the extra is not installed.
        OSError, KeyError, ValueError: naming the file, the option or the port.
    """
    from dld.model_zoo import weights_address
    from dld.serve.settings import ServeSettings, check_installed

    if not 0 <= args.port < 65536:
        raise ValueError(f"--port must lie between 0 and 65535, got {args.port}")
    settings = ServeSettings(
        args.batch_size,
        args.batch_wait / 1000,
        args.max_bytes,
        args.max_pixels,
        args.timeout,
        args.queue,
        read_token(args.token_file),
        args.allow_urls,
    )
    weights_address(args.weights)  # raises now if there are none
    check_installed()

    from dld.serve.running import PictureServer, address_of, listen

    if not is_this_computer(args.host) and not settings.token:
        print(
            f"warning: with --host {args.host} everyone who reaches this computer over the network can use the server; "
            f"--token-file or {TOKEN_VARIABLE} asks for a token",
            file=sys.stderr,
        )
    listening = listen(args.host, args.port)
    address = address_of(listening)
    if not args.quiet:
        log_requests()

    def load():
        from dld.cli.load_spotter import load_spotter
        from dld.serve.network import Network

        return Network(load_spotter(args))

    def ready() -> None:
        print(f"pictures are read at {address}/read, described at {address}/docs  (stop it with ctrl-c)", flush=True)

    PictureServer(listening, settings, load, Path(args.weights).name, ready).run()
    print("stopped", file=sys.stderr)
    return 0


def read_token(path: str | None) -> str:
    """Return the token of a file, or of the environment; empty: none.

    Raises:
        FileNotFoundError, ValueError: no such file, or nothing in it that a header can hold.
    """
    if path is None:
        token, where = os.environ.get(TOKEN_VARIABLE, "").strip(), TOKEN_VARIABLE
        if not token:
            return ""
    else:
        try:
            token, where = Path(path).read_text(encoding="utf-8").strip(), path
        except FileNotFoundError:
            raise FileNotFoundError(f"the token file {path} does not exist") from None
        except UnicodeDecodeError:
            token, where = "", path
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise ValueError(f"{where} must hold a token: printable ASCII characters, no blanks")
    return token


def log_requests() -> None:
    """Write a line for each request to standard error."""
    logger = logging.getLogger("dld.serve.requests")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%Y-%m-%d %H:%M:%S"))
    logger.handlers[:] = [handler]
    logger.setLevel(logging.INFO)
    logger.propagate = False
