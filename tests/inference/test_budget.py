"""Facts about budgets: staircases worked by hand, the model makes the choices that were calibrated."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dld.data.build import get_text_dataset
from dld.data.dataset_mapper import TextDatasetMapper
from dld.inference.budget import Budget, ScaleScores, calibrate_mu, choose_scales, gather_scores, score_images
from dld.study.measure import StudiedSpotter

COSTS = np.array([[0.2, 0.6], [0.2, 0.6], [0.2, 0.6], [0.2, 0.6]])
# the large scale leads by 1, 2, 3 and 4: it is left at mu = 2.5, 5, 7.5 and 10
SCORES = np.array([[-1.0, 0.0], [-2.0, 0.0], [-3.0, 0.0], [-4.0, 0.0]])


@pytest.mark.parametrize(
    ("wanted", "mu"),
    [(0.6, 0.0), (0.55, 3.75), (0.5, 3.75), (0.45, 6.25), (0.4, 6.25), (0.3, 8.75), (0.2, 11.0), (0.29, 11.0)],
)
def test_the_step_of_the_staircase_that_keeps_to_the_budget(wanted, mu):
    assert calibrate_mu(SCORES, COSTS, wanted) == pytest.approx(mu)


def test_more_than_the_selector_spends_by_itself_needs_a_negative_mu():
    scores = np.array([[0.0, -1.0], [0.0, -2.0]])
    assert calibrate_mu(scores, COSTS[:2], 0.2) == 0
    assert calibrate_mu(scores, COSTS[:2], 0.4) == pytest.approx(-3.75)
    assert calibrate_mu(scores, COSTS[:2], 0.6) == pytest.approx(-6)


def test_gflops_are_averaged_where_gflops_are_wanted():
    """One image is ten times as large; it leaves its large scale last, so a third of the GFLOPs needs it to."""
    spent = np.array([[1.0, 3.0], [1.0, 3.0], [1.0, 3.0], [10.0, 30.0]])
    scores = ScaleScores(SCORES, COSTS, spent)
    assert Budget.parse("8.5G").calibrate(scores) == pytest.approx(8.75)
    assert Budget.parse("3.25G").calibrate(scores) == pytest.approx(11)
    assert Budget.parse("0.3").calibrate(scores) == pytest.approx(8.75)


@pytest.mark.parametrize(("wanted", "side"), [(0.19, "below"), (0.61, "above")])
def test_costs_that_no_choice_has_are_refused_with_the_range(wanted, side):
    with pytest.raises(ValueError, match=f"{side} what the candidate scales allow: 0.2 to 0.6"):
        calibrate_mu(SCORES, COSTS, wanted)


@pytest.mark.parametrize(
    ("scores", "costs"), [(SCORES, COSTS[:2]), (SCORES[0], COSTS[0]), (SCORES - np.inf, COSTS), (SCORES[:0], COSTS[:0])]
)
def test_tables_that_do_not_fit_are_refused(scores, costs):
    with pytest.raises(ValueError, match="must be"):
        calibrate_mu(scores, costs, 0.4)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), share=st.floats(0, 1))
def test_no_other_mu_spends_more_within_the_budget(seed, share):
    rng = np.random.default_rng(seed)
    N, S = rng.integers(1, 30), rng.integers(1, 7)
    scores = rng.normal(size=(N, S))
    costs = np.sort(rng.uniform(0.05, 1, (N, S)), axis=1)
    low, high = costs.min(1).mean(), costs.max(1).mean()
    wanted = low + share * (high - low)

    def spent(mu):
        return costs[np.arange(N), choose_scales(scores, costs, mu)].mean()

    best = spent(calibrate_mu(scores, costs, wanted))
    assert best <= wanted + 1e-9
    others = np.array([spent(mu) for mu in np.concatenate([rng.normal(0, 10, 100), [-1e3, 1e3]])])
    assert not ((others <= wanted) & (others > best + 1e-9)).any()


def test_what_lower_strips_save_is_spent_on_scales():
    """They save 0.1 from mu = 3 on, and 0.2 from mu = 20 on, where all scales are the cheapest."""

    def saved(mu):
        return 0.2 * (mu >= 20) + 0.1 * (3 <= mu < 20)

    assert calibrate_mu(SCORES, COSTS, 0.6, saved=saved) == 0
    assert 3 <= calibrate_mu(SCORES, COSTS, 0.4, saved=saved) < 3.5, "0.5 of scales, 0.1 less of strips"
    mu = calibrate_mu(SCORES, COSTS, 0.05, saved=saved)
    assert mu > 20 and np.isfinite(mu), "0.2 of the cheapest scales, 0.2 less of strips"
    with pytest.raises(ValueError, match="below what the candidate scales allow: 0 to 0.6"):
        calibrate_mu(SCORES, COSTS, -0.01, saved=saved)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), share=st.floats(0.01, 1), scale=st.sampled_from([0.01, 1.0, 1e5]))
def test_a_budget_over_both_is_kept_at_the_mu_that_is_returned(seed, share, scale):
    rng = np.random.default_rng(seed)
    N, S = rng.integers(1, 12), rng.integers(1, 6)
    scores, costs = scale * rng.normal(size=(N, S)), np.sort(rng.uniform(0.05, 1, (N, S)), axis=1)
    most, half = rng.uniform(0, 0.04), 10 ** rng.uniform(-2, 3)

    def saved(mu):
        return most * max(mu, 0.0) / (max(mu, 0.0) + half)

    wanted = costs.min(1).mean() + share * (costs.max(1).mean() - costs.min(1).mean())
    mu = calibrate_mu(scores, costs, wanted, saved=saved)
    spent = costs[np.arange(N), choose_scales(scores, costs, mu)].mean() - saved(mu)
    assert spent <= wanted + 1e-9


@pytest.mark.parametrize(("text", "budget"), [("0.4", Budget(0.4)), (" 150G", Budget(150, True)), ("2g", Budget(2, True))])
def test_budgets_as_they_are_written(text, budget):
    assert Budget.parse(text) == budget and Budget.parse(str(budget)) == budget


@pytest.mark.parametrize("text", ["", "G", "half", "-0.4", "0", "nan", "40%"])
def test_what_is_no_budget_is_named(text):
    with pytest.raises(ValueError, match="neither a share"):
        Budget.parse(text)


def test_the_model_makes_the_calibrated_choices(tiny_weights, small_set):
    """Scores gathered from the selector alone, mu put into the buffer: `select_scales` chooses what was foreseen."""
    student = StudiedSpotter.load("dld", tiny_weights["student"])
    mapper = TextDatasetMapper(student.cfg, False)
    records = [mapper(item) for item in get_text_dataset(small_set)]
    scores = gather_scores(student.model, records)
    assert scores.costs.shape == (4, 3) and np.allclose(np.exp(scores.log_probabilities).sum(1), 1)
    low, high = scores.costs.min(1).mean(), scores.costs.max(1).mean()
    for wanted in (low, (low + high) / 2, high):
        mu = calibrate_mu(scores.log_probabilities, scores.costs, wanted)
        student.model.mu.fill_(mu)
        foreseen = choose_scales(scores.log_probabilities, scores.costs, mu)
        with torch.no_grad():
            chosen = student.model.select_scales(student.model.normalize(records))
        assert chosen == [student.model.scales[i] for i in foreseen]
        assert scores.costs[range(4), foreseen].mean() <= wanted + 1e-9


def test_a_model_without_selector_has_no_scores(tiny_weights):
    teacher = StudiedSpotter.load("teacher", tiny_weights["teacher"])
    with pytest.raises(ValueError, match="no resolution selector"):
        score_images(teacher.model, [torch.zeros(3, 64, 64)])
