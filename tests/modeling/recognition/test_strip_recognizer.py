"""The network that reads strips, with random weights."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from dld.modeling.recognition.strip_recognizer import StripRecognizer, load_strip_recognizer
from dld.strips.heights import FORMS
from dld.text.charset import Charset


def new_reader(characters="abcdefgh ", seed=0):
    torch.manual_seed(seed)
    reader = StripRecognizer(charset=Charset(characters))
    for layer in reader.modules():
        if isinstance(layer, torch.nn.Conv2d):  # strong enough that the result depends on the strip
            layer.weight.data.mul_(2.1)
    return reader


@pytest.fixture(scope="module")
def reader():
    return new_reader()


def strips(count=2, width=96, seed=1):
    return torch.rand(count, 3, 48, width, generator=torch.Generator().manual_seed(seed)) * 2 - 1


@pytest.mark.parametrize("count,width", [(1, 96), (3, 160), (1, 808), (2, 8)])
def test_one_column_for_eight_pixels(reader, count, width):
    assert reader.columns(strips(count, width)).shape == (count, width // 8, 120)
    logits = reader.logits(strips(count, width))
    assert logits.shape == (count, width // 8, 10) and logits.dtype == torch.float32
    ids, probabilities = reader(strips(count, width))
    assert ids.shape == probabilities.shape == (count, width // 8)
    torch.testing.assert_close(ids, logits.argmax(-1))
    torch.testing.assert_close(probabilities, logits.softmax(-1).amax(-1))


def test_it_is_for_test_only(reader):
    assert not reader.training and not any(p.requires_grad for p in reader.parameters())


def test_strips_of_a_batch_do_not_see_each_other(reader):
    x = strips(3, 160)
    together = reader.logits(x)
    for i in range(3):
        torch.testing.assert_close(together[i : i + 1], reader.logits(x[i : i + 1]), atol=1e-5, rtol=1e-4)


def test_columns_know_the_word_around_them(reader):
    x = strips(1, 160)
    other = x.clone()
    other[..., 150:] = 0
    assert (reader.logits(x)[:, 0] - reader.logits(other)[:, 0]).abs().max() > 1e-4


def test_arrays_in_and_out(reader):
    x = strips(2, 96)
    pixels = np.ascontiguousarray(x.permute(0, 2, 3, 1).numpy())
    ids, probabilities = reader.read_batch(pixels)
    expected_ids, expected = reader(x)
    assert isinstance(ids, np.ndarray) and isinstance(probabilities, np.ndarray)
    np.testing.assert_array_equal(ids, expected_ids.numpy())
    np.testing.assert_allclose(probabilities, expected.numpy(), atol=1e-5)


def test_kept_characters_score_as_before():
    reader, x = new_reader(), strips()
    before = reader.logits(x)
    reader.keep_characters(Charset("h ca"))
    after = reader.logits(x)
    # the blank, then h, space, c and a of "abcdefgh "
    torch.testing.assert_close(after, before[..., [0, 8, 9, 3, 1]], atol=1e-6, rtol=1e-6)
    assert reader.charset == Charset("h ca") and Charset.from_codes(reader.charset_codes) == Charset("h ca")
    assert not any(p.requires_grad for p in reader.parameters())


def test_unknown_characters_are_refused_by_name():
    reader = new_reader()
    with pytest.raises(ValueError, match="ß.*1 of 3 characters"):
        reader.keep_characters(Charset("aßb"))
    assert reader.charset == Charset("abcdefgh ")  # nothing is half done
    assert reader.head.out_features == 10


@pytest.mark.parametrize("half", [False, True])
def test_saved_and_loaded(tmp_path, half):
    reader, file = new_reader("äb汉"), tmp_path / "reader.safetensors"
    state = {k: v.contiguous() for k, v in reader.state_dict().items()}
    if half:
        state = {k: v.half() if v.is_floating_point() else v for k, v in state.items()}
    save_file(state, file)
    loaded = load_strip_recognizer(str(file))
    assert loaded.charset == reader.charset and not loaded.training
    assert {p.dtype for p in loaded.parameters()} == {torch.float32}
    tolerance = 0.1 if half else 1e-5
    torch.testing.assert_close(loaded.logits(strips()), reader.logits(strips()), atol=tolerance, rtol=1e-5)


def test_what_was_cut_can_be_saved_and_loaded(tmp_path):
    reader, file = new_reader(), tmp_path / "reader.safetensors"
    reader.keep_characters(Charset("hca"))
    save_file({k: v.contiguous() for k, v in reader.state_dict().items()}, file)
    loaded = load_strip_recognizer(str(file))
    assert loaded.charset == Charset("hca")
    torch.testing.assert_close(loaded.logits(strips()), reader.logits(strips()), atol=1e-6, rtol=1e-6)


def test_no_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere.safetensors"):
        load_strip_recognizer(str(tmp_path / "nowhere.safetensors"))


def test_files_that_hold_something_else(tmp_path, reader):
    garbage, empty, other, partial = (tmp_path / f"{n}.safetensors" for n in ("garbage", "empty", "other", "partial"))
    garbage.write_bytes(b"no weights at all, and long enough to hold a header")
    empty.write_bytes(b"")
    save_file({"weight": torch.zeros(3)}, other)
    save_file({k: v.contiguous() for k, v in reader.state_dict().items() if "mixer" not in k}, partial)
    for file in (garbage, empty, other, partial):
        with pytest.raises(ValueError, match=file.name):
            load_strip_recognizer(str(file))


@pytest.mark.parametrize(
    "codes",
    [[], [97, 97], [-1], [2**40], [[97, 98]], 97, [float("nan")]],
    ids=["none", "twice", "-1", "huge", "rows", "0d", "nan"],
)
def test_codes_that_are_no_characters(tmp_path, reader, codes):
    file = tmp_path / "odd.safetensors"
    save_file({**{k: v.contiguous() for k, v in reader.state_dict().items()}, "charset_codes": torch.tensor(codes)}, file)
    with pytest.raises(ValueError, match="odd.safetensors does not hold a reader of strips"):
        load_strip_recognizer(str(file))


def test_bfloat16_is_near_float32():
    x = strips(2, 160)
    exact = new_reader().logits(x)
    reader = new_reader().to(torch.bfloat16)
    near = reader.logits(x.to(torch.bfloat16))
    assert near.dtype == torch.float32
    assert (near - exact).abs().mean() < 0.05 * exact.abs().mean()
    # fed with float32 it converts by itself
    ids, probabilities = reader.read_batch(np.ascontiguousarray(x.permute(0, 2, 3, 1).numpy()))
    assert ids.shape == (2, 20) and probabilities.dtype == np.float32


def test_channels_and_rows_matter(reader):
    x = strips(1)
    for other in (x.flip(1), x.flip(2), x.flip(3)):
        assert (reader.logits(x) - reader.logits(other)).abs().max() > 0.05


@pytest.mark.parametrize("rows", sorted(FORMS))
def test_all_heights_give_as_many_columns_of_text(reader, rows):
    width = 160
    x = torch.rand(2, 3, rows, int(FORMS[rows].columns(width)), generator=torch.Generator().manual_seed(2)) * 2 - 1
    assert reader.logits(x).shape == (2, width // 8, 10)


def test_low_strips_are_read_by_weights_of_their_own():
    whole, low = new_reader(), new_reader(seed=7)
    expected = {r: (whole if r > 24 else low).logits(strips_of(r)) for r in FORMS}
    whole.low = low
    for rows, logits in expected.items():
        torch.testing.assert_close(whole.logits(strips_of(rows)), logits)
    whole.keep_characters(Charset("abc"))
    assert whole.logits(strips_of(48)).shape[-1] == whole.logits(strips_of(16)).shape[-1] == 4


def strips_of(rows):
    return torch.rand(1, 3, rows, int(FORMS[rows].columns(96)), generator=torch.Generator().manual_seed(rows)) * 2 - 1


def test_only_allowed_characters_are_read_with_probabilities_among_them():
    reader = new_reader()
    x = strips(4, 160)
    free, logits = reader(x)[0], reader.logits(x)
    assert 3 in free, "without a rule it reads other characters, too"
    reader.allow("ab")
    ids, probabilities = reader(x)
    assert reader.allowed_characters == "ab " and set(ids.unique().tolist()) <= {0, 1, 2, 9}
    kept = logits[..., [0, 1, 2, 9]].softmax(-1).amax(-1)
    torch.testing.assert_close(probabilities, kept)
    for same in (reader(x, torch.ones(10, dtype=torch.bool)), (reader.allow(""), reader(x))[1]):
        torch.testing.assert_close(same[0], free)
    reader.allow("ab")
    with pytest.raises(ValueError, match="not 'é'"):
        reader.allow("é")
    assert reader.allowed_characters == "ab ", "what cannot be allowed changes nothing"
