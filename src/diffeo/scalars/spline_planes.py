"""Splines with few passes over little memory: parameter by parameter, derivatives written out."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from diffeo.numerics import widen

if TYPE_CHECKING:
    from diffeo.scalars.spline import RationalQuadraticSpline

# Parameters are taken with their own axis first, (P, *N), so that operations go along memory. Which
# knots lie below x is told by 0 and 1 in the dtype of x, since comparing and adding up truth values
# takes several times as long as arithmetic.


_FEW = 2**15
"""Of fewer numbers the shortest way in operations is the fastest, not the one along memory."""


def spline_forward(
    x: Tensor, params: Tensor, spline: "RationalQuadraticSpline"
) -> tuple[Tensor, ...]:
    """z, log dz/dx, and what `spline_backward` wants kept, each in memory of its own."""
    layout = _Layout.of(params)
    flat = layout.flat(x)
    table = _Table.of(spline, layout.planes(params))
    inside = flat.abs() <= spline.upper
    within = widen(flat.clamp(spline.lower, spline.upper))
    beyond, start, size, found = table.find(spline, within, axis=0)
    exact = (within - start[0]) / size[0]
    theta, rho = exact.to(x.dtype), (1 - exact).to(x.dtype)
    n, d, a = _terms(theta, rho, found)
    z = (start[1] + found.size[1] * (n / d)).clamp(spline.lower, spline.upper).to(x.dtype)
    log_slope = a.log() + 2 * (found.s / d).log()
    z, ladj = torch.where(inside, z, flat), torch.where(inside, log_slope, 0.0)
    kept = (table.parts, beyond.to(x.dtype), inside, theta, rho, log_slope, *found)
    return layout.shaped(z, x), layout.shaped(ladj, x), *kept


def spline_backward(
    x: Tensor,
    params: Tensor,
    kept: Sequence[Tensor],
    of_z: Tensor,
    of_log: Tensor,
    spline: "RationalQuadraticSpline",
    needed: Sequence[bool],
) -> tuple[Tensor | None, Tensor | None]:
    """The derivatives in x and in the parameters, as far as they are needed.

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
    parts, beyond, inside, theta, rho, log_slope, *rest = kept
    found = _Bin(*rest)
    (w, h), s, (d0, d1), (raw0, raw1) = found
    layout = _Layout.of(params)
    whole_z = layout.flat(of_z)
    g_z = torch.where(inside, whole_z, 0.0)
    g_log = torch.where(inside, layout.flat(of_log), 0.0)

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
    of_x = layout.shaped(torch.where(inside, g_x, whole_z), x) if needed[0] else None
    if not needed[1]:
        return of_x, None

    k = spline.bins
    of_params = layout.empty(params)
    planes = layout.planes(of_params)
    at = _framed(beyond, 1.0, None)
    at[:-1] -= beyond  # 1 in the bin of x, 0 elsewhere
    g_s = g_s / w
    share = (spline.upper - spline.lower) * spline.shared
    _into_shares(planes[:k], parts[0], beyond, at, -share * g_x, -share * (g_x * theta + g_s * s))
    _into_shares(planes[k : 2 * k], parts[1], beyond, at, share * g_z, share * (g_z * ratio + g_s))
    torch.mul(at[1:], g_0 * spline.derivative_slope(raw0), out=planes[2 * k :])
    planes[2 * k :] += at[:-1] * (g_1 * spline.derivative_slope(raw1))
    return of_x, of_params


def spline_inverse(
    z: Tensor, params: Tensor, spline: "RationalQuadraticSpline"
) -> tuple[Tensor, Tensor]:
    """x and log dx/dz, as the definition has them; without gradients."""
    layout = _Layout.of(params)
    flat = layout.flat(z)
    table = _Table.of(spline, layout.planes(params))
    within = widen(flat.clamp(spline.lower, spline.upper))
    _, start, size, found = table.find(spline, within, axis=1)
    exact = (within - start[1]) / size[1]
    y, rest_y = exact.to(z.dtype), (1 - exact).to(z.dtype)
    twice = found.s + found.s
    low, high = twice * y, twice * rest_y
    d0, d1 = found.derivatives
    g = d0 * rest_y - d1 * y
    r = (g * g + low * high).sqrt() + g.abs()
    positive = _told(torch.ge, g, 0.0)
    total = r + torch.lerp(high, low, positive)
    theta = torch.lerp(r, low, positive) / total
    rho = torch.lerp(high, r, positive) / total
    x = (start[0] + found.size[0] * theta).clamp(spline.lower, spline.upper).to(z.dtype)
    _, d, a = _terms(theta, rho, found)
    half = (d / found.s).log()
    inside = flat.abs() <= spline.upper
    ladj = torch.where(inside, half + half - a.log(), 0.0)
    x = torch.where(inside, x, flat)
    return layout.shaped(x, z), layout.shaped(ladj, z)


def empty_kept(x: Tensor, params: Tensor, bins: int) -> list[Tensor]:
    """Memory as `spline_forward` gives it in what is to be kept."""
    shape = _Layout.of(params).flat(x).shape
    sizes = ((2, bins), (bins - 1,), (), (), (), (), (2,), (), (2,), (2,))
    kept = [x.new_empty(*size, *shape) for size in sizes]
    kept[2] = kept[2].bool()
    return kept


def empty_parameters(params: Tensor) -> Tensor:
    """Memory for derivatives in parameters, laid out as `spline_backward` gives them."""
    return _Layout.of(params).empty(params)


class _Layout(NamedTuple):
    """How elements are taken, one after another as they lie in memory.

    Parameters (*, P) in the order of their dimensions are copied, with their own axis first; such
    as lie there with one dimension of the elements last are taken as they lie.
    """

    order: tuple[int, ...] | None
    """The dimensions of x, outermost in memory first; None if all are made one."""

    @classmethod
    def of(cls, params: Tensor) -> "_Layout":
        """That of parameters (*, P)."""
        *strides, own = params.stride()
        if own == 1 or not strides:
            return cls(None)
        order = sorted(range(len(strides)), key=lambda i: strides[i], reverse=True)
        return cls(tuple(order) if strides[order[-1]] == 1 else None)

    def flat(self, x: Tensor) -> Tensor:
        """Numbers of each element."""
        return x.reshape(-1) if self.order is None else x.permute(self.order).contiguous()

    def planes(self, params: Tensor) -> Tensor:
        """Parameters, their own axis first."""
        planes = params.movedim(-1, 0)
        if self.order is None:
            return planes.reshape(len(planes), -1)
        return planes.permute(0, *(i + 1 for i in self.order))

    def empty(self, params: Tensor) -> Tensor:
        """Memory for as many parameters, whose planes are views."""
        if self.order is None:
            return params.new_empty(params.shape[-1], *params.shape[:-1]).movedim(0, -1)
        *outer, last = (params.shape[i] for i in self.order)
        planes = params.new_empty(*outer, params.shape[-1], last).movedim(-2, 0)
        return planes.permute(*(self.order.index(i) + 1 for i in range(len(outer) + 1)), 0)

    def shaped(self, flat: Tensor, like: Tensor) -> Tensor:
        """In a tensor of their own: of a view, autograd would not let one output change."""
        out = torch.empty(like.shape, dtype=like.dtype, device=like.device)
        (out.view(-1) if self.order is None else out.permute(self.order)).copy_(flat)
        return out


class _Bin(NamedTuple):
    """The bin of each element: how wide and high it is, its slope, and what is at its ends."""

    size: Tensor
    """(2, *N), w and h."""
    s: Tensor
    """(*N,)."""
    derivatives: Tensor
    """(2, *N), δ_k and δ_{k+1}."""
    raw: Tensor
    """(2, *N), what these are the softplus of."""


class _Table(NamedTuple):
    """What the parameters of N elements say: of widths and of heights, and of the derivatives.

    Where bins begin is computed in float64: beside a knot, how far x is from it is all that counts,
    and the derivative may change a thousandfold within a hundredth of the interval.
    """

    parts: Tensor
    """(2, K, *N), the softmaxes, in the dtype of the parameters."""
    sizes: Tensor
    """(2, K, *N), of the bins."""
    knots: Tensor
    """(2, K + 1, *N)."""
    raw: Tensor
    """(K + 1, *N), before the softplus."""

    @classmethod
    def of(cls, spline: "RationalQuadraticSpline", planes: Tensor) -> "_Table":
        """The table of parameters (P, *N)."""
        k, length = spline.bins, spline.upper - spline.lower
        wide = widen(planes[: 2 * k], torch.contiguous_format)
        sizes = wide.unflatten(0, (2, k)).softmax(1)
        parts = sizes.to(planes.dtype, copy=True)
        sizes.mul_(length * spline.shared).add_(length * spline.least)
        knots = sizes.new_empty(2, k + 1, *sizes.shape[2:])
        knots[:, 0] = spline.lower
        if sizes.numel() < _FEW and sizes.device.type == "cpu":
            torch.cumsum(sizes[:, :-1], 1, out=knots[:, 1:-1]).add_(spline.lower)
        else:
            for i in range(k - 1):
                torch.add(knots[:, i], sizes[:, i], out=knots[:, i + 1])
        knots[:, -1] = spline.upper
        return cls(parts, sizes, knots, _framed(planes[2 * k :], 0.0, 0.0))

    def find(
        self, spline: "RationalQuadraticSpline", x: Tensor, axis: int
    ) -> tuple[Tensor, Tensor, Tensor, _Bin]:
        """Which inner knots lie at or below x (K − 1, *N); the bin's beginnings, sizes, and shape.

        Axis 0: x lies among the knots of x; 1: of z; it is in the dtype of the knots.
        """
        dtype = self.raw.dtype
        knots = self.knots[axis, 1:-1]
        beyond = x >= knots if knots.numel() < _FEW else _told(torch.ge, x, knots, dtype)
        here = beyond.sum(0, keepdim=True).long()
        ends = torch.cat([here, here + 1])
        start, stop = self.knots.gather(1, ends.expand(2, *ends.shape)).unbind(1)
        size = stop - start
        exact = self.sizes.gather(1, here.expand(2, *here.shape))[:, 0]
        raw = self.raw.gather(0, ends)
        s = (exact[1] / exact[0]).to(dtype)
        return beyond, start, size, _Bin(size.to(dtype), s, spline.derivative(raw), raw)


def _terms(theta: Tensor, rho: Tensor, found: _Bin) -> tuple[Tensor, Tensor, Tensor]:
    """N, D and A."""
    s, (d0, d1) = found.s, found.derivatives
    both, first, last = theta * rho, theta * theta, rho * rho
    n = s * first + d0 * both
    d = s * (first + last) + (d0 + d1) * both
    return n, d, d1 * first + 2 * s * both + d0 * last


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


def _framed(planes: Tensor, before: float | None, after: float | None) -> Tensor:
    """With a plane of one number before and behind, where there is one."""
    head, tail = int(before is not None), int(after is not None)
    out = planes.new_empty(len(planes) + head + tail, *planes.shape[1:])
    out[head : head + len(planes)] = planes
    if before is not None:
        out[0] = before
    if after is not None:
        out[-1] = after
    return out
