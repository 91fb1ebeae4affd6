"""Distributions of one sample of a sound."""

import math

import mpmath
import pytest
import torch
from scipy import stats

from diffeo.mu_law import mu_law_decode, mu_law_encode
from diffeo.sound_heads import (
    LOG_SCALE_BOUND,
    MIDDLE_SCALE,
    GaussianHead,
    HeadDistribution,
    IntervalHead,
    LogisticMixtureHead,
    MuLawHead,
    unused_bits,
)

FALSE_ALARM = 1e-6
INTERVALS = [LogisticMixtureHead(3, 4), LogisticMixtureHead(1, 1), GaussianHead(4), GaussianHead(1)]


def label(head) -> str:
    """How a head is called here."""
    return f"{type(head).__name__}-{getattr(head, 'bits', 'mu')}"


DTYPES = pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)


def levels(head: IntervalHead, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    half = 2 ** (head.bits - 1)
    return torch.arange(-half, half, dtype=dtype) / half


def parameters(head, n: int, dtype=torch.float64) -> torch.Tensor:
    """Of all sizes, far beyond what a network gives."""
    size = torch.logspace(-2, 3, n, dtype=dtype)[:, None]
    return size * torch.randn(n, head.num_params, dtype=dtype)


@DTYPES
@pytest.mark.parametrize(
    "head", [*INTERVALS, LogisticMixtureHead(2, 10), GaussianHead(10)], ids=label
)
def test_probabilities_of_all_levels_sum_to_one(head, dtype):
    x, params = levels(head, dtype), parameters(head, 100, dtype)
    log_prob = head.log_prob(x.expand(100, len(x)), params[:, None].expand(-1, len(x), -1))
    assert log_prob.isfinite().all()
    bound = 1e-11 if dtype == torch.float64 else 1e-5
    torch.testing.assert_close(
        log_prob.exp().sum(-1), torch.ones(100, dtype=dtype), atol=bound, rtol=0
    )


def exact(head, x: float, params: torch.Tensor) -> float:
    """The log-mass with as many digits as it takes."""
    mpmath.mp.dps = 60
    half = mpmath.mpf(head.width) / 2
    if isinstance(head, GaussianHead):
        mean, log_scale = (float(p) for p in head.gaussian(params))
        parts = [(0.0, mean, log_scale)]

        def below(z):
            # Φ by its complement: mpmath's ncdf loses the tail.
            return mpmath.erfc(-z / mpmath.sqrt(2)) / 2
    else:
        unpacked = [part.tolist() for part in head.unpack(params)]
        parts = list(zip(*unpacked, strict=True))

        def below(z):
            return 1 / (1 + mpmath.exp(-z))

    total = mpmath.mpf(0)
    for log_weight, mean, log_scale in parts:
        u = (mpmath.mpf(x) + half - mean) / mpmath.exp(log_scale)
        v = (mpmath.mpf(x) - half - mean) / mpmath.exp(log_scale)
        if x >= head.highest:
            mass = below(-v)
        elif x <= -1:
            mass = below(u)
        elif v > 0:
            mass = below(-v) - below(-u)
        else:
            mass = below(u) - below(v)
        total += mpmath.exp(log_weight) * mass
    return float(mpmath.log(total))


@DTYPES
@pytest.mark.parametrize("head", [LogisticMixtureHead(2, 16), GaussianHead(16)], ids=label)
def test_log_masses_are_exact_in_the_middle_and_in_far_tails(head, dtype):
    generator = torch.Generator().manual_seed(4)
    for size in (0.1, 1.0, 5.0, 30.0):
        params = size * torch.randn(head.num_params, generator=generator, dtype=torch.float64)
        params = params.to(dtype)
        for x in (-1.0, -0.75, -(2.0**-15), 0.0, 0.1, 0.999, head.highest):
            x = round(x * 2**15) / 2**15
            found = head.log_prob(torch.tensor(x, dtype=dtype), params).item()
            wide = exact(head, x, params.double())
            # Rounded parameters in float32: a part in 10⁶ of z, squared by a Gaussian's tail.
            bound = 1e-10 if dtype == torch.float64 else 1e-5
            assert abs(found - wide) <= bound * (1 + abs(wide)), (size, x, found, wide)


@pytest.mark.parametrize("head", [LogisticMixtureHead(3, 6), GaussianHead(6)], ids=label)
def test_between_levels_it_is_defined_and_differentiable(head):
    x = torch.linspace(-0.97, 0.93, 50, dtype=torch.float64, requires_grad=True)
    params = torch.randn(50, head.num_params, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(head.log_prob, (x, params))
    assert torch.autograd.gradcheck(head.log_density, (x, params))
    assert head.reparameterized is False and head.discrete is False


@pytest.mark.parametrize("head", [LogisticMixtureHead(3, 6), GaussianHead(6)], ids=label)
def test_gradients_are_finite_at_every_parameter(head):
    x = levels(head, torch.float32).repeat(200)
    params = parameters(head, len(x), torch.float32).requires_grad_()
    gradient = torch.autograd.grad(head.log_prob(x, params).sum(), params)[0]
    assert gradient.isfinite().all()


@pytest.mark.parametrize("head", [LogisticMixtureHead(3, 16), GaussianHead(16)], ids=label)
def test_the_density_is_what_the_intervals_weigh(head):
    x = torch.linspace(-0.5, 0.5, 30, dtype=torch.float64)
    params = 0.5 * torch.randn(30, head.num_params, dtype=torch.float64)
    mass = head.log_density(x, params) + math.log(head.width)
    torch.testing.assert_close(head.log_prob(x, params), mass, atol=1e-4, rtol=1e-5)
    many = torch.linspace(-40, 40, 400_001, dtype=torch.float64)
    density = head.log_density(many, params[0].expand(len(many), -1)).exp()
    assert abs(float(torch.trapezoid(density, many)) - 1) < 1e-3


def test_a_gaussian_says_what_it_is():
    head, params = GaussianHead(), torch.randn(9, 2, dtype=torch.float64)
    mean, log_scale = head.gaussian(params)
    x = torch.randn(9, dtype=torch.float64)
    expected = torch.distributions.Normal(mean, log_scale.exp()).log_prob(x)
    torch.testing.assert_close(head.log_density(x, params), expected)


@pytest.mark.parametrize("head", [LogisticMixtureHead(2), GaussianHead()], ids=label)
def test_scales_are_bounded(head):
    extreme = torch.tensor([1e6, -1e6])[:, None].expand(2, head.num_params)
    log_scale = head.unpack(extreme)[2] if isinstance(head, LogisticMixtureHead) else None
    log_scale = head.gaussian(extreme)[1] if log_scale is None else log_scale[:, 0]
    reach = (log_scale - math.log(MIDDLE_SCALE * head.unit)).abs()
    assert (reach <= LOG_SCALE_BOUND).all() and (reach > 0.99 * LOG_SCALE_BOUND).all()


@pytest.mark.parametrize("head", [LogisticMixtureHead(3, 6), GaussianHead(6)], ids=label)
def test_coarser_levels_have_the_mass_of_those_around_them(head):
    """Of four fine intervals' width, three lie within it and five reach beyond."""
    params = torch.randn(head.num_params, dtype=torch.float64)
    coarse = head.coarser(2)
    assert (coarse.bits, head.bits, coarse.width) == (4, 6, 4 * head.width)
    x = levels(coarse)
    log_prob = coarse.log_prob(x, params.expand(len(x), -1))
    torch.testing.assert_close(log_prob.exp().sum(), torch.ones((), dtype=torch.float64))
    middle, fine = x[8], head.width * torch.arange(-2, 3, dtype=torch.float64)
    each = head.log_prob(middle + fine, params.expand(5, -1)).exp()
    within = each[1:4].sum() < log_prob[8].exp() < each.sum()
    assert within, "not the interval around the level"


def test_unused_bits():
    levels = torch.tensor([[0, 256, -512, 32512]], dtype=torch.int16)
    assert unused_bits(levels / 2**15, 16) == 8
    assert unused_bits(torch.tensor([0.5, 3 * 2.0**-15]), 16) == 0
    assert unused_bits(torch.tensor([-1.0, 1.0]), 16) == 15
    assert unused_bits(torch.zeros(4), 16) == 15
    assert unused_bits(torch.tensor([0.5, 1e-7]), 16) == 0
    assert unused_bits(torch.tensor([0.5, 2.0**-15]), 20) == 4


@pytest.mark.parametrize("head", [*INTERVALS, MuLawHead(16)], ids=label)
def test_samples_follow_the_probabilities(head):
    n = 20_000
    params = torch.randn(head.num_params, dtype=torch.float64)
    drawn = head.sample(params.expand(n, -1), 1.0, torch.Generator().manual_seed(5))
    if isinstance(head, MuLawHead):
        places = mu_law_encode(drawn, head.levels)
        expected = params.softmax(-1)
    else:
        assert torch.equal(drawn, head.to_levels(drawn)), "not at levels"
        assert drawn.min() >= -1 and drawn.max() <= head.highest
        places = ((drawn + 1) / head.width).round().long()
        x = levels(head)
        expected = head.log_prob(x, params.expand(len(x), -1)).exp()
    counts = torch.bincount(places, minlength=len(expected)).double()
    often = expected * n > 5
    assert counts[~often].sum() <= n * expected[~often].sum() + 40
    seen, wanted = counts[often], expected[often] * n
    p = stats.chisquare(seen.numpy(), (wanted * seen.sum() / wanted.sum()).numpy()).pvalue
    assert len(seen) == 1 or p > FALSE_ALARM


@pytest.mark.parametrize("head", [LogisticMixtureHead(1), GaussianHead(), MuLawHead(16)], ids=label)
def test_temperature_zero_gives_the_mode(head):
    params = torch.randn(50, head.num_params)
    cold = head.sample(params, 0.0, None)
    assert torch.equal(cold, head.sample(params, 0.0, None))
    warm = head.sample(params.expand(400, 50, -1), 0.5, None)
    hot = head.sample(params.expand(400, 50, -1), 2.0, None)
    assert (warm - cold).abs().mean() < (hot - cold).abs().mean()


@DTYPES
def test_codes_have_the_probabilities_of_a_softmax(dtype):
    head = MuLawHead(256)
    codes = torch.arange(256)
    params = torch.randn(256, dtype=dtype)
    x = mu_law_decode(codes).to(dtype)
    log_prob = head.log_prob(x, params.expand(256, -1))
    torch.testing.assert_close(log_prob, params.log_softmax(-1))
    assert head.discrete
    assert head.log_prob(torch.tensor([float("nan")], dtype=dtype), params[None]).isnan().all()


@pytest.mark.parametrize(
    "head", [LogisticMixtureHead(3, 6), GaussianHead(6), MuLawHead(9)], ids=label
)
def test_distributions_are_the_heads(head):
    params = torch.randn(4, 1, 7, head.num_params)
    distribution = head.distribution(params)
    assert distribution.batch_shape == (4, 1, 7) and distribution.event_shape == ()
    x = distribution.sample((5,))
    assert x.shape == (5, 4, 1, 7)
    expected = head.log_prob(x, params.expand(5, *params.shape))
    assert torch.equal(distribution.log_prob(x), expected)
    assert distribution.expand((3, 4, 1, 7)).sample().shape == (3, 4, 1, 7)
    with pytest.raises(ValueError, match="within the support"):
        HeadDistribution(head, params, validate_args=True).log_prob(torch.full((4, 1, 7), 1.5))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: LogisticMixtureHead(0), "components must be positive, got 0"),
        (lambda: LogisticMixtureHead(3, 0), "bits must be a whole number from 1 to 24, got 0"),
        (lambda: GaussianHead(25), "bits must be a whole number from 1 to 24, got 25"),
        (lambda: MuLawHead(1), "levels must be 2 or more, got 1"),
    ],
)
def test_options_are_checked(build, message):
    with pytest.raises(ValueError, match=message):
        build()


@pytest.mark.parametrize("head", [LogisticMixtureHead, GaussianHead, MuLawHead])
def test_what_derives_from_a_head_is_not_drawn_as_that_head_in_c(head):
    derived = type("Derived", (head,), {})
    assert head().in_c() is not None
    assert derived().in_c() is None
