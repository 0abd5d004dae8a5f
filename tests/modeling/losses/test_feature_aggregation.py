"""Sums of layers as targets, and the two claims about their search on toys: each loss by itself has a taste of its own."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from dld.modeling.losses.feature_aggregation import aggregate, normalised_distance
from dld.modeling.meta_arch.layer_aggregation import LayerAggregation

WIDTH, CLASSES = 8, 4


def test_the_aggregate_is_the_sum_by_softmax():
    layers = [torch.randn(3, 2, 5, requires_grad=True) for _ in range(3)]
    beta = torch.tensor([0.0, math.log(2), math.log(5)], requires_grad=True)  # shares 1/8, 2/8, 5/8
    made = aggregate(layers, beta)
    torch.testing.assert_close(made, (layers[0] + 2 * layers[1] + 5 * layers[2]) / 8)
    weights = torch.randn_like(made)
    (made * weights).sum().backward()
    assert all(layer.grad is None for layer in layers), "the teacher does not learn"
    # d/d beta_j = share_j (v_j - sum_k share_k v_k) with v_j = <weights, T_j>
    values = torch.stack([(weights * layer).sum() for layer in layers]).detach()
    shares = torch.tensor([1, 2, 5]) / 8
    torch.testing.assert_close(beta.grad, shares * (values - (shares * values).sum()), atol=1e-5, rtol=1e-4)


def test_the_distance_knows_directions_of_words_and_no_lengths():
    own = torch.tensor([[[3.0, 0.0]], [[0.0, 2.0]], [[1.0, 1.0]]])
    target = torch.tensor([[[0.1, 0.0]], [[5.0, 0.0]], [[-2.0, -2.0]]])
    assert normalised_distance(own, target).item() == pytest.approx((0 + 2 + 4) / 3, rel=1e-6)
    # twice as long, word by word: the same
    longer = target * torch.tensor([2.0, 10.0, 0.5])[:, None, None]
    assert normalised_distance(own, longer).item() == pytest.approx(2, rel=1e-6)
    with pytest.raises(ValueError, match=r"features of student \(3, 1, 2\) and aggregate \(2, 1, 2\) differ"):
        normalised_distance(own, target[:2])
    empty = torch.zeros(0, 1, 2, requires_grad=True)
    loss = normalised_distance(empty, empty)
    loss.backward()
    assert loss == 0 and empty.grad is not None


def search(make_batch, in_width, steps=400, **gammas) -> list[float]:
    """Shares of the layers after the search of a student with one linear layer below, and one above, the compared features."""
    torch.manual_seed(0)
    count = len(make_batch()[1])
    aggregation = LayerAggregation({"crops": (1, WIDTH)}, {"crops": (count, WIDTH)}, ["crops"], search_steps=steps, **gammas)
    body, rest = nn.Linear(in_width, WIDTH), nn.Linear(WIDTH, CLASSES)
    of_weights = torch.optim.Adam([*body.parameters(), *rest.parameters(), *aggregation.parameters()], 0.01)
    of_beta = torch.optim.Adam([aggregation.beta("crops")], 0.05)
    for step in range(steps):
        aggregation.begin_step(step)
        x, layers, label = make_batch()
        own = {"crops": (body(x),)}
        task = {"loss_rec": F.cross_entropy(rest(own["crops"][0]), label)}

        def read(group, replaced, label=label):
            return {"loss_rec": F.cross_entropy(rest(replaced), label)}

        bridge = sum(aggregation.bridge_losses(own, {"crops": layers}, 1.0, read).values())
        if aggregation.moves_beta:
            beta = aggregation.beta("crops")
            (beta.grad,) = torch.autograd.grad(bridge, [beta])
            of_beta.step()
        else:
            of_weights.zero_grad()
            (bridge + task["loss_rec"] + aggregation.nothing()).backward()
            assert aggregation.beta("crops").requires_grad is False
            of_weights.step()
    aggregation.begin_step(steps)
    assert aggregation.group is None and not aggregation.moves_beta
    return aggregation.shares("crops")[0].tolist()


def test_the_layer_that_alone_predicts_the_label_is_found():
    """Four layers of equal size, of which the second shows the label and the others noise."""
    codes = F.normalize(torch.randn(CLASSES, WIDTH, generator=torch.Generator().manual_seed(1)), dim=1) * WIDTH**0.5

    def batch():
        label = torch.randint(CLASSES, (64,))
        layers = [torch.randn(64, WIDTH) for _ in range(4)]
        layers[1] = codes[label] + 0.1 * torch.randn(64, WIDTH)
        return codes[label] + 0.5 * torch.randn(64, WIDTH), tuple(layers), label

    shares = search(batch, WIDTH)
    assert shares[1] > 0.8, shares


@pytest.mark.parametrize(("gammas", "chosen"), [({"gamma_ts": 0.0}, 0), ({"gamma_st": 0.0}, 2)], ids=["ST only", "TS only"])
def test_the_students_distance_chooses_the_shallowest_and_the_task_a_deep_layer(gammas, chosen):
    """Each layer of the teacher is less linear in the input, which is what the student can follow, and closer to the label."""
    torch.manual_seed(3)
    codes = torch.randn(CLASSES, WIDTH) * 1.5

    def batch():
        # the label is the pair of two products: no linear function of the input tells it
        x = torch.randn(128, WIDTH)
        label = 2 * (x[:, 0] * x[:, 1] > 0).long() + (x[:, 2] * x[:, 3] > 0).long()
        shallow, deep = x, codes[label]
        return x, (shallow, 0.5 * shallow + 0.5 * deep, deep), label

    shares = search(batch, WIDTH, **gammas)
    assert max(range(3), key=shares.__getitem__) == chosen and shares[chosen] > 0.8, shares


def test_each_scale_has_weights_of_its_own_and_groups_take_turns():
    groups = {"crops": (2, WIDTH), "columns": (3, WIDTH)}
    aggregation = LayerAggregation(groups, groups, search_steps=8, scales=(0.4, 0.8))
    assert aggregation.shares("columns").shape == (2, 3)
    seen = []
    for step in range(9):
        aggregation.begin_step(step)
        seen.append((aggregation.group, aggregation.moves_beta))
    turns = [("crops", False), ("crops", True)] * 2 + [("columns", False), ("columns", True)] * 2
    assert seen == [*turns, (None, False)]
    aggregation.beta("crops")[0, 0] = aggregation.beta("crops")[1, 1] = 50.0
    layers = {"crops": (torch.zeros(1, WIDTH), torch.ones(1, WIDTH))}
    for scale, value in ((0.3, 0.0), (0.5, 0.0), (0.7, 1.0), (1.0, 1.0)):
        assert aggregation.aggregate("crops", layers, scale).mean() == pytest.approx(value), scale
    aggregation.begin_step(1)
    made = aggregation.aggregate("crops", {"crops": (torch.zeros(1, WIDTH), torch.randn(1, WIDTH))}, 0.4)
    assert made.requires_grad
    with pytest.raises(ValueError, match=r"AGGREGATION.BETA must be lists of weights >= 0, 2 of crops, 3 of columns, got"):
        LayerAggregation(groups, groups, shares=[[1, 1], [1, 1]])
    with pytest.raises(ValueError, match="the teacher has layers crops, columns, the student crops"):
        LayerAggregation({"crops": (2, WIDTH)}, groups)
    given = LayerAggregation(groups, groups, shares=[[1, 3], [0, 0, 2]])
    assert given.shares("crops")[0].tolist() == pytest.approx([0.25, 0.75])
    assert given.shares("columns").tolist() == [[0, 0, 1]]
    assert given.search_steps == 0 and not any("beta" in name for name in given.state_dict())
