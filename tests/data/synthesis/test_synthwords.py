"""The registered data sets: streamed, disjoint, and what detectron2 expects."""

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import BoxMode

from dld.data.synthesis.config import SynthWordsConfig
from dld.data.synthesis.synthwords import SynthWordsDataset, dense_options, register_synthwords

SMALL = SynthWordsConfig(size=(128, 160), max_words=4, max_height=30.0, empty_rate=0.0)


def test_lengths():
    assert len(SynthWordsDataset("train")) == 10_000_000
    assert len(SynthWordsDataset("val")) == 1000
    assert len(SynthWordsDataset("val", 7)) == 7
    with pytest.raises(ValueError, match="0"):
        SynthWordsDataset("val", 0)
    with pytest.raises(ValueError, match="'test'"):
        SynthWordsDataset("test")


def test_a_record_is_a_dataset_dict_with_its_image():
    record = SynthWordsDataset("train", config=SMALL)[12]
    assert record["file_name"] == "synthwords_train/000000012.png"
    assert record["image_id"] == "synthwords_train_000000012"
    assert record["image"].shape == (record["height"], record["width"], 3) == (128, 160, 3)
    assert record["annotations"]
    for word in record["annotations"]:
        assert word["bbox_mode"] == BoxMode.XYXY_ABS and word["category_id"] == 0 and word["iscrowd"] == 0
        x0, y0, x1, y1 = word["bbox"]
        assert (x0, y0) == pytest.approx(word["polygon"].min(0)) and (x1, y1) == pytest.approx(word["polygon"].max(0))
        assert word["polygon"].dtype == np.float32 and isinstance(word["text"], str) and isinstance(word["ignore"], bool)


def test_iteration_ends_and_indices_are_checked():
    data = SynthWordsDataset("val", 3, SMALL)
    assert [record["image_id"][-1] for record in data] == ["0", "1", "2"]
    assert data[-1]["image_id"] == data[2]["image_id"]
    with pytest.raises(IndexError, match="3 images"):
        data[3]


def test_a_worker_process_gives_the_same_images():
    data = SynthWordsDataset("train", 8, SMALL)
    loader = torch.utils.data.DataLoader(data, sampler=[5, 1], batch_size=None, num_workers=1, collate_fn=lambda x: x)
    for record, index in zip(loader, (5, 1), strict=True):
        np.testing.assert_array_equal(np.asarray(record["image"]), data[index]["image"])


def test_train_and_val_share_no_image():
    train, val = SynthWordsDataset("train", config=SMALL), SynthWordsDataset("val", config=SMALL)
    assert not any(np.array_equal(train[i]["image"], val[i]["image"]) for i in range(3))


def test_registration_is_idempotent_streamed_and_configurable():
    register_synthwords("synthwords_trial", size=(96, 96), val_length=5)
    register_synthwords("synthwords_trial")  # without options: as they are
    val = DatasetCatalog.get("synthwords_trial_val")
    assert isinstance(val, torch.utils.data.Dataset) and len(val) == 5
    assert val[0]["file_name"] == "synthwords_trial_val/000000000.png" and val[0]["height"] == 96
    metadata = MetadataCatalog.get("synthwords_trial_val")
    assert metadata.thing_classes == ["text"]
    assert (metadata.evaluator_type, metadata.protocol) == ("text_spotting", "icdar2015")
    register_synthwords("synthwords_trial", size=(128, 96), dense=True)
    assert DatasetCatalog.get("synthwords_trial_train").config.density == 1.0
    assert DatasetCatalog.get("synthwords_trial_val").config == SynthWordsConfig(size=(128, 96))
    for name in ("synthwords_trial_train", "synthwords_trial_val"):
        DatasetCatalog.remove(name)


def test_an_unknown_option_is_named():
    with pytest.raises(KeyError, match="colour"):
        register_synthwords("synthwords_trial", colour="red")


def test_dense_images_are_full():
    config = SynthWordsConfig(size=(320, 320), **dense_options((320, 320)))
    data = SynthWordsDataset("train", config=config)
    assert config.max_words == 12
    assert np.mean([len(data[i]["annotations"]) for i in range(8)]) > 9
