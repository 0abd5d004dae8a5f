"""Where lexicons come from: the official files, found by their names.

=========  ============================================================
name       looked for in the lexicon folder
=========  ============================================================
strong     `STRONG_FILES`, in the folder or in one of `STRONG_FOLDERS`
weak       `WEAK_FILES`
generic    `GENERIC_FILES`
full       `FULL_FILES`
=========  ============================================================
"""

import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from dld.evaluation.archive import MAX_FILE_BYTES, decode_text
from dld.evaluation.image_names import canonical_name, image_number
from dld.evaluation.lexicon import LEXICONS, Lexicon
from dld.evaluation.protocol import Protocol

__all__ = [
    "FULL_FILES",
    "GENERIC_FILES",
    "STRONG_FILES",
    "STRONG_FOLDERS",
    "WEAK_FILES",
    "load_lexicon",
    "read_lexicon",
]

STRONG_FOLDERS = (
    ".",
    "strong",
    "new_strong_lexicon",
    "ch4_test_vocabularies_per_image",
    "ch2_test_vocabularies_per_image",
    "ch4_training_vocabularies_per_image",
    "ch2_training_vocabularies_per_image",
)
STRONG_FILES = ("voc_{name}.txt", "voc_img_{number}.txt", "new_voc_img_{number}.txt", "{name}.txt")
WEAK_FILES = (
    "weak.txt",
    "ch4_test_vocabulary.txt",
    "ch4_test_vocabulary_new.txt",
    "ch2_test_vocabulary.txt",
    "ch2_test_vocabulary_new.txt",
    "ch4_training_vocabulary.txt",
    "ch2_training_vocabulary.txt",
)
GENERIC_FILES = ("generic.txt", "GenericVocabulary.txt", "GenericVocabulary_new.txt")
FULL_FILES = (
    "full.txt",
    "tt_lexicon.txt",
    "totaltext_lexicon.txt",
    "weak_voc_new.txt",
    "full_dict.txt",
    "ctw1500_lexicon.txt",
    "lexicon.txt",
)


def read_lexicon(path: str | os.PathLike) -> list[str]:
    """Read a word list: one word a line, or `a, b, c` (comma and space) on a line; blank and `#` lines are skipped.

    Raises FileNotFoundError, and ValueError where no word is left or the file is larger than any lexicon.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no such lexicon file: {path}")
    if path.stat().st_size > MAX_FILE_BYTES * 4:
        raise ValueError(f"{path}: a lexicon of {path.stat().st_size} bytes, more than {MAX_FILE_BYTES * 4}")
    words: list[str] = []
    for line in decode_text(path.read_bytes()).replace("\r", "\n").split("\n"):
        line = line.strip()
        if line and not line.startswith("#"):
            pieces = re.split(r",\s+", line)
            if len(pieces) > 1:
                pieces[-1] = pieces[-1].rstrip(",")
            words.extend(piece.strip() for piece in pieces if piece.strip())
    if not words:
        raise ValueError(f"{path}: no word in this lexicon")
    return words


def load_lexicon(
    name: str,
    directory: str | os.PathLike | None,
    image_ids: Iterable[str] = (),
    protocol: Protocol | None = None,
) -> Lexicon:
    """Find and read a lexicon by the official file names.

    Args:
        name: one of `LEXICONS`.
        directory: folder with the official files (not needed for "none").
        image_ids: the images whose lists "strong" needs.
        protocol: settles which file is meant where a folder holds those of several challenges (ch2: ICDAR 2013).

    Raises:
        KeyError: unknown name.
        ValueError: no folder given.
        FileNotFoundError: folder or file missing; lists the names that were tried.
    """
    if name not in LEXICONS:
        raise KeyError(f"unknown lexicon {name!r}; known: {', '.join(LEXICONS)}")
    if name == "none":
        return Lexicon("none")
    if directory is None:
        raise ValueError(f"lexicon '{name}' needs a lexicon folder (--lexicon-dir)")
    folder = Path(directory)
    if not folder.is_dir():
        raise FileNotFoundError(f"no such lexicon folder: {folder}")
    if name == "strong":
        folders = [folder / item for item in _own_challenge_first(STRONG_FOLDERS, protocol)]
        folders = [item for item in folders if item.is_dir()]
        return Lexicon(name, per_image={image: read_lexicon(_strong_file(folders, image)) for image in image_ids})
    names = _own_challenge_first({"weak": WEAK_FILES, "generic": GENERIC_FILES, "full": FULL_FILES}[name], protocol)
    return Lexicon(name, words=read_lexicon(_first_file([folder / file for file in names], f"lexicon '{name}'")))


def _own_challenge_first(names: Sequence[str], protocol: Protocol | None) -> list[str]:
    challenge = "ch2" if protocol is not None and protocol.name == "icdar2013" else "ch4"
    return sorted(names, key=lambda name: name.startswith("ch") and not name.startswith(challenge))


def _strong_file(folders: Sequence[Path], image: str) -> Path:
    fields = {"name": canonical_name(image), "number": image_number(image)}
    names = [item.format(**fields) for item in STRONG_FILES if fields["number"] is not None or "number" not in item]
    return _first_file([folder / item for folder in folders for item in names], f"strong lexicon of image '{image}'")


def _first_file(paths: Sequence[Path], what: str) -> Path:
    for path in paths:
        if path.is_file():
            return path
    raise FileNotFoundError(f"{what} not found; looked for {', '.join(str(path) for path in paths)}")
