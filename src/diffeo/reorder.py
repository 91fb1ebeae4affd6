"""Reordering by index, whose gradient is reordering back."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import Function

from diffeo.solvers import is_transformed


def reorder(x: Tensor, order: Tensor, back: Tensor) -> Tensor:
    """x with its last dimension in another order.

    The gradient of selecting by index adds up, since an index may come twice. Of an order it need
    only select, which is faster, and which compilers get right: what PyTorch 2.13's makes of the
    sum for a CPU with several threads writes beyond its memory.

    Args:
        x: (*, D).
        order: of 0 … D − 1, each once.
        back: the order that undoes it.
    """
    if is_transformed():
        return x.index_select(-1, order)
    return _Reorder.apply(x, order, back)  # type: ignore[return-value]


class _Reorder(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, order: Tensor, back: Tensor) -> Tensor:  # type: ignore[override]
        ctx.save_for_backward(order, back)
        return x.index_select(-1, order)

    @staticmethod
    def backward(ctx: Any, of_out: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        order, back = ctx.saved_tensors
        again = torch.is_grad_enabled() and of_out.requires_grad
        found = _Reorder.apply(of_out, back, order) if again else of_out.index_select(-1, back)
        return found, None, None
