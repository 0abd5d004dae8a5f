"""Times single changes at inference: crops from channels-last features, batch norm folded into convolutions."""

from __future__ import annotations

import copy

import torch
from torchvision.ops import roi_align

from dld.benchmark.forced_words import random_boxes
from dld.benchmark.setting import QUICK_OPTIONS, Setting, spotter_of, val_records
from dld.benchmark.timing import alternate
from dld.modeling.fused_norms import fuse_norms
from dld.modeling.poolers.channels_last_roi_align import ChannelsLastRoIAlign

__all__ = ["measure_operators"]


@torch.inference_mode()
def measure_operators(setting: Setting) -> dict:
    """Measure the part "operators": in every pair a is the plain way, b ours."""
    ratios = {}
    timed = {"device": setting.device, "seconds": setting.seconds / 4}
    pairs = setting.either(20, 2)
    for name, channels, side, boxes in (("tiny", 64, 160, 200), ("R50", 256, 224, 1000)):
        side = setting.either(side, 16)
        setting.say(f"operators: {boxes} crops of {channels} channels")
        features = torch.randn(1, channels, side, side, device=setting.device)
        features = features.contiguous(memory_format=torch.channels_last)
        rois = random_boxes(boxes, (4 * side, 4 * side)).to(setting.device)
        rois = torch.cat([rois.new_zeros(boxes, 1), rois], 1)
        ours = ChannelsLastRoIAlign((7, 7), 0.25, 2)

        def planes(_, x=features, rois=rois):
            return roi_align(x, rois, (7, 7), 0.25, 2, True)

        def rows(_, x=features, rois=rois, ours=ours):
            return ours(x, rois)

        torch.testing.assert_close(rows(0), planes(0), atol=1e-3, rtol=1e-3)
        times = alternate(planes, rows, pairs, **timed)
        what = f"{boxes} boxes, {channels} x {side} x {side}, channels-last"
        ratios[f"roi_align_{name}"] = times.entry(what, setting.threads)
    setting.opts, kept = [*setting.opts, *setting.either([], QUICK_OPTIONS)], setting.opts
    try:
        cfg, model = spotter_of(setting, setting.weights, fuse=False)
    finally:
        setting.opts = kept
    plain, fused = model.student, copy.deepcopy(model.student)
    folded = fuse_norms(fused)
    records = val_records(cfg, setting.either(10, 1))
    setting.say(f"operators: {folded} batch norms folded or not, {len(records)} pictures")
    times = alternate(
        lambda i: plain([records[i % len(records)]]), lambda i: fused([records[i % len(records)]]), pairs, **timed
    )
    height, width = records[0]["image"].shape[-2:]
    ratios["fused_norms"] = times.entry(f"{height} x {width}, batch 1, {folded} norms", setting.threads)
    return {"ratios": ratios}
