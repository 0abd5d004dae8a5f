"""Feature and character distances between student and teacher, with numbers worked out by hand."""

import math

import pytest
import torch

from dld.modeling.losses.feature_distillation import (
    character_kl,
    context_feature_loss,
    image_kl,
    roi_feature_loss,
)

LOSSES = pytest.mark.parametrize(
    ("loss", "shape"), [(roi_feature_loss, (2, 3, 4, 5)), (context_feature_loss, (2, 7, 3))], ids=["roi", "context"]
)


@LOSSES
def test_mean_of_the_squared_differences(loss, shape):
    # one word of two is 3 away everywhere, the other equal
    student = torch.randn(shape)
    teacher = student.clone()
    teacher[1] += 3
    assert loss(student, teacher).item() == pytest.approx(4.5)


@LOSSES
def test_gradient_reaches_the_student_only(loss, shape):
    student, teacher = torch.ones(shape, requires_grad=True), torch.zeros(shape, requires_grad=True)
    loss(student, teacher).backward()
    assert teacher.grad is None
    torch.testing.assert_close(student.grad, torch.full(shape, 2 / math.prod(shape)))


@LOSSES
def test_no_words_cost_nothing_and_keep_the_graph(loss, shape):
    student = torch.zeros(0, *shape[1:], requires_grad=True)
    value = loss(student, torch.zeros(0, *shape[1:]))
    assert value.item() == 0
    value.backward()
    assert student.grad is not None


@LOSSES
def test_half_precision_is_compared_in_float32(loss, shape):
    # the square of 300 does not fit into float16
    student = torch.full(shape, 300.0, dtype=torch.float16)
    value = loss(student, torch.zeros(shape))
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(90000)


@LOSSES
def test_different_words_are_not_broadcast(loss, shape):
    with pytest.raises(ValueError, match=r"differ in shape: MODEL\.DISTILLATION\.\w+_WEIGHT 0"):
        loss(torch.zeros(1, *shape[1:]), torch.zeros(shape))


def test_kl_by_hand():
    # teacher (.5, .5) against student (.9, .1): .5 log(.5/.9) + .5 log(.5/.1) = .5108; the second step agrees
    teacher = torch.tensor([[[0.5, 0.5], [0.2, 0.8]]]).log()
    student = torch.tensor([[[0.9, 0.1], [0.2, 0.8]]]).log()
    expected = 0.5 * math.log(0.5 / 0.9) + 0.5 * math.log(0.5 / 0.1)
    both = torch.tensor([[True, True]])
    assert character_kl(student, teacher, both).tolist() == pytest.approx([expected / 2])
    assert character_kl(student, teacher, torch.tensor([[True, False]])).tolist() == pytest.approx([expected])
    # the direction matters: KL(student || teacher) is .9 log 1.8 + .1 log .2 = .3681
    swapped = character_kl(teacher, student, torch.tensor([[True, False]]))
    assert swapped.tolist() == pytest.approx([0.9 * math.log(1.8) + 0.1 * math.log(0.2)])


def test_kl_is_zero_for_equal_distributions_and_positive_otherwise():
    torch.manual_seed(0)
    a, b = torch.randn(5, 4, 9), torch.randn(5, 4, 9)
    mask = torch.ones(5, 4, dtype=torch.bool)
    torch.testing.assert_close(character_kl(a + 11, a, mask), torch.zeros(5), atol=1e-6, rtol=0)  # logits up to a shift
    assert (character_kl(a, b, mask) > 0).all()


def test_kl_counts_valid_steps_of_each_word_alone():
    torch.manual_seed(0)
    student, teacher = torch.randn(3, 4, 6), torch.randn(3, 4, 6)
    mask = torch.tensor([[True] * 4, [True, True, False, False], [False] * 4])
    student[1, 2:] = torch.nan  # padding steps are never read
    value = character_kl(student, teacher, mask)
    short = character_kl(student[1:2, :2], teacher[1:2, :2], mask[1:2, :2])
    assert value[1] == short[0]
    assert value[2] == 0


def test_kl_of_certain_and_opposite_readers_is_finite():
    teacher, student = torch.tensor([[[0.0, -200.0]]]), torch.tensor([[[-200.0, 0.0]]], dtype=torch.bfloat16)
    value = character_kl(student, teacher, torch.tensor([[True]]))
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(200)


def test_kl_gradient_pulls_the_student_to_the_teacher():
    student = torch.zeros(1, 1, 2, requires_grad=True)
    teacher = torch.tensor([[[0.9, 0.1]]]).log().requires_grad_()
    character_kl(student, teacher, torch.tensor([[True]])).sum().backward()
    # gradient of the cross entropy: softmax(student) - p_teacher
    torch.testing.assert_close(student.grad, torch.tensor([[[-0.4, 0.4]]]))
    assert teacher.grad is None


def test_image_mean_over_counted_words():
    per_word = torch.tensor([1.0, 3.0, 10.0, 4.0, 7.0])
    image_index = torch.tensor([2, 2, 2, 0, 1])
    counted = torch.tensor([True, True, False, True, False])
    means, has_words = image_kl(per_word, image_index, 4, counted)
    assert means.tolist() == [4, 0, 2, 0]
    assert has_words.tolist() == [True, False, True, False]


def test_a_word_that_does_not_count_may_be_broken():
    means, _ = image_kl(torch.tensor([2.0, torch.nan]), torch.tensor([0, 0]), 1, torch.tensor([True, False]))
    assert means.tolist() == [2]


def test_no_words_in_any_image():
    per_word = character_kl(torch.zeros(0, 3, 5), torch.zeros(0, 3, 5), torch.zeros(0, 3, dtype=torch.bool))
    means, has_words = image_kl(per_word, torch.zeros(0, dtype=torch.int64), 2, torch.zeros(0, dtype=torch.bool))
    assert means.tolist() == [0, 0]
    assert has_words.tolist() == [False, False]
