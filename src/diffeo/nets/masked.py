"""Linear layers with weights held at zero, and what lays parameters one after another in memory."""

import itertools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import Function
from torch.nn import functional as F

from diffeo.derivatives import defined_gradients, is_batched
from diffeo.solvers import is_compiled, is_traced

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


class LinearApart(nn.Linear):
    """A linear layer whose outputs lie apart in memory, as `linear_apart` has them."""

    def forward(self, input: Tensor) -> Tensor:
        """W x + b."""
        return linear_apart(input, self.weight, self.bias)


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
    if x.device.type != "cpu" or torch.is_autocast_enabled("cpu"):
        out = _product(rows, weight, bias)
    elif is_compiled():
        whole = Block(0, *weight.shape)
        out = linear_operator(rows, weight, bias, list(itertools.chain(*(blocks or (whole,)))))
    elif not blocks or is_traced():
        out = _product(rows, weight, bias)
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
        return _by_blocks(x, weight, bias, blocks)

    @staticmethod
    def backward(ctx: Any, of_out: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        x, weight, bias = ctx.saved_tensors
        needed = ctx.needs_input_grad[:3]
        if torch.is_grad_enabled() or is_batched(of_out):
            return *defined_gradients(_product, (x, weight, bias), needed, (of_out,)), None
        return *_gradients_by_blocks(x, weight, of_out, ctx.blocks, needed), None


def _product(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return torch.addmm(bias[:, None], weight, x.t())


def _by_blocks(x: Tensor, weight: Tensor, bias: Tensor, blocks: Sequence[Block]) -> Tensor:
    out, columns = x.new_empty(len(weight), len(x)), x.t()
    for first, last, width in blocks:
        part = weight[first:last, :width]
        torch.addmm(bias[first:last, None], part, columns[:width], out=out[first:last])
    return out


def _gradients_by_blocks(
    x: Tensor, weight: Tensor, of_out: Tensor, blocks: Sequence[Block], needed: Sequence[bool]
) -> tuple[Tensor | None, ...]:
    of_x = torch.zeros_like(x) if needed[0] else None
    of_weight = torch.empty_like(weight) if needed[1] else None
    for first, last, width in blocks:
        part = of_out[first:last]
        if of_x is not None:
            of_x[:, :width].addmm_(part.t(), weight[first:last, :width])
        if of_weight is not None:
            torch.mm(part, x[:, :width], out=of_weight[first:last, :width])
            of_weight[first:last, width:] = 0.0
    return of_x, of_weight, of_out.sum(1) if needed[2] else None


# The same as operators that compilers take whole: they see no transposed tensor, which would make
# them go across memory in all that they fuse before it. Of their names: see
# scalars/spline_fast.py.


@torch.library.custom_op("diffeo::linear_by_blocks", mutates_args=())
def linear_operator(x: Tensor, weight: Tensor, bias: Tensor, blocks: Sequence[int]) -> Tensor:
    """W xᵀ + b by blocks, their numbers one after another."""
    return _by_blocks(x, weight, bias, _grouped(blocks))


@linear_operator.register_fake
def _(x: Tensor, weight: Tensor, bias: Tensor, blocks: Sequence[int]) -> Tensor:
    return x.new_empty(weight.shape[0], x.shape[0])


@torch.library.custom_op("diffeo::linear_by_blocks_gradients", mutates_args=())
def _gradients(
    x: Tensor, weight: Tensor, of_out: Tensor, blocks: Sequence[int], needed: Sequence[bool]
) -> list[Tensor]:
    found = _gradients_by_blocks(x, weight, of_out, _grouped(blocks), needed)
    return [gradient for gradient in found if gradient is not None]


@_gradients.register_fake
def _(
    x: Tensor, weight: Tensor, of_out: Tensor, blocks: Sequence[int], needed: Sequence[bool]
) -> list[Tensor]:
    shapes = (x.shape, weight.shape, weight.shape[:1])
    return [x.new_empty(shape) for shape, need in zip(shapes, needed, strict=True) if need]


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, weight, _, ctx.blocks = inputs
    ctx.save_for_backward(x, weight)


def _backward(ctx: Any, of_out: Tensor) -> tuple[Tensor | None, ...]:
    needed = list(ctx.needs_input_grad[:3])
    found = iter(_gradients(*ctx.saved_tensors, of_out, ctx.blocks, needed))
    return *(next(found) if need else None for need in needed), None


linear_operator.register_autograd(_backward, setup_context=_keep)


def _grouped(numbers: Sequence[int]) -> list[Block]:
    return [Block(*numbers[i : i + 3]) for i in range(0, len(numbers), 3)]


def blocks_of(mask: Tensor, count: int) -> tuple[Block, ...]:
    """Blocks of about as many rows each, which together hold all weights in use."""
    places = torch.arange(1, mask.shape[1] + 1, device=mask.device)
    ends = (mask * places).amax(1).long().tolist()
    edges = [len(mask) * i // count for i in range(count + 1)]
    return tuple(
        Block(first, last, max(ends[first:last])) for first, last in itertools.pairwise(edges)
    )


def _worthwhile(mask: Tensor) -> tuple[Block, ...]:
    """Blocks of a mask; none where they would be small, or leave out few weights."""
    count = 0 if mask.is_meta else min(_BLOCKS, len(mask) // _LEAST_ROWS)
    blocks = blocks_of(mask, count) if count > 1 else ()
    held = sum((last - first) * width for first, last, width in blocks)
    return blocks if 0 < held < _WORTH * mask.numel() else ()
