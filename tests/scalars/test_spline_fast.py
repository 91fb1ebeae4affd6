"""The spline's fast ways against its definition: values, gradients, and their gradients.

In float32 the kernel in C runs, in float64 the operations over planes.
"""

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd import forward_ad, grad, gradcheck, gradgradcheck

from diffeo.scalars import RationalQuadraticSpline, spline_kernel
from diffeo.scalars import spline as module
from diffeo.scalars.spline_fast import spline_operator


def setting(bins: int, scale: float, shape=(40, 7), dtype=torch.float64):
    spline = RationalQuadraticSpline(bins=bins, bound=2.5)
    x = 2 * torch.randn(*shape, dtype=dtype)
    x.view(-1)[:6] = torch.tensor([0.0, 2.5, -2.5, 2.6, -40.0, 1e30])
    params = scale * torch.randn(*shape, spline.num_params, dtype=dtype)
    return spline, x.requires_grad_(), params.requires_grad_()


def rows_last(params: torch.Tensor) -> torch.Tensor:
    """The same numbers, with the rows of the batch last in memory."""
    return params.permute(1, 2, 0).contiguous().permute(2, 0, 1)


def parameters_apart(params: torch.Tensor) -> torch.Tensor:
    """The same numbers, each row's parameter by parameter, as autoregressive networks give them."""
    return params.transpose(1, 2).contiguous().transpose(1, 2)


def with_gaps(params: torch.Tensor) -> torch.Tensor:
    """The same numbers, every second one in memory."""
    return params.repeat_interleave(2, dim=-1)[..., ::2]


LAYOUTS = [lambda p: p, rows_last, parameters_apart, with_gaps]
layouts = pytest.mark.parametrize("layout", LAYOUTS, ids=["plain", "rows last", "apart", "gaps"])
dtypes = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["kernel", "planes"])
CLOSE = {torch.float32: 2e-6, torch.float64: 1e-9}


def assert_close(got: torch.Tensor, want: torch.Tensor) -> None:
    """As close as their dtype allows, NaN being NaN."""
    bound = CLOSE[got.dtype]
    torch.testing.assert_close(got, want, rtol=bound, atol=bound, equal_nan=True)


@pytest.fixture(autouse=True)
def kernel():
    """Without the kernel the tests in float32 would be of other code."""
    if not spline_kernel._is_built():
        pytest.skip("there is no C compiler")


@dtypes
@layouts
@pytest.mark.parametrize("scale", [0.0, 1.0, 10.0])
@pytest.mark.parametrize("bins", [1, 2, 8])
def test_value_and_gradients_are_those_of_the_definition(bins, scale, layout, dtype):
    spline, x, params = setting(bins, scale, dtype=dtype)
    params = layout(params.detach()).requires_grad_()
    found, expected = spline(x, params), spline.define(x, params)
    weights = [torch.randn_like(z) for z in found]
    ours, theirs = (grad(out, (x, params), weights) for out in (found, expected))
    for got, want in zip((*found, *ours), (*expected, *theirs), strict=True):
        assert_close(got, want)


@dtypes
@layouts
@pytest.mark.parametrize("scale", [0.0, 1.0, 10.0])
@pytest.mark.parametrize("bins", [1, 2, 8])
def test_inverse_is_that_of_the_definition(bins, scale, layout, dtype):
    spline, z, params = setting(bins, scale, dtype=dtype)
    params = layout(params.detach())
    found, expected = spline.inverse(z.detach(), params), spline.define_inverse(z, params)
    for got, want in zip(found, expected, strict=True):
        assert_close(got, want)
    outside = z.abs() > 2.5
    assert torch.equal(found[0][outside], z[outside])
    assert not found[1][outside].any()


@dtypes
def test_one_gradient_alone(dtype):
    spline, x, params = setting(5, 1.0, dtype=dtype)
    for wanted in (x, params):
        fixed = [t if t is wanted else t.detach() for t in (x, params)]
        (ours,) = grad(spline(*fixed)[0].sum(), wanted)
        (theirs,) = grad(spline.define(*fixed)[0].sum(), wanted)
        assert_close(ours, theirs)


@dtypes
@pytest.mark.parametrize("shape", [(), (0,), (9,), (1, 9), (9, 1), (2, 3, 4), (2, 3, 4, 5)])
def test_any_shape_however_it_lies(shape, dtype):
    """Dimensions of x and of its parameters in every order in memory; also the same ones often."""
    spline = RationalQuadraticSpline(bins=4)
    x, params = torch.randn(shape), torch.randn(*shape, spline.num_params)
    orders = [[(i + turn) % len(shape) for i in range(len(shape))] for turn in range(len(shape))]
    for order in orders or [[]]:
        back = [order.index(i) for i in range(len(order))]
        x_there = x.permute(order).contiguous().permute(back).to(dtype).requires_grad_()
        there = params.movedim(-1, 0).permute(0, *(i + 1 for i in order)).contiguous()
        there = there.permute(0, *(i + 1 for i in back)).movedim(0, -1).to(dtype)
        repeated = there[:1].expand_as(there) if shape else there
        for given in (there, repeated):
            given = given.requires_grad_()
            found, expected = spline(x_there, given), spline.define(x_there, given)
            ours, theirs = (
                grad(out[0].sum() + out[1].sum(), given)[0] for out in (found, expected)
            )
            for got, want in zip((*found, ours), (*expected, theirs), strict=True):
                assert_close(got, want)


def test_more_elements_than_a_thread_takes():
    spline, x, params = setting(8, 1.0, shape=(700, 13), dtype=torch.float32)
    many = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        found, expected = spline(x, params), spline.define(x, params)
        ours, theirs = (grad(out[0].sum() + out[1].sum(), params)[0] for out in (found, expected))
    finally:
        torch.set_num_threads(many)
    for got, want in zip((*found, ours), (*expected, theirs), strict=True):
        assert_close(got, want)


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


@dtypes
def test_what_comes_out_may_be_changed_in_place(dtype):
    spline, x, params = setting(4, 1.0, dtype=dtype)
    (expected,) = grad(spline(x, params)[0].sum(), x)
    z, ladj = spline(x, params)
    with torch.no_grad():
        ladj.mul_(0)
    assert torch.equal(grad(z.sum(), x)[0], expected)
    spline(x, params)[1].mul_(2).sum().backward()


@dtypes
@layouts
def test_what_is_not_finite_outside_stays_there(layout, dtype):
    spline, x, params = setting(4, 1.0, dtype=dtype)
    with torch.no_grad():
        params[x.abs() > 2.5] = torch.inf
    params = layout(params.detach()).requires_grad_()
    z, ladj = spline(x, params)
    assert z.isfinite().all() and ladj.isfinite().all() and z.is_contiguous()
    weight = torch.where(x.abs() > 2.5, torch.inf, 1.0)
    of_x, of_params = grad(ladj, (x, params), weight)
    inside = x.abs() <= 2.5
    assert of_x[inside].isfinite().all() and of_params[inside].isfinite().all()


@dtypes
@pytest.mark.parametrize("way", ["forward", "inverse"])
def test_what_is_no_number_is_none_afterwards(way, dtype):
    """NaN in a place shows in that place, whether in x or in a parameter."""
    spline = RationalQuadraticSpline(bins=3)
    x = torch.linspace(-2.9, 2.9, spline.num_params + 2, dtype=dtype)
    params = torch.zeros(len(x), spline.num_params, dtype=dtype)
    params.fill_diagonal_(torch.nan)
    x[-2:] = torch.tensor([torch.nan, torch.inf])
    definition = spline.define if way == "forward" else spline.define_inverse
    with torch.no_grad():
        found, expected = getattr(spline, way)(x, params), definition(x, params)
    for got, want in zip(found, expected, strict=True):
        assert_close(got, want)


@dtypes
def test_derivatives_that_are_least(dtype):
    """A parameter of −∞ is a derivative's lower end, and no NaN."""
    spline, x, params = setting(4, 1.0, dtype=dtype)
    with torch.no_grad():
        params[..., 2 * spline.bins :] = -torch.inf
        for way in ("forward", "inverse"):
            definition = spline.define if way == "forward" else spline.define_inverse
            found, expected = getattr(spline, way)(x, params), definition(x, params)
            for got, want in zip(found, expected, strict=True):
                assert_close(got, want)


@dtypes
@pytest.mark.parametrize("more", [-2, 2])
def test_parameters_of_another_number_of_bins_are_refused(more, dtype):
    """What the kernel would read, and write gradients, beyond the end of."""
    spline = RationalQuadraticSpline(bins=8)
    x, params = torch.zeros(5, dtype=dtype), torch.zeros(5, spline.num_params + more, dtype=dtype)
    for way in (spline, spline.inverse):
        with pytest.raises(ValueError, match=f"8 bins take 23 parameters .* got {23 + more}"):
            way(x, params)
    with pytest.raises(ValueError, match="8 bins take 23"):
        spline_operator(x, params, 8, 3.0, dtype == torch.float32)


def test_the_kernel_refuses_what_does_not_fit():
    """An operator can be called with anything."""
    spline, x, params = setting(8, 1.0)
    for given in ((x, params), (x.float()[1:], params.float())):
        with pytest.raises(ValueError, match="spline_forward: expected float32 on a CPU"):
            spline_operator(*given, spline.bins, spline.upper, True)


@pytest.mark.parametrize("which", [0, 1], ids=["x", "params"])
def test_numbers_to_be_negated_when_read(which):
    """Imaginary parts of conjugates lie in memory with the other sign."""
    spline, *given = setting(4, 1.0, dtype=torch.float32)
    given = [t.detach() for t in given]
    lazy = torch.complex(given[which], -given[which]).conj().imag
    assert lazy.is_neg() and torch.equal(lazy, given[which])
    expected = spline.define(*given), spline.define_inverse(*given)
    given[which] = lazy
    for found, want in zip((spline(*given), spline.inverse(*given)), expected, strict=True):
        assert_close(found[0], want[0])
        assert_close(found[1], want[1])


def test_tensors_without_memory_do_not_reach_the_kernel():
    """Wrappers, as of distributed tensors, and zeros that nobody has written down."""
    spline, x, params = setting(4, 1.0, dtype=torch.float32)
    assert not spline_kernel.is_at_hand(FakeTensorMode().from_tensor(x.detach()), params)
    assert spline_kernel.is_at_hand(torch.nn.Parameter(x.detach()), params)
    zero = torch._efficientzerotensor(x.shape)  # type: ignore[attr-defined]
    assert_close(spline(zero, params)[0], spline.define(zero, params)[0])
    z, ladj = spline(x, params)
    (found,) = grad((z, ladj), params, (zero, torch.ones_like(x)))
    assert_close(found, grad(spline.define(x, params)[1].sum(), params)[0])


def test_gradients_lie_where_their_parameters_do():
    with torch.device("meta"):
        assert spline_kernel.empty_parameters(torch.zeros(3, 5, device="cpu")).device.type == "cpu"


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_precision_takes_the_definition(dtype):
    spline, x, params = setting(8, 1.0, dtype=torch.float32)
    x, params = x.detach().clamp(-5, 5).to(dtype), params.detach().to(dtype)
    z, _ = spline(x, params)
    assert z.dtype == dtype
    exact, _ = spline.define(x.double(), params.double())
    torch.testing.assert_close(z, exact.to(dtype))


@pytest.mark.parametrize("in_kernel", [True, False], ids=["kernel", "planes"])
@pytest.mark.parametrize("scale", [1.0, 10.0, 30.0])
def test_in_float32_it_is_exact_to_rounding(scale, in_kernel, monkeypatch):
    monkeypatch.setattr(spline_kernel, "_is_built", lambda: in_kernel)
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


@dtypes
@layouts
def test_the_operator_is_what_compilers_are_told_of_it(layout, dtype):
    spline, x, params = setting(8, 1.0, dtype=dtype)
    params = layout(params.detach()).requires_grad_()
    given = (x, params, spline.bins, spline.upper, dtype == torch.float32)
    torch.library.opcheck(spline_operator, given)
    found = spline_operator(*given)[:2]
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
