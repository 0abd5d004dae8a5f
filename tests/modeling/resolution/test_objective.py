import numpy as np
import pytest
import torch

from dld.modeling.resolution.objective import ImageObjective
from dld.modeling.resolution.scale_comparison import ScaleComparison

COST = torch.tensor([0.2, 0.5, 1.0])


def comparison(N, kl=None):
    return ScaleComparison(torch.zeros(N, 3) if kl is None else kl, COST.expand(N, 3), torch.full((N,), kl is not None))


@pytest.mark.parametrize("form", ["risk", "soft_target", "gumbel"])
def test_the_uniform_share_keeps_every_scale_in_training(form):
    torch.manual_seed(0)
    certain = torch.tensor([[50.0, 0.0, 0.0]]).expand(600, 3)
    for share, expected in ((0.0, [600, 0, 0]), (1.0, [200, 200, 200])):
        _, choice = ImageObjective(form).learn(certain, comparison(600), 0.1, share)
        # three standard deviations of a count of 200 of 600 are 35
        assert choice.bincount(minlength=3).tolist() == pytest.approx(expected, abs=40 if share else 0)


def test_images_without_words_pull_towards_cheap_scales():
    logits = torch.zeros(1, 3, requires_grad=True)
    # what kl holds for such an image is not read
    silly = comparison(1)._replace(kl=torch.tensor([[9.0, 3.0, 0.0]]))
    ImageObjective("risk").learn(logits, silly, 0.1, 0.15)[0].backward()
    assert logits.grad[0, 0] < logits.grad[0, 1] < logits.grad[0, 2] and logits.grad[0, 0] < 0 < logits.grad[0, 2]
    # target form: cross entropy of even scores is log 3 whatever the target
    assert ImageObjective("soft_target").learn(logits, silly, 0.1, 0.15)[0].item() == pytest.approx(np.log(3))


def test_the_forms_of_the_loss():
    torch.manual_seed(0)
    kl = torch.tensor([[0.3, 0.1, 0.0]])
    objective = ImageObjective("soft_target", target_temperature=0.1)
    # risks KL + gamma c: 0.4, 0.35, 0.5; softmax of -4, -3.5, -5
    weights = np.exp([-4.0, -3.5, -5.0])
    logits = torch.tensor([[1.0, 2.0, 3.0]])
    log_p = np.array([1.0, 2, 3]) - np.log(np.exp([1.0, 2, 3]).sum())
    expected = -(weights / weights.sum() * log_p).sum()
    assert objective.learn(logits, comparison(1, kl), 0.5, 0.0)[0].item() == pytest.approx(expected, rel=1e-5)
    # risks less their mean .4167: -.0167, -.0667, .0833; scores 1, 2, 3 at tau .1 say .1, 0, -.1; smooth L1 with beta .3
    expected = np.mean(np.square([0.7 / 6, 0.4 / 6, 1.1 / 6])) / 0.6
    objective.form = "risk"
    assert objective.learn(logits, comparison(1, kl), 0.5, 0.0)[0].item() == pytest.approx(expected, rel=1e-4)
    objective.form = "gumbel"
    for _ in range(5):
        loss, choice = objective.learn(logits, comparison(1, kl), 0.5, 0.0)
        # the student trains where the selector was charged
        assert loss.item() == pytest.approx([0.4, 0.35, 0.5][int(choice)])


def test_an_unknown_form_is_named():
    with pytest.raises(ValueError, match="FORM of a selector must be one of risk, soft_target, gumbel, got 'softmax'"):
        ImageObjective("softmax")


def test_the_gumbel_temperature_falls_with_training_and_the_other_forms_have_none():
    objective = ImageObjective("gumbel")
    # 5.0 x 0.965^(50 p) by hand
    assert [objective.anneal(p) for p in (0, 0.25, 0.5)] == pytest.approx([5.0, 3.203, 2.052], rel=1e-3)
    assert objective.gumbel_temperature == pytest.approx(2.052, rel=1e-3)
    assert ImageObjective("risk").anneal(0.5) is None
