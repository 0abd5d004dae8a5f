import pytest

from dld.data.reuse import ReusedPictures


class Counting:
    """A hundred pictures that count how often they are rendered."""

    def __init__(self):
        self.rendered = []

    def __len__(self):
        return 100

    def __getitem__(self, index):
        self.rendered.append(index)
        return {"number": index}


def test_pictures_are_rendered_once_and_used_as_often_as_asked():
    pictures = Counting()
    reused = ReusedPictures(pictures, times=3, pool=4)
    assert len(reused) == 100
    order = [reused[i]["number"] for i in range(24)]
    # two blocks of four pictures, each block three times over
    assert order == [0, 1, 2, 3] * 3 + [4, 5, 6, 7] * 3
    assert pictures.rendered == list(range(8))


def test_an_element_depends_on_its_number_alone():
    forward, backward = ReusedPictures(Counting(), 2, 3), ReusedPictures(Counting(), 2, 3)
    expected = [forward[i]["number"] for i in range(30)]
    assert [backward[i]["number"] for i in reversed(range(30))][::-1] == expected
    assert sorted(set(expected)) == list(range(15))
    assert all(len(set(expected[i : i + 3])) == 3 for i in range(0, 30, 3)), "no picture twice in a batch"


def test_once_is_the_data_set_itself_and_memory_holds_the_pool_only():
    reused = ReusedPictures(Counting(), 1, 5)
    assert [reused[i]["number"] for i in range(40)] == list(range(40))
    assert len(reused._kept) == 5
    with pytest.raises(ValueError, match="REUSE must be at least 1, got 0"):
        ReusedPictures(Counting(), 0)


def test_the_training_loader_reuses_generated_pictures_with_other_views(tiny_cfg):
    from dld.data.build import build_train_loader
    from dld.data.synthesis.synthwords import register_synthwords

    register_synthwords("reuse_words", size=(96, 128), max_words=3)
    tiny_cfg.DATASETS.TRAIN, tiny_cfg.DATALOADER.NUM_WORKERS = ("reuse_words_train",), 0
    tiny_cfg.DATASETS.SYNTHWORDS.REUSE = 2
    dataset = build_train_loader(tiny_cfg).dataset
    first, again = dataset[0], dataset[32]
    assert first["file_name"] == again["file_name"] != dataset[1]["file_name"]
    assert first["image"].shape != again["image"].shape or not (first["image"] == again["image"]).all()
