"""The property suite fails every one of `tests/wrong_densities.py`, and none that is right."""

import pytest
import torch

from diffeo.bijections import Dequantize
from diffeo.nets.made import MADE
from tests import wrong_densities as wrong
from tests.properties import causality, density_checks, sampling, stochastic
from tests.properties.draws import context_for, points, redraw
from tests.tolerances import BOUNDS


def drawn(kind):
    density = redraw(kind(), 0.6).double().eval()
    x = points(density.support, (6, 2))
    return density, x, context_for(density.context_shape, (6,))


def given_one(kind):
    density, _, context = drawn(kind)
    return density, sampling.one_context(context)


def net(kind):
    made = redraw(kind(4, 2, (9, 9), context=2, activation="tanh", order=(2, 0, 3, 1))).double()
    return made, points(None, (4,)), context_for((2,), ())


def same_samples(kind):
    density, one = given_one(kind)
    sampling.check_same_distribution(
        density.sample(4000, one), density.sample_and_log_prob(4000, one)[0]
    )


CHECKS = {
    "scores": lambda kind: density_checks.check_scores(
        *drawn(kind), bound=BOUNDS["same_numbers"][0]
    ),
    "samples": lambda kind: density_checks.check_samples(*drawn(kind)[::2]),
    "log_prob of samples": lambda kind: density_checks.check_sample_and_log_prob(
        *drawn(kind)[::2], bound=BOUNDS["round_trip"][0]
    ),
    "outside": lambda kind: density_checks.check_outside(*drawn(kind)),
    "integral": lambda kind: sampling.check_integral(*given_one(kind), bound=BOUNDS["integral"][0]),
    "samples follow": lambda kind: sampling.check_samples_follow(*given_one(kind)),
    "two samples": same_samples,
}
NET_CHECKS = {
    "causal": lambda kind: causality.check_causal(*net(kind)),
    "stepping": lambda kind: causality.check_stepping(*net(kind), bound=BOUNDS["same_numbers"][0]),
}
NOISE_CHECKS = {
    "noise": lambda kind: stochastic.check_noise(
        kind(4, (2,)).double(), torch.tensor([1.0, 2.0]).double()
    ),
    "sum to one": lambda kind: stochastic.check_probabilities_sum_to_one(wrong.dequantized(kind)),
    "frequencies": lambda kind: stochastic.check_samples_have_those_probabilities(
        wrong.dequantized(kind)
    ),
}
RIGHT = [
    *((wrong.RightDensity, check) for check in CHECKS.items()),
    *((MADE, check) for check in NET_CHECKS.items()),
    *((Dequantize, check) for check in NOISE_CHECKS.items()),
]
CAUGHT_BY = [
    (wrong.OffByAConstant, "integral"),
    (wrong.ConstantOfOneDimension, "integral"),
    (wrong.SamplesTooWide, "samples follow"),
    (wrong.SamplesDependent, "samples follow"),
    (wrong.OtherContextForSamples, "two samples"),
    (wrong.IgnoresTheGenerator, "samples"),
    (wrong.LogProbAtTemperature, "log_prob of samples"),
    (wrong.SignOfTheLadjInSampling, "log_prob of samples"),
    (wrong.RowsShareAScore, "scores"),
    (wrong.NaNOutside, "outside"),
    (wrong.SeesItself, "causal"),
    (wrong.SeesItself, "stepping"),
    (wrong.SeesTheLast, "causal"),
    (wrong.ForgetsTheFirst, "causal"),
    (wrong.StepsAreOff, "stepping"),
    (wrong.StepsForgetTheContext, "stepping"),
    (wrong.SkewedNoise, "noise"),
    (wrong.SkewedNoise, "frequencies"),
    (wrong.NoiseWithoutItsDensity, "noise"),
    (wrong.NoiseWithoutItsDensity, "sum to one"),
]
EVERY_CHECK = {**CHECKS, **NET_CHECKS, **NOISE_CHECKS}


@pytest.mark.parametrize(
    ("kind", "check"),
    RIGHT,
    ids=lambda value: value[0] if isinstance(value, tuple) else value.__name__,
)
def test_what_is_right_passes(kind, check):
    check[1](kind)


@pytest.mark.parametrize(
    ("kind", "name"), CAUGHT_BY, ids=lambda value: getattr(value, "__name__", value)
)
def test_what_is_wrong_fails(kind, name):
    with pytest.raises(AssertionError):
        EVERY_CHECK[name](kind)


def test_everything_wrong_is_listed():
    bases = (wrong.RightDensity, wrong.Flow, MADE, Dequantize)
    classes = {
        value
        for name, value in vars(wrong).items()
        if isinstance(value, type)
        and issubclass(value, bases)
        and value.__module__ == wrong.__name__
    }
    assert classes - {wrong.RightDensity} == {kind for kind, _ in CAUGHT_BY}
