import itertools
import logging

import numpy as np
import pytest
import torch

from dld.data.build import (
    BLOCK,
    MixtureDataset,
    PositionSampler,
    build_test_loader,
    build_train_loader,
    get_text_dataset,
)


def echo(record, rng):
    """A mapper that shows what it was given."""
    return record, rng.integers(1 << 30)


def numbers(name, count):
    return [(name, i) for i in range(count)]


def mixture(*sizes, weights=None, mapper=echo, seed=0):
    sets = [numbers(i, n) for i, n in enumerate(sizes)]
    return MixtureDataset(sets, weights or [1] * len(sizes), mapper, seed)


def test_a_sample_depends_on_seed_and_position_alone():
    forwards, backwards, other = mixture(17, 5), mixture(17, 5), mixture(17, 5, seed=1)
    positions = [0, 3, 999, 1000, 123_456]
    samples = [forwards[p] for p in range(1001)]
    assert [backwards[p] for p in reversed(positions)] == [forwards[p] for p in reversed(positions)]
    assert backwards[999] == samples[999] and backwards[1000] == samples[1000]
    assert [other[p] for p in positions] != [forwards[p] for p in positions]
    assert len({s[1] for s in samples}) == 1001, "no two positions share their random numbers"


def test_every_block_holds_each_set_by_its_weight():
    data = mixture(50, 50, 50, weights=[5, 3, 2])
    for block in range(2):
        drawn = [data.locate(p)[0] for p in range(block * BLOCK, (block + 1) * BLOCK)]
        assert np.bincount(drawn).tolist() == [500, 300, 200]
    assert len(set(drawn[:20])) > 1, "the sets are mixed, not one after the other"


def test_weights_that_do_not_divide_the_block_are_rounded_to_its_size():
    assert mixture(9, 9, 9).places.tolist() in ([334, 333, 333], [333, 334, 333], [333, 333, 334])


def test_a_small_set_beside_a_huge_one_is_still_drawn():
    data = mixture(10, 10, 10, weights=[800_000, 229, 0])
    assert data.places.tolist() == [999, 1, 0]


def test_every_image_comes_once_an_epoch_in_an_order_of_its_own():
    data = mixture(70)
    epochs = [[data.locate(p)[1] for p in range(e * 70, (e + 1) * 70)] for e in range(20)]
    assert all(sorted(e) == list(range(70)) for e in epochs)
    assert len({tuple(e) for e in epochs}) == 20


def test_epochs_of_each_of_several_sets_are_whole():
    data = mixture(30, 7, weights=[3, 1])
    drawn = [data.locate(p) for p in range(2400)]
    for which, size in ((0, 30), (1, 7)):
        indices = [i for w, i in drawn if w == which]
        for start in range(0, len(indices) - size, size):
            assert sorted(indices[start : start + size]) == list(range(size))


def test_endless_generated_images_come_in_order():
    class Endless:
        def __len__(self):
            return 1 << 40

        def __getitem__(self, i):
            return i

    data = MixtureDataset([Endless()], [1], echo, 0)
    assert [data[p][0] for p in (0, 1, 5_000_000_000)] == [0, 1, 5_000_000_000]


@pytest.mark.parametrize("weights", [[1], [1, -1], [0, 0], [1, float("nan")]])
def test_weights_that_make_no_sense_are_refused(weights):
    with pytest.raises(ValueError, match="2 training sets need as many weights"):
        mixture(3, 3, weights=weights)


def test_a_set_without_images_is_refused():
    with pytest.raises(ValueError, match="no images"):
        mixture(3, 0)


def test_an_unreadable_image_gives_its_place_to_another_of_its_set(caplog):
    def fussy(record, rng):
        if record[1] < 5:
            raise ValueError(f"cannot read image {record[1]}.jpg")
        return record

    data = mixture(10, 10, mapper=fussy)
    with caplog.at_level(logging.WARNING, logger="dld.data.build"):
        samples = [data[p] for p in range(40)]
    assert all(i >= 5 for _, i in samples)
    assert [which for which, _ in samples] == [data.locate(p)[0] for p in range(40)]
    assert "cannot read image" in caplog.text
    assert samples == [mixture(10, 10, mapper=fussy)[p] for p in range(40)], "replacements are as reproducible"


def test_ten_unreadable_images_in_a_row_end_the_run():
    def never(record, rng):
        raise ValueError(f"cannot read image {record[1]}.jpg")

    with pytest.raises(ValueError, match=r"10 training images in a row .* cannot read image \d+.jpg"):
        mixture(100, mapper=never)[0]


def test_two_processes_split_every_batch_of_one():
    whole = list(itertools.islice(PositionSampler(6), 5))
    parts = [list(itertools.islice(PositionSampler(6, rank, 2), 5)) for rank in range(2)]
    assert [a + b for a, b in zip(*parts, strict=True)] == whole
    assert list(itertools.chain(*whole)) == list(range(30))


def test_a_batch_that_cannot_be_split_is_refused():
    with pytest.raises(ValueError, match="IMS_PER_BATCH = 5 .* 2 processes"):
        PositionSampler(5, 0, 2)


def batches(cfg, count, start=0, workers=0):
    cfg.DATALOADER.NUM_WORKERS = workers
    loader = build_train_loader(cfg)
    loader.batch_sampler.start_iteration = start
    return [
        [(x["image_id"], x["image"].sum().item(), x["instances"].gt_boxes.tensor.tolist()) for x in batch]
        for batch in itertools.islice(loader, count)
    ]


@pytest.fixture
def loader_cfg(tiny_cfg, small_set):
    tiny_cfg.DATASETS.TRAIN = (small_set,)
    tiny_cfg.INPUT.ROTATION = 10.0
    return tiny_cfg


def test_a_resumed_loader_goes_on_as_the_unbroken_one(loader_cfg):
    unbroken = batches(loader_cfg, 5)
    assert batches(loader_cfg, 2, start=3) == unbroken[3:]
    assert sorted(i for batch in unbroken[:2] for i, _, _ in batch) == [f"drawn_{i}" for i in range(4)]


def test_the_number_of_workers_does_not_matter(loader_cfg):
    assert batches(loader_cfg, 4, start=1, workers=2) == batches(loader_cfg, 4, start=1)


def test_dont_care_words_are_counted_once(loader_cfg, register_records, make_record, make_annotation, caplog):
    record = make_record(("stone", "river"), ignore=(1,))
    box = np.array([[0, 0], [9, 0], [9, 9], [0, 9]])
    record["annotations"] += [make_annotation(box, "much too long"), make_annotation(box, "né")]
    loader_cfg.DATASETS.TRAIN = (register_records("mixed_words", [record]),)
    with caplog.at_level(logging.INFO, logger="dld.data.build"):
        build_train_loader(loader_cfg)
    assert "4 words; don't care: 1 annotated so, 1 longer than 10 characters, 1 outside the charset" in caplog.text


def test_weights_of_the_configuration(loader_cfg, register_records, make_record):
    loader_cfg.DATASETS.TRAIN += (register_records("one_word", [make_record()]),)
    assert build_train_loader(loader_cfg).dataset.places.tolist() == [800, 200], "by the number of images"
    loader_cfg.DATASETS.TRAIN_WEIGHTS = [1, 3]
    assert build_train_loader(loader_cfg).dataset.places.tolist() == [250, 750]


def test_no_training_set(tiny_cfg):
    tiny_cfg.DATASETS.TRAIN = ()
    with pytest.raises(ValueError, match="DATASETS.TRAIN is empty"):
        build_train_loader(tiny_cfg)


def test_an_unknown_name_is_answered_with_the_known_ones(small_set):
    with pytest.raises(KeyError, match="'totaltex_train'.*drawn_words"):
        get_text_dataset("totaltex_train")


def test_test_loader_gives_every_image_once_in_order(loader_cfg, small_set):
    loader_cfg.TEST.IMS_PER_BATCH = 3
    loaded = list(build_test_loader(loader_cfg, small_set))
    assert [[x["image_id"] for x in b] for b in loaded] == [["drawn_0", "drawn_1", "drawn_2"], ["drawn_3"]]
    assert all(isinstance(x["image"], torch.Tensor) and len(x["annotations"]) == 2 for b in loaded for x in b)
