"""Splines with few passes over little memory: parameter by parameter, derivatives written out."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import Function
from torch.nn import functional as F

from diffeo.scalars.numerics import defined_gradients, widen
from diffeo.solvers import is_batched

if TYPE_CHECKING:
    from diffeo.scalars.spline import RationalQuadraticSpline

# Parameters are taken with their own axis first, (P, N), so that operations go along memory. Which
# knots lie below x is told by 0 and 1 in the dtype of x, since comparing and adding up truth values
# takes several times as long as arithmetic.


class SplineForward(Function):
    """(x, params) ↦ (z, log dz/dx): what `RationalQuadraticSpline` with linear tails defines.

    The definition lets autograd keep each of its tensors (*, K). Here the softmaxes are kept, which
    knots lie below x, and some numbers an element.

    With ρ = 1 − θ, the map is

        z = z_k + h N / D,   N = s θ² + δ_k θρ,   D = s (θ² + ρ²) + (δ_k + δ_{k+1}) θρ,
        L = log dz/dx = log A + 2 log (s / D),   A = δ_{k+1} θ² + 2s θρ + δ_k ρ²,

    and with the loss's derivatives g_z and g_L, those in what z and L are made of are

        θ:        g_z w eᴸ + g_L (A′/A − 2 D′/D), with D′ = (ρ − θ)(δ_k + δ_{k+1} − 2s)
                  and A′ = 2 (δ_{k+1} θ − δ_k ρ + s (ρ − θ)),
        s:        g_z h (θ² D − N (θ² + ρ²)) / D² + g_L (2θρ/A + 2/s − 2 (θ² + ρ²)/D),
        δ_k:      g_z h θρ (D − N) / D² + g_L (ρ²/A − 2θρ/D),
        δ_{k+1}:  −g_z h θρ N / D² + g_L (θ²/A − 2θρ/D),
        z_k:      g_z,        h: g_z N / D.

    θ = (x − x_k)/w and s = h/w lead on to x, x_k, w and h. The share of bin j in the width is part
    of x_k if j < k and of w if j = k; so the derivative in it is one of two numbers, or zero.
    """

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, x: Tensor, params: Tensor, spline: "RationalQuadraticSpline"
    ) -> tuple[Tensor, Tensor]:
        flat = x.reshape(-1)
        table = _Table.of(spline, params)
        inside = flat.abs() <= spline.upper
        within = flat.clamp(spline.lower, spline.upper)
        beyond, start, size, found = table.find(spline, within, axis=0)
        exact = (widen(within) - start[0]) / size[0]
        theta, rho = exact.to(x.dtype), (1 - exact).to(x.dtype)
        n, d, a = _terms(theta, rho, found)
        z = (start[1] + found.h * (n / d)).clamp(spline.lower, spline.upper).to(x.dtype)
        log_slope = a.log() + 2 * (found.s / d).log()
        ctx.spline = spline
        parts = table.parts.to(x.dtype)
        ctx.save_for_backward(x, params, parts, beyond, inside, theta, rho, log_slope, *found)
        z, ladj = torch.where(inside, z, flat), torch.where(inside, log_slope, 0.0)
        return _shaped(z, x), _shaped(ladj, x)

    @staticmethod
    def backward(ctx: Any, of_z: Tensor, of_log: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        x, params, parts, beyond, inside, theta, rho, log_slope, *kept = ctx.saved_tensors
        spline, found = ctx.spline, _Bin(*kept)
        if torch.is_grad_enabled() or is_batched(of_z, of_log):
            needed = ctx.needs_input_grad[:2]
            return *defined_gradients(spline.define, (x, params), needed, (of_z, of_log)), None
        w, h, s, d0, d1, raw0, raw1 = found
        whole_z = of_z.reshape(-1)
        g_z = torch.where(inside, whole_z, 0.0)
        g_log = torch.where(inside, of_log.reshape(-1), 0.0)

        both, squares = theta * rho, theta * theta + rho * rho
        n, d, a = _terms(theta, rho, found)
        ratio, log_a, log_d = n / d, g_log / a, 2 * g_log / d
        z_d = g_z * h / d
        a_slope = 2 * (d1 * theta - d0 * rho + s * (rho - theta))
        d_slope = (rho - theta) * (d0 + d1 - 2 * s)
        g_theta = g_z * w * log_slope.exp() + log_a * a_slope - log_d * d_slope
        g_s = z_d * (theta * theta - ratio * squares)
        g_s += 2 * (log_a * both + g_log / s) - log_d * squares
        g_0 = z_d * both * (1 - ratio) + log_a * rho * rho - log_d * both
        g_1 = log_a * theta * theta - z_d * both * ratio - log_d * both
        g_x = g_theta / w
        of_x = None
        if ctx.needs_input_grad[0]:
            of_x = _shaped(torch.where(inside, g_x, whole_z), x)
        if not ctx.needs_input_grad[1]:
            return of_x, None, None

        k = spline.bins
        planes = torch.empty(params.shape[-1], len(theta), dtype=x.dtype, device=x.device)
        at = F.pad(beyond, (0, 0, 1, 0), value=1.0)
        at[:-1] -= beyond  # 1 in the bin of x, 0 elsewhere
        g_s = g_s / w
        share = (spline.upper - spline.lower) * spline.shared
        _into_shares(
            planes[:k], parts[0], beyond, at, -share * g_x, -share * (g_x * theta + g_s * s)
        )
        _into_shares(
            planes[k : 2 * k], parts[1], beyond, at, share * g_z, share * (g_z * ratio + g_s)
        )
        torch.mul(at[1:], g_0 * spline.derivative_slope(raw0), out=planes[2 * k :])
        planes[2 * k :] += at[:-1] * (g_1 * spline.derivative_slope(raw1))
        return of_x, planes.reshape(len(planes), *x.shape).movedim(0, -1), None


def spline_inverse(
    z: Tensor, params: Tensor, spline: "RationalQuadraticSpline"
) -> tuple[Tensor, Tensor]:
    """x and log dx/dz, as the definition has them; without gradients."""
    flat = z.reshape(-1)
    table = _Table.of(spline, params)
    within = flat.clamp(spline.lower, spline.upper)
    _, start, size, found = table.find(spline, within, axis=1)
    exact = (widen(within) - start[1]) / size[1]
    y, rest_y = exact.to(z.dtype), (1 - exact).to(z.dtype)
    low, high = 2 * found.s * y, 2 * found.s * rest_y
    g = found.d0 * rest_y - found.d1 * y
    r = (g * g + low * high).sqrt() + g.abs()
    positive = _told(torch.ge, g, 0.0)
    total = r + torch.lerp(high, low, positive)
    theta = torch.lerp(r, low, positive) / total
    rho = torch.lerp(high, r, positive) / total
    x = (start[0] + found.w * theta).clamp(spline.lower, spline.upper).to(z.dtype)
    _, d, a = _terms(theta, rho, found)
    inside = flat.abs() <= spline.upper
    ladj = torch.where(inside, -(a.log() + 2 * (found.s / d).log()), 0.0)
    x = torch.where(inside, x, flat)
    return _shaped(x, z), _shaped(ladj, z)


class _Bin(NamedTuple):
    """The bin of each element: its size, its slope, and the derivatives at its ends."""

    w: Tensor
    h: Tensor
    s: Tensor
    d0: Tensor
    d1: Tensor
    raw0: Tensor
    raw1: Tensor


class _Table(NamedTuple):
    """What the parameters of N elements say: of widths and of heights, and of the derivatives.

    Where bins begin is computed in float64: beside a knot, how far x is from it is all that counts,
    and the derivative may change a thousandfold within a hundredth of the interval.
    """

    parts: Tensor
    """(2, K, N), the softmaxes."""
    shares: Tensor
    """(2, K, N)."""
    knots: Tensor
    """(2, K + 1, N)."""
    raw: Tensor
    """(K + 1, N), before the softplus."""

    @classmethod
    def of(cls, spline: "RationalQuadraticSpline", params: Tensor) -> "_Table":
        """The table of parameters (*, P), N being the product of the rest."""
        k, planes = spline.bins, params.movedim(-1, 0).reshape(params.shape[-1], -1)
        parts = widen(planes[: 2 * k]).unflatten(0, (2, k)).softmax(1)
        shares = spline.share(parts)
        knots = shares.new_empty(2, k + 1, shares.shape[-1])
        knots[:, 0] = 0.0
        for i in range(k - 1):
            torch.add(knots[:, i], shares[:, i], out=knots[:, i + 1])
        knots[:, :-1].mul_(spline.upper - spline.lower).add_(spline.lower)
        knots[:, -1] = spline.upper
        return cls(parts, shares, knots, F.pad(planes[2 * k :], (0, 0, 1, 1)))

    def find(
        self, spline: "RationalQuadraticSpline", x: Tensor, axis: int
    ) -> tuple[Tensor, Tensor, Tensor, _Bin]:
        """Which inner knots lie at or below x (K − 1, N); the bin's beginnings, sizes, and shape.

        Axis 0: x lies among the knots of x; 1: of z.
        """
        dtype = self.raw.dtype
        beyond = _told(torch.ge, widen(x), self.knots[axis, 1:-1], dtype)
        here = beyond.sum(0, keepdim=True).long()
        both = here.expand(2, *here.shape)
        start = self.knots.gather(1, both)[:, 0]
        size = self.knots.gather(1, both + 1)[:, 0] - start
        share = self.shares.gather(1, both)[:, 0]
        raw0, raw1 = self.raw.gather(0, here)[0], self.raw.gather(0, here + 1)[0]
        d0, d1 = spline.derivative(raw0), spline.derivative(raw1)
        w, h = size.to(dtype)
        s = (share[1] / share[0]).to(dtype)
        return beyond, start, size, _Bin(w, h, s, d0, d1, raw0, raw1)


def _terms(theta: Tensor, rho: Tensor, found: _Bin) -> tuple[Tensor, Tensor, Tensor]:
    """N, D and A."""
    both, first, last = theta * rho, theta * theta, rho * rho
    n = found.s * first + found.d0 * both
    d = found.s * (first + last) + (found.d0 + found.d1) * both
    return n, d, found.d1 * first + 2 * found.s * both + found.d0 * last


def _into_shares(
    out: Tensor, parts: Tensor, beyond: Tensor, at: Tensor, before_bin: Tensor, in_bin: Tensor
) -> None:
    """Backward through shares and softmax: p_j (G_j − Σ_i p_i G_i), G_j being one of two, or 0."""
    torch.mul(at, in_bin, out=out)
    out[:-1] += beyond * before_bin
    out -= (out * parts).sum(0)
    out *= parts


def _told(
    compare: Callable[..., Tensor],
    x: Tensor,
    edges: Tensor | float,
    dtype: torch.dtype | None = None,
) -> Tensor:
    """1 where it is true, 0 elsewhere, in the dtype of x unless told."""
    shape = edges.shape if isinstance(edges, Tensor) else x.shape
    return compare(x, edges, out=torch.empty(shape, dtype=dtype or x.dtype, device=x.device))


def _shaped(flat: Tensor, like: Tensor) -> Tensor:
    """The numbers in a tensor of their own: of a view, autograd would not let one output change."""
    out = torch.empty(like.shape, dtype=like.dtype, device=like.device)
    out.view(-1).copy_(flat)
    return out
