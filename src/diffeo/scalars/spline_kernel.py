"""Splines in C: one pass over memory each way, for float32 on a CPU. The code is spline.c."""

import ctypes
import functools
from collections.abc import Sequence
from ctypes import POINTER, Structure, byref, c_double, c_int, c_int64, c_void_p, cast, pointer
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from diffeo.native import InverseInC, is_plain, library
from diffeo.solvers import has_values

if TYPE_CHECKING:
    from diffeo.scalars.spline import RationalQuadraticSpline

SOURCE = Path(__file__).with_name("spline.c")


def is_at_hand(x: Tensor, params: Tensor) -> bool:
    """Whether the kernel can be run on these, and now."""
    return is_for(x, params) and is_plain(x) and is_plain(params) and has_values(x)


def is_for(x: Tensor, params: Tensor) -> bool:
    """Whether the kernel can be run on such as these."""
    return x.dtype == params.dtype == torch.float32 and x.device.type == "cpu" and _is_built()


def _is_built() -> bool:
    return _kernel() is not None


# What torch.compiler.assume_constant_result does, as in diffeo/solvers.py.
_is_built._dynamo_marked_constant = True  # type: ignore[attr-defined]


def spline_forward(
    x: Tensor, params: Tensor, spline: "RationalQuadraticSpline"
) -> tuple[Tensor, Tensor]:
    """z and log dz/dx; for the gradients nothing is kept."""
    return _run("spline_forward", x, params, spline)


def spline_inverse(
    z: Tensor, params: Tensor, spline: "RationalQuadraticSpline"
) -> tuple[Tensor, Tensor]:
    """x and log dx/dz."""
    return _run("spline_inverse", z, params, spline)


def inverse_in_c(spline: "RationalQuadraticSpline") -> Sequence[InverseInC] | None:
    """The inverse for walks in C; None where there is none."""
    kernel = _kernel()
    if kernel is None or spline.tails != "linear":
        return None
    settings = pointer(_settings(spline.bins, spline.upper))
    addresses = (cast(part, c_void_p) for part in (kernel.spline_inverse, settings))
    return [InverseInC(*addresses, spline.num_params)]


def spline_backward(
    x: Tensor,
    params: Tensor,
    of_z: Tensor,
    of_log: Tensor,
    spline: "RationalQuadraticSpline",
    needed: Sequence[bool],
) -> tuple[Tensor | None, Tensor | None]:
    """The derivatives in x and in the parameters, as far as they are needed."""
    swapped = _is_swapped(params)
    of_x = x.new_empty(x.shape)
    of_params = empty_parameters(params) if needed[1] else None
    _call(
        "spline_backward",
        x,
        params,
        spline,
        _grid(x, swapped),
        _planes(params, swapped),
        _grid(of_z, swapped),
        _grid(of_log, swapped),
        _grid(of_x, swapped),
        _Planes(None) if of_params is None else _planes(of_params, swapped),
    )
    return of_x if needed[0] else None, of_params


def empty_parameters(params: Tensor) -> Tensor:
    """Memory for derivatives in parameters, laid out as these are where the kernel can write so."""
    order = sorted(range(params.dim()), key=params.stride, reverse=True)
    empty = torch.empty_permuted(params.shape, order, dtype=params.dtype, device=params.device)
    return params.new_empty(params.shape) if _rows_and_columns(empty[..., 0]) is None else empty


def _run(
    name: str, x: Tensor, params: Tensor, spline: "RationalQuadraticSpline"
) -> tuple[Tensor, Tensor]:
    swapped = _is_swapped(params)
    outputs = x.new_empty(x.shape), x.new_empty(x.shape)
    grids = [_grid(t, swapped) for t in outputs]
    _call(name, x, params, spline, _grid(x, swapped), _planes(params, swapped), *grids)
    return outputs


class _Settings(Structure):
    _fields_ = [
        ("bins", c_int64),
        ("bound", c_double),
        ("share", c_double),
        ("derivative", c_double),
        ("offset", c_double),
    ]


class _Planes(Structure):
    """How a tensor lies in memory; it is kept alive with this."""

    _fields_ = [
        ("at", c_void_p),
        ("columns", c_int64),
        ("row", c_int64),
        ("column", c_int64),
        ("own", c_int64),
    ]
    tensor: Tensor


def _is_swapped(params: Tensor) -> bool:
    """Whether elements are taken column by column, since their parameters lie so."""
    return params.dim() == 3 and params.stride(0) < params.stride(1)


def _grid(x: Tensor, swapped: bool) -> _Planes:
    """Numbers (*), one an element."""
    return _planes(x.unsqueeze(-1), swapped)


def _planes(params: Tensor, swapped: bool) -> _Planes:
    """Numbers (*, P), P an element; copied where their elements are in no two-dimensional grid."""
    params = params.transpose(0, 1) if swapped else params
    grid = _rows_and_columns(params[..., 0])
    if grid is None:
        params = params.contiguous()
        grid = (params[..., 0].numel(), 0, params.shape[-1])
    planes = _Planes(params.data_ptr(), *grid, params.stride(-1))
    planes.tensor = params
    return planes


def _rows_and_columns(x: Tensor) -> tuple[int, int, int] | None:
    """How many columns there are, from row to row and from column to column, if it is a grid."""
    axes: list[tuple[int, int]] = []
    for size, stride in zip(x.shape, x.stride(), strict=True):
        if axes and axes[-1][1] == size * stride:
            axes[-1] = (axes[-1][0] * size, stride)
        elif size != 1:
            axes.append((size, stride))
    if len(axes) > 2:
        return None
    (_, row), (columns, column) = [(1, 0)] * (2 - len(axes)) + axes
    return columns, row, column


def _call(
    name: str, x: Tensor, params: Tensor, spline: "RationalQuadraticSpline", *planes: _Planes
) -> None:
    """Calls a function of the kernel, which would read and write beyond what does not fit."""
    kernel = _kernel()
    if kernel is None:
        raise RuntimeError(f"{name}: a graph compiled where there is a C compiler wants one here")
    if not is_for(x, params) or x.shape != params.shape[:-1]:
        raise ValueError(
            f"{name}: expected float32 on a CPU, as many parameters for each number; got "
            f"{x.dtype} {tuple(x.shape)} and {params.dtype} {tuple(params.shape)} on {x.device}"
        )
    settings = _settings(spline.bins, spline.upper)
    given = (byref(p) for p in planes)
    if not getattr(kernel, name)(settings, x.numel(), torch.get_num_threads(), *given):
        raise MemoryError(f"{name}: no memory for a block of {spline.bins} bins")


@functools.cache
def _settings(bins: int, bound: float) -> _Settings:
    from diffeo.scalars.spline import LEAST_SHARE, MIN_DERIVATIVE, OFFSET

    return _Settings(bins, bound, LEAST_SHARE, MIN_DERIVATIVE, OFFSET)


@functools.cache
def _kernel() -> ctypes.CDLL | None:
    """The compiled functions; None where there is no compiler."""
    kernel = library(SOURCE)
    if kernel is not None:
        for name, tensors in (("forward", 4), ("inverse", 4), ("backward", 6)):
            function = getattr(kernel, f"spline_{name}")
            head = [POINTER(_Settings), c_int64, c_int]
            function.argtypes = head + [POINTER(_Planes)] * tensors
            function.restype = c_int
    return kernel
