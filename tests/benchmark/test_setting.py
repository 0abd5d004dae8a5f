"""Which models the benchmark measures."""

import pytest

from dld.benchmark.setting import Setting, known_parts, spotter_of


@pytest.mark.parametrize("kind", ["teacher", "student"])
def test_plain_spotters_and_students_are_measured(tiny_weights, kind):
    cfg, model = spotter_of(Setting(device="cpu", opts=[]), tiny_weights[kind])
    assert known_parts(model) is model and type(model.student).__name__ == cfg.MODEL.SPOTTER
