"""Extreme weights and inputs in float32, with a float64 copy as the truth."""

import itertools

import pytest
import torch
from torch import nn

from tests.catalogue import BIJECTIONS, SCALARS
from tests.densities import ALL, IMAGES, MIXED
from tests.properties.draws import SCALE, context_for, points, wide_points
from tests.properties.extremes import (
    check_extreme,
    check_extreme_density,
    check_extreme_scalar,
)
from tests.properties.matrix import cells
from tests.tolerances import tolerance

FACTOR = 30.0
N = 1000
directions = pytest.mark.parametrize("inverse", [False, True], ids=["forward", "inverse"])


@pytest.mark.parametrize("scale", [1.0, FACTOR])
@pytest.mark.parametrize("case", SCALARS, ids=lambda case: case.name)
@directions
def test_scalar_maps(case, scale, inverse):
    """Parameters from N(0, 1) × scale."""
    scalar = case.build()
    x = wide_points(scalar.codomain if inverse else scalar.domain, (N,), torch.float32)
    generator = torch.Generator().manual_seed(4)
    params = scale * torch.randn(N, scalar.num_params, generator=generator)
    bound = tolerance("extreme_round_trip", case.name, torch.float32)
    check_extreme_scalar(scalar, x, params, bound=bound, inverse=inverse)


class WithoutParameters(nn.Module):
    """An elementwise bijection, called as a scalar map is."""

    def __init__(self, bijection):
        super().__init__()
        self.bijection = bijection
        self.domain, self.codomain = bijection.domain, bijection.codomain

    def forward(self, x, params):
        return self.bijection(x)

    def inverse(self, z, params):
        return self.bijection.inverse(z)


@pytest.mark.parametrize(
    "case",
    [c for c in BIJECTIONS if c.make().event_dim == 0 and c.make().domain is not None],
    ids=lambda c: c.name,
)
@directions
def test_fixed_maps(case, inverse):
    scalar = WithoutParameters(case.make(dtype=torch.float32))
    x = wide_points(scalar.codomain if inverse else scalar.domain, (N,), torch.float32)
    bound = tolerance("extreme_round_trip", case.name, torch.float32)
    check_extreme_scalar(scalar, x, torch.zeros(N, 0), bound=bound, inverse=inverse)


def of_vectors(case) -> bool:
    bijection = case.make()
    return bijection.event_dim > 0 and not bijection.stochastic


VECTORS = [case for case in BIJECTIONS if of_vectors(case)]


def combinations():
    """Every example with inputs near and far, in both directions: one of them in every run."""
    for i, case in enumerate(VECTORS):
        for j, (inputs, inverse) in enumerate(itertools.product(("wide", "near"), (False, True))):
            marks = () if j == i % 4 else (pytest.mark.full,)
            label = f"{case.name}-{inputs}-{'inverse' if inverse else 'forward'}"
            yield pytest.param(case, inputs, inverse, id=label, marks=marks)


@pytest.mark.parametrize(("case", "inputs", "inverse"), list(combinations()))
def test_maps_of_vectors(case, inputs, inverse):
    """All weights thirty times too large; inputs near the origin, and out to ±1e4."""
    bijection = case.make(max(case.contexts), torch.float32, FACTOR * SCALE)
    rows = 60
    context = context_for(bijection.context_shape, (rows,), torch.float32)
    support = bijection.domain if not inverse or bijection.codomain is None else bijection.codomain
    shape = (rows, *(bijection.output_shape(case.event) if inverse else case.event))
    draw = wide_points if inputs == "wide" else points
    x = draw(support, shape, torch.float32)
    bound = tolerance("extreme_round_trip", case.name, torch.float32)
    check_extreme(bijection, x, context, bound=bound, inverse=inverse)


@pytest.mark.parametrize("scale", [SCALE, FACTOR * SCALE])
@pytest.mark.parametrize(
    ("case", "context", "dtype"), cells([*ALL, *MIXED, *IMAGES], (torch.float32,))
)
def test_log_prob(case, context, dtype, scale):
    """Inputs over the whole support; weights as elsewhere, and thirty times too large."""
    density = case.make(context, dtype, scale)
    x = wide_points(density.support, (200, *density.event_shape), dtype)
    check_extreme_density(density, x, context_for(density.context_shape, (200,), dtype))
