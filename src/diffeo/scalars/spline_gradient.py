"""The spline's forward map with its derivatives written out: few passes over little memory."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.autograd.function import Function
from torch.nn import functional as F

if TYPE_CHECKING:
    from diffeo.scalars.spline import RationalQuadraticSpline


class SplineForward(Function):
    """(x, params) ↦ (z, log dz/dx): what `RationalQuadraticSpline` with linear tails defines.

    The definition works on tensors (*, K) and lets autograd keep each. Here parameters are taken
    with their own axis first, so that every operation goes along memory; what lies beyond an edge
    is told by 0 and 1 in the dtype of x, since comparing, choosing and adding up truth values takes
    several times as long as arithmetic; and little is kept: the parts, the 0s and 1s, and some
    numbers an element.

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
        k, low, high = spline.bins, spline.lower, spline.upper
        turned = _is_turned(params)
        flat, planes = _flat(x, turned), _planes(params, turned)
        within = flat.clamp(low, high)
        inside = _told(torch.le, flat.abs(), high)

        parts_w, parts_h = planes[:k].softmax(0), planes[k : 2 * k].softmax(0)
        share_w, share_h = spline.shares(parts_w, parts_h)
        knots_x, knots_z = _knots(share_w, low, high), _knots(share_h, low, high)
        beyond = _told(torch.ge, within, knots_x[1:-1])
        here = beyond.sum(0, keepdim=True).long()
        after = here + 1
        raw = F.pad(planes[2 * k :], (0, 0, 1, 1))
        left, bottom, raw0 = (t.gather(0, here)[0] for t in (knots_x, knots_z, raw))
        right, top, raw1 = (t.gather(0, after)[0] for t in (knots_x, knots_z, raw))
        w, h = right - left, top - bottom
        s = share_h.gather(0, here)[0] / share_w.gather(0, here)[0]
        d0, d1 = spline.derivative(raw0), spline.derivative(raw1)
        theta = (within - left) / w

        n, d, a = _terms(theta, s, d0, d1)
        z = (bottom + h * n / d).clamp(low, high)
        log_slope = (a.log() + 2 * (s / d).log()) * inside
        # hardshrink(x) is x beyond the ends, and 0 between them.
        z = z * inside + F.hardshrink(flat, high)
        ctx.spline, ctx.turned = spline, turned
        ctx.save_for_backward(x, params)
        ctx.kept = parts_w, parts_h, beyond, inside, theta, w, h, s, d0, d1, raw0, raw1, log_slope
        return _as_rows(z, x, turned), _as_rows(log_slope, x, turned)

    @staticmethod
    def backward(ctx: Any, of_z: Tensor, of_log: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        x, params = ctx.saved_tensors
        spline = ctx.spline
        if torch.is_grad_enabled():  # The gradients are to have gradients.
            defined = spline.define(x, params)
            wanted = [t for t in (x, params) if t.requires_grad]
            found = iter(torch.autograd.grad(defined, wanted, (of_z, of_log), create_graph=True))
            return *(next(found) if t.requires_grad else None for t in (x, params)), None
        parts_w, parts_h, beyond, inside, theta, w, h, s, d0, d1, raw0, raw1, log_slope = ctx.kept
        whole_z = _flat(of_z, ctx.turned)
        g_z, g_log = whole_z * inside, _flat(of_log, ctx.turned) * inside

        rho = 1 - theta
        both, squares = theta * rho, theta * theta + rho * rho
        n, d, a = _terms(theta, s, d0, d1)
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
        of_x = _as_rows(g_x + (whole_z - g_z), x, ctx.turned) if ctx.needs_input_grad[0] else None
        if not ctx.needs_input_grad[1]:
            return of_x, None, None

        k = spline.bins
        planes = torch.empty(params.shape[-1], len(theta), dtype=x.dtype, device=x.device)
        at = F.pad(beyond, (0, 0, 1, 0), value=1.0)
        at[:-1] -= beyond  # 1 in the bin of x, 0 elsewhere
        g_s = g_s / w
        share = (spline.upper - spline.lower) * spline.shared
        _into_shares(
            planes[:k], parts_w, beyond, at, -share * g_x, -share * (g_x * theta + g_s * s)
        )
        _into_shares(
            planes[k : 2 * k], parts_h, beyond, at, share * g_z, share * (g_z * ratio + g_s)
        )
        torch.mul(at[1:], g_0 * spline.derivative_slope(raw0), out=planes[2 * k :])
        planes[2 * k :] += at[:-1] * (g_1 * spline.derivative_slope(raw1))
        return of_x, _as_params(planes, params, ctx.turned), None


def _terms(theta: Tensor, s: Tensor, d0: Tensor, d1: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """N, D and A."""
    rho = 1 - theta
    both, first, last = theta * rho, theta * theta, rho * rho
    n = s * first + d0 * both
    d = s * (first + last) + (d0 + d1) * both
    return n, d, d1 * first + 2 * s * both + d0 * last


def _knots(shares: Tensor, low: float, high: float) -> Tensor:
    """Where the bins begin and end: (K, N) ↦ (K + 1, N)."""
    knots = torch.empty(len(shares) + 1, shares.shape[1], dtype=shares.dtype, device=shares.device)
    knots[0] = 0.0
    for i, share in enumerate(shares[:-1]):
        torch.add(knots[i], share, out=knots[i + 1])
    knots[:-1].mul_(high - low).add_(low)
    knots[-1] = high
    return knots


def _into_shares(
    out: Tensor, parts: Tensor, beyond: Tensor, at: Tensor, before_bin: Tensor, in_bin: Tensor
) -> None:
    """Backward through shares and softmax: p_j (G_j − Σ_i p_i G_i), G_j being one of two, or 0."""
    torch.mul(at, in_bin, out=out)
    out[:-1] += beyond * before_bin
    out -= (out * parts).sum(0)
    out *= parts


def _told(compare: Callable[..., Tensor], x: Tensor, edges: Tensor | float) -> Tensor:
    """1 where it is true, 0 elsewhere, in the dtype of x."""
    shape = edges.shape if isinstance(edges, Tensor) else x.shape
    return compare(x, edges, out=torch.empty(shape, dtype=x.dtype, device=x.device))


# A network may leave the parameters of rows (B, D, P) with the rows last in memory. Elements then
# are taken in that order: what is next to each other in memory stays so.


def _is_turned(params: Tensor) -> bool:
    return params.dim() == 3 and params.stride(0) < params.stride(1)


def _flat(x: Tensor, turned: bool) -> Tensor:
    return x.mT.reshape(-1) if turned else x.reshape(-1)


def _planes(params: Tensor, turned: bool) -> Tensor:
    first = params.permute(2, 1, 0) if turned else params.movedim(-1, 0)
    return first.reshape(params.shape[-1], -1)


def _as_rows(flat: Tensor, like: Tensor, turned: bool) -> Tensor:
    return flat.reshape(like.mT.shape).mT if turned else flat.reshape(like.shape)


def _as_params(planes: Tensor, like: Tensor, turned: bool) -> Tensor:
    if turned:
        rows, variables, params = like.shape
        return planes.reshape(params, variables, rows).permute(2, 1, 0)
    return planes.reshape(like.shape[-1], *like.shape[:-1]).movedim(0, -1)
