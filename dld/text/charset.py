"""The characters a recogniser knows, and their numbers.

Convention (C characters): id 0 ends a word, ids 1..C are the characters in order, id C + 1 starts a word and
pads the rest of a row. The decoder predicts ids 0..C (`num_outputs` = C + 1); the start id is only ever fed to it
(`num_inputs` = C + 2). With the default 95 characters that makes the 97 symbols of the paper.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import torch

__all__ = ["Charset", "named_charset"]

# beside ASCII: letters with accents of European languages, currency, quotes and dashes
_LATIN: tuple[tuple[int, int], ...] = (
    (0xA1, 0x17F),
    (0x218, 0x21B),
    (0x1E9E, 0x1E9E),
    (0x2013, 0x2015),
    (0x2018, 0x201E),
    (0x2020, 0x2022),
    (0x2026, 0x2026),
    (0x2030, 0x2030),
    (0x20A0, 0x20BF),
    (0x2122, 0x2122),
)
DEFAULT_CHARSET_FILE = Path(__file__).with_name("ascii95.txt")


class Charset:
    """An ordered set of single characters.

    Args:
        characters: the characters, each once, in the order of their ids.

    Raises:
        ValueError: no characters, a repeated one, or an entry that is not a single character.
    """

    end = 0

    def __init__(self, characters: Iterable[str]):
        self.characters = tuple(characters)
        if not self.characters:
            raise ValueError("a charset needs at least one character")
        for c in self.characters:
            if len(c) != 1:
                raise ValueError(f"a charset entry must be one character, got {c!r}")
        self._ids = {c: i + 1 for i, c in enumerate(self.characters)}
        if len(self._ids) != len(self.characters):
            twice = sorted({c for c in self.characters if self.characters.count(c) > 1})
            raise ValueError(f"characters given twice: {twice}")

    @classmethod
    def from_file(cls, path: str | Path) -> Charset:
        """Read a UTF-8 file that holds all characters; line ends are not characters, a BOM is dropped.

        Raises:
            FileNotFoundError: no such file.
            ValueError: not UTF-8, empty, or a character stands in it twice (the message names the file).
        """
        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(f"charset file {path} does not exist")
        try:
            text = path.read_bytes().decode("utf-8-sig")
            return cls(c for c in text if c not in "\r\n")
        except UnicodeDecodeError as error:
            raise ValueError(f"charset file {path} is not UTF-8: {error}") from error
        except ValueError as error:
            raise ValueError(f"charset file {path}: {error}") from error

    @classmethod
    def default(cls) -> Charset:
        """Return the 95 printable ASCII characters, case-sensitive, space included."""
        return cls.from_file(DEFAULT_CHARSET_FILE)

    @classmethod
    def from_codes(cls, codes: Sequence[int] | torch.Tensor) -> Charset:
        """Invert :meth:`codes`."""
        return cls(chr(int(c)) for c in codes)

    def codes(self) -> torch.Tensor:
        """Return Unicode code points, int64 of shape (C,): the form in which a checkpoint keeps its charset."""
        return torch.tensor([ord(c) for c in self.characters], dtype=torch.int64)

    def __len__(self) -> int:
        return len(self.characters)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Charset) and self.characters == other.characters

    def __hash__(self) -> int:
        return hash(self.characters)

    def __repr__(self) -> str:
        shown = "".join(self.characters[:12])
        return f"Charset({len(self)} characters: {shown!r}{'...' if len(self) > 12 else ''})"

    @property
    def start(self) -> int:
        return len(self.characters) + 1

    pad = start

    @property
    def num_outputs(self) -> int:
        """Classes the decoder predicts: the characters and the end."""
        return len(self.characters) + 1

    @property
    def num_inputs(self) -> int:
        """Symbols the decoder is fed: characters, end and start."""
        return len(self.characters) + 2

    def covers(self, text: str) -> bool:
        """Tell whether every character of `text` is known."""
        return all(c in self._ids for c in text)

    def encode(self, text: str, max_length: int) -> torch.Tensor:
        """Encode `text` as ids, then the end id and padding, int64 of shape (max_length + 1,).

        Raises:
            ValueError: `text` is longer than `max_length` or holds an unknown character.
        """
        if len(text) > max_length:
            raise ValueError(f"text of {len(text)} characters is longer than {max_length}: {text!r}")
        try:
            ids = [self._ids[c] for c in text]
        except KeyError as error:
            raise ValueError(f"character {error.args[0]!r} of {text!r} is not in {self!r}") from None
        row = torch.full((max_length + 1,), self.pad, dtype=torch.int64)
        row[: len(ids) + 1] = torch.tensor([*ids, self.end])
        return row

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text before the first end id; start ids are skipped."""
        out = []
        for i in ids:
            if i == self.end:
                break
            if i != self.start:
                out.append(self.characters[i - 1])
        return "".join(out)


def named_charset(name: str, known: Sequence[str]) -> Charset:
    """Return a charset by its name, of the characters that a reader knows.

    Args:
        name: "ascii", the 95 printable ones; "latin", these and letters with accents, currency, quotes and dashes, as far as
            they are known; "all", whatever is known.
        known: characters of the reader, in its order.

    Raises:
        ValueError: another name.
    """
    if name == "ascii":
        return Charset.default()
    if name == "latin":
        ascii_too = Charset.default().characters
        return Charset([*ascii_too, *(c for c in known if any(a <= ord(c) <= b for a, b in _LATIN))])
    if name == "all":
        return Charset(known)
    raise ValueError(f"MODEL.STRIPS.CHARSET must be ascii, latin, all or empty, got {name!r}")
