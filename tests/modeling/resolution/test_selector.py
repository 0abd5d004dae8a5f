"""Facts about the selector: scores that do not depend on the batch, and that it can tell fine from coarse."""

import inspect

import pytest
import torch
from detectron2.structures import ImageList

from dld.config import get_dld_cfg
from dld.modeling.resolution.objective import ImageObjective
from dld.modeling.resolution.selector import SELECTOR_REGISTRY, ResolutionSelector


def selector_with_scores(**options):
    """The scores of a fresh selector are all 0; these are not."""
    torch.manual_seed(0)
    selector = ResolutionSelector(**options)
    torch.nn.init.normal_(selector.head.weight)
    for module in selector.modules():
        if getattr(module, "bias", None) is not None:
            torch.nn.init.normal_(module.bias)  # what leaks from padding is what biases put there
    return selector


@pytest.mark.parametrize("input_scale", [0.375, 1.0])
def test_scores_do_not_depend_on_the_batch_or_its_padding(input_scale):
    selector = selector_with_scores(input_scale=input_scale)
    images = [torch.randn(3, *size) for size in [(64, 96), (97, 41), (130, 130), (7, 160), (33, 33)]]
    batch = ImageList.from_tensors(images, 32, pad_value=50.0)
    with torch.no_grad():
        together = selector(batch.tensor, batch.image_sizes)
        alone = torch.cat([selector(x[None], [x.shape[1:]]) for x in images])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)
    assert together.std() > 0.1  # and they are scores, not a constant


def test_every_scale_is_equally_likely_at_the_start():
    assert not ResolutionSelector()(torch.randn(2, 3, 64, 64), [(64, 64), (40, 64)]).any()


def test_training_mode_and_autocast_change_nothing():
    selector = selector_with_scores()
    images = torch.randn(2, 3, 96, 96)
    sizes = [(96, 96), (80, 96)]
    scores = selector.train()(images, sizes)
    assert torch.equal(selector.eval()(images, sizes), scores)
    with torch.autocast("cpu", torch.bfloat16):
        under_autocast = selector(images, sizes)
    assert under_autocast.dtype == torch.float32 and torch.equal(under_autocast, scores)


def test_every_weight_is_trained():
    selector = selector_with_scores()
    selector(torch.randn(1, 3, 96, 96), [(96, 96)])[0, 0].backward()
    assert all(p.grad is not None for p in selector.parameters())


def test_built_from_a_configuration():
    cfg = get_dld_cfg()
    cfg.MODEL.SELECTOR.SCALES, cfg.MODEL.SELECTOR.INPUT_SCALE = [0.5, 1.0], 0.5
    cfg.MODEL.SELECTOR.RESOLUTION.CHANNELS = [8, 16]
    selector = ResolutionSelector(cfg)
    assert selector.scales == (0.5, 1.0) and selector.input_scale == 0.5 and len(selector.blocks) == 1
    assert selector(torch.zeros(1, 3, 64, 64), [(64, 64)]).shape == (1, 2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scales": (0.5, 0.3)}, "SCALES"),
        ({"scales": ()}, "SCALES"),
        ({"scales": (0.5, 1.2)}, "SCALES"),
        ({"input_scale": 0.0}, "INPUT_SCALE"),
        ({"channels": ()}, "CHANNELS"),
    ],
)
def test_mistakes_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        ResolutionSelector(**options)


def stripes(period, seed):
    generator = torch.Generator().manual_seed(seed)
    shift = torch.rand(1, generator=generator) * period
    wave = torch.sign(torch.sin((torch.arange(96) + shift) * 2 * torch.pi / period)) * 0.7
    return wave.expand(3, 96, 96) + 0.2 * torch.randn(3, 96, 96, generator=generator)


def test_it_learns_to_tell_fine_strokes_from_coarse_ones():
    torch.manual_seed(0)
    selector = ResolutionSelector(scales=(0.3, 0.8), channels=(8, 16, 16))
    optimizer = torch.optim.AdamW(selector.parameters(), 5e-3)
    sizes, labels = [(96, 96)] * 8, torch.tensor([0, 1] * 4)

    def batch(seed):
        return torch.stack([stripes(24.0 if i % 2 == 0 else 8.0, 8 * seed + i) for i in range(8)])

    for step in range(40):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(selector(batch(step), sizes), labels).backward()
        optimizer.step()
    assert torch.equal(selector(batch(1000), sizes).argmax(1), labels)


@pytest.mark.parametrize("name", ["ResolutionSelector", "BackboneSelector", "WordLossSelector"])
def test_what_a_selector_defaults_to_is_what_the_configuration_says(name):
    cfg = get_dld_cfg()
    cfg.MODEL.BACKBONE.NAME = "build_tiny_resnet_fpn_backbone"
    cls = SELECTOR_REGISTRY.get(name)
    chain = [inspect.signature(c.__init__).parameters for c in cls.__mro__ if "__init__" in vars(c)]
    for argument, configured in cls.from_config(cfg).items():
        found = next((p[argument].default for p in chain if argument in p), None)
        if found is not inspect.Parameter.empty and argument not in ("body", "level", "levels"):
            default = ImageObjective() if argument == "objective" else found
            assert configured == default, argument
