"""Inverses of scalar maps in C, for walks in C: see nets/made.c."""

import functools
from collections.abc import Sequence
from ctypes import CDLL, c_double, c_void_p, cast, pointer
from pathlib import Path

from diffeo.native import InverseInC, library
from diffeo.scalars import spline_kernel
from diffeo.scalars.affine import Affine
from diffeo.scalars.base import ScalarMap
from diffeo.scalars.composed import Composed
from diffeo.scalars.spline import RationalQuadraticSpline

SOURCE = Path(__file__).with_name("affine.c")


def inverse_in_c(scalar: ScalarMap) -> Sequence[InverseInC] | None:
    """The maps, from the first, whose inverses make up that of a scalar map; None if not in C."""
    # Not what derives from them, which may have another inverse.
    if type(scalar) is Composed:
        parts = [inverse_in_c(part) for part in scalar.maps]  # type: ignore[arg-type]
        whole = [part for part in parts if part is not None]
        return [map_ for part in whole for map_ in part] if len(whole) == len(parts) else None
    if type(scalar) is RationalQuadraticSpline:
        return spline_kernel.inverse_in_c(scalar)
    if type(scalar) is Affine:
        return _affine(scalar)
    return None


def _affine(scalar: Affine) -> Sequence[InverseInC] | None:
    kernel = _kernel()
    if kernel is None:
        return None
    settings = pointer(_settings(scalar.log_scale_bound))
    addresses = (cast(part, c_void_p) for part in (kernel.affine_inverse, settings))
    return [InverseInC(*addresses, scalar.num_params)]


@functools.cache
def _settings(bound: float) -> c_double:
    return c_double(bound)


@functools.cache
def _kernel() -> CDLL | None:
    """The compiled functions; None where there is no compiler."""
    return library(SOURCE)
