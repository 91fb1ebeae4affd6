"""Autoregressive maps inverted at all positions at once, by Jacobi's iteration."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from diffeo.contexts import Context
from diffeo.nets.causal import CausalNetwork
from diffeo.scalars.base import ScalarMap

ROUNDINGS = 16
"""How many roundings a solution may be off by."""
LARGEST = 1e15
"""Beyond this, values on the way are taken for strays."""

_STEEPEST = 50.0  # of log dx/dz, so that its exponential is finite


class JacobiSolution(NamedTuple):
    """Where Jacobi's iteration came to.

    `residual` bounds the error: given what the network says of the x before it, every x_i is off
    by at most residual · (|x_i| + min(1, |z_i| dx_i/dz_i)).
    """

    x: Tensor
    """(*batch, *event)."""
    ladj: Tensor
    """log|det ∂x/∂z|, (*batch,); NaN where nothing finite was met."""
    residual: Tensor
    """The greatest of an event, (*batch,); infinite where nothing finite was met."""
    rounds: int
    """How many passes of the network it took."""

    @property
    def solved(self) -> Tensor:
        """Whether the residual is as small as rounding lets it be, (*batch,)."""
        return self.residual <= _tolerance(self.x)


@torch.no_grad()
def iterate(
    scalar: ScalarMap, net: CausalNetwork, z: Tensor, context: Context, most: int
) -> JacobiSolution:
    """x with τ(x_i; θ_i(x_{<i}, context)) = z_i for every i, by x ← τ⁻¹(z; θ(x, context)).

    A round is one parallel pass of the network, from x = z on, and says how far x was off. After k
    rounds the first k positions are exact, so that one round more than there are positions is
    enough; where positions depend on each other little, as in flows of smooth data, a few are.

    An event is solved once its residual (see `JacobiSolution`) is at most `ROUNDINGS` roundings;
    what it has then does not depend on the other events, for which the iteration goes on. Values
    that are not finite, or beyond `LARGEST`, are replaced by z: on the way they occur, and would
    spoil positions that don't depend on them. Events whose solution has such values, and events of
    z that are not finite, are left unsolved.

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
    x = best = z
    least = z.new_full(z.shape[:batch_dim], math.inf)
    ladj = torch.full_like(least, math.nan)
    hopeless = ~z.isfinite().flatten(batch_dim).all(-1)
    parameters, tolerance = net.given(context), _tolerance(z)
    rounds = 0
    while rounds < most and not bool(((least <= tolerance) | hopeless).all()):
        rounds += 1
        new, log_slope = scalar.inverse(z, parameters(x).to(z.dtype))
        # Not more than 1 where the map is flat, and z says little of x: beside it it may be steep.
        scale = x.abs() + (z.abs() * log_slope.clamp(max=_STEEPEST).exp()).clamp(max=1)
        off = torch.where(new == x, 0.0, (new - x).abs() / scale)
        residual = off.flatten(batch_dim).amax(-1)
        better = (residual < least) & (least > tolerance)
        least = torch.where(better, residual, least)
        ladj = torch.where(better, log_slope.flatten(batch_dim).sum(-1), ladj)
        best = torch.where(_over(better, z), x, best)
        x = torch.where(new.abs() < LARGEST, new, z)
    return JacobiSolution(best, ladj, least, rounds)


def _tolerance(x: Tensor) -> float:
    return ROUNDINGS * torch.finfo(x.dtype).eps


def _over(mask: Tensor, like: Tensor) -> Tensor:
    """A mask of events over their elements."""
    return mask.reshape(*mask.shape, *[1] * (like.dim() - mask.dim()))
