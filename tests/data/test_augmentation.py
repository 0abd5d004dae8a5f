import cv2
import numpy as np
import pytest

from dld.data.augmentation import AffineView, TextCrop, color_jitter, resized_shape, rotation_matrix

FILL = (104, 116, 124)


def dot_image(x, y, height=120, width=160):
    """Black but for a white square of 5 x 5 pixels whose center is x, y (continuous coordinates: x.5)."""
    image = np.zeros((height, width, 3), dtype=np.uint8)
    cx, cy = int(x), int(y)
    image[cy - 2 : cy + 3, cx - 2 : cx + 3] = 255
    return image


def center_of_mass(image):
    weights = image[..., 0].astype(float)
    y, x = np.mgrid[: image.shape[0], : image.shape[1]] + 0.5
    return np.array([(x * weights).sum(), (y * weights).sum()]) / weights.sum()


@pytest.mark.parametrize("degrees", [0, 10, -15, 90])
@pytest.mark.parametrize("scale", [0.5, 1.0, 1.7])
def test_polygons_go_where_the_pixels_go(degrees, scale):
    rotation = rotation_matrix(degrees, 120, 160)
    size = (round(110 * scale), round(150 * scale))
    view = AffineView.of_window(rotation, (7.0, 4.0, 157.0, 114.0), scale, size)
    for x, y in ((80.5, 60.5), (60.5, 40.5), (110.5, 75.5)):
        found = center_of_mass(view.pixels(dot_image(x, y), (0, 0, 0)))
        np.testing.assert_allclose(view.points(np.array([x, y])), found, atol=0.15)


def test_without_rotation_and_window_an_image_is_itself():
    image = np.random.default_rng(0).integers(0, 256, (31, 47, 3), dtype=np.uint8)
    view = AffineView.of_window(None, (0, 0, 47, 31), 1.0, (31, 47))
    np.testing.assert_array_equal(view.pixels(image, FILL), image)


def test_positive_degrees_turn_counter_clockwise_about_the_center():
    view = AffineView.of_window(rotation_matrix(90, 100, 200), (0, 0, 200, 100), 1.0, (100, 200))
    # the point right of the center moves up, y pointing down
    np.testing.assert_allclose(view.points(np.array([[100.0, 50], [130, 50]])), [[100, 50], [100, 20]], atol=1e-9)


@pytest.mark.parametrize("degrees", [-15, 0, 15])
def test_no_view_mirrors_text(degrees):
    view = AffineView.of_window(rotation_matrix(degrees, 50, 80), (5, 5, 60, 40), 0.7, (25, 39))
    assert np.linalg.det(view.matrix[:, :2]) == pytest.approx(0.49)


def test_shrinking_averages_what_plain_sampling_would_alias():
    stripes = np.zeros((240, 240, 3), dtype=np.uint8)
    stripes[:, ::3] = 255  # period 3: sampled at every fourth pixel it would come out as stripes again
    view = AffineView.of_window(None, (0, 0, 240, 240), 0.25, (60, 60))
    inner = view.pixels(stripes, FILL)[5:-5, 5:-5].astype(float)
    assert inner.mean() == pytest.approx(85, abs=3) and inner.std() < 5


def test_what_lies_outside_is_filled():
    view = AffineView.of_window(None, (-10, 0, 20, 10), 1.0, (10, 30))
    pixels = view.pixels(np.zeros((10, 20, 3), dtype=np.uint8), FILL)
    assert (pixels[:, :10] == FILL).all() and (pixels[:, 10:] == 0).all()


def test_short_side_unless_the_long_side_gets_too_long():
    assert resized_shape(480, 640, 240, 1000) == (240, 320)
    assert resized_shape(1080, 1920, 720, 1000) == (562, 1000)  # 562.5 rounds to even
    assert resized_shape(3, 3000, 640, 1000) == (1, 1000)


@pytest.mark.parametrize("seed", range(3))
def test_color_jitter_is_saturation_then_contrast_then_brightness(seed):
    image = np.random.default_rng(9).integers(60, 180, (40, 50, 3), dtype=np.uint8)
    rng = np.random.default_rng(seed)
    b, c, s = 1 + rng.uniform(-0.125, 0.125), 1 + rng.uniform(-0.2, 0.2), 1 + rng.uniform(-0.5, 0.5)
    pixels = image.astype(float)
    # luma of ITU-R BT.601, channels in BGR
    grey = (0.114 * pixels[..., 0] + 0.587 * pixels[..., 1] + 0.299 * pixels[..., 2])[..., None]
    pixels = grey + s * (pixels - grey)
    mean = image.mean()
    expected = b * (mean + c * (pixels - mean))
    result = color_jitter(image, 0.125, 0.2, 0.5, np.random.default_rng(seed))
    # the mean is taken over a sample of the pixels
    np.testing.assert_allclose(result, np.clip(expected, 0, 255), atol=2.5)


def test_no_jitter_and_no_saturation():
    image = np.random.default_rng(0).integers(0, 256, (20, 20, 3), dtype=np.uint8)
    np.testing.assert_array_equal(color_jitter(image, 0, 0, 0, np.random.default_rng(0)), image)

    class Lowest:
        def uniform(self, low, high):
            return low

    grey = color_jitter(image, 0, 0, 1.0, Lowest())
    assert (np.ptp(grey.astype(int), axis=2) <= 1).all()
    np.testing.assert_allclose(grey[..., 0], cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), atol=1)


def random_scene(rng, height=400, width=600, count=25):
    corner = rng.uniform(0, [width - 90, height - 40], (count, 2))
    return np.concatenate([corner, corner + rng.uniform([8, 6], [90, 40], (count, 2))], 1)


def inside(boxes, window, slack=0.5):
    return (boxes[:, :2] >= np.array(window[:2]) - slack).all(1) & (boxes[:, 2:] <= np.array(window[2:]) + slack).all(1)


def outside(boxes, window):
    return (boxes[:, :2] >= window[2:]).any(1) | (boxes[:, 2:] <= window[:2]).any(1)


@pytest.mark.parametrize("seed", range(40))
def test_a_window_of_free_size_cuts_no_readable_word(seed):
    rng = np.random.default_rng(seed)
    boxes = random_scene(rng)
    readable = rng.random(len(boxes)) < 0.5
    window = TextCrop(min_share=0.3)(boxes, readable, 400, 600, 1.0, rng)
    words = boxes[readable]
    assert (inside(words, window) | outside(words, window)).all()
    assert window[0] >= 0 and window[1] >= 0 and window[2] <= 600 and window[3] <= 400
    assert window[2] - window[0] >= 0.3 * 600 - 1e-6 and window[3] - window[1] >= 0.3 * 400 - 1e-6


@pytest.mark.parametrize("seed", range(40))
def test_a_window_of_fixed_size_lies_in_the_image_and_mostly_shows_a_whole_word(seed):
    rng = np.random.default_rng(seed)
    boxes = random_scene(rng, count=4)
    window = TextCrop((160, 200))(boxes, np.ones(4, dtype=bool), 400, 600, 0.8, rng)
    np.testing.assert_allclose([window[2] - window[0], window[3] - window[1]], [250, 200])
    assert window[0] >= 0 and window[1] >= 0 and window[2] <= 600 + 1e-9 and window[3] <= 400 + 1e-9
    # with four words a window that cuts none is always among thirty
    assert (inside(boxes, window) | outside(boxes, window)).all()


def test_most_windows_of_fixed_size_hold_a_word():
    rng = np.random.default_rng(0)
    box = np.array([[20.0, 30, 80, 50]])
    crop = TextCrop((100, 100))
    held = [inside(box, crop(box, np.array([True]), 2000, 2000, 1.0, rng))[0] for _ in range(100)]
    assert sum(held) > 75


def test_an_image_smaller_than_the_window_lies_somewhere_inside_it():
    rng = np.random.default_rng(0)
    boxes = np.array([[10.0, 10, 60, 30]])
    windows = np.array([TextCrop((320, 320))(boxes, np.array([True]), 100, 200, 1.0, rng) for _ in range(50)])
    assert (windows[:, 0] <= 0).all() and (windows[:, 2] >= 200).all()
    assert (windows[:, 1] <= 0).all() and (windows[:, 3] >= 100).all()
    assert np.ptp(windows[:, 0]) > 40 and np.ptp(windows[:, 1]) > 40


@pytest.mark.parametrize("size", [(0, 0), (64, 64)])
def test_no_words(size):
    window = TextCrop(size)(np.zeros((0, 4)), np.zeros(0, dtype=bool), 100, 200, 1.0, np.random.default_rng(0))
    assert 0 <= window[0] < window[2] <= 200 and 0 <= window[1] < window[3] <= 100
