"""Linear layers, some of whose weights are held at zero, and which don't pay for those."""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import Function
from torch.nn import functional as F

from diffeo.solvers import is_traced

START = 2_000.0
"""What starting a product costs, in multiplications for each row of the input."""
MOST_STEPS = 64
"""Of a longer staircase, so many of its steps are where blocks may end."""


class MaskedLinear(nn.Linear):
    """y = (W ⊙ M) x + b, M of zeros and ones.

    Where M is a staircase, as between layers of units that are sorted by degree, about half of the
    products are with zeros. Then the rows of W are taken in blocks, and a block is multiplied with
    those columns alone that one of its rows uses; backward, it is columns and the rows that use
    them. The blocks are chosen once, for the least cost in multiplications, each product being
    charged `START` for itself; where one block is the cheapest, the layer is the plain one. So it
    is on accelerators, where starting products costs more than multiplying, in autocast, and where
    the computation is traced. Blocks and the plain product differ by rounding only.

    Args:
        mask: M, True where a weight is in use. Shape (out, in).
    Shapes: x: (*batch, in); out: (*batch, out).
    """

    def __init__(self, mask: Tensor) -> None:
        # Masked weights are never read, so what their start is does not matter.
        super().__init__(mask.shape[1], mask.shape[0])
        self.mask: Tensor
        self.register_buffer("mask", mask.to(self.weight.dtype), persistent=False)
        self._blocks = _Blocks(_staircase(mask), _staircase(mask.T))

    def forward(self, input: Tensor) -> Tensor:
        """(W ⊙ M) x + b."""
        if self._in_blocks(input):
            return _BlockProduct.apply(input, self.weight, self.bias, self.mask, self._blocks)  # type: ignore[return-value]
        return F.linear(input, self.weight * self.mask, self.bias)

    def _in_blocks(self, input: Tensor) -> bool:
        return (
            len(self._blocks.of_rows) > 1
            and input.device.type == "cpu"
            and input.dtype == self.weight.dtype
            and not torch.is_autocast_enabled("cpu")
            and not is_traced()
        )


class _Block(NamedTuple):
    """Neighbouring rows, and the range of columns that they use."""

    rows: slice
    columns: slice


class _Blocks(NamedTuple):
    """The blocks of a matrix and of its transpose."""

    of_rows: list[_Block]
    of_columns: list[_Block]


class _BlockProduct(Function):
    """x, W, b ↦ (W ⊙ M) x + b, block by block both ways.

    What it makes has the rows of a batch last in memory: a block of units is one stretch of it, and
    so are the parameters of one kind, which scalar maps go through one after the other.
    """

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, mask: Tensor, blocks: _Blocks
    ) -> Tensor:
        masked, columns = weight * mask, x.reshape(-1, x.shape[-1]).T
        out = x.new_empty(len(weight), columns.shape[1])
        for block in blocks.of_rows:
            part = masked[block.rows, block.columns]
            torch.addmm(bias[block.rows, None], part, columns[block.columns], out=out[block.rows])
        ctx.save_for_backward(x, weight, mask)
        ctx.masked, ctx.blocks = masked, blocks
        return out.T.reshape(*x.shape[:-1], len(weight))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        x, weight, mask = ctx.saved_tensors
        columns, grads = (t.reshape(-1, t.shape[-1]).T for t in (x, grad))
        of_x = of_weight = of_bias = None
        if torch.is_grad_enabled():  # The gradients are to have gradients.
            return grad @ (weight * mask), (grads @ columns.T) * mask, grads.sum(1), None, None
        if ctx.needs_input_grad[0]:
            of_columns = torch.empty_like(columns, memory_format=torch.contiguous_format)
            for block in ctx.blocks.of_columns:
                part = ctx.masked[block.columns, block.rows]
                torch.mm(part.T, grads[block.columns], out=of_columns[block.rows])
            of_x = of_columns.T.reshape(x.shape)
        if ctx.needs_input_grad[1]:
            of_weight = torch.zeros_like(weight)
            for block in ctx.blocks.of_rows:
                out = of_weight[block.rows, block.columns]
                torch.mm(grads[block.rows], columns[block.columns].T, out=out)
            of_weight *= mask
        if ctx.needs_input_grad[2]:
            of_bias = grads.sum(1)
        return of_x, of_weight, of_bias, None, None


def _staircase(mask: Tensor) -> list[_Block]:
    """The cheapest blocks that cover a mask; a single one is the whole matrix.

    c(j) = min over i < j of c(i) + START + (rows i … j) × (columns that one of them uses), over the
    ends of steps, where the columns in use change.
    """
    used = mask.bool()
    rows, columns = used.shape
    place = torch.arange(columns)
    first = torch.where(used, place, columns).amin(1)
    last = torch.where(used, place + 1, 0).amax(1)
    changed = (first[1:] != first[:-1]) | (last[1:] != last[:-1])
    ends = torch.cat([changed.nonzero()[:, 0] + 1, torch.tensor([rows])])
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
    whole = _Block(slice(0, rows), slice(0, columns))
    blocks, j = [], len(ends)
    while j:
        i = before[j]
        low, high = min(step_first[i:j]), max(step_last[i:j])
        span = slice(low, high) if low < high else slice(0, 0)
        blocks.append(_Block(slice(int(starts[i]), int(ends[j - 1])), span))
        j = i
    return blocks[::-1] if len(blocks) > 1 else [whole]
