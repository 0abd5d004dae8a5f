"""Facts about reading many pictures: order, words, scales, budgets, and what is held meanwhile."""

import json
import logging
import threading
import weakref

import numpy as np
import pytest
import torch

from dld.inference.predictor import TextSpotter, spot_items
from dld.modeling.resolution.rescale import rescale_images
from dld.weights import load_weights_file, save_safetensors


@pytest.fixture
def spotter(tiny_weights):
    return TextSpotter.from_checkpoint(tiny_weights["student"], device="cpu")


@pytest.fixture
def teacher(tiny_weights):
    return TextSpotter.from_checkpoint(tiny_weights["teacher"], device="cpu")


@pytest.fixture
def pictures(make_record):
    """Of three sizes and different texts, so that scales and padded sizes differ."""
    sizes = [(96, 128), (96, 128), (128, 96), (60, 200), (96, 128), (128, 96)]
    return [make_record(("stone", str(i)), h, w, seed=i)["image"] for i, (h, w) in enumerate(sizes)]


def same(one, other):
    assert [w.text for w in one.words] == [w.text for w in other.words] and one.scale == other.scale
    assert (one.width, one.height, one.cost) == (other.width, other.height, other.cost)
    for a, b in zip(one.words, other.words, strict=True):
        assert a.polygon == pytest.approx(b.polygon, abs=0.01) and a.score == pytest.approx(b.score, abs=1e-4)
        assert a.char_scores == pytest.approx(b.char_scores, abs=1e-4)


def test_a_list_gives_in_order_what_its_pictures_give_one_by_one(spotter, teacher, pictures):
    for chosen in (spotter, teacher):
        alone = [chosen(picture) for picture in pictures]
        assert chosen is teacher or len({result.scale for result in alone}) > 1
        for batch_size in (4, 6):
            together = chosen(pictures, batch_size=batch_size)
            assert isinstance(together, list)
            for one, other in zip(alone, together, strict=True):
                same(one, other)
        assert [r.to_dict() for r in chosen(tuple(pictures))] == [r.to_dict() for r in alone]
        assert chosen([]) == []


@pytest.fixture
def threads():
    """Sets the number of torch's threads for a test."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def test_several_threads_read_the_pictures_of_a_batch_at_once(spotter, teacher, pictures, threads, monkeypatch):
    threads(2)
    for chosen in (spotter, teacher):
        alone = [chosen(picture) for picture in pictures]
        both, seen = threading.Barrier(2, timeout=60), []
        forward = chosen.model.forward

        def watched(records, both=both, seen=seen, forward=forward):
            seen.append((threading.get_ident(), torch.get_num_threads(), len(records), torch.is_inference_mode_enabled()))
            if len(seen) <= 2:
                both.wait()  # passes only if the other thread is here, too
            return forward(records)

        monkeypatch.setattr(chosen.model, "forward", watched)
        for one, other in zip(alone, chosen(pictures, batch_size=6), strict=True):
            same(one, other)
        assert len({thread for thread, *_ in seen}) == 2 and [how for _, *how in seen] == [[1, 1, True]] * 6
        assert torch.get_num_threads() == 2


def test_pictures_of_one_scale_and_size_run_together_on_one_thread(spotter, pictures, threads, monkeypatch):
    threads(1)
    batches = []
    spot = spotter.model.student.spot
    monkeypatch.setattr(spotter.model.student, "spot", lambda images: batches.append(images.tensor.shape) or spot(images))
    scales = [result.scale for result in spotter(pictures, batch_size=len(pictures))]
    assert sum(shape[0] for shape in batches) == len(pictures)
    assert len(batches) == len({(scale, picture.shape) for scale, picture in zip(scales, pictures, strict=True)})


def test_an_iterator_is_read_as_its_results_are_asked_for(spotter, pictures):
    taken = []
    results = spotter((taken.append(i) or picture for i, picture in enumerate(pictures)), batch_size=2)
    assert taken == []
    same(next(results), spotter(pictures[0]))
    assert taken == [0, 1]
    next(results)
    assert taken == [0, 1]
    next(results)
    assert taken == [0, 1, 2, 3]
    assert len(list(results)) == 3 and taken == list(range(6))
    with pytest.raises(ValueError, match="picture 1: "):
        list(spotter(iter([pictures[0], np.zeros((4, 4, 5), np.uint8), pictures[1]])))


def test_no_more_than_a_batch_of_items_is_alive(spotter):
    class Item:
        def __init__(self, index):
            self.index, self.pixels = index, np.full((32, 32, 3), 10 * index, np.uint8)

    alive, most, order = weakref.WeakSet(), 0, []

    def items():
        for index in range(12):
            item = Item(index)
            alive.add(item)
            yield item

    for item, result in spot_items(spotter, items(), batch_size=3):
        most = max(most, len(alive))
        order.append(item.index)
        assert result.pixels is None
    assert order == list(range(12)) and most <= 4  # the batch, and the one that was looked at before


def test_a_forced_scale_reads_the_antialiased_smaller_picture(spotter, teacher, pictures):
    for chosen in (spotter, teacher):
        result = chosen(pictures[0], scale=0.5)
        network = getattr(chosen.model, "student", chosen.model)
        record = chosen.mapper({"image": pictures[0], "height": 96, "width": 128})
        normal = (record["image"] - network.pixel_mean) / network.pixel_std
        with torch.inference_mode():
            found = network.postprocess(network.spot(rescale_images([normal], 0.5)), [record])[0]["instances"]
        assert [w.text for w in result.words] == found.pred_texts and result.scale == 0.5
        assert 0.25 < result.cost < 0.6 and result.gflops > 0  # a quarter of the pixels, all of the words
    assert spotter.model.fixed_scale is None and teacher(pictures[0]).scale is None
    same(teacher(pictures[0], scale=1), teacher(pictures[0], budget=1.0))
    assert [w.text for w in teacher(pictures[0], scale=1).words] == [w.text for w in teacher(pictures[0]).words]
    assert spotter(pictures[0], scale="0.6").scale == 0.6


def test_a_budget_holds_for_every_picture(spotter, teacher, pictures):
    """The first expectation is worked out here from the costs and the selector's scores."""
    model = spotter.model
    for budget in (0.3, 0.5, 0.9):
        for result, picture in zip(spotter(pictures, budget=budget), pictures, strict=True):
            images = model.normalize([spotter.mapper({"image": picture})])
            with torch.inference_mode():
                scores = model.score_scales(images)[0].tolist()
            costs = model.cost_table.costs([tuple(images[0].shape[-2:])], [model.expected_words])[0].tolist()
            affordable = [i for i, cost in enumerate(costs) if cost <= budget]
            best = max(affordable, key=lambda i: scores[i]) if affordable else 0
            assert result.scale == model.scales[best]
    scales = [teacher(pictures[0], budget=budget).scale for budget in (0.2, 0.4, 0.7, 1.0)]
    assert scales == sorted(scales) and len(set(scales)) > 2 and scales[-1] == 1
    assert [r.scale for r in spotter(pictures, budget=5.0)] == [r.scale for r in spotter(pictures)]


def test_a_budget_below_every_scale_gives_the_cheapest_and_a_warning(spotter, pictures, caplog):
    with caplog.at_level(logging.WARNING, "dld"):
        assert spotter(pictures[0], budget=0.001).scale == 0.4
    assert "256 x 192 pixels cannot be read for 0.001 of the teacher's cost: the cheapest scale, 0.4" in caplog.text


def test_a_stored_table_gives_the_mu_of_the_budget(tiny_weights, pictures, tmp_path):
    loaded = load_weights_file(tiny_weights["student"])
    path = str(tmp_path / "calibrated.safetensors")
    about = {"budget": json.dumps({"table": [[0.3, 1e6], [0.6, 0.0], [0.9, -1e6]]})}
    save_safetensors(path, loaded["model"], {"config": loaded["config"], **about}, half=False)
    spotter = TextSpotter.from_checkpoint(path, device="cpu")
    chosen = [result.scale for result in spotter(pictures)]
    assert {r.scale for r in spotter(pictures, budget=0.5)} == {0.4}
    assert [r.scale for r in spotter(pictures, budget=0.6)] == chosen
    assert {r.scale for r in spotter(pictures, budget=2.0)} == {0.8}
    assert [result.scale for result in spotter(pictures)] == chosen  # nothing of the model was changed
    with pytest.raises(ValueError, match="a budget of 0.2 is below what these weights can do: 0.3 to 0.9"):
        spotter(pictures, budget=0.2)


def test_options_that_make_no_sense_are_refused(spotter, pictures):
    for options, message in (
        ({"scale": 0}, 'scale must be "auto" or a number above 0 and at most 2, got 0'),
        ({"scale": "half"}, "got 'half'"),
        ({"scale": float("nan")}, "got nan"),
        ({"scale": 40}, "got 40"),
        ({"budget": -1}, "budget must be a share of the teacher's cost above 0, such as 0.6, got -1"),
        ({"budget": "much"}, "got 'much'"),
        ({"scale": 0.5, "budget": 0.4}, "give scale or budget, not both"),
        ({"batch_size": 0}, "batch_size must be a whole number from 1, got 0"),
        ({"batch_size": 2.5}, "got 2.5"),
        ({"channel_order": "GBR"}, "channel_order must be one of BGR, RGB"),
    ):
        with pytest.raises(ValueError, match=message):
            spotter(pictures[0], **options)


def test_drawing_a_result(spotter, pictures, tmp_path):
    result = spotter(pictures[0])
    drawn = np.asarray(result.draw())
    assert drawn.shape == (96, 128, 3) and (drawn != pictures[0][:, :, ::-1]).any()
    assert (np.asarray(result.draw(pictures[0])) == drawn).all()
    assert (np.asarray(spotter(pictures[0][:, :, ::-1], channel_order="RGB").draw()) == drawn).all()
    result.draw().save(tmp_path / "drawn.png")
    again = spotter(iter([tmp_path / "drawn.png", pictures[0]]))
    assert next(again).draw().size == (128, 96)  # from its file
    with pytest.raises(ValueError, match="does not keep its image"):
        next(again).draw()


def test_scales_of_many_callers_do_not_fill_the_memory(spotter, pictures, monkeypatch):
    monkeypatch.setattr("dld.inference.predictor.MOST_VIEWS", 3)
    first = spotter(pictures[0], scale=0.5).to_dict()
    for scale in np.linspace(0.3, 0.9, 7):
        spotter(pictures[:0], scale=float(scale))
    assert len(spotter._views) == 3
    assert spotter(pictures[0], scale=0.5).to_dict() == first
