"""Every scalar map by itself: increasing, invertible, differentiable, the identity at zero."""

import pytest
import torch

from tests.catalogue import SCALARS
from tests.properties.checks import close
from tests.properties.draws import points
from tests.tolerances import tolerance

every = pytest.mark.parametrize("case", SCALARS, ids=lambda case: case.name)
N = 200


def drawn(scalar, support, dtype=torch.float64, scale=1.0):
    x = points(support, (N,), dtype, spread=2.0)
    generator = torch.Generator().manual_seed(3)
    return x, scale * torch.randn(
        N, scalar.num_params, generator=generator, dtype=torch.float64
    ).to(dtype)


@every
def test_holds_no_weights(case):
    assert not list(case.build().parameters())


@every
@pytest.mark.parametrize("inverse", [False, True], ids=["forward", "inverse"])
def test_log_derivative(case, inverse):
    scalar = case.build().double()
    x, params = drawn(scalar, scalar.codomain if inverse else scalar.domain)
    x.requires_grad_()
    z, ladj = (scalar.inverse if inverse else scalar.forward)(x, params)
    slope = torch.autograd.grad(z.sum(), x)[0]
    assert (slope > 0).all(), "not increasing"
    close(ladj, slope.log(), tolerance("ladj", case.name, torch.float64), "log dz/dx")


@every
def test_gradients_in_the_parameters_agree_between_directions(case):
    """x = τ⁻¹(τ(x; θ); θ) whatever θ, so that its derivative in θ is 0, and in x 1."""
    scalar = case.build().double()
    x, params = drawn(scalar, scalar.domain)
    x.requires_grad_()
    params.requires_grad_()
    back, _ = scalar.inverse(scalar.forward(x, params)[0], params)
    in_x, in_params = torch.autograd.grad(back.sum(), (x, params))
    bound = tolerance("inverse_gradient", case.name, torch.float64)
    close(in_x, torch.ones_like(x), bound, "gradient in x")
    close(in_params, torch.zeros_like(params), bound, "gradient in the parameters")


@every
def test_derivatives_by_differences(case):
    """Gradients of value and log-derivative in x and θ against central differences."""
    scalar = case.build().double()
    x, params = drawn(scalar, scalar.domain)
    x, params = x[:5].requires_grad_(), params[:5].requires_grad_()
    assert torch.autograd.gradcheck(scalar.forward, (x, params), eps=1e-6, atol=1e-5)


@every
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_parameters_broadcast(case, dtype):
    scalar = case.build().to(dtype)
    x, params = drawn(scalar, scalar.domain, dtype)
    x = x.reshape(20, 10)
    for inverse in (False, True):
        function = scalar.inverse if inverse else scalar.forward
        for shape in ((), (10,), (20, 1)):
            few = params[: max(1, torch.Size(shape).numel())].reshape(*shape, -1)
            z, ladj = function(x, few)
            every_z, every_ladj = function(x, few.expand(20, 10, -1))
            assert z.shape == ladj.shape == x.shape and z.dtype == ladj.dtype == dtype
            bound = tolerance("same_numbers", case.name, dtype)
            close(z, every_z, bound, "broadcast parameters")
            close(ladj, every_ladj, bound, "ladj with broadcast parameters")


@every
def test_identity_at_zero(case):
    """To 1e-3, the mixtures' spread; the others to rounding."""
    scalar = case.build().double()
    if not scalar.domain.same_set(scalar.codomain):
        pytest.skip("lands on another set than it starts from")
    x, params = drawn(scalar, scalar.domain)
    z, ladj = scalar.forward(x, torch.zeros_like(params))
    close(z, x, 1e-3, "z at zero parameters")
    close(ladj, torch.zeros_like(x), 1e-3, "ladj at zero parameters")


@every
def test_values_stay_in_the_codomain(case):
    scalar = case.build()
    x, params = drawn(scalar, scalar.domain, torch.float32, scale=10.0)
    z, _ = scalar.forward(x, params)
    assert not scalar.codomain.outside(z).any()
    back, _ = scalar.inverse(z, params)
    assert not scalar.domain.outside(back).any()
