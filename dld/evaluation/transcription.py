"""When two transcriptions are the same word: end-to-end and word spotting rules of a `Protocol`."""

import re
import unicodedata

from dld.evaluation.protocol import Protocol

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


def handed_in(text: str, protocol: Protocol) -> str:
    """Return a detected text with as much of its punctuation as `protocol.punctuation` says."""
    if protocol.punctuation == "inner":
        return text.strip(protocol.special_characters)
    if protocol.punctuation == "none":
        return "".join(character for character in text if unicodedata.category(character)[0] in "LNM")
    return text


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
