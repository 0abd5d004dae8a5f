"""Costs and choices from the numbers of a json are those of the spotter that they were taken from."""

import dataclasses
import logging

import numpy as np
import pytest
import torch

from dld.inference.scale_choice import CappedSpotter, within_budget
from dld.modeling.meta_arch.dynamic_spotter import DynamicSpotter
from dld.modeling.resolution.cost import CostTable, SpotterCost
from dld.runtime.scale_rule import ScaleRule
from dld.strips.grouping import StripSize

SIZES = [(320, 448), (97, 640), (640, 641), (33, 40)]
SCALES = (0.4, 0.6, 1.0)
TABLE = CostTable(
    SpotterCost(2e4, 3e3, 8e8, 2e7, 1e5, 32), SpotterCost(5e4, 4e3, 9e8, 2e7, 2e5, 32), SCALES, selector_per_pixel=900.0
)


@pytest.fixture(autouse=True)
def scores_by_size(monkeypatch):
    """Scores that follow from the size of an image, instead of from a network."""
    monkeypatch.setattr(
        DynamicSpotter,
        "score_scales",
        lambda self, images: torch.stack([torch.tensor(logits_of(tuple(x.shape[-2:]))) for x in images]),
    )


def logits_of(size) -> np.ndarray:
    return np.random.default_rng(size[0] * size[1]).normal(size=len(SCALES)).astype(np.float32)


def table(selector: bool) -> CostTable:
    return TABLE if selector else dataclasses.replace(TABLE, selector_per_pixel=0.0)


def spotter(mu=0.0, fixed=None, selector=True):
    return DynamicSpotter(
        student=torch.nn.Identity(),
        selector=torch.nn.Identity() if selector else None,
        scales=SCALES,
        cost_table=table(selector),
        mu=mu,
        expected_words=8.0,
        fixed_scale=fixed,
    )


def rule(mu=0.0, fixed=None, selects=True, budget_table=()):
    settings = {
        "candidates": list(SCALES),
        "input_scale": 0.375,
        "mu": mu,
        "expected_words": 8.0,
        "fixed_scale": fixed,
        "decoder_steps": 12,
        "cost_table": table(selects).to_dict(),
        "budget_table": list(budget_table),
    }
    return ScaleRule(settings, selects)


def choices(one: ScaleRule, budget=None):
    return [one.choose(size, lambda size=size: logits_of(size), budget)[0] for size in SIZES]


def chosen_by(model):
    return model.select_scales([torch.zeros(3, *size) for size in SIZES])


@pytest.mark.parametrize("words", [0, 1, 7])
def test_costs_follow_the_table(words):
    wanted, teacher = TABLE.flops(SIZES, [words] * 4).numpy(), TABLE.teacher_flops(SIZES, [words] * 4).numpy()
    found = [[rule().flops(size, s, words, True) for s in SCALES] for size in SIZES]
    np.testing.assert_allclose(found, wanted, rtol=1e-12)
    np.testing.assert_allclose([rule().teacher_flops(size, words) for size in SIZES], teacher, rtol=1e-12)
    saved = rule().flops(SIZES[0], 0.6, words, True) - rule().flops(SIZES[0], 0.6, words, False)
    assert saved == pytest.approx(900.0 * 320 * 448)


def test_strips_are_counted_by_their_widths():
    """With 2 + 3 W + 5 W^2 FLOPs a strip: 2 + 24 + 320 for 8 columns, 2 + 48 + 1280 for 16, 2 + 12 + 80 for the expected 4."""
    plain, law = rule(), {"strip_constant": 2.0, "strip_linear": 3.0, "strip_square": 5.0, "expected_strip_width": 4}
    strips = rule()
    for name in ("student", "teacher"):
        strips.table[name] = {**strips.table[name], **law}
    size = SIZES[0]
    sizes = [StripSize(48, width) for width in (8, 16, 8)]
    for widths, more in (sizes, 346 + 1330 + 346), ([], 0), (None, 7 * 94):
        found = strips.flops(size, 0.6, 7, True, widths) - plain.flops(size, 0.6, 7, True)
        assert found == pytest.approx(more, abs=1e-3)
        assert strips.teacher_flops(size, 7, widths) - plain.teacher_flops(size, 7) == pytest.approx(more, abs=1e-3)


def test_low_strips_have_a_law_of_their_own_and_the_teacher_reads_them_at_48_rows():
    """24 rows: 1 + 2 W + 5 W^2, 337 for 8 columns; a height without a law is charged as 48 rows."""
    law = {"strip_constant": 2.0, "strip_linear": 3.0, "strip_square": 5.0, "other_strips": [[24.0, 1.0, 2.0]]}
    plain, strips = rule(), rule()
    for name in ("student", "teacher"):
        strips.table[name] = {**strips.table[name], **law}
    size = SIZES[0]
    for rows, more in (24, 337), (48, 346), (16, 346):
        read = [StripSize(rows, 8)]
        assert strips.flops(size, 0.6, 7, True, read) - plain.flops(size, 0.6, 7, True) == pytest.approx(more, abs=1e-3)
        assert strips.teacher_flops(size, 7, read) - plain.teacher_flops(size, 7) == pytest.approx(346, abs=1e-3)


def test_tables_from_before_there_were_strips_count_none():
    old = rule()
    for name in ("student", "teacher"):
        old.table[name] = {k: v for k, v in old.table[name].items() if "strip" not in k}
    assert old.flops(SIZES[0], 0.6, 7, True, [StripSize(48, 96)]) == rule().flops(SIZES[0], 0.6, 7, True)
    assert old.teacher_flops(SIZES[0], 7, [StripSize(48, 96)]) == rule().teacher_flops(SIZES[0], 7)


@pytest.mark.parametrize("mu", [-3.0, 0.0, 0.7, 5.0, 100.0])
def test_the_selectors_choice(mu):
    assert choices(rule(mu)) == chosen_by(spotter(mu))


def test_a_fixed_scale_asks_nobody():
    assert rule(fixed=0.5).choose(SIZES[0], lambda: pytest.fail("asked")) == (0.5, False)


@pytest.mark.parametrize("budget", [0.2, 0.45, 0.6, 2.0])
@pytest.mark.parametrize("selects", [True, False])
def test_a_budget_without_table_holds_for_every_image(budget, selects, caplog):
    """The smallest image is mostly padding: even its cheapest scale costs three quarters of the teacher."""
    fixed = None if selects else 1.0
    with caplog.at_level(logging.WARNING):
        found = choices(rule(0.3, None, selects), budget)
    warned = len(caplog.records)
    assert found == chosen_by(CappedSpotter(spotter(0.3, fixed, selects), budget))
    costs = table(selects).costs(SIZES, [8.0] * 4).numpy()
    assert warned == (costs.min(1) > budget).sum() == (0 if budget == 2 else 2 if budget == 0.2 else 1)
    assert all("cheapest scale, 0.4, takes" in r.message for r in caplog.records)


def test_a_budget_with_a_table_takes_its_mu():
    rows = [[0.3, 50.0], [0.5, 1.0], [0.9, -50.0]]
    for budget, mu in ((0.3, 50.0), (0.6, 1.0), (3.0, -50.0)):
        found = choices(rule(0.3, None, True, rows), budget)
        assert found == choices(rule(mu)) == chosen_by(within_budget(spotter(0.3), budget, rows))
    with pytest.raises(ValueError, match="below what these weights can do"):
        choices(rule(budget_table=rows), 0.1)
