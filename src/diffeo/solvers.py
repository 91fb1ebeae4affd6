"""Roots of increasing functions: bracketed Newton iteration, gradients by the implicit theorem."""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch._higher_order_ops.while_loop import while_loop
from torch.autograd import forward_ad
from torch.utils._python_dispatch import _get_current_dispatch_mode

Monotone = Callable[[Tensor], tuple[Tensor, Tensor]]
"""x ↦ (f(x), log f′(x)), element by element, f increasing."""

_SLACK = 10
"""Steps that Newton's iteration may take before a bracket has to keep up with bisection."""


def is_traced() -> bool:
    """Whether only plain operations will do: in compile, export, `torch.func`, forward-mode AD."""
    return torch.compiler.is_compiling() or is_transformed()


def is_compiled() -> bool:
    """Whether a graph is compiled to be run here: not exported, and under no transform."""
    # Where exporting can't be told from compiling (before PyTorch 2.7), nothing is taken for it.
    exporting = getattr(torch.compiler, "is_exporting", None)
    if exporting is None or exporting():
        return False
    return torch.compiler.is_compiling() and not is_transformed()


def has_values(x: Tensor) -> bool:
    """Whether what is done may depend on the values of x: not where operations are recorded."""
    recorded = torch._C._get_tracing_state() is not None or _get_current_dispatch_mode() is not None
    return not (recorded or x.is_meta or is_traced())


def is_transformed() -> bool:
    """Whether `torch.func` or forward-mode AD see the operations."""
    return _in_transform() or forward_ad._current_level >= 0


def _in_transform() -> bool:
    """Whether a `torch.func` transform (vmap, jacrev …) is under way."""
    return torch._C._functorch.maybe_current_level() is not None  # type: ignore[attr-defined]


# What torch.compiler.assume_constant_result does, without importing the compiler: while a graph is
# captured the function is called, and its answer (which graphs are guarded by) put into the graph.
_in_transform._dynamo_marked_constant = True  # type: ignore[attr-defined]


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
    a small step alone proves nothing where a steep stretch ends in a flat one. The iteration ends
    when all elements have stopped; under `torch.func`, where values can't be looked at, it makes
    the whole number of steps. No element depends on another, nor on which of these happens.

    The result carries the gradients of the implicit function theorem,
    dx = (d target − ∂f/∂θ dθ) / f′(x), for everything f depends on: first derivatives only. There
    f′ counts as at least e⁻⁵⁰ in float32 and e⁻³⁵⁰ in float64, so that gradients stay finite.

    Args:
        f: the function and the logarithm of its derivative; must be increasing. To be compiled it
            may not close over two views of one tensor.
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
    info = torch.finfo(target.dtype)
    halvings = math.ceil(math.log2(2 * (math.log(info.max) + math.log(2)) / info.eps))
    most = _SLACK + halvings + 1
    # Loops that are compiled need tensors with memory of their own.
    lower, upper, target = (t.clone() for t in torch.broadcast_tensors(lower, upper, target))
    width = upper - lower
    state = (
        lower / 2 + upper / 2,
        lower,
        upper,
        width,
        width.clone(),
        (torch.asinh(upper) - torch.asinh(lower)) * 2.0**_SLACK,
        torch.zeros_like(lower, dtype=torch.bool),
    )

    def advance(*state: Tensor) -> tuple[Tensor, ...]:
        return _advance(f, target, *state)

    looping = not _in_transform()
    if looping and torch.compiler.is_compiling():
        count = torch.zeros((), dtype=torch.int64, device=target.device)
        _, x, *_ = while_loop(
            lambda i, *state: (i < most) & ~state[-1].all(),
            lambda i, *state: (i + 1, *advance(*state)),
            (count, *state),
        )
        return x
    for _ in range(most):
        state = advance(*state)
        if looping and bool(state[-1].all()):
            break
    return state[0]


def _advance(
    f: Monotone,
    target: Tensor,
    x: Tensor,
    lower: Tensor,
    upper: Tensor,
    last: Tensor,
    before_last: Tensor,
    allowed_width: Tensor,
    done: Tensor,
) -> tuple[Tensor, ...]:
    """One step: looks at f(x), narrows the bracket, and moves x unless it is done."""
    tolerance = 4 * torch.finfo(target.dtype).eps
    value, log_slope = f(x)
    residual = value - target
    miss, scale, size = residual.abs(), _reciprocal(log_slope), target.abs()
    # Written so that a NaN stops: nothing more can be done for it.
    far = (miss > tolerance * (size + 1)) | (miss * scale > tolerance * (size * scale + 1))
    upper = torch.where(residual >= 0, x, upper)
    lower = torch.where(residual <= 0, x, lower)
    reach = tolerance * torch.maximum(lower.abs(), upper.abs())
    done = done | ~(far & (upper - lower > reach))
    step = residual * scale
    tiny = step.abs() < reach / 2
    step = torch.where(tiny, torch.copysign(reach / 2, residual), step)
    newton = x - step
    good = (newton >= lower - reach) & (newton <= upper + reach)
    good = good & (tiny | (2 * step.abs() <= before_last))
    low, high = torch.asinh(lower), torch.asinh(upper)
    good = good & (high - low <= allowed_width)
    middle = torch.sinh((low + high) / 2)
    proposal = torch.where(good, newton, middle).clamp(lower, upper)
    moved = torch.where(done, x, proposal)
    return moved, lower, upper, (proposal - x).abs(), last.clone(), allowed_width / 2, done


def _reciprocal(log_slope: Tensor) -> Tensor:
    # Far from what the dtype holds, so that the products of a backward pass stay finite as well.
    limit = 50.0 if log_slope.dtype == torch.float32 else 350.0
    return torch.exp(-log_slope.clamp(min=-limit, max=limit))
