"""Wide numbers."""

import torch
from torch import Tensor

LEAST_SIZE = 2.0**-15
"""What numbers are divided by, at least: a level of 16 bits."""


def widen(x: Tensor, layout: torch.memory_format = torch.preserve_format) -> Tensor:
    """x in float64, on devices that have it; what is converted may be laid out anew."""
    has = x.device.type in ("cpu", "cuda")
    return x.to(torch.float64, memory_format=layout) if has else x


def root_mean_square(x: Tensor) -> Tensor:
    """√(mean x²) of all numbers together, in float64 on the way; `LEAST_SIZE` where it is less."""
    return widen(x).square().mean().sqrt().clamp_min(LEAST_SIZE).to(x.dtype)
