"""Whether the fonts have what a user's word list asks for: a word that no font can draw never comes up in a picture."""

from __future__ import annotations

import logging

from dld.data.synthesis.fonts import load_faces
from dld.data.synthesis.vocabulary import load_vocabulary

__all__ = ["check_repertoire"]

logger = logging.getLogger(__name__)


def check_repertoire(words_file: str, fonts_dir: str | None = None) -> str:
    """Look for every character of a word list in every font; log what none of them has, and how many have the rest.

    Args:
        words_file: one word a line.
        fonts_dir: folder of fonts; None: the installed ones.

    Returns:
        the characters that no font draws. Words with one of them are never drawn.

    Raises:
        FileNotFoundError: no such file or no fonts.
        ValueError: no word of the list can be drawn by any font; names the file and the characters.
    """
    vocabulary = load_vocabulary(words_file)
    faces = [face for family in load_faces(fonts_dir, vocabulary.beyond_ascii).values() for face in family]
    drawable = frozenset().union(*(face.characters for face in faces))
    asked = sorted(set("".join(vocabulary.dictionary)))
    missing = "".join(c for c in asked if c not in drawable)
    lost = sum(not drawable.issuperset(word) for word in vocabulary.dictionary)
    where = f"fonts_dir {fonts_dir!r}" if fonts_dir else "the installed fonts"
    if lost == len(vocabulary.dictionary):
        hint = "give fonts that have them: DATASETS.SYNTHWORDS.FONTS_DIR"
        raise ValueError(f"words_file {words_file!r}: {where} can draw none of its words, lacking {missing!r}; {hint}")
    if missing:
        logger.warning(
            "words_file %s: no font of %s has %r, so %d of %d words are never drawn; DATASETS.SYNTHWORDS.FONTS_DIR names a "
            "folder of others",
            words_file,
            where,
            missing,
            lost,
            len(vocabulary.dictionary),
        )
    able = sum(all(c in face.characters or c in missing for c in asked) for face in faces)
    logger.info("words_file %s: %d of %d faces have all characters that any has", words_file, able, len(faces))
    return missing
