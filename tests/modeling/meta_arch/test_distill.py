"""Facts about the distiller: what it is made of, what it leaves untouched, and how the losses of a batch come together."""

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from detectron2.config import CfgNode
from detectron2.modeling import build_model
from detectron2.structures import Boxes, Instances
from detectron2.utils.events import EventStorage

import dld.modeling  # noqa: F401  only registration
from dld.data.dataset_mapper import TextDatasetMapper
from dld.modeling.meta_arch.distill import DistillMetaArch
from dld.modeling.recognition.teacher_targets import TeacherTargets

ABLATIONS = sorted((Path(__file__).parents[3] / "configs" / "ablations").glob("*.yaml"))
SCALES = [0.4, 0.7, 1.0]
WORDS = (("stone", "river"), ())
SCENES = {
    "words": [WORDS, WORDS],
    "one image without words": [WORDS, ((), ())],
    "no words in the batch": [((), ()), ((), ())],
    "every word ignored": [(("stone", "river"), (0, 1)), (("exit",), (0,))],
}


@pytest.fixture
def cfg(tiny_cfg):
    tiny_cfg.MODEL.META_ARCHITECTURE = "DistillMetaArch"
    tiny_cfg.MODEL.SELECTOR.SCALES = SCALES
    tiny_cfg.MODEL.SELECTOR.CHANNELS = [8, 16]
    return tiny_cfg


def build(cfg, *opts) -> DistillMetaArch:
    cfg.merge_from_list(list(opts))
    torch.manual_seed(0)
    return build_model(cfg).train()


@pytest.fixture
def make_batch(cfg, make_record):
    """Mapped training images from one pair of (words, ignored indices) each; odd ones stand on end if `sizes` differ."""

    def batch(*images, sizes=((96, 128),)):
        mapper, rng = TextDatasetMapper(cfg, True), np.random.default_rng(0)
        records = [
            make_record(words, *sizes[i % len(sizes)], ignore=ignore, seed=i) for i, (words, ignore) in enumerate(images)
        ]
        return [mapper(record, rng) for record in records]

    return batch


def awaken(model) -> DistillMetaArch:
    """Untrained recognisers tell all words apart but little: larger weights make what they see count."""
    with torch.no_grad():
        for spotter in (model.teacher, model.student):
            for name, weight in spotter.named_parameters():
                if weight.dim() > 1 and name.startswith(("roi_heads.recognizer", "backbone")):
                    weight *= 2
    return model


def parts(model, batch):
    """What the steps of `forward` hand to each other."""
    return model.normalize(batch), [x["instances"] for x in batch], model.ask_teacher(batch)


def read_right(targets: TeacherTargets, *correct: bool) -> TeacherTargets:
    """As if the teacher, untrained here, read these words right."""
    return targets._replace(correct=torch.tensor(correct))


def statistics(module) -> dict:
    return {k: v.clone() for k, v in module.state_dict().items() if "running_" in k or "num_batches" in k}


def same(a: dict, b: dict) -> bool:
    return a.keys() == b.keys() and all(torch.equal(v, b[k]) for k, v in a.items())


# ---------------------------------------------------------------- the teacher


def test_the_teacher_is_no_part_of_the_model(cfg):
    model = build(cfg)
    teachers = {id(x) for x in (*model.teacher.parameters(), *model.teacher.buffers(), *model.teacher.modules())}
    assert not teachers & {id(x) for x in (*model.parameters(), *model.buffers(), *model.modules())}
    assert {name.split(".")[0] for name in model.state_dict()} == {"student", "selector", "mu"}
    assert len([n for n in model.state_dict() if n.startswith("student.")]) == len(model.teacher.state_dict())
    for mode in (True, False, True):
        model.train(mode)
        assert not any(m.training for m in model.teacher.modules())
    assert not any(p.requires_grad for p in model.teacher.parameters())


def test_the_teacher_follows_to_another_type_and_device(cfg):
    model = build(cfg)
    other = copy.deepcopy(model).double()
    assert other.teacher is not model.teacher
    assert {p.dtype for p in other.teacher.parameters()} == {torch.float64}
    assert {p.dtype for p in model.teacher.parameters()} == {torch.float32}
    other.to("meta")
    assert other.teacher.device == other.student.device == torch.device("meta")
    assert {p.device.type for p in other.teacher.parameters()} == {"meta"}


@pytest.mark.parametrize("freeze", [True, False], ids=["frozen norm", "free norm"])
def test_what_training_steps_leave_untouched(cfg, make_batch, storage, freeze):
    model = build(cfg, "MODEL.DISTILLATION.FREEZE_NORM", freeze)
    batch = make_batch(WORDS, WORDS)
    teacher = {k: v.clone() for k, v in model.teacher.state_dict().items()}
    before, weights = statistics(model.student), model.student.backbone.fpn_output2.weight.clone()
    modes = [m.training for m in model.modules()]
    model.compare_scales(*parts(model, batch))
    assert same(statistics(model.student), before), "passes without gradient touch no batch-norm statistics"
    assert [m.training for m in model.modules()] == modes
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
    for _ in range(2):
        optimizer.zero_grad()
        sum(model(batch, model.ask_teacher(batch)).values()).backward()
        optimizer.step()
    assert same(dict(model.teacher.state_dict()), teacher)
    assert all(p.grad is None for p in model.teacher.parameters())
    assert not torch.equal(model.student.backbone.fpn_output2.weight, weights)
    assert same(statistics(model.student), before) == freeze


def test_an_evaluation_between_two_steps_does_not_thaw_the_norms(cfg):
    model = build(cfg)
    model.eval()
    model.train()
    norms = [m for m in model.student.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert norms and not any(m.training for m in norms) and model.training and model.student.training


# ---------------------------------------------------------------- every scene, every configuration


def check_losses_and_gradients(model, batch):
    model.zero_grad()
    losses = model(batch, model.ask_teacher(batch))
    assert all(v.dim() == 0 and torch.isfinite(v) for v in losses.values()), losses
    sum(losses.values()).backward()
    without = [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert not without, "distributed training waits for ever for a weight without gradient"
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.requires_grad)
    return losses


DETECTION = {"loss_rpn_cls", "loss_rpn_loc", "loss_cls", "loss_box_reg", "loss_mask"}
READING = {"loss_rec", "loss_ctc"}
DISTILLATION = {"loss_kd_roi", "loss_kd_context", "loss_kd_sequence"}


@pytest.mark.parametrize("scene", SCENES)
def test_every_scene_gives_finite_losses_and_a_gradient_for_every_weight(cfg, make_batch, storage, scene):
    losses = check_losses_and_gradients(build(cfg), make_batch(*SCENES[scene]))
    assert set(losses) == DETECTION | READING | DISTILLATION | {"loss_selector"}
    if scene in ("no words in the batch", "every word ignored"):
        assert all(losses[name] == 0 for name in READING | DISTILLATION)


@pytest.mark.parametrize("path", ABLATIONS, ids=lambda path: path.stem)
def test_every_ablation_trains_all_that_it_says(cfg, make_batch, storage, path):
    cfg.merge_from_other_cfg(CfgNode({"MODEL": yaml.safe_load(path.read_text())["MODEL"]}))
    model = build(cfg)
    for scene in ("one image without words", "every word ignored"):
        losses = check_losses_and_gradients(model, make_batch(*SCENES[scene]))
    assert ("loss_selector" in losses) == (path.stem not in ("skd_only", "vanilla_multiscale"))
    assert (set(losses) >= DISTILLATION) == (path.stem not in ("drs_only", "vanilla_multiscale"))
    assert set(losses) >= DETECTION | READING and set(model.last_scales) <= set(SCALES)


def test_a_selector_of_backbone_stages_is_trained_like_any_other(cfg, make_batch, storage):
    model = build(cfg, "MODEL.SELECTOR.NAME", "BackboneSelector")
    batch = make_batch(*SCENES["one image without words"])
    before = statistics(model.selector)
    assert before and "loss_selector" in check_losses_and_gradients(model, batch)
    assert same(statistics(model.selector), before)


def test_bfloat16_is_close_to_float32(cfg, make_batch, storage):
    model, batch = build(cfg, "MODEL.SELECTOR.FIXED_SCALE", 0.7), make_batch(WORDS, WORDS)
    exact = model(batch)
    with torch.autocast("cpu", torch.bfloat16):
        half = model(batch)
    sum(half.values()).backward()
    assert all(p.grad is None or torch.isfinite(p.grad).all() for p in model.parameters())
    for name in ("loss_rec", "loss_kd_sequence", "loss_kd_roi", "loss_rpn_cls"):
        assert half[name].item() == pytest.approx(exact[name].item(), rel=0.1), name


def test_the_model_asks_the_teacher_itself_where_the_trainer_did_not(cfg, make_batch, storage):
    model, batch = build(cfg), make_batch(WORDS, WORDS)
    results = []
    for targets in (model.ask_teacher(batch), None):
        torch.manual_seed(3)
        results.append({k: v.item() for k, v in model(batch, targets).items()})
    assert results[0] == results[1]


def test_selector_and_student_are_trained_by_their_own_losses(cfg, make_batch, storage):
    model, batch = build(cfg), make_batch(WORDS, WORDS)
    torch.nn.init.normal_(model.selector.head.weight)
    loss = model(batch)["loss_selector"]
    loss.backward()
    assert all(p.grad is None for p in model.student.parameters())
    assert all(p.grad is not None for p in model.selector.parameters())
    model.zero_grad()
    losses = model(batch)
    sum(v for k, v in losses.items() if k != "loss_selector").backward()
    assert all(p.grad is None for p in model.selector.parameters())


@pytest.mark.parametrize(
    ("key", "value"),
    [("MODEL.SELECTOR.FORM", "argmax"), ("MODEL.DISTILLATION.SEQUENCE_TARGETS", "top1")],
)
def test_unknown_forms_are_named(cfg, key, value):
    with pytest.raises(ValueError, match=f"{key} must be .* got '{value}'"):
        build(cfg, key, value)


# ---------------------------------------------------------------- training scales


def training_scales(model, monkeypatch, batch, times=25) -> set:
    monkeypatch.setattr(model, "train_student", lambda *_: {})
    monkeypatch.setattr(model, "ask_teacher", lambda _: None)
    seen = set()
    for _ in range(times):
        model(batch)
        seen.update(model.last_scales)
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
    assert "loss_selector" not in losses and model.last_scales == [0.55, 0.55]
    assert model.select_scales([torch.zeros(3, 96, 96)]) == [0.55]
    if selector:
        assert not any(p.requires_grad for p in model.selector.parameters()), "it waits, unchanged"


# ---------------------------------------------------------------- accuracy at every scale


def test_a_student_that_is_its_teacher_does_not_differ_at_full_size(cfg, make_batch):
    model = awaken(build(cfg))
    model.student.load_state_dict(model.teacher.state_dict())
    batch = make_batch(WORDS, (("Blue",), ()), ((), ()), sizes=((96, 128), (128, 96)))
    images, words, targets = parts(model, batch)
    result = model.compare_scales(images, words, read_right(targets, True, True, True))
    assert result.kl.shape == result.cost.shape == (3, 3) and result.counted.tolist() == [True, True, False]
    assert result.kl[:, 2].abs().max() < 1e-6
    assert bool((result.kl[:2, :2] > 1e-4).all()) and bool((result.kl[2] == 0).all())
    # rising with the scale; at 1.0 the teacher's cost and the selector's on top
    assert bool((result.cost.diff(dim=1) > 0).all()) and bool((result.cost[:, 2] > 1).all())
    counts = torch.tensor([2, 1, 0])
    sizes = [tuple(x.shape[-2:]) for x in images]
    torch.testing.assert_close(result.cost, model.cost_table.costs(sizes, counts))


def test_words_that_the_teacher_misreads_do_not_count(cfg, make_batch):
    model = awaken(build(cfg))
    images, words, targets = parts(model, make_batch(WORDS, WORDS))

    def kl(*correct):
        return model.compare_scales(images, words, read_right(targets, *correct, True, True))

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
        images, words, targets = parts(model, batch)
        assert len(targets.correct) == 1
        results.append(model.compare_scales(images, words, read_right(targets, True)))
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


# ---------------------------------------------------------------- losses of a batch of mixed scales

MIXED = [(("stone", "a"), ()), (("Blue",), ()), (("north", "a-b", "42"), (1,))]
SIZES = ((96, 128), (128, 96))


def test_the_teachers_words_come_in_the_order_of_the_images(cfg, make_batch):
    """Images of two sizes do not run together, but their words stay where they were."""
    model, batch = build(cfg), make_batch(*MIXED, sizes=SIZES)
    together = model.ask_teacher(batch)
    alone = [model.ask_teacher([x]) for x in batch]
    assert [len(x.roi) for x in alone] == [2, 1, 2]
    torch.testing.assert_close(together.roi, torch.cat([x.roi for x in alone]), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(together.context, torch.cat([x.context for x in alone]), atol=1e-5, rtol=1e-4)
    assert together.roi[0].sub(together.roi[3]).abs().max() > 1e-2, "else the order would not show"


@pytest.mark.parametrize("targets_kind", ["beams", "right_beams", "forced_top1"])
def test_losses_of_mixed_scales_are_those_of_the_images_by_their_share(cfg, make_batch, storage, targets_kind):
    # samples so large that nothing is drawn at random
    opts = ["MODEL.RPN.BATCH_SIZE_PER_IMAGE", 100_000, "MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE", 1000]
    model = build(cfg, *opts, "MODEL.DISTILLATION.SEQUENCE_TARGETS", targets_kind)
    batch = make_batch(*MIXED, sizes=SIZES)
    images, words, targets = parts(model, batch)
    shares = {
        "image": [1 / 3, 1 / 3, 1 / 3],
        "word": [2 / 5, 1 / 5, 2 / 5],
        # "stone" "a" | "Blue" | "north" "42", each with its end symbol
        "step": [8 / 22, 5 / 22, 9 / 22],
    }
    for scales in ([0.4, 1.0, 0.7], [0.4, 1.0, 0.4]):
        together = model.train_student(images, words, scales, targets)
        alone = [
            model.train_student([images[i]], [words[i]], [scales[i]], model.ask_teacher([batch[i]])) for i in range(3)
        ]
        for name, value in together.items():
            if name in ("loss_cls", "loss_box_reg", "loss_mask") and scales[0] == scales[2]:
                continue  # detectron2's means over proposals, of which images differ in number
            unit = "step" if name == "loss_rec" else "word" if name in DISTILLATION | {"loss_ctc"} else "image"
            expected = sum(s * x[name].item() for s, x in zip(shares[unit], alone, strict=True))
            assert value.item() == pytest.approx(expected, rel=1e-4), (name, scales)


def test_distillation_losses_vanish_where_student_and_teacher_agree(cfg, make_batch, storage):
    """Words are paired one to one: at full size nothing is left of images 0 and 2, at 0.4 all of image 1."""
    model = awaken(build(cfg))
    model.student.load_state_dict(model.teacher.state_dict())
    batch = make_batch(*MIXED)
    images, words, targets = parts(model, batch)

    def losses(scales, chosen=(0, 1, 2)):
        return model.train_student([images[i] for i in chosen], [words[i] for i in chosen], scales, (
            targets if len(chosen) == 3 else model.ask_teacher([batch[i] for i in chosen])
        ))  # fmt: skip

    whole, mixed, alone = losses([1.0] * 3), losses([1.0, 0.4, 1.0]), losses([0.4], chosen=(1,))
    for name in ("loss_kd_roi", "loss_kd_context"):
        assert whole[name].item() == pytest.approx(0, abs=1e-10)
        assert alone[name] > 1e-6
        assert mixed[name].item() == pytest.approx(alone[name].item() / 5, rel=1e-4)  # one word of five
    assert whole["loss_kd_sequence"] > 0, "cross entropy: the teacher is not certain of its own reading"
    swapped = targets._replace(roi=targets.roi.flip(0), context=targets.context.flip(0))
    crossed = model.train_student(images, words, [1.0] * 3, swapped)
    assert crossed["loss_kd_roi"] > 1e-3 and crossed["loss_kd_context"] > 1e-9


def test_weights_switch_losses_on_and_off(cfg, make_batch, storage):
    batch = make_batch(WORDS)
    one = build(cfg, "MODEL.SELECTOR.FIXED_SCALE", 0.7)(batch)
    names = ["REC", "ROI", "CONTEXT", "SEQUENCE"]
    model = build(cfg, *(v for n in names for v in (f"MODEL.DISTILLATION.{n}_WEIGHT", 2.0)))
    two = model(batch)
    for name in READING | DISTILLATION:
        assert two[name].item() == pytest.approx(2 * one[name].item(), rel=1e-5), name
    model = build(cfg, *(v for n in names[1:] for v in (f"MODEL.DISTILLATION.{n}_WEIGHT", 0.0)))
    assert not model.distills and not model.selects and model.ask_teacher(batch) is None
    assert set(model(batch)) == DETECTION | READING


def test_right_beams_leave_out_the_words_that_the_teacher_misreads(cfg, make_batch, storage):
    """What the others add is what they added before: a mean over all words of the batch."""
    model = build(cfg, "MODEL.DISTILLATION.SEQUENCE_TARGETS", "right_beams")
    images, words, targets = parts(model, make_batch(*MIXED))

    def loss(*right):
        correct = torch.tensor([bool(i in right) for i in range(5)])
        return model.train_student(images, words, [1.0, 0.4, 1.0], targets._replace(correct=correct))["loss_kd_sequence"]

    alone = [loss(i).item() for i in range(5)]
    assert min(alone) > 0 and loss().item() == 0
    assert loss(0, 3).item() == pytest.approx(alone[0] + alone[3], rel=1e-5)
    model.sequence_targets = "beams"
    assert loss().item() == pytest.approx(sum(alone), rel=1e-5)
    model.sequence_targets = "right_beams"
    model.zero_grad()
    loss().backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


def test_forced_top_1_is_the_teachers_best_guess_at_each_annotated_step(cfg):
    model = build(cfg, "MODEL.DISTILLATION.SEQUENCE_TARGETS", "forced_top1")
    charset = model.charset
    pad, end = charset.pad, charset.end
    a, b, c = (int(i) for i in charset.encode("abc", 3)[:3])
    texts = torch.tensor([[a, b, end, pad], [a, b, c, end], [a, end, pad, pad]])
    best = torch.tensor([[a, c, b, c], [a, end, c, end], [b, end, c, c]])
    logits = torch.nn.functional.one_hot(best, charset.num_outputs).float()
    targets = TeacherTargets(None, None, logits, None, None)
    ids, scores, valid = model._sequences(targets, torch.tensor([0, 1, 2]), texts)
    # nothing where no annotated prefix is left (row 0), nothing after the first end (row 1)
    assert ids[:, 0].tolist() == [[a, c, b, pad], [a, end, pad, pad], [b, end, pad, pad]]
    assert scores.tolist() == [[0.0]] * 3 and valid.tolist() == [[True]] * 3
    assert model._sequences(targets, torch.tensor([2, 0]), texts)[0][:, 0, 0].tolist() == [b, a]


# ---------------------------------------------------------------- a selector that maps words


@pytest.mark.parametrize("scene", SCENES)
def test_a_selector_of_words_trains_beside_the_student(cfg, make_batch, scene):
    model = awaken(build(cfg, "MODEL.SELECTOR.NAME", "WordLossSelector"))
    with EventStorage():
        losses = model(make_batch(*SCENES[scene]))
    assert "loss_selector" in losses and all(torch.isfinite(x) for x in losses.values())
    losses["loss_selector"].backward()
    assert all(torch.isfinite(p.grad).all() for p in model.selector.parameters())
    assert float(model.mu) == pytest.approx(model.objective.gamma / model.selector.temperature)


def test_words_are_compared_in_their_images_and_places(cfg, make_batch):
    model = awaken(build(cfg, "MODEL.SELECTOR.NAME", "WordLossSelector"))
    images, words, targets = parts(model, make_batch(WORDS, (("exit",), ())))
    result = model.compare_scales(images, words, read_right(targets, False, True, True))
    assert [len(x.boxes) for x in result.words] == [1, 1]
    assert torch.equal(result.words[0].boxes, words[0].gt_boxes.tensor[1:])
    lost = torch.cat([x.loss for x in result.words])
    assert bool(((lost >= 0) & (lost <= 1)).all())
    # gamma 0.1; four words are the measure
    torch.testing.assert_close(model.objective.risk(result), lost / 4 + 0.1 * result.cost)
    model.word_loss = "kl"
    result = model.compare_scales(images, words, read_right(targets, False, True, True))
    # the only counted word of an image is its mean
    torch.testing.assert_close(torch.cat([x.loss for x in result.words]), result.kl)


def test_a_word_that_is_not_found_is_lost_however_well_it_would_be_read(cfg, make_batch, monkeypatch):
    model = awaken(build(cfg, "MODEL.SELECTOR.NAME", "WordLossSelector"))
    images, words, targets = parts(model, make_batch(WORDS, (("exit",), ())))
    targets = read_right(targets, True, True, True)
    reading = [x.loss for x in model.compare_scales(images, words, targets).words]
    modes = [m.training for m in model.modules()]

    def first_images_words(features, proposals):
        assert not model.student.roi_heads.training and not model.student.proposal_generator.training
        zoom = proposals[0].image_size[1] / images[0].shape[-1]
        # the second image's only detection lies off its word
        boxes = [words[0].gt_boxes.tensor * zoom, torch.tensor([[0.0, 0.0, 2.0, 2.0]])]
        return [Instances(x.image_size, pred_boxes=Boxes(b)) for x, b in zip(proposals, boxes, strict=True)]

    monkeypatch.setattr(model.student.roi_heads, "find_boxes", first_images_words)
    model.word_loss = "spotting"
    found, lost = (x.loss for x in model.compare_scales(images, words, targets).words)
    torch.testing.assert_close(found, reading[0])
    # all that the teacher read, at every scale alike
    assert bool((lost >= reading[1]).all()) and bool((lost > 0).all())
    torch.testing.assert_close(lost, lost[:, :1].expand_as(lost))
    assert [m.training for m in model.modules()] == modes


def test_what_a_selector_of_words_learns_is_named(cfg):
    with pytest.raises(ValueError, match="MODEL.SELECTOR.WORD_LOSS must be one of reading, spotting, kl, got 'text'"):
        build(cfg, "MODEL.SELECTOR.WORD_LOSS", "text")
