"""Autoregressive maps inverted at all positions at once, by Jacobi's iteration."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from diffeo.contexts import Context
from diffeo.nets.causal import CausalNetwork
from diffeo.scalars.base import ScalarMap

ROUNDINGS = 16
"""How many roundings of x and of z a solution may be off by."""

_FAR, _STEEP = 1e15, 50.0  # so that no product of the two overflows


class AtOnce(NamedTuple):
    """Where Jacobi's iteration came to.

    `residual` bounds the error: every x_i is the exact solution for a z_i that is off by at most
    residual · (1 + |z_i| + |x_i| dz_i/dx_i), given what the network says of the x before it. The
    last term is what rounding x_i alone amounts to.
    """

    x: Tensor
    """(*batch, *event)."""
    ladj: Tensor
    """log|det ∂x/∂z|, (*batch,)."""
    residual: Tensor
    """The greatest of an event, (*batch,); infinite where nothing finite was met."""
    solved: Tensor
    """Whether it is as small as rounding lets it be, (*batch,)."""
    rounds: int
    """How many passes of the network it took."""


@torch.no_grad()
def invert_at_once(
    scalar: ScalarMap, net: CausalNetwork, z: Tensor, context: Context, most: int
) -> AtOnce:
    """x with τ(x_i; θ_i(x_{<i}, context)) = z_i for every i, by x ← τ⁻¹(z; θ(x, context)).

    A round is one parallel pass of the network, from x = z on. After k rounds the first k positions
    are exact, so that as many rounds as there are positions suffice; where far positions depend on
    each other little, as in trained flows of smooth data, a few do. The pass that finds x solved
    gives its log-determinant as well.

    An event is solved once its residual (see `AtOnce`) is at most `ROUNDINGS` roundings, or a round
    changes nothing; what it has then does not depend on the other events, for which the iteration
    goes on. Values that are not finite, or beyond 1e15, are replaced by z: on the way they occur,
    and would spoil positions that don't depend on them. Events of z that are not finite are left.

    Args:
        scalar: τ.
        net: gives θ.
        z: (*batch, *event).
        context: as the network takes it.
        most: rounds after which to give up; what is best so far is returned.

    Reference: Song, Meng, Liao & Ermon, 2021, Accelerating feedforward computation via parallel
        nonlinear equation solving, arXiv:2002.03629.
    """
    batch_dim = z.dim() - len(net.event_shape)
    tolerance = ROUNDINGS * torch.finfo(z.dtype).eps
    x = best = z
    least = z.new_full(z.shape[:batch_dim], math.inf)
    ladj = torch.zeros_like(least)
    done = torch.zeros_like(least, dtype=torch.bool)
    hopeless = ~z.isfinite().flatten(batch_dim).all(-1)
    parameters = net.given(context)
    rounds = 0
    while rounds < most and not bool((done | hopeless).all()):
        rounds += 1
        params = parameters(x).to(z.dtype)
        image, log_slope = scalar(x, params)
        scale = 1 + z.abs() + x.abs() * log_slope.clamp(max=_STEEP).exp()
        residual = ((image - z).abs() / scale).flatten(batch_dim).amax(-1)
        better = (residual < least) & ~done
        least = torch.where(better, residual, least)
        ladj = torch.where(better, -log_slope.flatten(batch_dim).sum(-1), ladj)
        best = torch.where(_over(better, z), x, best)
        done = done | (least <= tolerance)
        proposal, _ = scalar.inverse(z, params)
        done = done | (proposal == x).flatten(batch_dim).all(-1)
        proposal = torch.where(proposal.abs() < _FAR, proposal, z)
        x = torch.where(_over(done, z), x, proposal)
    return AtOnce(best, ladj, least, done, rounds)


def _over(mask: Tensor, like: Tensor) -> Tensor:
    """A mask of events over their elements."""
    return mask.reshape(*mask.shape, *[1] * (like.dim() - mask.dim()))
