import pytest
import torch
from detectron2.modeling import build_model
from detectron2.modeling.proposal_generator import RPN
from detectron2.structures import Boxes, Instances

from dld.modeling.proposal_generator.text_rpn import covered_by_ignored, split_ignored

READABLE, DONT_CARE = [8.0, 8, 56, 24], [60.0, 60, 108, 76]


def targets(flagged=True):
    words = Instances((128, 128), gt_boxes=Boxes(torch.tensor([READABLE, DONT_CARE])))
    words.gt_ignore = torch.tensor([False, flagged])
    return words


@pytest.fixture
def rpn(tiny_cfg, storage):
    generator = build_model(tiny_cfg).proposal_generator
    # so that every positive and every negative is sampled
    generator.batch_size_per_image = 100_000
    generator.positive_fraction = 0.5
    return generator


def labels_of(rpn, words):
    features = [torch.zeros(1, 16, 128 // s, 128 // s) for s in (4, 8, 16, 32, 64)]
    anchors = rpn.anchor_generator(features)
    labels, matched = rpn.label_and_sample_anchors(anchors, [words])
    return Boxes.cat(anchors), labels[0], matched[0]


def test_covered_boxes_worked_out_by_hand():
    ignored = Boxes(torch.tensor([[0.0, 0, 20, 10]]))
    boxes = Boxes(
        torch.tensor(
            [
                [2.0, 2, 6, 6],  # inside
                [10, 0, 30, 10],  # half of it on the word
                [11, 0, 31, 10],  # 45 % of it on the word, IoU 9 / 31
                [0, 0, 40, 15],  # a third of it: IoU 200 / 600
                [0, 0, 40, 20],  # a quarter of it: IoU 200 / 800
                [50, 50, 60, 60],
            ]
        )
    )
    assert covered_by_ignored(boxes, ignored, 0.5).tolist() == [True, True, False, True, False, False]
    assert not covered_by_ignored(boxes, Boxes(torch.zeros(0, 4)), 0.5).any()


def test_words_are_split_by_their_flag():
    words, ignored = split_ignored(targets())
    assert words.gt_boxes.tensor.tolist() == [READABLE] and ignored.tensor.tolist() == [DONT_CARE]
    plain = Instances((9, 9), gt_boxes=Boxes(torch.tensor([READABLE])))
    assert [len(x) for x in split_ignored(plain)] == [1, 0]


def test_a_dont_care_region_is_neither_word_nor_background(rpn):
    torch.manual_seed(0)
    anchors, labels, _ = labels_of(rpn, targets())
    there = covered_by_ignored(anchors, Boxes(torch.tensor([DONT_CARE])), 0.5)
    assert there.sum() > 50 and (labels[there] == -1).all()
    assert (labels == 1).sum() > 0 and (labels[~there] == 0).sum() > 100
    # the same scene without the flag: a word like any other, with anchors that match it and anchors that miss it
    _, labels, _ = labels_of(rpn, targets(flagged=False))
    assert (labels[there] == 1).any() and (labels[there] == 0).any()


def test_anchors_of_a_readable_word_stay_positive_next_to_a_dont_care_one(rpn):
    words = targets()
    words.gt_boxes.tensor[1] = torch.tensor([8.0, 10, 56, 26])  # nearly the same place
    _, labels, matched = labels_of(rpn, words)
    assert (labels == 1).any()
    assert (matched[labels == 1] == torch.tensor(READABLE)).all()


def test_every_image_of_a_batch_has_its_own_regions(rpn):
    features = [torch.zeros(3, 16, 128 // s, 128 // s) for s in (4, 8, 16, 32, 64)]
    anchors = rpn.anchor_generator(features)
    none = targets()[:0]
    together, _ = rpn.label_and_sample_anchors(anchors, [none, targets(), targets()[:1]])
    there = covered_by_ignored(Boxes.cat(anchors), Boxes(torch.tensor([DONT_CARE])), 0.5)
    assert (together[0] == 0).all(), "an image without words is background"
    assert (together[1][there] == -1).all()
    assert (together[2][there] == 0).all()


def test_many_ignored_regions_cover_what_each_of_them_covers():
    corners = torch.rand(200, 2, generator=torch.Generator().manual_seed(0)) * 90
    ignored = Boxes(torch.cat([corners[:150], corners[:150] + 8], 1))
    boxes = Boxes(torch.cat([corners[150:], corners[150:] + 12], 1))
    alone = [covered_by_ignored(boxes, ignored[i], 0.5) for i in range(150)]
    together = covered_by_ignored(boxes, ignored, 0.5)
    assert torch.equal(together, torch.stack(alone).any(0)) and 0 < together.sum() < 50


@pytest.mark.parametrize("training", [False, True])
def test_proposals_are_those_of_detectron2(tiny_cfg, storage, training):
    """Fewer boxes are decoded, the same are proposed; two images, levels with more and with fewer anchors than are kept."""
    torch.manual_seed(0)
    rpn = build_model(tiny_cfg).proposal_generator.train(training)
    rpn.pre_nms_topk = {True: 50, False: 30}
    features = [torch.zeros(2, 16, 128 // s, 128 // s) for s in (4, 8, 16, 32, 64)]
    anchors = rpn.anchor_generator(features)
    assert len(anchors[0]) > 50 > 30 > len(anchors[-1])
    # all different: among equal scores the order would be a matter of taste
    logits = [torch.randperm(2 * len(a)).float().view(2, -1) / 100 for a in anchors]
    deltas = [torch.randn(2, len(a), 4) * 0.3 for a in anchors]
    sizes = [(128, 128), (120, 90)]
    ours = rpn.predict_proposals(anchors, logits, deltas, sizes)
    theirs = RPN.predict_proposals(rpn, anchors, logits, deltas, sizes)
    for a, b in zip(ours, theirs, strict=True):
        assert len(a) > 10 and a.image_size == b.image_size
        assert torch.equal(a.proposal_boxes.tensor, b.proposal_boxes.tensor)
        assert torch.equal(a.objectness_logits, b.objectness_logits)


def test_only_what_is_kept_is_decoded(rpn, monkeypatch):
    rpn.eval()
    rpn.pre_nms_topk = {True: 50, False: 30}
    decoded = []
    apply = rpn.box2box_transform.apply_deltas
    monkeypatch.setattr(rpn.box2box_transform, "apply_deltas", lambda d, b: decoded.append(len(d)) or apply(d, b))
    anchors = rpn.anchor_generator([torch.zeros(1, 16, 128 // s, 128 // s) for s in (4, 8, 16, 32, 64)])
    logits = [torch.rand(1, len(a)) for a in anchors]
    rpn.predict_proposals(anchors, logits, [torch.zeros(1, len(a), 4) for a in anchors], [(128, 128)])
    assert decoded == [min(len(a), 30) for a in anchors]
