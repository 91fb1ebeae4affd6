"""Samples of every density agree with it: integrals over grids, tests of samples."""

import pytest
import torch

from tests.densities import ALL, MODELS
from tests.properties import sampling
from tests.properties.checks import _map
from tests.properties.matrix import cells
from tests.tolerances import tolerance

NAMES = ("case", "context", "dtype")
EVERY = cells(ALL, (torch.float64,))


def made(case, context, dtype, features):
    density = case.make(context, dtype, features=features)
    return density, sampling.one_context(case.inputs(density, 1, dtype)[1])


@pytest.mark.parametrize("features", [1, 2])
@pytest.mark.parametrize(NAMES, EVERY)
def test_integral(case, context, dtype, features):
    sampling.check_integral(
        *made(case, context, dtype, features), bound=tolerance("integral", case.name, dtype)
    )


@pytest.mark.parametrize("features", [1, 2])
@pytest.mark.parametrize(NAMES, EVERY)
def test_samples_follow_the_density(case, context, dtype, features):
    sampling.check_samples_follow(*made(case, context, dtype, features))


@pytest.mark.parametrize(NAMES, cells(MODELS, (torch.float32,)))
def test_every_way_to_sample_is_the_same_distribution(case, context, dtype):
    """One call for many against one context for each; `sample` against `sample_and_log_prob`."""
    density, one = made(case, context, dtype, 3)
    n = 2000
    direct = density.sample(n, one)
    paired = density.sample_and_log_prob(n, one)[0]
    sampling.check_same_distribution(direct, paired)
    if one is not None:
        many = _map(one, lambda part: part.expand(n, *part.shape))
        sampling.check_same_distribution(direct, density.sample((), many))
