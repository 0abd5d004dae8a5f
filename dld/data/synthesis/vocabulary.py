"""What the signs say: words, numbers, codes and short phrases, drawn from a numpy generator.

Words come from ``words.txt`` beside this file (signs, shops, food, names, places), from a user's list (one word a
line, the most frequent first), and from the English frequency list of the ``symspellpy`` package (MIT) where it is
installed. Random strings make sure that every visible ASCII character occurs, and those of the user's list.
"""

import importlib.util
import logging
import re
import unicodedata
from functools import lru_cache
from pathlib import Path

import numpy as np

from dld.data.synthesis.fonts import PRINTABLE

__all__ = ["Vocabulary", "characters_beyond_ascii", "load_vocabulary", "set_case"]

logger = logging.getLogger(__name__)

_RARE = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"
_CODE_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_DOMAINS = ("com", "net", "org", "co.uk", "de", "fr", "it", "com.au", "info", "shop", "io", "ca", "sg", "my")
_DICTIONARY_WORDS = 40_000
_MAX_LENGTH = 25
# Beginnings of words nobody wants on a picture of a public street.
_UNWANTED = (
    "porn", "fuck", "shit", "cunt", "nigg", "fagg", "rape", "rapist", "nazi", "slut", "whore", "bitch", "dildo",
    "penis", "pussy", "pussies", "auschwitz", "holocaust", "hitler", "gestapo", "genocid", "swastika", "vagina",
    "sex", "erotic", "orgasm", "orgy", "orgies", "blowjob", "handjob", "masturbat", "nude", "naked", "boob", "horny",
    "negro", "kike", "retard", "tranny", "molest", "pedoph", "incest", "terroris", "suicid", "jihad", "milf",
    "hentai", "bdsm", "xxx", "clit", "titties", "bastard", "asshole", "dyke",
)  # fmt: skip
_SLOT = re.compile(r"\{(\w+)\}")


def _read_sections(path: Path) -> dict[str, list[str]]:
    sections: dict[str, list[str]] = {}
    current = ""
    for line in path.read_text(encoding="utf-8").splitlines():
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        if line.startswith("["):
            current = line.strip("[]")
            sections[current] = []
        elif current == "phrases":
            sections[current].append(line)
        else:
            sections[current] += line.split()
    return sections


def _frequency_list() -> list[str]:
    """Return symspellpy's words by falling frequency, where it is installed."""
    spec = importlib.util.find_spec("symspellpy")
    roots = list(spec.submodule_search_locations or []) if spec else []
    path = Path(roots[0]) / "frequency_dictionary_en_82_765.txt" if roots else Path()
    if not path.is_file():
        return []
    words = [line.split()[0] for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    words = [w for w in words if set(w) <= set(PRINTABLE) and len(w) <= _MAX_LENGTH][:_DICTIONARY_WORDS]
    return [w for w in words if not w.startswith(_UNWANTED)]


def _stands_alone(character: str) -> bool:
    """Tell whether a character is drawn by itself, left to right: no mark on another one, no script from right to left."""
    return unicodedata.category(character)[0] not in "CMZ" and unicodedata.bidirectional(character) not in ("R", "AL")


def _users_words(words_file: str) -> list[str]:
    """Read a user's words in composed form; leave out those too long or not drawn letter after letter."""
    path = Path(words_file)
    if not path.is_file():
        raise FileNotFoundError(f"words_file {words_file!r} does not exist")
    try:
        words = unicodedata.normalize("NFC", path.read_text(encoding="utf-8-sig")).split()
    except UnicodeDecodeError as error:
        raise ValueError(f"words_file {words_file!r} is not UTF-8: {error}") from error
    good = [w for w in words if len(w) <= _MAX_LENGTH and all(map(_stands_alone, w))]
    rule = f"of at most {_MAX_LENGTH} characters that are set one after the other, left to right"
    if not good:
        raise ValueError(f"words_file {words_file!r} holds no word {rule}")
    if len(good) < len(words):
        logger.warning("words_file %s: %d of %d words left out, not %s", words_file, len(words) - len(good), len(words), rule)
    return good[:_DICTIONARY_WORDS]


def characters_beyond_ascii(words: list[str]) -> str:
    """Return the characters of the words, in any case they may be set in, beyond visible ASCII, in the order of their codes."""
    found = set("".join(words))
    found |= {c for character in found for c in (character.upper(), character.lower()) if len(c) == 1}
    return "".join(sorted(found - set(PRINTABLE)))


def set_case(word: str, style: str) -> str:
    """Return ``word`` in "upper", "lower", "title" or its own ("as is") case; a title capitalises only the first letter."""
    if style == "upper":
        return word.upper()
    if style == "lower":
        return word.lower()
    if style == "title":
        return word[:1].upper() + word[1:]
    return word


class Vocabulary:
    """Draws the texts of one sign at a time; holds no random state of its own.

    Args:
        sections: word lists by kind, and ``"phrases"`` with ``{kind}`` slots.
        dictionary: words by falling frequency; empty to use the sections only.

    Attributes:
        beyond_ascii: characters of the dictionary that are not ASCII; random strings have them, too.
    """

    def __init__(self, sections: dict[str, list[str]], dictionary: list[str]):
        self.sections = sections
        scene = [w for kind, words in sections.items() if kind != "phrases" for w in words]
        self.scene = scene
        self.dictionary = dictionary or scene
        self.beyond_ascii = characters_beyond_ascii(dictionary)

    def _pick(self, rng: np.random.Generator, items) -> str:
        return items[int(rng.integers(len(items)))]

    def dictionary_word(self, rng: np.random.Generator) -> str:
        """Draw a word of the frequency list: rank log-uniform half of the time (common words), uniform otherwise."""
        n = len(self.dictionary)
        u = rng.random()
        rank = n ** rng.random() - 1 if u < 0.4 else n * rng.random()
        return self.dictionary[min(int(rank), n - 1)]

    def number(self, rng: np.random.Generator) -> str:
        return str(int(10 ** rng.uniform(0, 4.5)))

    def slot(self, rng: np.random.Generator, kind: str) -> str:
        """Draw the text for ``{kind}`` of a phrase; it may be several words."""
        integers = rng.integers
        if kind in self.sections:
            return self._pick(rng, self.sections[kind])
        if kind == "dictionary":
            return self.dictionary_word(rng)
        if kind == "number":
            return self.number(rng)
        if kind == "smallnumber":
            return str(integers(1, 100))
        if kind == "percent":
            return f"{5 * integers(1, 19)}%"
        if kind == "year":
            return str(integers(1850, 2030))
        if kind == "price":
            amount = self._pick(
                rng, (f"{integers(1, 100)}.{integers(0, 100):02d}", f"{integers(1, 1000)}", f"{integers(0, 20)}.99")
            )
            return self._pick(rng, ("${}", "${}", "{}", "RM{}", "S${}", "{}/kg", "{}-")).format(amount)
        if kind == "time":
            hour, minute = int(integers(1, 13)), 15 * int(integers(0, 4))
            forms = (
                f"{hour}am",
                f"{hour}pm",
                f"{hour}:{minute:02d}",
                f"{2 * hour - 1:02d}:{minute:02d}",
                f"{hour}.{minute:02d}pm",
            )
            return self._pick(rng, forms)
        if kind == "date":
            d, m, y = int(integers(1, 32)), int(integers(1, 13)), int(integers(1950, 2030))
            return self._pick(
                rng,
                (f"{d:02d}/{m:02d}/{y}", f"{y}-{m:02d}-{d:02d}", f"{d}.{m}.{y % 100:02d}", f"{m}/{d}/{y % 100:02d}"),
            )
        if kind == "phone":
            a, b, c = int(integers(10, 1000)), int(integers(100, 1000)), int(integers(1000, 10000))
            return self._pick(
                rng,
                (f"{a}-{b}-{c}", f"({a}) {b}-{c}", f"{a:03d} {b} {c}", f"+{a % 99} {a} {b}{c}", f"{b}{c}", f"{b} {c}"),
            )
        if kind == "url":
            host = set_case(self.dictionary_word(rng), "lower").replace("'", "")
            return self._pick(rng, ("www.{}.{}", "{}.{}", "www.{}.{}", "http://{}.{}")).format(host, self._pick(rng, _DOMAINS))
        if kind == "email":
            host = self.dictionary_word(rng).lower().replace("'", "")
            return f"{self._pick(rng, ('info', 'sales', 'hello', 'office'))}@{host}.{self._pick(rng, _DOMAINS)}"
        if kind == "code":
            letters = "".join(self._pick(rng, _CODE_LETTERS) for _ in range(integers(1, 4)))
            digits = str(integers(1, 10 ** int(integers(1, 5))))
            return self._pick(
                rng, (letters + digits, digits + letters, f"{letters}-{digits}", f"{letters}{digits}{letters[:1]}")
            )
        raise KeyError(f"words.txt has no section [{kind}], which a phrase asks for")

    def random_string(self, rng: np.random.Generator) -> str:
        """Draw random visible characters: labels without a language to lean on."""
        length = 1 + int(rng.geometric(0.25))
        u = rng.random()
        alphabet = (
            PRINTABLE + self.beyond_ascii
            if u < 0.4
            else "0123456789"
            if u < 0.6
            else _CODE_LETTERS + "0123456789"
            if u < 0.8
            else _CODE_LETTERS
        )
        text = "".join(alphabet[i] for i in rng.integers(len(alphabet), size=min(length, 10)))
        return text

    def _punctuated(self, rng: np.random.Generator, word: str) -> str:
        mark = _RARE[int(rng.integers(len(_RARE)))]
        u = rng.random()
        if u < 0.45:
            return word + self._pick(rng, ("!", ".", ",", ":", "?", "...", ";", "!!", "*"))
        if u < 0.6:
            return self._pick(rng, ("({})", '"{}"', "'{}'", "[{}]", "-{}-", "*{}*", "<{}>", "{{{}}}")).format(word)
        if u < 0.8:
            return mark + word
        cut = int(rng.integers(1, len(word) + 1))
        return word[:cut] + mark + word[cut:]

    def word(self, rng: np.random.Generator) -> str:
        """Draw one word on its own, in its own case."""
        u = rng.random()
        if u < 0.42:
            word = self._pick(rng, self.scene)
        elif u < 0.8:
            word = self.dictionary_word(rng)
        elif u < 0.86:
            word = self.number(rng)
        elif u < 0.93:
            kind = self._pick(rng, ("price", "time", "date", "phone", "code", "percent", "year", "url"))
            word = self._pick(rng, self.slot(rng, kind).split())
        else:
            word = self.random_string(rng)
        return self._punctuated(rng, word) if rng.random() < 0.06 else word

    def phrase(self, rng: np.random.Generator) -> list[str]:
        """Draw the words of one sign in reading order; most have two to five."""
        if rng.random() < 0.5:
            # Set phrases alone would let a recogniser guess the neighbour's word; unrelated words do not.
            return [self.word(rng) for _ in range(min(1 + int(rng.geometric(0.4)), 8))]
        template = self._pick(rng, self.sections["phrases"])
        text = _SLOT.sub(lambda match: self.slot(rng, match.group(1)), template)
        # an address alone may be longer than any word that is read
        return [w for w in text.split() if len(w) <= _MAX_LENGTH] or [self.word(rng)]

    def case_style(self, rng: np.random.Generator) -> str:
        """Draw the case of a whole sign; capitals dominate in streets."""
        u = rng.random()
        return "upper" if u < 0.45 else "title" if u < 0.75 else "lower" if u < 0.87 else "as is"


@lru_cache(maxsize=4)
def load_vocabulary(words_file: str | None = None) -> Vocabulary:
    """Load the vocabulary, once per process.

    Raises:
        FileNotFoundError: ``words_file`` is given and missing.  ValueError: it holds no usable word.
    """
    dictionary = _users_words(words_file) if words_file else _frequency_list()
    return Vocabulary(_read_sections(Path(__file__).with_name("words.txt")), dictionary)
