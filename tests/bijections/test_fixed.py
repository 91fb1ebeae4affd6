"""What is special to the fixed elementwise maps: precision at the ends, declared sets, refusals."""

import copy
import math

import pytest
import torch

from diffeo.bijections.chain import Chain
from diffeo.bijections.fixed import (
    Exp,
    FixedAffine,
    LeakyReLU,
    Log,
    Logit,
    Rescale,
    Sigmoid,
    Softplus,
    Tanh,
)
from diffeo.bijections.halfline import SoftLog
from diffeo.supports import LINE, POSITIVE, UNIT, Support
from tests.properties.checks import check_inverse_gradients, check_ladj, close

TO_THE_LINE = [Log(), Log(3.0), Logit(), Logit(-5.0, 0.0), Logit(0.0, 256.0, alpha=0.05)]
FROM_THE_LINE = [Exp(), Exp(-2.0), Softplus(), Sigmoid(), Sigmoid(-1.0, 3.0), Tanh()]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("bijection", FROM_THE_LINE, ids=repr)
def test_saturated_values_stay_inside_and_come_back_finite(bijection, dtype):
    """Rounding never reaches an end of an open codomain, whatever the input."""
    x = torch.tensor([-1e4, -200.0, -30.0, 30.0, 200.0, 1e4], dtype=dtype)
    z, ladj = bijection(x)
    assert not bijection.codomain.outside(z).any()
    assert z.isfinite().all() and ladj.isfinite().all()
    back, back_ladj = bijection.inverse(z)
    assert back.isfinite().all() and back_ladj.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("bijection", TO_THE_LINE, ids=repr)
def test_ends_and_beyond_are_finite(bijection, dtype):
    lower, upper = bijection.domain.lower, min(bijection.domain.upper, 1e30)
    x = torch.tensor([lower - 1, lower, upper, upper + 1], dtype=dtype, requires_grad=True)
    z, ladj = bijection(x)
    assert z.isfinite().all() and ladj.isfinite().all()
    assert torch.autograd.grad(z.sum() + ladj.sum(), x)[0].isfinite().all()


def test_sigmoid_of_saturated_float32_gives_the_nearest_number():
    ones = torch.ones(1)
    assert Sigmoid()(40 * ones)[0] == torch.nextafter(ones, 0 * ones)
    assert Tanh()(-40 * ones)[0] == -torch.nextafter(ones, 0 * ones)
    assert Sigmoid().inverse(ones)[0] == pytest.approx(16.635532, rel=1e-6)
    assert Sigmoid().inverse(0 * ones)[0] == pytest.approx(-103.27893, rel=1e-6)
    assert Tanh().inverse(ones)[0] == pytest.approx(8.664340, rel=1e-6)


def test_softplus_is_exact_beyond_the_threshold_of_torch():
    x = torch.tensor([25.0, 40.0, -40.0, -700.0], dtype=torch.float64)
    exact = [25 + math.log1p(math.exp(-25)), 40.0, math.exp(-40), math.exp(-700)]
    exact = torch.tensor(exact, dtype=torch.float64)
    assert torch.allclose(Softplus()(x)[0], exact, rtol=1e-15, atol=0)
    back, _ = Softplus().inverse(exact)
    close(back, x, 1e-14, "inverse of softplus")


@pytest.mark.parametrize("p", [1e-30, 1e-10, 0.3, 0.5, 1 - 1e-10])
def test_logit_in_float64(p):
    z, ladj = Logit()(torch.tensor(p, dtype=torch.float64))
    assert z.item() == pytest.approx(math.log(p) - math.log1p(-p), rel=1e-14, abs=1e-15)
    assert ladj.item() == pytest.approx(-math.log(p) - math.log1p(-p), rel=1e-14)


def test_logit_of_a_wide_interval_is_precise_in_its_middle():
    x = torch.tensor([145.70, -18.1284, 3.0])
    z, _ = Logit(-1e4, 1e4)(x)
    exact, _ = Logit(-1e4, 1e4)(x.double())
    # A few roundings of numbers near 1; the two logarithms, near 9, would be rounded to 1e-6.
    assert (z - exact).abs().max() < 2.5e-7


@pytest.mark.parametrize(
    "bijection", [Log(0.1), Logit(alpha=0.05), SoftLog((), lower=0.1), SoftLog((), upper=-0.3)]
)
def test_digits_beside_an_end_that_float32_does_not_hold(bijection):
    for end in (bijection.domain.lower, bijection.domain.upper):
        if math.isfinite(end):
            inward = math.inf if end == bijection.domain.lower else -math.inf
            x = torch.nextafter(torch.tensor(end), torch.tensor(inward))
            exact = copy.deepcopy(bijection).double()(x.double())
            for found, wanted in zip(bijection(x), exact, strict=True):
                torch.testing.assert_close(found, wanted.float(), rtol=1e-6, atol=1e-6)


def test_a_soft_logarithm_reads_its_end_as_the_nearest_number_inside():
    for lower in (0.0, -1.0):
        soft_log = SoftLog(1, lower=lower)
        soft_log.scale.fill_(3.0)
        end = torch.tensor([lower])
        inside = torch.nextafter(end, end + 1)
        exact = (3 * ((inside.double() - lower) / 3).log()).float()
        for x in (end - 1, end, inside):
            torch.testing.assert_close(soft_log(x)[0], exact, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("bijection", [Logit(), Logit(-3.0, 3.0), Logit(0.0, 10.0, alpha=0.1)])
def test_gradient_where_both_ends_are_equally_far(bijection):
    middle = (bijection.domain.lower + bijection.domain.upper) / 2
    x = torch.tensor([middle], dtype=torch.float64)
    check_ladj(bijection, x, bound=1e-14)
    check_ladj(bijection, torch.zeros(1, dtype=torch.float64), bound=1e-14, inverse=True)
    check_inverse_gradients(bijection, x, bound=1e-12)


def test_squeezed_logit_is_that_of_realnvp():
    alpha, x = 0.05, torch.tensor([0.0, 3.0, 128.0, 256.0], dtype=torch.float64)
    squeezed = alpha + (1 - 2 * alpha) * x / 256
    z, ladj = Logit(0.0, 256.0, alpha=alpha)(x)
    close(z, squeezed.logit(), 1e-12, "z")
    slope = -(squeezed * (1 - squeezed)).log() + math.log((1 - 2 * alpha) / 256)
    close(ladj, slope, 1e-12, "ladj")


def test_squeezed_logit_declares_the_interval_that_it_maps_onto_the_line():
    logit = Logit(0.0, 256.0, alpha=0.05)
    width = logit.domain.upper - logit.domain.lower
    assert logit.codomain == LINE and logit.domain.lower < 0 and logit.domain.upper > 256
    # The density of a standard logistic latent integrates to 1 over the declared domain.
    x = logit.domain.lower + width * (torch.arange(20000, dtype=torch.float64) + 0.5) / 20000
    z, ladj = logit(x)
    density = torch.sigmoid(z) * torch.sigmoid(-z) * ladj.exp()
    assert (density.mean() * width).item() == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("lower, upper", [(-3.0, 2.0), (0.1, 0.7), (1e6, 1e6 + 3), (0.0, 1e-6)])
def test_rescale_takes_ends_to_ends(lower, upper):
    rescale = Rescale(lower, upper)
    ends = torch.tensor([lower, upper])
    assert torch.equal(rescale(ends)[0], torch.tensor([0.0, 1.0]))
    assert torch.equal(rescale.inverse(torch.tensor([0.0, 1.0]))[0], ends)
    assert not rescale.domain.outside(rescale.inverse(torch.linspace(0, 1, 1000))[0]).any()


def test_fixed_affine_moves_its_domain():
    below_five = FixedAffine(-1.0, 5.0, Support(upper=5.0))
    assert below_five.codomain == POSITIVE
    x = torch.tensor([4.0, -2.0])
    z, _ = Chain(below_five, Log())(x.unsqueeze(-1))
    assert torch.allclose(z.squeeze(-1), (5 - x).log())
    assert FixedAffine(2.0, 1.0, UNIT).codomain == Support(1.0, 3.0, closed=True)
    assert FixedAffine(2.0).codomain == LINE


def test_leaky_relu():
    x = torch.tensor([-2.0, 0.0, 3.0])
    z, ladj = LeakyReLU(0.25)(x)
    assert torch.equal(z, torch.tensor([-0.5, 0.0, 3.0]))
    assert torch.equal(ladj, torch.tensor([math.log(0.25), 0.0, 0.0]))


def test_chain_from_a_closed_interval_to_the_line_and_back():
    x = torch.tensor([[12.0, 40.0], [64.0, 99.0]], dtype=torch.float64)
    chain = Chain(Rescale(10.0, 100.0), Logit())
    assert chain.domain == Support(10.0, 100.0, closed=True) and chain.codomain == LINE
    z, ladj = chain(x)
    assert ladj.shape == x.shape
    close(z, Logit(10.0, 100.0)(x)[0], 1e-12, "the two together")
    close(chain.inverse(z)[0], x, 1e-12, "back")


@pytest.mark.parametrize(
    "build, message",
    [
        (lambda: Logit(1.0, 0.0), "lower < upper"),
        (lambda: Logit(0.0, math.inf), "finite"),
        (lambda: Logit(alpha=0.5), "alpha"),
        (lambda: Sigmoid(2.0, 2.0), "lower < upper"),
        (lambda: Exp(math.nan), "finite"),
        (lambda: Log(-math.inf), "finite"),
        (lambda: LeakyReLU(0.0), "slope"),
        (lambda: FixedAffine(0.0), "scale"),
        (lambda: FixedAffine(1.0, 0.0, Support(0.0, 3.0, integer=True)), "domain"),
        (lambda: Rescale(3.0, 3.0), "lower < upper"),
        (lambda: Chain(Exp(), Logit()), "lives on"),
    ],
)
def test_refuses(build, message):
    with pytest.raises(ValueError, match=message):
        build()
