"""Words come out as their own strips, at every height with the same columns, and moved by no more than asked for."""

import numpy as np
import pytest

from dld.data.strip_words import StripMapper, distort
from dld.strips.heights import FORMS
from dld.structures.sides import jittered
from dld.text.charset import Charset

RECT = np.array([[20.0, 10.0], [120.0, 10.0], [120.0, 30.0], [20.0, 30.0]])


def record(*polygons, texts=None, ignore=()):
    """A picture whose words are ramps: dark where they start, light where they end, on grey."""
    image = np.full((80, 160, 3), 128, np.uint8)
    image[10:30, 20:120] = np.linspace(0, 255, 100).astype(np.uint8)[None, :, None]
    annotations = [
        {"polygon": p.astype(np.float32), "text": (texts or ["word"] * len(polygons))[i], "ignore": i in ignore}
        for i, p in enumerate(polygons)
    ]
    return {"image": image, "image_id": "a", "annotations": annotations}


def mapper(is_train=False, rows=(48, 32, 24, 16), **kwargs):
    return StripMapper(is_train, Charset.default(), 10, rows, **kwargs)


def test_a_word_is_cut_along_its_annotated_sides_at_every_height():
    (word,) = mapper()(record(RECT))["words"]
    assert word.text == "word" and word.height == pytest.approx(20) and word.fill == pytest.approx(1)
    assert set(word.strips) == {48, 32, 24, 16}
    for rows, strip in word.strips.items():
        text = 200 / 208 * strip.shape[1]
        assert strip.shape[0] == rows and strip.shape[1] == FORMS[rows].columns(208)
        ramp = strip[rows // 2, :, 0].astype(float)
        inside = slice(int(0.05 * text), int(0.95 * text))
        expected = 255 * ((np.arange(strip.shape[1]) + 0.5) * 208 / strip.shape[1] - 4) / 200
        assert np.abs(ramp - expected)[inside].max() < 8, rows
    assert word.width == 256


def test_an_upside_down_word_is_read_from_its_own_start():
    (word,) = mapper()(record(RECT[[2, 3, 0, 1]]))["words"]
    ramp = word.strips[48][24, :, 0]
    assert ramp[10] > 200 and ramp[-10] < 60


def test_what_cannot_be_read_is_left_out_and_counted():
    line = np.array([[20.0, 10.0], [120.0, 10.0], [60.0, 10.0], [30.0, 10.0]])
    out = mapper()(record(RECT, RECT, RECT, line, texts=["word", "elevenchars", "Ж", "word"], ignore=(0,)))
    assert out["words"] == []
    assert dict(out["skipped"]) == {"don't care": 1, "too long": 1, "outside the charset": 1, "without sides": 1}
    assert mapper(True)({"image_id": "b", "annotations": []})["words"] == [], "the picture is not even opened"


def test_training_adds_the_teachers_height_and_leaves_it_clean():
    rng = np.random.default_rng(0)
    (word,) = mapper(True, (16,), jitter=0.0)(record(RECT), rng)["words"]
    assert set(word.strips) == {48, 16}
    (clean,) = mapper()(record(RECT))["words"]
    assert (word.strips[48] == clean.strips[48]).all()
    distorted = [mapper(True, (16,))(record(RECT), np.random.default_rng(i))["words"][0].strips[16] for i in range(20)]
    assert any((strip != clean.strips[16]).any() for strip in distorted)


def test_most_words_are_drawn_anew_and_follow_from_the_seed():
    many = record(*[RECT] * 9, texts=[str(i) for i in range(9)])
    drawn = [[w.text for w in mapper(True, most_words=3)(many, np.random.default_rng(i))["words"]] for i in (0, 0, 1, 2)]
    assert all(len(texts) == 3 for texts in drawn) and drawn[0] == drawn[1] and len({tuple(t) for t in drawn}) > 1


def test_jitter_stays_within_its_bounds():
    sides = np.stack([np.linspace([20.0, 10], [120, 10], 7), np.linspace([20.0, 30], [120, 30], 7)])[None].repeat(200, 0)
    moved = jittered(sides, 0.1, np.random.default_rng(0)) - sides
    # a side that turns and grows longer moves a little more across
    assert 1.5 < np.abs(moved[..., 1]).max() <= 2.0 + 0.1 * 4.0, "a tenth of 20 pixels across"
    assert 4 < np.abs(moved[..., 0]).max() <= 6.0 + 1e-6, "three tenths along"
    # the ends of both sides move along together: a word is not sheared more than its sides turn
    np.testing.assert_allclose(moved[:, 0, :, 0], moved[:, 1, :, 0], atol=1e-6)


def test_distortion_keeps_form_and_meaning():
    strip = np.zeros((16, 40, 3), np.uint8)
    strip[:, 20:] = 200
    seen = [distort(strip, np.random.default_rng(i)) for i in range(60)]
    assert all(s.shape == strip.shape and s.dtype == np.uint8 for s in seen)
    lighter = [s[:, 25:].mean() > s[:, :15].mean() for s in seen]
    assert 1 <= lighter.count(False) <= 15, "a tenth is inverted"


@pytest.mark.parametrize("bad, message", [({"jitter": 0.5}, "SIDE_JITTER"), ({"most_words": 0}, "MAX_READ_WORDS")])
def test_impossible_settings_are_named(bad, message):
    with pytest.raises(ValueError, match=message):
        mapper(True, **bad)
    with pytest.raises(ValueError, match="MODEL.STRIPS.TRAINING.ROWS must be of 48, 32, 24, 16"):
        mapper(True, (20,))
