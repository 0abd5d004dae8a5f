"""The command `dld VERB ...`: finds the module of the verb and hands it the remaining arguments.

Each verb is a module `dld.cli.VERB` with a function `main(argv: list[str]) -> int`. A verb is imported only
when it runs, so that `dld --help` answers at once. The scripts in projects/DLD start their verbs here, too.
"""

import importlib
import sys
from collections.abc import Sequence

from dld import __version__
from dld.cli.command import exit_code
from dld.cli.openmp import wait_briefly

__all__ = ["VERBS", "main"]

VERBS = {
    "spot": "read the words in pictures and films: drawings, json, and the text",
    "train": "train or evaluate a model (projects/DLD/train_net.py)",
    "prepare": "bring a data set's official files into this project's layout",
    "check": "look for errors in a prepared data set",
    "label": "label photos with what a spotter reads on them, to train on",
    "evaluate": "score a results file by a data set's protocol",
    "analyze": "accuracy against cost of a teacher and its students, at every scale",
    "fit": "fit the resolution selector of a trained student, for any gamma",
    "calibrate": "store a wanted mean cost with the weights",
    "app": 'try a spotter in the browser (needs the extra: pip install "dld[app]")',
    "serve": 'serve a spotter by HTTP, in batches (needs the extra: pip install "dld[serve]")',
    "export": "write ONNX graphs and compare them with PyTorch",
    "pack": "pack a checkpoint for use: half precision, configuration inside; enter it into the index of shipped weights",
    "convert": "turn the ONNX recogniser of PP-OCRv6 into weights of our reader of strips",
    "benchmark": "measure speed on this machine",
    "compare": "score and time our spotters, RapidOCR and Tesseract on the same photos",
}
"""Every verb -> what it does."""


def usage() -> str:
    width = max(map(len, VERBS))
    lines = ["usage: dld VERB [arguments]", "", "verbs (dld VERB --help says more):"]
    lines += [f"  {verb:<{width}}  {text}" for verb, text in VERBS.items()]
    lines += ["", "exit code: 0 done; 1 done, but something failed; 2 a mistake in what was asked for; 130 interrupted"]
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb and return its exit code; 2 for a verb that does not exist."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(usage())
        return 0 if arguments else 2
    if arguments[0] == "--version":
        print(f"dld {__version__}")
        return 0
    verb, *rest = arguments
    if verb not in VERBS:
        print(f"error: there is no verb {verb!r}; there are {', '.join(VERBS)} (`dld --help` says more)", file=sys.stderr)
        return 2
    wait_briefly()  # before the verb imports torch
    return exit_code(lambda: importlib.import_module(f"dld.cli.{verb}").main(rest), debug="--debug" in rest)


if __name__ == "__main__":
    sys.exit(main())
