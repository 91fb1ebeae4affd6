"""What base distributions learn: locations, scales and shape parameters, within bounds."""

import math

import torch
from torch import Tensor, nn

from diffeo.contexts import Shape, known_shape
from diffeo.scalars.affine import soft_bound

LOG_SCALE_BOUND = math.log(1e6)
"""B: learned and conditioned scales lie in (e⁻ᴮ, eᴮ) = (10⁻⁶, 10⁶)."""
LOG_SHAPE_BOUND = math.log(10.0)
"""Learned shape parameters (ν, a, b) stay within a factor of 10 of where they started."""


class Position(nn.Module):
    """A location μ and a scale σ for every element: 0 and 1, fixed, or where learning starts.

    A learned log σ = a / (1 + |a|/B) lies in (−B, B), B = log 10⁶.
    """

    def __init__(self, owner: str, shape: Shape, learned: bool) -> None:
        super().__init__()
        known = known_shape(owner, shape) if learned else ()
        self.loc = nn.Parameter(torch.zeros(known)) if learned else None
        self.raw_log_scale = nn.Parameter(torch.zeros(known)) if learned else None

    def standardize(self, x: Tensor) -> tuple[Tensor, Tensor | float]:
        """z = (x − μ)/σ and log σ."""
        if self.loc is None or self.raw_log_scale is None:
            return x, 0.0
        log_scale = soft_bound(self.raw_log_scale.to(x.dtype), LOG_SCALE_BOUND)
        return (x - self.loc.to(x.dtype)) * (-log_scale).exp(), log_scale

    def place(self, z: Tensor) -> Tensor:
        """x = μ + σ z."""
        if self.loc is None or self.raw_log_scale is None:
            return z
        log_scale = soft_bound(self.raw_log_scale.to(z.dtype), LOG_SCALE_BOUND)
        return self.loc.to(z.dtype) + log_scale.exp() * z

    def fit(self, loc: Tensor, scale: Tensor) -> None:
        """Sets them, if they are learned; a scale of 0 (constant data) becomes 1."""
        if self.loc is None or self.raw_log_scale is None:
            return
        with torch.no_grad():
            self.loc.copy_(loc)
            self.raw_log_scale.copy_(unbound(positive(scale).log()))


class PositiveShape(nn.Module):
    """A positive shape parameter: one fixed number, or one for every element that learning moves.

    Learned: log v = log start + a / (1 + |a|/B), so that v/start stays in (1/10, 10), B = log 10.
    """

    def __init__(self, owner: str, name: str, shape: Shape, start: float, learned: bool) -> None:
        super().__init__()
        if not 0 < start < math.inf:
            raise ValueError(f"{owner}: {name} must be positive and finite, got {start}")
        self.start = float(start)
        self.raw = nn.Parameter(torch.zeros(known_shape(owner, shape))) if learned else None

    def forward(self, dtype: torch.dtype) -> Tensor | float:
        """The number, or the number of every element."""
        if self.raw is None:
            return self.start
        return self.start * soft_bound(self.raw.to(dtype), LOG_SHAPE_BOUND).exp()

    def extra_repr(self) -> str:
        """Where it started, and whether it is learned."""
        return f"{self.start:g}, learned={self.raw is not None}"


def positive(scale: Tensor) -> Tensor:
    """The scale, 1 in place of 0: constant data has none."""
    return torch.where(scale > 0, scale, torch.ones_like(scale))


def unbound(log_scale: Tensor) -> Tensor:
    """The inverse of `soft_bound`, for log-scales moved to where it has one."""
    inside = log_scale.clamp(min=-0.9 * LOG_SCALE_BOUND, max=0.9 * LOG_SCALE_BOUND)
    return inside / (1 - inside.abs() / LOG_SCALE_BOUND)
