"""RealNVP's conditioner: a weight-normalised residual network whose blocks all reach the output."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from diffeo.contexts import ContextArgument
from diffeo.nets.convolution import (
    ConvolutionalNet,
    WeightNormConv,
    check_sizes,
    zero_convolution,
)

_NORMS = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}


class ConvResNet(ConvolutionalNet):
    """RealNVP's residual conditioner, zero at the start.

    y = 2 n(x);  h₀ = K ∗ relu([y, −y]) + c;
    h_l = h_{l−1} + K″_l ∗ relu(n(K′_l ∗ relu(n(h_{l−1}))));
    θ = Z ∗ relu(n(Σ_{l=0}^{blocks} S_l ∗ h_l)).

    K, K′ and K″ are 3 wide, the skips S and the last layer Z 1 wide; all but Z are
    weight-normalised and start with g = 1; Z starts at zero. n is a batch normalization, over
    events and positions, with running statistics in evaluation; c is what `ContextMap` makes of the
    context. Statistics of the batch make `repeatable` False while training.

    The published code also shows the network the mask, which tells what is kept where the whole
    image is computed; here only that half comes in.

    Args:
        in_channels, out_channels, num_params, dims, context: as `ConvolutionalNet` has them.
        filters: channels of the blocks.
        blocks: how many.
        normalization: "batch", or "none".
    Shapes: kept: (*batch, in_channels, *spatial); out: (*batch, out_channels, *spatial,
        num_params).

    Raises:
        ValueError: if a number is not positive, the normalization is unknown, or the context is
            refused.

    Example:
        >>> import torch
        >>> net = ConvResNet(3, 3, 2, filters=8, blocks=2)
        >>> net(torch.randn(5, 3, 8, 4)).shape
        torch.Size([5, 3, 8, 4, 2])

    Reference: Dinh, Sohl-Dickstein & Bengio, 2016, RealNVP, arXiv:1605.08803, section 4.1, and its
        published code;
        Salimans & Kingma, 2016, Weight Normalization, arXiv:1602.07868.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        num_params: int,
        dims: int = 2,
        context: ContextArgument = None,
        filters: int = 64,
        blocks: int = 8,
        normalization: str = "batch",
    ) -> None:
        check_sizes("ConvResNet", filters=filters, blocks=blocks)
        super().__init__(in_channels, out_channels, num_params, dims, context, filters)
        if normalization not in ("batch", "none"):
            raise ValueError(
                f"ConvResNet: normalization must be 'batch' or 'none', got {normalization!r}"
            )
        self.filters, self.normalization = filters, normalization
        batch = normalization == "batch"
        self.entry_norm = _norm(in_channels, dims, batch)
        self.entry = WeightNormConv(dims, 2 * in_channels, filters)
        self.blocks = nn.ModuleList(_Block(filters, dims, batch) for _ in range(blocks))
        # The first has a bias for all: theirs would add up.
        self.skips = nn.ModuleList(
            WeightNormConv(dims, filters, filters, 1, bias=i == 0) for i in range(blocks + 1)
        )
        self.norm = _norm(filters, dims, batch)
        self.exit = zero_convolution(dims, filters, out_channels * num_params, 1)

    @property
    def repeatable(self) -> bool:
        """Not with batch normalization in training."""
        return not (self.training and self.normalization == "batch")

    def weight_norm_scales(self) -> list[nn.Parameter]:
        """Every learned g, which RealNVP's training penalises with 5e-5 Σ g²."""
        return [
            module.g
            for module in self.modules()
            if isinstance(module, WeightNormConv) and module.g is not None
        ]

    def _convolve(self, x: Tensor, from_context: Tensor | None) -> Tensor:
        y = 2 * self.entry_norm(x)
        h = self.entry(F.relu(torch.cat([y, -y], dim=1)))
        if from_context is not None:
            h = h + from_context
        out = self.skips[0](h)
        for i, block in enumerate(self.blocks, 1):
            h = block(h)
            out = out + self.skips[i](h)
        return self.exit(F.relu(self.norm(out)))


class _Block(nn.Module):
    """h + K″ ∗ relu(n(K′ ∗ relu(n(h)))). Before a normalization K′ has neither bias nor scale."""

    def __init__(self, filters: int, dims: int, batch: bool) -> None:
        super().__init__()
        self.first_norm = _norm(filters, dims, batch)
        self.first = WeightNormConv(dims, filters, filters, bias=not batch, scale=not batch)
        self.second_norm = _norm(filters, dims, batch)
        self.second = WeightNormConv(dims, filters, filters)

    def forward(self, h: Tensor) -> Tensor:
        inner = self.first(F.relu(self.first_norm(h)))
        return h + self.second(F.relu(self.second_norm(inner)))


def _norm(filters: int, dims: int, batch: bool) -> nn.Module:
    """The published code's ε."""
    return _NORMS[dims](filters, eps=1e-4) if batch else nn.Identity()
