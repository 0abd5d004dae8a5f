import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from shapely.geometry import Polygon, box

from dld.data.dataset_mapper import TextDatasetMapper, read_dict_image, words_to_instances
from dld.structures.polygon import polygon_area
from dld.text.charset import Charset

CHARSET = Charset.default()


def rectangle(x0, y0, x1, y1):
    return np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]], dtype=float)


def targets(*words, size=(100, 200), **options):
    return words_to_instances(list(words), size, CHARSET, 10, **options)


def texts(instances):
    return [CHARSET.decode(row) for row in instances.gt_text.tolist()]


def test_targets_of_a_plain_word():
    word = targets((rectangle(10, 20, 60, 40), "Stone", False))
    assert word.gt_boxes.tensor.tolist() == [[10, 20, 60, 40]] == word.gt_read_boxes.tensor.tolist()
    assert texts(word) == ["Stone"] and word.gt_text.shape == (1, 11)
    assert [word.gt_classes.item(), word.gt_ignore.item(), word.gt_readable.item(), word.gt_tall.item()] == [0, 0, 1, 0]
    assert word.image_size == (100, 200)


def test_tall_words_are_marked():
    assert targets((rectangle(0, 0, 10, 15), "a", False), (rectangle(0, 0, 10, 16), "a", False)).gt_tall.tolist() == [
        False,
        True,
    ]


@pytest.mark.parametrize(
    ("polygon", "ignored"),
    [
        (rectangle(-3, 20, 57, 40), False),  # 5 % of the area, a seventh of its height
        (rectangle(-7, 20, 53, 40), True),  # more than a tenth of the area
        (rectangle(-8, 20, 112, 40), True),  # a fifteenth of the area, but most of a letter
        (rectangle(20, -1, 120, 19), False),  # the upper twentieth
        (rectangle(20, 84, 120, 104), True),  # the lower fifth
    ],
)
def test_words_cut_by_the_edge_become_dont_care(polygon, ignored):
    word = targets((polygon, "Stone", False))
    assert word.gt_ignore.tolist() == [ignored] and word.gt_readable.tolist() == [not ignored]
    x0, y0, x1, y1 = word.gt_boxes.tensor[0].tolist()
    assert x0 >= 0 and y0 >= 0 and x1 <= 200 and y1 <= 100
    clipped = Polygon(polygon).intersection(box(0, 0, 200, 100))
    assert Polygon(word.gt_masks.points[0].numpy()).symmetric_difference(clipped).area < 1e-3


def test_words_outside_are_dropped_and_what_was_dont_care_stays_so():
    found = targets(
        (rectangle(-50, 20, -5, 40), "left", False),
        (rectangle(10, 20, 60, 40), "###", True),
        (rectangle(300, 20, 360, 40), "right", False),
        (rectangle(10, 60, 60, 60.5), "flat", False),
        (rectangle(100, 60, 160, 80), "here", False),
    )
    assert found.gt_ignore.tolist() == [True, False] and texts(found) == ["", "here"]


def test_no_words_give_empty_fields_of_the_right_shape():
    found = targets()
    assert len(found) == 0 and found.gt_boxes.tensor.shape == (0, 4) and found.gt_text.shape == (0, 11)
    assert len(found.gt_masks) == 0 and found.gt_readable.dtype == torch.bool


def test_of_many_words_some_are_read_and_all_are_detected():
    words = [(rectangle(i, 2 * i, i + 20, 2 * i + 8), "ab", i % 4 == 0) for i in range(40)]
    found = targets(*words, max_read_words=12, rng=np.random.default_rng(0))
    assert len(found) == 40 and found.gt_readable.sum() == 12
    assert not (found.gt_readable & found.gt_ignore).any()
    other = targets(*words, max_read_words=12, rng=np.random.default_rng(1))
    assert found.gt_readable.tolist() != other.gt_readable.tolist()


def test_the_box_that_is_read_is_moved_by_a_share_of_its_shorter_side():
    words = [(rectangle(50, 40, 150, 60), "ab", False)] * 300
    found = targets(*words, read_box_jitter=0.1, max_read_words=300, rng=np.random.default_rng(0))
    moved = found.gt_read_boxes.tensor - found.gt_boxes.tensor
    assert (moved.abs() <= 2).all() and (moved.abs().amax(0) > 1.9).all() and moved.mean().abs() < 0.2


@pytest.mark.parametrize(
    ("text", "ignored"),
    [("Stone", False), ("café", True), ("longer than ten", True), ("", True), ("ten chars!", False)],
)
def test_words_the_recogniser_cannot_spell_become_dont_care(tiny_cfg, make_record, make_annotation, text, ignored):
    record = make_record(words=())
    record["annotations"] = [make_annotation(rectangle(10, 20, 60, 40), text)]
    found = TextDatasetMapper(tiny_cfg, True)(record, np.random.default_rng(0))["instances"]
    assert found.gt_ignore.tolist() == [ignored] and texts(found) == ["" if ignored else text]


def test_annotated_dont_care_is_kept_though_it_could_be_spelled(tiny_cfg, make_record):
    record = make_record(("stone", "river"), ignore=(1,))
    found = TextDatasetMapper(tiny_cfg, True)(record, np.random.default_rng(0))["instances"]
    assert found.gt_ignore.tolist() == [False, True] and texts(found) == ["stone", ""]


def augmenting(cfg, crop=(0, 0)):
    cfg.INPUT.ROTATION, cfg.INPUT.TEXT_CROP.ENABLED, cfg.INPUT.TEXT_CROP.SIZE = 15.0, True, list(crop)
    cfg.INPUT.MIN_SIZE_TRAIN, cfg.INPUT.READ_BOX_JITTER = (80, 120, 160), 0.0
    return TextDatasetMapper(cfg, True)


@pytest.mark.parametrize("crop", [(0, 0), (96, 96)])
def test_readable_words_are_whole_after_every_augmentation(tiny_cfg, make_annotation, crop):
    """Words are painted as rectangles of a grey of their own: a readable one still has its place, grey and shape."""
    mapper = augmenting(tiny_cfg, crop)
    mapper.jitter, mapper.fill = (0, 0, 0), (0, 0, 0)
    rng = np.random.default_rng(0)
    readable = 0
    for seed in range(60):
        image, annotations, shapes = np.zeros((200, 260, 3), dtype=np.uint8), [], []
        for i in range(3):
            x, y, w, h = rng.integers([5, 5 + 65 * i, 30, 10], [140, 30 + 65 * i, 110, 30])
            image[y : y + h, x : x + w] = 80 * (i + 1)
            annotations.append(make_annotation(rectangle(x, y, x + w, y + h), "abc"))
            shapes.append(w / h)
        record = {"image": image, "height": 200, "width": 260, "annotations": annotations, "file_name": "painted"}
        out = mapper(record, np.random.default_rng(seed))
        words, painted = out["instances"], out["image"][0].numpy()
        for polygon in words.gt_masks.points[words.gt_readable].numpy():
            inner = np.zeros(painted.shape, dtype=np.uint8)
            middle = polygon.mean(0)
            cv2.fillPoly(inner, [np.round(middle + 0.5 * (polygon - middle) - 0.5).astype(np.int32)], 1)
            grey = np.median(painted[inner == 1])
            word = round(grey / 80) - 1
            assert grey == pytest.approx(80 * (word + 1), abs=8), seed
            longer, shorter = sorted(cv2.minAreaRect(polygon)[1], reverse=True)
            assert longer / shorter == pytest.approx(shapes[word], rel=0.15), seed
            readable += 1
    assert readable > 40


def test_equal_random_numbers_give_equal_samples(tiny_cfg, make_record):
    mapper, record = augmenting(tiny_cfg, (96, 96)), make_record()
    a, b, c = (mapper(record, np.random.default_rng(seed)) for seed in (3, 3, 4))
    assert torch.equal(a["image"], b["image"])
    assert torch.equal(a["instances"].gt_boxes.tensor, b["instances"].gt_boxes.tensor)
    assert a["image"].shape != c["image"].shape or not torch.equal(a["image"], c["image"])


def test_the_dict_and_its_pixels_are_not_modified(tiny_cfg, make_record):
    record = make_record()
    pixels, polygon = record["image"].copy(), record["annotations"][0]["polygon"].copy()
    augmenting(tiny_cfg)(record, np.random.default_rng(0))
    TextDatasetMapper(tiny_cfg, False)(record)
    np.testing.assert_array_equal(record["image"], pixels)
    np.testing.assert_array_equal(record["annotations"][0]["polygon"], polygon)


def test_at_test_only_the_size_changes(tiny_cfg, make_record):
    tiny_cfg.INPUT.MIN_SIZE_TEST = 192
    record = make_record(height=96, width=128)
    out = TextDatasetMapper(tiny_cfg, False)(record)
    assert out["image"].shape == (3, 192, 256) and (out["height"], out["width"]) == (96, 128)
    assert "instances" not in out and len(out["annotations"]) == 2
    expected = np.asarray(Image.fromarray(record["image"]).resize((256, 192), Image.BILINEAR))
    np.testing.assert_array_equal(out["image"].permute(1, 2, 0).numpy(), expected)


def test_only_bgr_is_understood(tiny_cfg):
    tiny_cfg.INPUT.FORMAT = "RGB"
    with pytest.raises(ValueError, match="INPUT.FORMAT"):
        TextDatasetMapper(tiny_cfg, True)


def test_a_file_is_read_as_bgr(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    cv2.imwrite(str(tmp_path / "a.png"), pixels)
    np.testing.assert_array_equal(read_dict_image({"file_name": str(tmp_path / "a.png")}), pixels)


def test_a_photograph_is_turned_as_its_exif_says(tmp_path, tiny_cfg):
    upright = Image.new("RGB", (40, 20), (255, 255, 255))
    upright.paste((0, 0, 0), (0, 0, 10, 20))  # black at the left
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise to show
    upright.save(tmp_path / "turned.jpg", exif=exif, quality=95)
    image = read_dict_image({"file_name": str(tmp_path / "turned.jpg"), "height": 40, "width": 20})
    assert image.shape == (40, 20, 3) and image[:8].mean() < 20 < 200 < image[12:].mean()
    out = TextDatasetMapper(tiny_cfg, True)({"file_name": str(tmp_path / "turned.jpg")}, np.random.default_rng(0))
    assert out["image"].shape == (3, 192, 96)


def test_grey_and_transparent_pictures_have_three_channels(tmp_path):
    Image.new("L", (8, 6), 90).save(tmp_path / "grey.png")
    Image.new("RGBA", (8, 6), (1, 2, 3, 128)).save(tmp_path / "clear.png")
    assert (read_dict_image({"file_name": str(tmp_path / "grey.png")}) == 90).all()
    assert read_dict_image({"file_name": str(tmp_path / "clear.png")}).shape == (6, 8, 3)


@pytest.mark.parametrize("content", [None, b"", b"no picture", b"\x89PNG\r\n\x1a\n broken"])
def test_a_file_that_is_no_picture_is_named(tmp_path, content):
    path = tmp_path / "bad.png"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ValueError, match="cannot read image .*bad.png"):
        read_dict_image({"file_name": str(path)})


def test_a_picture_of_another_size_than_annotated_is_named(tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((20, 30, 3), dtype=np.uint8))
    with pytest.raises(ValueError, match="a.png"):
        read_dict_image({"file_name": str(tmp_path / "a.png"), "height": 30, "width": 20})


def test_of_too_many_words_some_become_dont_care(monkeypatch):
    monkeypatch.setattr("dld.data.dataset_mapper.MOST_WORDS", 5)
    words = [(np.array([[x, 2], [x + 8, 2], [x + 8, 9], [x, 9]], dtype=float), "word", x == 0) for x in range(0, 90, 10)]

    def counted(seed):
        target = words_to_instances(words, (20, 100), CHARSET, 9, rng=np.random.default_rng(seed))
        assert len(target) == 9 and (~target.gt_ignore).sum() == target.gt_readable.sum() == 5
        return tuple((~target.gt_ignore).nonzero()[:, 0].tolist())

    assert counted(0) == counted(0) and len({counted(seed) for seed in range(9)}) > 1


def test_outlines_of_many_points_are_thinned_evenly():
    angle = np.linspace(0, 2 * np.pi, 950, endpoint=False)
    circle = 30 + 20 * np.stack([np.cos(angle), np.sin(angle)], 1)
    target = words_to_instances([(circle, "word", False)], (60, 60), CHARSET, 9)
    (outline,) = target.gt_masks.points.numpy()
    assert len(outline) <= 100 and polygon_area(outline) == pytest.approx(400 * np.pi, rel=0.01)


def test_a_png_with_damaged_pixels_is_refused(tmp_path):
    # detectron2's reader takes what it cannot decode for black
    cv2.imwrite(str(tmp_path / "a.png"), np.full((40, 60, 3), 200, dtype=np.uint8))
    content = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(content[:50] + bytes(20) + content[70:])
    with pytest.raises(ValueError, match="cannot read image .*a.png"):
        read_dict_image({"file_name": str(tmp_path / "a.png"), "height": 40, "width": 60})


def test_every_position_has_a_seed_for_sampling(tiny_cfg, make_record):
    mapper = TextDatasetMapper(tiny_cfg, True)
    seeds = [mapper(make_record(), np.random.default_rng(i))["sampling_seed"] for i in (0, 0, 1)]
    assert seeds[0] == seeds[1] != seeds[2] and all(isinstance(seed, int) for seed in seeds)
