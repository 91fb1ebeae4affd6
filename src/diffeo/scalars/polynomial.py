"""Sum-of-squares polynomials."""

import math

import numpy as np
import torch
from torch import Tensor

from diffeo.scalars.affine import soft_bound
from diffeo.scalars.base import ScalarMap
from diffeo.solvers import solve_increasing

MIN_SLOPE = 1e-3
COEFFICIENT_BOUND = 10.0
SPREAD = 0.01


class SumOfSquares(ScalarMap):
    """The integral of a sum of squared polynomials.

        z = ∫_μ^x g(u) du,   g(u) = ε + (1 − ε) Σ_k (Σ_l a_kl (u/B)ˡ)²,   log dz/dx = log g(x).

    Beyond ±B the slope stays g(±B): the map continues linearly. The paper writes z = c + ∫₀ˣ; here
    the shift is the root μ, c = −∫₀^μ, which gives the same maps, and z without cancellation near
    the root. The integral is a Gauss–Legendre sum of r + 1 terms, all positive, which is exact for
    g.

    Inverse: closed form beyond ±B, a bracketed solver between.

    Bounds: slopes are at least ε = 1e-3; coefficients are a_kl = o_kl + raw / (1 + |raw|/10), so
    that |a_kl − o_kl| < 10. The o_kl are 1 for the constant of the first polynomial and 0.01 for
    power k of polynomial k (a polynomial that is zero would have no gradient, equal ones would stay
    equal); without them zero parameters would give the identity, with them they do to 1e-3 |x|.

    Parameters: μ, then a_kl before it is bounded, k-major.

    Args:
        degree: r, of the polynomials that are squared; z is of degree 2r + 1.
        polynomials: how many there are.
        bound: B.

    Raises:
        ValueError: if the degree is negative, there are no polynomials, or the bound is not
            positive.

    Reference: Jaini, Selby & Yu, 2019, Sum-of-Squares Polynomial Flow, arXiv:1905.02325.
    """

    iterative = True

    def __init__(self, degree: int = 4, polynomials: int = 3, bound: float = 5.0) -> None:
        super().__init__()
        if degree < 0 or polynomials < 1:
            raise ValueError(
                "SumOfSquares: needs a degree of 0 or more and 1 or more polynomials, "
                f"got degree={degree} and polynomials={polynomials}"
            )
        if not (bound > 0 and math.isfinite(bound)):
            raise ValueError(f"SumOfSquares: bound must be positive and finite, got {bound}")
        self.degree, self.polynomials, self.bound = degree, polynomials, float(bound)
        self.num_params = 1 + polynomials * (degree + 1)
        nodes, weights = np.polynomial.legendre.leggauss(degree + 1)
        # Python numbers, not buffers: a change of dtype there and back would cost them their
        # digits.
        self._nodes = tuple(float(node) for node in (nodes + 1) / 2)
        self._weights = tuple(float(weight) for weight in weights / 2)
        offsets = torch.zeros(polynomials, degree + 1)
        for k in range(1, polynomials):
            offsets[k, k % (degree + 1)] += SPREAD
        offsets[0, 0] = 1.0
        self.offsets: Tensor
        self.register_buffer("offsets", offsets, persistent=False)

    def forward(self, x: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        """z and log dz/dx."""
        root, coefficients = self._unpack(params)
        return self._value(x, root, coefficients)

    def inverse(self, z: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        """x and log dx/dz."""
        root, coefficients = self._unpack(params)
        edge = torch.full_like(z, self.bound)
        bottom, log_slope_bottom = self._value(-edge, root, coefficients)
        top, log_slope_top = self._value(edge, root, coefficients)
        above, below = z > top, z < bottom

        def value(x: Tensor) -> tuple[Tensor, Tensor]:
            return self._value(x, root, coefficients)

        # Elements beyond the bound are given a root inside, which is then not used.
        target = torch.where(above | below, (bottom + top).detach() / 2, z)
        x = solve_increasing(value, target, -edge, edge)
        x = torch.where(above, edge + (z - top) * (-log_slope_top).exp(), x)
        x = torch.where(below, (z - bottom) * (-log_slope_bottom).exp() - edge, x)
        return x, -value(x)[1]

    def _value(
        self, x: Tensor, root: Tensor, coefficients: tuple[Tensor, ...]
    ) -> tuple[Tensor, Tensor]:
        inner_x, inner_root = x.clamp(-self.bound, self.bound), root.clamp(-self.bound, self.bound)
        start, end = inner_root / self.bound, inner_x / self.bound
        slope = _slope(end, coefficients)
        mean = torch.zeros_like(slope)
        for node, weight in zip(self._nodes, self._weights, strict=True):
            mean = mean + weight * _slope(start + node * (end - start), coefficients)
        z = (inner_x - inner_root) * mean + slope * (x - inner_x)
        z = z - _slope(start, coefficients) * (root - inner_root)
        return z, slope.log()

    def _unpack(self, params: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """μ, and the a_kl of every power l."""
        root, raw = params[..., 0], params[..., 1:]
        raw = raw.unflatten(-1, (self.polynomials, self.degree + 1))
        coefficients = self.offsets.to(raw.dtype) + soft_bound(raw, COEFFICIENT_BOUND)
        # Copies, not views of one tensor: the solver's loop is compiled only without aliases.
        return root, tuple(power.clone() for power in coefficients.unbind(-1))

    def extra_repr(self) -> str:
        """Degree, number of polynomials and bound."""
        return f"degree={self.degree}, polynomials={self.polynomials}, bound={self.bound:g}"


def _slope(t: Tensor, coefficients: tuple[Tensor, ...]) -> Tensor:
    *lower, value = coefficients
    value, t = torch.broadcast_tensors(value, t[..., None])
    for coefficient in reversed(lower):
        value = torch.addcmul(coefficient, value, t)
    return MIN_SLOPE + (1 - MIN_SLOPE) * (value * value).sum(-1)
