"""Mixtures of sigmoids: the fast way beside the definition, gradients included."""

import pytest
import torch
from torch.autograd import grad, gradcheck, gradgradcheck

from diffeo.scalars.sigmoids import SigmoidMixture, defined_mixture, sigmoid_mixture


def arguments(dtype, scale=1.0, shape=(40, 5)):
    generator = torch.Generator().manual_seed(0)
    u, weight, slope = scale * torch.randn(3, *shape, generator=generator, dtype=torch.float64)
    parts = (u.double(), weight.double().log_softmax(-1), slope.to(dtype))
    return tuple(part.clone().requires_grad_() for part in parts)


def total(outputs):
    y, ladj = outputs
    weights = torch.linspace(-1, 2, len(y), dtype=y.dtype)
    return (y * weights).sum() + (ladj.double() * weights.flip(0)).sum()


@pytest.mark.parametrize("dtype, bound", [(torch.float32, 1e-5), (torch.float64, 1e-12)])
@pytest.mark.parametrize("scale", [1.0, 30.0])
def test_it_is_what_is_defined(dtype, bound, scale):
    inputs = arguments(dtype, scale)
    found, expected = sigmoid_mixture(*inputs), defined_mixture(*inputs)
    for got, want, kind in zip(found, expected, (torch.float64, dtype), strict=True):
        assert got.dtype == want.dtype == kind
        torch.testing.assert_close(got, want, rtol=bound, atol=bound)
    for got, want in zip(grad(total(found), inputs), grad(total(expected), inputs), strict=True):
        assert got.dtype == want.dtype
        torch.testing.assert_close(got, want, rtol=bound, atol=bound)


def test_derivatives_are_those_of_the_values():
    inputs = arguments(torch.float64, shape=(3, 4))
    assert gradcheck(SigmoidMixture.apply, inputs)
    assert gradgradcheck(SigmoidMixture.apply, inputs)


def test_one_argument_may_serve_many_mixtures():
    u, weight, slope = arguments(torch.float64, shape=(6, 4))
    shared = (u[:, None], weight[None], slope[:, None])
    found, expected = sigmoid_mixture(*shared), defined_mixture(*shared)
    inputs = (u, weight, slope)
    assert found[0].shape == (6, 6)
    for got, want in zip(grad(total(found), inputs), grad(total(expected), inputs), strict=True):
        torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-12)


def test_many_gradients_at_once():
    inputs = arguments(torch.float64, shape=(3, 4))
    y, _ = sigmoid_mixture(*inputs)
    each = torch.eye(3, dtype=torch.float64)
    together = grad(y, inputs[0], each, retain_graph=True, is_grads_batched=True)[0]
    for row, direction in zip(together, each, strict=True):
        torch.testing.assert_close(row, grad(y, inputs[0], direction, retain_graph=True)[0])


@torch.no_grad()
def test_plateaus_beside_zero_keep_their_digits():
    """F is ½ + 1e-9 between two clusters: what is left of y there tells where x is."""
    u = torch.tensor([[20.0, -20.0], [20.1, -19.9], [19.9, -20.1]], dtype=torch.float64)
    half = torch.full((3, 2), 0.5, dtype=torch.float64).log()
    y, _ = sigmoid_mixture(u, half, torch.zeros(3, 2))
    tails = torch.sigmoid(-u[:, 0]), torch.sigmoid(u[:, 1])
    torch.testing.assert_close(y, 2 * (tails[1] - tails[0]), rtol=1e-5, atol=1e-16)


def test_less_is_kept_for_the_backward_pass():
    def kept(function):
        sizes = {}

        def keep(tensor):
            sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        inputs = arguments(torch.float32, shape=(1_000, 8))
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            outputs = function(*inputs)
        return sum(sizes.values()), outputs

    fast, plain = kept(sigmoid_mixture)[0], kept(defined_mixture)[0]
    assert fast < 0.6 * plain, f"{fast:,} and {plain:,} bytes"


def test_recorded_gradients_where_one_argument_is_made_of_another():
    (u, _, _) = arguments(torch.float64, shape=(6, 4))

    def value():
        return total(sigmoid_mixture(u, u.cos().log_softmax(-1), u.sin()))

    torch.testing.assert_close(grad(value(), u, create_graph=True), grad(value(), u))
