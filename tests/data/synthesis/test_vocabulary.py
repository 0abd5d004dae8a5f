"""Words: visible ASCII without spaces, all characters, all cases, reproducible."""

import numpy as np
import pytest

from dld.data.synthesis.fonts import PRINTABLE
from dld.data.synthesis.vocabulary import load_vocabulary, set_case


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
    path.write_text("Grüße Zyxwv\n", encoding="utf-8")
    assert load_vocabulary(str(path)).dictionary == ["Zyxwv"]  # umlauts are not ASCII


def test_a_missing_or_useless_word_list_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere.txt"):
        load_vocabulary(str(tmp_path / "nowhere.txt"))
    (tmp_path / "greek.txt").write_text("λόγος", encoding="utf-8")
    with pytest.raises(ValueError, match="greek.txt"):
        load_vocabulary(str(tmp_path / "greek.txt"))


def test_a_phrase_that_is_one_overlong_word_becomes_another_word(monkeypatch):
    vocabulary = load_vocabulary()
    monkeypatch.setattr(vocabulary, "_pick", lambda rng, section: "www." + 30 * "long" + ".example")
    monkeypatch.setattr(vocabulary, "word", lambda rng: "SHOP")
    rng = np.random.default_rng(0)
    assert all(vocabulary.phrase(rng) for _ in range(40))
