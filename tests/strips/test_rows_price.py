"""Heights of strips that are worth their cost: the choice by hand, and what bad tables say."""

import numpy as np
import pytest

from dld.strips.collapsing import collapse
from dld.strips.heights import choose_rows
from dld.strips.reading import read_words
from dld.strips.rows_price import HEIGHT_EDGES, RowsPrice, checked_shares, height_class, loss_table
from dld.strips.rules import ReadingRules
from dld.strips.strip_law import StripLaw, strip_laws

ROWS = (48, 32, 24, 16)
LAWS = {
    row: StripLaw(row, constant, linear, 1.0)
    for row, constant, linear in ((48, 1e6, 1000.0), (32, 5e5, 600.0), (24, 3e5, 300.0), (16, 2e5, 200.0))
}
# of an encoder that pads: at 24 and 16 rows strips have half the columns
PADDED = {row: law._replace(multiple=64 if row > 24 else 32, padded=2e4) for row, law in LAWS.items()}
# lower strips lose more, and large words most
LOSSES = {
    row: np.array([0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6]) * share for row, share in zip(ROWS, (0, 0.1, 0.3, 0.8), strict=True)
}


def flops(row, width, laws=LAWS):
    _, constant, linear, square, multiple, padded = laws[row]
    columns = width if row > 24 else max(round(width / 2), 1)
    added = next(n for n in range(multiple) if (columns + n) % multiple == 0)
    return constant + linear * width + square * width**2 + padded * added


@pytest.mark.parametrize("laws", [LAWS, PADDED])
@pytest.mark.parametrize("price", [0.0, 1e-8, 1e-7, 1e-6, 1e-4])
def test_each_word_gets_the_height_of_least_loss_and_cost(price, laws):
    rng = np.random.default_rng(0)
    heights, widths = rng.uniform(5, 90, 200), rng.integers(8, 800, 200)
    chosen = RowsPrice(LOSSES, laws, price).choose(heights, widths, ROWS, 2.0)
    highest = choose_rows(heights, ROWS, 2.0)
    for height, width, most, row in zip(heights, widths, highest, chosen, strict=True):
        k = sum(height >= edge for edge in HEIGHT_EDGES)
        burdens = {r: LOSSES[r][k] + price * flops(r, width, laws) for r in ROWS if r <= most}
        assert burdens[int(row)] == pytest.approx(min(burdens.values()))
    assert (chosen <= highest).all() and (price > 0 or (chosen == highest).all())


def test_a_larger_price_never_gives_a_higher_strip():
    heights, widths = np.linspace(5, 100, 60), np.full(60, 160)
    before = np.full(60, 48)
    for price in np.geomspace(1e-10, 1e-2, 30):
        chosen = RowsPrice(LOSSES, LAWS, price).choose(heights, widths, ROWS, 2.0)
        assert (chosen <= before).all()
        before = chosen
    assert (before == 16).all()


def test_heights_of_which_nothing_is_known_are_taken_as_the_highest_alone():
    chosen = RowsPrice({24: np.zeros(7)}, LAWS, 1.0).choose(np.array([60.0, 13.0]), np.array([160, 160]), ROWS, 2.0)
    assert chosen.tolist() == [48, 24]
    chosen = RowsPrice(LOSSES, {48: LAWS[48], 16: LAWS[16]}, 1.0).choose(np.array([60.0]), np.array([160]), ROWS, 2.0)
    assert chosen.tolist() == [16]


def test_padding_decides_between_heights():
    """Of 8 columns 56 more are padded at 48 rows, for 10 FLOPs each, and none at 32."""
    laws = {48: StripLaw(48, 100.0, 1.0, 0.0, 64, 10.0), 32: StripLaw(32, 400.0, 1.0, 0.0)}
    same = {row: np.zeros(7) for row in laws}
    chosen = RowsPrice(same, laws, 1.0).choose(np.full(3, 90.0), np.array([8, 64, 40]), (48, 32), 2.0)
    assert chosen.tolist() == [32, 48, 48]
    assert RowsPrice(same, laws, 1.0).expected_flops([0, 0, 0, 0, 0, 0, 1.0], 8, (48, 32), 2.0) == 408
    assert RowsPrice(same, laws, 0.0).expected_flops([0, 0, 0, 0, 0, 0, 1.0], 8, (48, 32), 2.0) == 108 + 560


def test_classes_are_half_open():
    assert height_class(np.array([0.0, 11.99, 12.0, 63.9, 64.0, 1e4])).tolist() == [0, 0, 1, 5, 6, 6]


def test_expected_flops_are_those_of_the_classes_chosen():
    shares = np.array([0.1, 0.1, 0.1, 0.1, 0.2, 0.2, 0.2])
    free = RowsPrice(LOSSES, LAWS, 0.0).expected_flops(shares, 160, ROWS, 2.0)
    rows = choose_rows(np.array([*HEIGHT_EDGES, 1e3]) - 1e-3, ROWS, 2.0)
    assert free == pytest.approx(sum(s * flops(int(r), 160) for s, r in zip(shares, rows, strict=True)))
    assert RowsPrice(LOSSES, LAWS, 1e9).expected_flops(shares, 160, ROWS, 2.0) == pytest.approx(flops(16, 160))


def test_laws_come_from_the_numbers_of_a_table():
    table = {"strip_constant": 2, "strip_linear": 3, "strip_square": 5, "other_strips": [[24.0, 1.0, 2.0]]}
    padded = strip_laws({**table, "padded_strips": [[24.0, 16.0, 7.0]]})
    assert strip_laws(table) == {48: StripLaw(48, 2, 3, 5), 24: StripLaw(24, 1, 2, 5)}
    assert padded == {48: StripLaw(48, 2, 3, 5), 24: StripLaw(24, 1, 2, 5, 16, 7)}
    # 4 columns at 24 rows become 16
    assert padded[24].flops(8) == 1 + 16 + 320 + 7 * 12 and padded[24].padding(np.array([8, 32, 33])).tolist() == [12, 0, 0]
    assert strip_laws({}) == {48: StripLaw(48, 0, 0, 0)}


def test_a_table_is_read():
    table = loss_table([[48, *[0] * 7], [24, *np.linspace(0, 0.3, 7)]])
    assert sorted(table) == [24, 48] and table[24][-1] == pytest.approx(0.3) and loss_table([]) == {}


@pytest.mark.parametrize(
    "rows",
    [
        [[48, 0.1]],
        [[40, *[0] * 7]],
        [[48, *[0] * 6, 1.2]],
        [[48, *[0] * 6, float("nan")]],
        [[48, *[0] * 7]] * 2,
        [48, *[0] * 7],
        [["a"] * 8],
    ],
)
def test_a_table_that_is_none_is_named(rows):
    with pytest.raises(ValueError, match=r"^MODEL\.STRIPS\.ROWS_LOSSES must hold, once for each of 48, 32, 24, 16, .*, got "):
        loss_table(rows)


@pytest.mark.parametrize("shares", [[1.0], [0.5] * 7, [1.5, -0.5, 0, 0, 0, 0, 0], ["half"]])
def test_shares_that_are_none_are_named(shares):
    with pytest.raises(ValueError, match=r"^MODEL\.STRIPS\.HEIGHT_SHARES must be empty or 7 shares that add up to 1"):
        checked_shares(shares)
    assert checked_shares([]) == () and checked_shares([0.5, 0.5, 0, 0, 0, 0, 0])[:2] == (0.5, 0.5)


def test_words_are_read_at_the_heights_of_their_photos_price():
    photo = np.full((100, 300, 3), 127, np.uint8)
    word = np.array([[20, 20], [200, 20], [200, 70], [20, 70]], dtype=np.float64)

    def read(pixels):
        seen.append(pixels.shape[1])
        return collapse(np.ones((len(pixels), 4), int), np.ones((len(pixels), 4)))

    rules = ReadingRules(rows=ROWS)
    for price, rows in ((None, 48), (RowsPrice(LOSSES, LAWS, 0.0), 48), (RowsPrice(LOSSES, LAWS, 1.0), 16)):
        seen: list[int] = []
        reading = read_words([photo, photo], [[word], []], [np.ones(1), np.ones(0)], read, "a", rules, prices=[price, None])[0]
        assert seen == [rows] and reading.heights == [rows] and reading.sizes[0].rows == rows
