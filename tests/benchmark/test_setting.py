"""Which models the benchmark measures, and what it says of the others."""

from types import SimpleNamespace

import pytest
import torch

from dld.benchmark.setting import Setting, known_parts, spotter_of


def test_a_spotter_of_unknown_parts_is_named():
    with pytest.raises(ValueError, match="the parts of a TextSpottingRCNN can be measured, not those of a Identity"):
        known_parts(SimpleNamespace(student=torch.nn.Identity()))


@pytest.mark.parametrize("kind", ["teacher", "student"])
def test_plain_spotters_and_students_are_measured(tiny_weights, kind):
    cfg, model = spotter_of(Setting(device="cpu", opts=[]), tiny_weights[kind])
    assert known_parts(model) is model and type(model.student).__name__ == cfg.MODEL.SPOTTER
