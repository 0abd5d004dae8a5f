"""Corners of characters: from the annotation file, or spread along a word's sides, to the tensors that are trained on."""

import json

import numpy as np
import pytest
import torch

from dld.data.annotation import ImageAnnotation, TextAnnotation, read_annotations, to_dataset_dict, write_annotations
from dld.data.dataset_check import check_annotations, dataset_statistics
from dld.data.dataset_mapper import TextDatasetMapper
from dld.modeling.resolution.rescale import rescale_instances
from dld.structures.sides import spread_characters, word_sides
from dld.structures.tall import LYING
from dld.text.charset import Charset

WORD = np.array([[20.0, 30], [100, 30], [100, 50], [20, 50]], np.float32)
# i is narrow, W is wide
EDGES = np.array([20.0, 60, 68, 80, 100], np.float32)
CHARACTERS = np.stack([np.array([[a, 30], [b, 30], [b, 50], [a, 50]]) for a, b in zip(EDGES[:-1], EDGES[1:], strict=True)])


def mapped(characters=CHARACTERS, text="Wind", polygon=WORD, most=6, spread=True, **options):
    image = np.zeros((100, 160, 3), np.uint8)
    annotation = {"polygon": polygon, "text": text, "ignore": False}
    if characters is not None:
        annotation["characters"] = characters
    mapper = TextDatasetMapper(
        is_train=True,
        charset=Charset.default(),
        max_length=10,
        short_sides=(50,),
        longest=200,
        side_points=2,
        characters=most,
        characters_spread=spread,
        **options,
    )
    return mapper({"image": image, "image_id": "a", "annotations": [annotation]}, np.random.default_rng(3))["instances"]


def test_quadrangles_stand_in_the_order_of_the_text_in_pixels_of_the_input():
    words = mapped()
    points = words.gt_characters.points
    assert points.shape == (1, 24, 2) and points.dtype == torch.float32
    np.testing.assert_allclose(points.view(6, 4, 2)[:4].numpy(), CHARACTERS * 0.5, atol=1e-4)
    assert torch.isnan(points.view(6, 4, 2)[4:]).all()
    smaller = rescale_instances(words, (25, 40))
    torch.testing.assert_close(smaller.gt_characters.points, points * 0.5, equal_nan=True)


@pytest.mark.parametrize("seed", range(3))
def test_they_go_with_the_image_through_rotation_crop_and_scale(seed):
    words = mapped(rotation=25.0)
    top, bottom = words.gt_fiducials.points[0].view(2, 2, 2)
    quads = words.gt_characters.points[0].view(6, 4, 2)[:4]
    share = torch.tensor((EDGES - 20) / 80)[:, None]
    upper, lower = (side[0] + share * (side[1] - side[0]) for side in (top, bottom))
    expected = torch.stack([upper[:-1], upper[1:], lower[1:], lower[:-1]], 1)
    torch.testing.assert_close(quads, expected, atol=1e-3, rtol=0)
    assert abs(float(top[1, 1] - top[0, 1])) > 1, "else it did not turn"


def test_a_word_that_reads_downwards_keeps_the_order_of_its_text():
    polygon = np.array([[50.0, 10], [50, 90], [30, 90], [30, 10]], np.float32)  # its top side is on the right
    quads = mapped(None, polygon=polygon).gt_characters.points[0].view(6, 4, 2)[:4]
    middles = quads.mean(1)
    assert (torch.diff(middles[:, 1]) > 5).all() and torch.allclose(middles[:, 0], torch.tensor(20.0), atol=1e-3)
    unaware = np.array([[30.0, 10], [50, 10], [50, 90], [30, 90]], np.float32)  # the corners of its box
    torch.testing.assert_close(mapped(None, polygon=unaware).gt_characters.points[0].view(6, 4, 2)[:4], quads)


def test_unknown_characters_are_spread_along_the_sides_or_missing():
    quads = mapped(None).gt_characters.points.view(6, 4, 2)
    np.testing.assert_allclose(quads[:4].mean(1)[:, 0].numpy(), [15, 25, 35, 45], atol=1e-4)
    np.testing.assert_allclose(quads[1].numpy(), [[20, 15], [30, 15], [30, 25], [20, 25]], atol=1e-4)
    assert torch.isnan(quads[4:]).all()
    assert torch.isnan(mapped(None, spread=False).gt_characters.points).all()
    triangle = np.array([[20.0, 30], [100, 30], [60, 80]], np.float32)
    assert torch.isnan(mapped(None, polygon=triangle).gt_characters.points).all()
    assert torch.isnan(mapped(text="\u4e2d\u4e2d\u4e2d\u4e2d").gt_characters.points).all(), "outside the charset: don't care"


def test_spread_characters_stand_at_equal_steps_along_an_arc():
    angle = np.linspace(-np.pi / 2, np.pi / 2, 40)
    arc = np.stack([np.sin(angle), -np.cos(angle)], 1)
    quads = spread_characters(np.concatenate([100 * arc, 80 * arc[::-1]]), 6)
    middles = quads.mean(1)
    found = np.arctan2(middles[:, 0], -middles[:, 1])
    np.testing.assert_allclose(found, (np.arange(6) + 0.5) / 6 * np.pi - np.pi / 2, atol=0.01)
    sides = word_sides(np.concatenate([100 * arc, 80 * arc[::-1]]), 7)
    np.testing.assert_allclose(quads[:, 0], sides[0, :-1])
    np.testing.assert_allclose(quads[:, 2], sides[1, 1:])


def test_the_first_count_where_a_word_has_more_than_asked_for():
    quads = mapped(most=3).gt_characters.points.view(3, 4, 2)
    np.testing.assert_allclose(quads.numpy(), CHARACTERS[:3] * 0.5, atol=1e-4)


def test_nothing_is_made_where_nothing_asks_for_it():
    assert not mapped(most=0).has("gt_characters")
    with pytest.raises(ValueError, match="INPUT.CHARACTERS must be at least 0, got -1"):
        mapped(most=-1)


def test_an_image_without_words_has_none():
    mapper = TextDatasetMapper(
        is_train=True, charset=Charset.default(), max_length=10, short_sides=(50,), longest=200, characters=5
    )
    image = np.zeros((100, 160, 3), np.uint8)
    words = mapper({"image": image, "image_id": "a", "annotations": []}, np.random.default_rng(3))["instances"]
    assert words.gt_characters.points.shape == (0, 20, 2)


@pytest.mark.parametrize("bad", [CHARACTERS[:3], np.where(CHARACTERS == 60, np.nan, CHARACTERS)])
def test_characters_of_another_number_or_nowhere_are_named(bad):
    with pytest.raises(ValueError, match=r"image a: the characters of 'Wind' must be 4 x 4 finite points"):
        mapped(bad)


def signs(*words):
    return [ImageAnnotation("a.jpg", "a", 160, 100, list(words))]


def test_a_file_keeps_them_and_what_has_none_has_none(tmp_path):
    with_them = TextAnnotation(WORD.astype(float), "Wind", characters=CHARACTERS + 0.25)
    write_annotations(tmp_path / "a.json", signs(with_them, TextAnnotation(WORD.astype(float), "Wind")), "a")
    (image,) = read_annotations(tmp_path / "a.json")
    np.testing.assert_array_equal(image.words[0].characters, CHARACTERS + 0.25)
    assert image.words[1].characters is None
    first, second = to_dataset_dict(image, "")["annotations"]
    assert first["characters"].dtype == np.float32 and "characters" not in second
    assert dataset_statistics([image])["with_characters"] == 1


@pytest.mark.parametrize(
    "bad, message",
    [
        (CHARACTERS[:3].tolist(), "expected four points for each of the 4 characters of the text, got 3 of them"),
        ("here", "expected four points for each of the 4 characters of the text, got 'here'"),
        ([[[1, 2]] * 3] * 4, r"expected four points \[x, y\] of numbers within 1,000,000, got \[\[1, 2\]"),
        ([[[1, 2]] * 3 + [[float("nan"), 2]]] * 4, "expected four points"),
        ([[[1, 2]] * 3 + [[1, 2, 3]]] * 4, "expected four points"),
        ([7] * 4, r"expected four points \[x, y\] of numbers within 1,000,000, got 7"),
    ],
)
def test_a_file_with_bad_characters_says_where(tmp_path, bad, message):
    word = {"polygon": WORD.tolist(), "text": "Wind", "characters": bad}
    image = {"file_name": "a.jpg", "width": 160, "height": 100, "words": [word]}
    (tmp_path / "a.json").write_text(json.dumps({"schema": "dld-text/1", "images": [image]}))
    with pytest.raises(ValueError, match=r"a\.json: images\[0\]\.words\[0\]\.characters: " + message):
        read_annotations(tmp_path / "a.json")


def test_characters_in_another_place_than_their_word_are_found(tmp_path):
    for shift, kinds in ((0.0, []), (60.0, ["characters_elsewhere"])):
        word = TextAnnotation(WORD.astype(float), "Wind", characters=CHARACTERS + [0, shift])
        write_annotations(tmp_path / "a.json", signs(word), "a")
        found, _ = check_annotations(tmp_path / "a.json", tmp_path, lambda c: True, decode_images=False)
        assert [finding.kind for finding in found] == kinds


def test_annotated_characters_are_told_from_spread_ones():
    assert mapped().gt_characters_known.tolist() == [True] and mapped(None).gt_characters_known.tolist() == [False]
    assert mapped(text="\u4e2d\u4e2d\u4e2d\u4e2d").gt_characters_known.tolist() == [False], "a don't-care word has none"


def test_anchors_are_the_middles_of_characters_and_move_with_them():
    still = mapped()
    middles = still.gt_characters.points.view(6, 4, 2).mean(1)
    torch.testing.assert_close(still.gt_read_anchors.points[0], middles, equal_nan=True)
    moved = mapped(anchor_jitter=0.2).gt_read_anchors.points[0, :4] - middles[:4]
    # sides in the input: 20, 4, 6 and 10 pixels wide, 10 high
    reach = 0.2 * torch.tensor([10.0, 4, 6, 10])[:, None]
    assert (moved.abs() <= reach + 1e-4).all() and (moved.abs() > 0.02 * reach).any(1).all()
    torch.testing.assert_close(rescale_instances(still, (25, 40)).gt_read_anchors.points[0], middles / 2, equal_nan=True)
    with pytest.raises(ValueError, match="ANCHORS.JITTER must be at least 0"):
        mapped(anchor_jitter=-0.1)


def test_the_form_of_a_view_is_chosen_once():
    words = mapped()
    assert words.gt_view.tolist() == [LYING]
    # as wide as high by now
    assert rescale_instances(words, (50, 20)).gt_view.tolist() == [LYING]
