"""The bracketed solver: hard functions, wide brackets, both dtypes, eager and traced."""

import pytest
import torch
from torch.nn import functional as F

from diffeo.solvers import is_traced, solve_increasing
from tests.conftest import TYPECHECK

dtypes = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)


def line(x):
    return 2 * x, torch.full_like(x, 2.0).log()


def cube(x):
    """Flat at the root of 0."""
    return x**3, (3 * x * x + 1e-30).log()


def flat_then_steep(x):
    """Slope 1e-6, then 1e6 from x = 1 on, smoothly within 1e-3."""
    u = 1e3 * (x - 1)
    return 1e-6 * x + 1e3 * F.softplus(u), (1e-6 + 1e6 * torch.sigmoid(u)).log()


def steep_then_flat(x):
    z, log_slope = flat_then_steep(2 - x)
    return -z, log_slope


def step(x):
    """A jump of width 1e-5 on a gentle slope: Newton's steps from the slope miss it."""
    u = 1e5 * (x - 0.3)
    inner = F.logsigmoid(u) + F.logsigmoid(-u)
    return 0.01 * x + torch.sigmoid(u), torch.logaddexp(inner + 11.512925, torch.full_like(x, -4.6))


def saturating(x):
    """asinh of asinh: Newton's steps overshoot far."""
    y = torch.asinh(x)
    return torch.asinh(y), -0.5 * (torch.log1p(x * x) + torch.log1p(y * y))


def exponential(x):
    """Newton from the right takes steps of 1."""
    return torch.exp(x.clamp(max=80)), x.clamp(max=80)


FUNCTIONS = [line, cube, flat_then_steep, steep_then_flat, step, saturating, exponential]


def cases(function, dtype):
    """Targets with known roots, in brackets up to 1e8 wide, symmetric and not."""
    root = torch.tensor([-7.0, -1.0, -0.3, 0.29999, 0.3, 0.5, 0.999, 1.0, 1.3, 6.0], dtype=dtype)
    root = root.repeat(5)
    low = torch.tensor([1e-3, 10.0, 1e8, 1.0, 1e8], dtype=dtype).repeat_interleave(10)
    high = torch.tensor([1e-3, 10.0, 1e8, 1e8, 1.0], dtype=dtype).repeat_interleave(10)
    return root, function(root)[0], root - low, root + high


@dtypes
@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda f: f.__name__)
def test_reaches_the_root(function, dtype):
    """To a few roundings of x, or of the target where that is what stops it."""
    root, target, lower, upper = cases(function, dtype)
    x = solve_increasing(function, target, lower, upper)
    eps = torch.finfo(dtype).eps
    value, log_slope = function(x)
    by_x = (x - root).abs() <= 32 * eps * (1 + root.abs())
    by_value = (value - target).abs() <= 16 * eps * (target.abs() + log_slope.exp().clamp(max=1))
    assert (by_x | by_value).all(), x[~(by_x | by_value)]


@dtypes
@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda f: f.__name__)
@pytest.mark.skipif(TYPECHECK, reason="run-time type checks can't be traced")
def test_traced_is_eager(function, dtype):
    _, target, lower, upper = cases(function, dtype)
    eager = solve_increasing(function, target, lower, upper)
    mapped = torch.vmap(lambda *a: solve_increasing(function, *a))(target, lower, upper)
    torch.testing.assert_close(
        mapped, eager, rtol=1e-5 if dtype == torch.float32 else 1e-12, atol=0
    )
    if function is step:
        torch._dynamo.reset()
        compiled = torch.compile(solve_increasing, fullgraph=True, backend="eager")
        found = compiled(function, target, lower, upper)
        torch.testing.assert_close(found, eager, rtol=1e-5, atol=0)


@pytest.mark.slow
@pytest.mark.skipif(TYPECHECK, reason="run-time type checks can't be traced")
def test_transforms_inside_a_compiled_function():
    """There the loop is unrolled: `torch.func` can't go through a compiled one."""
    target = torch.tensor([-1.0, 0.5, 2.0])

    def solve(target):
        return solve_increasing(saturating, target, target - 100, target + 100)

    torch._dynamo.reset()
    compiled = torch.compile(lambda t: torch.vmap(solve)(t), fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(target), solve(target))


@dtypes
def test_any_bracket_of_the_dtype(dtype):
    """A bracket as wide as the dtype goes, around roots of all magnitudes."""
    most = torch.finfo(dtype).max / 4
    root = torch.tensor([-1e30, -1e10, -1.0, -1e-3, 0.0, 1e-3, 1.0, 1e10, 1e30], dtype=dtype)
    bracket = torch.full_like(root, most)
    for function in (line, saturating):
        x = solve_increasing(function, function(root)[0], -bracket, bracket)
        torch.testing.assert_close(function(x)[0], function(root)[0], rtol=1e-5, atol=1e-6)


def test_root_at_an_end_of_the_bracket():
    root = torch.tensor([-2.0, 0.0, 3.0], dtype=torch.float64)
    for lower, upper in ((root, root + 5), (root - 5, root), (root, root)):
        x = solve_increasing(flat_then_steep, flat_then_steep(root)[0], lower, upper)
        torch.testing.assert_close(
            flat_then_steep(x)[0], flat_then_steep(root)[0], rtol=1e-12, atol=1e-12
        )


def test_stops_early():
    """A straight line costs four evaluations, whatever its bracket."""
    calls = 0

    def counted(x):
        nonlocal calls
        calls += 1
        return line(x)

    target = torch.tensor([1.0, -3.0])
    with torch.no_grad():
        solve_increasing(counted, target, torch.full((2,), -1e8), torch.full((2,), 3e8))
    assert calls <= 4


def test_gradients_are_implicit():
    """dx/dz = 1/f′, dx/dθ = −(∂f/∂θ)/f′ for f = θ₁ x + θ₂ sinh x."""
    theta = torch.tensor([0.5, 2.0], dtype=torch.float64, requires_grad=True)
    target = torch.tensor([-3.0, 0.1, 8.0], dtype=torch.float64, requires_grad=True)

    def solve(target, theta):
        def f(x):
            slope = theta[0] + theta[1] * torch.cosh(x)
            return theta[0] * x + theta[1] * torch.sinh(x), slope.log()

        edge = torch.full_like(target, 20.0)
        return solve_increasing(f, target, -edge, edge)

    assert torch.autograd.gradcheck(solve, (target, theta))
    jacobian = torch.func.jacrev(solve)(target, theta)
    assert torch.equal(jacobian, torch.diag(jacobian.diagonal()))


def test_no_element_depends_on_another():
    target = torch.randn(20)
    edge = torch.full((20,), 50.0)
    together = solve_increasing(saturating, target, -edge, edge)
    alone = [solve_increasing(saturating, target[i], -edge[i], edge[i]) for i in range(20)]
    torch.testing.assert_close(together, torch.stack(alone), rtol=1e-6, atol=1e-6)


def test_nan_ends():
    target = torch.tensor([torch.nan, 1.0])
    x = solve_increasing(line, target, torch.full((2,), -5.0), torch.full((2,), 5.0))
    assert x[1] == 0.5


def test_knows_when_it_is_traced():
    assert not is_traced()
    seen = []
    torch.vmap(lambda x: (seen.append(is_traced()), x)[1])(torch.zeros(2))
    assert seen == [True] and not is_traced()
