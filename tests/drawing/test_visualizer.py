"""Words on pictures: what is drawn where, in which colour, and what a missing glyph looks like."""

import cv2
import numpy as np
import pytest
import torch
from detectron2.structures import BoxMode, Instances
from PIL import Image

from dld.drawing.glyphs import LabelFont, escape
from dld.drawing.visualizer import DONT_CARE_COLOR, WORD_COLORS, WRONG_COLOR, TextVisualizer, _overlap, _place
from dld.structures.words import SpottingResult, Word


def rectangle(x, y, w, h):
    return np.array([[x, y], [x + w, y], [x + w, y + h], [x, y + h]], dtype=np.float32)


def result(*words, width=200, height=100, **extras):
    words = [Word(text, rectangle(*box), 0.9) for text, box in words]
    return SpottingResult("image", None, width, height, words, **extras)


def blank(width=200, height=100, value=128):
    return np.full((height, width, 3), value, np.uint8)


def count(image, color):
    return int((image == np.array(color)).all(axis=2).sum())


def test_the_given_image_is_left_alone_and_the_picture_has_its_size():
    image = blank()
    drawn = TextVisualizer(image).draw_spotting(result(("EXIT", (50, 40, 60, 20)))).get_image()
    assert drawn.shape == image.shape and drawn.dtype == np.uint8
    assert (image == 128).all() and (drawn != 128).any()


def test_scale_enlarges_the_picture_and_the_coordinates():
    drawn = TextVisualizer(blank(), scale=2).draw_spotting(result(("x", (150, 60, 40, 30)))).get_image()
    assert drawn.shape == (200, 400, 3)
    below_label = drawn[115:185]  # the polygon's lower part, x from 300 to 380
    columns = np.nonzero((below_label == np.array(WORD_COLORS[0])).all(axis=2).any(axis=0))[0]
    assert abs(columns.min() - 300) <= 3 and abs(columns.max() - 380) <= 3


def test_nothing_to_draw_gives_the_image_back():
    image = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    assert (TextVisualizer(image).draw_spotting(result(width=50, height=40)).get_image() == image).all()


def test_wrong_words_are_red_and_dont_care_words_grey():
    words = result(("a", (10, 60, 40, 20)), ("b", (80, 60, 40, 20)), ("c", (150, 60, 40, 20)))
    flags = {"wrong": [False, True, False], "dont_care": [False, False, True]}
    drawn = TextVisualizer(blank()).draw_spotting(words, **flags).get_image()
    thirds = drawn[:, :60], drawn[:, 65:130], drawn[:, 140:]
    for part, color in zip(thirds, (WORD_COLORS[0], WRONG_COLOR, DONT_CARE_COLOR), strict=True):
        assert count(part, color) > 100
        others = {WORD_COLORS[0], WRONG_COLOR, DONT_CARE_COLOR} - {color}
        assert all(count(part, other) < 10 for other in others)  # a few blended pixels of an edge may agree


@pytest.mark.parametrize("value", [0, 255, 140])
def test_a_label_can_be_read_on_any_background(value):
    drawn = TextVisualizer(blank(value=value)).draw_spotting(result(("WORD", (60, 50, 80, 30)))).get_image()
    label = (drawn == np.array(WORD_COLORS[0])).all(axis=2)
    rows, columns = np.nonzero(label)
    inside = drawn[rows.min() : rows.max(), columns.min() : columns.max()].reshape(-1, 3)
    assert label.sum() > 300  # the box is filled
    assert (inside.sum(axis=1) < 60).sum() > 20  # and holds dark ink


def test_labels_stay_inside_the_picture_and_off_their_words():
    picture, extent = (200, 100), (60, 16)
    words = np.array([[0, 0, 40, 20], [160, 80, 200, 100], [80, 40, 120, 60]], dtype=float)
    for index in range(3):
        box = _place(index, extent, words, np.zeros((0, 4)), picture)
        assert box[0] >= 0 and box[1] >= 0 and box[2] <= 200 and box[3] <= 100
        assert _overlap(box[None], words).sum() == 0


def test_a_second_label_avoids_the_first():
    words = np.array([[50, 40, 90, 50], [52, 41, 92, 51]], dtype=float)
    first = _place(0, (40, 14), words, np.zeros((0, 4)), (200, 100))
    second = _place(1, (40, 14), words, first[None], (200, 100))
    assert _overlap(first[None], second[None]).sum() == 0


def test_hostile_words_are_drawn_without_complaint():
    words = result(("w" * 500, (5, 40, 190, 20)), ("", (0, 0, 3, 3)), ("\ud800\n\u202e", (-500, -500, 9, 9)))
    words.words += [Word("nan", rectangle(np.nan, 0, 1, 1)), Word("far", rectangle(0, 0, 1e12, 5))]
    words.words += [Word("empty", np.zeros((0, 2)))]
    assert TextVisualizer(blank()).draw_spotting(words).get_image().shape == (100, 200, 3)
    tiny = result(("long text", (0, 0, 4, 4)), width=5, height=5, scale=0.5)
    assert TextVisualizer(blank(5, 5)).draw_spotting(tiny).get_image().shape == (5, 5, 3)


def test_the_chosen_scale_stands_in_a_corner_without_words():
    words = result(("a", (0, 0, 60, 30)), width=400, height=300, scale=0.5, cost=0.31)
    visualizer = TextVisualizer(blank(400, 300))
    assert visualizer.draw_spotting(words).caption == "scale 0.5, cost 31%"
    drawn = visualizer.get_output().get_image()
    assert count(drawn[:30, 200:], (20, 20, 20)) > 500
    assert TextVisualizer(blank(400, 300)).draw_spotting(words, caption="").caption == ""


def test_a_model_output_is_drawn_like_its_result():
    instances = Instances((100, 200))
    instances.scores = torch.tensor([0.9])
    instances.pred_polygons = [rectangle(50, 40, 60, 20)]
    instances.pred_texts = ["EXIT"]
    instances.pred_char_scores = [[0.9] * 4]
    expected = TextVisualizer(blank()).draw_spotting(result(("EXIT", (50, 40, 60, 20)))).get_image()
    assert (TextVisualizer(blank()).draw_instance_predictions(instances).get_image() == expected).all()


def test_ground_truth_shows_ignored_words_grey_and_without_their_hashes():
    annotations = [
        {"polygon": rectangle(20, 50, 50, 30), "text": "###", "ignore": True},
        {"bbox": [120, 50, 50, 30], "bbox_mode": BoxMode.XYWH_ABS, "text": "yes"},
    ]
    drawn = TextVisualizer(blank()).draw_dataset_dict({"annotations": annotations}).get_image()
    assert count(drawn[:, :100], DONT_CARE_COLOR) > 100
    assert (drawn[:45, :100] == 128).all()  # an outline at rows 50 to 80 and no label above it
    assert count(drawn[:, 100:], WORD_COLORS[0]) > 300


def test_what_detectron2_draws_itself_is_kept():
    visualizer = TextVisualizer(blank())
    visualizer.draw_box((10, 10, 60, 60), edge_color=(1.0, 0.0, 0.0))
    drawn = visualizer.draw_spotting(result(("x", (120, 50, 40, 30)))).get_image()
    assert drawn.shape == (100, 200, 3)
    edge = drawn[20:50, 5:15].astype(int)
    assert (edge[..., 0] - edge[..., 1] > 50).any() and count(drawn, WORD_COLORS[0]) > 100


def test_saving_makes_the_folder_and_keeps_the_pixels(tmp_path):
    output = TextVisualizer(blank()).draw_spotting(result(("EXIT", (50, 40, 60, 20))))
    output.save(str(tmp_path / "deep" / "picture.png"))
    assert (np.asarray(Image.open(tmp_path / "deep" / "picture.png")) == output.get_image()).all()
    output.save(tmp_path / "picture.jpg")
    assert cv2.imread(str(tmp_path / "picture.jpg")).shape == (100, 200, 3)


def test_mistakes_are_named():
    with pytest.raises(ValueError, match="640 x 480.*200 x 100"):
        TextVisualizer(blank()).draw_spotting(result(width=640, height=480))
    with pytest.raises(ValueError, match="wrong has 1 flags for 0 words"):
        TextVisualizer(blank()).draw_spotting(result(), wrong=[True])
    with pytest.raises(ValueError, match=r"\(H, W, 3\)"):
        TextVisualizer(np.zeros((10, 10), np.uint8))
    with pytest.raises(FileNotFoundError, match="nowhere.ttf"):
        TextVisualizer(blank(), font_path="nowhere.ttf")


def test_a_file_that_is_no_font_is_refused(tmp_path):
    (tmp_path / "fake.ttf").write_text("not a font")
    with pytest.raises(ValueError, match="fake.ttf"):
        LabelFont(tmp_path / "fake.ttf")


@pytest.mark.parametrize("character, text", [("\u4e2d", "\\u4e2d"), ("\U0001f600", "\\U0001f600"), ("\t", "\\u0009")])
def test_escapes_are_those_of_python(character, text):
    assert escape(character) == text and text.encode().decode("unicode_escape") == character


def test_what_no_font_has_is_escaped_and_the_rest_is_not(monkeypatch):
    monkeypatch.setattr("dld.drawing.glyphs._installed_fonts", tuple)
    font = LabelFont()
    assert font.visible("Straße 5 Ωж") == "Straße 5 Ωж"
    assert font.visible("a\u4e2d\n\u00a0\ue000b") == "a\\u4e2d\\u000a\\u00a0\\ue000b"


def test_a_font_that_draws_placeholders_for_everything_is_not_used():
    # U+10FFFE is no character, U+F0000 is private: only a last-resort font "has" them.
    assert LabelFont().visible("\U0010fffe\U000f0000") == "\\U0010fffe\\U000f0000"


def test_the_line_is_as_wide_as_it_measures():
    font = LabelFont()
    image = Image.new("L", (300, 60))
    from PIL import ImageDraw

    width, height = font.measure("Hamburg Ω", 24)
    font.draw(ImageDraw.Draw(image), (10, 10), "Hamburg Ω", 24, 255)
    rows, columns = np.nonzero(np.asarray(image))
    assert 10 <= columns.min() and columns.max() < 10 + width and width - (columns.max() - columns.min()) < 8
    assert 10 <= rows.min() and rows.max() < 10 + height
