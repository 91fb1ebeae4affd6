"""Sum-of-squares polynomials: against the exact integral, beyond the bound, at the least slope."""

import numpy as np
import pytest
import torch
from numpy.polynomial import Polynomial

from diffeo.scalars import SumOfSquares


def exact(x, params, scalar):
    """z by expanding the squares and integrating powers (numpy), for x and μ inside the bound."""
    raw = params[1:].reshape(scalar.polynomials, scalar.degree + 1)
    coefficients = (raw / (1 + raw.abs() / 10) + scalar.offsets.double()).numpy()
    powers = scalar.bound ** -np.arange(scalar.degree + 1.0)
    squares = sum(Polynomial(row * powers) ** 2 for row in coefficients)
    integral = (1e-3 + (1 - 1e-3) * squares).integ()
    return integral(x) - integral(params[0].item())


@pytest.mark.parametrize(("degree", "polynomials"), [(0, 1), (1, 2), (4, 3), (6, 1)])
def test_is_the_exact_integral(degree, polynomials):
    scalar = SumOfSquares(degree, polynomials, bound=4.0)
    for _ in range(5):
        params = torch.randn(scalar.num_params, dtype=torch.float64)
        params[0].clamp_(-4, 4)
        x = torch.linspace(-4, 4, 21, dtype=torch.float64)
        expected = torch.from_numpy(exact(x.numpy(), params, scalar))
        torch.testing.assert_close(scalar(x, params)[0], expected, rtol=1e-11, atol=1e-11)


def test_continues_with_its_last_slope():
    scalar = SumOfSquares(bound=2.0)
    params = torch.randn(30, 1, scalar.num_params, dtype=torch.float64)
    x = torch.tensor([-52.0, -2.0, 2.0, 52.0], dtype=torch.float64)
    z, ladj = scalar(x, params)
    torch.testing.assert_close(ladj[:, 0], ladj[:, 1])
    torch.testing.assert_close(ladj[:, 3], ladj[:, 2])
    torch.testing.assert_close(z[:, 1] - z[:, 0], 50 * ladj[:, 1].exp(), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(z[:, 3] - z[:, 2], 50 * ladj[:, 2].exp(), rtol=1e-9, atol=1e-9)


def test_shift_is_the_root():
    scalar = SumOfSquares(bound=2.0)
    params = torch.randn(9, scalar.num_params)
    params[:, 0] = torch.linspace(-5, 5, 9)
    z, _ = scalar(params[:, 0], params)
    assert torch.equal(z, torch.zeros(9))


def test_slope_has_its_bounds():
    scalar = SumOfSquares(degree=2, polynomials=2)
    params = 1e6 * torch.randn(500, scalar.num_params)
    params[:100, 1:] = -1 / (1 - 0.1)  # the constant of the first polynomial becomes 0
    _, ladj = scalar(torch.randn(500), params)
    most = 2 * (3 * 11.0) ** 2
    assert (ladj >= np.log(1e-3) - 1e-5).all() and (ladj.exp() <= most).all()


def test_every_coefficient_has_a_gradient_at_the_start():
    """A polynomial that starts at zero would never leave it, and equal ones would stay equal."""
    scalar = SumOfSquares()
    params = torch.zeros(100, scalar.num_params).requires_grad_()
    scalar(torch.randn(100), params)[1].sum().backward()
    per_polynomial = params.grad[:, 1:].sum(0).reshape(3, 5)
    assert (per_polynomial.abs() > 0).all()
    assert torch.linalg.matrix_rank(per_polynomial) == 3


@pytest.mark.parametrize(
    "options",
    [{"degree": -1}, {"polynomials": 0}, {"bound": 0.0}, {"bound": float("inf")}],
    ids=str,
)
def test_refuses(options):
    with pytest.raises(ValueError, match="SumOfSquares"):
        SumOfSquares(**options)
