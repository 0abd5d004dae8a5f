"""The commands of a markdown file: what a reader would copy into a terminal or into Python.

Counted are fenced blocks of `bash` and `python`, fenced and indented blocks without a language whose first word is a program,
and code within a line (`` `dld check --json labels.json` ``) that begins with a program and goes on with an option or a script.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Command", "commands_of", "shell_commands"]

PROGRAMS = ("python", "dld", "make", "pip", "pytest", "torchrun", "uv", "git", "source")
FENCE = re.compile(r"^(\s*)(`{3,})(\w*)\s*$")
# A name alone (`dld export`, `make`) speaks of a command; one with an option, a setting or a file is a command.
ASSIGNMENT = re.compile(r"""\w+=("[^"]*"|'[^']*'|\S*)""")
WITHIN_A_LINE = re.compile(rf"`((?:[A-Z_]+=\S+ )*(?:{'|'.join(PROGRAMS)}) [^`]+)`")
TELLING = re.compile(r"(^| )(-\w|--\w|[A-Z_]+=|\S+\.py\b|\.\.\.$)")


@dataclass(frozen=True)
class Command:
    """One command (`language` "bash") or one whole block of Python, with where it stands."""

    file: str
    line: int
    language: str
    text: str


def shell_commands(lines: list[str]) -> Iterator[tuple[int, str]]:
    """(index of its first line, command) of each command in lines of shell.

    Backslash-newline is joined, comments and empty lines are dropped, and blanks between words are made one. What spans lines
    without a backslash is one command: a loop up to its `done`, an open quotation; a variable belongs to what follows it.
    """
    parts: list[str] = []
    first, depth = 0, 0
    for index, line in enumerate(lines):
        stripped = _without_comment(line).strip()
        if not stripped and not parts:
            continue
        if not parts:
            first = index
        continued = stripped.endswith("\\")
        parts.append(stripped.removesuffix("\\").strip())
        words = stripped.split()
        depth += words[:1] == ["for"]
        depth -= words[:1] == ["done"]
        joined = " ".join(part for part in parts if part)
        if ASSIGNMENT.fullmatch(joined):
            parts = [joined, ";"]
            continue
        if continued or depth or joined.count('"') % 2 or joined.count("'") % 2:
            if depth and not continued and not stripped.endswith(("do", ";")):
                parts.append(";")
            continue
        yield first, re.sub(r"\s+", " ", joined).replace(" ;", ";")
        parts = []
    if parts:
        raise ValueError(f"a command has no end: {' '.join(parts)}")


def _without_comment(line: str) -> str:
    """The line up to a `#` that stands at its start or after a blank, outside of quotation marks."""
    quote = ""
    for i, character in enumerate(line):
        if quote:
            quote = "" if character == quote else quote
        elif character in "\"'":
            quote = character
        elif character == "#" and (i == 0 or line[i - 1].isspace()):
            return line[:i]
    return line


def commands_of(path: Path, name: str | None = None) -> list[Command]:
    """Every command of a markdown file in its order; `name` is what it is called in them, by default the path."""
    name = name or str(path)
    found: list[Command] = []
    lines = path.read_text(encoding="utf-8").splitlines()
    index = 0
    while index < len(lines):
        fence = FENCE.match(lines[index])
        if not lines[index].strip():
            index += 1
        elif fence:
            end = next(i for i in range(index + 1, len(lines)) if lines[i].strip() == fence[2])
            block = lines[index + 1 : end]
            found += _of_block(name, index + 2, fence[3], block)
            index = end + 1
        elif lines[index].startswith("    ") and (not index or not lines[index - 1].strip()):
            end = next((i for i in range(index, len(lines)) if not lines[i].startswith("    ")), len(lines))
            found += _of_block(name, index + 1, "", lines[index:end])
            index = end
        else:
            end = index + 1
            while end < len(lines) and lines[end].strip() and not FENCE.match(lines[end]):
                end += 1
            found += _within(name, index + 1, lines[index:end])
            index = end
    return found


def _of_block(name: str, line: int, language: str, block: list[str]) -> list[Command]:
    if language == "python":
        return [Command(name, line, "python", "\n".join(block))]
    words = next((text.split() for text in block if text.strip()), [])
    if language == "bash" or (not language and words and words[0] in PROGRAMS):
        return [Command(name, line + offset, "bash", text) for offset, text in shell_commands(block)]
    return []


def _within(name: str, line: int, paragraph: list[str]) -> list[Command]:
    """Commands within the lines of a paragraph or table; a span of code may go on in the next line."""
    text = "\n".join(paragraph)
    found = []
    for match in WITHIN_A_LINE.finditer(text):
        command = re.sub(r"\s+", " ", match[1])
        if TELLING.search(command):
            found.append(Command(name, line + text.count("\n", 0, match.start()), "bash", command))
    return found
