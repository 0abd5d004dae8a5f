"""The plain reading of the published algorithm computes what our step computes."""

import numpy as np
import pytest
import torch
from distilling import as_distiller, awaken, build

from dld.benchmark.published_step import search_word_by_word
from dld.benchmark.same_results import DifferentResultsError, check_beams, check_losses, first_samples
from dld.benchmark.training import TrainingStep, arithmetic, check_step
from dld.data.dataset_mapper import TextDatasetMapper
from dld.modeling.recognition.beam_search import beam_search
from dld.modeling.recognition.decoder import AttentionDecoder


def decoder_of(V=9, dim=12, seed=0):
    torch.manual_seed(seed)
    decoder = AttentionDecoder(dim, dim, num_inputs=V + 1, num_outputs=V, start=V, end=0)
    with torch.no_grad():
        decoder.output.weight.mul_(8)
        decoder.embedding.weight.mul_(4)
        decoder.cell.weight_ih.mul_(4)
    return decoder


@pytest.mark.parametrize(("K", "B", "max_length"), [(1, 1, 5), (3, 3, 6), (2, 5, 4), (3, 4, 0), (12, 12, 1)])
def test_word_by_word_finds_the_same_beams(K, B, max_length):
    decoder = decoder_of()
    context = torch.randn(20, 7, 12, generator=torch.Generator().manual_seed(1)) * 2
    ours = beam_search(decoder, context, num_sequences=K, beam_width=B, max_length=max_length)
    plain = search_word_by_word(decoder, context, K, B, max_length)
    assert check_beams(ours, plain) < 1e-4
    assert torch.equal(ours.lengths, plain.lengths) and torch.equal(ours.valid, plain.valid)
    if K > 1 and max_length > 3:
        assert len(ours.lengths.unique()) > 3, "words of several lengths"


def test_no_words_no_beams():
    decoder = decoder_of()
    empty = torch.zeros(0, 7, 12)
    assert len(search_word_by_word(decoder, empty, 3, 3, 5).ids) == 0


def test_other_beams_are_noticed():
    decoder, context = decoder_of(), torch.randn(4, 7, 12, generator=torch.Generator().manual_seed(1)) * 2
    beams = search_word_by_word(decoder, context, 3, 3, 5)
    wrong = beams.ids.clone()
    wrong[2, 0, 0] = (wrong[2, 0, 0] + 1) % 9
    with pytest.raises(DifferentResultsError, match="beam 0 of word 2"):
        check_beams(beams, beams._replace(ids=wrong))
    with pytest.raises(DifferentResultsError, match="beam 1 of word 0"):
        scores = beams.log_probabilities.clone()
        scores[0, 1] -= 0.1
        check_beams(beams, beams._replace(log_probabilities=scores))
    with pytest.raises(DifferentResultsError, match="words x K"):
        check_beams(beams, search_word_by_word(decoder, context[:3], 3, 3, 5))


def test_other_losses_are_noticed():
    ours = {"x": torch.tensor(1.0), "y": torch.tensor(2.0)}
    assert check_losses(ours, {"x": torch.tensor(1.0), "y": torch.tensor(2.001)}, 1e-3) == pytest.approx(5e-4, rel=1e-2)
    with pytest.raises(DifferentResultsError, match="y is 2 in one and 2.01"):
        check_losses(ours, {"x": torch.tensor(1.0), "y": torch.tensor(2.01)}, 1e-3)
    with pytest.raises(DifferentResultsError, match=r"only one of the two has: \['y'\]"):
        check_losses(ours, {"x": torch.tensor(1.0)}, 1e-3)
    with pytest.raises(DifferentResultsError):
        check_losses(ours, {"x": torch.tensor(1.0), "y": torch.tensor(float("nan"))}, 1e-3)


@pytest.fixture
def step(tiny_cfg) -> TrainingStep:
    """A distiller of random weights that are large enough for words to differ."""
    model = awaken(build(as_distiller(tiny_cfg), "MODEL.SELECTOR.SCALES", [0.5, 1.0]))
    with torch.no_grad():
        for spotter in (model.teacher, model.student):
            spotter.decoder.output.weight *= 4
    return TrainingStep(model)


@pytest.fixture
def batch(tiny_cfg, make_record):
    """Four images of two sizes: words, words of which one is don't care, none, and one word."""
    mapper = TextDatasetMapper(tiny_cfg, True)
    scenes = ((("stone", "river"), ()), (("exit", "Cafe", "no"), (1,)), ((), ()), (("north",), ()))
    sizes = ((96, 128), (96, 128), (128, 96), (96, 128))
    records = [
        make_record(words, *size, ignore=ignore, seed=i)
        for i, ((words, ignore), size) in enumerate(zip(scenes, sizes, strict=True))
    ]
    return [mapper(record, np.random.default_rng(i)) for i, record in enumerate(records)]


def test_one_by_one_gives_the_losses_and_beams_of_the_batch(step, batch):
    with first_samples():
        found = check_step(step, batch, rtol=1e-3)
        losses = step.losses
        assert found["largest_difference_of_losses"] < 1e-3
        step.ours(batch)
    scales, step.losses = step.scales, losses
    assert set(scales) == {0.5, 1.0} and scales[1] == scales[3], "two of one size run together, others do not"
    assert {"loss_selector", "loss_rec", "loss_mask", "loss_kd_sequence"} <= set(step.losses)
    assert all(value > 0 for value in step.losses.values())


def test_a_wrong_weight_of_a_loss_is_noticed(step, batch, monkeypatch):
    monkeypatch.delitem(step.model.loss_units, "loss_rec")
    with first_samples(), pytest.raises(DifferentResultsError, match="loss_rec"):
        check_step(step, batch, rtol=1e-3)


def test_a_step_leaves_the_weights_where_they_were(step, batch):
    before = {k: v.clone() for k, v in step.model.state_dict().items()}
    for way in (step.ours, step.published, step.plain):
        way(batch)
        assert sum(p.grad is not None and bool(p.grad.any()) for p in step.model.student.parameters()) > 20
    after = step.model.state_dict()
    assert all(torch.equal(after[k], v) for k, v in before.items())


def test_the_arithmetic_at_its_ends():
    assert arithmetic(0.0) == 1.5 and arithmetic(1.0) == 3.3
    assert arithmetic(0.5) == pytest.approx(2.4)
