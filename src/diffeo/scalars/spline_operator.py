"""The spline's fast way as an operator that compilers take whole.

On a CPU what a compiler makes of a spline's definition is slower than the fast way uncompiled.

Compiled graphs are kept on disk, and found again by the names of the operators in them: one with
other arguments, also one of a backward pass, wants another name, and so does that of its forward
pass.
"""

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from diffeo.scalars.spline_planes import (
    empty_kept,
    empty_parameters,
    spline_backward,
    spline_forward,
)

if TYPE_CHECKING:
    from diffeo.scalars.spline import RationalQuadraticSpline


@torch.library.custom_op("diffeo::spline_in_planes", mutates_args=())
def spline_operator(x: Tensor, params: Tensor, bins: int, bound: float) -> list[Tensor]:
    """z and log dz/dx of the spline with linear tails; then what its backward pass wants kept."""
    return list(spline_forward(x, params, _spline(bins, bound)))


@spline_operator.register_fake
def _(x: Tensor, params: Tensor, bins: int, bound: float) -> list[Tensor]:
    return [x.new_empty(x.shape), x.new_empty(x.shape), *empty_kept(x, params, bins)]


@torch.library.custom_op("diffeo::spline_in_planes_gradients", mutates_args=())
def _gradients(
    x: Tensor,
    params: Tensor,
    kept: Sequence[Tensor],
    of_z: Tensor,
    of_log: Tensor,
    bins: int,
    bound: float,
    needed: Sequence[bool],
) -> list[Tensor]:
    found = spline_backward(x, params, kept, of_z, of_log, _spline(bins, bound), needed)
    return [gradient for gradient in found if gradient is not None]


@_gradients.register_fake
def _(
    x: Tensor,
    params: Tensor,
    kept: Sequence[Tensor],
    of_z: Tensor,
    of_log: Tensor,
    bins: int,
    bound: float,
    needed: Sequence[bool],
) -> list[Tensor]:
    return [x.new_empty(x.shape)] * needed[0] + [empty_parameters(params)] * needed[1]


def _keep(ctx: Any, inputs: tuple[Any, ...], output: list[Tensor]) -> None:
    x, params, ctx.bins, ctx.bound = inputs
    ctx.save_for_backward(x, params, *output[2:])


def _backward(ctx: Any, gradients: Sequence[Tensor]) -> tuple[Tensor | None, ...]:
    x, params, *kept = ctx.saved_tensors
    needed = list(ctx.needs_input_grad[:2])
    found = iter(_gradients(x, params, kept, *gradients[:2], ctx.bins, ctx.bound, needed))
    return *(next(found) if need else None for need in needed), None, None


spline_operator.register_autograd(_backward, setup_context=_keep)


@functools.cache
def _spline(bins: int, bound: float) -> "RationalQuadraticSpline":
    from diffeo.scalars.spline import RationalQuadraticSpline

    return RationalQuadraticSpline(bins, bound)
