"""Words from arrays are the words that the network's own post-processing makes of the same numbers."""

import numpy as np
import torch
from detectron2.structures import Boxes, Instances

from dld.modeling.postprocess import spotting_postprocess
from dld.runtime.found_words import Found, words_of
from dld.text.charset import Charset


def test_equal_to_the_networks_post_processing():
    """Five words: a plain one, one over the border, one outside, one that never ends, an empty one."""
    charset, T = Charset("abc"), 4
    found = Found(
        boxes=np.array([[4, 4, 30, 12], [70, 5, 99, 20], [90, 60, 95, 70], [5, 20, 20, 50], [1, 1, 9, 9]], np.float32),
        scores=np.array([0.9, 0.8, 0.7, 0.6, 0.5], np.float32),
        masks=np.random.default_rng(0).uniform(size=(5, 28, 28)).astype(np.float32).cumsum(2) / 28,
        ids=np.array([[1, 2, 0, 0, 0], [3, 4, 1, 0, 0], [1, 0, 0, 0, 0], [1, 1, 2, 2, 3], [0, 0, 0, 0, 0]]),
        probabilities=np.random.default_rng(1).uniform(size=(5, T + 1)).astype(np.float32),
    )
    instances = Instances((60, 80))
    instances.pred_boxes, instances.scores = Boxes(torch.from_numpy(found.boxes)), torch.from_numpy(found.scores)
    instances.pred_classes, instances.pred_masks = torch.zeros(5), torch.from_numpy(found.masks)[:, None]
    instances.pred_ids, instances.pred_id_scores = torch.from_numpy(found.ids), torch.from_numpy(found.probabilities)
    wanted = spotting_postprocess(instances, 133, 170, charset)
    words = words_of(found, (60, 80), (133, 170), charset.characters)
    # id 4 is the start symbol, which stands for no character
    assert [w.text for w in words] == wanted.pred_texts == ["ab", "ca", "aabb", ""]
    assert [w.char_scores for w in words] == wanted.pred_char_scores
    np.testing.assert_array_equal([w.score for w in words], wanted.scores.numpy())
    for word, polygon in zip(words, wanted.pred_polygons, strict=True):
        np.testing.assert_allclose(word.polygon, polygon, atol=1e-4)

    surely = spotting_postprocess(instances, 133, 170, charset, 0.5)
    assert 0 < len(surely) < 4
    assert [w.text for w in words_of(found, (60, 80), (133, 170), charset.characters, 0.5)] == surely.pred_texts


def test_no_words():
    none = Found(np.zeros((0, 4)), np.zeros(0), np.zeros((0, 1, 1), np.float32), np.zeros((0, 3), int), np.zeros((0, 3)))
    assert words_of(none, (60, 80), (60, 80), ("a",)) == []
