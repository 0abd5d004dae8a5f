"""What an architecture lacks it says, in the words of the contract."""

import pytest
import torch
from detectron2.config import CfgNode
from detectron2.structures import ImageList
from torch import nn

from dld.benchmark.setting import known_parts
from dld.config import get_dld_cfg
from dld.modeling.meta_arch.spotter import Spotter, lacks, spotter_class
from dld.modeling.meta_arch.text_spotter import TextSpottingRCNN
from dld.modeling.resolution.selector import ScaleSelector


class Bare(Spotter):
    """As little as an architecture may have."""

    backbone = nn.Identity()
    size_divisibility = 1

    def losses(self, images, targets, seeds=None, photos=None): ...

    def recognize(self, images, targets, photos=None): ...

    def spot(self, images): ...


IMAGES = ImageList(torch.zeros(1, 3, 32, 32), [(32, 32)])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda s: s.timed_calls(), "Bare does not say what its stages are"),
        (lambda s: s.reading_given_words({}, 3), "Bare cannot be told which words to find"),
        (lambda s: s.reading_step(IMAGES, []), "Bare has no part that only reads"),
        (lambda s: s.graph_parts((64, 64), 1, torch.Generator()), "a Bare cannot be exported"),
        (lambda s: s.graph_settings(), "a Bare cannot be exported"),
        (lambda s: s.ctc_logits(None), "Bare has no CTC head"),
        (lambda s: s.finding_targets(IMAGES, 1, 1, 0.5), "Bare has no proposals to learn from"),
        (lambda s: s.finding_losses({}, []), "Bare has no proposals to learn from or to teach"),
        (lambda s: s.keeping_layers(), "Bare keeps no layers to aggregate"),
        (lambda s: s.losses_from("crops", None, None), "Bare keeps no layers to aggregate"),
        (lambda s: s.at_height(48), "Bare reads at no height of strips"),
        (lambda s: s.words_to_read([], []), "this Bare reads no strips"),
        (lambda s: s.count_parts((64, 64), 1, 3), "Bare does not say how its parts are run: its cost cannot be counted"),
    ],
)
def test_what_is_missing_is_said(call, message):
    with pytest.raises(ValueError, match=message):
        call(Bare())


def test_the_benchmark_names_a_spotter_whose_time_it_cannot_divide():
    class View:
        student = Bare()

    with pytest.raises(ValueError, match="Bare does not say what its stages are"):
        known_parts(View())


def test_a_method_that_refuses_is_lacking():
    assert lacks(Bare, "finding_losses") and lacks(Bare, "words_to_read")
    assert not lacks(TextSpottingRCNN, "finding_losses") and not lacks(Bare, "losses")


def test_a_backbone_without_levels_is_trained_and_measured_whole():
    cfg = get_dld_cfg()
    cfg.MODEL.BACKBONE.LR_FACTOR = 0.25
    assert Bare().bottom_up is Bare.backbone
    assert Bare().learning_rate_factors(cfg) == {"backbone.": 0.25}


def test_spotters_are_found_by_name():
    assert spotter_class("TextSpottingRCNN") is TextSpottingRCNN
    known = r"MODEL\.SPOTTER must be one of Mango, TextPerceptron, TextSpottingRCNN, got"
    for name in ("DistillMetaArch", "Spotter"):
        with pytest.raises(ValueError, match=f"{known} '{name}'"):
            spotter_class(name)


def test_a_selector_of_another_kind_starts_from_nothing_and_has_no_graph():
    selector = ScaleSelector()
    before = selector.state_dict()
    selector.start_from_spotter(CfgNode(), {"stem.weight": torch.ones(1)})
    assert selector.state_dict() == before == {}
    with pytest.raises(ValueError, match="a selector of class ScaleSelector cannot be exported"):
        selector.scores_of_reduced(torch.zeros(1, 3, 8, 8))
