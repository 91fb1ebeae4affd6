"""The prior of what leaves a multi-scale flow, given what stays; and of what is left at its end."""

from torch import Tensor

from diffeo.contexts import ContextArgument
from diffeo.nets.convolution import ConvolutionalNet, ZeroConv


class ConvPrior(ConvolutionalNet):
    """One convolution, zero at the start: θ = Z ∗ (x + c), Z a `ZeroConv`, c of the context.

    Args:
        in_channels, out_channels, num_params, dims, context: as `ConvolutionalNet` has them.
    Shapes: kept: (*batch, in_channels, *spatial); out: (*batch, out_channels, *spatial,
        num_params).

    Reference: Kingma & Dhariwal, 2018, Glow, arXiv:1807.03039 (the published code).
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        num_params: int,
        dims: int = 2,
        context: ContextArgument = None,
    ) -> None:
        super().__init__(in_channels, out_channels, num_params, dims, context, in_channels)
        self.exit = ZeroConv(dims, in_channels, out_channels * num_params)

    def _convolve(self, x: Tensor, from_context: Tensor | None) -> Tensor:
        return self.exit(x if from_context is None else x + from_context)
