"""Cuts a bottom-up network after one of its stages."""

from __future__ import annotations

from torch import nn

from dld.modeling.backbone.text_convnet_fpn import STAGE_ENDS, TextConvNetStages

__all__ = ["drop_later_stages", "stages_of"]


def stages_of(body: nn.Module) -> list[str]:
    """Return the names of the stages, `res2` first, of a network that can be cut (a ResNet of detectron2, or a
    :class:`TextConvNetStages`); of any other network none."""
    if isinstance(body, TextConvNetStages):
        return [f"res{i + 2}" for i in range(len(STAGE_ENDS))]
    return list(getattr(body, "stage_names", ()))


def drop_later_stages(body: nn.Module, name: str, levels: int = 1) -> tuple[str, ...]:
    """Drop the stages after `name`, in place; the network then gives its last `levels` levels, whose names are returned.

    A :class:`TextConvNetStages` gives all levels that it has.
    """
    known = stages_of(body)
    last = known.index(name) + 1
    if isinstance(body, TextConvNetStages):
        body.net.blocks = body.net.blocks[: STAGE_ENDS[last - 1] + 1]
        kept = tuple(known[:last])
    else:
        for later in known[last:]:
            delattr(body, later)
        body.stages, body.stage_names = body.stages[:last], body.stage_names[:last]
        kept = tuple(known[last - levels : last])
    body._out_features = list(kept)
    return kept
