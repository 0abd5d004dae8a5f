"""What can be read: charsets by name, and characters that are allowed."""

import pytest

from dld.data.samples import sample_files
from dld.inference.predictor import TextSpotter
from dld.text.charset import Charset, named_charset

SAMPLE = ["INPUT.MIN_SIZE_TEST", 320]


@pytest.fixture(scope="module")
def sample():
    return sample_files()[0]


@pytest.fixture(scope="module")
def spotter():
    return TextSpotter.from_pretrained("teacher_tiny", device="cpu", opts=SAMPLE)


@pytest.fixture(scope="module")
def free(spotter, sample):
    return spotter(sample)


@pytest.fixture(scope="module")
def digits(sample):
    return TextSpotter.from_pretrained("teacher_tiny", device="cpu", opts=SAMPLE, allow="0123456789.")(sample)


def test_named_charsets():
    known = [*Charset.default().characters, *"éŁß€“ǃΩ中"]
    assert named_charset("ascii", known) == Charset.default()
    assert named_charset("latin", known).characters == (*Charset.default().characters, *"éŁß€“")
    assert named_charset("all", known).characters == tuple(known)
    with pytest.raises(ValueError, match=r"MODEL\.STRIPS\.CHARSET must be ascii, latin, all or empty, got 'klingon'"):
        named_charset("klingon", known)


def test_the_shipped_reader_knows_accents():
    spotter = TextSpotter.from_pretrained("teacher_tiny", device="cpu", charset="latin")
    characters = set(spotter.model.reader.charset.characters)
    assert set("ŁódźGyőrReykjavíkStraßeseñor€19,90Ærø½ŞşİığâîȘț“”’") <= characters
    assert not characters & set("αΩ中")
    assert len(TextSpotter.from_pretrained("teacher_tiny", device="cpu", charset="all").model.reader.charset) == 652


def test_only_digits(free, digits):
    assert any(c.isalpha() for word in free.words for c in word.text)
    assert set("".join(word.text for word in digits.words)) <= set("0123456789.")


def test_what_needs_strips_or_is_unknown_says_so():
    for options in ({"charset": "latin"}, {"allow": "12"}):
        with pytest.raises(ValueError, match="charset and allow need a reader of strips"):
            TextSpotter.from_pretrained("teacher_tiny", device="cpu", opts=["MODEL.RECOGNITION.READER", ""], **options)
    with pytest.raises(ValueError, match="only known characters can be allowed .*, not '中'"):
        TextSpotter.from_pretrained("teacher_tiny", device="cpu", allow="1中")


def test_characters_allowed_for_a_while(sample, spotter, free, digits, monkeypatch):
    monkeypatch.setattr(spotter.model.reader, "allowed", spotter.model.reader.allowed)
    with spotter.allowing("0123456789."):
        assert spotter(sample).to_dict() == digits.to_dict()
    with pytest.raises(ValueError, match="only known characters"), spotter.allowing("中"):
        pass
    with spotter.allowing(""):
        assert spotter(sample).to_dict() == free.to_dict()
    spotter.model.reader.allow("abc")
    with pytest.raises(ValueError, match="only characters of 'abc' can be allowed here"), spotter.allowing("abcd"):
        pass
    with spotter.allowing("ab"):
        assert spotter.model.reader.allowed_characters.strip() == "ab"
    assert spotter.model.reader.allowed_characters.strip() == "abc"


def test_without_strips_nothing_is_allowed_for_a_while(tiny_weights):
    spotter = TextSpotter.from_checkpoint(tiny_weights["student"], device="cpu")
    with pytest.raises(ValueError, match="allow needs a reader of strips"), spotter.allowing("12"):
        pass
