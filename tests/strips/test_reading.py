"""Words of photos read together, with a network that tells colours apart."""

import numpy as np
import pytest

from dld.strips.collapsing import collapse
from dld.strips.grouping import StripSize
from dld.strips.photo_strips import SideBySide
from dld.strips.reading import read_words
from dld.strips.rules import ReadingRules

CHARACTERS = ["r", "g", "b"]
COLOURS = {"r": (0, 0, 255), "g": (0, 255, 0), "b": (255, 0, 0)}  # BGR


def colours(pixels):
    """Every column's class is its strongest colour: 1 red, 2 green, 3 blue, 0 for white or black.

    Its probability falls from left to right with the blue of the first column, so that both ways of a tall word differ.
    """
    N, _, W, _ = pixels.shape
    mean = pixels[:, 8:40].reshape(N, 32, W // 8, 8, 3).mean((1, 3))  # BGR in [-1, 1]
    strongest = 3 - mean.argmax(2)
    ids = np.where(np.ptp(mean, axis=2) > 0.5, strongest, 0)
    certainty = np.where(ids[:, 1:2] == 3, 0.9, 0.5) * np.ones(ids.shape)
    return ids, certainty


def read_colours(pixels):
    return collapse(*colours(pixels))


def read_sure(pixels):
    return [x._replace(certainty=np.ones(len(x.ids))) for x in read_colours(pixels)]


def never(pixels):
    raise AssertionError("there is nothing to read")


def box(x0, y0, x1, y1):
    return np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]], float)


def paint(photo, x, y, text, size=40, down=False):
    """Squares of the colours in white gaps, from (x, y) on, and the outline around them."""
    for i, c in enumerate(text):
        at = i * (size + 16)
        left, top = (x, y + at) if down else (x + at, y)
        photo[top : top + size, left : left + size] = COLOURS[c]
    long = len(text) * (size + 16) - 16
    return box(x, y, x + size, y + long) if down else box(x, y, x + long, y + size)


def white(height=400, width=600):
    return np.full((height, width, 3), 255, np.uint8)


def only(readings):
    (reading,) = readings
    return reading


def test_two_words_surest_first():
    photo = white()
    shapes = [paint(photo, 20, 20, "rgr"), paint(photo, 20, 120, "bbg")]
    reading = only(read_words([photo], [shapes], [np.array([0.81, 0.64])], read_colours, CHARACTERS))
    assert reading.texts == ["bbg", "rgr"] and reading.rows == [1, 0]
    # 0.8 x 0.9^3 and 0.9 x 0.5^3
    assert reading.scores == pytest.approx([0.5832, 0.1125])
    assert reading.char_scores == [[0.9] * 3, [0.5] * 3]
    assert reading.sizes == [StripSize(48, 160)] * 2 and reading.unread == 0


def test_spaces_around_a_word_are_not_its_text():
    photo, spaced = white(), [" " if c == "r" else c for c in CHARACTERS]
    shapes = [paint(photo, 20, 20, "rgr"), paint(photo, 20, 120, "brb")]
    reading = only(read_words([photo], [shapes], [np.ones(2)], read_colours, spaced, ReadingRules(split=False)))
    assert dict(zip(reading.rows, reading.texts, strict=True)) == {0: "g", 1: "b b"}
    assert dict(zip(reading.rows, map(len, reading.char_scores), strict=True)) == {0: 1, 1: 3}


def test_a_tall_word_is_read_from_both_ends_and_the_surer_counts():
    photo = white()
    down = [paint(photo, 20, 20, "brg", down=True), paint(photo, 120, 20, "grb", down=True)]
    reading = only(read_words([photo], [down], [np.ones(2)], read_colours, CHARACTERS))
    # surer is what begins with blue: the first downwards, the second upwards
    assert dict(zip(reading.rows, reading.texts, strict=True)) == {0: "brg", 1: "brg"}
    assert [len(c) for c in reading.char_scores] == [3, 3]
    assert len(reading.sizes) == 4


def test_a_lying_word_is_read_once():
    photo = white()
    reading = only(read_words([photo], [[paint(photo, 20, 20, "grb")]], [np.ones(1)], read_colours, CHARACTERS))
    assert reading.texts == ["grb"] and len(reading.sizes) == 1


def test_a_doubtful_word_is_read_upside_down_too_and_the_surer_reading_counts():
    photo = white()
    # read from its blue end the word is surer, see `colours`
    shapes = [paint(photo, 20, 20, "rgb"), paint(photo, 20, 120, "bbg"), paint(photo, 400, 20, "rgb", down=True)]
    scores = np.full(3, 0.9)

    def read(turn_below):
        return only(read_words([photo], [shapes], [scores], read_colours, CHARACTERS, ReadingRules(turn_below=turn_below)))

    once, twice = read(0.0), read(0.8)
    assert dict(zip(once.rows, once.texts, strict=True)) == {0: "rgb", 1: "bbg", 2: "bgr"}
    assert dict(zip(twice.rows, twice.texts, strict=True)) == {0: "bgr", 1: "bbg", 2: "bgr"}
    # the sure word and the tall one, which was read from both ends, are not read again; what is read costs
    assert len(once.sizes) == 4 and len(twice.sizes) == 5
    assert dict(zip(twice.rows, twice.char_scores, strict=True))[0] == [0.9] * 3


def test_many_photos_are_read_as_one_by_one():
    rng = np.random.default_rng(0)
    photos, outlines, scores = [], [], []
    for n in range(5):
        photo = white(300 + 50 * n, 700)
        words = ["".join(rng.choice(CHARACTERS, rng.integers(1, 6))) for _ in range(n)]
        outlines.append([paint(photo, 20, 10 + 60 * i, word, size=int(rng.integers(24, 50))) for i, word in enumerate(words)])
        if n > 2:
            outlines[-1].append(paint(photo, 500, 10, "brg", down=True))
        photos.append(photo)
        scores.append(rng.uniform(0.3, 1, len(outlines[-1])))
    together = read_words(photos, outlines, scores, read_colours, CHARACTERS)
    alone = [
        only(read_words([p], [o], [s], read_colours, CHARACTERS)) for p, o, s in zip(photos, outlines, scores, strict=True)
    ]
    assert together == alone
    assert [len(r.rows) for r in together] == [0, 1, 2, 4, 5]


def test_outlines_that_cannot_be_read_are_counted():
    photo = white()
    shapes = [
        box(700, 20, 800, 60),  # right of the photo
        paint(photo, 20, 20, "rgb"),
        box(20, -60, 120, -20),  # above it
        np.array([[5.0, 5.0], [9.0, 9.0]]),
        np.full((4, 2), np.nan),
    ]
    reading = only(read_words([photo], [shapes], [np.ones(5)], read_colours, CHARACTERS))
    assert reading.rows == [1] and reading.texts == ["rgb"] and reading.unread == 4
    nothing = only(read_words([photo], [shapes[2:]], [np.ones(3)], never, CHARACTERS))
    assert nothing.rows == [] and nothing.unread == 3


def test_words_that_are_not_sure_enough_are_left_out_but_counted_as_read():
    photo = white()
    shapes = [paint(photo, 20, 20, "rgr"), paint(photo, 20, 120, "bbg"), box(20, 220, 160, 260)]
    arguments = [photo], [shapes], [np.ones(3)], read_colours, CHARACTERS
    reading = only(read_words(*arguments, ReadingRules(min_score=0.2)))
    assert reading.rows == [1] and [s.width for s in reading.sizes] == [160] * 3 and reading.unread == 0
    everything = only(read_words(*arguments))
    assert everything.rows == [1, 0, 2] and everything.texts[2] == "" and everything.scores[2] == 0


def test_each_place_is_read_once():
    photo = white()
    whole = paint(photo, 20, 20, "bgr")
    reading = only(read_words([photo], [[whole + 1, whole]], [np.array([0.5, 0.9])], read_colours, CHARACTERS))
    assert reading.rows == [1] and reading.sizes == [StripSize(48, 160)] * 2


def test_no_photo_and_no_outline():
    assert read_words([], [], [], never, CHARACTERS) == []
    reading = only(read_words([white()], [[]], [np.zeros(0)], never, CHARACTERS))
    assert reading.rows == reading.texts == reading.sizes == reading.heights == [] and reading.unread == 0
    first, second = read_words([white(), white()], [[], []], [np.zeros(0), np.zeros(0)], never, CHARACTERS)
    assert first == second and first.rows is not second.rows


def read_with_spaces(pixels):
    """As `read_colours`; grey is a space, class 4."""
    ids, certainty = colours(pixels)
    mean = pixels[:, 8:40].reshape(len(pixels), 32, -1, 8, 3).mean((1, 3))
    return collapse(np.where((np.abs(mean) < 0.3).all(2), 4, ids), certainty)


def two_words(photo):
    """Two words with a grey space between them, and the one outline around both."""
    first, second = paint(photo, 20, 20, "rg"), paint(photo, 20 + 4 * 56, 20, "bbr")
    photo[20:60, 20 + 112 + 20 : 20 + 4 * 56 - 36] = 128
    return box(first[0, 0], 20, second[1, 0], 60), first, second


def test_an_outline_around_two_words_becomes_two():
    photo = white()
    both, first, second = two_words(photo)
    arguments = [photo], [[both]], [np.ones(1)], read_with_spaces, [*CHARACTERS, " "]
    reading = only(read_words(*arguments))
    assert sorted(reading.texts) == ["bbr", "rg"] and reading.rows == [0, 0] and len(reading.sizes) == 1
    for text, outline in zip(reading.texts, reading.outlines, strict=True):
        whole = first if text == "rg" else second
        # within half a square and a column
        assert np.abs(outline.min(0) - whole.min(0)).max() < 28 and np.abs(outline.max(0) - whole.max(0)).max() < 28
    assert [len(c) for c in reading.char_scores] == [len(t) for t in reading.texts]


def test_parts_of_an_outline_upside_down_lie_where_they_are_read():
    photo = white()
    both, *words = two_words(photo)
    size = np.array(photo.shape[1::-1])
    turned, outline = np.ascontiguousarray(photo[::-1, ::-1]), size - both

    def read(pixels):
        """Surer where the second square is blue."""
        return [x._replace(certainty=np.where(x.ids[1:2] == 3, 1.0, 0.5) * x.certainty) for x in read_with_spaces(pixels)]

    arguments = [turned], [[outline]], [np.ones(1)], read, [*CHARACTERS, " "]
    # turned, it is sure at once
    assert sorted(only(read_words(*arguments, ReadingRules(turn_below=0.8))).texts) == ["gr", "rbb"]
    # as it is, only from the other end
    reading = only(read_words([photo], [[both]], *arguments[2:], ReadingRules(turn_below=0.8)))
    assert sorted(reading.texts) == ["gr", "rbb"] and len(reading.sizes) == 2
    for text, part in zip(reading.texts, reading.outlines, strict=True):
        whole = words[0] if text == "gr" else words[1]
        assert np.abs(part.min(0) - whole.min(0)).max() < 28 and np.abs(part.max(0) - whole.max(0)).max() < 28


def test_where_lines_are_wanted_an_outline_stays_one():
    photo = white()
    both, _, _ = two_words(photo)
    arguments = [photo], [[both]], [np.ones(1)], read_with_spaces, [*CHARACTERS, " "]
    reading = only(read_words(*arguments, ReadingRules(split=False)))
    assert reading.texts == ["rg bbr"] and reading.outlines == [None]
    # a reader that knows no space sees one text
    assert only(read_words([photo], [[both]], [np.ones(1)], read_colours, CHARACTERS)).texts == ["rgbbr"]


def read_colours_at_any_height(pixels):
    """As `read_colours`, of strips whose columns of text are 4 or 8 pixels wide."""
    rows, W = pixels.shape[1:3]
    column = 8 if rows > 24 else 4
    mean = pixels[:, rows // 6 : -(rows // 6)].mean(1).reshape(len(pixels), W // column, column, 3).mean(2)
    ids = np.where(np.ptp(mean, axis=2) > 0.5, 3 - mean.argmax(2), 0)
    return collapse(ids, np.full(ids.shape, 0.9))


def test_each_word_is_read_at_a_height_for_its_own():
    photo = white(400, 700)
    shapes = [paint(photo, 20, 20, "rgr"), paint(photo, 20, 120, "bbg", size=16), paint(photo, 20, 200, "gr", size=8)]
    arguments = [photo], [shapes], [np.ones(3)], read_colours_at_any_height, CHARACTERS
    reading = only(read_words(*arguments, ReadingRules(rows=(48, 32, 24, 16))))
    found = dict(zip(reading.texts, reading.heights, strict=True))
    # sides lie a tenth beyond the outline: 44, 17.6 and 8.8 pixels, at most twice enlarged
    assert found == {"rgr": 48, "bbg": 32, "gr": 16}
    assert sorted(s.rows for s in reading.sizes) == [16, 32, 48]
    lower = only(read_words(*arguments, ReadingRules(rows=(24, 16), enlarge=1.5)))
    assert dict(zip(lower.texts, lower.heights, strict=True)) == {"rgr": 24, "bbg": 24, "gr": 16}


def overlapping(photo, text, *ends, y=20, step=56, size=40):
    """Squares in a row, and the outlines from one to another, both of them inside."""
    paint(photo, 20, y, text)
    return [box(20 + first * step, y, 20 + last * step + size, y + size) for first, last in ends]


def test_pieces_that_share_a_character_are_one_word():
    photo, blank = white(), white()
    shapes = overlapping(photo, "rgbgr", (0, 2), (2, 4))
    arguments = [photo, blank], [shapes, []], [np.array([0.5, 0.9]), np.empty(0)], read_sure, CHARACTERS
    reading, empty = read_words(*arguments)
    assert reading.texts == ["rgbgr"] and reading.rows == [1] and len(reading.sizes) == 3 and not empty.texts
    (outline,) = reading.outlines
    assert outline.min(0).tolist() == [20, 20] and outline.max(0).tolist() == [20 + 4 * 56 + 40, 60]
    assert reading.scores[0] == pytest.approx(np.sqrt(0.9)) and len(reading.char_scores[0]) == 5
    apart = read_words(*arguments, ReadingRules(join=False))[0]
    assert apart.texts == ["bgr", "rgb"] and apart.outlines == [None, None] and len(apart.sizes) == 2


def test_a_word_of_three_pieces_is_joined_in_two_rounds():
    photo = white()
    shapes = overlapping(photo, "rgbgrgb", (0, 2), (2, 4), (4, 6))
    reading = only(read_words([photo], [shapes], [np.ones(3)], read_sure, CHARACTERS))
    assert reading.texts == ["rgbgrgb"] and len(reading.sizes) == 3 + 2 + 1


def test_pieces_stay_apart_where_they_are_not_read_as_one_word():
    photo = white()
    shapes = overlapping(photo, "rgbgr", (0, 2), (2, 4))
    doubtful = only(read_words([photo], [shapes], [np.ones(2)], read_colours, CHARACTERS))
    assert sorted(doubtful.texts) == ["bgr", "rgb"] and len(doubtful.sizes) == 3
    # two words, each found a little too long
    first, second = overlapping(white(), "rgbg", (0, 1), (2, 3))
    shapes = [first + [[0, 0], [12, 0], [12, 0], [0, 0]], second - [[12, 0], [0, 0], [0, 0], [12, 0]]]
    reading = only(read_words([photo], [shapes], [np.ones(2)], read_sure, CHARACTERS))
    assert sorted(reading.texts) == ["bg", "rg"] and len(reading.sizes) == 3


def test_outlines_without_characters_are_no_pieces():
    shapes = overlapping(white(), "rgbgr", (0, 2), (2, 4))
    assert len(only(read_words([white()], [shapes], [np.ones(2)], read_sure, CHARACTERS)).sizes) == 2


def test_what_is_left_of_a_joined_word_does_not_beat_it():
    photo = white()
    shapes = overlapping(photo, "rgbgr", (0, 2), (2, 4), (0, 2), (1, 2))
    shapes[2] = shapes[2] + 1
    reading = only(
        read_words(
            [photo], [shapes], [np.array([0.8, 0.8, 0.8, 0.9])], surer_of_pieces(0.99, 0.9), CHARACTERS, ReadingRules(0.2)
        )
    )
    assert reading.texts == ["rgbgr"]


def test_a_word_that_its_score_would_leave_out_is_not_joined():
    photo = white()
    shapes = overlapping(photo, "rgbgr", (0, 2), (2, 4))
    arguments = [photo], [shapes], [np.array([0.8, 0.8])], surer_of_pieces(0.99, 0.86), CHARACTERS
    assert sorted(only(read_words(*arguments, ReadingRules(0.6))).texts) == ["bgr", "rgb"]
    assert only(read_words(*arguments, ReadingRules(0.5))).texts == ["rgbgr"]


def surer_of_pieces(pieces, whole):
    def read(pixels):
        return [x._replace(certainty=np.full(len(x.ids), whole if len(x.ids) > 3 else pieces)) for x in read_colours(pixels)]

    return read


@pytest.mark.parametrize("down", [False, True])
@pytest.mark.parametrize("turns", [False, True])
def test_pieces_are_joined_as_they_were_read(down, turns):
    """Upright, on their heads, downwards and upwards."""
    photo = np.full((400, 400, 3), 255, np.uint8)
    paint(photo, 20, 20, "rgbgg", down=down)
    ends = [(0, 2), (2, 4)]
    shapes = [box(20, 20 + a * 56, 60, 60 + b * 56) if down else box(20 + a * 56, 20, 60 + b * 56, 60) for a, b in ends]
    if turns:
        photo, shapes = np.ascontiguousarray(photo[::-1, ::-1]), [400 - shape for shape in shapes]

    def read(pixels):
        """Sure of strips that do not begin with green."""
        seen = read_colours(pixels)
        return [x._replace(certainty=np.full(len(x.ids), 0.3 if len(x.ids) and x.ids[0] == 2 else 1.0)) for x in seen]

    def order(pixels):
        """The pieces: "rgb" and "bgg"; from the other end "ggb" and "bgr"."""
        return [x if list(x.ids) != [3, 2, 1] else x._replace(certainty=0.3 * x.certainty) for x in read(pixels)]

    reading = only(read_words([photo], [shapes], [np.ones(2)], order, CHARACTERS, ReadingRules(turn_below=0.9)))
    assert reading.texts == ["rgbgg"]
    # tall words are read from both ends, lying ones only where the first reading is doubtful; what is joined, once
    assert len(reading.sizes) == (2 if not down and not turns else 4) + 1


def test_batches_side_by_side_read_the_same():
    """Also with words that are read again, turned or joined, and whoever reads first."""
    photo = white(700, 900)
    shapes = [paint(photo, 20, 20 + 60 * i, "rgb"[: 1 + i % 3] * (1 + i % 2)) for i in range(8)]
    shapes.append(paint(photo, 600, 20, "rgb", down=True))
    scores = np.linspace(0.5, 0.9, len(shapes))
    rules = ReadingRules(turn_below=0.9, rows=(48, 24))
    at_once = []

    def backwards(read, batches):
        batches = list(batches)
        at_once.append(len(batches))
        for batch in batches[::-1]:
            read(batch)

    alone = only(read_words([photo], [shapes], [scores], read_colours, CHARACTERS, rules))
    beside = read_words([photo], [shapes], [scores], read_colours, CHARACTERS, rules, side_by_side=SideBySide(2, backwards))
    assert only(beside) == alone and len(alone.texts) >= 8 and max(at_once) >= 2
