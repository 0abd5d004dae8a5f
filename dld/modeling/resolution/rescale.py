"""Images and their words at another scale, and the order in which the images of a batch are run."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence

import torch
import torch.nn.functional as F
from detectron2.structures import Boxes, ImageList, Instances

from dld.structures.padded_polygons import PaddedPolygons

__all__ = [
    "group_by",
    "group_by_scale",
    "padded_size",
    "rescale_images",
    "rescale_instances",
    "scaled_size",
]


def scaled_size(size: tuple[int, int], scale: float) -> tuple[int, int]:
    """Pixels (H, W) of an unpadded image of `size` (H, W) resized by `scale`.

    Each side is side x scale rounded to the nearest whole number, halves up (Python's `round` takes them to the even
    neighbour, and a scale would treat 5 and 7 pixels differently), and at least 1.

    Raises:
        ValueError: `scale` is not a positive finite number.
    """
    if not (scale > 0 and math.isfinite(scale)):
        raise ValueError(f"scale must be positive, got {scale}")
    # the small term keeps products such as 0.35 x 10 = 3.4999999999999996 on the side they belong to
    return tuple(max(math.floor(side * scale + 0.5 + 1e-9), 1) for side in size)


def padded_size(size: tuple[int, int], divisibility: int) -> tuple[int, int]:
    """Pixels (H, W) of the batch an image of `size` needs when it runs alone: each side up to the next multiple."""
    step = max(divisibility, 1)
    return tuple(-(-side // step) * step for side in size)


def rescale_images(images: ImageList | Sequence[torch.Tensor], scale: float, divisibility: int = 32) -> ImageList:
    """Antialiased bilinear resize of a batch.

    Every image is resized from its own unpadded pixels, so that neither padding bleeds into its border nor the other
    images of the batch change it; the batch is then padded with 0, the mean colour of normalised images. Computed in
    float32 and without gradients to the pixels in mind. At scale 1 the pixels are untouched.

    Args:
        images: padded batch with its unpadded sizes, or tensors (3, H, W).
        scale: factor for both sides, see :func:`scaled_size`.
        divisibility: sides of the resulting batch are multiples of this; 0 or 1: none.

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
    # contiguous: the kernel then takes the same path for a crop of a batch and for the image alone
    pixels = image.unsqueeze(0).float().contiguous()
    out = F.interpolate(pixels, size=size, mode="bilinear", align_corners=False, antialias=True)
    return out.squeeze(0).to(image.dtype)


def _is_channels_last(tensor: torch.Tensor) -> bool:
    return tensor.is_contiguous(memory_format=torch.channels_last) and not tensor.is_contiguous()


def rescale_instances(instances: Instances, new_size: tuple[int, int]) -> Instances:
    """Words of an image resized to `new_size` (H, W).

    Boxes and polygons (`gt_boxes`, `gt_read_boxes`, `gt_masks`) are scaled into copies; everything else is kept as it
    is, `gt_tall` included: teacher and student must transpose the same words, whatever rounding does to the sides.
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


def group_by(keys: Sequence[Hashable]) -> dict[Hashable, list[int]]:
    """Positions of equal keys, groups in the order in which their keys first appear."""
    groups: dict[Hashable, list[int]] = {}
    for i, key in enumerate(keys):
        groups.setdefault(key, []).append(i)
    return groups


def group_by_scale(
    image_sizes: Sequence[tuple[int, int]], scales: Sequence[float], divisibility: int = 32
) -> dict[tuple[float, tuple[int, int]], list[int]]:
    """Positions of the images that run together: same scale and same padded size (H, W) at that scale.

    Nothing is padded beyond what the image needs alone, so a batch costs what its images cost one by one, and the
    network sees of every image exactly the pixels it would see then.

    Args:
        image_sizes: unpadded (H, W) of N images at full resolution.
        scales: N scales.
    """
    sizes = [scaled_size(size, scale) for size, scale in zip(image_sizes, scales, strict=True)]
    return group_by([(scale, padded_size(size, divisibility)) for scale, size in zip(scales, sizes, strict=True)])
