import numpy as np
import pytest
import torch

from dld.modeling.losses.word_maps import WordMaps
from dld.modeling.resolution.objective import SelectorObjective
from dld.modeling.resolution.scale_comparison import ScaleComparison, ScaleWords

COST = torch.tensor([0.2, 0.5, 1.0])


def comparison(N, kl=None, words=None):
    return ScaleComparison(
        torch.zeros(N, 3) if kl is None else kl, COST.expand(N, 3), torch.full((N,), kl is not None), words
    )


@pytest.mark.parametrize("form", ["risk", "soft_target", "gumbel"])
def test_the_uniform_share_keeps_every_scale_in_training(form):
    torch.manual_seed(0)
    certain = torch.tensor([[50.0, 0.0, 0.0]]).expand(600, 3)
    for share, expected in ((0.0, [600, 0, 0]), (1.0, [200, 200, 200])):
        objective = SelectorObjective(0.1, form, uniform_share=share)
        _, choice = objective.of_scores(certain, comparison(600), 5.0)
        # three standard deviations of a count of 200 of 600 are 35
        assert choice.bincount(minlength=3).tolist() == pytest.approx(expected, abs=40 if share else 0)


def test_images_without_words_pull_towards_cheap_scales():
    logits = torch.zeros(1, 3, requires_grad=True)
    # what kl holds for such an image is not read
    silly = comparison(1)._replace(kl=torch.tensor([[9.0, 3.0, 0.0]]))
    SelectorObjective(0.1, "risk").of_scores(logits, silly, 5.0)[0].backward()
    assert logits.grad[0, 0] < logits.grad[0, 1] < logits.grad[0, 2] and logits.grad[0, 0] < 0 < logits.grad[0, 2]
    # target form: cross entropy of even scores is log 3 whatever the target
    assert SelectorObjective(0.1, "soft_target").of_scores(logits, silly, 5.0)[0].item() == pytest.approx(np.log(3))


def test_the_forms_of_the_loss():
    torch.manual_seed(0)
    kl = torch.tensor([[0.3, 0.1, 0.0]])
    objective = SelectorObjective(0.5, "soft_target", target_temperature=0.1, uniform_share=0.0)
    # risks KL + gamma c: 0.4, 0.35, 0.5; softmax of -4, -3.5, -5
    weights = np.exp([-4.0, -3.5, -5.0])
    logits = torch.tensor([[1.0, 2.0, 3.0]])
    log_p = np.array([1.0, 2, 3]) - np.log(np.exp([1.0, 2, 3]).sum())
    expected = -(weights / weights.sum() * log_p).sum()
    assert objective.of_scores(logits, comparison(1, kl), 5.0)[0].item() == pytest.approx(expected, rel=1e-5)
    # risks less their mean .4167: -.0167, -.0667, .0833; scores 1, 2, 3 at tau .1 say .1, 0, -.1; smooth L1 with beta .3
    expected = np.mean(np.square([0.7 / 6, 0.4 / 6, 1.1 / 6])) / 0.6
    objective.form = "risk"
    assert objective.of_scores(logits, comparison(1, kl), 5.0)[0].item() == pytest.approx(expected, rel=1e-4)
    objective.form = "gumbel"
    for _ in range(5):
        loss, choice = objective.of_scores(logits, comparison(1, kl), 5.0)
        # the student trains where the selector was charged
        assert loss.item() == pytest.approx([0.4, 0.35, 0.5][int(choice)])


def test_an_unknown_form_is_named():
    with pytest.raises(ValueError, match="MODEL.SELECTOR.FORM must be risk, soft_target or gumbel, got 'softmax'"):
        SelectorObjective(0.1, "softmax")


def words_of_two_images():
    """Two words and none; the first word is lost at the two small scales, the second at the smallest."""
    boxes = torch.tensor([[0.0, 0.0, 32.0, 32.0], [32.0, 32.0, 64.0, 64.0]])
    loss = torch.tensor([[0.8, 0.8, 0.0], [0.4, 0.0, 0.0]])
    return [ScaleWords(boxes, loss), ScaleWords(boxes[:0], loss[:0])]


def test_the_risk_of_words_is_their_sum():
    objective = SelectorObjective(0.1, words_per_image=4.0)
    expected = torch.tensor([[0.3, 0.2, 0.0], [0.0, 0.0, 0.0]]) + 0.1 * COST
    torch.testing.assert_close(objective.risk(comparison(2, words=words_of_two_images())), expected)


def test_maps_that_say_where_words_are_and_what_they_lose_have_the_least_loss():
    objective = SelectorObjective(0.1, words_per_image=4.0)

    def loss(density, losses):
        maps = [WordMaps(density, losses), WordMaps(torch.full((2, 2), 1e-6), torch.zeros(3, 2, 2))]
        return objective.of_maps(maps, comparison(2, words=words_of_two_images()), [(64, 64), (64, 64)]).item()

    density = torch.eye(2).clamp(min=1e-6)
    losses = torch.zeros(3, 2, 2)
    losses[:, 0, 0], losses[:, 1, 1] = torch.tensor([0.8, 0.8, 0.0]), torch.tensor([0.4, 0.0, 0.0])
    right = loss(density, losses)
    assert right < loss(density.flip(0), losses) and right < loss(density, losses.flip(0)) and right < loss(density, losses / 2)
