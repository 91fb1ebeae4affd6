"""Roots of increasing functions: bracketed Newton iteration, gradients by the implicit theorem."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

Monotone = Callable[[Tensor], tuple[Tensor, Tensor]]
"""x ↦ (f(x), log f′(x)), element by element, f increasing."""

_SLACK = 10
"""Steps that Newton's iteration may take before a bracket has to keep up with bisection."""


def is_traced() -> bool:
    """Whether tensors may have no values to look at: in compile, export and `torch.func`."""
    return torch.compiler.is_compiling() or torch._C._functorch.maybe_current_level() is not None


def solve_increasing(f: Monotone, target: Tensor, lower: Tensor, upper: Tensor) -> Tensor:
    """The x in [lower, upper] with f(x) = target, element by element, to the dtype's precision.

    Newton's iteration kept inside a bracket that shrinks. A step that would leave the bracket, or
    that is not half the step before last, is replaced by bisection; a step as small as rounding
    goes a little further, so as to close the bracket from its other side. Bisection is of asinh x,
    the logarithm's scale where |x| is large: any bracket that the dtype can represent is as narrow
    as its precision after 31 halvings in float32, 63 in float64. A bracket that falls more than
    `_SLACK` halvings behind is bisected until it catches up, so that a fixed number of steps
    suffices however flat, steep or far away the function.

    An element stops once |f(x) − target| ≤ 4ε (|target| + min(1, f′)) or its bracket is 4ε|x| wide:
    a small step alone proves nothing where a steep stretch ends in a flat one. Eagerly the
    iteration ends when all elements have stopped; traced, it runs the whole fixed number of steps.
    Both take the same steps, and no element depends on another.

    The result carries the gradients of the implicit function theorem,
    dx = (d target − ∂f/∂θ dθ) / f′(x), for everything f depends on: first derivatives only.

    Args:
        f: the function and the logarithm of its derivative; must be increasing.
        target: values to reach. Shape (*,).
        lower: where f ≤ target, up to rounding. Shape (*,).
        upper: where f ≥ target, up to rounding. Shape (*,).
    """
    with torch.no_grad():
        x = _bracketed_newton(f, target.detach(), lower.detach(), upper.detach())
    if not torch.is_grad_enabled():
        return x
    value, log_slope = f(x)
    miss = target - value
    # The difference is exactly 0, so that the value is x whatever its (possibly huge) factor.
    return x + (miss - miss.detach()) * _reciprocal(log_slope.detach())


def _bracketed_newton(f: Monotone, target: Tensor, lower: Tensor, upper: Tensor) -> Tensor:
    lower, upper, target = torch.broadcast_tensors(lower, upper, target)
    info = torch.finfo(target.dtype)
    traced = is_traced()
    halvings = math.ceil(math.log2(2 * (math.log(info.max) + math.log(2)) / info.eps))
    first_width = torch.asinh(upper) - torch.asinh(lower)
    tolerance = 4 * info.eps
    size = target.abs()
    x = lower / 2 + upper / 2
    last = before_last = upper - lower
    done = torch.zeros_like(x, dtype=torch.bool)
    for i in range(_SLACK + halvings + 1):
        value, log_slope = f(x)
        residual = value - target
        miss, scale = residual.abs(), _reciprocal(log_slope)
        # Written so that a NaN stops: nothing more can be done for it.
        far = (miss > tolerance * (size + 1)) | (miss * scale > tolerance * (size * scale + 1))
        upper = torch.where(residual >= 0, x, upper)
        lower = torch.where(residual <= 0, x, lower)
        reach = tolerance * torch.maximum(lower.abs(), upper.abs())
        done = done | ~(far & (upper - lower > reach))
        if not traced and bool(done.all()):
            break
        step = residual * scale
        tiny = step.abs() < reach / 2
        step = torch.where(tiny, torch.copysign(reach / 2, residual), step)
        newton = x - step
        good = (newton >= lower - reach) & (newton <= upper + reach)
        good = good & (tiny | (2 * step.abs() <= before_last))
        low, high = torch.asinh(lower), torch.asinh(upper)
        late = high - low > first_width * 0.5 ** (i - _SLACK)
        middle = torch.sinh((low + high) / 2).clamp(lower, upper)
        proposal = torch.where(good & ~late, newton.clamp(lower, upper), middle)
        before_last, last = last, (proposal - x).abs()
        x = torch.where(done, x, proposal)
    return x


def _reciprocal(log_slope: Tensor) -> Tensor:
    limit = 80.0 if log_slope.dtype == torch.float32 else 700.0
    return torch.exp(-log_slope.clamp(min=-limit, max=limit))
