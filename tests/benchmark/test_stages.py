"""Where time is put down to, with a clock that is turned by hand; and that watching a spotter changes nothing."""

import pytest
import torch

from dld.benchmark import stages
from dld.benchmark.stages import STAGES, StageClock, spotting_stages
from dld.data.dataset_mapper import TextDatasetMapper
from dld.inference.predictor import TextSpotter
from dld.inference.scale_choice import at_scale


@pytest.fixture
def hands(monkeypatch):
    """A clock that shows `hands[0]`."""
    now = [0.0]
    monkeypatch.setattr(stages.time, "perf_counter", lambda: now[0])
    return now


def test_an_inner_stage_is_not_counted_twice(hands):
    clock = StageClock()
    with clock.stage("outer"):
        hands[0] += 1
        with clock.stage("inner"):
            hands[0] += 10
        hands[0] += 2
    hands[0] += 100
    with clock.stage("inner"):
        hands[0] += 20
    assert clock.seconds == {"outer": 3, "inner": 30}


def test_time_before_an_error_counts(hands):
    clock = StageClock()

    def fail():
        hands[0] += 5
        raise KeyError

    with pytest.raises(KeyError):
        clock.watched("failing", fail)()
    assert clock.seconds == {"failing": 5}


def test_a_spotter_is_watched_and_left_as_it_was(tiny_cfg, tiny_weights, make_record):
    model = TextSpotter.from_checkpoint(tiny_weights["student"]).model
    record = TextDatasetMapper(tiny_cfg, False)(make_record())
    with torch.inference_mode():
        before = model([record])[0]
        with spotting_stages(model) as clock, clock.stage("other"):
            watched = model([record])[0]
        assert set(clock.seconds) == {*STAGES, "other"}
        assert all(seconds >= 0 for seconds in clock.seconds.values())
        assert watched["scale"] == before["scale"] and watched["instances"].pred_texts == before["instances"].pred_texts
        assert "forward" not in vars(model.student.backbone) and "select_scales" not in vars(model)
        with spotting_stages(at_scale(model, 0.5)) as clock:
            model.student([record])
        assert "resize" not in clock.seconds and "recognition" in clock.seconds
