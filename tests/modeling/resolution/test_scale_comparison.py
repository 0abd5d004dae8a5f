import math

import pytest
import torch

from dld.modeling.resolution.scale_comparison import ScaleComparison, ScaleWords, reading_lost


def test_the_probability_of_the_text_that_is_lost():
    """Two characters and the end: the teacher reads it with .9 x .8 x .5, the student with .5 x .8 x .5."""

    def logits(*probabilities):
        rows = [[math.log((1 - p) / 2)] * 3 for p in probabilities]
        for row, i, p in zip(rows, (1, 2, 0), probabilities, strict=True):
            row[i] = math.log(p)
        return torch.tensor(rows)

    pad = 9
    ids = torch.tensor([[1, 2, 0], [1, 2, 0], [1, pad, pad]])
    teacher = torch.stack([logits(0.9, 0.8, 0.5)] * 3)
    student = torch.stack([logits(0.5, 0.8, 0.5), logits(0.95, 0.9, 0.9), logits(0.3, 0.1, 0.1)])
    # a student that reads better loses nothing; nothing after the end counts
    assert reading_lost(student, teacher, ids, pad).tolist() == pytest.approx([0.16, 0.0, 0.6], abs=1e-6)
    # what is not found is not read
    found = torch.tensor([True, False, False])
    assert reading_lost(student, teacher, ids, pad, found).tolist() == pytest.approx([0.16, 0.36, 0.9], abs=1e-6)


def comparison(first, count, words=True):
    index = torch.arange(first, first + count)
    table = index[:, None].float().expand(count, 2)
    found = [ScaleWords(torch.zeros(int(i), 4), torch.full((int(i), 2), float(i))) for i in index]
    return ScaleComparison(table, table * 2, index > 0, found if words else None)


def test_rows_and_parts_keep_each_images_words():
    whole = ScaleComparison.cat([comparison(0, 3), comparison(3, 2)])
    assert [len(x.boxes) for x in whole.words] == [0, 1, 2, 3, 4] and whole.kl[:, 0].tolist() == [0, 1, 2, 3, 4]
    some = whole.rows([4, 1]).to(torch.device("cpu"))
    assert some.cost[:, 0].tolist() == [8, 2] and [x.loss.sum().item() for x in some.words] == [32, 2]
    assert ScaleComparison.cat([comparison(0, 1), comparison(1, 1, words=False)]).words is None
    assert comparison(0, 2, words=False).rows([1]).to(torch.device("cpu")).words is None
