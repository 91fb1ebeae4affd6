"""Wide numbers, and the gradients of a definition beside which there is a faster way."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor


def widen(x: Tensor, layout: torch.memory_format = torch.preserve_format) -> Tensor:
    """x in float64, on devices that have it; what is converted may be laid out anew."""
    has = x.device.type in ("cpu", "cuda")
    return x.to(torch.float64, memory_format=layout) if has else x


def defined_gradients(
    define: Callable[..., tuple[Tensor, ...]],
    inputs: Sequence[Tensor],
    needed: Sequence[bool],
    gradients: Sequence[Tensor],
) -> tuple[Tensor | None, ...]:
    """What autograd makes of a definition: gradients that have gradients, or that are many.

    For the backward pass of a `Function` that computes the same in fewer operations.

    Args:
        define: the function, in operations that autograd knows.
        inputs: of the function.
        needed: which of them need a gradient.
        gradients: of the loss in the outputs.
    """
    again = torch.is_grad_enabled()
    inputs = [t if again else t.detach().requires_grad_() for t in inputs]
    with torch.enable_grad():
        outputs = define(*inputs)
    wanted = [t for t, need in zip(inputs, needed, strict=True) if need]
    found = iter(torch.autograd.grad(outputs, wanted, gradients, create_graph=again))
    return tuple(next(found) if need else None for need in needed)
