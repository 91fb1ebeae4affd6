"""Glow's conditioner: three convolutions, the middle one 1 wide."""

from torch import Tensor, nn
from torch.nn import functional as F

from diffeo.contexts import ContextArgument
from diffeo.nets.convolution import (
    ChannelAffine,
    ConvolutionalNet,
    ZeroConv,
    check_sizes,
    convolution,
)


class GlowNet(ConvolutionalNet):
    """Glow's conditioner: θ = Z ∗ relu(n₂(K₂ ∗ relu(n₁(K₁ ∗ x + c)))), zero at the start.

    K₁ is 3 wide, K₂ 1 wide, both started at N(0, 0.05²); Z is a `ZeroConv`, 3 wide; c is what
    `ContextMap` makes of the context.

    Args:
        in_channels, out_channels, num_params, dims, context: as `ConvolutionalNet` has them.
        filters: channels between the convolutions.
        normalization: "none": n₁ and n₂ add a bias. "affine": they scale and shift every channel,
            as the published code's actnorm does, but started at 1 and 0, not from data.
    Shapes: kept: (*batch, in_channels, *spatial); out: (*batch, out_channels, *spatial,
        num_params).

    Raises:
        ValueError: if a number is not positive, the normalization is unknown, or the context is
            refused.

    Example:
        >>> import torch
        >>> net = GlowNet(6, 6, 2, filters=16, context=10)
        >>> net(torch.randn(5, 6, 8, 8), torch.eye(10)[:5]).shape
        torch.Size([5, 6, 8, 8, 2])

    Reference: Kingma & Dhariwal, 2018, Glow, arXiv:1807.03039.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        num_params: int,
        dims: int = 2,
        context: ContextArgument = None,
        filters: int = 512,
        normalization: str = "none",
    ) -> None:
        check_sizes("GlowNet", filters=filters)
        super().__init__(in_channels, out_channels, num_params, dims, context, filters)
        if normalization not in ("none", "affine"):
            raise ValueError(
                f"GlowNet: normalization must be 'none' or 'affine', got {normalization!r}"
            )
        self.filters, self.normalization = filters, normalization
        affine = normalization == "affine"
        self.first = convolution(dims, in_channels, filters, 3, bias=not affine)
        self.first_norm = ChannelAffine(filters, dims) if affine else nn.Identity()
        self.second = convolution(dims, filters, filters, 1, bias=not affine)
        self.second_norm = ChannelAffine(filters, dims) if affine else nn.Identity()
        self.exit = ZeroConv(dims, filters, out_channels * num_params)
        for layer in (self.first, self.second):
            nn.init.normal_(layer.weight, std=0.05)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)

    def _convolve(self, x: Tensor, from_context: Tensor | None) -> Tensor:
        h = self.first(x)
        if from_context is not None:
            h = h + from_context
        # What a rectifier is given nobody else needs, so that it takes the place.
        h = F.relu(self.first_norm(h), inplace=True)
        return self.exit(F.relu(self.second_norm(self.second(h)), inplace=True))
