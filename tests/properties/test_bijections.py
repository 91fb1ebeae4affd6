"""Every bijection: invertible, with the right log-determinant, however it is called."""

import pytest
import torch

from tests.catalogue import BIJECTIONS
from tests.properties import checks
from tests.properties.matrix import cells
from tests.tolerances import tolerance


def exact(case) -> bool:
    """Whether the example draws no noise: what is rounded away does not come back."""
    return not case.make().stochastic


def inverted(case) -> bool:
    """Whether flat-memory training finds the map's input from its output."""
    return case.make().recompute == "invert"


CELLS = cells(BIJECTIONS)
EXACT_CELLS = cells(BIJECTIONS, keep=exact)
FLOAT64 = cells(BIJECTIONS, (torch.float64,))
EXACT_FLOAT64 = cells(BIJECTIONS, (torch.float64,), keep=exact)
every = pytest.mark.parametrize(("case", "context", "dtype"), CELLS)
every_exact = pytest.mark.parametrize(("case", "context", "dtype"), EXACT_CELLS)
every_float64 = pytest.mark.parametrize(("case", "context", "dtype"), FLOAT64)
every_exact_float64 = pytest.mark.parametrize(("case", "context", "dtype"), EXACT_FLOAT64)
every_conditional = pytest.mark.parametrize(
    ("case", "context", "dtype"), cells(BIJECTIONS, (torch.float64,), context_only=True, keep=exact)
)


def made(case, context, dtype, n=6):
    bijection = case.make(context, dtype)
    return bijection, *case.inputs(bijection, n, dtype)


@every
def test_contract(case, context, dtype):
    checks.check_contract(*made(case, context, dtype))


@every
def test_round_trip(case, context, dtype):
    bound = tolerance("round_trip", case.name, dtype)
    checks.check_round_trip(*made(case, context, dtype, 32), bound=bound)


@every_exact
def test_round_trip_from_latent(case, context, dtype):
    bijection = case.make(context, dtype)
    bound = tolerance("round_trip", case.name, dtype)
    checks.check_round_trip_from_latent(bijection, *case.latents(bijection, 32, dtype), bound=bound)


@pytest.mark.parametrize(("case", "context", "dtype"), cells(BIJECTIONS, keep=inverted))
def test_recomputing(case, context, dtype):
    checks.check_recomputing(
        *made(case, context, dtype), bound=tolerance("round_trip", case.name, dtype)
    )


@every_exact
def test_ladj(case, context, dtype):
    checks.check_ladj(*made(case, context, dtype), bound=tolerance("ladj", case.name, dtype))


@every_exact
def test_ladj_of_the_inverse(case, context, dtype):
    bijection = case.make(context, dtype)
    bound = tolerance("ladj", case.name, dtype)
    checks.check_ladj(bijection, *case.latents(bijection, 6, dtype), bound=bound, inverse=True)


@every_exact_float64
def test_inverse_gradients(case, context, dtype):
    bound = tolerance("inverse_gradient", case.name, dtype)
    checks.check_inverse_gradients(*made(case, context, dtype), bound=bound)


def of_several(case) -> bool:
    """With one feature, weights that look at other features have nothing to see."""
    return "one-feature" not in case.name


@pytest.mark.parametrize(
    ("case", "context", "dtype"), cells(BIJECTIONS, (torch.float64,), keep=of_several)
)
def test_every_weight_matters(case, context, dtype):
    checks.check_every_weight_matters(*made(case, context, dtype))


@every_conditional
def test_context_matters(case, context, dtype):
    checks.check_context_matters(*made(case, context, dtype))


@every_conditional
def test_context_batches(case, context, dtype):
    bound = tolerance("same_numbers", case.name, dtype)
    checks.check_context_batches(*made(case, context, dtype, 3), bound=bound)


@every
def test_batching(case, context, dtype):
    checks.check_batching(
        *made(case, context, dtype), bound=tolerance("same_numbers", case.name, dtype)
    )


@every_float64
def test_nan_stays_in_its_row(case, context, dtype):
    bound = tolerance("same_numbers", case.name, dtype)
    checks.check_nan_stays_in_its_row(*made(case, context, dtype), bound=bound)


@every
def test_pure(case, context, dtype):
    checks.check_pure(*made(case, context, dtype))


@every_float64
def test_copies(case, context, dtype):
    checks.check_copies(*made(case, context, dtype))


@every
def test_initialize(case, context, dtype):
    bound = tolerance("round_trip", case.name, dtype)
    checks.check_initialize(*made(case, context, dtype, 32), bound=bound)
