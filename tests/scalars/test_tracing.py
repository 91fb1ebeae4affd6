"""Scalar maps under compile, vmap and jacrev, and gradients of the inverse."""

import pytest
import torch

from tests.conftest import TYPECHECK
from tests.scalars.maps import MAPS

every = pytest.mark.parametrize("name", MAPS)
directions = pytest.mark.parametrize("inverse", [False, True], ids=["forward", "inverse"])


def setting(name, inverse, dtype=torch.float64, n=6):
    scalar = MAPS[name]()
    params = torch.randn(n, scalar.num_params, dtype=dtype)
    low, high = max(scalar.domain.lower, -2.0), min(scalar.domain.upper, 2.0)
    x = low + (high - low) * torch.rand(n, dtype=dtype)
    return (scalar.inverse if inverse else scalar.forward), x, params


@every
@directions
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.skipif(TYPECHECK, reason="run-time type checks can't be traced")
def test_compiles_whole(name, inverse, dtype):
    function, x, params = setting(name, inverse, dtype)
    torch._dynamo.reset()
    compiled = torch.compile(function, fullgraph=True, backend="eager")
    tolerance = 1e-5 if dtype == torch.float32 else 1e-12
    for found, expected in zip(compiled(x, params), function(x, params), strict=True):
        torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)


@every
@directions
def test_vmaps(name, inverse):
    function, x, params = setting(name, inverse)
    one_by_one = torch.vmap(function)(x, params)
    shared = torch.vmap(function, in_dims=(0, None))(x, params[0])
    for i, expected in enumerate(function(x, params)):
        torch.testing.assert_close(one_by_one[i], expected, rtol=1e-12, atol=1e-12)
        same = function(x, params[0].expand_as(params))[i]
        torch.testing.assert_close(shared[i], same, rtol=1e-12, atol=1e-12)


@every
@directions
def test_jacrev_is_autograd(name, inverse):
    function, x, params = setting(name, inverse, n=3)
    for position in (0, 1):
        jacobian = torch.func.jacrev(lambda *a: function(*a)[0].sum(), argnums=position)(x, params)
        arguments = [x.clone().requires_grad_(), params.clone().requires_grad_()]
        gradient = torch.autograd.grad(function(*arguments)[0].sum(), arguments[position])[0]
        torch.testing.assert_close(jacobian, gradient, rtol=1e-9, atol=1e-11)


@every
def test_gradients_of_the_inverse_by_differences(name):
    """Of x and of its log-derivative, in z and in the parameters."""
    function, z, params = setting(name, True, n=4)
    z, params = z.requires_grad_(), params.requires_grad_()
    close = {"eps": 1e-6, "atol": 1e-5, "rtol": 1e-4}
    assert torch.autograd.gradcheck(function, (z, params), **close, fast_mode=True)
    assert torch.func.vmap(torch.func.grad(lambda *a: function(*a)[1]))(z, params).isfinite().all()


@every
def test_gradients_of_the_inverse_are_those_of_forward(name):
    """dx/dz = 1/f′ and dx/dθ = −(∂f/∂θ)/f′, at x = f⁻¹(z)."""
    inverse, z, params = setting(name, True)
    scalar = inverse.__self__
    z, params = z.requires_grad_(), params.requires_grad_()
    x, ladj = inverse(z, params)
    of_inverse = torch.autograd.grad(x.sum(), (z, params))
    value, log_slope = scalar.forward(x.detach(), params)
    slope = log_slope.exp().detach()
    (of_forward,) = torch.autograd.grad((value / slope).sum(), params)
    torch.testing.assert_close(of_inverse[0], 1 / slope, rtol=1e-8, atol=1e-9)
    torch.testing.assert_close(of_inverse[1], -of_forward, rtol=1e-8, atol=1e-9)
    torch.testing.assert_close(ladj, -log_slope, rtol=1e-9, atol=1e-9)


@every
@directions
def test_rows_do_not_see_each_other(name, inverse):
    function, x, params = setting(name, inverse, torch.float32, n=50)
    alone = torch.stack([function(x[i], params[i])[0] for i in range(50)])
    torch.testing.assert_close(alone, function(x, params)[0], rtol=2e-6, atol=2e-6)
