"""Facts about the selector's training: distributions of draws, numbers worked by hand, what is learned."""

import math

import pytest
import torch

from dld.modeling.resolution.selector_losses import (
    draw_scales,
    gumbel_selector_loss,
    gumbel_straight_through,
    risk_regression_loss,
    soft_target_loss,
    soft_targets,
    temperature_at,
)
from dld.modeling.sampling import image_generators


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def test_temperature_follows_the_papers_schedule():
    assert temperature_at(0.0) == 5.0
    assert temperature_at(1 / 50) == pytest.approx(4.825)  # after one of fifty epochs
    assert temperature_at(1.0) == pytest.approx(5.0 * 0.965**50)
    with pytest.raises(ValueError, match="progress"):
        temperature_at(1.01)


@pytest.mark.parametrize("temperature", [0.5, 5.0])
def test_decisions_are_one_hot_and_drawn_from_the_softmax_at_any_temperature(temperature):
    probabilities = torch.tensor([0.5, 0.3, 0.15, 0.05])
    logits = probabilities.log().expand(40_000, 4)
    onehot = gumbel_straight_through(logits, temperature, seeded())
    assert set(onehot.unique().tolist()) == {0.0, 1.0} and torch.equal(onehot.sum(1), torch.ones(40_000))
    torch.testing.assert_close(onehot.mean(0), probabilities, atol=0.01, rtol=0)


def test_gradient_is_that_of_the_noisy_softmax():
    logits = torch.randn(3, 5, generator=seeded(1), requires_grad=True)
    weights = torch.randn(3, 5, generator=seeded(2))
    (gumbel_straight_through(logits, 2.0, seeded(7)) * weights).sum().backward()
    uniform = torch.rand(3, 5, generator=seeded(7))
    soft = ((logits.detach() - torch.log(-torch.log(uniform))) / 2.0).softmax(-1)
    # d softmax_i / d logit_j = p_i (1[i = j] - p_j) / temperature
    expected = soft * (weights - (soft * weights).sum(-1, keepdim=True)) / 2.0
    torch.testing.assert_close(logits.grad, expected)


def test_half_precision_scores_give_finite_decisions():
    onehot = gumbel_straight_through(torch.tensor([[60000.0, -60000.0]], dtype=torch.float16), 0.1)
    assert onehot.tolist() == [[1.0, 0.0]]


def test_target_shares_worked_by_hand():
    # risk 0 against risk ln 2 at tau 1: two to one
    even = torch.zeros(1, 2)
    torch.testing.assert_close(
        soft_targets(torch.tensor([[0.0, math.log(2)]]), even, gamma=0.1, tau=1.0), torch.tensor([[2 / 3, 1 / 3]])
    )
    # the second scale is worse by 0.05 nats and cheaper by 0.5 of the teacher: gamma 0.1 balances them
    kl, cost = torch.tensor([[0.0, 0.05]]), torch.tensor([[0.7, 0.2]])
    torch.testing.assert_close(soft_targets(kl, cost, gamma=0.1, tau=0.01), torch.tensor([[0.5, 0.5]]))
    assert soft_targets(kl, cost, gamma=0.3, tau=0.01)[0, 1] > 0.99


def test_images_without_words_go_by_cost_alone():
    kl = torch.tensor([[0.2, 0.4], [float("nan"), float("nan")]])
    cost = torch.tensor([[0.2, 0.1], [0.2, 0.1]])
    has_words = torch.tensor([True, False])
    targets = soft_targets(kl, cost, 1.0, 0.1, has_words)
    assert targets[0].argmax() == 0
    torch.testing.assert_close(targets[1], (-torch.tensor([0.2, 0.1]) / 0.1).softmax(0))
    onehot = torch.tensor([[0.0, 1.0], [1.0, 0.0]])
    assert gumbel_selector_loss(onehot, kl, cost, 1.0, has_words).item() == pytest.approx(((0.4 + 0.1) + 0.2) / 2)


def test_target_loss_is_least_at_the_targets():
    targets = torch.tensor([[0.7, 0.2, 0.1]])
    logits = targets.log().requires_grad_()
    loss = soft_target_loss(logits, targets)
    assert loss.item() == pytest.approx(-(0.7 * math.log(0.7) + 0.2 * math.log(0.2) + 0.1 * math.log(0.1)))
    loss.backward()
    torch.testing.assert_close(logits.grad, torch.zeros(1, 3))


def test_the_decisions_gradient_is_the_risk_of_each_scale():
    onehot = torch.tensor([[1.0, 0.0, 0.0]], requires_grad=True)
    kl = torch.tensor([[0.5, 0.2, 0.1]], requires_grad=True)
    cost = torch.tensor([[0.1, 0.4, 0.7]])
    loss = gumbel_selector_loss(onehot, kl, cost, gamma=0.3)
    assert loss.item() == pytest.approx(0.53)
    loss.backward()
    torch.testing.assert_close(onehot.grad, torch.tensor([[0.53, 0.32, 0.31]]))
    assert kl.grad is None


def test_the_sum_of_divergences_bounds_the_mixtures_and_meets_it_at_one_hot():
    y = torch.rand(6, generator=seeded(1)).softmax(0)
    students = torch.randn(3, 6, generator=seeded(2)).softmax(-1)
    kl = (y * (y / students).log()).sum(-1)

    def mixture(h):
        return (y * (y / (h @ students)).log()).sum()

    for h in torch.rand(50, 3, generator=seeded(3)).softmax(-1):
        assert mixture(h) <= h @ kl + 1e-6
    for i, h in enumerate(torch.eye(3)):
        torch.testing.assert_close(mixture(h), kl[i])


def test_no_images_give_zero_with_a_graph():
    logits = torch.zeros(0, 6, requires_grad=True)
    nothing = torch.zeros(0, 6)
    for loss in (
        soft_target_loss(logits, nothing),
        gumbel_selector_loss(gumbel_straight_through(logits, 1.0), nothing, nothing, 0.1),
        risk_regression_loss(logits, nothing, nothing, 0.1, 0.1),
    ):
        assert loss.item() == 0
        loss.backward()
    assert draw_scales(logits.detach()).shape == (0,)


def test_training_scales_mix_decisions_with_uniform_draws():
    logits = torch.tensor([[0.0, 0.0, 0.0, 20.0]]).expand(20_000, 4)
    share = torch.bincount(draw_scales(logits, seeded(), uniform_share=0.2), minlength=4) / 20_000
    torch.testing.assert_close(share, torch.tensor([0.05, 0.05, 0.05, 0.85]), atol=0.01, rtol=0)
    decided = torch.eye(4)[torch.tensor([2, 0, 1])]
    assert draw_scales(logits[:3], seeded(), 0.0, decided).tolist() == [2, 0, 1]
    everywhere = torch.bincount(draw_scales(logits, seeded(), 1.0), minlength=4) / 20_000
    torch.testing.assert_close(everywhere, torch.full((4,), 0.25), atol=0.01, rtol=0)
    with pytest.raises(ValueError, match="uniform_share"):
        draw_scales(logits, uniform_share=1.5)


def test_draws_repeat_with_their_generator_and_leave_the_global_one_alone():
    logits = torch.zeros(50, 6)
    state = torch.get_rng_state()
    assert torch.equal(draw_scales(logits, seeded(3)), draw_scales(logits, seeded(3)))
    assert torch.equal(torch.get_rng_state(), state)


def test_the_target_form_finds_the_best_scale_of_every_kind_of_image():
    scales = torch.tensor([0.3, 0.4, 0.5, 0.6, 0.7, 0.8])
    cost = (0.1 + 0.9 * scales**2).expand(7, 6)
    # words of each kind become readable at another scale; those of the last kind never
    readable_from = torch.tensor([0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 9.0])
    kl = 3.0 * (scales < readable_from[:, None] - 1e-3).float()
    logits = torch.zeros(7, 6, requires_grad=True)
    optimizer = torch.optim.SGD([logits], lr=10.0)
    for _ in range(300):
        optimizer.zero_grad()
        soft_target_loss(logits, soft_targets(kl, cost, gamma=0.1, tau=0.01)).backward()
        optimizer.step()
    assert logits.argmax(1).tolist() == [0, 1, 2, 3, 4, 5, 0]


def test_risk_regression_worked_by_hand():
    # risks .4 and 0 are +-.2 around their mean; scores that say +-.1 miss each by .1, inside beta: .1^2 / 2 / .5 = .01
    kl, free = torch.tensor([[0.4, 0.0]]), torch.zeros(1, 2)
    logits = torch.tensor([[-0.1, 0.1]]) / 0.2
    assert risk_regression_loss(logits, kl, free, 0.1, tau=0.2, beta=0.5).item() == pytest.approx(0.01)
    # a constant in the scores is free, and scores -risk / tau are perfect
    assert risk_regression_loss(7 - kl / 0.2, kl, free, 0.1, tau=0.2).item() == pytest.approx(0, abs=1e-12)
    # without words the divergence is not looked at: only the cost counts
    cost = torch.tensor([[0.1, 0.5]])
    wanted = -0.3 * cost / 0.2
    without = risk_regression_loss(wanted, kl, cost, 0.3, 0.2, torch.tensor([False]))
    assert without.item() == pytest.approx(0, abs=1e-12)
    with pytest.raises(ValueError, match="tau"):
        risk_regression_loss(logits, kl, free, 0.1, tau=0.0)


def test_where_the_image_leaves_it_open_risk_regression_takes_the_least_expected_risk():
    # six pictures look alike: four read as well at the small scale, two lose two nats there (less than beta: least squares).
    # The small scale saves .1, so it is best most often, and wrong: its expected risk is .67 against .1.
    kl = torch.zeros(6, 2)
    kl[4:, 0] = 2.0
    cost = torch.tensor([0.0, 1.0]).expand(6, 2)
    choices = {}
    for form in ("risk", "soft_target"):
        logits = torch.zeros(2, requires_grad=True)
        optimizer = torch.optim.Adam([logits], lr=0.05)
        for _ in range(800):
            optimizer.zero_grad()
            scores = logits.expand(6, 2)
            if form == "risk":
                loss = risk_regression_loss(scores, kl, cost, 0.1, tau=0.1, beta=5.0)
            else:
                loss = soft_target_loss(scores, soft_targets(kl, cost, 0.1, tau=0.02))
            loss.backward()
            optimizer.step()
        choices[form] = int(logits.argmax())
    assert choices == {"risk": 1, "soft_target": 0}


def test_an_image_draws_its_scale_whatever_stands_beside_it():
    logits = torch.randn(5, 4)
    generators = image_generators([3, 1, 4, 1, 5])
    together = draw_scales(logits, generators)
    alone = [draw_scales(logits[i : i + 1], image_generators([seed])).item() for i, seed in enumerate([3, 1, 4, 1, 5])]
    assert together.tolist() == alone
    onehot = gumbel_straight_through(logits.flip(0), 1.0, image_generators([5, 1, 4, 1, 3]))
    assert torch.equal(onehot.flip(0), gumbel_straight_through(logits, 1.0, image_generators([3, 1, 4, 1, 5])))
    assert image_generators([3, None]) is image_generators(None) is None
