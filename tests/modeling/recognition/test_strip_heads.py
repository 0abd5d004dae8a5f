"""The two heads of the reader of strips: what each reads, how sure it says it is, and what a file holds."""

import math

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from dld.config import get_dld_cfg
from dld.modeling.losses.recognition import attention_loss, ctc_loss
from dld.modeling.recognition.column_decoder import ColumnDecoder
from dld.modeling.recognition.decoder import AttentionDecoder
from dld.modeling.recognition.strip_recognizer import StripRecognizer, build_strip_recognizer, load_strip_recognizer
from dld.strips.scoring import reading_score
from dld.strips.splitting import pieces_of
from dld.text.charset import Charset

CHARACTERS, L, LONGEST = "abcd ", 16, 4
CHARSET = Charset(CHARACTERS)


def new_reader(decoder_width=24, seed=0, kind=ColumnDecoder):
    torch.manual_seed(seed)
    return StripRecognizer(charset=CHARSET, decoder_width=decoder_width, decoder_kind=kind)


def alphabet():
    """A vector for each character and for no character, and one for each place."""
    return torch.randn(len(CHARACTERS) + 1 + L, 120, generator=torch.Generator().manual_seed(3))


def toy_columns(texts):
    """Columns (R, 16, 120) in which every character takes three columns and is seen in the middle one."""
    table, columns = alphabet(), torch.zeros(len(texts), L, 120)
    columns += table[0] + table[len(CHARACTERS) + 1 :]
    for row, text in zip(columns, texts, strict=True):
        for i, c in enumerate(text):
            row[3 * i + 2] += 2 * table[CHARACTERS.index(c) + 1]
    return columns


def ids_of(texts):
    return torch.stack([CHARSET.encode(text, LONGEST + 1) for text in texts])


def random_texts(count, rng):
    return ["".join(rng.choice(list(CHARACTERS[:4]), rng.integers(1, LONGEST + 1))) for _ in range(count)]


@pytest.fixture(scope="module")
def trained():
    """A reader whose heads have learned toy columns; its body is left out of it."""
    reader, rng = new_reader(48), np.random.default_rng(0)
    heads = [*reader.head.parameters(), *reader.decoder.parameters()]
    for p in heads:
        p.requires_grad_(True)
    optimizer = torch.optim.Adam(heads, 8e-3)
    for _ in range(200):
        texts = [t[0] + " " + t[1:] if len(t) > 1 and rng.random() < 0.5 else t for t in random_texts(32, rng)]
        optimizer.zero_grad()
        sum(reader.column_losses(toy_columns(texts), ids_of(texts)).values()).backward()
        optimizer.step()
    reader.requires_grad_(False)
    return reader


@pytest.fixture
def toy(trained, monkeypatch):
    """What reads toy columns that are handed over as pixels."""
    monkeypatch.setattr(trained, "columns", lambda strips: strips[:, 0])
    monkeypatch.setattr(trained, "head_name", "ctc")
    trained.allow("")

    def read(texts, head, columns=None):
        trained.use_head(head)
        columns = toy_columns(texts) if columns is None else columns
        return trained.read(columns[:, None].permute(0, 2, 3, 1).contiguous().numpy())

    read.reader = trained
    return read


def text_of(read):
    return "".join(CHARACTERS[i - 1] for i in read.ids)


@pytest.mark.parametrize("head", ["ctc", "attention"])
def test_a_trained_head_reads(toy, head):
    texts = random_texts(60, np.random.default_rng(5))
    readings = toy(texts, head)
    right = [r for r, text in zip(readings, texts, strict=True) if text_of(r) == text]
    assert len(right) >= 57
    for r in right:  # where they stand: the middle columns of the characters
        assert np.abs(r.columns - (3 * np.arange(len(r.ids)) + 2)).max() < (1.5 if head == "attention" else 0.1)


def test_a_strip_is_cut_at_the_space_that_the_decoder_reads(toy):
    """Between the letters on both sides of the gap, wherever its attention is."""
    (read,) = toy(["a bc"], "attention")
    assert text_of(read) == "a bc"
    width = 8 * L
    first, second = pieces_of(read, CHARSET.characters.index(" ") + 1, width)
    assert (first.first, first.last, second.first, second.last) == (0, 1, 2, 4)
    # columns 2 and 8 are of the letters, seen within a column: 4 pixels of margin, 120 of text
    assert (2.5 * 8 - 4) / 120 < first.end <= second.begin < (9.5 * 8 - 4) / 120


def test_probabilities_are_those_of_the_steps_that_were_chosen(toy):
    """So the score of a reading is the geometric mean over its characters; the end is none."""
    columns = toy_columns(["abca", "dd"])
    for text, row, read in zip(("abca", "dd"), columns, toy(None, "attention", columns), strict=True):
        ids = CHARSET.encode(text, 4)[: len(text)]
        p = toy.reader.decoder(row[None], ids[None])[0].softmax(-1)
        chosen = p[torch.arange(len(ids)), ids]
        assert read.ids.tolist() == ids.tolist()
        np.testing.assert_allclose(read.certainty, chosen.numpy(), rtol=1e-4)
        assert reading_score(read.certainty) == pytest.approx(math.exp(chosen.log().mean()), rel=1e-4)


@pytest.mark.parametrize("head", ["ctc", "attention", "joint"])
def test_only_allowed_characters_are_read(toy, head):
    texts = ["abcd", "ddca", "b"]
    free = [text_of(r) for r in toy(texts, head)]
    assert free == texts
    toy.reader.allow("ab")
    for read in toy(texts, head):
        assert set(text_of(read)) <= set("ab ") and ((read.certainty > 0) & (read.certainty <= 1)).all()
    beams = toy.reader.beams(toy_columns(texts), 3)
    assert not {3, 4} & set(beams.ids.unique().tolist())
    toy.reader.allow("")
    assert [text_of(r) for r in toy(texts, head)] == texts


@pytest.mark.parametrize("head", ["ctc", "attention", "joint"])
def test_the_best_beam_is_the_text_and_the_others_follow(toy, head):
    texts = ["abcd", "ac", "d"]
    toy.reader.use_head(head)
    beams = toy.reader.beams(toy_columns(texts), 3)
    assert [CHARSET.decode(row.tolist()) for row in beams.ids[:, 0]] == texts
    p = beams.log_probabilities
    assert p.shape == (3, 3) and (p[:, 1:] <= p[:, :-1]).all() and beams.valid.all()
    assert (p.exp().sum(1) <= 1 + 1e-5).all()


def test_both_heads_read_what_each_of_them_does(toy):
    """Where they agree, places and probabilities are those of CTC."""
    texts = ["abcd", "ddca", "b"]
    for ctc, both in zip(toy(texts, "ctc"), toy(texts, "joint"), strict=True):
        assert both.ids.tolist() == ctc.ids.tolist() and both.columns.tolist() == ctc.columns.tolist()
        np.testing.assert_allclose(both.certainty, ctc.certainty, rtol=1e-5)


@pytest.mark.parametrize("head", ["ctc", "attention"])
def test_the_probabilities_of_all_readings_add_up_to_1(head):
    torch.manual_seed(1)
    reader = StripRecognizer(charset=Charset("ab"), decoder_width=8)
    reader.use_head(head)
    # of 2 columns CTC has "", a, b, ab, ba; the decoder also has aa and bb, and eight of three characters, cut there
    beams = reader.beams(torch.randn(4, 2, 120), 30, beam_width=60)
    assert beams.valid.sum(1).tolist() == [5 if head == "ctc" else 15] * 4
    torch.testing.assert_close(beams.log_probabilities.exp().sum(1), torch.ones(4))
    assert (beams.log_probabilities[:, 1:] <= beams.log_probabilities[:, :-1]).all()


def test_losses_are_those_of_the_heads():
    reader = new_reader()
    columns, targets = torch.randn(3, L, 120), ids_of(["ab", "cada", ""])
    losses = reader.column_losses(columns, targets)
    assert set(losses) == {"loss_ctc", "loss_attention"}
    short = targets[:, :5]  # without what is padding in every word
    torch.testing.assert_close(losses["loss_ctc"], ctc_loss(reader.head(columns), short, CHARSET.pad, CHARSET.end))
    expected = attention_loss(reader.decoder(columns, short), short, CHARSET.pad)
    torch.testing.assert_close(losses["loss_attention"], expected)
    assert set(new_reader(0).column_losses(columns, targets)) == {"loss_ctc"}
    nothing = reader.column_losses(columns[:0], targets[:0])
    assert all(float(v) == 0 for v in nothing.values())


def test_the_decoder_leaves_the_columns_alone_unless_a_share_is_let_in():
    reader = new_reader()
    for p in reader.parameters():
        p.requires_grad_(True)
    targets, gradients, values = ids_of(["ab", "cada"]), {}, set()
    for share in (0.0, 0.3, 1.0):
        columns = torch.randn(2, L, 120, generator=torch.Generator().manual_seed(0)).requires_grad_()
        reader.zero_grad()
        loss = reader.column_losses(columns, targets, share)["loss_attention"]
        loss.backward()
        gradients[share] = torch.zeros_like(columns) if columns.grad is None else columns.grad
        values.add(round(loss.item(), 4))
        assert reader.decoder.output.weight.grad.abs().max() > 0, "the decoder itself learns either way"
    assert len(values) == 1 and gradients[0.0].abs().max() == 0 < gradients[1.0].abs().max()
    torch.testing.assert_close(gradients[0.3], 0.3 * gradients[1.0])


def saved(reader, file):
    save_file({k: v.contiguous() for k, v in reader.state_dict().items()}, file)
    return str(file)


@pytest.mark.parametrize(("width", "kind"), [(0, ColumnDecoder), (24, ColumnDecoder), (24, AttentionDecoder)])
def test_a_file_holds_the_heads_that_its_reader_has(tmp_path, width, kind):
    reader = new_reader(width, kind=kind)
    loaded = load_strip_recognizer(saved(reader, tmp_path / "reader.safetensors"))
    assert type(loaded.decoder) is (kind if width else type(None)) and loaded.head_name == "ctc"
    assert not any(p.requires_grad for p in loaded.parameters()) and not loaded.training
    own = reader.state_dict()
    assert own.keys() == loaded.state_dict().keys() and all(torch.equal(v, own[k]) for k, v in loaded.state_dict().items())
    x = torch.rand(2, 48, 96, 3, generator=torch.Generator().manual_seed(1)).numpy() * 2 - 1
    for head in ("ctc", "attention")[: 1 + bool(width)]:
        reader.use_head(head), loaded.use_head(head)
        for one, other in zip(reader.read(x), loaded.read(x), strict=True):
            assert one.ids.tolist() == other.ids.tolist()
            np.testing.assert_allclose(one.certainty, other.certainty, rtol=1e-4)
            np.testing.assert_allclose(one.columns, other.columns, atol=1e-3)


def test_a_new_decoder_is_added_to_a_reader_without():
    reader = new_reader(0)
    reader.add_decoder(16)
    assert reader.decoder.hidden_dim == 16 and not any(p.requires_grad for p in reader.decoder.parameters())
    assert torch.equal(reader.decoder.glimpse.weight[1:], reader.head.weight[1:]) and not reader.decoder.glimpse.weight[0].any()
    reader.use_head("attention")
    assert len(reader.read(np.zeros((1, 48, 96, 3), np.float32))) == 1


def test_a_head_that_is_not_there_is_named(tmp_path):
    cfg = get_dld_cfg()
    cfg.MODEL.RECOGNITION.READER, cfg.MODEL.RECOGNITION.CHARACTERS = "StripRecognizer", CHARACTERS
    cfg.MODEL.STRIPS.WEIGHTS = saved(new_reader(), tmp_path / "both.safetensors")
    assert build_strip_recognizer(cfg).head_name == "ctc"
    cfg.MODEL.STRIPS.HEAD = "attention"
    assert build_strip_recognizer(cfg).head_name == "attention"
    ctc_only = saved(new_reader(0), tmp_path / "one.safetensors")
    cfg.MODEL.STRIPS.LOW_WEIGHTS, cfg.MODEL.STRIPS.ROWS = ctc_only, [48, 24]
    with pytest.raises(ValueError, match=r"MODEL\.STRIPS\.LOW_WEIGHTS hold no attention decoder, only ctc can read"):
        build_strip_recognizer(cfg)
    cfg.MODEL.STRIPS.ROWS, cfg.MODEL.STRIPS.WEIGHTS = [48], ctc_only
    with pytest.raises(ValueError, match=r"MODEL\.STRIPS\.WEIGHTS hold no attention decoder, only ctc can read"):
        build_strip_recognizer(cfg)
    cfg.MODEL.STRIPS.HEAD = "joint"
    with pytest.raises(ValueError, match=r"HEAD joint: MODEL\.STRIPS\.WEIGHTS hold no attention decoder, only ctc can read"):
        build_strip_recognizer(cfg)
    cfg.MODEL.STRIPS.WEIGHTS, cfg.MODEL.STRIPS.ROWS = str(tmp_path / "both.safetensors"), [48, 24]
    reader = build_strip_recognizer(cfg)
    low = np.zeros((2, 24, 96, 3), np.float32)  # read by the head that there is
    assert reader.low.decoder is None and len(reader.read(low)) == len(reader.read(np.zeros((2, 48, 96, 3), np.float32))) == 2
    cfg.MODEL.STRIPS.DECODER_WEIGHT = 1.5
    with pytest.raises(ValueError, match=r"MODEL\.STRIPS\.DECODER_WEIGHT must be in \[0, 1\], got 1.5"):
        build_strip_recognizer(cfg)
    cfg.MODEL.STRIPS.HEAD = "best"
    with pytest.raises(ValueError, match=r"MODEL\.STRIPS\.HEAD must be one of ctc, attention, joint, got 'best'"):
        build_strip_recognizer(cfg)


@pytest.mark.parametrize(
    ("key", "value", "error", "message"),
    [
        ("WEIGHTS", "nobodys", KeyError, r"\(MODEL\.STRIPS\.WEIGHTS\): no shipped weights are called 'nobodys'"),
        ("LOW_WEIGHTS", "nobodys", KeyError, r"\(MODEL\.STRIPS\.LOW_WEIGHTS\): no shipped weights are called 'nobodys'"),
        ("LOW_WEIGHTS", "no/such.safetensors", FileNotFoundError, r"\(MODEL\.STRIPS\.LOW_WEIGHTS\): .*no/such\.safetensors"),
        ("ROWS", ["48"], ValueError, r"MODEL\.STRIPS\.ROWS must be of 48, 32, 24, 16, got \['48'\]"),
        ("ROWS", [], ValueError, r"MODEL\.STRIPS\.ROWS must be of 48, 32, 24, 16, got \[\]"),
        ("ALLOW", "ß", ValueError, r"MODEL\.STRIPS\.ALLOW\), not 'ß'"),
        ("ALLOW", " ", ValueError, r"MODEL\.STRIPS\.ALLOW\) ' ' leaves nothing to read"),
    ],
)
def test_what_a_reader_cannot_be_built_from_is_named(tmp_path, key, value, error, message):
    cfg = get_dld_cfg()
    cfg.MODEL.RECOGNITION.READER, cfg.MODEL.RECOGNITION.CHARACTERS = "StripRecognizer", CHARACTERS
    cfg.MODEL.STRIPS.WEIGHTS = cfg.MODEL.STRIPS.LOW_WEIGHTS = saved(new_reader(), tmp_path / "both.safetensors")
    cfg.MODEL.STRIPS.ROWS = [48, 24]
    assert build_strip_recognizer(cfg).low is not None
    cfg.MODEL.STRIPS[key] = value
    with pytest.raises(error, match=message):
        build_strip_recognizer(cfg)


@pytest.mark.parametrize("kind", [AttentionDecoder, ColumnDecoder])
def test_kept_characters_score_as_before(kind):
    reader, low = new_reader(kind=kind), new_reader(seed=4, kind=kind)
    reader.low = low
    columns = torch.randn(3, L, 120)
    kept = Charset("d a")
    rows, old, new = [0, 4, 5, 1], ids_of(["da", "a d", ""])[:, :4], torch.stack([kept.encode(t, 3) for t in ("da", "a d", "")])
    before = [network.decoder(columns, old)[..., rows] for network in (reader, low)]
    reader.keep_characters(kept)
    for network, logits in zip((reader, low), before, strict=True):
        torch.testing.assert_close(network.decoder(columns, new)[new != kept.pad], logits[new != kept.pad])
        assert not any(p.requires_grad for p in network.parameters())


def test_a_reader_is_started_from_one_with_a_decoder_of_the_old_kind():
    old, own = new_reader(kind=AttentionDecoder, seed=2), new_reader()
    own.start_from(old)
    assert type(own.decoder) is AttentionDecoder
    assert all(torch.equal(v, old.state_dict()[k]) for k, v in own.state_dict().items())


def test_low_strips_are_read_by_the_decoder_of_the_low_weights():
    reader, low = new_reader(), new_reader(seed=4)
    x = torch.rand(1, 24, 48, 3, generator=torch.Generator().manual_seed(1)).numpy() * 2 - 1
    low.use_head("attention")
    expected = low.read(x)
    reader.low = low
    reader.use_head("attention")
    assert reader.read(x)[0].ids.tolist() == expected[0].ids.tolist()
    np.testing.assert_allclose(reader.read(x)[0].certainty, expected[0].certainty, rtol=1e-5)


def test_the_decoder_stays_in_float32():
    reader = new_reader()
    reader.low = new_reader(seed=4)
    weights = reader.decoder.output.weight.clone()
    assert reader.compute_in(torch.bfloat16) is reader
    for network in (reader, reader.low):
        for part, dtype in ((network.body, torch.bfloat16), (network.head, torch.bfloat16), (network.decoder, torch.float32)):
            assert {p.dtype for p in part.parameters()} == {dtype}
    assert torch.equal(reader.decoder.output.weight, weights)
    reader.use_head("attention")
    (read,) = reader.read(np.zeros((1, 48, 96, 3), np.float32))
    assert read.certainty.dtype == np.float32
    assert reader.beams(torch.zeros(1, 3, 120)).log_probabilities.dtype == torch.float32
