"""RealNVP's bound on what a network says of scales."""

import torch
from torch import Tensor, nn

from diffeo.contexts import Context, ContextShape


class TanhScale(nn.Module):
    """A conditioner whose last parameter is bounded by a learned number: a ↦ γ tanh a.

    γ, one a channel, starts at 1. Of an affine map's parameters (t, a) the second is the log-scale.

    Args:
        net: a convolutional conditioner.
        channels: of what it gives parameters for.
    Shapes: as those of the net: out: (*batch, channels, *spatial, num_params).

    Reference: Dinh, Sohl-Dickstein & Bengio, 2016, RealNVP, arXiv:1605.08803, section 4.1.
    """

    def __init__(self, net: nn.Module, channels: int) -> None:
        super().__init__()
        self.net = net
        self.context_shape: ContextShape = net.context_shape  # type: ignore[assignment]
        self.limit = nn.Parameter(torch.ones(channels))

    @property
    def repeatable(self) -> bool:
        """As the net is."""
        return self.net.repeatable  # type: ignore[return-value]

    def forward(self, kept: Tensor, context: Context = None) -> Tensor:
        """The net's parameters, the last bounded."""
        params = self.net(kept, context)
        others, raw = params[..., :-1], params[..., -1:]
        space = (1,) * (self.net.dims + 1)  # type: ignore[operator]
        return torch.cat([others, self.limit.reshape(-1, *space) * raw.tanh()], dim=-1)
