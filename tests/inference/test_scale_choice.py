"""The table from budgets to mu, on scores and costs that are worked out by hand."""

import numpy as np
import pytest

from dld.inference.budget import ScaleScores, choose_scales
from dld.inference.scale_choice import mu_table
from dld.structures.scale_options import mu_of


def scores_of(log_probabilities, costs) -> ScaleScores:
    return ScaleScores(np.array(log_probabilities, float), np.array(costs, float), np.zeros(np.shape(costs)))


def test_two_images_and_two_scales_have_three_mean_costs():
    """The first image changes to the cheap scale at mu = 1 / 0.6, the second at mu = 2 / 0.6."""
    scores = scores_of([[-2.0, -1.0], [-3.0, -1.0]], [[0.2, 0.8], [0.2, 0.8]])
    table = mu_table(scores)
    assert [cost for cost, _ in table] == pytest.approx([0.2, 0.5, 0.8])
    (_, high), (_, middle), (_, low) = table
    assert low < 1 / 0.6 < middle < 2 / 0.6 < high
    assert mu_of(table, 0.49) == high and mu_of(table, 0.5) == middle and mu_of(table, 7) == low
    with pytest.raises(ValueError, match=r"a budget of 0\.1 is below what these weights can do: 0\.2 to 0\.8"):
        mu_of(table, 0.1)


def test_the_mean_cost_of_the_calibration_images_keeps_to_any_budget():
    rng = np.random.default_rng(0)
    costs = np.sort(rng.uniform(0.1, 1, (200, 4)), 1)
    scores = scores_of(np.log(rng.dirichlet(np.ones(4), 200)), costs)
    table = mu_table(scores)
    assert len(table) == 41 and [row[1] for row in table] == sorted((row[1] for row in table), reverse=True)
    low, high = costs.min(1).mean(), costs.max(1).mean()
    for budget in np.linspace(low, high, 17):
        choice = choose_scales(scores.log_probabilities, costs, mu_of(table, budget))
        spent = costs[range(200), choice].mean()
        assert budget - 1.1 * (high - low) / 40 <= spent <= budget + 1e-6
