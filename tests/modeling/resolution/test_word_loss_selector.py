import pytest
import torch
from detectron2.modeling import build_model
from detectron2.structures import ImageList

from dld.modeling.losses.word_maps import WordMaps
from dld.modeling.resolution.scale_comparison import ScaleComparison, ScaleWords
from dld.modeling.resolution.selector import build_selector
from dld.modeling.resolution.word_loss_selector import WordLossSelector


@pytest.fixture
def selector(tiny_cfg):
    tiny_cfg.MODEL.SELECTOR.NAME = "WordLossSelector"
    torch.manual_seed(0)
    return build_selector(tiny_cfg).eval()


def test_scores_are_what_all_words_lose(selector):
    image = torch.randn(1, 3, 96, 128)
    (maps,) = selector.maps(image, [(96, 128)])
    # 36 x 48 pixels are read, at stride 8
    assert maps.density.shape == (5, 6) and maps.losses.shape == (len(selector.scales), 5, 6)
    assert bool((maps.density > 0).all()) and bool((maps.losses > 0).all())
    scores = selector(image, [(96, 128)])[0]
    torch.testing.assert_close(scores, -(maps.density * maps.losses).sum((1, 2)) / (4.0 * 0.1))


def test_the_scores_of_an_image_do_not_depend_on_the_batch(selector):
    images = [torch.randn(3, 64, 96), torch.randn(3, 96, 64), torch.randn(3, 64, 96)]
    batch = torch.full((3, 3, 96, 96), 7.0)
    for row, image in zip(batch, images, strict=True):
        row[:, : image.shape[1], : image.shape[2]] = image
    together = selector(batch, [tuple(x.shape[1:]) for x in images])
    alone = torch.cat([selector(x[None], [tuple(x.shape[1:])]) for x in images])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


def test_it_starts_with_the_teachers_stages_and_no_others(selector, tiny_cfg):
    teacher = build_model(tiny_cfg).eval()
    selector.start_from(teacher.backbone.bottom_up.state_dict())
    image = torch.randn(1, 3, 64, 96)
    expected, found = teacher.backbone.bottom_up(image), selector.body(image)
    assert set(found) == {"res2", "res3"}
    for name, value in found.items():
        torch.testing.assert_close(value, expected[name])


def test_training_moves_every_weight_but_no_statistics(selector):
    selector.train()
    before = {k: v.clone() for k, v in selector.state_dict().items() if "running" in k}
    selector(torch.randn(2, 3, 64, 64), [(64, 64)] * 2).square().sum().backward()
    assert all(p.grad is not None for p in selector.parameters())
    assert all(torch.equal(before[k], v) for k, v in selector.state_dict().items() if k in before)


def test_what_it_cannot_be_built_with_is_named(tiny_cfg):
    tiny_cfg.MODEL.SELECTOR.NAME = "WordLossSelector"
    tiny_cfg.MODEL.SELECTOR.WORDS.LEVEL = "res2"
    with pytest.raises(ValueError, match="LEVEL of the selector must be one of .*res3"):
        build_selector(tiny_cfg)
    tiny_cfg.MODEL.SELECTOR.WORDS.LEVEL, tiny_cfg.MODEL.SELECTOR.WORDS.PER_IMAGE = "res3", 0.0
    with pytest.raises(ValueError, match="WORDS.PER_IMAGE"):
        WordLossSelector(tiny_cfg)


def test_reduced_precision_at_test_only(selector):
    image = torch.randn(1, 3, 96, 128)
    exact = selector(image, [(96, 128)])
    selector.inference_dtype = torch.bfloat16
    reduced = selector(image, [(96, 128)])
    assert reduced.dtype == torch.float32 and not torch.equal(reduced, exact)
    torch.testing.assert_close(reduced, exact, rtol=0.03, atol=0.05)
    assert torch.equal(selector.train()(image, [(96, 128)]), exact)


COST = torch.tensor([0.2, 0.5, 1.0])


def words_of_two_images():
    """Two words and none; the first word is lost at the two small scales, the second at the smallest."""
    boxes = torch.tensor([[0.0, 0.0, 32.0, 32.0], [32.0, 32.0, 64.0, 64.0]])
    loss = torch.tensor([[0.8, 0.8, 0.0], [0.4, 0.0, 0.0]])
    return [ScaleWords(boxes, loss), ScaleWords(boxes[:0], loss[:0])]


def compared_words():
    return ScaleComparison(torch.zeros(2, 3), COST.expand(2, 3), torch.tensor([True, False]), words_of_two_images())


def test_the_risk_of_words_is_their_sum(selector):
    selector.scales, selector.gamma, selector.words_per_image = (0.3, 0.5, 0.8), 0.1, 4.0
    expected = torch.tensor([[0.3, 0.2, 0.0], [0.0, 0.0, 0.0]]) + 0.1 * COST
    torch.testing.assert_close(selector.risk(compared_words()), expected)


def test_maps_that_say_where_words_are_and_what_they_lose_have_the_least_loss(selector, monkeypatch):
    batch = ImageList(torch.zeros(2, 3, 64, 64), [(64, 64), (64, 64)])

    def loss(density, losses):
        maps = [WordMaps(density, losses), WordMaps(torch.full((2, 2), 1e-6), torch.zeros(3, 2, 2))]
        monkeypatch.setattr(selector, "maps", lambda *_: maps)
        return selector.learn(batch, compared_words())[0].item()

    density = torch.eye(2).clamp(min=1e-6)
    losses = torch.zeros(3, 2, 2)
    losses[:, 0, 0], losses[:, 1, 1] = torch.tensor([0.8, 0.8, 0.0]), torch.tensor([0.4, 0.0, 0.0])
    right = loss(density, losses)
    assert right < loss(density.flip(0), losses) and right < loss(density, losses.flip(0)) and right < loss(density, losses / 2)
