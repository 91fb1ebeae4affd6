"""Monotone rational-quadratic splines."""

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from diffeo.numerics import widen
from diffeo.scalars import spline_kernel
from diffeo.scalars.base import ScalarMap
from diffeo.scalars.spline_fast import SplineForward, spline_inverse, spline_operator
from diffeo.solvers import is_compiled, is_traced
from diffeo.supports import LINE, Support

LEAST_SHARE = 1e-3
"""Of a bin in the whole width, and in the whole height."""
MIN_DERIVATIVE = 1e-3
OFFSET = math.log(math.expm1(1 - MIN_DERIVATIVE))
"""Makes the derivative 1 at 0."""
TAILS = ("linear", "bounded", "circular")


class RationalQuadraticSpline(ScalarMap):
    """A monotone spline of ratios of quadratics between knots (x_k, z_k) with derivatives δ_k.

    In the bin of width w and height h that x falls in, with θ = (x − x_k)/w and slope s = h/w,

        z = z_k + h (s θ² + δ_k θ(1−θ)) / D,        D = s (θ² + (1−θ)²) + (δ_k + δ_{k+1}) θ(1−θ),
        dz/dx = s² (δ_{k+1} θ² + 2s θ(1−θ) + δ_k (1−θ)²) / D².

    Inverse: with y = (z − z_k)/h, g = δ_k (1−y) − δ_{k+1} y and r = √(g² + 4s² y(1−y)) + |g|,
    the root of the quadratic in θ is θ = 2sy / (r + 2sy) where g ≥ 0 and r / (r + 2s(1−y))
    elsewhere. Every sum in these formulas is of positive terms: nothing cancels, and no root is of
    a negative number.

    A bin is at least 1e-3 of the whole width and of the whole height, a derivative at least 1e-3.
    Outside the interval the map is the identity.

    Parameters: widths (K), heights (K), derivatives, before a softmax, a softmax and a softplus.
    There are K − 1 derivatives with linear tails (1 at both ends), K + 1 bounded, and K circular
    (the same at both ends). Zero parameters give equal bins and derivatives 1, the identity.

    Args:
        bins: K.
        bound: B; the interval is [−B, B]. 3 with linear tails and π circular, unless told.
        tails: "linear", the identity outside; "bounded", maps an interval to itself and lives there
            only; "circular", maps the circle that [−B, B) is to itself, keeping the point ±B.
        lower: left end, for "bounded" alone; 0 unless told.
        upper: right end, for "bounded" alone; 1 unless told.

    Raises:
        ValueError: if there are no bins or too many for their least size, if `tails` is unknown, or
            if the interval is empty or given in the words of another kind of tails.

    Reference: Durkan, Bekasov, Murray & Papamakarios, 2019, Neural Spline Flows, arXiv:1906.04032;
        circular: Rezende et al., 2020, Normalizing Flows on Tori and Spheres, arXiv:2002.02428.
    """

    apart = True

    def __init__(
        self,
        bins: int = 8,
        bound: float | None = None,
        tails: str = "linear",
        lower: float | None = None,
        upper: float | None = None,
    ) -> None:
        super().__init__()
        most = round(1 / LEAST_SHARE) - 1
        if not 1 <= bins <= most:
            raise ValueError(f"RationalQuadraticSpline: bins must be 1 … {most}, got {bins}")
        if tails not in TAILS:
            raise ValueError(
                f"RationalQuadraticSpline: tails must be one of {', '.join(TAILS)}; got {tails!r}"
            )
        self.bins, self.tails = bins, tails
        self.least, self.shared = LEAST_SHARE, 1 - LEAST_SHARE * bins
        self.lower, self.upper = _interval(tails, bound, lower, upper)
        derivatives = {"linear": bins - 1, "bounded": bins + 1, "circular": bins}[tails]
        self.num_params = 2 * bins + derivatives
        self.domain = self.codomain = (
            LINE
            if tails == "linear"
            else Support(self.lower, self.upper, closed=True, circular=tails == "circular")
        )

    def forward(self, x: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        """z and log dz/dx; x and 0 outside the interval."""
        if self._in_planes(x, params):
            return SplineForward.apply(x, params, self)  # type: ignore[return-value]
        if self._in_an_operator(x, params):
            in_kernel = spline_kernel.is_for(x, params)
            z, ladj, *_ = spline_operator(x, params, self.bins, self.upper, in_kernel)
            return z, ladj
        return self.define(x, params)

    def define(self, x: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        """What `forward` is, by its formulas, in float64 where there is one."""
        # Before widening: what the dtype rounds an end to counts as that end.
        inside = (x >= self.lower) & (x <= self.upper)
        dtype, x, params = x.dtype, widen(x), widen(params)
        knots_x, knots_z, slopes, raw = self._knots(params)
        part = self._bin(x, knots_x, knots_x, knots_z, slopes, raw)
        theta = (x.clamp(self.lower, self.upper) - part.left) / part.width
        rest = 1 - theta
        rise = part.s * theta * theta + part.d0 * theta * rest
        z = part.bottom + part.height * rise / _denominator(part, theta, rest)
        log_slope = torch.where(inside, _log_slope(part, theta, rest), 0.0)
        return self._outside(z, x, inside).to(dtype), log_slope.to(dtype)

    def _in_planes(self, x: Tensor, params: Tensor) -> bool:
        """Whether the fast way does, eagerly."""
        return self._fits(x, params) and not is_traced()

    def _in_an_operator(self, x: Tensor, params: Tensor) -> bool:
        """Whether the fast way does, in a graph that is being compiled."""
        return self._fits(x, params) and x.device.type == "cpu" and is_compiled()

    def _fits(self, x: Tensor, params: Tensor) -> bool:
        """Whether there are parameters for each element, and tails that are the identity."""
        same = x.shape == params.shape[:-1] and x.dtype == params.dtype
        full = x.dtype in (torch.float32, torch.float64)
        return self.tails == "linear" and same and full

    def inverse(self, z: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        """x and log dx/dz; z and 0 outside the interval."""
        learning = torch.is_grad_enabled() and (z.requires_grad or params.requires_grad)
        if self._in_planes(z, params) and not learning:
            return spline_inverse(z, params, self)
        return self.define_inverse(z, params)

    def define_inverse(self, z: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        """What `inverse` is, by its formulas, in float64 where there is one."""
        # Before widening: what the dtype rounds an end to counts as that end.
        inside = (z >= self.lower) & (z <= self.upper)
        dtype, z, params = z.dtype, widen(z), widen(params)
        knots_x, knots_z, slopes, raw = self._knots(params)
        part = self._bin(z, knots_z, knots_x, knots_z, slopes, raw)
        y = (z.clamp(self.lower, self.upper) - part.bottom) / part.height
        rest_y = 1 - y
        g = part.d0 * rest_y - part.d1 * y
        r = (g * g + 4 * part.s * part.s * y * rest_y).sqrt() + g.abs()
        low, high = 2 * part.s * y, 2 * part.s * rest_y
        positive = g >= 0
        total = r + torch.where(positive, low, high)
        theta = torch.where(positive, low, r) / total
        rest = torch.where(positive, r, high) / total
        x = part.left + part.width * theta
        ladj = torch.where(inside, -_log_slope(part, theta, rest), 0.0)
        return self._outside(x, z, inside).to(dtype), ladj.to(dtype)

    def _outside(self, out: Tensor, x: Tensor, inside: Tensor) -> Tensor:
        # Rounding may leave the interval by an ulp; the gradient is not to notice.
        out = out + (out.clamp(self.lower, self.upper) - out).detach()
        return torch.where(inside, out, x)

    def _knots(self, params: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """x_k, z_k, the slopes of the bins, and the derivatives before their softplus."""
        k = self.bins
        widths, heights, raw = params.split([k, k, self.num_params - 2 * k], dim=-1)
        widths, heights = self.share(widths.softmax(-1)), self.share(heights.softmax(-1))
        if self.tails == "linear":
            raw = F.pad(raw, (1, 1))
        elif self.tails == "circular":
            raw = torch.cat([raw, raw[..., :1]], dim=-1)
        # Slopes come from the shares: differences of knots would lose digits in thin bins.
        return self._positions(widths), self._positions(heights), heights / widths, raw

    def share(self, part: Tensor) -> Tensor:
        """Parts of a whole that sum to one, none too small."""
        return self.least + self.shared * part

    @staticmethod
    def derivative(raw: Tensor) -> Tensor:
        """The derivative at a knot; 1 for 0."""
        return MIN_DERIVATIVE + F.softplus(raw + OFFSET)

    @staticmethod
    def derivative_slope(raw: Tensor) -> Tensor:
        """That of `derivative`."""
        return torch.sigmoid(raw + OFFSET)

    def _positions(self, shares: Tensor) -> Tensor:
        inner = self.lower + (self.upper - self.lower) * shares[..., :-1].cumsum(-1)
        inner = F.pad(inner, (1, 0), value=self.lower)
        return F.pad(inner, (0, 1), value=self.upper)

    def _bin(
        self,
        x: Tensor,
        edges: Tensor,
        knots_x: Tensor,
        knots_z: Tensor,
        slopes: Tensor,
        raw: Tensor,
    ) -> "_Bin":
        """The bin between whose edges each x lies."""
        index = (x[..., None] >= edges[..., 1:-1]).sum(-1, keepdim=True)
        batch = index.shape[:-1]
        knots = [t.expand(*batch, self.bins + 1) for t in (knots_x, knots_z, raw)]
        left, bottom, raw0 = (t.gather(-1, index)[..., 0] for t in knots)
        right, top, raw1 = (t.gather(-1, index + 1)[..., 0] for t in knots)
        s = slopes.expand(*batch, self.bins).gather(-1, index)[..., 0]
        # With the knots themselves θ stays within [0, 1] under rounding.
        return _Bin(
            left,
            right - left,
            bottom,
            top - bottom,
            s,
            self.derivative(raw0),
            self.derivative(raw1),
        )

    def extra_repr(self) -> str:
        """Bins, tails and interval."""
        return f"bins={self.bins}, tails={self.tails!r}, lower={self.lower:g}, upper={self.upper:g}"


class _Bin(NamedTuple):
    """A bin an element: where it starts, its size, slope, and the derivatives at its ends."""

    left: Tensor
    width: Tensor
    bottom: Tensor
    height: Tensor
    s: Tensor
    d0: Tensor
    d1: Tensor


def _interval(
    tails: str, bound: float | None, lower: float | None, upper: float | None
) -> tuple[float, float]:
    if tails == "bounded":
        if bound is not None:
            raise ValueError(
                "RationalQuadraticSpline: bounded splines take lower and upper, not bound"
            )
        low, high = 0.0 if lower is None else float(lower), 1.0 if upper is None else float(upper)
    else:
        if lower is not None or upper is not None:
            raise ValueError(
                f"RationalQuadraticSpline: {tails} splines take bound, not lower and upper"
            )
        if bound is not None and not 0 < bound < math.inf:
            raise ValueError(
                f"RationalQuadraticSpline: bound must be positive and finite, got {bound}"
            )
        high = float(bound) if bound is not None else (3.0 if tails == "linear" else math.pi)
        low = -high
    if not (low < high and math.isfinite(low) and math.isfinite(high)):
        raise ValueError(
            f"RationalQuadraticSpline: the interval [{low}, {high}] is empty or infinite"
        )
    return low, high


def _denominator(part: _Bin, theta: Tensor, rest: Tensor) -> Tensor:
    return part.s * (theta * theta + rest * rest) + (part.d0 + part.d1) * theta * rest


def _log_slope(part: _Bin, theta: Tensor, rest: Tensor) -> Tensor:
    s = part.s
    numerator = part.d1 * theta * theta + 2 * s * theta * rest + part.d0 * rest * rest
    return numerator.log() + 2 * (s / _denominator(part, theta, rest)).log()
