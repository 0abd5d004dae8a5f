"""Strips drawn without pages: the same everywhere, labelled with what is drawn, laid out as strips that are cut from photos."""

import numpy as np
import pytest
import torch

from dld.data.build import MixtureDataset, as_list
from dld.data.dataset_mapper import read_dict_image
from dld.data.strip_words import StripMapper
from dld.data.synthesis.config import SynthStripsConfig
from dld.data.synthesis.glyph_cache import load_cached_faces
from dld.data.synthesis.lettering import padded_box, set_line
from dld.data.synthesis.strip_layout import PlaneWord, Warps, draw_warps, set_plane, straightened
from dld.data.synthesis.strip_scene import render_strips
from dld.data.synthesis.synthstrips import SynthStripsDataset, register_synthstrips
from dld.data.synthesis.vocabulary import load_vocabulary
from dld.strips.cutting import PhotoPyramid, cut_strips
from dld.strips.grouping import PADDED_WIDTHS
from dld.strips.heights import FORMS
from dld.text.charset import Charset

SMALL = SynthStripsConfig(words=10)
NO_WARP = draw_warps(np.random.default_rng(0), 1, 0.0)


def mapper(is_train=True, rows=(24, 16), **kwargs):
    return StripMapper(is_train, Charset.default(), 25, rows, **kwargs)


def same(one, other):
    assert [s.text for s in one] == [s.text for s in other]
    assert [(s.height, s.ignore) for s in one] == [(s.height, s.ignore) for s in other]
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a.pixels, b.pixels)


def plane(face, text):
    """One word alone, black on nothing, in the plane of its face."""
    line, _ = set_line(face, [text], face.capital_px, 0.0, 0.4, np.inf)
    ink = np.pad(line.mask, 30)
    x0, y0, x1, y1 = padded_box(line.boxes[0])
    box = (x0 - line.left + 30, y0 - line.top + 30, x1 - line.left + 30, y1 - line.top + 30)
    return PlaneWord(ink, box, line.texts[0], 0.5)


def test_lengths_and_indices():
    assert len(SynthStripsDataset("train")) == 10_000_000 and len(SynthStripsDataset("val")) == 200
    data = SynthStripsDataset("val", 3, SMALL)
    assert [record["image_id"] for record in data] == [f"synthstrips_val_{i:09d}" for i in range(3)]
    same(data[-1]["strips"], data[2]["strips"])
    with pytest.raises(IndexError, match="3 items"):
        data[3]
    with pytest.raises(ValueError, match="'test'"):
        SynthStripsDataset("test")
    with pytest.raises(ValueError, match="length 0"):
        SynthStripsDataset("val", 0)


def test_worker_processes_give_the_same_words_whatever_they_drew_before():
    data = SynthStripsDataset("train", 8, SMALL)
    loader = torch.utils.data.DataLoader(
        data, sampler=[5, 1], batch_size=None, num_workers=1, collate_fn=as_list, multiprocessing_context="spawn"
    )
    for record, index in zip(loader, (5, 1), strict=True):
        same(record["strips"], data[index]["strips"])


def test_splits_seeds_and_items_differ():
    texts = [
        [s.text for s in render_strips(index, split, SynthStripsConfig(words=10, seed=seed))]
        for index, split, seed in ((0, "train", 0), (0, "val", 0), (1, "train", 0), (0, "train", 1))
    ]
    assert len({tuple(t) for t in texts}) == 4


@pytest.mark.parametrize("warp", [0.0, 1.0])
def test_strips_have_the_form_of_cut_ones(warp):
    strips = render_strips(3, config=SynthStripsConfig(words=24, warp=warp))
    assert len(strips) == 24
    for strip in strips:
        rows, columns, channels = strip.pixels.shape
        assert (rows, channels) == (48, 3) and strip.pixels.dtype == np.uint8 and 28 <= columns <= PADDED_WIDTHS[-1]
        assert 6 <= strip.height <= 64 and strip.text and " " not in strip.text
    long = [s.pixels.shape[1] / len(s.text) for s in strips if len(s.text) > 3]
    assert 8 < np.median(long) < 50, "columns of a letter"


@pytest.mark.parametrize("text", ["Hg", "House", "mono", "CAFE"])
def test_ink_fills_the_rows_of_the_text(text):
    faces = load_cached_faces()
    for family in list(faces)[:12]:
        word = plane(faces[family][0], text)
        (ink, widths) = straightened([word], NO_WARP)
        rows, columns = (np.flatnonzero(ink.max(axis) > 100) for axis in (1, 0))
        assert abs(rows[0] - 4) <= 2 and abs(rows[-1] + 1 - 44) <= 2, family
        assert abs(columns[0] - 4) <= 3 and abs(columns[-1] + 1 - (widths[0] - 4)) <= 3, family
        x0, y0, x1, y1 = word.box
        assert widths[0] - 8 == round(40 * (x1 - x0) / (y1 - y0))


def test_straightening_without_mistakes_is_that_of_photos():
    face = load_cached_faces()[list(load_cached_faces())[5]][0]
    word = plane(face, "Window")
    x0, y0, x1, y1 = word.box
    sides = np.array([[[[x0, y0], [x1, y0]], [[x0, y1], [x1, y1]]]])
    (strip,) = cut_strips(PhotoPyramid(np.dstack([word.ink] * 3)), sides)
    ink, _ = straightened([word], NO_WARP)
    assert ink.shape == strip.shape[:2]
    assert np.abs(strip[..., 0].astype(float) - ink).mean() < 3


def test_each_mistake_moves_ink_where_it_should():
    face = load_cached_faces()[list(load_cached_faces())[5]][0]
    word = plane(face, "HHHH")

    def rows_of(**changed):
        ink, widths = straightened([word], NO_WARP._replace(**changed))
        middle = slice(int(0.4 * widths[0]), int(0.6 * widths[0]))
        parts = [ink[:, part] for part in (slice(0, 40), middle, slice(widths[0] - 40, None))]
        return [np.flatnonzero(part.max(1) > 100)[[0, -1]].mean() for part in parts]

    start, middle, end = rows_of()
    turned = rows_of(top=np.array([[-0.1, 0.1]]), bottom=np.array([[-0.1, 0.1]]))
    assert turned[0] > start + 2 and turned[2] < end - 2, "sides that run down show letters that run up"
    bent = rows_of(bend=np.array([0.1]))
    assert bent[1] < middle - 2 and abs(bent[0] - start) < 2.5
    ink, widths = straightened([word], NO_WARP._replace(stretch=np.array([1.5])))
    assert widths[0] - 8 == pytest.approx(1.5 * (straightened([word], NO_WARP)[1][0] - 8), abs=1)


def test_drawn_mistakes_are_bounded():
    warps = draw_warps(np.random.default_rng(0), 5000, 1.0)
    assert isinstance(warps, Warps)
    assert max(np.abs(warps.top).max(), np.abs(warps.bottom).max()) <= 0.18 and np.abs(warps.shear).max() <= 0.35
    assert warps.ends.min() >= -0.05 and warps.stretch.min() > 0.6 and warps.stretch.max() < 1.6


def test_the_label_is_what_the_face_draws():
    vocabulary, families = load_vocabulary(), load_cached_faces()
    rng = np.random.default_rng(0)
    config = SynthStripsConfig(neighbour_rate=1.0, lines_rate=0.5)
    for _ in range(60):
        word = set_plane(rng, vocabulary, families, config)
        x0, y0, x1, y1 = word.box
        assert 0 <= x0 < x1 <= word.ink.shape[1] and 0 <= y0 < y1 <= word.ink.shape[0]
        assert word.ink[int(y0) : int(y1) + 1, int(x0) : int(x1) + 1].max() == 255
    capitals = [f for faces in families.values() for f in faces if f.face.unicase][0]
    assert plane(capitals, "shop").text == "SHOP"


def test_a_cached_face_draws_what_the_face_draws():
    for family in ("Oswald", "Roboto", "Lobster"):
        faces = load_cached_faces().get(family)
        if not faces:
            continue
        for text in ("AVATAR", "Tokyo", "window"):
            quick, _, top = faces[0].mask(text, faces[0].capital_px)
            whole, _, other = faces[0].face.mask(text, faces[0].capital_px)
            assert abs(quick.shape[1] - whole.shape[1]) <= 4 and abs(quick.shape[0] - whole.shape[0]) <= 1, (family, text)
            assert abs(top - other) <= 1
            h, w = np.minimum(quick.shape, whole.shape)
            assert np.abs(quick[:h, :w].astype(float) - whole[:h, :w]).mean() < 40, (family, text)
    with pytest.raises(ValueError, match="capitals of"):
        faces[0].mask("a", 10.0)


def test_words_of_a_list_come_with_their_accents(tmp_path):
    path = tmp_path / "words.txt"
    path.write_text("Straße café Łódź žena naïve señor", encoding="utf-8")
    config = SynthStripsConfig(words=60, words_file=str(path))
    assert any(ord(c) > 127 for strip in render_strips(0, config=config) for c in strip.text)


def test_hard_words_are_marked_and_easy_ones_are_not():
    easy = SynthStripsConfig(words=40, min_height=40, max_height=64, effects=0, plate_rate=1.0, lines_rate=0, neighbour_rate=0)
    hard = SynthStripsConfig(words=40, min_height=6, max_height=6.5, effects=1)
    shares = [np.mean([s.ignore for s in render_strips(1, config=config)]) for config in (easy, hard)]
    assert shares[0] < 0.1 < shares[1]


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"words": 0}, "words 0"),
        ({"warp": 3.0}, "warp"),
        ({"plate_rate": 2.0}, "plate_rate"),
        ({"min_height": 2.0}, "min_height"),
    ],
)
def test_impossible_options_are_named(option, message):
    with pytest.raises(ValueError, match=message):
        register_synthstrips("synthstrips_trial", **option)
    with pytest.raises(KeyError, match="colour"):
        register_synthstrips("synthstrips_trial", colour="red")


def test_the_mapper_gives_every_height_its_columns_and_spares_the_teachers():
    record = SynthStripsDataset("train", config=SMALL)[0]
    readable = {s.text: s for s in record["strips"] if not s.ignore}
    words = mapper(rows=(32, 24, 16))(record, np.random.default_rng(0))["words"]
    assert [w.text for w in words] == [s.text for s in record["strips"] if not s.ignore]
    for word in words:
        strip = readable[word.text]
        assert word.width == next(w for w in PADDED_WIDTHS if w >= strip.pixels.shape[1])
        assert word.height == strip.height and set(word.strips) == {48, 32, 24, 16}
        for rows, pixels in word.strips.items():
            assert pixels.shape == (rows, int(FORMS[rows].columns(strip.pixels.shape[1])), 3)
        np.testing.assert_array_equal(word.strips[48], strip.pixels)
    assert len(mapper(most_words=3)(record, np.random.default_rng(0))["words"]) == 3


def test_at_test_nothing_is_drawn_and_what_is_left_out_is_counted():
    record = SynthStripsDataset("val", config=SMALL)[4]
    one, other = (mapper(False, (48, 16))(record) for _ in range(2))
    for a, b in zip(one["words"], other["words"], strict=True):
        assert all((a.strips[rows] == b.strips[rows]).all() for rows in (48, 16))
    ignored = sum(s.ignore for s in record["strips"])
    assert one["skipped"]["don't care"] == ignored and len(one["words"]) == 10 - ignored


def test_a_mixture_draws_strips_and_photos_by_their_weights(make_record):
    strips, photos = SynthStripsDataset("train", config=SynthStripsConfig(words=2)), [make_record(("stone", "river"))]
    mixture = MixtureDataset([strips, photos], [3, 1], mapper(), seed=0)
    which = [mixture.locate(i)[0] for i in range(1000)]
    assert which.count(0) == 750
    seen = {mixture.locate(i)[0]: mixture[i]["words"] for i in range(12)}
    assert {w.text for w in seen[1]} == {"stone", "river"} and set(seen[0][0].strips) == {48, 24, 16}


def test_a_spotters_mapper_says_what_the_set_holds():
    record = SynthStripsDataset("train", config=SMALL)[0]
    with pytest.raises(ValueError, match="synthstrips_train/000000000 holds strips of single words, not a picture"):
        read_dict_image(record)
