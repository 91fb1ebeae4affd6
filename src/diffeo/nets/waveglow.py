"""WaveGlow's conditioner, and the grouping of its condition."""

from typing import cast

from torch import Tensor, nn

from diffeo.contexts import Context, ContextShape, context_batch, describe
from diffeo.nets.convolution import as_batch, as_one_batch, check_sizes
from diffeo.nets.gated import GatedConvolutions
from diffeo.nets.upsample import Upsample, fit_condition


class WaveGlowNet(nn.Module):
    """WaveGlow's conditioner: gated convolutions that look to both sides, zero at the start.

    Args:
        in_channels: channels of what is kept.
        out_channels: channels of what is changed.
        num_params: parameters of each element that is changed.
        context_channels: of the condition; 0 for none.
        layers, residual, skip, width, weight_norm: as `GatedConvolutions` has them; dilations
            double from layer to layer.
        group: samples of a position, for messages.
        local: whether the condition has a column for every position; otherwise it has one for all.
    Shapes: kept: (*batch, in_channels, T); context: (*batch, context_channels, T or more), or 1
        where it is not local; out: (*batch, out_channels, T, num_params).

    Raises:
        ValueError: if a number is not positive; and by the call, if shapes are not these.
    Reference: Prenger, Valle & Catanzaro, 2018, WaveGlow, arXiv:1811.00002, section 2.2.
    """

    context_shape: ContextShape

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        num_params: int,
        context_channels: int = 0,
        layers: int = 8,
        residual: int = 256,
        skip: int = 256,
        width: int = 3,
        weight_norm: bool = True,
        group: int = 1,
        local: bool = True,
    ) -> None:
        super().__init__()
        check_sizes("WaveGlowNet", out_channels=out_channels, num_params=num_params, group=group)
        self.out_channels, self.num_params, self.group = out_channels, num_params, group
        self.local = local
        columns = None if local else 1
        self.context_shape = (context_channels, columns) if context_channels else None
        self.stack = GatedConvolutions(
            in_channels,
            out_channels * num_params,
            layers,
            residual,
            skip,
            width,
            cycle=None,
            causal=False,
            context_channels=context_channels,
            context_bias=True,
            weight_norm=weight_norm,
        )

    def forward(self, kept: Tensor, context: Context = None) -> Tensor:
        """Parameters of shape (*batch, out_channels, T, num_params)."""
        if kept.dim() < 2 or kept.shape[-2] != self.stack.in_channels:
            raise ValueError(
                f"WaveGlowNet: expected shape (*batch, {describe((self.stack.in_channels, None))}),"
                f" got {tuple(kept.shape)}"
            )
        batch, condition = tuple(kept.shape[:-2]), None
        if self.context_shape is not None:
            context_batch("WaveGlowNet", context, self.context_shape)
            condition = fit_condition(
                "WaveGlowNet", cast(Tensor, context), kept.shape[-1], self.local, self.group
            ).to(kept.dtype)
            condition = as_one_batch(condition.expand(*batch, *condition.shape[-2:]), len(batch))
        out = self.stack(as_one_batch(kept, len(batch)), condition)
        out = out.unflatten(1, (self.out_channels, self.num_params)).movedim(2, -1)
        return as_batch(out, batch)


class GroupedCondition(nn.Module):
    """The columns of g samples as one, for flows whose samples are in groups of g.

    Args:
        upsample: makes a column for every sample of the context.
        group: g; what is left over at the end is cut off.
    Shapes: context: as `upsample` takes it; out: (*batch, channels · g, samples / g), or
        (*batch, channels, 1) where there is no local part, and one column serves all samples.
    """

    def __init__(self, upsample: Upsample, group: int) -> None:
        super().__init__()
        check_sizes("GroupedCondition", group=group)
        self.upsample, self.group = upsample, group
        self.local = bool(upsample.local)
        self.channels = upsample.channels * (group if self.local else 1)

    def initialize(self, context: Context) -> None:
        """As `Upsample.initialize`."""
        self.upsample.initialize(context)

    def forward(self, context: Context) -> Tensor:
        """The condition of groups."""
        columns = self.upsample(context)
        if not self.local:
            return columns
        whole = columns.shape[-1] - columns.shape[-1] % self.group
        grouped = columns[..., :whole].unflatten(-1, (-1, self.group))
        return grouped.movedim(-1, -2).flatten(-3, -2)
