"""Deep sigmoidal maps: against the formula, against the logistic mixture, and their symmetry."""

import pytest
import torch

from diffeo.scalars import DeepSigmoid, LogisticMixture


def plain(x, params, scalar):
    """z by the paper's formula, in probabilities."""
    n, h = scalar.units, x[..., None]
    skew, offsets, bound = scalar.skew.double(), scalar.offsets.double(), scalar.log_scale_bound
    for i in range(scalar.layers):
        first, last = i == 0, i == scalar.layers - 1
        sizes = [0 if first else n * n, n, n, n if last else n * n]
        mix, raw, shift, weight = params[..., : sum(sizes)].split(sizes, -1)
        params = params[..., sum(sizes) :]
        if not first:
            h = ((mix.unflatten(-1, (n, n)) + skew).softmax(-1) @ h[..., None])[..., 0]
        p = (raw / (1 + raw.abs() / bound)).exp() * h + shift + offsets
        weight = weight.unflatten(-1, (-1, n)) + (0 if last else skew)
        h = (weight.softmax(-1) @ p.sigmoid()[..., None])[..., 0].logit()
    assert params.shape[-1] == 0
    return h[..., 0]


@pytest.mark.parametrize(("units", "layers"), [(1, 1), (5, 1), (4, 2), (3, 4), (1, 2)])
def test_is_its_formula(units, layers):
    scalar = DeepSigmoid(units, layers)
    x = torch.randn(200, dtype=torch.float64).requires_grad_()
    params = torch.randn(200, scalar.num_params, dtype=torch.float64)
    z, ladj = scalar(x, params)
    expected = plain(x, params, scalar)
    torch.testing.assert_close(z, expected, rtol=1e-8, atol=1e-8)
    slope = torch.autograd.grad(expected.sum(), x)[0]
    torch.testing.assert_close(ladj, slope.log(), rtol=1e-7, atol=1e-7)


def test_one_layer_is_a_logistic_mixture():
    """w σ(a x + b) is the mixture with s = 1/a, μ = −b/a."""
    scalar, mixture = DeepSigmoid(units=4), LogisticMixture(4)
    x = torch.randn(100, dtype=torch.float64)
    raw, shift, weight = torch.randn(3, 100, 4, dtype=torch.float64)
    log_a = raw / (1 + raw.abs() / scalar.log_scale_bound)
    mean = -(shift + scalar.offsets.double()) * (-log_a).exp() - mixture.offsets.double()
    log_scale = -log_a / (1 - log_a.abs() / mixture.log_scale_bound)
    rest = torch.zeros(100, 2, dtype=torch.float64)
    one = scalar(x, torch.cat([raw, shift, weight], -1))
    other = mixture(x, torch.cat([weight, mean, log_scale, rest], -1))
    torch.testing.assert_close(one[0], other[0], rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(one[1], other[1], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_starts_at_the_identity_without_symmetry(layers):
    """To 1e-3 everywhere; no two units of a layer have the same gradients."""
    scalar = DeepSigmoid(units=6, layers=layers)
    x = torch.cat([torch.randn(200), 1e3 * torch.randn(50)]).double()
    params = torch.zeros(250, scalar.num_params, dtype=torch.float64).requires_grad_()
    z, ladj = scalar(x, params)
    assert (z - x).abs().max() < 1e-3 and ladj.abs().max() < 1e-3
    weights = torch.randn(250, dtype=torch.float64)
    gradient = torch.autograd.grad((weights * (z + ladj)).sum(), params)[0].sum(0)
    for part, sizes in zip(
        gradient.split([sum(s) for s in scalar._sizes]), scalar._sizes, strict=True
    ):
        _, of_scale, of_shift, _ = part.split(sizes)
        for values in (of_scale, of_shift):
            gaps = (values[:, None] - values).abs() + torch.eye(6)
            assert gaps.min() > 1e-9 * values.abs().max()


def test_number_of_parameters():
    assert DeepSigmoid(units=16).num_params == 48
    assert DeepSigmoid(units=4, layers=3).num_params == (4 + 4 + 16) + (16 + 8 + 16) + (16 + 8 + 4)


@pytest.mark.parametrize("options", [{"units": 0}, {"layers": 0}], ids=str)
def test_refuses(options):
    with pytest.raises(ValueError, match="DeepSigmoid"):
        DeepSigmoid(**options)
