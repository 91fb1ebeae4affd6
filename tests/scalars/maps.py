"""The scalar maps under test, by name, and points at which they are tested."""

import torch
from torch import Tensor

from diffeo.scalars import (
    Additive,
    Affine,
    DeepSigmoid,
    LogisticMixture,
    RationalQuadraticSpline,
    ScalarMap,
    SumOfSquares,
)

MAPS = {
    "additive": Additive,
    "affine": Affine,
    "spline": RationalQuadraticSpline,
    "spline/bounded": lambda: RationalQuadraticSpline(tails="bounded", lower=-1.0, upper=2.0),
    "spline/circular": lambda: RationalQuadraticSpline(bins=5, tails="circular"),
    "mixture": LogisticMixture,
    "mixture/one": lambda: LogisticMixture(1),
    "polynomial": SumOfSquares,
    "polynomial/straight": lambda: SumOfSquares(degree=0, polynomials=1, bound=2.0),
    "sigmoid": lambda: DeepSigmoid(units=6),
    "sigmoid/deep": lambda: DeepSigmoid(units=4, layers=3),
}


def extent(scalar: ScalarMap) -> float:
    """The size of the interval in which a map is not a straight line; 0 where there is none."""
    if isinstance(scalar, SumOfSquares):
        return scalar.bound
    if isinstance(scalar, RationalQuadraticSpline):
        return max(abs(scalar.lower), abs(scalar.upper))
    return 0.0


def draw(scalar: ScalarMap, n: int, scale: float, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Points of the domain out to ±1e4, its ends and the ends of inner intervals; N(0, 1)·scale."""
    params = scale * torch.randn(n, scalar.num_params, dtype=torch.float32)
    magnitude = 10.0 ** (6 * torch.rand(n) - 2)
    x = torch.where(torch.rand(n) < 0.5, magnitude, -magnitude)
    if scalar.domain.upper < 1e4:
        x = scalar.domain.lower + (scalar.domain.upper - scalar.domain.lower) * torch.rand(n)
    edge = extent(scalar)
    x[:4] = torch.tensor([0.0, edge, -edge, 0.5])
    x[4 : n // 4] = (3 * torch.randn(n // 4 - 4)).clamp(-edge or -1e4, edge or 1e4)
    x = x.clamp(max(scalar.domain.lower, -1e4), min(scalar.domain.upper, 1e4))
    return x.to(dtype), params.to(dtype)
