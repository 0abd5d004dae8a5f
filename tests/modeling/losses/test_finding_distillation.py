"""Losses of finding: zero where both agree, and a place counts as much as the teacher is sure of it."""

import math

import pytest
import torch

from dld.modeling.losses.finding_distillation import BoxReadings, FindingTargets, finding_losses, standardized


def readings(K, seed=0):
    g = torch.Generator().manual_seed(seed)
    return BoxReadings(torch.randn(K, 6, 7, 7, generator=g), torch.randn(K, 2, generator=g), torch.randn(K, 4, generator=g))


def target(K, M, seed=0):
    g = torch.Generator().manual_seed(seed + 100)
    return FindingTargets(
        (64, 96),
        torch.rand(K, 4, generator=g),
        readings(K, seed),
        torch.rand(M, 4, generator=g),
        torch.randn(M, 8, 8, generator=g),
        torch.rand(M, generator=g),
    )


def joined(targets):
    said = BoxReadings(*(torch.cat([getattr(t.said, f) for t in targets]) for f in BoxReadings._fields))
    return said, torch.cat([t.masks for t in targets])


def test_who_says_the_same_loses_nothing():
    targets = [target(5, 2), target(0, 0, 1), target(3, 1, 2)]
    losses = finding_losses(*joined(targets), targets)
    assert set(losses) == {"loss_kd_class", "loss_kd_box", "loss_kd_mask", "loss_kd_feature"}
    for name, value in losses.items():
        assert value.item() == pytest.approx(0, abs=1e-6), name


def test_the_losses_are_those_of_their_definitions():
    wanted = target(4, 2)
    own, masks = readings(4, 9), torch.randn(2, 8, 8)
    losses = finding_losses(own, masks, [wanted])
    p, q = wanted.said.logits.softmax(-1), own.logits.softmax(-1)
    assert losses["loss_kd_class"].item() == pytest.approx((p * (p / q).log()).sum(-1).mean().item(), rel=1e-4)
    word = p[:, 0]
    gap = (own.deltas - wanted.said.deltas).abs()
    each = torch.where(gap < 1 / 9, 4.5 * gap**2, gap - 1 / 18).sum(1)
    assert losses["loss_kd_box"].item() == pytest.approx(((each * word).sum() / max(word.sum().item(), 1)).item(), rel=1e-4)
    soft, said = wanted.masks.sigmoid(), masks.sigmoid()
    kl = (soft * (soft / said).log() + (1 - soft) * ((1 - soft) / (1 - said)).log()).mean((1, 2))
    weight = wanted.certainty
    expected = ((kl * weight).sum() / max(weight.sum().item(), 1)).item()
    assert losses["loss_kd_mask"].item() == pytest.approx(expected, rel=1e-3)


def test_images_count_alike_and_a_batch_is_the_mean_of_its_images():
    targets = [target(5, 2), target(3, 1, 2), target(0, 0, 4)]
    own = [readings(len(t.boxes), 20 + i) for i, t in enumerate(targets)]
    masks = [torch.randn(len(t.finds), 8, 8, generator=torch.Generator().manual_seed(i)) for i, t in enumerate(targets)]
    together = finding_losses(
        BoxReadings(*(torch.cat([getattr(o, f) for o in own]) for f in BoxReadings._fields)), torch.cat(masks), targets
    )
    alone = [finding_losses(o, m, [t]) for o, m, t in zip(own, masks, targets, strict=True)]
    for name, value in together.items():
        assert value.item() == pytest.approx(sum(x[name].item() for x in alone) / 3, rel=1e-4), name


def test_what_the_teacher_takes_for_background_needs_no_box():
    wanted = target(6, 0)
    sure = wanted.said._replace(logits=torch.tensor([[-20.0, 20.0]]).expand(6, 2))
    other = sure._replace(deltas=sure.deltas + 5, features=torch.randn(6, 6, 7, 7))
    losses = finding_losses(other, wanted.masks, [wanted._replace(said=sure)])
    assert losses["loss_kd_box"] == pytest.approx(0, abs=1e-6) and losses["loss_kd_feature"] == pytest.approx(0, abs=1e-6)


def test_patterns_are_compared_and_not_levels():
    features = torch.randn(3, 6, 7, 7) + 3
    shown = standardized(features)
    assert shown.mean((2, 3)).abs().max() < 1e-5 and shown.pow(2).mean((2, 3)).sub(1).abs().max() < 0.2
    # strength of the whole crop and level of each channel do not show
    torch.testing.assert_close(standardized(features * 4), shown, atol=1e-3, rtol=1e-3)
    # a channel that is flat stays flat
    features[:, 2] = 0.5
    assert standardized(features)[:, 2].abs().max() < 1e-4


def test_no_place_at_all_has_a_graph():
    nothing = target(0, 0)
    own = BoxReadings(*(x.requires_grad_() for x in readings(0)))
    losses = finding_losses(own, torch.zeros(0, 8, 8, requires_grad=True), [nothing, nothing])
    total = sum(losses.values())
    assert total.item() == 0 and math.isfinite(total.item())
    total.backward()


def test_other_shapes_are_refused_by_name():
    wanted = target(4, 2)
    with pytest.raises(ValueError, match=r"masks of student \(1, 8, 8\) and teacher \(2, 8, 8\)"):
        finding_losses(wanted.said, wanted.masks[:1], [wanted])


def test_boxes_follow_the_image():
    small = target(2, 1).resized((32, 24))
    torch.testing.assert_close(small.boxes, target(2, 1).boxes * torch.tensor([0.25, 0.5, 0.25, 0.5]))
    assert small.image_size == (32, 24) and small.finds.shape == (1, 4)
