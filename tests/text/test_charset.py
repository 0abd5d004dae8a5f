import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dld.text.charset import Charset

PRINTABLE = "".join(chr(c) for c in range(0x20, 0x7F))


def test_default_is_printable_ascii_in_order_and_makes_the_papers_97_symbols():
    charset = Charset.default()
    assert "".join(charset.characters) == PRINTABLE
    assert (len(charset), charset.num_outputs, charset.num_inputs) == (95, 96, 97)


def test_sizes_and_special_ids_follow_from_the_number_of_characters():
    charset = Charset("xyz")
    assert (charset.end, charset.start, charset.pad) == (0, 4, 4)
    assert (charset.num_outputs, charset.num_inputs) == (4, 5)


def test_a_word_is_its_ids_one_end_and_padding():
    # 'a' is the 66th printable character: 97 - 32 + 1
    assert Charset.default().encode("ab", 4).tolist() == [66, 67, 0, 96, 96]
    assert Charset("xyz").encode("", 2).tolist() == [0, 4, 4]
    assert Charset("xyz").encode("zy", 2).tolist() == [3, 2, 0]


@given(st.text(alphabet=PRINTABLE, max_size=12))
def test_every_text_comes_back(text):
    charset = Charset.default()
    ids = charset.encode(text, 12)
    assert ids.shape == (13,) and ids.dtype == torch.int64
    assert charset.decode(ids.tolist()) == text


def test_decoding_stops_at_the_first_end_and_skips_starts():
    charset = Charset("xyz")
    assert charset.decode([4, 1, 2, 0, 3]) == "xy"
    assert charset.decode([1, 2, 3]) == "xyz"
    assert charset.decode([]) == ""


def test_texts_that_do_not_fit_are_refused_by_name():
    charset = Charset("xyz")
    assert charset.covers("zzx") and charset.covers("") and not charset.covers("xa")
    with pytest.raises(ValueError, match="'a' of 'xa'"):
        charset.encode("xa", 4)
    with pytest.raises(ValueError, match="3 characters is longer than 2: 'xyz'"):
        charset.encode("xyz", 2)


def test_byte_order_mark_and_line_ends_are_not_characters_but_space_is(tmp_path):
    file = tmp_path / "chars.txt"
    file.write_bytes(b"\xef\xbb\xbf ab\r\nc\n\xc3\xa9")
    assert Charset.from_file(file).characters == (" ", "a", "b", "c", "é")


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"abca", r"twice: \['a'\]"), (b"\r\n", "at least one"), (b"ab\xff", "not UTF-8")],
)
def test_bad_files_are_named(tmp_path, content, message):
    file = tmp_path / "chars.txt"
    file.write_bytes(content)
    with pytest.raises(ValueError, match=message) as caught:
        Charset.from_file(file)
    assert str(file) in str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere.txt"):
        Charset.from_file(tmp_path / "nowhere.txt")


def test_an_entry_of_two_characters_is_refused():
    with pytest.raises(ValueError, match="'ab'"):
        Charset(["ab", "c"])


def test_code_points_identify_a_charset_beyond_the_basic_plane_too():
    charset = Charset("aé中\U0001d11e")
    again = Charset.from_codes(charset.codes())
    assert again == charset and hash(again) == hash(charset)
    assert charset != Charset("éa中\U0001d11e"), "the order is part of a charset: it gives the ids"
