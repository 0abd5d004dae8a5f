"""Indicators of channels: their gates, their cost, and a search on a net of which it is known what matters."""

import math

import pytest
import torch
from torch import nn

from dld.modeling.compression.indicators import Indicators, cost_penalty, temperature, tolerance_of
from dld.modeling.compression.prunable import Prunable, cut, rounded_width
from dld.modeling.compression.width_cost import WidthCost

HIDDEN = Prunable(32, "box", ("0",), ("2",), ("0",))
USEFUL = 8
COST = WidthCost(100, {"0": (60, "hidden", ""), "2": (40, "", "hidden")})


def net_and_data(seed=0):
    """A net whose first 8 of 32 hidden channels make its targets; the others disturb."""
    noise = torch.Generator().manual_seed(seed)
    net = nn.Sequential(nn.Linear(12, 32), nn.ReLU(), nn.Linear(32, 4))
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=noise) / math.sqrt(12))
        net[2].weight[:, USEFUL:] *= 0.2
    x = torch.randn(512, 12, generator=noise)
    y = torch.relu(x @ net[0].weight[:USEFUL].T + net[0].bias[:USEFUL]) @ net[2].weight[:, :USEFUL].T + net[2].bias
    return net, x, y.detach()


def search(net, x, y, rho=0.3, steps=300):
    """Weights and indicators in turns, as in a training: each on another half of the data."""
    indicators = Indicators({"hidden": HIDDEN})
    indicators.attach(net)
    weights = torch.optim.Adam(net.parameters(), 1e-3)
    alpha = torch.optim.Adam([indicators.alpha], 15 / steps, (0.9, 0.99))
    noise = torch.Generator().manual_seed(1)
    for step in range(steps):
        done = step / (steps - 1)
        indicators.temperature = temperature(done, 0.02)
        indicators.refresh()
        index = torch.randint(256, (64,), generator=noise)
        weights.zero_grad()
        (net(x[index]) - y[index]).square().mean().backward()
        weights.step()
        indicators.refresh(learning=True)
        index = torch.randint(256, 512, (64,), generator=noise)
        share = COST.expected(indicators.shares()) / COST.full
        loss = (net(x[index]) - y[index]).square().mean() + indicators.price(share, rho, tolerance_of(done, 0.02), 10.0, 0.01)
        alpha.zero_grad()
        (indicators.alpha.grad,) = torch.autograd.grad(loss, [indicators.alpha])
        alpha.step()
    indicators.refresh()
    return indicators


@pytest.mark.parametrize("seed", range(3))
def test_the_channels_that_matter_survive(seed):
    net, x, y = net_and_data(seed)
    indicators = search(net, x, y)
    survives = indicators.values["hidden"] > 0.5
    assert survives[:USEFUL].sum() >= 7
    # 0.3 of 32 would be 9.6; the other channels are worth nothing
    assert survives.sum() <= 10
    assert float(COST.expected(indicators.shares())) / COST.full == pytest.approx(float(survives.float().mean()), abs=2e-3)
    # hard and soft agree
    values = indicators.values["hidden"]
    assert ((values < 0.02) | (values > 0.98)).float().mean() >= 0.99
    soft = net(x)
    indicators.temperature = 1e-6
    indicators.refresh()
    assert (net(x) - soft).abs().max() < 1e-2
    # and the narrow net is the hard one
    hard = net(x)
    indicators.detach()
    assert not any(module._forward_hooks for module in net.modules())
    cut(net, {"hidden": HIDDEN}, {"hidden": survives.nonzero()[:, 0]})
    assert net[0].out_features == net[2].in_features == int(survives.sum())
    torch.testing.assert_close(net(x), hard, atol=1e-5, rtol=0)


def test_indicators_begin_high_and_follow_alpha_and_temperature():
    indicators = Indicators({"hidden": HIDDEN})
    assert indicators.values["hidden"].tolist() == pytest.approx([1 / (1 + math.exp(-2))] * 32)
    indicators.temperature = 0.5
    with torch.no_grad():
        indicators.alpha[3] = -1.0
    indicators.refresh()
    assert float(indicators.values["hidden"][3]) == pytest.approx(1 / (1 + math.exp(2)))
    assert not indicators.all_values.requires_grad
    indicators.refresh(learning=True)
    assert indicators.all_values.requires_grad
    assert [temperature(p, 0.02) for p in (-1, 0, 0.5, 1, 2)] == pytest.approx([1, 1, math.sqrt(0.02), 0.02, 0.02])


@pytest.mark.parametrize(
    ("share", "penalty", "slope"),
    # |log(E/F)|, its slope 1 / E above and -1 / E below the band from 0.57 to 0.6
    [(0.9, math.log(1.5), 1 / 0.9), (0.6, 0.0, 0.0), (0.58, 0.0, 0.0), (0.3, math.log(2), -1 / 0.3)],
)
def test_the_penalty_of_the_cost(share, penalty, slope):
    cost = torch.tensor(share, dtype=torch.float64, requires_grad=True)
    found = cost_penalty(cost, 0.6, 0.05)
    assert float(found.detach()) == pytest.approx(penalty)
    assert float(torch.autograd.grad(found, cost)[0]) == pytest.approx(slope)


def test_widths_are_multiples_of_8_and_not_below_16():
    assert [rounded_width(n, 64) for n in (0, 16, 19, 20, 27.9, 28, 63, 64)] == [16, 16, 16, 24, 24, 32, 64, 64]
    assert [rounded_width(n, 36) for n in (0, 33, 36)] == [16, 32, 36]


def test_the_surest_channels_are_kept():
    indicators = Indicators({"a": HIDDEN, "b": HIDDEN, "c": HIDDEN._replace(channels=40)})
    with torch.no_grad():
        indicators.alpha.fill_(-1.0)
        indicators.alpha[0:32:2] = 0.5  # 16 of a
        indicators.alpha[32 + 30] = 3.0  # 1 of b: the least is 16
        indicators.alpha[64:] = 1.0  # all of c
    kept = indicators.kept()
    assert kept["a"].tolist() == list(range(0, 32, 2))
    assert len(kept["b"]) == 16 and 30 in kept["b"].tolist() and kept["b"].tolist() == sorted(kept["b"].tolist())
    assert "c" not in kept


def test_gates_multiply_channels_of_maps_and_rows():
    layers = nn.Sequential(nn.Conv2d(3, 20, 3, bias=False), nn.Flatten(2), nn.Flatten(1), nn.Linear(80, 24))
    plain = [layers[0](x := torch.randn(2, 3, 4, 4)), layers[3](y := torch.randn(5, 80))]
    indicators = Indicators({"a": Prunable(20, "rpn", ("0",), ("3",), ("0",)), "b": Prunable(24, "box", ("3",), (), ("3",))})
    with torch.no_grad():
        indicators.alpha[7], indicators.alpha[20 + 5] = -1e4, -1e4
    indicators.refresh()
    indicators.attach(layers)
    for gated, before, channel in ((layers[0](x), plain[0], 7), (layers[3](y), plain[1], 5)):
        value = torch.sigmoid(torch.tensor(2.0))
        others = torch.arange(before.shape[1]) != channel
        torch.testing.assert_close(gated[:, others], before[:, others] * value)
        assert not gated[:, channel].any()
    # in the number format of what is gated
    assert layers.bfloat16()[0](x.bfloat16()).dtype == torch.bfloat16
