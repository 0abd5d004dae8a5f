"""Sequence distillation: numbers worked out by hand, and what each form converges to."""

import math

import pytest
import torch

from dld.modeling.losses.sequence_distillation import sequence_distillation_loss, sequence_log_probabilities

PAD = 3  # two characters and the end


def logits_of(probabilities):
    return torch.tensor(probabilities).log()


def one_word():
    """Two sequences: [1, 0] with p = .5 * .8 = .4, and [0] with p = .25; whatever stands behind the end is noise."""
    student = logits_of([[[[0.25, 0.5, 0.25], [0.8, 0.1, 0.1]], [[0.25, 0.5, 0.25], [0.01, 0.01, 0.98]]]])
    ids = torch.tensor([[[1, 0], [0, PAD]]])
    teacher = torch.tensor([[0.6, 0.2]]).log()
    return student, ids, teacher, torch.tensor([[True, True]])


def test_log_probability_of_a_sequence_is_the_sum_of_its_steps():
    student, ids, _, _ = one_word()
    torch.testing.assert_close(sequence_log_probabilities(student, ids, PAD), logits_of([[0.4, 0.25]]))


def test_weighted_by_hand():
    # teacher .6 and .2 are .75 and .25 of what the two beams hold; lengths 2 and 1
    student, ids, teacher, valid = one_word()
    loss = sequence_distillation_loss(student, ids, teacher, valid, PAD)
    assert loss.item() == pytest.approx(-(0.75 * math.log(0.4) / 2 + 0.25 * math.log(0.25)))
    loss = sequence_distillation_loss(student, ids, teacher, valid, PAD, per_character=False)
    assert loss.item() == pytest.approx(-(0.75 * math.log(0.4) + 0.25 * math.log(0.25)))


def test_paper_by_hand():
    student, ids, teacher, valid = one_word()
    for per_character in (True, False):
        loss = sequence_distillation_loss(student, ids, teacher, valid, PAD, "paper", per_character)
        assert loss.item() == pytest.approx(-math.log(0.4 + 0.25))


def test_paper_does_not_read_the_teachers_probabilities():
    student, ids, teacher, valid = one_word()
    loss = sequence_distillation_loss(student, ids, teacher, valid, PAD, "paper")
    assert torch.equal(loss, sequence_distillation_loss(student, ids, teacher.flip(1), valid, PAD, "paper"))


@pytest.mark.parametrize("form", ["weighted", "paper"])
def test_mean_over_the_words_that_have_a_valid_sequence(form):
    student, ids, teacher, _ = one_word()
    # the second word has only its first sequence, the third none: NaN and -inf where nothing is valid must not be read
    student = student.repeat(3, 1, 1, 1)
    student[2] = 7.0
    teacher = torch.cat([teacher, torch.tensor([[-5.0, -torch.inf], [torch.nan, -torch.inf]])])
    valid = torch.tensor([[True, True], [True, False], [False, False]])
    student.requires_grad_()
    loss = sequence_distillation_loss(student, ids.repeat(3, 1, 1), teacher, valid, PAD, form, per_character=False)
    first = -math.log(0.65) if form == "paper" else -(0.75 * math.log(0.4) + 0.25 * math.log(0.25))
    assert loss.item() == pytest.approx((first - math.log(0.4)) / 2)
    loss.backward()
    assert student.grad.isfinite().all()
    assert not student.grad[2].any() and not student.grad[1, 1].any()


@pytest.mark.parametrize("form", ["weighted", "paper"])
def test_padding_has_no_influence(form):
    student, ids, teacher, valid = one_word()
    changed = student.clone()
    changed[0, 1, 1] = torch.tensor([50.0, -50.0, 0.0])
    longer = torch.cat([changed, torch.randn(1, 2, 4, 3)], 2)
    longer_ids = torch.cat([ids, torch.full((1, 2, 4), PAD)], 2)
    a = sequence_distillation_loss(student, ids, teacher, valid, PAD, form)
    b = sequence_distillation_loss(longer, longer_ids, teacher, valid, PAD, form)
    torch.testing.assert_close(a, b)


@pytest.mark.parametrize("form", ["weighted", "paper"])
def test_no_words_cost_nothing_and_keep_the_graph(form):
    student = torch.zeros(0, 3, 0, 5, requires_grad=True)
    empty = torch.zeros(0, 3)
    loss = sequence_distillation_loss(student, empty.long().unsqueeze(-1)[..., :0], empty, empty.bool(), 5, form)
    assert loss.item() == 0
    loss.backward()
    assert student.grad is not None


@pytest.mark.parametrize("form", ["weighted", "paper"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_long_improbable_words_stay_finite(form, dtype):
    # 32 characters and the end, 1e-30 each: the product is 1e-990, far below the smallest float
    ids = torch.ones(1, 3, 33, dtype=torch.int64)
    student = torch.zeros(1, 3, 33, 3, dtype=dtype)
    student[..., 1] = 30 * math.log(0.1)
    student[..., 2] = -200.0
    student.requires_grad_()
    teacher = torch.tensor([[-2000.0, -2001.0, -2002.0]])
    loss = sequence_distillation_loss(student, ids, teacher, torch.ones(1, 3, dtype=torch.bool), PAD, form, per_character=False)
    expected = 33 * 30 * math.log(10) - (math.log(3) if form == "paper" else 0)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(expected, rel=1e-6 if dtype == torch.float32 else 2e-3)
    loss.backward()
    assert student.grad.isfinite().all() and student.grad.any()


@pytest.mark.parametrize("form", ["weighted", "paper"])
def test_a_step_down_the_gradient_makes_the_teachers_sequences_more_probable(form):
    torch.manual_seed(0)
    student = torch.randn(4, 3, 5, 7, requires_grad=True)
    ids = torch.randint(0, 7, (4, 3, 5))
    teacher, valid = torch.randn(4, 3), torch.ones(4, 3, dtype=torch.bool)
    sequence_distillation_loss(student, ids, teacher, valid, 7, form).backward()
    rewarded = student.grad.gather(-1, ids.unsqueeze(-1)).squeeze(-1)
    assert (rewarded < 0).all()
    torch.testing.assert_close(student.grad.sum(-1), torch.zeros(4, 3, 5))  # what they gain the others lose


def distil_categorical(form, start, steps=500, rate=3.0):
    """A student that knows four words of one symbol, three of them the teacher's beams .90 .07 .03."""
    logits = logits_of(start).requires_grad_()
    ids = torch.tensor([[[0], [1], [2]]])
    teacher, valid = logits_of([[0.90, 0.07, 0.03]]), torch.ones(1, 3, dtype=torch.bool)
    for _ in range(steps):
        loss = sequence_distillation_loss(logits.expand(1, 3, 1, 4), ids, teacher, valid, 4, form)
        (gradient,) = torch.autograd.grad(loss, logits)
        logits = (logits - rate * gradient).detach().requires_grad_()
    return logits.softmax(-1).tolist()


def test_weighted_form_ends_at_the_teachers_distribution_from_anywhere():
    for start in ([0.25] * 4, [0.01, 0.04, 0.8, 0.15]):
        assert distil_categorical("weighted", start)[:3] == pytest.approx([0.90, 0.07, 0.03], abs=2e-3)


def test_paper_form_keeps_the_students_preference_among_the_beams():
    # a student that prefers the teacher's third beam ends with almost everything on it
    end = distil_categorical("paper", [0.01, 0.04, 0.8, 0.15])
    assert end[2] > 0.9 and end[0] < 0.02
    assert end[3] < 0.01  # only the mass outside the beams is gone


def test_unknown_form_is_named():
    with pytest.raises(ValueError, match="'product'"):
        sequence_distillation_loss(*one_word(), PAD, "product")
