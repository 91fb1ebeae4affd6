"""Flow++'s conditioner: gated convolutions and gated self-attention over positions."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import Function
from torch.nn import functional as F

from diffeo.contexts import ContextArgument, describe
from diffeo.derivatives import defined_gradients
from diffeo.nets.convolution import (
    ChannelNorm,
    ConvolutionalNet,
    WeightNormConv,
    check_dropout,
    check_sizes,
    zero_convolution,
)
from diffeo.solvers import is_traced


def _normal_cdf(x: float) -> float:
    return 0.5 * math.erfc(-x / math.sqrt(2.0))


# E elu(X)² = ½ + E[(eˣ − 1)²; X < 0] for a standard normal X.
_ELU_SQUARE = 1 + math.exp(2) * _normal_cdf(-2) - 2 * math.exp(0.5) * _normal_cdf(-1)
_AFTER_ELU = _ELU_SQUARE**-0.5
_GATED = 0.1  # how large what a block adds is at the start, before its gate


class GatedAttentionNet(ConvolutionalNet):
    """Flow++'s conditioner, zero at the start.

    h = K ∗ x + c₀, then in each block, with [a, b] the halves of the channels,

        h ← N(h + a ⊙ σ(b)),  [a, b] = K″ ∗ drop(e(K′ ∗ e(h) + c)),  e(h) = elu([h, −h]),
        h ← N(h + a ⊙ σ(b)),  [a, b] = W ∗ drop(attention(h + p)),

    and θ = Z ∗ h, or Z ∗ e(h). K, K′ and Z are 3 wide, the others 1 wide; N normalises the channels
    of every position; attention goes from every position to all, in several heads; p, one for all
    blocks, is a learned embedding of the positions; the c are what `ContextMap` makes of the
    context, one a block. All convolutions but Z are weight-normalised, started so that to inputs of
    mean square 1 their outputs have variance 1 (0.1² where they are gated), as the published code's
    are by data; Z starts at zero. Dropout makes `repeatable` False while training.

    Eagerly, attention may be differentiated any number of times (PyTorch's own fast ones: once).

    Args:
        in_channels, out_channels, num_params, dims, context: as `ConvolutionalNet` has them.
        filters: channels of the blocks.
        blocks: how many.
        attention: False leaves out the second line.
        heads: of attention; divides filters.
        dropout: rate, in training.
        exit_activation: whether the last layer is Z ∗ e(h), the published code's for ImageNet,
            rather than Z ∗ h, its for CIFAR-10.
        spatial: the extents of the positions, which attention needs and holds the net to.
    Shapes: kept: (*batch, in_channels, *spatial); out: (*batch, out_channels, *spatial,
        num_params).

    Raises:
        ValueError: if a number is not positive, heads do not divide filters, attention lacks the
            extents, the dropout is not a rate, or the context is refused; and by the call, if with
            attention the extents are others.

    Example:
        >>> import torch
        >>> net = GatedAttentionNet(3, 3, 14, filters=8, blocks=2, spatial=(8, 4))
        >>> net(torch.randn(5, 3, 8, 4)).shape
        torch.Size([5, 3, 8, 4, 14])

    Reference: Ho, Chen, Srinivas, Duan & Abbeel, 2019, Flow++, arXiv:1902.00275, and its published
        code.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        num_params: int,
        dims: int = 2,
        context: ContextArgument = None,
        filters: int = 96,
        blocks: int = 10,
        attention: bool = True,
        heads: int = 4,
        dropout: float = 0.0,
        exit_activation: bool = False,
        spatial: Sequence[int] | None = None,
    ) -> None:
        owner = "GatedAttentionNet"
        check_sizes(owner, filters=filters, blocks=blocks, heads=heads)
        check_dropout(owner, dropout)
        super().__init__(
            in_channels, out_channels, num_params, dims, context, filters * (blocks + 1)
        )
        self.filters, self.attention, self.heads, self.dropout = filters, attention, heads, dropout
        self.spatial = _extents(owner, spatial, dims, filters, heads) if attention else None
        self.entry = WeightNormConv(dims, in_channels, filters)
        self.blocks = nn.ModuleList(
            _Block(filters, dims, heads if attention else 0, dropout) for _ in range(blocks)
        )
        self.positions = None
        if self.spatial is not None:
            self.positions = nn.Parameter(0.01 * torch.randn(filters, *self.spatial))
        self.exit_activation = exit_activation
        seen = 2 * filters if exit_activation else filters
        self.exit = zero_convolution(dims, seen, out_channels * num_params)

    @property
    def repeatable(self) -> bool:
        """Not with dropout in training."""
        return not (self.training and self.dropout)

    def _convolve(self, x: Tensor, from_context: Tensor | None) -> Tensor:
        if self.spatial is not None and tuple(x.shape[2:]) != self.spatial:
            raise ValueError(
                f"GatedAttentionNet: made for spatial extents {self.spatial}, got "
                f"{tuple(x.shape[2:])}; attention=False takes any"
            )
        count = len(self.blocks) + 1
        terms = [None] * count if from_context is None else from_context.chunk(count, dim=1)
        h = self.entry(x)
        if terms[0] is not None:
            h = h + terms[0]
        for block, term in zip(self.blocks, terms[1:], strict=True):
            h = block(h, term, self.positions)
        return self.exit(_concat_elu(h) if self.exit_activation else h)


class _Block(nn.Module):
    """A gated convolution and, with heads, gated attention; a normalization after each."""

    def __init__(self, filters: int, dims: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        gated = _GATED * _AFTER_ELU
        self.first = WeightNormConv(dims, 2 * filters, filters, gain=_AFTER_ELU)
        self.second = WeightNormConv(dims, 2 * filters, 2 * filters, 1, gain=gated)
        self.norm = ChannelNorm(filters)
        if heads:
            self.queries_keys_values = WeightNormConv(dims, filters, 3 * filters, 1)
            self.attended = WeightNormConv(dims, filters, 2 * filters, 1, gain=_GATED)
            self.attention_norm = ChannelNorm(filters)

    def forward(self, h: Tensor, from_context: Tensor | None, positions: Tensor | None) -> Tensor:
        inner = self.first(_concat_elu(h))
        if from_context is not None:
            inner = inner + from_context
        inner = self.second(self._drop(_concat_elu(inner)))
        h = self.norm(h + F.glu(inner, dim=1))
        if positions is None:
            return h
        inner = self.attended(self._drop(self._attend(h + positions)))
        return self.attention_norm(h + F.glu(inner, dim=1))

    def _attend(self, h: Tensor) -> Tensor:
        """Attention from every position to all: (B, filters, *spatial), as what comes in."""
        together = self.queries_keys_values(h).flatten(2).unflatten(1, (3, self.heads, -1))
        out = attention(*together.transpose(-1, -2).unbind(1))
        return out.transpose(-1, -2).flatten(1, 2).unflatten(-1, h.shape[2:])

    def _drop(self, h: Tensor) -> Tensor:
        return F.dropout(h, self.dropout, self.training) if self.dropout else h


def attention(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """softmax(Q Kᵀ / √d) V, without holding all of the softmax where PyTorch has a way.

    Shapes: all, and out: (B, heads, positions, d).
    """
    if torch.compiler.is_compiling():
        return F.scaled_dot_product_attention(queries, keys, values)
    if is_traced():  # under torch.func, for which the fast ways have no rules
        return _attention(queries, keys, values)
    return _Attention.apply(queries, keys, values)  # type: ignore[return-value]


def _attention(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    logits = (queries * queries.shape[-1] ** -0.5) @ keys.transpose(-1, -2)
    return logits.softmax(-1) @ values


class _Attention(Function):
    """PyTorch's attention, with gradients that have gradients."""

    @staticmethod
    def forward(ctx: Any, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:  # type: ignore[override]
        ctx.save_for_backward(queries, keys, values)
        return F.scaled_dot_product_attention(queries, keys, values)

    @staticmethod
    def backward(ctx: Any, of_out: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        define = _attention if torch.is_grad_enabled() else F.scaled_dot_product_attention
        return defined_gradients(define, ctx.saved_tensors, ctx.needs_input_grad, (of_out,))


def _concat_elu(h: Tensor) -> Tensor:
    return F.elu(torch.cat([h, -h], dim=1))


def _extents(
    owner: str, spatial: Sequence[int] | None, dims: int, filters: int, heads: int
) -> tuple[int, ...]:
    """The extents of the positions that attention embeds."""
    if filters % heads:
        raise ValueError(f"{owner}: heads must divide filters, got {heads} and {filters}")
    if spatial is None or len(spatial) != dims:
        raise ValueError(
            f"{owner}: attention embeds positions and needs their extents, "
            f"spatial=({describe((None,) * dims)}), got {spatial}; attention=False needs none"
        )
    for extent in spatial:
        check_sizes(owner, spatial=extent)
    return tuple(spatial)
