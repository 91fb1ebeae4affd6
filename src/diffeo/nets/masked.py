"""Linear layers, some of whose weights are held at zero, and which don't pay for those."""

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import Function
from torch.nn import functional as F

from diffeo.solvers import is_batched, is_traced

START = 6_000.0
"""What a product costs beside its multiplications, in multiplications for each row of the input."""
LEAST_ROWS = 128
"""Fewer rows are not worth more products than one."""
MOST_STEPS = 64
"""Of a longer staircase, so many of its steps are where blocks may end."""


class MaskedLinear(nn.Linear):
    """y = (W ⊙ M) x + b, M of zeros and ones.

    Where M is a staircase, as between layers of units that are sorted by degree, about half of the
    products are with zeros. Then the rows of W are taken in blocks, and a block is multiplied with
    those columns alone that one of its rows uses; backward, it is columns and the rows that use
    them. The blocks are chosen once, for the least cost in multiplications, each product being
    charged `START` for each row; where one block is the cheapest, the layer is the plain one. So it
    is for few rows, on accelerators, where starting products costs more than multiplying, in
    autocast, and where the computation is traced. Blocks and the plain product differ by rounding
    only.

    Args:
        mask: M, True where a weight is in use. Shape (out, in).
    Shapes: x: (*batch, in); out: (*batch, out).
    """

    def __init__(self, mask: Tensor) -> None:
        # Masked weights are multiplied by 0, so what their start is does not matter.
        super().__init__(mask.shape[1], mask.shape[0])
        self.mask: Tensor
        self.register_buffer("mask", mask.to(self.weight.dtype), persistent=False)
        self._blocks = _Blocks(_staircase(mask), _staircase(mask.T))

    def forward(self, input: Tensor) -> Tensor:
        """(W ⊙ M) x + b."""
        masked = self.weight * self.mask
        if self._in_blocks(input):
            return _BlockProduct.apply(input, masked, self.bias, self._blocks)  # type: ignore[return-value]
        return F.linear(input, masked, self.bias)

    def _in_blocks(self, input: Tensor) -> bool:
        return (
            len(self._blocks.of_matrix) > 1
            and input.numel() >= LEAST_ROWS * self.in_features
            and input.device.type == "cpu"
            and input.dtype == self.weight.dtype
            and not torch.is_autocast_enabled("cpu")
            and not is_traced()
        )


class _Block(NamedTuple):
    """Neighbouring rows of a matrix, and the range of columns that they use."""

    rows: slice
    columns: slice


class _Blocks(NamedTuple):
    """The blocks of a matrix and of its transpose."""

    of_matrix: list[_Block]
    of_transpose: list[_Block]


class _BlockProduct(Function):
    """x, W, b ↦ W x + b for a W with zeros outside its blocks, block by block both ways.

    What it makes has the rows of a batch last in memory, so that a block of units is one stretch of
    it.
    """

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, blocks: _Blocks
    ) -> Tensor:
        out = _rows_last(x, len(weight))
        inputs, outputs = _columns(x), _columns(out)
        for rows, columns in blocks.of_matrix:
            part = weight[rows, columns]
            torch.addmm(bias[rows, None], part, inputs[columns], out=outputs[rows])
        ctx.save_for_backward(x, weight)
        ctx.blocks = blocks
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        x, weight = ctx.saved_tensors
        inputs, grads = _columns(x), _columns(grad)
        if torch.is_grad_enabled() or is_batched(grad):  # Plain operations have their gradients.
            return grad @ weight, grads @ inputs.T, grads.sum(1), None
        of_x = of_weight = of_bias = None
        if ctx.needs_input_grad[0]:
            of_x = _rows_last(x, x.shape[-1])
            of_inputs = _columns(of_x)
            for rows, columns in ctx.blocks.of_transpose:
                torch.mm(weight.T[rows, columns], grads[columns], out=of_inputs[rows])
        if ctx.needs_input_grad[1]:
            of_weight = torch.zeros_like(weight)
            for rows, columns in ctx.blocks.of_matrix:
                torch.mm(grads[rows], inputs[columns].T, out=of_weight[rows, columns])
        if ctx.needs_input_grad[2]:
            of_bias = grads.sum(1)
        return of_x, of_weight, of_bias, None


def _columns(x: Tensor) -> Tensor:
    """(*batch, n) ↦ (n, rows)."""
    return x.reshape(-1, x.shape[-1]).T


def _rows_last(like: Tensor, width: int) -> Tensor:
    """A tensor (*batch, width) with the batch last in memory."""
    batch = like.shape[:-1]
    strides = [math.prod(batch[i + 1 :]) for i in range(len(batch))]
    return torch.empty_strided(
        (*batch, width), (*strides, math.prod(batch)), dtype=like.dtype, device=like.device
    )


def _staircase(mask: Tensor) -> list[_Block]:
    """The cheapest blocks that cover a mask; a single one is the whole matrix.

    c(j) = min over i < j of c(i) + START + (rows i … j) × (columns that one of them uses), over the
    ends of steps, where the columns in use change.
    """
    used = mask.bool()
    rows, columns = used.shape
    whole = _Block(slice(0, rows), slice(0, columns))
    if used.numel() == 0:
        return [whole]
    place = torch.arange(columns, device=used.device)
    first = torch.where(used, place, columns).amin(1)
    last = torch.where(used, place + 1, 0).amax(1)
    changed = (first[1:] != first[:-1]) | (last[1:] != last[:-1])
    ends = torch.cat([changed.nonzero()[:, 0].cpu() + 1, torch.tensor([rows])])
    if len(ends) > MOST_STEPS:
        ends = ends[torch.linspace(0, len(ends) - 1, MOST_STEPS).long()]
    starts = torch.cat([torch.tensor([0]), ends[:-1]])
    sizes = (ends - starts).tolist()
    step_first = [int(first[i:j].min()) for i, j in zip(starts, ends, strict=True)]
    step_last = [int(last[i:j].max()) for i, j in zip(starts, ends, strict=True)]
    cost, before = [0.0], [0]
    for j in range(1, len(ends) + 1):
        low, high, height, best, chosen = columns, 0, 0, float("inf"), 0
        for i in range(j - 1, -1, -1):
            low, high = min(low, step_first[i]), max(high, step_last[i])
            height += sizes[i]
            here = cost[i] + START + height * max(0, high - low)
            if here < best:
                best, chosen = here, i
        cost.append(best)
        before.append(chosen)
    blocks, j = [], len(ends)
    while j:
        i = before[j]
        low, high = min(step_first[i:j]), max(step_last[i:j])
        span = slice(low, high) if low < high else slice(0, 0)
        blocks.append(_Block(slice(int(starts[i]), int(ends[j - 1])), span))
        j = i
    return blocks[::-1] if len(blocks) > 1 else [whole]
