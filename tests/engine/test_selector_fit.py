import pytest
import torch
from distilling import as_distiller, build

from dld.engine.selector_fit import ComparedImages, compare_images, fit_selector
from dld.modeling.resolution.scale_comparison import ScaleComparison, ScaleWords


@pytest.fixture
def model(tiny_cfg):
    as_distiller(tiny_cfg)
    tiny_cfg.MODEL.SELECTOR.SCALES, tiny_cfg.MODEL.DISTILLATION.GAMMA = [0.4, 0.8], 0.1
    return build(tiny_cfg)


def bright_or_dark(count):
    """Bright images lose a nat at the small scale, dark ones nothing; it costs a fifth of the large one."""
    bright = torch.arange(count) % 2 == 0
    images = [torch.full((3, 64, 64), 230 if b else 20, dtype=torch.uint8) for b in bright]
    kl = torch.stack([bright.float(), torch.zeros(count)], 1)
    cost = torch.tensor([0.2, 1.0]).expand(count, 2)
    return bright, ComparedImages(images, ScaleComparison(kl, cost, torch.ones(count, dtype=torch.bool)))


@pytest.mark.parametrize("form", ["risk", "soft_target"])
def test_the_fitted_selector_takes_the_scale_that_is_worth_its_cost(model, form):
    model.selector.objective.form = form
    student = {name: value.clone() for name, value in model.student.state_dict().items()}
    bright, compared = bright_or_dark(40)
    report = fit_selector(model, compared, epochs=12, batch=8, learning_rate=5e-3)
    with torch.no_grad():
        choice = model.score_scales(model.normalize([{"image": x.float()} for x in compared.images])).argmax(1)
    assert torch.equal(choice == 1, bright)
    # six images held out, half of them bright: .1 for those, .02 for the others; one scale for all: always large, .1
    assert report.images == 6 and report.histogram == [3, 3]
    assert report.chosen == pytest.approx(0.06) and report.oracle == pytest.approx(0.06)
    assert report.best_constant == pytest.approx(0.1)
    assert all(torch.equal(student[name], value) for name, value in model.student.state_dict().items())


def test_what_cannot_be_fitted_is_named(model):
    _, compared = bright_or_dark(8)
    with pytest.raises(ValueError, match="8 images are too few"):
        fit_selector(model, compared, batch=8)
    model.training_scale = 0.8
    with pytest.raises(ValueError, match="no resolution selector"):
        fit_selector(model, compared)
    with pytest.raises(ValueError, match="no images"):
        compare_images(model, [])


def test_images_wait_as_they_were_compared(model, tiny_cfg, make_record):
    import numpy as np

    from dld.data.dataset_mapper import TextDatasetMapper

    mapper = TextDatasetMapper(tiny_cfg, True)
    batch = [mapper(make_record(("stone", "river"), seed=i), np.random.default_rng(i)) for i in range(2)]
    compared = compare_images(model, [batch, batch])
    assert len(compared.images) == 4 and compared.comparison.kl.shape == compared.comparison.cost.shape == (4, 2)
    for kept, given in zip(compared.images, [*batch, *batch], strict=True):
        torch.testing.assert_close(kept.float(), given["image"], atol=0.5, rtol=0)
    assert torch.equal(compared.comparison.kl[:2], compared.comparison.kl[2:])
    assert bool((compared.comparison.cost[:, 0] < compared.comparison.cost[:, 1]).all())


def test_the_epoch_that_chose_best_is_kept(model, monkeypatch):
    import dld.engine.selector_fit as module

    _, compared = bright_or_dark(40)
    risks = iter([0.3, 0.1, 0.2])
    seen = []

    def report(model, compared, count):
        seen.append({name: value.clone() for name, value in model.selector.state_dict().items()})
        return module.FitReport(next(risks), 0.0, 0.0, count, [])

    monkeypatch.setattr(module, "held_out_report", report)
    assert fit_selector(model, compared, epochs=3).chosen == 0.1
    assert all(torch.equal(value, seen[1][name]) for name, value in model.selector.state_dict().items())
    assert any(not torch.equal(value, seen[2][name]) for name, value in model.selector.state_dict().items())


def test_a_selector_of_words_learns_from_each_of_them(tiny_cfg):
    """Images hold one bright patch or two; a word there is lost at the small scale. Others hold none."""
    as_distiller(tiny_cfg)
    tiny_cfg.MODEL.SELECTOR.NAME, tiny_cfg.MODEL.SELECTOR.SCALES = "WordLossSelector", [0.4, 0.8]
    tiny_cfg.MODEL.SELECTOR.WORDS.PER_IMAGE, tiny_cfg.MODEL.SELECTOR.INPUT_SCALE = 1.0, 1.0
    tiny_cfg.MODEL.DISTILLATION.GAMMA = 0.2
    model = build(tiny_cfg)
    places = torch.tensor([[8.0, 8, 24, 24], [40.0, 8, 56, 24], [8.0, 40, 24, 56], [40.0, 40, 56, 56]])
    images, words = [], []
    for i in range(48):
        chosen = places[torch.randperm(4)[: i % 3]]
        image = torch.full((3, 64, 64), 90, dtype=torch.uint8)
        for x0, y0, x1, y1 in chosen.long().tolist():
            image[:, y0:y1, x0:x1] = 250
        lost = torch.tensor([[0.5, 0.0]]).expand(len(chosen), 2)
        images.append(image)
        words.append(ScaleWords(chosen, lost))
    some = torch.arange(48) % 3 > 0
    cost = torch.tensor([0.2, 1.0]).expand(48, 2)
    compared = ComparedImages(images, ScaleComparison(torch.zeros(48, 2), cost, some, words))
    report = fit_selector(model, compared, epochs=16, batch=8, learning_rate=5e-3)
    # 0.16 of cost saved is worth less than half a word
    assert float(model.mu) == pytest.approx(0.2 / 0.1)
    with torch.no_grad():
        scores = model.score_scales(model.normalize([{"image": x.float()} for x in images]))
    assert torch.equal((scores - model.mu * cost).argmax(1) == 1, some)
    # of the seven held out (0, 1, 2, 0, 1, 2, 0 words) three cost .04 and four .2
    assert report.images == 7 and report.chosen == pytest.approx((3 * 0.04 + 4 * 0.2) / 7)
