"""What words lose at lower strips: probabilities against the beam search, the table against its definition."""

import numpy as np
import pytest
import torch

from dld.data.strip_words import StripMapper
from dld.engine.rows_losses import measure_rows_losses, text_probabilities
from dld.modeling.recognition.ctc_beam_search import ctc_beam_search
from dld.modeling.recognition.strip_recognizer import StripRecognizer, load_strip_recognizer
from dld.strips.rows_price import checked_shares, height_class, loss_table
from dld.text.charset import Charset, named_charset


@pytest.fixture
def reader():
    reader = load_strip_recognizer("strip_reader")
    reader.low = load_strip_recognizer("strip_reader_low")
    reader.keep_characters(named_charset("ascii", reader.charset.characters))
    return reader


def test_probabilities_are_those_of_all_alignments(make_record):
    torch.manual_seed(0)
    reader = StripRecognizer(charset=Charset("rive"))
    words = StripMapper(False, reader.charset, 8, [48, 24])(make_record(words=("river", "vivi")), None)["words"]
    assert [w.text for w in words] == ["river", "vivi"]
    for rows in (48, 24):
        probability, right = text_probabilities(reader, words, rows)
        assert not right.any()
        for k, word in enumerate(words):
            pixels = torch.from_numpy(word.strips[rows][None].astype(np.float32) / 127.5 - 1).permute(0, 3, 1, 2)
            padded = torch.zeros(1, 3, rows, word.width if rows > 24 else word.width // 2)
            padded[..., : pixels.shape[-1]] = pixels
            beams = ctc_beam_search(reader.logits(padded).double(), num_sequences=50, beam_width=400)
            known = {
                tuple(i for i in ids if 0 < i <= 4): p
                for ids, p in zip(beams.ids[0].tolist(), beams.log_probabilities[0].tolist(), strict=True)
            }
            ids = tuple("rive".index(c) + 1 for c in word.text)
            if ids in known:
                assert probability[k] == pytest.approx(np.exp(known[ids]), rel=1e-2)
            assert 0 < probability[k] < 1


def test_the_table_is_the_mean_loss_of_words_read_at_48_rows(reader, make_record):
    records = [make_record(seed=seed, height=120 + 60 * seed, width=400, font=0.5 + 0.4 * seed) for seed in range(4)]
    found = measure_rows_losses(reader, records, [32, 24, 16], 32)
    table = loss_table(found.losses)
    assert sorted(table) == [16, 24, 32, 48] and not table[48].any()
    assert (table[16] >= table[24]).all() and (table[24] >= table[32]).all()
    assert sum(checked_shares(found.shares)) == pytest.approx(1, abs=1e-4)
    mapper, lost, counted = StripMapper(False, reader.charset, 32, [48, 32, 24, 16]), {}, [0] * 7
    for record in records:
        words = mapper(record, None)["words"]
        full, right = text_probabilities(reader, words, 48)
        low = text_probabilities(reader, words, 16)[0]
        for k, word in enumerate(words):
            if right[k]:
                own = int(height_class(np.array([word.height]))[0])
                counted[own] += 1
                lost.setdefault(own, []).append(max(full[k] - low[k], 0))
    assert found.words == counted and sum(counted) >= 4
    for own, values in lost.items():
        assert table[16][own] == pytest.approx(np.mean(values), abs=2e-5) or table[16][own] >= np.mean(values)
    empty = counted.index(0)
    assert any(np.array_equal(table[16][empty], table[16][own]) for own in lost), "what is not known is as what is nearest"


def test_the_first_images_alone(reader, make_record):
    assert sum(measure_rows_losses(reader, [make_record(seed=s) for s in range(3)], [24], 32, count=1).words) <= 2


def test_a_set_in_which_nothing_is_read_is_named(reader, make_record):
    with pytest.raises(ValueError, match="no word of 1 images is read at 48 rows"):
        measure_rows_losses(reader, [make_record(ignore=(0, 1))], [24], 32)
