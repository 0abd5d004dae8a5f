"""When two transcriptions are the same word: end-to-end and word spotting rules of a `Protocol`."""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import replace

from dld.evaluation.protocol import Protocol
from dld.structures.words import Word

__all__ = ["end_to_end_match", "handed_in", "read_transcription", "spotting_match", "spotting_word"]

_QUOTED = re.compile(r'\s*"(.*)"\s*', re.DOTALL)


def read_transcription(text: str, protocol: Protocol) -> str:
    """Return the transcription that a file's text stands for.

    A text between double quotes loses them, and `\\"` and `\\\\` inside are unescaped: the official tools do so with
    ground truth and detections alike.
    """
    if protocol.strip_transcriptions:
        text = text.strip()
    quoted = _QUOTED.fullmatch(text) if protocol.unquote_transcriptions else None
    if quoted is not None:
        text = quoted.group(1).replace("\\\\", "\\").replace('\\"', '"')
    return text


def handed_in(words: Sequence[Word], protocol: Protocol) -> list[Word]:
    """Return detected words with as much of their punctuation as `protocol.punctuation` says; those that are nothing else stay.

    Scoring takes words as they are: do this first, and once, before a lexicon replaces any. Characters that go take their
    `char_scores` with them.
    """
    if protocol.punctuation == "kept":
        return list(words)
    return [_without_punctuation(word, protocol) for word in words]


def _without_punctuation(word: Word, protocol: Protocol) -> Word:
    text = read_transcription(word.text, protocol)
    if protocol.punctuation == "none":
        dropped = [unicodedata.category(character)[0] in "PS" for character in text]
    else:
        first = len(text) - len(text.lstrip(protocol.special_characters))
        last = len(text.rstrip(protocol.special_characters))
        dropped = [not first <= i < last for i in range(len(text))]
    # of spaces that are left at an end or beside each other one goes, too
    kept: list[int] = []
    for i, character in enumerate(text):
        if not dropped[i] and not (character.isspace() and (not kept or text[kept[-1]].isspace())):
            kept.append(i)
    while kept and text[kept[-1]].isspace():
        kept.pop()
    if not kept or len(kept) == len(text):
        return word
    scores = [word.char_scores[i] for i in kept] if len(word.char_scores) == len(text) else list(word.char_scores)
    return replace(word, text="".join(text[i] for i in kept), char_scores=scores)


def end_to_end_match(truth: str, detected: str, protocol: Protocol) -> bool:
    """Tell whether texts are equal, or become so when special characters are dropped from the ends of the ground truth."""
    truth, detected = _fold(truth, protocol), _fold(detected, protocol)
    if truth == detected:
        return True
    starts = _droppable(truth, protocol.droppable_at_start, protocol.special_characters)
    ends = _droppable(truth[::-1], protocol.droppable_at_end, protocol.special_characters)
    return any(truth[start : len(truth) - end] == detected for start in range(starts + 1) for end in range(ends + 1))


def spotting_word(truth: str, protocol: Protocol) -> str | None:
    """Return the ground truth as word spotting looks for it, or None where it makes the word don't care."""
    for suffix in protocol.spotting_suffixes:
        if truth.endswith(suffix):
            truth = truth[: -len(suffix)]
            break
    truth = truth.strip(protocol.spotting_trimmed)
    truth = truth.translate({ord(character): " " for character in protocol.spotting_blanked}).strip()
    if len(truth) < protocol.spotting_min_length:
        return None
    return truth if all(_is_spotting_character(character, protocol) for character in truth) else None


def spotting_match(cleaned: str, detected: str, protocol: Protocol) -> bool:
    """Tell whether the detected text equals the cleaned ground truth; the detected text is not cleaned."""
    return _fold(cleaned, protocol) == _fold(detected, protocol)


def _fold(text: str, protocol: Protocol) -> str:
    return text.upper() if protocol.case_insensitive else text


def _droppable(text: str, most: int, specials: str) -> int:
    count = 0
    while count < min(most, len(text)) and text[count] in specials:
        count += 1
    return count


def _is_spotting_character(character: str, protocol: Protocol) -> bool:
    if character in protocol.spotting_forbidden:
        return False
    return character in protocol.spotting_extra or any(first <= character <= last for first, last in protocol.spotting_ranges)
