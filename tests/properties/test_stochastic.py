"""Dequantizing maps and densities: noise of the density they say, probabilities that sum to 1."""

import pytest
import torch

from diffeo import bijections as bj
from tests.catalogue import BIJECTIONS
from tests.densities import DISCRETE
from tests.properties import stochastic
from tests.properties.matrix import cells
from tests.properties.sampling import one_context

NAMES = ("case", "context", "dtype")
EVERY = pytest.mark.parametrize(NAMES, cells(DISCRETE, (torch.float64,)))


def made(case, context, dtype):
    density = case.make(context, dtype, features=2)
    return density, one_context(case.inputs(density, 1, dtype)[1])


@EVERY
def test_probabilities_sum_to_one(case, context, dtype):
    stochastic.check_probabilities_sum_to_one(*made(case, context, dtype))


@EVERY
def test_samples_have_those_probabilities(case, context, dtype):
    stochastic.check_samples_have_those_probabilities(*made(case, context, dtype))


@pytest.mark.parametrize("x", [[0.0, 0.0], [3.0, 1.0]], ids=str)
def test_noise(x):
    stochastic.check_noise(bj.Dequantize(4, (2,)).double(), torch.tensor(x, dtype=torch.float64))


def test_what_draws_noise_says_so():
    for case in BIJECTIONS:
        bijection = case.make()
        x, context = case.inputs(bijection)
        one, other = bijection(x, context)[0], bijection(x, context)[0]
        assert bijection.stochastic != torch.equal(one, other), case.name
