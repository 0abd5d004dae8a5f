"""What the verbs have in common: a parser of one look, quiet libraries, and a user's mistake as one line on the screen."""

from __future__ import annotations

import argparse
import logging
import sys
import warnings
from collections.abc import Callable, Sequence

from dld.cli.openmp import wait_briefly

__all__ = ["exit_code", "parse_arguments"]


def parse_arguments(
    verb: str,
    description: str | None,
    epilog: str,
    add_arguments: Callable[[argparse.ArgumentParser], None],
    argv: Sequence[str] | None,
    progress: bool = False,
) -> argparse.Namespace:
    """Arguments of a verb; logging and libraries are set up for a program that talks to people.

    Args:
        argv: words after the verb; None: those of the command line.
        progress: show what is logged about progress, too, not warnings alone.
    """
    parser = argparse.ArgumentParser(
        prog=f"dld {verb}", description=description, epilog=epilog, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_arguments(parser)
    args = parser.parse_args(argv)
    wait_briefly()
    level, line = (logging.INFO, "%(message)s") if progress else (logging.WARNING, "%(levelname)s: %(message)s")
    logging.basicConfig(level=level, format=line, stream=sys.stderr)
    # torch and detectron2 about their own code: nothing a user could mend
    warnings.filterwarnings("ignore", message="torch.meshgrid")
    logging.getLogger("torch.fx._symbolic_trace").setLevel(logging.ERROR)
    return args


def exit_code(work: Callable[[], object], goes_on: bool = False) -> int:
    """Run `work`: the int that it returns (0 for anything else), or 2 with the message of an OSError, ImportError, KeyError or
    ValueError.

    Args:
        goes_on: an interruption loses nothing, which is said; exit code 130.
    """
    try:
        result = work()
        return result if isinstance(result, int) else 0
    except (OSError, ImportError, KeyError, ValueError) as error:
        print(f"error: {error.args[0] if isinstance(error, KeyError) else error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        if not goes_on:
            raise
        print("interrupted: the same command goes on from here", file=sys.stderr)
        return 130
