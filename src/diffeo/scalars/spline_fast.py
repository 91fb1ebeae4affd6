"""The spline's fast ways: for autograd, and as an operator that compilers take whole.

There are two: the kernel in C (spline_kernel.py), and passes of operations over planes of
parameters (spline_planes.py) where there is no C compiler, on a GPU, and in float64.

On a CPU what a compiler of graphs makes of a spline's definition is slower than either. Compiled
graphs are kept on disk, and found again by the names of the operators in them: one with other
arguments, also one of a backward pass, wants another name, and so does that of its forward pass.
"""

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.autograd.function import Function

from diffeo.derivatives import defined_gradients, is_batched
from diffeo.scalars import spline_kernel, spline_planes
from diffeo.solvers import is_traced

if TYPE_CHECKING:
    from diffeo.scalars.spline import RationalQuadraticSpline


class SplineForward(Function):
    """(x, params) ↦ (z, log dz/dx): what `RationalQuadraticSpline` with linear tails defines.

    The definition lets autograd keep each of its tensors (*, K). The kernel keeps what it is given
    and computes anew; the operations keep the softmaxes, which knots lie below x, and some numbers
    an element.
    """

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, x: Tensor, params: Tensor, spline: "RationalQuadraticSpline"
    ) -> tuple[Tensor, Tensor]:
        ctx.spline, ctx.in_kernel = spline, spline_kernel.is_at_hand(x, params)
        z, ladj, *kept = _forward(x, params, spline, ctx.in_kernel)
        ctx.save_for_backward(x, params, *kept)
        return z, ladj

    @staticmethod
    def backward(ctx: Any, of_z: Tensor, of_log: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        x, params, *kept = ctx.saved_tensors
        needed = ctx.needs_input_grad[:2]
        recorded = torch.is_grad_enabled() or is_batched(of_z, of_log) or is_traced()
        if recorded or (ctx.in_kernel and not spline_kernel.is_at_hand(of_z, of_log)):
            gradients = (of_z, of_log)
            return *defined_gradients(ctx.spline.define, (x, params), needed, gradients), None
        found = _backward(x, params, kept, of_z, of_log, ctx.spline, needed, ctx.in_kernel)
        return *found, None


def spline_inverse(
    z: Tensor, params: Tensor, spline: "RationalQuadraticSpline"
) -> tuple[Tensor, Tensor]:
    """x and log dx/dz, as the definition has them; without gradients."""
    _check(params, spline)
    way = spline_kernel if spline_kernel.is_at_hand(z, params) else spline_planes
    return way.spline_inverse(z, params, spline)


@torch.library.custom_op("diffeo::spline_with_linear_tails", mutates_args=())
def spline_operator(
    x: Tensor, params: Tensor, bins: int, bound: float, in_kernel: bool
) -> list[Tensor]:
    """z and log dz/dx of the spline with linear tails; then what its backward pass wants kept."""
    return list(_forward(x, params, _spline(bins, bound), in_kernel))


@spline_operator.register_fake
def _(x: Tensor, params: Tensor, bins: int, bound: float, in_kernel: bool) -> list[Tensor]:
    kept = [] if in_kernel else spline_planes.empty_kept(x, params, bins)
    return [x.new_empty(x.shape), x.new_empty(x.shape), *kept]


@torch.library.custom_op("diffeo::spline_with_linear_tails_gradients", mutates_args=())
def _gradients(
    x: Tensor,
    params: Tensor,
    kept: Sequence[Tensor],
    of_z: Tensor,
    of_log: Tensor,
    bins: int,
    bound: float,
    needed: Sequence[bool],
    in_kernel: bool,
) -> list[Tensor]:
    spline = _spline(bins, bound)
    found = _backward(x, params, kept, of_z, of_log, spline, needed, in_kernel)
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
    in_kernel: bool,
) -> list[Tensor]:
    way = spline_kernel if in_kernel else spline_planes
    return [x.new_empty(x.shape)] * needed[0] + [way.empty_parameters(params)] * needed[1]


def _keep(ctx: Any, inputs: tuple[Any, ...], output: list[Tensor]) -> None:
    x, params, ctx.bins, ctx.bound, ctx.in_kernel = inputs
    ctx.save_for_backward(x, params, *output[2:])


def _operator_backward(ctx: Any, gradients: Sequence[Tensor]) -> tuple[Tensor | None, ...]:
    x, params, *kept = ctx.saved_tensors
    needed = list(ctx.needs_input_grad[:2])
    of_z, of_log = gradients[:2]
    found = iter(
        _gradients(x, params, kept, of_z, of_log, ctx.bins, ctx.bound, needed, ctx.in_kernel)
    )
    return *(next(found) if need else None for need in needed), None, None, None


spline_operator.register_autograd(_operator_backward, setup_context=_keep)


def _forward(
    x: Tensor, params: Tensor, spline: "RationalQuadraticSpline", in_kernel: bool
) -> tuple[Tensor, ...]:
    _check(params, spline)
    way = spline_kernel if in_kernel else spline_planes
    return way.spline_forward(x, params, spline)


def _backward(
    x: Tensor,
    params: Tensor,
    kept: Sequence[Tensor],
    of_z: Tensor,
    of_log: Tensor,
    spline: "RationalQuadraticSpline",
    needed: Sequence[bool],
    in_kernel: bool,
) -> tuple[Tensor | None, Tensor | None]:
    _check(params, spline)
    if in_kernel:
        return spline_kernel.spline_backward(x, params, of_z, of_log, spline, needed)
    return spline_planes.spline_backward(x, params, kept, of_z, of_log, spline, needed)


def _check(params: Tensor, spline: "RationalQuadraticSpline") -> None:
    if params.shape[-1] != spline.num_params:
        raise ValueError(
            f"RationalQuadraticSpline: {spline.bins} bins take {spline.num_params} parameters an "
            f"element, got {params.shape[-1]}"
        )


@functools.cache
def _spline(bins: int, bound: float) -> "RationalQuadraticSpline":
    from diffeo.scalars.spline import RationalQuadraticSpline

    return RationalQuadraticSpline(bins, bound)
