"""Pulls of losses at shared features with gradients known by hand, and weights that give each a wanted share."""

import pytest
import torch

from dld.config import get_dld_cfg
from dld.engine.gradient_shares import ShareBalance, configured_balance, gradient_norms, gradient_shares

READING = {"loss_rec", "loss_kd_roi"}


def test_known_gradients_give_known_shares():
    trunk = torch.ones(2, 3, requires_grad=True)
    levels = [trunk * 1.0, trunk * 2.0]
    crops = trunk * 3.0
    losses = {
        # gradients (3, 0, ...) at the first level and (0, 4, ...) at the second: 5
        "loss_cls": 3 * levels[0][0, 0] + 4 * levels[1][0, 1],
        "loss_kd_box": -15 * levels[1][1, 2],
        "loss_rec": 2 * crops[0, 0],
        "loss_kd_roi": 6 * crops[1, 1] + 100 * levels[0][0, 0],
        "loss_selector": torch.ones((), requires_grad=True) * 7,
    }
    norms = gradient_norms(losses, {"finding": levels, "reading": [crops]}, READING, scale=8.0)
    assert norms == {"finding": {"loss_cls": 5, "loss_kd_box": 15}, "reading": {"loss_rec": 2, "loss_kd_roi": 6}}
    shares = gradient_shares(norms)
    assert shares == {"loss_cls": 0.25, "loss_kd_box": 0.75, "loss_rec": 0.25, "loss_kd_roi": 0.75}
    assert trunk.grad is None
    sum(losses.values()).backward()
    assert trunk.grad is not None, "the graph is kept"


def test_what_is_not_finite_or_frozen_is_not_measured():
    level = torch.ones(2, requires_grad=True)
    frozen = torch.ones(2)
    losses = {"loss_cls": (level * torch.inf).sum(), "loss_rec": (frozen * level).sum()}
    assert gradient_norms(losses, {"finding": [level], "reading": [frozen]}, READING) == {"reading": {}}


def test_balanced_losses_have_their_shares_in_the_mean():
    balance = ShareBalance(
        {"loss_kd_roi": 0.3, "loss_kd_sequence": 0.2, "loss_kd_box": 0.5}, {"loss_kd_roi", "loss_kd_sequence"}
    )
    torch.manual_seed(0)
    wanted = {"loss_rec": 0.5, "loss_kd_roi": 0.3, "loss_kd_sequence": 0.2, "loss_cls": 0.5, "loss_kd_box": 0.5}
    seen = dict.fromkeys(wanted, 0.0)
    for step in range(300):
        noise = (1 + 0.4 * (2 * torch.rand(5) - 1)).tolist()
        norms = {
            "reading": {"loss_rec": 2 * noise[0], "loss_kd_roi": 0.1 * noise[1], "loss_kd_sequence": 9 * noise[2]},
            "finding": {"loss_cls": 3 * noise[3], "loss_kd_box": 0.5 * noise[4]},
        }
        balance.update(norms)
        if step >= 50:
            scaled = {kind: {k: v * balance.factors.get(k, 1) for k, v in found.items()} for kind, found in norms.items()}
            for name, share in gradient_shares(scaled).items():
                seen[name] += share / 250
    assert seen == pytest.approx(wanted, abs=0.01)
    # by hand: .3 / .5 x 2 / .1 = 12 and .2 / .5 x 2 / 9 = .089
    assert balance.factors["loss_kd_roi"] == pytest.approx(12, rel=0.25)
    assert balance.factors["loss_kd_sequence"] == pytest.approx(0.089, rel=0.25)


def test_a_balance_goes_on_and_a_batch_without_words_says_nothing():
    balance = ShareBalance({"loss_kd_roi": 0.5}, {"loss_kd_roi"})
    balance.update({"reading": {"loss_rec": 4.0, "loss_kd_roi": 1.0}})
    assert balance.factors == {"loss_kd_roi": 4.0}
    balance.update({"reading": {"loss_rec": 0.0, "loss_kd_roi": 0.0}})
    assert balance.factors == {"loss_kd_roi": 4.0}
    again = ShareBalance({"loss_kd_roi": 0.5}, {"loss_kd_roi"})
    again.load_state_dict(balance.state_dict())
    for x in (balance, again):
        x.update({"reading": {"loss_rec": 6.0, "loss_kd_roi": 2.0}})
    assert again.factors == balance.factors == {"loss_kd_roi": pytest.approx((0.9 * 4 + 0.1 * 6) / (0.9 + 0.2))}
    vanishing = ShareBalance({"loss_kd_roi": 0.5}, {"loss_kd_roi"})
    vanishing.update({"reading": {"loss_rec": 1.0, "loss_kd_roi": 1e-9}})
    assert vanishing.factors == {"loss_kd_roi": 100.0}


@pytest.mark.parametrize(
    ("balance", "period", "shares", "message"),
    [
        ("even", 1, [], "BALANCE must be empty or gradient_share, got 'even'"),
        ("gradient_share", 0, [["loss_kd_roi", 0.2]], "needs MODEL.DISTILLATION.GRADIENT_SHARES_PERIOD above 0"),
        ("gradient_share", 1, [], "BALANCE_SHARES must name some of loss_kd_context, loss_kd_roi, loss_kd_sequence, got none"),
        ("gradient_share", 1, [["loss_kd_mask", 0.2]], "loss_kd_sequence, got loss_kd_mask"),
        ("gradient_share", 1, [["loss_kd_roi", 0.6], ["loss_kd_context", 0.4]], "less than 1 among the losses of reading"),
        ("gradient_share", 1, [["loss_kd_roi", 0.0]], "must be positive"),
        ("gradient_share", 1, ["loss_kd_roi"], r"must be pairs like \[\"loss_kd_roi\", 0.2\]"),
        ("", -1, [], "GRADIENT_SHARES_PERIOD must be at least 0, got -1"),
    ],
)
def test_what_cannot_be_balanced_is_one_line(balance, period, shares, message):
    cfg = get_dld_cfg()
    node = cfg.MODEL.DISTILLATION
    node.BALANCE, node.GRADIENT_SHARES_PERIOD, node.BALANCE_SHARES = balance, period, shares
    with pytest.raises(ValueError, match=message) as error:
        configured_balance(cfg)
    assert "\n" not in str(error.value)
