"""Linear layers with weights held at zero, and what lays parameters one after another in memory."""

import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import Function
from torch.nn import functional as F

from diffeo.numerics import defined_gradients
from diffeo.solvers import is_batched, is_traced

LinearMap = Callable[[Tensor], Tensor]

_BLOCKS, _LEAST_ROWS, _WORTH = 4, 256, 0.9
"""Blocks of rows at most, rows of one at least, and the share of all weights that they may hold."""


class MaskedLinear(nn.Linear):
    """A linear layer, some of whose weights are held at zero.

    Args:
        mask: True where a weight is in use. Shape (out, in).
        apart: whether the outputs of all rows lie together in memory, output by output, rather than
            all outputs of a row. On a CPU, where in addition the first inputs alone are in use for
            many of the outputs, weights beyond the last one in use of a block of outputs are left
            out of the products.
    """

    def __init__(self, mask: Tensor, apart: bool = False) -> None:
        # Masked weights are never read, so what their start is does not matter.
        super().__init__(mask.shape[1], mask.shape[0])
        self.mask: Tensor
        self.register_buffer("mask", mask.to(self.weight.dtype), persistent=False)
        self.apart = apart
        self._blocks = _worthwhile(mask) if apart else ()

    def forward(self, input: Tensor) -> Tensor:
        """(W ⊙ mask) x + b."""
        return self.masked()(input)

    def masked(self) -> LinearMap:
        """The same with the product of W and the mask taken now, once for many inputs."""
        weight = self.weight * self.mask
        if not self.apart:
            return lambda input: F.linear(input, weight, self.bias)
        return lambda input: linear_apart(input, weight, self.bias, self._blocks)


def linear_apart(
    x: Tensor, weight: Tensor, bias: Tensor, blocks: tuple["Block", ...] = ()
) -> Tensor:
    """W x + b, the outputs of all rows lying together in memory, output by output.

    What is done to one output of all rows then goes along memory.

    Args:
        x: (*batch, in).
        weight: (out, in).
        bias: (out,).
        blocks: of the weight, beyond which it is zero; none if it may be anything.
    Shapes: out: (*batch, out).
    """
    rows = x.reshape(-1, x.shape[-1])
    plain = is_traced() or x.device.type != "cpu" or torch.is_autocast_enabled("cpu")
    if not blocks or plain:
        out = torch.addmm(bias[:, None], weight, rows.t())
    else:
        out = BlockProduct.apply(rows, weight, bias, blocks)
    return out.t().reshape(*x.shape[:-1], len(weight))  # type: ignore[union-attr]


class Block(NamedTuple):
    """Rows first … last of a matrix, and how many of the columns are in use there."""

    first: int
    last: int
    width: int


class BlockProduct(Function):
    """(x, W, b) ↦ W xᵀ + b, for a W that is zero outside its blocks."""

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, blocks: tuple[Block, ...]
    ) -> Tensor:
        ctx.save_for_backward(x, weight, bias)
        ctx.blocks = blocks
        out, columns = x.new_empty(len(weight), len(x)), x.t()
        for first, last, width in blocks:
            part = weight[first:last, :width]
            torch.addmm(bias[first:last, None], part, columns[:width], out=out[first:last])
        return out

    @staticmethod
    def backward(ctx: Any, of_out: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        x, weight, bias = ctx.saved_tensors
        if torch.is_grad_enabled() or is_batched(of_out):
            needed = ctx.needs_input_grad[:3]
            return *defined_gradients(_product, (x, weight, bias), needed, (of_out,)), None
        wants_x, wants_weight, wants_bias, _ = ctx.needs_input_grad
        of_x = torch.zeros_like(x) if wants_x else None
        of_weight = torch.empty_like(weight) if wants_weight else None
        for first, last, width in ctx.blocks:
            part = of_out[first:last]
            if of_x is not None:
                of_x[:, :width].addmm_(part.t(), weight[first:last, :width])
            if of_weight is not None:
                torch.mm(part, x[:, :width], out=of_weight[first:last, :width])
                of_weight[first:last, width:] = 0.0
        return of_x, of_weight, of_out.sum(1) if wants_bias else None, None


def _product(x: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor]:
    return (torch.addmm(bias[:, None], weight, x.t()),)


def blocks_of(mask: Tensor, count: int) -> tuple[Block, ...]:
    """Blocks of about as many rows each, which together hold all weights in use."""
    places = torch.arange(1, mask.shape[1] + 1)
    ends = (mask * places).amax(1).long().tolist()
    edges = [len(mask) * i // count for i in range(count + 1)]
    return tuple(
        Block(first, last, max(ends[first:last])) for first, last in itertools.pairwise(edges)
    )


def _worthwhile(mask: Tensor) -> tuple[Block, ...]:
    """Blocks of a mask; none where they would be small, or leave out few weights."""
    count = min(_BLOCKS, len(mask) // _LEAST_ROWS)
    blocks = blocks_of(mask, count) if count > 1 else ()
    held = sum((last - first) * width for first, last, width in blocks)
    return blocks if 0 < held < _WORTH * mask.numel() else ()
