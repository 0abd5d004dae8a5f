"""Chooses the number format in which a device computes."""

from __future__ import annotations

import torch

from dld.utils.device import present_device

__all__ = ["bfloat16_instructions", "inference_dtype"]

_FORMATS = {"float32": None, "bfloat16": torch.bfloat16, "float16": torch.float16}


def bfloat16_instructions() -> bool:
    """Tell whether this CPU computes in bfloat16 itself (AVX-512 BF16 or AMX); True where torch cannot tell."""
    checks = [getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported")]
    return any(check() for check in checks if check) if any(checks) else True


def inference_dtype(name: str, device: str = "cpu") -> torch.dtype | None:
    """Return the format of MODEL.INFERENCE_DTYPE; None for float32, in which nothing is converted.

    Args:
        name: float32, bfloat16, float16, or auto: bfloat16 where the device has instructions for it, else float32.
        device: cpu, cuda, cuda:1, ...

    Raises:
        ValueError: another name.
    """
    if name == "auto":
        on_gpu = present_device(device).startswith("cuda")
        return torch.bfloat16 if (torch.cuda.is_bf16_supported() if on_gpu else bfloat16_instructions()) else None
    if name not in _FORMATS:
        raise ValueError(f"MODEL.INFERENCE_DTYPE must be one of {', '.join(_FORMATS)}, auto, got {name!r}")
    return _FORMATS[name]
