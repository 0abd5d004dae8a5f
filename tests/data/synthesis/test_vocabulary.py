"""Words: visible ASCII without spaces, all characters, all cases, reproducible."""

import numpy as np
import pytest

from dld.data.synthesis.fonts import PRINTABLE
from dld.data.synthesis.vocabulary import characters_beyond_ascii, load_vocabulary, set_case


def draws(count, seed=0):
    vocabulary, rng = load_vocabulary(), np.random.default_rng(seed)
    return [word for _ in range(count) for word in [vocabulary.word(rng), *vocabulary.phrase(rng)]]


def test_words_are_short_runs_of_visible_ascii():
    for word in draws(3000):
        assert 1 <= len(word) <= 40
        assert set(word) <= set(PRINTABLE)


def test_every_visible_character_occurs():
    assert len(PRINTABLE) == 94
    assert set().union(*draws(4000)) == set(PRINTABLE)


def test_every_slot_of_every_phrase_can_be_filled():
    vocabulary, rng = load_vocabulary(), np.random.default_rng(0)
    for phrase in vocabulary.sections["phrases"]:
        for part in phrase.split("{")[1:]:
            assert vocabulary.slot(rng, part.split("}")[0])


def test_the_same_generator_gives_the_same_words():
    assert draws(50, seed=3) == draws(50, seed=3)
    assert draws(50, seed=3) != draws(50, seed=4)


def test_cases():
    styles = ("upper", "lower", "title", "as is")
    assert [set_case("o'Neil", style) for style in styles] == ["O'NEIL", "o'neil", "O'Neil", "o'Neil"]


def test_a_word_list_of_the_users_own(tmp_path):
    path = tmp_path / "words.txt"
    # the second word with its dots as a mark of their own, as some systems write them
    path.write_text("Grüße Mu\u0308he Zyxwv\n", encoding="utf-8")
    vocabulary = load_vocabulary(str(path))
    assert vocabulary.dictionary == ["Grüße", "Mühe", "Zyxwv"]
    assert vocabulary.beyond_ascii == "Üßü"
    rng = np.random.default_rng(0)
    strings = "".join(vocabulary.random_string(rng) for _ in range(4000))
    assert set(strings) == set(PRINTABLE + "Üßü")


def test_without_a_list_of_ones_own_every_word_is_ascii():
    assert load_vocabulary().beyond_ascii == ""


def test_characters_in_every_case_that_is_one_character():
    assert characters_beyond_ascii(["aß", "Σ"]) == "ßΣσ"  # the capital of a sharp s is two letters
    assert characters_beyond_ascii(["plain", "ASCII"]) == ""


def test_words_that_are_not_letter_after_letter_are_left_out_and_said(tmp_path, caplog):
    path = tmp_path / "words.txt"
    path.write_text("λόγος שלום قهوة हिन्दी 東京 " + 26 * "x", encoding="utf-8")
    assert load_vocabulary(str(path)).dictionary == ["λόγος", "東京"]
    assert "4 of 6 words left out" in caplog.text


def test_a_missing_or_useless_word_list_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere.txt"):
        load_vocabulary(str(tmp_path / "nowhere.txt"))
    (tmp_path / "hebrew.txt").write_text("שלום", encoding="utf-8")
    with pytest.raises(ValueError, match="hebrew.txt"):
        load_vocabulary(str(tmp_path / "hebrew.txt"))
    (tmp_path / "old.txt").write_bytes("Grüße".encode("latin-1"))
    with pytest.raises(ValueError, match="old.txt.* is not UTF-8"):
        load_vocabulary(str(tmp_path / "old.txt"))


def test_a_phrase_that_is_one_overlong_word_becomes_another_word(monkeypatch):
    vocabulary = load_vocabulary()
    monkeypatch.setattr(vocabulary, "_pick", lambda rng, section: "www." + 30 * "long" + ".example")
    monkeypatch.setattr(vocabulary, "word", lambda rng: "SHOP")
    rng = np.random.default_rng(0)
    assert all(vocabulary.phrase(rng) for _ in range(40))
