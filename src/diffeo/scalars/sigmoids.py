"""Mixtures of sigmoids, seen through a logit: what mixtures and monotone networks are made of."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import Function
from torch.nn import functional as F

from diffeo.derivatives import defined_gradients, is_batched
from diffeo.numerics import widen
from diffeo.solvers import is_traced


def sigmoid_mixture(u: Tensor, log_weight: Tensor, log_slope: Tensor) -> tuple[Tensor, Tensor]:
    """y = logit Σ_i w_i σ(u_i), and log dy/dx given log du_i/dx, in log space.

    log dy/dx = log Σ_i α_i β_i u_i′ / w_i with α_i = w_i σ(u_i) / Σ_j w_j σ(u_j) and β_i likewise
    of −u. Both are normalised by subtracting their greatest logarithm, so that magnitudes of u far
    beyond 1/ε cancel exactly.

    y is to be accurate where it hardly changes with x, and beside 0: it is computed in float64
    where there is one, from u and log w in float64.

    Args:
        u: arguments of the sigmoids. Shape (*, n).
        log_weight: log w, w a point of the simplex; broadcasts with u.
        log_slope: log du/dx; broadcasts with u.
    Shapes: out: (*,) in float64, (*,) in the dtype of `log_slope`.
    """
    if is_traced():
        return defined_mixture(u, log_weight, log_slope)
    parts = torch.broadcast_tensors(widen(u), widen(log_weight), log_slope)
    return SigmoidMixture.apply(*parts)  # type: ignore[return-value]


def defined_mixture(u: Tensor, log_weight: Tensor, log_slope: Tensor) -> tuple[Tensor, Tensor]:
    """What `sigmoid_mixture` is, by its formulas."""
    u, log_weight = widen(u), widen(log_weight)
    log_below, below = _normalise(log_weight + F.logsigmoid(u))
    log_above, above = _normalise(log_weight + F.logsigmoid(-u))
    terms = (below + above - log_weight).to(log_slope.dtype) + log_slope
    return log_below - log_above, terms.logsumexp(-1)


class SigmoidMixture(Function):
    """(u, log w, log u′) ↦ (y, L = log dy/dx), as defined, its derivatives written out.

    The definition lets autograd keep each of its tensors (*, n), most of them in float64. Here α, β
    and p_i = α_i β_i u_i′ / w_i · e⁻ᴸ are kept. With the loss's derivatives g_y and g_L, those in
    the inputs are

        u_i:        g_y (α_i σ(−u_i) + β_i σ(u_i))
                    + g_L (β_i σ(u_i) − α_i σ(−u_i) + p_i (σ(−u_i) − σ(u_i))),
        log w_i:    g_y (α_i − β_i) + g_L (p_i − α_i − β_i),
        log u_i′:   g_L p_i.
    """

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, u: Tensor, log_weight: Tensor, log_slope: Tensor
    ) -> tuple[Tensor, Tensor]:
        dtype = log_slope.dtype
        rest = u.abs().neg_().exp_().log1p_()
        below = u.clamp(max=0).sub_(rest).add_(log_weight)
        above = u.clamp(min=0).add_(rest).neg_().add_(log_weight)
        log_below, alpha = _normalise_(below)
        log_above, beta = _normalise_(above)
        terms = below.add_(above).sub_(log_weight).to(dtype) + log_slope
        ladj, share = _normalise_(terms)
        ctx.save_for_backward(u, log_weight, log_slope, alpha.to(dtype), beta.to(dtype), share)
        return log_below - log_above, ladj

    @staticmethod
    def backward(ctx: Any, of_y: Tensor, of_log: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        u, log_weight, log_slope, alpha, beta, share = ctx.saved_tensors
        if torch.is_grad_enabled() or is_batched(of_y, of_log):
            inputs = (u, log_weight, log_slope)
            return defined_gradients(defined_mixture, inputs, ctx.needs_input_grad, (of_y, of_log))
        small = u.to(share.dtype)
        of_y, of_log = of_y.to(share.dtype)[..., None], of_log[..., None]
        left, right = torch.sigmoid(-small), torch.sigmoid(small)
        of_slope = of_log * share
        of_u = (of_y - of_log) * (alpha * left) + (of_y + of_log) * (beta * right)
        of_u += of_slope * (left - right)
        of_weight = of_slope + (of_y - of_log) * alpha - (of_y + of_log) * beta
        return of_u.to(u.dtype), of_weight.to(log_weight.dtype), of_slope


def _normalise(log_parts: Tensor) -> tuple[Tensor, Tensor]:
    """log Σ_i eˡⁱ, and each part less that."""
    greatest = log_parts.detach().amax(-1, keepdim=True)
    shifted = log_parts - greatest
    log_sum = shifted.exp().sum(-1, keepdim=True).log()
    return (greatest + log_sum)[..., 0], shifted - log_sum


def _normalise_(log_parts: Tensor) -> tuple[Tensor, Tensor]:
    """The same in place, the parts being changed; and instead of them, their shares of 1."""
    greatest = log_parts.amax(-1, keepdim=True)
    shares = log_parts.sub_(greatest).exp()
    total = shares.sum(-1, keepdim=True)
    log_sum = total.log()
    log_parts.sub_(log_sum)
    return (greatest + log_sum)[..., 0], shares.div_(total)
