"""The spline's fast way as an operator that compilers take whole.

What a compiler makes of a spline's definition on a CPU is slower than the fast way uncompiled
(benchmarks/results/steps_compiled.md): it does not vectorise it.
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


@torch.library.custom_op("diffeo::spline", mutates_args=())
def spline_operator(x: Tensor, params: Tensor, bins: int, bound: float) -> list[Tensor]:
    """z and log dz/dx of the spline with linear tails; then what its backward pass wants kept."""
    return list(spline_forward(x, params, _spline(bins, bound)))


@spline_operator.register_fake
def _(x: Tensor, params: Tensor, bins: int, bound: float) -> list[Tensor]:
    return [x.new_empty(x.shape), x.new_empty(x.shape), *empty_kept(x, params, bins)]


@torch.library.custom_op("diffeo::spline_gradients", mutates_args=())
def _gradients(
    x: Tensor,
    params: Tensor,
    kept: Sequence[Tensor],
    of_z: Tensor,
    of_log: Tensor,
    bins: int,
    bound: float,
) -> tuple[Tensor, Tensor]:
    both = (True, True)
    return spline_backward(x, params, kept, of_z, of_log, _spline(bins, bound), both)  # type: ignore[return-value]


@_gradients.register_fake
def _(
    x: Tensor,
    params: Tensor,
    kept: Sequence[Tensor],
    of_z: Tensor,
    of_log: Tensor,
    bins: int,
    bound: float,
) -> tuple[Tensor, Tensor]:
    return x.new_empty(x.shape), empty_parameters(params)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: list[Tensor]) -> None:
    x, params, ctx.bins, ctx.bound = inputs
    ctx.save_for_backward(x, params, *output[2:])


def _backward(ctx: Any, gradients: Sequence[Tensor]) -> tuple[Tensor | None, ...]:
    x, params, *kept = ctx.saved_tensors
    of_x, of_params = _gradients(x, params, kept, *gradients[:2], ctx.bins, ctx.bound)
    return of_x, of_params, None, None


spline_operator.register_autograd(_backward, setup_context=_keep)


@functools.cache
def _spline(bins: int, bound: float) -> "RationalQuadraticSpline":
    from diffeo.scalars.spline import RationalQuadraticSpline

    return RationalQuadraticSpline(bins, bound)
