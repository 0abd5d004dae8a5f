import pytest
import torch

from dld.modeling.recognition.encoder import RecognitionEncoder


@pytest.fixture
def encoder():
    torch.manual_seed(0)
    return RecognitionEncoder(6, 10)


@pytest.mark.parametrize(("width", "columns"), [(32, 33), (64, 65)])
def test_a_crop_becomes_one_column_more_than_it_is_wide(encoder, width, columns):
    assert encoder(torch.randn(3, 6, 8, width)).shape == (3, columns, 10)


def test_columns_run_from_left_to_right(encoder):
    # what changes at the right end of a crop reaches the convolved columns of the right end only
    crops = torch.randn(1, 6, 8, 32)
    changed = crops.clone()
    changed[..., -1] += 1
    encoder.eval()
    before, after = (encoder.squeeze(encoder.convs(x)) for x in (crops, changed))
    differs = (before != after).any(1).flatten()
    assert differs[-1] and not differs[:24].any()


def test_context_is_float32_under_autocast(encoder):
    with torch.autocast("cpu", torch.bfloat16):
        assert encoder(torch.randn(2, 6, 8, 32)).dtype == torch.float32


def test_words_are_encoded_independently_at_test(encoder):
    encoder.eval()
    crops = torch.randn(4, 6, 8, 32)
    alone = torch.cat([encoder(c[None]) for c in crops])
    torch.testing.assert_close(encoder(crops), alone, atol=1e-6, rtol=1e-5)


def test_no_words_leave_every_weight_a_gradient_of_zero(encoder):
    crops = torch.zeros(0, 6, 8, 32, requires_grad=True)
    context = encoder(crops)
    assert context.shape == (0, 33, 10)
    context.sum().backward()
    assert all((p.grad == 0).all() for p in encoder.parameters())


@pytest.mark.parametrize("count", [3, 0])
def test_kept_layers_are_those_of_the_forward_pass(encoder, count):
    crops = torch.randn(count, 6, 8, 32)
    encoder.eval()
    layers = encoder.layers(crops)
    groups = {name: [tuple(x.shape) for x in group] for name, group in layers.items()}
    assert groups == {"crops": [(count, 10, 8, 32)] * 4, "columns": [(count, 33, 10)] * 3}
    assert {
        name: (len(group), group[0].shape[1 if name == "crops" else 2]) for name, group in layers.items()
    } == encoder.layer_groups
    assert torch.equal(layers["columns"][0], encoder.columns(crops)) and torch.equal(layers["columns"][-1], encoder(crops))
    # and the last crops lead to the first columns
    assert torch.equal(encoder.columns_of_crops(layers["crops"][-1]), layers["columns"][0])
    sum(x.sum() for group in layers.values() for x in group).backward()
    assert all(p.grad is not None for p in encoder.parameters())
