"""The logistic mixture: against its formula, in its tails, and started from data."""

import pytest
import torch

from diffeo.scalars import LogisticMixture


def plain(x, params, mixture):
    """z by the formula, without a thought for tails."""
    k = mixture.components
    logits, mean, raw, outer, shift = params.split([k, k, k, 1, 1], -1)
    scale = (raw / (1 + raw.abs() / 12)).exp()
    u = (x[..., None] - mean - mixture.offsets.double()) / scale
    cdf = (logits.softmax(-1) * u.sigmoid()).sum(-1)
    bound = mixture.outer_log_scale_bound
    outer = outer[..., 0] / (1 + outer[..., 0].abs() / bound)
    return cdf.logit() * outer.exp() + shift[..., 0]


def test_is_its_formula():
    mixture = LogisticMixture(5)
    x = torch.randn(300, dtype=torch.float64).requires_grad_()
    params = torch.randn(300, mixture.num_params, dtype=torch.float64)
    z, ladj = mixture(x, params)
    expected = plain(x, params, mixture)
    torch.testing.assert_close(z, expected, rtol=1e-9, atol=1e-9)
    slope = torch.autograd.grad(expected.sum(), x)[0]
    torch.testing.assert_close(ladj, slope.log(), rtol=1e-8, atol=1e-8)


def test_tails_are_straight_lines():
    """Far out the widest component alone is left: z′ = eᵃ / s."""
    mixture = LogisticMixture(3)
    params = torch.randn(40, mixture.num_params)
    widest = (params[:, 6:9] / (1 + params[:, 6:9].abs() / 12)).amax(-1)
    outer = params[:, 9] / (1 + params[:, 9].abs() / mixture.outer_log_scale_bound)
    for x in (-1e6, 1e6):
        _, ladj = mixture(torch.full((40,), x), params)
        torch.testing.assert_close(ladj, outer - widest, rtol=1e-5, atol=1e-5)


def test_near_zero_keeps_its_digits():
    """A wide component has a tiny logit around its mean, which is known relative to itself."""
    mixture = LogisticMixture(1)
    params = torch.tensor([0.0, 0.0, 100.0, 0.0, 0.0])
    x = torch.logspace(-6, 1, 50)
    z, _ = mixture(x, params)
    exact, _ = mixture(x.double(), params.double())
    torch.testing.assert_close(z.double(), exact, rtol=1e-5, atol=0)


def quantized(levels: int, n: int = 4000):
    """Dequantized levels, some more frequent than others, through a logit."""
    kept = torch.tensor([0.5, 0.0, 0.1, 0.4]).repeat_interleave((levels + 3) // 4)[:levels]
    level = torch.multinomial(kept, n, replacement=True)
    return torch.logit(0.01 + 0.98 * (level + torch.rand(n)) / levels)


def nats(mixture, params, x):
    z, ladj = mixture(x, params)
    log_logistic = torch.nn.functional.logsigmoid(z) + torch.nn.functional.logsigmoid(-z)
    return -(log_logistic + ladj).mean()


@pytest.mark.parametrize("levels", [17, 256])
def test_starts_near_the_data(levels):
    """After `params_from_data` F(x) is nearly uniform, and the likelihood beats a logistic's."""
    mixture = LogisticMixture(20)
    x = quantized(levels)
    params = mixture.params_from_data(x)
    uniform = mixture(x, params)[0].sigmoid().sort().values
    assert (uniform - (torch.arange(4000) + 0.5) / 4000).abs().max() < 0.06
    single = LogisticMixture(1)
    logistic = torch.tensor([0.0, x.mean(), 0.0, 0.0, 0.0])
    logistic[2] = (x.std() / 1.8138).log()
    assert nats(mixture, params, x) < nats(single, logistic, x) - 0.1


def test_narrow_components():
    """Scales of 5e-4 are within the bound, and inverted as any other."""
    centres = torch.tensor([-1.0, 0.0, 2.0])
    x = torch.cat([centre + 1e-3 * torch.randn(200) for centre in centres])
    mixture = LogisticMixture(3)
    log_scale = torch.full((3,), 5.5e-4).log()
    raw = log_scale / (1 - log_scale.abs() / mixture.log_scale_bound)
    params = torch.cat([torch.zeros(3), centres - mixture.offsets, raw, torch.zeros(2)])
    # Three normals of deviation 1e-3 have entropy log 3 + ½ log 2πe − log 1000.
    assert nats(mixture, params, x) < -4.39 + 0.05
    back, _ = mixture.inverse(mixture(x, params)[0], params)
    torch.testing.assert_close(back, x, rtol=1e-5, atol=1e-6)


def test_data_without_width_give_finite_parameters():
    mixture = LogisticMixture(4)
    columns = [torch.zeros(50), torch.full((50,), 1e4), torch.randn(50), torch.arange(50) % 2 * 1.0]
    columns.append(torch.tensor([0.0] * 49 + [1e8]))
    params = mixture.params_from_data(torch.stack(columns, -1))
    assert params.shape == (5, mixture.num_params) and params.isfinite().all()
    x = torch.stack(columns, -1)
    z, ladj = mixture(x, params)
    assert z.isfinite().all() and ladj.isfinite().all()


def test_data_keep_their_shape():
    mixture = LogisticMixture(3)
    assert mixture.params_from_data(torch.randn(10, 2, 3)).shape == (2, 3, mixture.num_params)
    assert mixture.params_from_data(torch.randn(1)).shape == (mixture.num_params,)
    with pytest.raises(ValueError, match="rows"):
        mixture.params_from_data(torch.randn(0, 3))


def test_refuses():
    with pytest.raises(ValueError, match="components"):
        LogisticMixture(0)
