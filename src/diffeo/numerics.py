"""Wide numbers."""

import torch
from torch import Tensor


def widen(x: Tensor, layout: torch.memory_format = torch.preserve_format) -> Tensor:
    """x in float64, on devices that have it; what is converted may be laid out anew."""
    has = x.device.type in ("cpu", "cuda")
    return x.to(torch.float64, memory_format=layout) if has else x


def root_mean_square(x: Tensor, least: float) -> Tensor:
    """√(mean x²) of all numbers together, in float64 on the way; `least` where it is less."""
    return widen(x).square().mean().sqrt().clamp_min(least).to(x.dtype)
