"""Weights thirty times too large, inputs to ±1e4, points a rounding away from the ends."""

import copy
import math

import torch
from torch import Tensor, nn

from diffeo.bijections.base import Bijection
from diffeo.density import Density
from diffeo.scalars.base import ScalarMap
from diffeo.supports import Support
from tests.properties.checks import to_dtype

ULPS = 4
DRAWS = 8
LOST = 1e3
HUGE = 1e37
"""What a float32 can hold, with a factor of ten to spare for intermediate results."""


def check_extreme_scalar(
    scalar: ScalarMap, x: Tensor, params: Tensor, *, bound: float, inverse: bool = False
) -> None:
    """In x's dtype: finite where the exact value is representable, and there invertible.

    The exact map is a float64 copy. The round trip may err by bound · (1 + |x| + |z|·dx/dz): z
    holds no more than its own rounding lets through. Beside a plateau the slope at x doesn't tell
    what that is, so it may also err as far as the exact inverse of a number `ULPS` roundings
    beside z lies from x. (`inverse` swaps the roles of x and z.)
    """
    forward, back = (
        (scalar.inverse, scalar.forward) if inverse else (scalar.forward, scalar.inverse)
    )
    twin = copy.deepcopy(scalar).double()
    there, exact_back = (twin.inverse, twin.forward) if inverse else (twin.forward, twin.inverse)
    exact, exact_ladj = there(x.double(), params.double())
    assert not exact.isnan().any() and not exact_ladj.isnan().any(), "NaN in float64"
    z, ladj = forward(x, params)
    assert not z.isnan().any(), (
        f"{int(z.isnan().sum())} NaN, e.g. at x = {x[z.isnan()][:3].tolist()}"
    )
    assert not ladj.isnan().any(), (
        f"{int(ladj.isnan().sum())} NaN in ladj, e.g. at x = {x[ladj.isnan()][:3].tolist()}"
    )
    representable = (exact.abs() < HUGE) & exact.isfinite()
    bad = representable & ~z.isfinite()
    assert not bad.any(), (
        f"{int(bad.sum())} not finite, e.g. x = {x[bad][:3].tolist()}, "
        f"exact {exact[bad][:3].tolist()}"
    )
    bad = exact_ladj.isfinite() & (exact_ladj.abs() < HUGE) & ~ladj.isfinite()
    assert not bad.any(), (
        f"{int(bad.sum())} ladj not finite, e.g. x = {x[bad][:3].tolist()}, "
        f"exact {exact_ladj[bad][:3].tolist()}"
    )
    usable = representable & _holds(x.dtype, exact, scalar.domain if inverse else scalar.codomain)
    again, _ = back(z, params)
    allowed = bound * (1 + x.double().abs() + exact.abs() * (-exact_ladj).clamp(max=300.0).exp())
    for side in (-1, 1):
        beside = exact + side * ULPS * torch.finfo(x.dtype).eps * (1 + exact.abs())
        moved = (exact_back(beside, params.double())[0] - x.double()).abs()
        allowed = torch.maximum(allowed, moved.nan_to_num(math.inf))
    error = (again.double() - x.double()).abs()
    wrong = usable & ~(error <= allowed)
    worst = (error / allowed)[wrong].nan_to_num(math.inf)
    assert not wrong.any(), (
        f"round trip: {int(wrong.sum())} of {wrong.numel()} wrong, "
        f"up to {worst.max():.3g} × the bound; "
        f"x = {x[wrong][:3].tolist()}, back {again[wrong][:3].tolist()}"
    )


def check_extreme(
    bijection: Bijection, x: Tensor, context=None, *, bound: float, inverse: bool = False
) -> None:
    """The same for a map of vectors, whose weights were drawn too large.

    Here the exact map is also not known better than its weights are: a float32 network computes
    parameters with an error of its own, and a sequential inverse meets them at inputs with an
    error of their own. So the round trip may err by bound · (1 + ‖x‖∞) + ten times the most, of
    several draws, that the exact map's inverse moves when every weight, every x and every z is
    changed by one part in 1/bound: the vector form of |z|·dx/dz, weights included. Where that is
    more than `LOST` · (1 + ‖x‖∞), float32 can't say where x was, and only finiteness is asked.
    """
    one, other = (bijection.inverse, bijection) if inverse else (bijection, bijection.inverse)
    twin = copy.deepcopy(bijection).double()
    exact_context = to_dtype(context, torch.float64)
    there, back = (twin.inverse, twin) if inverse else (twin, twin.inverse)
    exact, exact_ladj = there(x.double(), exact_context)
    z, ladj = one(x, context)
    known = exact.isfinite() & (exact.abs() < HUGE)
    rows = known.flatten(ladj.dim()).all(-1) & exact_ladj.isfinite()
    assert not z[rows].isnan().any() and not ladj[rows].isnan().any(), (
        "NaN where the exact value is finite"
    )
    assert z[rows].isfinite().all(), (
        f"not finite where the exact value is, e.g. exact {exact[rows][:3].tolist()}"
    )
    assert ladj[rows].isfinite().all(), "ladj not finite where the exact one is"
    again, _ = other(z, context)
    exact_again, _ = back(z.double(), exact_context)
    held = (exact_again.isfinite() & (exact_again.abs() < HUGE)).flatten(ladj.dim()).all(-1)
    assert again[rows & held].isfinite().all(), "not finite on the way back"
    size = 1 + _norm(x.double(), ladj.dim())
    moved = _sensitivity(twin, x.double(), exact, exact_context, bound, there, back, ladj.dim())
    allowed = bound * size + 10 * moved
    codomain = bijection.domain if inverse or bijection.codomain is None else bijection.codomain
    usable = rows & _holds(x.dtype, exact, codomain).flatten(ladj.dim()).all(-1)
    usable = usable & (moved <= LOST * size)
    error = _norm(again.double() - x.double(), ladj.dim())
    wrong = usable & ~(error <= allowed)
    worst = (error / allowed)[wrong].nan_to_num(math.inf)
    assert not wrong.any(), (
        f"round trip: {int(wrong.sum())} of {wrong.numel()} wrong, "
        f"up to {worst.max():.3g} × the bound; "
        f"x = {x[wrong][:2].tolist()}, back {again[wrong][:2].tolist()}, "
        f"allowed {allowed[wrong][:2].tolist()}"
    )


@torch.no_grad()
def _sensitivity(
    twin: nn.Module, x: Tensor, z: Tensor, context, bound: float, there, back, batch_dim: int
) -> Tensor:
    """How far f⁻¹ of a perturbed f(x) lies from x, at most, over several draws."""
    generator = torch.Generator().manual_seed(5)
    kept = {name: p.clone() for name, p in twin.named_parameters()}
    worst = torch.zeros(x.shape[:batch_dim], dtype=torch.float64)

    def changed(value: Tensor) -> Tensor:
        signs = torch.randint(0, 2, value.shape, generator=generator).double() * 2 - 1
        return value * (1 + bound * signs)

    for draw in range(DRAWS):
        if draw < 2:
            # z alone: what weights and z do together may cancel.
            moved_z = z * (1 + bound * (1 - 2 * draw))
        else:
            for name, p in twin.named_parameters():
                p.copy_(changed(kept[name]))
            moved_z = changed(there(x, context)[0])
            for name, p in twin.named_parameters():
                p.copy_(kept[name])
        moved = back(moved_z, context)[0] - x
        worst = torch.maximum(worst, _norm(moved, batch_dim).nan_to_num(math.inf))
    return worst


def _holds(dtype: torch.dtype, exact: Tensor, support: Support | None) -> Tensor:
    """Whether the dtype has these values: none underflows, or is rounded out of an open set."""
    rounded = exact.to(dtype)
    held = (exact == 0) | (exact.abs() >= torch.finfo(dtype).tiny)
    return held if support is None else held & ~support.outside(rounded)


def _norm(x: Tensor, batch_dim: int) -> Tensor:
    flat = x.abs().flatten(batch_dim) if x.dim() > batch_dim else x.abs().unsqueeze(-1)
    return flat.max(-1).values


def check_extreme_density(density: Density, x: Tensor, context=None) -> None:
    """log_prob is never NaN, and finite where a float64 copy says that a float32 can hold it."""
    twin = copy.deepcopy(density).double()
    exact = twin.log_prob(x.double(), to_dtype(context, torch.float64))
    found = density.log_prob(x, context)
    assert not exact.isnan().any(), f"NaN in float64, e.g. at {x[exact.isnan()][:2].tolist()}"
    assert not found.isnan().any(), f"NaN, e.g. at {x[found.isnan()][:2].tolist()}"
    bad = exact.isfinite() & (exact.abs() < HUGE) & ~found.isfinite()
    assert not bad.any(), (
        f"{int(bad.sum())} not finite, e.g. at {x[bad][:2].tolist()}, "
        f"exact {exact[bad][:2].tolist()}"
    )
