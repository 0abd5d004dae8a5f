"""Lexicons: lists of words that a recogniser's text is corrected to.

strong: about 100 words for each image; weak: all words of the test set; generic: about 90,000 words; full: all words of
Total-Text or CTW1500 in one list; none: the recogniser's own text.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
from rapidfuzz.distance import Levenshtein
from rapidfuzz.process import cdist

from dld.evaluation.protocol import LexiconRule, Protocol
from dld.evaluation.transcription import read_transcription
from dld.structures.words import Word

__all__ = ["LEXICONS", "LEXICON_RULES", "Lexicon", "nearest_words", "weighted_edit_distance"]

LEXICONS = ("none", "strong", "weak", "generic", "full")

LEXICON_RULES = {
    "plain": LexiconRule(),
    # The rule of published detectron2 spotters: correct within one edit, and do not submit a word that is further away.
    "limited": LexiconRule(max_distance=1.5, beyond_limit="drop", min_length=0, skip_digits=False, skip_characters=""),
    "weighted": LexiconRule(
        "weighted", max_distance=1.5, beyond_limit="drop", min_length=0, skip_digits=False, skip_characters=""
    ),
}

_QUERIES_AT_ONCE = 256  # 256 x 90,000 distances are 46 MB


class Lexicon:
    """A named lexicon, one list for all images or one for each.

    Args:
        name: one of `LEXICONS`.
        words: the list for all images.
        per_image: image id -> list.
    """

    def __init__(
        self, name: str, words: Sequence[str] | None = None, per_image: Mapping[str, Sequence[str]] | None = None
    ) -> None:
        if name not in LEXICONS:
            raise KeyError(f"unknown lexicon {name!r}; known: {', '.join(LEXICONS)}")
        if (words is not None) + (per_image is not None) != (name != "none"):
            raise ValueError(f"lexicon '{name}' needs one list of words or one for each image, and 'none' neither")
        self.name = name
        self.words = words
        self.per_image = per_image

    def correct(self, predictions: Mapping[str, Sequence[Word]], protocol: Protocol) -> dict[str, list[Word]]:
        """Return copies of the predictions, with texts replaced by the protocol's `lexicon_rule`."""
        if self.name == "none":
            return {image: list(words) for image, words in predictions.items()}
        if self.words is not None:
            images = list(predictions)
            everything = [word for image in images for word in predictions[image]]
            corrected = iter(_correct(everything, self.words, protocol))
            return {
                image: [word for word in (next(corrected) for _ in predictions[image]) if word is not None] for image in images
            }
        return {
            image: [word for word in _correct(words, self._of(image), protocol) if word is not None]
            for image, words in predictions.items()
        }

    def _of(self, image: str) -> Sequence[str]:
        assert self.per_image is not None
        if image not in self.per_image:
            raise KeyError(f"lexicon '{self.name}' has no list for image {image!r}")
        return self.per_image[image]


def nearest_words(texts: Sequence[str], lexicon: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Find the nearest word of each text by Levenshtein distance on upper-cased strings; the first one wins a tie.

    Returns:
        indices (T,) into `lexicon` and distances (T,), both int64.
    """
    choices = [word.upper() for word in lexicon]
    indices = np.zeros(len(texts), dtype=np.int64)
    distances = np.zeros(len(texts), dtype=np.int64)
    queries = [text.upper() for text in texts]
    for start in range(0, len(queries), _QUERIES_AT_ONCE):
        table = cdist(queries[start : start + _QUERIES_AT_ONCE], choices, scorer=Levenshtein.distance, dtype=np.uint16)
        nearest = table.argmin(axis=1)
        indices[start : start + len(table)] = nearest
        distances[start : start + len(table)] = table[np.arange(len(table)), nearest]
    return indices, distances


def weighted_edit_distance(text: str, word: str, char_scores: Sequence[float]) -> float:
    """Compute the edit distance in which touching a character costs the probability that the recogniser gave it.

    Deleting or replacing character i costs p_i; inserting behind it costs the mean of p_i and p_{i+1} (p_0 before the
    first and the last p behind the last one; 1 into an empty text). Others weight a replacement by the probability of
    the new character as well: their models hand over whole distributions, while a results file holds only the scores of
    the text that was read.
    """
    costs = [min(max(float(value), 0.0), 1.0) for value in char_scores]
    if len(costs) != len(text):
        raise ValueError(f"{len(costs)} char_scores for the {len(text)} characters of {text!r}")
    padded = [costs[0], *costs, costs[-1]] if costs else [1.0, 1.0]
    insert = [(before + behind) / 2 for before, behind in pairwise(padded)]
    row = [index * insert[0] for index in range(len(word) + 1)]
    for i, character in enumerate(text, start=1):
        above, row = row, [row[0] + costs[i - 1]]
        for j, wanted in enumerate(word, start=1):
            replaced = above[j - 1] + (0.0 if character == wanted else costs[i - 1])
            row.append(min(above[j] + costs[i - 1], row[j - 1] + insert[i], replaced))
    return row[-1]


def _correct(words: Sequence[Word], lexicon: Sequence[str], protocol: Protocol) -> list[Word | None]:
    rule = protocol.lexicon_rule
    texts = [read_transcription(word.text, protocol) for word in words]
    corrected: list[Word | None] = list(words)
    asked = [index for index, text in enumerate(texts) if not _is_skipped(text, rule)]
    queries = list(dict.fromkeys(texts[index].upper() for index in asked))
    nearest, distances = nearest_words(queries, lexicon)
    found = {query: (lexicon[i], float(d)) for query, i, d in zip(queries, nearest, distances, strict=True)}
    for index in asked:
        word, query = words[index], texts[index].upper()
        replacement, distance = found[query]
        if rule.distance == "weighted" and distance > 0 and len(word.char_scores) == len(query):
            replacement, distance = _nearest_weighted(query, word.char_scores, lexicon, distance, rule)
        if rule.max_distance is None or distance < rule.max_distance:
            corrected[index] = replace(word, text=replacement)
        elif rule.beyond_limit == "drop":
            corrected[index] = None
    return corrected


def _nearest_weighted(
    query: str, char_scores: Sequence[float], lexicon: Sequence[str], smallest: float, rule: LexiconRule
) -> tuple[str, float]:
    plain = cdist([query], [word.upper() for word in lexicon], scorer=Levenshtein.distance, dtype=np.uint16)[0]
    close = np.flatnonzero(plain <= smallest + rule.candidate_margin).tolist()
    weighted = [weighted_edit_distance(query, lexicon[index].upper(), char_scores) for index in close]
    best = int(np.argmin(weighted))
    return lexicon[close[best]], weighted[best]


def _is_skipped(text: str, rule: LexiconRule) -> bool:
    return (
        len(text) < rule.min_length
        or (rule.skip_digits and any(character.isdigit() for character in text))
        or any(character in rule.skip_characters for character in text)
    )
