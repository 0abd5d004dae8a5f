"""Finding the folders of unpacked archives, however they were unpacked."""

from pathlib import Path

import pytest

from dld.data.datasets.archives import ARCHIVES, FORMATS, find_file, find_folders


def touch(root, *names):
    for name in names:
        path = Path(root) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def found(root, ends, *extensions):
    folders = find_folders(root, ends, frozenset(extensions)) if extensions else find_folders(root, ends)
    return [str(f.relative_to(root)) for f in folders]


def test_the_folder_beside_below_or_itself(tmp_path):
    ends = ("ch4_training_images",)
    touch(tmp_path, "downloads/ICDAR/ch4_training_images/img_1.jpg")
    for root in (".", "downloads", "downloads/ICDAR", "downloads/ICDAR/ch4_training_images"):
        assert len(find_folders(tmp_path / root, ends)) == 1


def test_a_folder_inside_a_folder_of_its_name_and_mac_leftovers(tmp_path):
    touch(tmp_path, "ch4_training_images/ch4_training_images/img_1.jpg", "__MACOSX/ch4_training_images/._img_1.jpg")
    assert found(tmp_path, ("ch4_training_images",)) == ["ch4_training_images/ch4_training_images"]


def test_several_folders_of_one_name_all_count(tmp_path):
    touch(tmp_path, "ch8_training_images_1/a.jpg", "ch8_training_images_2/b.png", "ch8_validation_images/c.jpg")
    assert found(tmp_path, ("ch8_training_images*",)) == ["ch8_training_images_1", "ch8_training_images_2"]


def test_training_is_not_taken_for_test_and_case_does_not_matter(tmp_path):
    touch(tmp_path, "images/train/img1.jpg", "images/test/img2.jpg", "gt/train/poly_gt_img1.txt", "gt/test/p.txt")
    assert found(tmp_path, ARCHIVES["totaltext_train"].images) == ["images/train"]
    assert found(tmp_path, ARCHIVES["totaltext_test"].images) == ["images/test"]
    assert found(tmp_path, ARCHIVES["totaltext_train"].gt, ".txt", ".mat") == ["gt/train"]


def test_folders_without_the_files_do_not_count(tmp_path):
    touch(tmp_path, "Groundtruth_pixel/Train/img1.png", "txt_format/Train/poly_gt_img1.txt", "train/readme.md")
    assert found(tmp_path, ("Groundtruth*/Train", "txt_format/Train"), ".txt") == ["txt_format/Train"]
    assert found(tmp_path, ("nowhere",)) == []


def test_a_file_by_its_name(tmp_path):
    touch(tmp_path, "annotations/COCOText.v2.json", "SynthText/gt.mat")
    assert find_file(tmp_path, ("cocotext*.json",)) == tmp_path / "annotations/COCOText.v2.json"
    assert find_file(tmp_path, ("gt.mat",)) == tmp_path / "SynthText/gt.mat"
    assert find_file(tmp_path, ("other.json",)) is None


@pytest.mark.parametrize(
    ("kind", "stem", "name"),
    [
        ("icdar2013", "100", "gt_100.txt"),
        ("icdar2015", "img_1", "gt_img_1.txt"),
        ("totaltext", "img7", "poly_gt_img7.txt"),
        ("totaltext", "img7", "poly_gt_img7.mat"),
        ("ctw1500", "0001", "0001.xml"),
        ("ctw1500", "1001", "0001001.txt"),
    ],
)
def test_the_official_name_of_the_file_of_an_image(tmp_path, kind, stem, name):
    assert FORMATS[kind].find(stem, [tmp_path]) is None
    touch(tmp_path, name)
    assert FORMATS[kind].find(stem, [tmp_path / "elsewhere", tmp_path]) == tmp_path / name
