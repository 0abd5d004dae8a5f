"""The frame of every command: one parser, one way to end. A verb only defines its options and its work.

Exit codes: 0 done; 1 done, but something failed; 2 a mistake of the user, one line on stderr; 130 interrupted with ctrl-c.
"""

from __future__ import annotations

import argparse
import io
import logging
import shlex
import sys
import traceback
import warnings
from collections.abc import Callable, Sequence

from dld.evaluation.protocol import PROTOCOLS, PUNCTUATION
from dld.utils.unfinished import UnfinishedError

__all__ = [
    "WEIGHTS",
    "add_protocol",
    "add_punctuation",
    "add_weights",
    "exit_code",
    "parse_arguments",
    "recorded_command",
    "run_command",
]

WEIGHTS = "shipped weights (their name, or dld://NAME), or a file: a checkpoint of our trainer, packed weights"


def run_command(
    program: str,
    description: str | None,
    epilog: str,
    add_arguments: Callable[[argparse.ArgumentParser], None],
    work: Callable[[argparse.Namespace], object],
    argv: Sequence[str] | None = None,
    progress: bool = False,
    goes_on: bool = False,
) -> int:
    """Parse, work, and return the exit code.

    Args:
        program: its name in the usage, "dld spot".
        work: gets the parsed arguments; see :func:`exit_code`.
        argv: words after the program; None: those of the command line.
        progress: show log lines about progress, not only warnings.
        goes_on: the same command goes on where an interruption stopped it; the message says so.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    return exit_code(
        lambda: work(parse_arguments(program, description, epilog, add_arguments, argv, progress)), goes_on, "--debug" in argv
    )


def parse_arguments(
    program: str,
    description: str | None,
    epilog: str,
    add_arguments: Callable[[argparse.ArgumentParser], None],
    argv: Sequence[str],
    progress: bool = False,
) -> argparse.Namespace:
    """Parse the arguments of a command; set up logging and libraries for a program that talks to people.

    Raises:
        ValueError: options that are unknown, missing or of another kind.
    """
    parser = _Parser(prog=program, description=description, epilog=epilog, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    parser.add_argument("--debug", action="store_true", help="show the traceback of a mistake, too")
    # removed here: it may stand behind options that take all the rest
    args = parser.parse_args([word for word in argv if word != "--debug"])
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # a name that the terminal cannot print must not end the work
            stream.reconfigure(errors="backslashreplace")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Lines())
    logging.basicConfig(level=logging.INFO if progress else logging.WARNING, handlers=[handler])
    # torch and detectron2 warn about their own code: nothing that a user could mend
    warnings.filterwarnings("ignore", message="torch.meshgrid")
    logging.getLogger("torch.fx._symbolic_trace").setLevel(logging.ERROR)
    return args


def exit_code(work: Callable[[], object], goes_on: bool = False, debug: bool = False) -> int:
    """Run `work`: the int that it returns (0 for anything else), or what its error means, with one line on stderr.

    2 is an OSError, ImportError, KeyError or ValueError, 1 an UnfinishedError, 130 an interruption. Other errors are our
    defects and go on to the caller.

    Args:
        goes_on: an interruption loses nothing; the message says so.
        debug: also show the traceback of the error.
    """
    try:
        result = work()
        return result if isinstance(result, int) else 0
    except KeyboardInterrupt:
        print("interrupted" + (": the same command goes on from here" if goes_on else ""), file=sys.stderr)
        return 130
    except (OSError, ImportError, KeyError, ValueError, UnfinishedError) as error:
        if debug:
            traceback.print_exc()
        # a KeyError prints its message in quotes
        message = error.args[0] if isinstance(error, KeyError) and error.args else error
        lines = (line.strip() for line in str(message).splitlines())
        print(f"error: {' '.join(filter(None, lines))}", file=sys.stderr)
        return 1 if isinstance(error, UnfinishedError) else 2


def add_weights(parser: argparse.ArgumentParser) -> None:
    """Add `--weights`, also called `--pretrained`; :func:`dld.model_zoo.find_weights` looks for its value."""
    group = parser.add_mutually_exclusive_group(required=True)
    group.add_argument("--weights", metavar="NAME|FILE", help=WEIGHTS)
    group.add_argument("--pretrained", dest="weights", metavar="NAME|FILE", help="the same as --weights")


def add_punctuation(parser: argparse.ArgumentParser) -> None:
    """Add `--punctuation`, a rule of :class:`~dld.evaluation.protocol.Protocol`."""
    parser.add_argument(
        "--punctuation",
        choices=PUNCTUATION,
        default=PUNCTUATION[0],
        help="what the words that were read keep of it before they are scored: kept: all (default); inner: none at their ends; "
        "none: letters and digits alone, for data sets whose annotation has no punctuation, such as Total-Text",
    )


def add_protocol(parser: argparse.ArgumentParser) -> None:
    """Add `--protocol`, by which a data set is scored instead of by its own."""
    parser.add_argument("--protocol", choices=tuple(PROTOCOLS), help="score by this protocol; default: that of the data set")


def recorded_command(program: str, argv: Sequence[str]) -> str:
    """Format a command as it stands in the results that it writes."""
    return shlex.join([*program.split(), *(word for word in argv if word != "--debug")])


class _Parser(argparse.ArgumentParser):
    def error(self, message: str):
        raise ValueError(f"{message} (`{self.prog} --help` says more)")


class _Lines(logging.Formatter):
    """Formats progress as it is, and warnings and errors with their level."""

    def format(self, record: logging.LogRecord) -> str:
        line = super().format(record)
        return line if record.levelno <= logging.INFO else f"{record.levelname}: {line}"
