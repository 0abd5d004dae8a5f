"""How the losses of images of mixed scales come together."""

import pytest
import torch
from distilling import DETECTION, DISTILLATION, READING, WORDS, ask, awaken, build, parts

from dld.modeling.meta_arch.annotated_batch import read_annotated
from dld.modeling.recognition.ctc_beam_search import ctc_beam_search
from dld.modeling.recognition.teacher_targets import TeacherTargets

MIXED = [(("stone", "a"), ()), (("Blue",), ()), (("north", "a-b", "42"), (1,))]
SIZES = ((96, 128), (128, 96))


def test_the_teachers_words_come_in_the_order_of_the_images(cfg, make_batch):
    """Images of two sizes do not run together, but their words stay where they were."""
    model, batch = build(cfg), make_batch(*MIXED, sizes=SIZES)
    together = ask(model, batch)
    alone = [ask(model, [x]) for x in batch]
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
    annotated, targets = parts(model, batch)
    shares = {
        "image": [1 / 3, 1 / 3, 1 / 3],
        "word": [2 / 5, 1 / 5, 2 / 5],
        # "stone" "a" | "Blue" | "north" "42", each with its end symbol
        "step": [8 / 22, 5 / 22, 9 / 22],
    }
    for scales in ([0.4, 1.0, 0.7], [0.4, 1.0, 0.4]):
        together = model.train_student(annotated, scales, targets)
        alone = []
        for record, scale in zip(batch, scales, strict=True):
            image, said = parts(model, [record])
            alone.append(model.train_student(image, [scale], said))
        for name, value in together.items():
            unit = "step" if name == "loss_rec" else "word" if name in DISTILLATION | {"loss_ctc"} else "image"
            share = shares[unit]
            if kind := {"loss_cls": "proposal", "loss_box_reg": "proposal", "loss_mask": "foreground"}.get(name):
                # means over sampled proposals, of which images differ in number
                own = [float(x.counts[kind]) for x in alone]
                share = [n / sum(own) for n in own]
            expected = sum(s * x[name].item() for s, x in zip(share, alone, strict=True))
            assert value.item() == pytest.approx(expected, rel=1e-4), (name, scales)


def test_distillation_losses_vanish_where_student_and_teacher_agree(cfg, make_batch, storage):
    """Words are paired one to one: at full size nothing is left of images 0 and 2, at 0.4 all of image 1."""
    model = awaken(build(cfg))
    model.student.load_state_dict(model.teacher.state_dict())
    batch = make_batch(*MIXED)
    annotated, targets = parts(model, batch)

    def losses(scales, chosen=(0, 1, 2)):
        some, said = parts(model, [batch[i] for i in chosen])
        return model.train_student(some, scales, said)

    whole, mixed, alone = losses([1.0] * 3), losses([1.0, 0.4, 1.0]), losses([0.4], chosen=(1,))
    for name in ("loss_kd_roi", "loss_kd_context"):
        assert whole[name].item() == pytest.approx(0, abs=1e-10)
        assert alone[name] > 1e-6
        assert mixed[name].item() == pytest.approx(alone[name].item() / 5, rel=1e-4)  # one word of five
    assert whole["loss_kd_sequence"] > 0, "cross entropy: the teacher is not certain of its own reading"
    swapped = targets._replace(roi=targets.roi.flip(0), context=targets.context.flip(0))
    crossed = model.train_student(annotated, [1.0] * 3, swapped)
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
    assert not model.distills and not model.selects and ask(model, batch) is None
    assert set(model(batch)) == DETECTION | READING


def test_right_beams_leave_out_the_words_that_the_teacher_misreads(cfg, make_batch, storage):
    """What the others add is what they added before: a mean over all words of the batch."""
    model = build(cfg, "MODEL.DISTILLATION.SEQUENCE_TARGETS", "right_beams")
    annotated, targets = parts(model, make_batch(*MIXED))

    def loss(*right):
        correct = torch.tensor([bool(i in right) for i in range(5)])
        return model.train_student(annotated, [1.0, 0.4, 1.0], targets._replace(correct=correct))["loss_kd_sequence"]

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


def test_beams_of_the_ctc_head(cfg, make_batch, storage):
    """They take the place of the decoder's; the teacher's other targets stay, and every loss is finite."""
    model = awaken(build(cfg, "MODEL.DISTILLATION.BEAMS", "ctc"))
    with torch.no_grad():
        model.teacher.roi_heads.recognizer.ctc_head.weight.mul_(20)  # sure enough that its beams are no ties
    annotated, targets = parts(model, make_batch(*MIXED))
    features = read_annotated(model.teacher, annotated, 1.0).features
    head = model.teacher.roi_heads.recognizer.ctc_head
    expected = ctc_beam_search(head(features.columns), num_sequences=3, beam_width=3, max_length=10)
    assert all(torch.equal(a, b) for a, b in zip(targets.beams, expected, strict=True))
    model.beams = "attention"
    other = model.ask_teacher(annotated)
    assert not torch.equal(other.beams.log_probabilities, targets.beams.log_probabilities)
    for name in ("roi", "context", "logits", "correct"):
        assert torch.equal(getattr(other, name), getattr(targets, name))
    model.beams = "ctc"
    losses = model.train_student(annotated, [1.0, 0.4, 1.0], targets)
    assert all(torch.isfinite(v) for v in losses.values()) and losses["loss_kd_sequence"] > 0
    sum(losses.values()).backward()
    assert all(torch.isfinite(p.grad).all() for p in model.student.parameters() if p.grad is not None)
    model(make_batch(((), ())))  # no words


def test_right_beams_of_the_ctc_head_are_those_whose_best_is_the_text(cfg, make_batch, storage):
    model = build(cfg, "MODEL.DISTILLATION.BEAMS", "ctc", "MODEL.DISTILLATION.SEQUENCE_TARGETS", "right_beams")
    annotated, targets = parts(model, make_batch(*MIXED))
    texts = annotated.texts  # "stone" "a" "Blue" "north" "42"
    beams = targets.beams._replace(
        ids=texts[:, None, :7].repeat(1, 3, 1),
        log_probabilities=torch.log(torch.tensor([0.5, 0.3, 0.1])).repeat(5, 1),
        valid=torch.ones(5, 3, dtype=torch.bool),
    )
    beams.ids[1, 0], beams.ids[3, 0, 0] = texts[0, :7], texts[0, 0] + 1
    # what the decoder reads does not count
    said = targets._replace(beams=beams, correct=torch.zeros(5, dtype=torch.bool))
    _, _, valid = model._sequences(said, torch.arange(5), texts)
    assert valid.all(1).tolist() == valid.any(1).tolist() == [True, False, True, False, True]
    assert model.train_student(annotated, [1.0, 0.4, 1.0], said)["loss_kd_sequence"] > 0


@pytest.mark.parametrize(
    ("opts", "message"),
    [
        (["MODEL.DISTILLATION.BEAMS", "best"], "MODEL.DISTILLATION.BEAMS must be one of attention, ctc, got 'best'"),
        (["MODEL.DISTILLATION.BEAMS", "ctc", "MODEL.RECOGNITION.CTC_WEIGHT", 0.0], "needs a teacher with a CTC head"),
        (
            ["MODEL.DISTILLATION.BEAMS", "ctc", "MODEL.DISTILLATION.SEQUENCE_TARGETS", "forced_top1"],
            "forced_top1 is of the decoder",
        ),
    ],
)
def test_beams_that_cannot_be_had_are_named(cfg, opts, message):
    with pytest.raises(ValueError, match=message):
        build(cfg, *opts)
