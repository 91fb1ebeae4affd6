"""Rational-quadratic splines: against nflows, at knots and ends, and what constructors refuse."""

import math

import pytest
import torch
from nflows.transforms.splines.rational_quadratic import (
    rational_quadratic_spline,
    unconstrained_rational_quadratic_spline,
)
from torch.nn.functional import softplus

from diffeo.scalars import RationalQuadraticSpline

# nflows' derivative parameter is ours plus what makes a derivative 1 of our 0.
OFFSET = math.log(math.expm1(1 - 1e-3))


def parts(spline, params):
    k = spline.bins
    return params[:, :k], params[:, k : 2 * k], params[:, 2 * k :] + OFFSET


@pytest.mark.parametrize("inverse", [False, True], ids=["forward", "inverse"])
@pytest.mark.parametrize("bins", [2, 8])
def test_linear_tails_agree_with_nflows(inverse, bins):
    spline = RationalQuadraticSpline(bins=bins, bound=2.5)
    x = 2 * torch.randn(500, dtype=torch.float64)
    params = 2 * torch.randn(500, spline.num_params, dtype=torch.float64)
    expected = unconstrained_rational_quadratic_spline(
        x, *parts(spline, params), inverse=inverse, tail_bound=2.5
    )
    found = (spline.inverse if inverse else spline.forward)(x, params)
    torch.testing.assert_close(found[0], expected[0], rtol=0, atol=1e-10)
    torch.testing.assert_close(found[1], expected[1], rtol=0, atol=1e-10)


@pytest.mark.parametrize("inverse", [False, True], ids=["forward", "inverse"])
def test_bounded_agrees_with_nflows(inverse):
    spline = RationalQuadraticSpline(bins=6, tails="bounded", lower=-0.5, upper=3.0)
    x = 3.5 * torch.rand(500, dtype=torch.float64) - 0.5
    params = 2 * torch.randn(500, spline.num_params, dtype=torch.float64)
    ends = {"left": -0.5, "right": 3.0, "bottom": -0.5, "top": 3.0}
    expected = rational_quadratic_spline(x, *parts(spline, params), inverse=inverse, **ends)
    found = (spline.inverse if inverse else spline.forward)(x, params)
    torch.testing.assert_close(found[0], expected[0], rtol=0, atol=1e-10)
    torch.testing.assert_close(found[1], expected[1], rtol=0, atol=1e-10)


@pytest.mark.parametrize("tails", ["linear", "bounded", "circular"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_knots_go_to_knots(tails, dtype):
    """Each knot, the neighbours of each in the dtype, and the ends."""
    spline = RationalQuadraticSpline(bins=7, tails=tails)
    params = 3 * torch.randn(30, 1, spline.num_params, dtype=dtype)
    knots_x, knots_z, _, raw = spline._knots(params.double())
    exact_x, exact_z = knots_x[:, 0], knots_z[:, 0]
    x, infinity = exact_x.to(dtype), torch.tensor(math.inf, dtype=dtype)
    for near in (x, torch.nextafter(x, infinity), torch.nextafter(x, -infinity)):
        near = near.clamp(spline.lower, spline.upper)
        close = 4 * torch.finfo(dtype).eps * spline.upper * 1e3 + 1e3 * (near - exact_x).abs()
        found, ladj = spline.forward(near, params)
        back, ladj_back = spline.inverse(found, params)
        assert ((found - exact_z).abs() <= close).all()
        assert ((back - near).abs() <= 1e3 * close).all() and ladj_back.isfinite().all()
        # Rounding carries π beyond the end of the circle.
        there = near.double().clamp(spline.lower, spline.upper) if tails != "linear" else near
        _, exact = spline.define(there.double(), params.double())
        torch.testing.assert_close(ladj, exact.to(dtype), rtol=2e-6, atol=2e-6)
    found, ladj = spline.forward(exact_x, params.double())
    assert torch.equal(found[:, :-1], exact_z[:, :-1])
    torch.testing.assert_close(found, exact_z)
    expected = (1e-3 + softplus(raw[:, 0] + OFFSET)).log().expand_as(ladj)
    torch.testing.assert_close(ladj, expected, rtol=1e-4, atol=1e-5)


def test_outside_is_the_identity():
    spline = RationalQuadraticSpline(bound=1.0)
    x = torch.tensor([-1e30, -1.0001, 1.0001, 5.0, math.inf])
    for function in (spline.forward, spline.inverse):
        z, ladj = function(x, torch.randn(5, spline.num_params))
        assert torch.equal(z, x) and torch.equal(ladj, torch.zeros(5))


def test_circle_closes():
    """Both ends are one point, with one derivative."""
    spline = RationalQuadraticSpline(tails="circular")
    assert spline.domain.circular and (spline.lower, spline.upper) == (-math.pi, math.pi)
    params = torch.randn(20, 1, spline.num_params)
    z, ladj = spline.forward(torch.tensor([-math.pi, math.pi]), params)
    torch.testing.assert_close(ladj[:, 0], ladj[:, 1])
    # π in float32 is beyond the circle's end, and counts as the end.
    exact = spline.define(torch.tensor([-math.pi], dtype=torch.float64), params.double())[1]
    torch.testing.assert_close(ladj[:, :1], exact.float())
    assert not spline.domain.outside(z).any()


def test_bins_have_their_least_size():
    spline = RationalQuadraticSpline(bins=8, tails="bounded")
    knots_x, knots_z, slopes, _ = spline._knots(100 * torch.randn(50, spline.num_params))
    assert knots_x.diff().min() > 0.99e-3 and knots_z.diff().min() > 0.99e-3
    assert slopes.isfinite().all()


@pytest.mark.parametrize(
    "options",
    [
        {"bins": 0},
        {"bins": 1000},
        {"tails": "cubic"},
        {"bound": -1.0},
        {"bound": math.inf},
        {"lower": 0.0},
        {"tails": "bounded", "bound": 1.0},
        {"tails": "bounded", "lower": 1.0, "upper": 1.0},
    ],
    ids=str,
)
def test_refuses(options):
    with pytest.raises(ValueError, match="RationalQuadraticSpline"):
        RationalQuadraticSpline(**options)
