"""Image files: sizes as the mapper will see them, polygons that turn with their image."""

import numpy as np
import pytest
from PIL import Image

from dld.data.datasets.image_files import image_size, link_or_copy, list_images, orient_points
from dld.data.picture import read_picture


def save(path, width=7, height=4, orientation=None, spot=None):
    pixels = np.zeros((height, width, 3), np.uint8)
    if spot is not None:
        pixels[spot[1], spot[0]] = 255
    exif = Image.Exif()
    if orientation is not None:
        exif[0x0112] = orientation
    Image.fromarray(pixels).save(path, exif=exif)
    return path


@pytest.mark.parametrize("ending", [".png", ".tif"])
@pytest.mark.parametrize("orientation", [None, *range(1, 9), 77])
def test_size_and_points_follow_the_reader_of_the_mapper(tmp_path, orientation, ending):
    path = save(tmp_path / f"a{ending}", orientation=orientation, spot=(5, 1))
    shown = read_picture(path)
    width, height, found = image_size(path)
    assert (height, width) == shown.shape[:2]
    assert image_size(path, decode=True) == (width, height, found)
    assert found == (orientation if orientation in range(1, 9) else 1)
    # the middle of the one bright pixel, before and after turning
    row, column = np.argwhere(shown[..., 0] == 255)[0]
    turned = orient_points(np.array([[5.5, 1.5]]), found, width, height)
    assert turned.tolist() == [[column + 0.5, row + 0.5]]


def test_an_unreadable_image_is_named(tmp_path):
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"not an image")
    with pytest.raises(ValueError, match=r"broken\.jpg"):
        image_size(broken)
    with pytest.raises(FileNotFoundError, match=r"none\.jpg"):
        image_size(tmp_path / "none.jpg")


def test_a_cut_off_image_shows_only_when_decoded(tmp_path):
    whole = tmp_path / "whole.jpg"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)).save(whole)
    cut = tmp_path / "cut.jpg"
    cut.write_bytes(whole.read_bytes()[:1500])
    assert image_size(cut) == (64, 64, 1)
    with pytest.raises(ValueError, match=r"cut\.jpg"):
        image_size(cut, decode=True)


def test_images_are_listed_as_people_count_and_nothing_else(tmp_path):
    for name in ("img_10.jpg", "img_2.JPG", "img_1.png", "._img_1.png", "gt_img_1.txt", "Thumbs.db"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "folder.jpg").mkdir()
    assert [p.name for p in list_images([tmp_path])] == ["img_1.png", "img_2.JPG", "img_10.jpg"]


def test_a_link_replaces_what_was_there(tmp_path):
    source, target = save(tmp_path / "a.png"), tmp_path / "to" / "b.png"
    link_or_copy(source, target)
    assert target.samefile(source)
    link_or_copy(source, target)
    other = save(tmp_path / "c.png", width=9)
    link_or_copy(other, target)
    assert target.read_bytes() == other.read_bytes() and image_size(source)[0] == 7


def test_where_links_are_impossible_it_is_copied(tmp_path, monkeypatch):
    monkeypatch.setattr("os.link", lambda *_: (_ for _ in ()).throw(OSError("no links here")))
    source, target = save(tmp_path / "a.png"), tmp_path / "b.png"
    link_or_copy(source, target)
    assert target.read_bytes() == source.read_bytes() and not target.samefile(source)
