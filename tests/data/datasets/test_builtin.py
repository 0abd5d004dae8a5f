"""The built-in data sets: known by name, found through the environment, missed with advice."""

import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog

from dld.data.annotation import ImageAnnotation, TextAnnotation, write_annotations
from dld.data.datasets.builtin import BUILTIN, dataset_files, register_all

NAMES = (
    "icdar2013_train icdar2013_test icdar2015_train icdar2015_val icdar2015_test icdar2017_mlt_train totaltext_train "
    "totaltext_val totaltext_test ctw1500_train ctw1500_test cocotext_train synthtext_train"
).split()


@pytest.fixture(autouse=True)
def registered():
    register_all()
    register_all()  # a second call does nothing


def prepare(root, name, image_id):
    (root / name / "images").mkdir(parents=True)
    word = TextAnnotation(np.array([[1.0, 1], [8, 1], [8, 4]]), "ab")
    write_annotations(root / name / "annotations.json", [ImageAnnotation("a.jpg", image_id, 10, 6, [word])], name)


def test_every_name_is_registered_and_scored_by_its_protocol():
    assert list(BUILTIN) == NAMES
    for name in (*NAMES, "synthwords_train", "synthwords_val", "synthstrips_train", "synthstrips_val"):
        assert name in DatasetCatalog
        metadata = MetadataCatalog.get(name)
        assert metadata.thing_classes == ["text"] and metadata.evaluator_type == "text_spotting"
    assert MetadataCatalog.get("totaltext_val").protocol == "totaltext"
    assert MetadataCatalog.get("icdar2013_test").protocol == "icdar2013"


def test_the_environment_is_read_when_a_data_set_is_loaded(tmp_path, monkeypatch):
    for root in ("one", "two"):
        prepare(tmp_path / root, "totaltext_val", root)
        monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path / root))
        (record,) = DatasetCatalog.get("totaltext_val")
        assert record["image_id"] == root
        metadata = MetadataCatalog.get("totaltext_val")
        assert metadata.image_root == str(tmp_path / root / "totaltext_val" / "images")
        assert metadata.json_file == str(tmp_path / root / "totaltext_val" / "annotations.json")


def test_without_the_environment_it_is_the_folder_datasets(tmp_path, monkeypatch):
    monkeypatch.delenv("DETECTRON2_DATASETS", raising=False)
    monkeypatch.chdir(tmp_path)
    assert dataset_files("ctw1500_test")[0] == tmp_path / "datasets" / "ctw1500_test" / "annotations.json"


@pytest.mark.parametrize("name", NAMES)
def test_what_is_not_prepared_names_the_command(tmp_path, monkeypatch, name):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=rf"prepare_dataset\.py {name} --root"):
        DatasetCatalog.get(name)
