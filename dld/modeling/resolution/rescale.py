"""Rescales images and their words, and groups the images of a batch that run together."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from detectron2.structures import Boxes, ImageList, Instances

from dld.structures.image_sizes import group_by, group_by_scale, padded_size, scaled_size
from dld.structures.padded_polygons import PaddedPolygons

__all__ = [
    "group_by",
    "group_by_scale",
    "padded_size",
    "rescale_images",
    "rescale_instances",
    "scaled_size",
]


def rescale_images(images: ImageList | Sequence[torch.Tensor], scale: float, divisibility: int = 32) -> ImageList:
    """Resize a batch bilinearly, with antialiasing.

    Every image is resized from its own unpadded pixels, so that neither padding bleeds into its border nor the other
    images of the batch change it; the batch is then padded with 0, the mean colour of normalised images. Computed in
    float32 and without gradients to the pixels in mind. At scale 1 the pixels are untouched.

    Args:
        images: padded batch with its unpadded sizes, or tensors (3, H, W).
        scale: factor for both sides, see :func:`scaled_size`.
        divisibility: sides of the resulting batch are multiples of this; 0 or 1: any sides.

    Returns:
        the batch and the unpadded sizes after resizing, in the memory format of a given batch.
    """
    channels_last = isinstance(images, ImageList) and _is_channels_last(images.tensor)
    resized = [_resize(images[i], scale) for i in range(len(images))]
    batch = ImageList.from_tensors(resized, divisibility)
    if channels_last:
        batch.tensor = batch.tensor.contiguous(memory_format=torch.channels_last)
    return batch


def _resize(image: torch.Tensor, scale: float) -> torch.Tensor:
    size = scaled_size(tuple(image.shape[-2:]), scale)
    if size == tuple(image.shape[-2:]):
        return image
    # contiguous, so that the kernel takes the same path for a crop of a batch and for the image alone
    pixels = image.unsqueeze(0).float().contiguous()
    out = F.interpolate(pixels, size=size, mode="bilinear", align_corners=False, antialias=True)
    return out.squeeze(0).to(image.dtype)


def _is_channels_last(tensor: torch.Tensor) -> bool:
    return tensor.is_contiguous(memory_format=torch.channels_last) and not tensor.is_contiguous()


def rescale_instances(instances: Instances, new_size: tuple[int, int]) -> Instances:
    """Resize the words of an image to `new_size` (H, W).

    Boxes and points (`gt_boxes`, `gt_masks` and the like) are scaled into copies; everything else is kept as it is, `gt_tall`
    and `gt_view` included: teacher and student must look at a word alike, whatever rounding does to the sides.
    """
    height, width = instances.image_size
    scale_x, scale_y = new_size[1] / width, new_size[0] / height
    out = Instances(new_size)
    for name, value in instances.get_fields().items():
        if isinstance(value, Boxes):
            value = value.clone()
            value.scale(scale_x, scale_y)
        elif isinstance(value, PaddedPolygons):
            value = value.scale(scale_x, scale_y)
        out.set(name, value)
    return out
