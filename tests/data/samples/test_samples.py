"""The sample pictures: there, small, annotated, a registered data set, and drawn again by the command that made them."""

import importlib.metadata

import cv2
import numpy as np
import pytest

from dld.data.annotation import read_annotations
from dld.data.build import get_text_dataset
from dld.data.dataset_mapper import read_dict_image
from dld.data.datasets.builtin import register_all
from dld.data.samples import ANNOTATIONS, IMAGES, NAME, sample_files
from dld.data.samples.render import PHOTOS, SCENES, credits_text, font_licences, render_samples
from dld.data.synthesis.fonts import find_font_files, load_faces


def test_every_picture_is_annotated_and_no_other():
    annotated = [image.file_name for image in read_annotations(ANNOTATIONS)]
    assert annotated == [f"{scene.name}.jpg" for scene in SCENES]
    assert sorted(annotated) == [path.name for path in sample_files()] == sorted(p.name for p in IMAGES.iterdir())
    assert sum(path.stat().st_size for path in sample_files()) < 1.5e6


def test_they_are_a_data_set_whose_words_lie_in_their_pictures():
    register_all()
    dataset = get_text_dataset(NAME)
    assert len(dataset) == len(SCENES)
    for record in dataset:
        image = read_dict_image(record)
        assert image.shape == (record["height"], record["width"], 3)
        for annotation in record["annotations"]:
            polygon = np.asarray(annotation["polygon"])
            assert polygon.min() > -1 and (polygon.max(0) < np.array([record["width"], record["height"]]) + 1).all()


def test_they_are_varied():
    """Small and large, upright and curved, light and dark."""
    images = read_annotations(ANNOTATIONS)
    heights = [cv2.minAreaRect(w.polygon.astype(np.float32))[1] for im in images for w in im.words]
    heights = sorted(min(sides) for sides in heights)
    assert heights[0] < 16 and heights[-1] > 60
    assert sum(len(w.polygon) > 4 for im in images for w in im.words) >= 5
    light = [cv2.imread(str(path)).mean() for path in sample_files()]
    assert min(light) < 60 and max(light) > 110


def test_they_are_drawn_again(tmp_path):
    names = frozenset({"restaurant", "slow_down"})
    render_samples(tmp_path, names)
    committed = {im.image_id: im for im in read_annotations(ANNOTATIONS)}
    for image in read_annotations(tmp_path / "annotations.json"):
        known = committed[image.image_id]
        assert [w.text for w in image.words] == [w.text for w in known.words]
        for ours, theirs in zip(image.words, known.words, strict=True):
            assert np.abs(ours.polygon - theirs.polygon).max() < 1
        drawn, kept = (cv2.imread(str(f / image.file_name)).astype(float) for f in (tmp_path / "images", IMAGES))
        # codecs and resizing differ a little between versions of OpenCV
        assert np.abs(drawn - kept).mean() < 3
    assert {p.name for p in (tmp_path / "images").iterdir()} == {f"{name}.jpg" for name in names}


def test_the_credits_name_every_photograph_and_every_font():
    text = (ANNOTATIONS.parent / "CREDITS.md").read_text(encoding="utf-8")
    assert text == credits_text(), "run `python -m dld.data.samples.render`"
    assert all(f"`{name}`" in text and ("CC0" in terms or "public domain" in terms) for name, terms in PHOTOS.items())
    assert set(font_licences()) == {"Apache-2.0", "OFL-1.1"}, "other licences would have to be looked at first"
    families = {name.replace(" ", "").lower() for names in font_licences().values() for name in names}
    packages = list(importlib.metadata.entry_points(group="fontpkg.family"))
    assert len(families) == len(packages) and len(find_font_files()) >= len(packages)
    drawn = {name.replace(" ", "").lower() for name in load_faces()}
    assert len(drawn) > 0.9 * len(families)


def test_photographs_that_are_not_installed_are_asked_for(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match="pip install scikit-image"):
        render_samples(tmp_path)
