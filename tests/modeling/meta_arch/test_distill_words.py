"""A selector that maps words, beside the student."""

import pytest
import torch
from detectron2.structures import Boxes, Instances
from detectron2.utils.events import EventStorage
from distilling import SCENES, WORDS, awaken, build, parts, read_right


@pytest.mark.parametrize("scene", SCENES)
def test_a_selector_of_words_trains_beside_the_student(cfg, make_batch, scene):
    model = awaken(build(cfg, "MODEL.SELECTOR.NAME", "WordLossSelector"))
    with EventStorage():
        losses = model(make_batch(*SCENES[scene]))
    assert "loss_selector" in losses and all(torch.isfinite(x) for x in losses.values())
    losses["loss_selector"].backward()
    assert all(torch.isfinite(p.grad).all() for p in model.selector.parameters())
    assert float(model.mu) == pytest.approx(model.selector.gamma / model.selector.temperature)


def test_words_are_compared_in_their_images_and_places(cfg, make_batch):
    model = awaken(build(cfg, "MODEL.SELECTOR.NAME", "WordLossSelector"))
    annotated, targets = parts(model, make_batch(WORDS, (("exit",), ())))
    result = model.compare_scales(annotated, read_right(targets, False, True, True))
    assert [len(x.boxes) for x in result.words] == [1, 1]
    assert torch.equal(result.words[0].boxes, annotated.words[0].gt_boxes.tensor[1:])
    lost = torch.cat([x.loss for x in result.words])
    assert bool(((lost >= 0) & (lost <= 1)).all())
    # gamma 0.1; four words are the measure
    torch.testing.assert_close(model.selector.risk(result), lost / 4 + 0.1 * result.cost)


def test_a_word_that_is_not_found_is_lost_however_well_it_would_be_read(cfg, make_batch, monkeypatch):
    model = awaken(build(cfg, "MODEL.SELECTOR.NAME", "WordLossSelector"))
    annotated, targets = parts(model, make_batch(WORDS, (("exit",), ())))
    targets = read_right(targets, True, True, True)
    reading = [x.loss for x in model.compare_scales(annotated, targets).words]
    modes = [m.training for m in model.modules()]

    def first_images_words(features, proposals):
        assert not model.student.roi_heads.training and not model.student.proposal_generator.training
        zoom = proposals[0].image_size[1] / annotated.images[0].shape[-1]
        # the second image's only detection lies off its word
        boxes = [annotated.words[0].gt_boxes.tensor * zoom, torch.tensor([[0.0, 0.0, 2.0, 2.0]])]
        return [Instances(x.image_size, pred_boxes=Boxes(b)) for x, b in zip(proposals, boxes, strict=True)]

    monkeypatch.setattr(model.student.roi_heads, "find_boxes", first_images_words)
    model.selector.word_loss = "spotting"
    found, lost = (x.loss for x in model.compare_scales(annotated, targets).words)
    torch.testing.assert_close(found, reading[0])
    # all that the teacher read, at every scale alike
    assert bool((lost >= reading[1]).all()) and bool((lost > 0).all())
    torch.testing.assert_close(lost, lost[:, :1].expand_as(lost))
    assert [m.training for m in model.modules()] == modes


def test_what_a_selector_of_words_learns_is_named(cfg):
    with pytest.raises(ValueError, match="MODEL.SELECTOR.WORDS.LOSS must be one of reading, spotting, got 'text'"):
        build(cfg, "MODEL.SELECTOR.NAME", "WordLossSelector", "MODEL.SELECTOR.WORDS.LOSS", "text")
