"""The rules of the benchmarks as data: every number and list that decides a score is a field of `Protocol`.

Sources: the end-to-end, word spotting and localisation tools of the ICDAR Robust Reading Competition (challenges 2 and
4, "IoU" versions) and their polygon variants that the field uses for Total-Text and SCUT-CTW1500. `mango` is the looser match
that the authors of MANGO score their coarse outlines by (issues of their repository), with the other rules of Total-Text.
"""

import re
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

__all__ = [
    "PROTOCOLS",
    "PUNCTUATION",
    "TASKS",
    "LexiconRule",
    "Protocol",
    "ctw1500",
    "get_protocol",
    "icdar2013",
    "icdar2015",
    "mango",
    "totaltext",
]

TASKS = ("detection", "e2e", "word_spotting")
PUNCTUATION = ("kept", "inner", "none")

_LATIN_AND_GREEK = (("a", "z"), ("A", "Z"), ("\u00c0", "\u01bf"), ("\u01c4", "\u027f"), ("\u0386", "\u03ff"))


def _one_of(key: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ValueError(f"{key} must be one of {', '.join(allowed)}, got {value!r}")


@dataclass(frozen=True)
class LexiconRule:
    """How a text is replaced by a word of a lexicon.

    Attributes:
        distance: "levenshtein", or "weighted": edits cost as much as the recogniser was sure of the character they
            touch.
        max_distance: the nearest word is taken only below (strictly) this distance; None: at any distance.
        beyond_limit: what becomes of a word that is too far from the lexicon: "keep" its own text, or "drop" the
            detection.
        min_length: shorter texts keep their own text.
        skip_digits: texts with a digit keep their own text.
        skip_characters: so do texts with one of these characters.
        candidate_margin: "weighted" compares only words whose plain distance is within this of the smallest.
    """

    distance: str = "levenshtein"
    max_distance: float | None = None
    beyond_limit: str = "keep"
    min_length: int = 3
    skip_digits: bool = True
    skip_characters: str = "+"
    candidate_margin: int = 2

    def __post_init__(self) -> None:
        _one_of("distance", self.distance, ("levenshtein", "weighted"))
        _one_of("beyond_limit", self.beyond_limit, ("keep", "drop"))


@dataclass(frozen=True)
class Protocol:
    """Every rule of one benchmark.

    Attributes:
        name: name of the protocol.
        layout: lines of its files: "quadrilateral" (`x1,y1,..,x4,y4,text`), "box_or_quadrilateral" (also
            `x0,y0,x1,y1,text`) or "polygon" (`x1,y1,...,xn,yn,####text`).
        iou_threshold, iou_strict: a detection takes a word when their IoU is greater (strict) than the threshold, or at
            least as great (not strict).
        matching_order: order in which pairs that overlap enough are taken: "file" walks the words in their order and,
            for each, the detections in theirs (detections outside and words inside would give the same pairs; scores
            play no part); "best_iou" takes the pair of the greatest IoU first, as no official tool does.
        wrong_text_keeps_pair: a pair whose text is wrong uses up both its word and its detection.
        dont_care_pattern: a ground-truth text that is this regular expression from end to end is don't care.
        dont_care_overlap: a detection is don't care if more than this fraction of its area lies in a single don't-care
            word.
        ignore_degenerate_words: a ground-truth polygon without area is don't care; otherwise it counts as a missed
            word.
        self_intersecting_area: area of a polygon that crosses itself: "even_odd", all that it encloses (a bow-tie: both
            wings), or "contour", the absolute signed area (wings cancel), which the official tools' polygon library
            reports for it although it clips by the even-odd rule.
        truncate_coordinates: coordinates lose their decimals (towards zero) before anything is measured.
        strip_transcriptions: white space around a transcription is not part of it.
        unquote_transcriptions: a transcription written "in double quotes" is what stands between them.
        case_insensitive: texts are compared in upper case.
        special_characters: characters that end-to-end forgives at the ends of the ground truth.
        droppable_at_start, droppable_at_end: how many of them may be missing in the detection at either end.
        spotting_suffixes: endings that word spotting takes off the ground truth, once.
        spotting_trimmed: characters that it then takes off both ends.
        spotting_blanked: characters that it then replaces by spaces, before it strips them.
        spotting_min_length: a shorter cleaned word is don't care.
        spotting_ranges: first and last character of the ranges that a cleaned word may be written in.
        spotting_extra: single characters that are allowed as well.
        spotting_forbidden: characters that are not, though they lie in the ranges.
        lexicon_rule: how texts are replaced by words of a lexicon.
        punctuation: what of it detected words keep before anything is compared
            (:func:`~dld.evaluation.transcription.handed_in`): "kept", all; "inner", none of `special_characters` at the ends;
            "none", no punctuation and no symbols. Official tools score what they are given, "kept". The other two say what is
            given to them: the annotation of Total-Text has no punctuation, so a word that is read with it counts as wrong.
            A ground truth that ends in several special characters cannot be matched with "inner", since only one is forgiven.
    """

    name: str
    layout: str = "quadrilateral"
    iou_threshold: float = 0.5
    iou_strict: bool = True
    matching_order: str = "file"
    wrong_text_keeps_pair: bool = True
    dont_care_pattern: str = "###"
    dont_care_overlap: float = 0.5
    ignore_degenerate_words: bool = False
    self_intersecting_area: str = "even_odd"
    truncate_coordinates: bool = True
    strip_transcriptions: bool = False
    unquote_transcriptions: bool = True
    case_insensitive: bool = True
    special_characters: str = "!?.:,*\"()\u00b7[]/' "
    droppable_at_start: int = 1
    droppable_at_end: int = 1
    spotting_suffixes: tuple[str, ...] = ("'s", "'S")
    spotting_trimmed: str = "-"
    spotting_blanked: str = "'!?.:,*\"()\u00b7[]/"
    spotting_min_length: int = 3
    spotting_ranges: tuple[tuple[str, str], ...] = _LATIN_AND_GREEK
    spotting_extra: str = "-"
    spotting_forbidden: str = "\u00d7\u00f7\u00b7"
    lexicon_rule: LexiconRule = field(default_factory=LexiconRule)
    punctuation: str = "kept"

    def __post_init__(self) -> None:
        _one_of("layout", self.layout, ("quadrilateral", "box_or_quadrilateral", "polygon"))
        _one_of("matching_order", self.matching_order, ("file", "best_iou"))
        _one_of("self_intersecting_area", self.self_intersecting_area, ("even_odd", "contour"))
        _one_of("punctuation", self.punctuation, PUNCTUATION)

    @property
    def title(self) -> str:
        """The name, and what of the punctuation is kept where it is not all."""
        return self.name if self.punctuation == "kept" else f"{self.name}, punctuation {self.punctuation}"

    def is_dont_care(self, text: str) -> bool:
        """Tell whether a ground-truth word of this (already read) text is don't care."""
        return re.fullmatch(self.dont_care_pattern, text) is not None

    def rules(self) -> dict[str, Any]:
        """Return every rule in json types, to be stored beside the scores."""
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        values["lexicon_rule"] = asdict(self.lexicon_rule)
        values["spotting_suffixes"] = list(self.spotting_suffixes)
        values["spotting_ranges"] = [f"{first}-{last}" for first, last in self.spotting_ranges]
        return values


icdar2013 = Protocol("icdar2013", layout="box_or_quadrilateral")
icdar2015 = Protocol("icdar2015")
totaltext = Protocol(
    "totaltext",
    layout="polygon",
    dont_care_pattern="#+",
    ignore_degenerate_words=True,
    truncate_coordinates=False,
    strip_transcriptions=True,
)
ctw1500 = Protocol(
    "ctw1500",
    layout="polygon",
    ignore_degenerate_words=True,
    truncate_coordinates=False,
    strip_transcriptions=True,
)

mango = replace(totaltext, name="mango", iou_threshold=0.1, dont_care_overlap=0.1)

PROTOCOLS = {protocol.name: protocol for protocol in (icdar2013, icdar2015, totaltext, ctw1500, mango)}


def get_protocol(name: str) -> Protocol:
    """Look up a protocol by its name. Raises KeyError listing the known names."""
    if name not in PROTOCOLS:
        raise KeyError(f"unknown protocol {name!r}; known: {', '.join(PROTOCOLS)}")
    return PROTOCOLS[name]
