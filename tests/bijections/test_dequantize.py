"""What is special to dequantization: levels come back exactly, and probabilities are bounded."""

import math

import pytest
import torch

from diffeo.bases import Normal
from diffeo.bijections.chain import Chain
from diffeo.bijections.dequantize import Dequantize
from diffeo.bijections.fixed import Logit
from diffeo.bijections.normalization import Standardize
from diffeo.density import Flow
from diffeo.noise import fixed_noise
from diffeo.supports import LINE, Support
from tests.properties.tracing import check_compiles, check_vmaps


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("levels", [2, 17, 256, 65536])
def test_every_level_comes_back(levels, dtype):
    dequantize = Dequantize(levels, 1).to(dtype)
    x = torch.arange(levels, dtype=dtype).unsqueeze(-1)
    for _ in range(20):
        v, ladj = dequantize(x)
        assert (v >= x).all() and (v < x + 1).all() and (v > 0).all()
        back, back_ladj = dequantize.inverse(v)
        assert torch.equal(back, x)
        assert not ladj.any() and not back_ladj.any()


@pytest.mark.parametrize("noise", [2.0**-25, 1 - 2.0**-24])
@pytest.mark.parametrize("levels", [2, 256, 65536, (2, 7, 256, 65536), (3, 10, 100, 1000)])
def test_every_level_comes_back_with_the_extremes_of_the_noise(levels, noise, monkeypatch):
    """The least and the largest draw in float32, which rounding carries to the next level."""
    monkeypatch.setattr(
        "diffeo.bijections.dequantize.uniform_noise", lambda x, _: torch.full_like(x, noise)
    )
    dequantize = Dequantize(levels, 4)
    counts = torch.as_tensor(levels).expand(4)
    x = torch.arange(int(counts.max())).unsqueeze(-1).clamp(max=counts - 1).float()
    v, _ = dequantize(x)
    assert (v >= 0).all() and (v < counts.max()).all()
    assert torch.equal(dequantize.inverse(v)[0], x)


def test_noise_is_uniform_and_independent():
    v, _ = Dequantize(4, 2)(torch.full((20000, 2), 2.0))
    u = v - 2
    # Six standard errors: a false alarm in 1e-8 of seeds, and the seed is fixed.
    assert (u.mean(0) - 0.5).abs().max() < 6 * math.sqrt(1 / 12 / 20000)
    assert (u.var(0) - 1 / 12).abs().max() < 6 * math.sqrt(1 / 180 / 20000)
    assert torch.corrcoef(u.mT)[0, 1].abs() < 6 / math.sqrt(20000)


def test_levels_of_each_element_fill_the_same_interval():
    dequantize = Dequantize((2, 4), 2).double()
    assert dequantize.codomain == Support(0.0, 4.0)
    assert dequantize.domain.same_set(Support(0.0, 3.0, integer=True))
    x = torch.tensor([[0.0, 0.0], [1.0, 3.0]], dtype=torch.float64)
    v, ladj = dequantize(x)
    assert ((v / torch.tensor([2.0, 1.0])).floor() == x).all()
    assert torch.allclose(ladj, torch.full((2,), math.log(2)).double())
    assert torch.allclose(dequantize.inverse(v)[1], -ladj)
    assert dequantize(torch.tensor([2.0, 0.0]).double())[1] == -math.inf


def test_inverse_gives_the_nearest_level_beyond_them():
    v = torch.tensor([[-7.0, -0.001], [0.0, 2.999], [3.0, 1e9], [1.5, 2.0]])
    x, ladj = Dequantize(3, 2).inverse(v)
    assert torch.equal(x, torch.tensor([[0.0, 0.0], [0.0, 2.0], [2.0, 2.0], [1.0, 2.0]]))
    assert not ladj.any()


def test_probabilities_of_all_levels_sum_to_one():
    """Under a density on the interval, Σ_x E_u p(x + u) = 1; here the mean over many draws."""
    flow = Flow(Normal((1,)), Chain(Dequantize(5, 1), Logit(0.0, 5.0)))
    assert not flow.exact and flow.support.integer
    x = torch.arange(5).float().unsqueeze(-1)
    total = flow.log_prob(x, samples=2000).exp().sum()
    # A tenth of it would be 30 standard errors off.
    assert total.item() == pytest.approx(1, abs=0.02)
    samples = flow.sample(100)
    assert torch.equal(samples, samples.round()) and samples.min() >= 0 and samples.max() <= 4
    assert flow.log_prob(torch.tensor([[5.0], [0.5]])).tolist() == [-math.inf, -math.inf]


def test_a_wider_codomain_lets_maps_of_the_line_follow():
    squeezed = Logit(0.0, 8.0, alpha=0.05)
    for flow in (
        Chain(Dequantize(8, 2, LINE), Standardize(2)),
        Chain(Dequantize(8, 2, squeezed.domain), squeezed),
    ):
        x = torch.tensor([[0.0, 7.0], [3.0, 4.0]])
        assert torch.equal(flow.inverse(flow(x)[0])[0], x)
        assert flow.domain.integer and flow.codomain == LINE and flow.stochastic


def test_fixed_noise_gives_a_row_the_same_score_in_any_company():
    flow = Flow(Normal((3,)), Chain(Dequantize(9, 3), Logit(0.0, 9.0)))
    x = torch.randint(0, 9, (6, 3)).float()
    with fixed_noise(5):
        together = flow.log_prob(x, samples=3)
    with fixed_noise(5):
        backwards = flow.log_prob(x.flip(0), samples=3).flip(0)
    alone = []
    for row in x:
        with fixed_noise(5):
            alone.append(flow.log_prob(row, samples=3))
    assert torch.equal(together, backwards)
    assert torch.allclose(together, torch.stack(alone), rtol=1e-6)
    with fixed_noise(6):
        assert not torch.equal(flow.log_prob(x, samples=3), together)
    assert not torch.equal(flow.log_prob(x), flow.log_prob(x))


def test_traced():
    dequantize = Dequantize(4, 3)
    x = torch.randint(0, 4, (5, 3)).float()
    check_compiles(dequantize, x, bound=0)
    check_compiles(dequantize.inverse, dequantize(x)[0], bound=0)
    check_vmaps(dequantize, x, bound=0, stochastic=True)
    with fixed_noise(0):
        expected = dequantize(x)[0]
    with fixed_noise(0):
        assert torch.equal(torch.vmap(dequantize)(x)[0], expected)


def test_options_alone_make_it_up():
    assert not Dequantize((2, 3), 2).state_dict()


@pytest.mark.parametrize(
    "build",
    [
        lambda: Dequantize(1, 3),
        lambda: Dequantize((2, 0), 2),
        lambda: Dequantize((2, 3), 3),
        lambda: Dequantize(2.5, 3),
        lambda: Dequantize(8, 3, Support(0.0, 4.0)),
        lambda: Dequantize(8, 3, Support(0.0, 8.0, integer=True)),
    ],
)
def test_refuses(build):
    with pytest.raises(ValueError, match="Dequantize"):
        build()
