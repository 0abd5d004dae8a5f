"""Strips that are sampled on the device are those that are cut from the photo."""

import cv2
import numpy as np
import pytest
import torch

from dld.modeling.recognition.word_strips import WordStrips
from dld.strips.cutting import PhotoPyramid, cut_strips, strip_widths, word_heights
from dld.strips.grouping import padded_widths
from dld.strips.heights import FORMS, MARGIN, STRIP_ROWS


def photo(height=160, width=320, seed=0) -> np.ndarray:
    """A smooth picture: what is left of noise after a blur."""
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)
    return cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 4), None, 0, 255, cv2.NORM_MINMAX)


def batch(*photos: np.ndarray, divisibility=64) -> tuple[torch.Tensor, list[tuple[int, int]]]:
    sizes = [p.shape[:2] for p in photos]
    side = [-(-max(s[k] for s in sizes) // divisibility) * divisibility for k in (0, 1)]
    tensor = torch.zeros(len(photos), 3, *side)
    for row, p in zip(tensor, photos, strict=True):
        row[:, : p.shape[0], : p.shape[1]] = torch.from_numpy(p.transpose(2, 0, 1).astype(np.float32))
    return tensor, sizes


def level_sides(box, n=5) -> np.ndarray:
    x = np.linspace(box[0], box[2], n)
    return np.stack([np.stack([x, np.full(n, y)], 1) for y in (box[1], box[3])])


def arc(centre, radius, height, start, end, n=9) -> np.ndarray:
    angle = np.linspace(start, end, n)
    ray = np.stack([np.cos(angle), np.sin(angle)], 1)
    return np.stack([np.array(centre) + ray * r for r in (radius + height / 2, radius - height / 2)])


def cut(tensor, sizes, sides, image, rows, **options) -> tuple[list[np.ndarray], torch.Tensor]:
    widths = strip_widths(sides, word_heights(sides))
    strips, own = WordStrips(tensor, sizes, **options).cut(
        torch.from_numpy(sides).float(), torch.tensor(image), torch.from_numpy(widths), rows, int(padded_widths(widths).max())
    )
    columns = FORMS[rows].columns(widths)
    assert torch.equal(own.sum(1), torch.from_numpy(columns))
    assert not strips[~own[:, None, None].expand_as(strips)].any()
    return [s[:, :, :c].permute(1, 2, 0).numpy() for s, c in zip(strips, columns.tolist(), strict=True)], strips


@pytest.mark.parametrize("rows", sorted(FORMS))
def test_they_are_the_strips_of_inference(rows):
    photos = photo(), photo(131, 250, seed=1)
    sides = np.stack(
        [
            level_sides((20, 30, 150, 62), 9),  # about as large as the strip
            arc((160, 190), 120, 24, -2.4, -0.8),  # bent, to be enlarged
            level_sides((4, 4, 310, 150), 9),  # to be shrunk
            level_sides((-20, 60, 90, 88), 9),  # begins outside
            arc((125, 40), 70, 30, 2.6, 0.5),  # upside down
        ]
    )
    image = [0, 0, 0, 1, 1]
    found, _ = cut(*batch(*photos), sides, image, rows)
    for i, strip in enumerate(found):
        wanted = cut_strips(PhotoPyramid(photos[image[i]]), sides[i : i + 1], np.array([rows]))[0]
        assert strip.shape == wanted.shape
        # OpenCV rounds places to 1/32 of a pixel and values to whole numbers
        difference = np.abs(np.clip(strip, 0, 255) - wanted)
        assert difference.mean() < 1.5 and difference.max() < 8, i


def test_a_straight_word_is_a_plain_resize():
    picture = photo()
    box = (40, 30, 240, 70)  # 200 x 40: a pixel of the photo is one of the strip
    found, _ = cut(*batch(picture), level_sides(box)[None], [0], STRIP_ROWS)
    text = found[0][MARGIN : STRIP_ROWS - MARGIN, MARGIN:-MARGIN]
    np.testing.assert_allclose(text / 255, picture[30:70, 40:240] / 255, atol=1e-2)


def test_an_arc_of_text_comes_out_straight():
    text = np.full((40, 240, 3), 255, np.uint8)
    cv2.putText(text, "straight", (8, 30), cv2.FONT_HERSHEY_SIMPLEX, 1.3, (0, 0, 0), 3, cv2.LINE_AA)
    # the word bent round a circle: each pixel of the picture looks up its angle and radius
    centre, radius = np.array([160.0, 220.0]), 140.0
    y, x = np.mgrid[0:300, 0:320].astype(np.float32) + 0.5
    angle, distance = np.arctan2(y - centre[1], x - centre[0]), np.hypot(y - centre[1], x - centre[0])
    start, end = -np.pi / 2 - 240 / radius / 2, -np.pi / 2 + 240 / radius / 2
    u, v = (angle - start) / (end - start) * 240 - 0.5, radius + 20 - distance - 0.5
    bent = cv2.remap(
        text,
        u.astype(np.float32),
        v.astype(np.float32),
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=(255, 255, 255),
    )
    found, _ = cut(*batch(bent), arc(centre, radius, 40, start, end, 33)[None], [0], STRIP_ROWS)
    straight = cv2.resize(found[0][MARGIN : STRIP_ROWS - MARGIN, MARGIN:-MARGIN], (240, 40), interpolation=cv2.INTER_AREA)
    assert np.corrcoef(straight[..., 0].ravel(), text[..., 0].ravel())[0, 1] > 0.95


@pytest.mark.parametrize("rows", [48, 16])
def test_a_spline_cuts_straight_words_as_the_blend_does(rows):
    tensor, sizes = batch(photo())
    sides = np.stack([level_sides((20, 30, 150, 62), 7), level_sides((60, 20, 220, 80), 7)])
    blended, splined = (cut(tensor, sizes, sides, [0, 0], rows, how=how)[0] for how in ("blend", "tps"))
    for a, b in zip(blended, splined, strict=True):
        np.testing.assert_allclose(a / 255, b / 255, atol=1e-2)


def test_a_feature_map_is_cut_as_its_image_is():
    tensor, sizes = batch(photo())
    features = torch.nn.functional.avg_pool2d(tensor, 4)
    sides = np.stack([level_sides((20, 20, 220, 140), 9), arc((160, 200), 110, 64, -2.2, -1.0)])
    on_image, _ = cut(tensor, sizes, sides, [0, 0], 16)
    on_features, _ = cut(features, sizes, sides, [0, 0], 16, stride=4)
    for a, b in zip(on_image, on_features, strict=True):
        assert np.corrcoef(a.ravel(), b.ravel())[0, 1] > 0.95


def test_gradients_reach_sides_and_images():
    tensor, sizes = batch(photo())
    sides = torch.from_numpy(arc((160, 190), 120, 24, -2.4, -0.8)[None]).float().requires_grad_()
    tensor.requires_grad_()
    strips, _ = WordStrips(tensor, sizes).cut(sides, torch.tensor([0]), torch.tensor([300]), 32, 416)
    strips.square().sum().backward()
    assert torch.isfinite(sides.grad).all() and bool((sides.grad.abs().sum(-1) > 0).all())
    assert bool((tensor.grad != 0).any())


def test_one_word_is_cut_the_same_alone_and_among_others():
    tensor, sizes = batch(photo(), photo(131, 250, seed=1))
    sides = np.stack([level_sides((20, 30, 150, 62), 9), level_sides((10, 10, 60, 30), 9)])
    both, _ = cut(tensor, sizes, sides, [0, 1], 32)
    for i in (0, 1):
        alone, _ = cut(tensor, sizes, sides[i : i + 1], [i], 32)
        np.testing.assert_allclose(alone[0], both[i], atol=1e-4)


def test_words_of_an_image_and_a_level_are_sampled_in_one_call(monkeypatch):
    calls, sample = [], torch.nn.functional.grid_sample
    monkeypatch.setattr(torch.nn.functional, "grid_sample", lambda *args, **kwargs: calls.append(1) or sample(*args, **kwargs))
    tensor, sizes = batch(photo(), photo(131, 250, seed=1))
    alike = np.stack([level_sides((10 + k, 20 + k, 90 + k, 40 + k), 5) for k in range(40)])
    cut(tensor, sizes, alike[:2], [0, 1], 48)
    cut(tensor, sizes, alike, [k % 2 for k in range(40)], 48)
    assert len(calls) == 2 + 2


def test_another_way_to_straighten_is_refused():
    with pytest.raises(ValueError, match="strips are straightened by blend.*, got 'bend'"):
        WordStrips(*batch(photo()), how="bend")
