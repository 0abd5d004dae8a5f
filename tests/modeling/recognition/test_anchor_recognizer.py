"""A recogniser that reads along characters: it learns to find and read a few words, lying, turned and bent."""

import shutil

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from detectron2.layers import ShapeSpec

from dld.data.dataset_mapper import WordCharacters, words_to_instances
from dld.data.synthesis.fonts import find_font_files, load_faces
from dld.data.synthesis.lettering import arrange_arc, arrange_lines, set_line
from dld.modeling.recognition.anchors import Anchors, find_anchors
from dld.modeling.recognition.encoder import RecognitionEncoder
from dld.modeling.recognition.recognizer import build_recognizer, join_features
from dld.structures.padded_polygons import PaddedPolygons
from dld.structures.tall import view_forms

SHAPE = ShapeSpec(channels=16, stride=4)


@pytest.fixture
def cfg(tiny_cfg):
    tiny_cfg.MODEL.RECOGNITION.NAME = "AnchorRecognizer"
    tiny_cfg.MODEL.RECOGNITION.WIDTH = 32
    return tiny_cfg


@pytest.fixture(scope="module")
def face(tmp_path_factory):
    """One is enough, and quicker to load than all."""
    folder = tmp_path_factory.mktemp("fonts")
    files = find_font_files()
    shutil.copy(next((path for path in files if path.name.startswith("Roboto")), files[0]), folder)
    return next(iter(load_faces(str(folder)).values()))[0]


def turned(lettering, degrees):
    """The one word of a sign, turned about its middle on a larger ground: ink, outline, corners of its characters."""
    h, w = lettering.ink.shape
    side = 4 * round((h**2 + w**2) ** 0.5 / 4 + 1)
    turn = cv2.getRotationMatrix2D((w / 2, h / 2), degrees, 1.0)
    turn[:, 2] += (side - w) / 2, (side - h) / 2
    ink = cv2.warpAffine(lettering.ink, turn, (side, side))
    return ink, *(points @ turn[:, :2].T + turn[:, 2] for points in (lettering.words[0][0], lettering.characters[0]))


def spelled(classes, charset):
    """What the best classes of the columns say: repeated ones once, without the blank, which is class 0."""
    kept = [c for c, before in zip(classes, [0, *classes], strict=False) if c not in (0, before)]
    return "".join(charset.characters[c - 1] for c in kept)


def words_of(recognizer, face):
    """Four words as levels of a pyramid (a cell's 16 pixels are its channels), and what is annotated of each."""
    levels, words = [], []
    for text, degrees, bend in (("stone", 0, 0), ("river", 90, 0), ("Blue", 40, 0), ("harbour", 30, 2.4)):
        line, _ = set_line(face, [text], 20, 0.1, 0.5, 1000)
        sign = arrange_arc(line, bend, True, (6, 6)) if bend else arrange_lines([line], "left", 0, (6, 6))
        ink, outline, corners = turned(sign, degrees)
        level = F.pixel_unshuffle(torch.from_numpy(ink / 255.0).float()[None, None], 4)
        levels.append(F.pad(level, (0, 48 - level.shape[3], 0, 48 - level.shape[2])))
        padded = np.full((1, 10, 4, 2), np.nan)
        padded[0, : len(text)] = corners
        words.append(
            words_to_instances(
                [(outline, text, False)], ink.shape, recognizer.charset, 10, rng=np.random.default_rng(0),
                characters=WordCharacters(padded, np.array([True])),
            )
        )  # fmt: skip
    return torch.cat(levels), words


def test_a_few_words_are_read_along_the_characters_that_it_finds(cfg, face):
    cfg.MODEL.RECOGNITION.ANCHORS.COLUMNS = 17
    torch.manual_seed(0)
    recognizer = build_recognizer(cfg, SHAPE).train()
    level, words = words_of(recognizer, face)
    assert [int(x.gt_view) for x in words] == [0, 1, 2, 2]
    texts = torch.cat([x.gt_text for x in words])
    optimizer = torch.optim.Adam(recognizer.parameters(), 0.005)
    for _ in range(80):
        reading = recognizer.annotated_features(level, words)
        losses = {**recognizer.losses(reading, texts), **recognizer.map_losses(reading.maps, words)}
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()
    boxes = [x.gt_boxes.tensor for x in words]
    masks = torch.cat([x.gt_masks.coverage(b, (28, 28)) for x, b in zip(words, boxes, strict=True)])
    with torch.no_grad():
        maps, form = recognizer.annotated_features(level, words).maps, torch.cat([x.gt_view for x in words])
        found = find_anchors(maps, form, recognizer.encoder.forms, 0.3, 10)
        columns = recognizer.found_columns(recognizer.stem(level), boxes, masks)
        # the CTC head has learned before the decoder knows where to begin
        best = recognizer.ctc_logits(reading._replace(columns=columns)).argmax(-1)
    assert [spelled(ids, recognizer.charset) for ids in best.tolist()] == ["stone", "river", "Blue", "harbour"]
    assert found.count.tolist() == [5, 5, 4, 7]
    wanted = Anchors.of(torch.cat([x.gt_read_anchors.points for x in words]), torch.cat(boxes))
    for i, count in enumerate(found.count.tolist()):
        distance = (found.points[i, :count] - wanted.points[i, :count]).norm(dim=1)
        assert distance.max() < 0.1


def test_features_of_a_word_do_not_depend_on_the_others(cfg, face):
    torch.manual_seed(0)
    recognizer = build_recognizer(cfg, SHAPE).eval()
    level, words = words_of(recognizer, face)
    with torch.no_grad():
        together = recognizer.annotated_features(level, words)
        alone = [recognizer.annotated_features(level[i : i + 1], words[i : i + 1]) for i in range(4)]
    assert together.roi.shape == (4, 16, 16, 16) and together.context.shape == (4, 33, 32)
    joined = join_features(alone)
    backwards = together.at(torch.tensor([3, 2, 1, 0]))
    for name in ("roi", "context", "columns", "maps"):
        torch.testing.assert_close(getattr(joined, name), getattr(together, name), atol=1e-5, rtol=1e-4)
        assert torch.equal(getattr(backwards, name).flip(0), getattr(together, name))


def test_maps_learn_from_annotated_characters_alone(cfg, face):
    torch.manual_seed(0)
    recognizer = build_recognizer(cfg, SHAPE)
    level, words = words_of(recognizer, face)
    maps = recognizer.annotated_features(level, words).maps
    every = recognizer.map_losses(maps, words)
    single = [recognizer.map_losses(maps[i : i + 1], words[i : i + 1]) for i in range(4)]
    for name, value in every.items():
        assert value.item() == pytest.approx(sum(x[name].item() for x in single) / 4, rel=1e-4)
    words[1].gt_characters_known[:] = False
    some = recognizer.map_losses(maps, words)
    for name, value in some.items():
        assert value.item() == pytest.approx(every[name].item() - single[1][name].item() / 4, rel=1e-4) and single[1][name] > 0
    for word in words:
        word.gt_characters.points[:] = torch.nan
        word.gt_characters_known[:] = False
    assert all(value == 0 for value in recognizer.map_losses(maps, words).values())


def test_a_word_without_characters_is_read_along_its_box(cfg, face):
    recognizer = build_recognizer(cfg, SHAPE).eval()
    level, words = words_of(recognizer, face)
    points = words[0].gt_read_anchors.points
    points[0, 1:] = torch.nan
    with torch.no_grad():
        one = recognizer.annotated_features(level[:1], words[:1]).context
        points[:] = torch.nan
        none = recognizer.annotated_features(level[:1], words[:1]).context
    assert torch.equal(one, none) and none.isfinite().all()


def test_no_words_leave_every_weight_a_gradient_of_zero(cfg, face):
    recognizer = build_recognizer(cfg, SHAPE)
    level, words = words_of(recognizer, face)
    none = [x[torch.zeros(1, dtype=torch.bool)] for x in words]
    reading = recognizer.annotated_features(level, none)
    losses = {**recognizer.losses(reading, torch.zeros(0, 11, dtype=torch.int64)), **recognizer.map_losses(reading.maps, none)}
    sum(losses.values()).backward()
    assert all(p.grad is not None and not p.grad.any() for p in recognizer.parameters())


def test_words_without_characters_are_refused(cfg, face):
    recognizer = build_recognizer(cfg, SHAPE)
    level, words = words_of(recognizer, face)
    words[2].remove("gt_read_anchors")
    with pytest.raises(ValueError, match=r"words have no characters: INPUT\.CHARACTERS must be at least .*MAX_LENGTH, 10"):
        recognizer.annotated_features(level, words)


@torch.no_grad()
def test_convolutions_and_recurrences_are_those_of_crops(cfg):
    """Weights of a TextRecognizer fit, and a lying view goes through the same convolutions as a crop."""
    torch.manual_seed(0)
    crops = RecognitionEncoder(16, 32).eval()
    encoder = build_recognizer(cfg, SHAPE).encoder.eval()
    left = encoder.load_state_dict(crops.state_dict(), strict=False)
    assert all(name.startswith("squeeze.") for name in left.unexpected_keys)
    assert left.missing_keys == ["maps.weight", "maps.bias"]
    lying = torch.randn(2, 16, 8, 32)
    cells, _ = encoder(lying.reshape(2, 16, 16, 16), torch.zeros(2, dtype=torch.int64))
    torch.testing.assert_close(cells.reshape(2, 32, 8, 32), crops.convs(lying), atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_maps_of_bfloat16_features_have_no_equal_neighbours(cfg):
    torch.manual_seed(0)
    encoder = build_recognizer(cfg, SHAPE).encoder.eval()
    with torch.autocast("cpu", torch.bfloat16):
        _, maps = encoder(torch.randn(1, 16, 16, 16), torch.tensor([2]))
    assert maps.dtype == torch.float32 and maps.diff(dim=3).all() and maps.diff(dim=2).all()


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("ANCHORS.THRESH", 1.0, r"ANCHORS\.THRESH must be in \(0, 1\), got 1\.0"),
        ("ANCHORS.RADIUS", 0.0, r"ANCHORS\.RADIUS must be positive, got 0\.0"),
        ("ANCHORS.COLUMNS", 1, r"ANCHORS\.COLUMNS must be at least 2, got 1"),
        ("ANCHORS.HEAT_WEIGHT", -1.0, r"ANCHORS\.HEAT_WEIGHT must be at least 0, got -1\.0"),
        ("ANCHORS.ORDER_WEIGHT", -0.5, r"ANCHORS\.ORDER_WEIGHT must be at least 0, got -0\.5"),
        ("POOLER_RESOLUTION", [8, 30], r"POOLER_RESOLUTION must have a square number of cells"),
    ],
)
def test_bad_settings_are_named(cfg, key, value, message):
    cfg.merge_from_list([f"MODEL.RECOGNITION.{key}", value])
    with pytest.raises(ValueError, match=r"MODEL\.RECOGNITION\." + message):
        build_recognizer(cfg, SHAPE)


def test_forms_of_boxes_at_test_are_those_of_annotated_ones(cfg, face):
    """The same box, the same view: what is annotated and what is found are read alike."""
    torch.manual_seed(0)
    recognizer = build_recognizer(cfg, SHAPE).eval()
    level, words = words_of(recognizer, face)
    boxes = [x.gt_boxes.tensor for x in words]
    form = view_forms(torch.cat(boxes))
    assert torch.equal(form, torch.cat([x.gt_view for x in words]))
    whole = PaddedPolygons.from_list([[[-9, -9], [300, -9], [300, 300], [-9, 300]]] * 4)
    for i, word in enumerate(words):
        word.gt_masks = whole[[i]]
    with torch.no_grad():
        annotated = recognizer.annotated_features(level, words).roi
        found = recognizer.pooler(recognizer.stem(level), boxes, torch.ones(4, 16, 16), form)
    torch.testing.assert_close(annotated, found)
