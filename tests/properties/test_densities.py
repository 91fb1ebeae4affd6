"""Every base, composite density and named model: scores, samples, copies, supports."""

import pytest
import torch

import diffeo
from diffeo.density import Flow
from tests.densities import ALL, DISCRETE, DISCRETE_IMAGES, IMAGES, MIXED, MODELS, SOUNDS
from tests.properties import density_checks as checks
from tests.properties.matrix import cells
from tests.tolerances import tolerance

DOUBLE = (torch.float64,)
EVERYTHING = [*ALL, *DISCRETE, *MIXED, *IMAGES, *DISCRETE_IMAGES, *SOUNDS]
FLOWS = [case for case in EVERYTHING if isinstance(case.make(max(case.contexts)), Flow)]
NAMES = ("case", "context", "dtype")
every = pytest.mark.parametrize(NAMES, cells(EVERYTHING))
every_float64 = pytest.mark.parametrize(NAMES, cells(EVERYTHING, DOUBLE))


def made(case, context, dtype, n=6):
    density = case.make(context, dtype)
    return density, *case.inputs(density, n, dtype)


@every
def test_scores(case, context, dtype):
    checks.check_scores(
        *made(case, context, dtype), bound=tolerance("same_numbers", case.name, dtype)
    )


@pytest.mark.parametrize(NAMES, cells(EVERYTHING, DOUBLE, context_only=True))
def test_context_matters(case, context, dtype):
    checks.check_context_matters(*made(case, context, dtype))


@every
def test_samples(case, context, dtype):
    density, _, contexts = made(case, context, dtype, 3)
    checks.check_samples(density, contexts)


@every
def test_sample_and_log_prob(case, context, dtype):
    density, _, contexts = made(case, context, dtype, 3)
    checks.check_sample_and_log_prob(
        density, contexts, bound=tolerance("round_trip", case.name, dtype)
    )


@every_float64
def test_gradients_of_samples(case, context, dtype):
    density, _, contexts = made(case, context, dtype, 3)
    checks.check_gradients_of_samples(density, contexts)


@every_float64
def test_recorded_gradients(case, context, dtype):
    density, x, contexts = made(case, context, dtype)
    if not (density.exact and x.is_floating_point()):
        pytest.skip("draws noise, or is of whole numbers")
    checks.check_recorded_gradients(density, x, contexts)


@every_float64
def test_outside(case, context, dtype):
    checks.check_outside(*made(case, context, dtype))


@pytest.mark.parametrize(NAMES, cells(FLOWS))
def test_codes(case, context, dtype):
    checks.check_codes(
        *made(case, context, dtype, 32), bound=tolerance("round_trip", case.name, dtype)
    )


@every_float64
def test_pure(case, context, dtype):
    checks.check_pure(*made(case, context, dtype))


@every_float64
def test_copies(case, context, dtype):
    checks.check_copies(*made(case, context, dtype))


# A bound with noise of re-drawn weights is too loose for 20 draws to say anything.
NOT_LOOSE = [case for case in DISCRETE_IMAGES if case.model != "flowpp"]


@pytest.mark.parametrize(NAMES, cells([*DISCRETE, *NOT_LOOSE], DOUBLE))
def test_importance_weighting(case, context, dtype):
    checks.check_importance_weighting(*made(case, context, dtype))


@pytest.mark.parametrize(NAMES, cells([*MODELS, *DISCRETE, *IMAGES, *DISCRETE_IMAGES, *SOUNDS]))
def test_saved_and_loaded(case, context, dtype, tmp_path):
    density, x, contexts = made(case, context, dtype)
    expected = checks.score(density, x, contexts)
    diffeo.save(density, tmp_path / "model")
    loaded = diffeo.load(tmp_path / "model")
    assert type(loaded) is type(density)
    assert loaded.config == density.config
    assert torch.equal(checks.score(loaded, x, contexts), expected)


@pytest.mark.parametrize(NAMES, cells([*MODELS, *DISCRETE], DOUBLE))
def test_one_feature(case, context, dtype):
    density = case.make(context, dtype, features=1)
    x, contexts = case.inputs(density, 6, dtype)
    checks.check_scores(density, x, contexts, bound=tolerance("same_numbers", case.name, dtype))
    checks.check_samples(density, contexts)
