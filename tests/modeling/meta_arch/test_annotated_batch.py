"""A batch that is made once a step: its words, their order, and the samples drawn for its images."""

import pytest
import torch
from distilling import WORDS, build

from dld.modeling.meta_arch.annotated_batch import AnnotatedBatch, read_annotated

MIXED = [(("stone", "a"), ()), ((), ()), (("north", "a-b", "42"), (1,))]
SIZES = ((96, 128), (128, 96))


@pytest.fixture
def model(cfg):
    return build(cfg)


def test_what_a_batch_knows(model, make_batch):
    batch = make_batch(*MIXED, sizes=SIZES)
    annotated = model.annotate(batch)
    assert isinstance(annotated, AnnotatedBatch) and len(annotated) == 3
    assert annotated.sizes == [tuple(x["image"].shape[-2:]) for x in batch]
    # "stone" "a" | | "north" "42", each with its end
    assert annotated.offsets == [0, 2, 2, 4] and annotated.steps.tolist() == [6, 2, 6, 3]
    assert annotated.image_of().tolist() == [0, 0, 2, 2]
    assert annotated.word_index([2, 0]).tolist() == [2, 3, 0, 1] and annotated.word_index([1]).tolist() == []
    assert annotated.counts["word"] == 4 and annotated.counts["step"] == 17
    assert annotated.seeds == [x["sampling_seed"] for x in batch]
    mean, std = model.student.pixel_mean, model.student.pixel_std
    torch.testing.assert_close(annotated.images[0], (batch[0]["image"] - mean) / std)


def test_a_part_at_a_scale(model, make_batch):
    annotated = model.annotate(make_batch(*MIXED, sizes=SIZES))
    part = annotated.at_scale([2, 0], 0.5, model.student)
    assert part.images.image_sizes == [(48, 64), (48, 64)] and part.seeds == [annotated.seeds[2], annotated.seeds[0]]
    torch.testing.assert_close(part.words[0].gt_boxes.tensor, annotated.words[2].gt_boxes.tensor / 2)


def test_the_batch_is_normalised_once_a_step(model, make_batch, storage, monkeypatch):
    import dld.modeling.meta_arch.annotated_batch as module

    calls = []
    normalized = module.normalized_images
    monkeypatch.setattr(module, "normalized_images", lambda *a: calls.append(1) or normalized(*a))
    annotated = model.annotate(make_batch(WORDS, WORDS))
    model(annotated, model.ask_teacher(annotated))
    assert len(calls) == 1


def drawn(model, annotated, members, scale=1.0):
    """Anchors and proposals that are sampled for each image, when these run together in this order."""
    seen = {"anchors": [], "proposals": []}
    rpn, heads = model.student.proposal_generator, model.student.roi_heads
    anchors, proposals = type(rpn)._subsample_labels, type(heads)._sample_proposals

    def note_anchors(self, label):
        out = anchors(self, label)
        seen["anchors"].append(out.clone())
        return out

    def note_proposals(self, *arguments):
        out = proposals(self, *arguments)
        seen["proposals"].append(out[0].clone())
        return out

    part = annotated.at_scale(members, scale, model.student)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(rpn), "_subsample_labels", note_anchors)
        patch.setattr(type(heads), "_sample_proposals", note_proposals)
        torch.manual_seed(len(members))
        model.student.losses(part.images, part.words, part.seeds)
    return {name: dict(zip(members, values, strict=True)) for name, values in seen.items()}


def test_what_is_sampled_in_an_image_does_not_depend_on_its_place(model, make_batch, storage):
    annotated = model.annotate(make_batch(WORDS, (("exit", "Cafe"), ()), (("north",), ())))
    forward, backward, alone = (drawn(model, annotated, m) for m in ([0, 1, 2], [2, 1, 0], [1]))
    for image in (0, 1, 2):
        assert torch.equal(forward["anchors"][image], backward["anchors"][image])
        assert torch.equal(forward["proposals"][image], backward["proposals"][image])
    assert torch.equal(forward["anchors"][1], alone["anchors"][1])
    other = drawn(model, AnnotatedBatch(**{**vars(annotated), "seeds": [7, 8, 9]}), [0, 1, 2])
    assert not torch.equal(other["anchors"][0], forward["anchors"][0]), "else nothing is drawn"


def test_in_training_the_seeds_reach_the_samples(model, make_batch, storage, monkeypatch):
    annotated = model.annotate(make_batch(WORDS, WORDS))
    given = []
    losses = model.student.losses
    monkeypatch.setattr(model.student, "losses", lambda *a: given.append(a[2]) or losses(*a))
    model(annotated)
    assert sorted(sum(given, [])) == sorted(annotated.seeds)


def test_reading_groups_by_size_and_keeps_the_order(model, make_batch):
    annotated = model.annotate(make_batch(*MIXED, sizes=SIZES))
    with torch.no_grad():
        reading = read_annotated(model.student.eval(), annotated, 0.7, find=True)
    assert len(reading.features.roi) == len(reading.found) == 4 and reading.found.dtype == torch.bool
