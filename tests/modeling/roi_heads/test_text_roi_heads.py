import pytest
import torch
from detectron2.modeling import build_model
from detectron2.structures import Boxes, Instances

from dld.structures.padded_polygons import PaddedPolygons

READABLE, DONT_CARE = [8.0, 8, 56, 24], [60.0, 60, 108, 76]
ON_READABLE = [[9.0, 8, 56, 25], [7.0, 7, 57, 24]]
ON_DONT_CARE = [[60.0, 61, 108, 76], [70.0, 62, 90, 74], [58.0, 58, 110, 78]]
BACKGROUND = [[10.0, 90, 40, 110], [90.0, 10, 120, 30]]


@pytest.fixture
def heads(tiny_cfg, storage):
    tiny_cfg.MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE = 1000
    torch.manual_seed(0)
    return build_model(tiny_cfg).roi_heads


def proposals(boxes):
    boxes = torch.tensor(boxes)
    return Instances((128, 128), proposal_boxes=Boxes(boxes), objectness_logits=torch.zeros(len(boxes)))


def targets(ignore, boxes=(READABLE, DONT_CARE)):
    boxes = torch.tensor(boxes)
    words = Instances((128, 128), gt_boxes=Boxes(boxes), gt_classes=torch.zeros(len(boxes), dtype=torch.int64))
    words.gt_masks = PaddedPolygons.from_list([[b[:2], b[[2, 1]], b[2:], b[[0, 3]]] for b in boxes.numpy()])
    words.gt_ignore = torch.tensor(ignore)
    return words


def sampled(heads, found, words):
    out = heads.label_and_sample_proposals([proposals(found)], [words])[0]
    boxes = out.proposal_boxes.tensor.tolist()
    return {tuple(b): int(c) for b, c in zip(boxes, out.gt_classes, strict=True)}, out


def test_a_proposal_on_a_dont_care_word_is_not_sampled_at_all(heads):
    found = ON_READABLE + ON_DONT_CARE + BACKGROUND
    classes, out = sampled(heads, found, targets([False, True]))
    word, background = 0, 1
    assert {tuple(b) for b in ON_DONT_CARE + [DONT_CARE]}.isdisjoint(classes)
    assert all(classes[tuple(b)] == word for b in ON_READABLE + [READABLE])
    assert all(classes[tuple(b)] == background for b in BACKGROUND)
    assert (out[out.gt_classes == word].gt_boxes.tensor == torch.tensor(READABLE)).all()
    # without the flag the same proposals are examples of a word, or of background
    classes, _ = sampled(heads, found, targets([False, False]))
    assert {classes[tuple(b)] for b in ON_DONT_CARE} == {word, background}


def test_a_proposal_on_a_readable_word_stays_though_a_dont_care_region_covers_it(heads):
    # ICDAR's don't-care outlines may enclose words that can be read
    words = targets([False, True], [READABLE, [0.0, 0, 80, 40]])
    inside = [20.0, 28, 50, 38]
    classes, _ = sampled(heads, ON_READABLE + [inside], words)
    assert all(classes[tuple(b)] == 0 for b in ON_READABLE) and tuple(inside) not in classes


@pytest.mark.parametrize("ignore", [[True, True], []], ids=["all ignored", "no words"])
def test_images_without_a_word_give_background_only(heads, ignore):
    words = targets([False, True])[: len(ignore)]
    words.gt_ignore = torch.tensor(ignore, dtype=torch.bool)
    classes, _ = sampled(heads, BACKGROUND + [[30.0, 100, 60, 120]], words)
    assert len(classes) == 3 and set(classes.values()) == {1}


def test_nothing_left_to_sample_is_no_error(heads):
    classes, out = sampled(heads, ON_DONT_CARE, targets([True, True]))
    assert classes == {} and len(out) == 0


@pytest.fixture
def detections():
    torch.manual_seed(1)
    boxes = torch.tensor([[8.0, 8, 56, 24], [4, 30, 20, 90], [60, 60, 108, 76], [30, 40, 50, 60], [70, 5, 80, 50]])
    images = []
    for part in boxes.split([3, 0, 2]):
        found = Instances((128, 128), pred_boxes=Boxes(part), pred_classes=torch.zeros(len(part), dtype=torch.int64))
        found.scores = torch.ones(len(part))
        images.append(found)
    return images


def test_words_read_in_several_chunks_are_those_read_at_once(heads, detections):
    heads.eval()
    features = {f"p{i}": torch.randn(3, 16, 128 // 2**i, 128 // 2**i) for i in range(2, 6)}
    results = []
    for chunk in (256, 2, 1):
        heads.words_per_chunk = chunk
        with torch.no_grad():
            results.append(heads.forward_with_given_boxes(features, detections))
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            assert torch.equal(a.pred_ids, b.pred_ids)
            torch.testing.assert_close(a.pred_id_scores, b.pred_id_scores)
    assert [x.pred_ids.shape for x in results[0]] == [(3, 11), (0, 11), (2, 11)]


def test_images_with_nothing_found_are_read(heads, detections):
    heads.eval()
    features = {f"p{i}": torch.randn(3, 16, 128 // 2**i, 128 // 2**i) for i in range(2, 6)}
    with torch.no_grad():
        out = heads.forward_with_given_boxes(features, [x[:0] for x in detections])
    assert [x.pred_ids.shape for x in out] == [(0, 11)] * 3


@pytest.mark.parametrize(("detection", "score", "least"), [(0.1, 0.6, 0.36), (0.5, 0.6, 0.5), (0.1, 0.2, 0.1), (0.0, 0.0, 0.0)])
def test_boxes_that_no_reading_makes_a_word_are_not_read(tiny_cfg, detection, score, least):
    tiny_cfg.MODEL.RECOGNITION.READER = "StripRecognizer"
    tiny_cfg.MODEL.STRIPS.DETECTION_THRESH, tiny_cfg.MODEL.STRIPS.SCORE_THRESH = detection, score
    assert build_model(tiny_cfg).roi_heads.spot_threshold == pytest.approx(least)


def pyramid(images, seed=0):
    torch.manual_seed(seed)
    return {f"p{i}": torch.randn(images, 16, 128 // 2**i, 128 // 2**i) for i in range(2, 6)}


def test_later_rounds_move_the_kept_boxes_and_keep_their_scores(heads):
    heads.eval()
    features, found = pyramid(2), [proposals(ON_READABLE + BACKGROUND), proposals(BACKGROUND)]
    # the head moves every box a tenth of its width to the right, whatever it sees
    weights = heads.box_predictor.box2box_transform.weights
    with torch.no_grad():
        heads.box_predictor.bbox_pred.weight.zero_()
        heads.box_predictor.bbox_pred.bias.copy_(torch.tensor([0.1 * weights[0], 0, 0, 0]))
        once = heads.find_boxes(features, found, threshold=0.0)
        heads.box_rounds = 3
        thrice = heads.find_boxes(features, found, threshold=0.0)
    assert sum(map(len, once)) > 4
    for a, b in zip(once, thrice, strict=True):
        assert torch.equal(a.scores, b.scores) and torch.equal(a.pred_classes, b.pred_classes)
        wanted = a.pred_boxes.tensor.clone()
        for _ in range(2):
            wanted[:, ::2] += 0.1 * (wanted[:, 2:3] - wanted[:, :1])
            wanted.clamp_(0, 128)
        torch.testing.assert_close(b.pred_boxes.tensor, wanted)


def test_nothing_found_has_no_later_rounds(heads):
    heads.eval()
    heads.box_rounds = 2
    with torch.no_grad():
        out = heads.find_boxes(pyramid(1), [proposals(BACKGROUND)], threshold=1.0)
    assert [len(x) for x in out] == [0]


def test_moved_boxes_are_taught_to_move_on(heads):
    heads.train()
    heads.box_rounds, heads.box_rounds_weight = 2, 0.5
    features = pyramid(1)
    sampled = heads.label_and_sample_proposals([proposals(ON_READABLE + BACKGROUND)], [targets([False, True])])
    losses = heads._forward_box(features, sampled)
    assert set(losses) == {"loss_cls", "loss_box_reg", "loss_box_again"}
    # a first round that moves nothing leaves the proposals: what is taught then is what the first round is taught
    with torch.no_grad():
        heads.box_predictor.bbox_pred.weight.zero_()
        heads.box_predictor.bbox_pred.bias.zero_()
    losses = heads._forward_box(features, sampled)
    assert losses["loss_box_reg"] > 0
    torch.testing.assert_close(losses["loss_box_again"], 0.5 * losses["loss_box_reg"])
    losses["loss_box_again"].backward()
    assert bool((heads.box_predictor.bbox_pred.bias.grad != 0).any())
    assert heads.box_predictor.cls_score.weight.grad is None or not heads.box_predictor.cls_score.weight.grad.any()


def test_later_rounds_without_a_word_are_0_with_a_graph(heads):
    heads.train()
    heads.box_rounds = 2
    sampled = heads.label_and_sample_proposals([proposals(BACKGROUND)], [targets([True, True])])
    loss = heads._forward_box(pyramid(1), sampled)["loss_box_again"]
    assert loss == 0
    loss.backward()


def test_no_rounds_are_refused(tiny_cfg):
    tiny_cfg.MODEL.TEXT.BOX_ROUNDS = 0
    with pytest.raises(ValueError, match=r"MODEL\.TEXT\.BOX_ROUNDS must be at least 1, got 0"):
        build_model(tiny_cfg)
