"""What fast ways with derivatives of their own need: to know who asks, and a definition's."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor


def is_batched(*gradients: Tensor) -> bool:
    """Whether a backward pass is for many gradients at once (`is_grads_batched`)."""
    return any(torch._C._functorch.is_legacy_batchedtensor(g) for g in gradients)  # type: ignore[attr-defined]


def defined_gradients(
    define: Callable[..., Tensor | tuple[Tensor, ...]],
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
    with torch.enable_grad():
        # Views, since one input may have been made from another: the derivatives are partial ones.
        inputs = [t.view_as(t) for t in inputs]
        outputs = define(*inputs)
    wanted = [t for t, need in zip(inputs, needed, strict=True) if need]
    found = iter(torch.autograd.grad(outputs, wanted, gradients, create_graph=again))
    return tuple(next(found) if need else None for need in needed)
