"""The spline's fast ways against its definition: values, gradients, and their gradients."""

import pytest
import torch
from torch.autograd import forward_ad, grad, gradcheck, gradgradcheck

from diffeo.scalars import RationalQuadraticSpline
from diffeo.scalars import spline as module
from diffeo.scalars.spline_operator import spline_operator


def setting(bins: int, scale: float, shape=(40, 7), dtype=torch.float64):
    spline = RationalQuadraticSpline(bins=bins, bound=2.5)
    x = 2 * torch.randn(*shape, dtype=dtype)
    x.view(-1)[:6] = torch.tensor([0.0, 2.5, -2.5, 2.6, -40.0, 1e30])
    params = scale * torch.randn(*shape, spline.num_params, dtype=dtype)
    return spline, x.requires_grad_(), params.requires_grad_()


def rows_last(params: torch.Tensor) -> torch.Tensor:
    """The same numbers, with the rows of the batch last in memory."""
    return params.permute(1, 2, 0).contiguous().permute(2, 0, 1)


@pytest.mark.parametrize("layout", [lambda p: p, rows_last], ids=["rows first", "rows last"])
@pytest.mark.parametrize("scale", [0.0, 1.0, 10.0])
@pytest.mark.parametrize("bins", [1, 2, 8])
def test_value_and_gradients_are_those_of_the_definition(bins, scale, layout):
    spline, x, params = setting(bins, scale)
    params = layout(params.detach()).requires_grad_()
    found, expected = spline(x, params), spline.define(x, params)
    weights = [torch.randn_like(z) for z in found]
    ours, theirs = (grad(out, (x, params), weights) for out in (found, expected))
    for got, want in zip((*found, *ours), (*expected, *theirs), strict=True):
        torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("layout", [lambda p: p, rows_last], ids=["rows first", "rows last"])
@pytest.mark.parametrize("scale", [0.0, 1.0, 10.0])
@pytest.mark.parametrize("bins", [1, 2, 8])
def test_inverse_is_that_of_the_definition(bins, scale, layout):
    spline, z, params = setting(bins, scale)
    params = layout(params.detach())
    found, expected = spline.inverse(z.detach(), params), spline.define_inverse(z, params)
    for got, want in zip(found, expected, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-9)
    outside = z.abs() > 2.5
    assert torch.equal(found[0][outside], z[outside])
    assert not found[1][outside].any()


def test_one_gradient_alone():
    spline, x, params = setting(5, 1.0)
    for wanted in (x, params):
        fixed = [t if t is wanted else t.detach() for t in (x, params)]
        (ours,) = grad(spline(*fixed)[0].sum(), wanted)
        (theirs,) = grad(spline.define(*fixed)[0].sum(), wanted)
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("shape", [(), (0,), (9,), (2, 3, 4)])
def test_any_shape(shape):
    spline = RationalQuadraticSpline(bins=4)
    x = torch.randn(shape).requires_grad_()
    params = torch.randn(*shape, spline.num_params).requires_grad_()
    for got, want in zip(spline(x, params), spline.define(x, params), strict=True):
        torch.testing.assert_close(got, want, rtol=2e-5, atol=2e-5)
        assert got.shape == x.shape
    assert grad(spline(x, params)[0].sum(), params)[0].shape == params.shape


@pytest.mark.parametrize("wanted", [(0,), (1,), (0, 1)], ids=["x", "params", "both"])
def test_gradients_have_gradients_and_come_in_batches(wanted):
    spline = RationalQuadraticSpline(bins=3)
    x = torch.tensor([-3.5, -1.0, 0.3, 2.0], dtype=torch.float64)
    inputs = [x, torch.randn(4, spline.num_params, dtype=torch.float64)]
    inputs = [t.requires_grad_(i in wanted) for i, t in enumerate(inputs)]
    assert gradcheck(spline, inputs, check_batched_grad=True)
    assert gradgradcheck(spline, inputs)


@pytest.mark.parametrize("way", ["forward", "inverse"])
def test_derivatives_forward(way):
    spline, x, params = setting(4, 1.0)
    fast, tangent = getattr(spline, way), torch.randn_like(x)
    expected = grad(fast(x, params)[0].sum(), x)[0] * tangent
    with forward_ad.dual_level():
        dual = forward_ad.make_dual(x.detach(), tangent)
        found = forward_ad.unpack_dual(fast(dual, params.detach())[0]).tangent
    torch.testing.assert_close(found, expected)


def test_what_comes_out_may_be_changed_in_place():
    spline, x, params = setting(4, 1.0)
    (expected,) = grad(spline(x, params)[0].sum(), x)
    z, ladj = spline(x, params)
    with torch.no_grad():
        ladj.mul_(0)
    assert torch.equal(grad(z.sum(), x)[0], expected)
    spline(x, params)[1].mul_(2).sum().backward()


@pytest.mark.parametrize("layout", [lambda p: p, rows_last], ids=["rows first", "rows last"])
def test_what_is_not_finite_outside_stays_there(layout):
    spline, x, params = setting(4, 1.0)
    with torch.no_grad():
        params[x.abs() > 2.5] = torch.inf
    params = layout(params.detach()).requires_grad_()
    z, ladj = spline(x, params)
    assert z.isfinite().all() and ladj.isfinite().all() and z.is_contiguous()
    weight = torch.where(x.abs() > 2.5, torch.inf, 1.0)
    of_x, of_params = grad(ladj, (x, params), weight)
    inside = x.abs() <= 2.5
    assert of_x[inside].isfinite().all() and of_params[inside].isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_precision_takes_the_definition(dtype):
    spline, x, params = setting(8, 1.0, dtype=torch.float32)
    x, params = x.detach().clamp(-5, 5).to(dtype), params.detach().to(dtype)
    z, _ = spline(x, params)
    assert z.dtype == dtype
    exact, _ = spline.define(x.double(), params.double())
    torch.testing.assert_close(z, exact.to(dtype))


@pytest.mark.parametrize("scale", [1.0, 10.0, 30.0])
def test_in_float32_it_is_exact_to_rounding(scale):
    spline, x, params = setting(8, scale, (5_000,), torch.float32)
    exact = [t.detach().double().requires_grad_() for t in (x, params)]
    weights = torch.randn(2, 5_000)

    def everything(function, inputs):
        out = function(*inputs)
        grads = grad(out, inputs, [w.to(out[0].dtype) for w in weights])
        return [t.detach().double() for t in (*out, *grads)]

    found, truth = everything(spline.forward, (x, params)), everything(spline.define, exact)
    for got, true in zip(found, truth, strict=True):
        known = true.abs() < 1e10
        assert (got - true)[known].norm() <= 2e-6 * true[known].norm()


def test_the_fast_map_is_what_runs(monkeypatch):
    """Eagerly with parameters an element each; broadcast ones, and traces, take the definition."""
    spline, x, params = setting(4, 1.0)
    monkeypatch.setattr(module.SplineForward, "apply", lambda *_: ("fast", "fast"))
    assert spline(x, params) == ("fast", "fast")
    assert spline(x, params[0])[0].shape == x.shape
    assert torch.func.vmap(spline)(x, params)[0].shape == x.shape
    circular = RationalQuadraticSpline(bins=4, tails="circular")
    inside = x.detach().clamp(-3, 3)
    assert circular(inside, torch.zeros(40, 7, circular.num_params, dtype=x.dtype))[0].shape
    monkeypatch.setattr(module, "spline_inverse", lambda *_: ("fast", "fast"))
    assert spline.inverse(x, params)[0].requires_grad
    with torch.no_grad():
        assert spline.inverse(x, params) == ("fast", "fast")


@pytest.mark.parametrize("layout", [lambda p: p, rows_last], ids=["rows first", "rows last"])
def test_the_operator_is_what_compilers_are_told_of_it(layout):
    spline, x, params = setting(8, 1.0)
    params = layout(params.detach()).requires_grad_()
    torch.library.opcheck(spline_operator, (x, params, spline.bins, spline.upper))
    found = spline_operator(x, params, spline.bins, spline.upper)[:2]
    expected = spline(x, params)
    weights = [torch.randn_like(z) for z in expected]
    ours, theirs = (grad(out, (x, params), weights) for out in (found, expected))
    for got, want in zip((*found, *ours), (*expected, *theirs), strict=True):
        torch.testing.assert_close(got, want)


def test_recorded_gradients_where_parameters_are_made_of_x():
    """As in every autoregressive flow: derivatives of derivatives need the partial ones."""
    spline, x, _ = setting(4, 1.0, shape=(5, 3))
    x = x.detach().clamp(-3, 3).requires_grad_()
    mix = torch.randn(3, spline.num_params, dtype=torch.float64)

    def value():
        z, ladj = spline(x, (x[..., None] * mix).sin())
        return z.sum() + ladj.sum()

    torch.testing.assert_close(grad(value(), x, create_graph=True), grad(value(), x))
