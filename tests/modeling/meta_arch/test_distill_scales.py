"""At which scales the student is trained, and what each scale is found to lose."""

import pytest
import torch
from distilling import SCALES, WORDS, awaken, build, check_losses_and_gradients, parts, read_right

from dld.modeling.meta_arch.step_losses import StepLosses


def training_scales(model, monkeypatch, batch, times=25) -> set:
    monkeypatch.setattr(model, "train_student", lambda *_: StepLosses({}))
    monkeypatch.setattr(model, "ask_teacher", lambda _: None)
    seen = set()
    for i in range(times):
        # the mapper gives an image another seed each time; its scale follows from it
        again = [{**record, "sampling_seed": 2 * i + k} for k, record in enumerate(batch)]
        scales = model(again).scales
        assert scales == model(again).scales
        seen.update(scales)
    return seen


def test_without_a_selector_every_candidate_is_drawn(cfg, make_batch, monkeypatch):
    model = build(cfg, "MODEL.SELECTOR.ENABLED", False)
    assert training_scales(model, monkeypatch, make_batch(WORDS, WORDS)) == set(SCALES)
    model.eval()
    assert model.select_scales([torch.zeros(3, 96, 96)]) == [1.0], "at test the largest, unless told otherwise"


@pytest.mark.parametrize("selector", [True, False], ids=["selector", "no selector"])
def test_a_fixed_scale_is_trained_and_tested_at(cfg, make_batch, storage, selector):
    model = build(cfg, "MODEL.SELECTOR.ENABLED", selector, "MODEL.SELECTOR.FIXED_SCALE", 0.55)
    losses = check_losses_and_gradients(model, make_batch(WORDS, WORDS))
    assert "loss_selector" not in losses and losses.scales == [0.55, 0.55]
    assert model.select_scales([torch.zeros(3, 96, 96)]) == [0.55]
    if selector:
        assert not any(p.requires_grad for p in model.selector.parameters()), "it waits, unchanged"


def test_a_student_that_is_its_teacher_does_not_differ_at_full_size(cfg, make_batch):
    model = awaken(build(cfg))
    model.student.load_state_dict(model.teacher.state_dict())
    batch = make_batch(WORDS, (("Blue",), ()), ((), ()), sizes=((96, 128), (128, 96)))
    annotated, targets = parts(model, batch)
    result = model.compare_scales(annotated, read_right(targets, True, True, True))
    assert result.kl.shape == result.cost.shape == (3, 3) and result.counted.tolist() == [True, True, False]
    assert result.kl[:, 2].abs().max() < 1e-6
    assert bool((result.kl[:2, :2] > 1e-4).all()) and bool((result.kl[2] == 0).all())
    # rising with the scale; at 1.0 the teacher's cost and the selector's on top
    assert bool((result.cost.diff(dim=1) > 0).all()) and bool((result.cost[:, 2] > 1).all())
    counts = torch.tensor([2, 1, 0])
    torch.testing.assert_close(result.cost, model.cost_table.costs(annotated.sizes, counts))


def test_words_that_the_teacher_misreads_do_not_count(cfg, make_batch):
    model = awaken(build(cfg))
    annotated, targets = parts(model, make_batch(WORDS, WORDS))

    def kl(*correct):
        return model.compare_scales(annotated, read_right(targets, *correct, True, True))

    first, second, both, none = kl(True, False), kl(False, True), kl(True, True), kl(False, False)
    assert bool((first.kl[0] > 0).all()) and not torch.allclose(first.kl[0], second.kl[0])
    torch.testing.assert_close(both.kl[0], (first.kl[0] + second.kl[0]) / 2)
    assert bool((none.kl[0] == 0).all()) and none.counted.tolist() == [False, True]
    for other in (second, both, none):
        assert torch.equal(other.kl[1], first.kl[1]), "words of one image are no matter of the other"
    assert not bool(targets.correct.any()), "an untrained teacher reads nothing right"


def test_ignored_words_do_not_count(cfg, make_batch):
    model = awaken(build(cfg))
    with_ignored = make_batch((("stone", "river"), (1,)))
    without = [{**with_ignored[0], "instances": with_ignored[0]["instances"][:1]}]
    results = []
    for batch in (with_ignored, without):
        annotated, targets = parts(model, batch)
        assert len(targets.correct) == 1
        results.append(model.compare_scales(annotated, read_right(targets, True)))
    assert torch.equal(results[0].kl, results[1].kl) and torch.equal(results[0].cost, results[1].cost)


def test_tall_words_are_transposed_alike_at_every_scale(cfg, make_batch, monkeypatch):
    model = build(cfg)
    batch = make_batch((("i", "stone", "river"), ()))
    batch[0]["instances"].gt_tall = torch.tensor([True, False, True])  # one against its own box
    seen = []
    for spotter in (model.teacher, model.student):
        pooler = spotter.roi_heads.recognizer.pooler
        forward = pooler.forward

        def noting(features, boxes, masks, tall, forward=forward):
            seen.append(tall.tolist())
            return forward(features, boxes, masks, tall)

        monkeypatch.setattr(pooler, "forward", noting)
    model.compare_scales(*parts(model, batch))
    assert seen == [[True, False, True]] * (1 + len(SCALES))
