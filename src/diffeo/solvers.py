"""Roots of increasing functions: a bracketed Newton iteration, with gradients by the implicit function theorem."""

from collections.abc import Callable

import torch
from torch import Tensor

Monotone = Callable[[Tensor], tuple[Tensor, Tensor]]
"""x ↦ (f(x), log f′(x)), element by element, f increasing."""


def is_traced() -> bool:
    """Whether tensors may have no values to look at: in compile, export and the `torch.func` transforms."""
    return torch.compiler.is_compiling() or torch._C._functorch.maybe_current_level() is not None


def solve_increasing(f: Monotone, target: Tensor, lower: Tensor, upper: Tensor) -> Tensor:
    """The x in [lower, upper] with f(x) = target, element by element, to the precision of the dtype.

    Newton's iteration, kept inside a bracket that shrinks: a step that leaves the bracket, or that does not halve the
    step before last, is replaced by bisection. Eagerly it stops when every step is below 2ε(1 + |x|) or the bracket is
    as narrow; traced, it runs a fixed number of steps in which bisection alone would reach the dtype's precision.

    The value carries the gradients of the implicit function theorem,
    dx = (d target − ∂f/∂θ dθ) / f′(x), for everything f depends on.

    Args:
        f: the function and the logarithm of its derivative; must be increasing.
        target: values to reach. Shape (*,).
        lower: where f ≤ target. Shape (*,).
        upper: where f ≥ target. Shape (*,).
    """
    with torch.no_grad():
        x = _bracketed_newton(f, target.detach(), lower.detach(), upper.detach())
    if not torch.is_grad_enabled():
        return x
    value, log_slope = f(x)
    step = (target - value) * torch.exp(-log_slope.detach().clamp(min=-80.0, max=80.0))
    return x + (step - step.detach())


def _bracketed_newton(f: Monotone, target: Tensor, lower: Tensor, upper: Tensor) -> Tensor:
    lower, upper, target = torch.broadcast_tensors(lower, upper, target)
    eps = torch.finfo(target.dtype).eps
    traced = is_traced()
    bits = 24 if target.dtype == torch.float32 else 53
    steps = 2 * bits if traced else 400
    x = lower + (upper - lower) / 2
    last = before_last = upper - lower
    for _ in range(steps):
        value, log_slope = f(x)
        residual = value - target
        upper = torch.where(residual > 0, x, upper)
        lower = torch.where(residual > 0, lower, x)
        newton = x - residual * torch.exp(-log_slope.clamp(min=-80.0, max=80.0))
        bad = ~((newton > lower) & (newton < upper)) | (2 * (newton - x).abs() > before_last)
        proposal = torch.where(bad, lower + (upper - lower) / 2, newton)
        proposal = torch.where(residual == 0, x, proposal)
        before_last, last = last, (proposal - x).abs()
        x = proposal
        if not traced and bool((last <= 2 * eps * (1 + x.abs())).all()):
            break
    return x
