"""What convolutional conditioners share: their contract, their layers, and the way of a context."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from diffeo.contexts import (
    Context,
    ContextArgument,
    JoinContext,
    as_context_shape,
    as_floating,
    broadcast_batch,
    context_batch,
    describe,
    expand_context,
)
from diffeo.scalars.affine import soft_bound
from diffeo.solvers import is_traced

FAR = 1e6
"""Inputs farther from zero count as this far: so products of theirs can't leave float32."""
LOG_SCALE_BOUND = math.log(1000.0)
"""The scale of a `ZeroConv` lies between 1/1000 and 1000."""

_MODULES = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
_FUNCTIONS = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


class ConvolutionalNet(nn.Module, ABC):
    """A conditioner for images and their like: (kept, context) ↦ parameters of every position.

    Any number of batch dimensions may lead, none included; spatial extents are free unless the
    subclass says otherwise. Values beyond ±10⁶ count as ±10⁶. A subclass ends in a layer that
    starts at zero: so do the parameters.

    Args:
        in_channels: channels of what is kept.
        out_channels: channels of what is changed.
        num_params: parameters of each element that is changed.
        dims: number of spatial dimensions: 1, 2 or 3.
        context: declared shape or shapes, as `ContextMap` takes them; None for none.
        context_width: channels of what the subclass adds of the context.
    Shapes: kept: (*batch, in_channels, *spatial); context: as declared, with batch dimensions that
        broadcast with those of kept; out: (*batch, out_channels, *spatial, num_params), a view of
        the last convolution's output.

    Raises:
        ValueError: if a number is not positive, dims is not 1, 2 or 3, or the context is refused;
            and by the call, if the shapes are not these.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        num_params: int,
        dims: int,
        context: ContextArgument,
        context_width: int,
    ) -> None:
        super().__init__()
        owner = type(self).__name__
        check_dims(owner, dims)
        check_sizes(
            owner, in_channels=in_channels, out_channels=out_channels, num_params=num_params
        )
        self.in_channels, self.out_channels = in_channels, out_channels
        self.num_params, self.dims = num_params, dims
        self.context_shape = as_context_shape(context)
        self.context_map = (
            None
            if self.context_shape is None
            else ContextMap(self.context_shape, context_width, dims)
        )

    @property
    def repeatable(self) -> bool:
        """Whether running the net twice gives the same twice, and leaves it as running it once."""
        return True

    @abstractmethod
    def _convolve(self, x: Tensor, from_context: Tensor | None) -> Tensor:
        """(B, in_channels, *spatial) → (B, out_channels · num_params, *spatial).

        `from_context` is what `ContextMap` gives, None where there is no context.
        """

    def forward(self, kept: Tensor, context: Context = None) -> Tensor:
        """Parameters of shape (*batch, out_channels, *spatial, num_params)."""
        owner, cut = type(self).__name__, kept.dim() - self.dims - 1
        if cut < 0 or kept.shape[cut] != self.in_channels:
            raise ValueError(
                f"{owner}: expected shape (*batch, {self.in_channels}, "
                f"{describe((None,) * self.dims)}), got {tuple(kept.shape)}"
            )
        batch, event, from_context = tuple(kept.shape[:cut]), kept.shape[cut:], None
        if self.context_map is not None:
            batch = broadcast_batch(owner, batch, context_batch(owner, context, self.context_shape))
            kept = kept.expand(*batch, *event)
            from_context = self.context_map(context, batch, event[1:])
        x = F.hardtanh(_channels_last(as_one_batch(kept, len(batch))), -FAR, FAR)
        out = self._convolve(x, from_context)
        out = out.unflatten(1, (self.out_channels, self.num_params)).movedim(2, -1)
        return as_batch(out, batch)


class ContextMap(nn.Module):
    """What convolutions add of a context: W v + K ∗ s, for all positions or position by position.

    v are the parts of rank 0 and 1 (numbers, classes as one-hot), joined; s are the parts of rank
    dims + 1, (channels, *extents), resized to the positions and joined along the channels; K is 3
    wide. There is no bias: the convolution that it is added to has one.

    An extent that shrinks is averaged over areas; one that grows repeats its nearest.

    Args:
        context: declared shape or shapes; a spatial part's extents may be None.
        width: channels of what comes out.
        dims: number of spatial dimensions.
    Shapes: context: with batch dimensions that broadcast to the given `batch`; out: (B, width,
        *spatial), B being the number of events in the batch, or 1 where all have the same context;
        (B, width, 1, …) if no part is spatial.

    Raises:
        ValueError: if a part is of another rank, or its features or channels are not known, or
            there is none.
    """

    def __init__(self, context: ContextArgument, width: int, dims: int) -> None:
        super().__init__()
        check_dims("ContextMap", dims)
        check_sizes("ContextMap", width=width)
        declared = as_context_shape(context)
        if declared is None:
            raise ValueError("ContextMap: there is no context to map")
        self.one = not isinstance(declared, dict)
        shapes = declared if isinstance(declared, dict) else {"context": declared}
        for name, shape in shapes.items():
            if len(shape) not in (0, 1, dims + 1):
                raise ValueError(
                    f"ContextMap: {name} must be a vector (features,) or spatial (channels, "
                    f"{describe((None,) * dims)}), got ({describe(shape)}); reshape it, or encode "
                    "it with a context network"
                )
            if shape and shape[0] is None:
                raise ValueError(
                    f"ContextMap: {name} needs a known number of "
                    f"{'features' if len(shape) == 1 else 'channels'}, got ({describe(shape)})"
                )
        self.width, self.dims = width, dims
        vectors = {name: shape for name, shape in shapes.items() if len(shape) < 2}
        self.spatial_shapes = {name: shape for name, shape in shapes.items() if len(shape) >= 2}
        self.join = JoinContext(vectors) if vectors else None
        self.vector = nn.Linear(self.join.features, width, bias=False) if self.join else None
        channels = sum(shape[0] for shape in self.spatial_shapes.values())  # type: ignore[misc]
        self.spatial = convolution(dims, channels, width, bias=False) if channels else None

    def forward(self, context: Context, batch: Sequence[int], spatial: Sequence[int]) -> Tensor:
        """The sum, for a batch of that shape of events with those spatial extents."""
        weight = (self.vector or self.spatial).weight  # type: ignore[union-attr]
        parts: Context = as_floating({"context": context} if self.one else context, weight.dtype)  # type: ignore[dict-item]
        terms = []
        if self.join is not None and self.vector is not None:
            joined = self.join({name: parts[name] for name in self.join.shapes})  # type: ignore[index,union-attr]
            terms.append(self.vector(joined)[(..., *(None,) * self.dims)])
        if self.spatial is not None:
            terms.append(self._from_spatial(parts, spatial))
        out = terms[0] if len(terms) == 1 else terms[0] + terms[1]
        cut = out.dim() - self.dims - 1
        if all(extent == 1 for extent in out.shape[:cut]):
            return out.reshape(1, *out.shape[cut:])
        return as_one_batch(out.expand(*batch, *out.shape[cut:]), len(batch))

    def _from_spatial(self, context: Context, spatial: Sequence[int]) -> Tensor:
        parts = {name: context[name] for name in self.spatial_shapes}  # type: ignore[index]
        batch = context_batch("ContextMap", parts, self.spatial_shapes)
        expanded = expand_context(parts, self.spatial_shapes, batch)
        resized = [
            resize(as_one_batch(expanded[name], len(batch)), spatial)  # type: ignore[index]
            for name in self.spatial_shapes
        ]
        joined = resized[0] if len(resized) == 1 else torch.cat(resized, dim=1)
        return as_batch(self.spatial(joined), batch)  # type: ignore[misc]


class ZeroConv(nn.Module):
    """A last layer: y = (W ∗ x + b) e^{β(3s)}, with W, b and s started at zero.

    s, one a channel, lets the layer grow faster than its weights do. β(a) = a / (1 + |a| / B) with
    B = log 1000 keeps the scale inside (1/1000, 1000).

    Args:
        dims: number of spatial dimensions.
        in_channels, out_channels: of x and y.
        width: of the kernel, odd; what lies outside is taken for zero.
    Shapes: x: (B, in_channels, *spatial); y: (B, out_channels, *spatial).

    Reference: Kingma & Dhariwal, 2018, Glow, arXiv:1807.03039 (the published code).
    """

    def __init__(self, dims: int, in_channels: int, out_channels: int, width: int = 3) -> None:
        super().__init__()
        check_convolution("ZeroConv", dims, in_channels, out_channels, width)
        self.dims, self.width = dims, width
        self.weight = nn.Parameter(torch.zeros(out_channels, in_channels, *(width,) * dims))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.log_scale = nn.Parameter(torch.zeros(out_channels))

    def forward(self, x: Tensor) -> Tensor:
        """(W ∗ x + b) e^{β(3s)}, the scale taken into W and b, which are smaller than y."""
        scale = soft_bound(3 * self.log_scale, LOG_SCALE_BOUND).exp()
        weight = self.weight * scale.view(-1, *(1,) * (self.dims + 1))
        return _FUNCTIONS[self.dims](x, weight, self.bias * scale, padding=self.width // 2)

    def extra_repr(self) -> str:
        """Sizes."""
        return _sizes(self.weight)


class WeightNormConv(nn.Module):
    """A convolution with the length and the direction of its weights apart: w = g v / ‖v‖.

    The norm is that of each output channel's weights. To independent inputs of mean square m, y has
    variance g² m away from the borders: g starts at `gain` so that it can be chosen without data.
    (`torch.nn.utils.parametrizations.weight_norm` makes modules that can't be pickled.)

    Args:
        dims: number of spatial dimensions.
        in_channels, out_channels: of x and y.
        width: of the kernel, odd; what lies outside is taken for zero.
        gain: g at the start. v starts at N(0, 0.05²), as in the paper.
        bias: whether there is one; it starts at zero.
        scale: whether g is learned; where a batch normalization follows, it could do nothing.
    Shapes: x: (B, in_channels, *spatial); y: (B, out_channels, *spatial).

    Reference: Salimans & Kingma, 2016, Weight Normalization, arXiv:1602.07868.
    """

    def __init__(
        self,
        dims: int,
        in_channels: int,
        out_channels: int,
        width: int = 3,
        gain: float = 1.0,
        bias: bool = True,
        scale: bool = True,
    ) -> None:
        super().__init__()
        check_convolution("WeightNormConv", dims, in_channels, out_channels, width)
        self.dims, self.width, self.gain = dims, width, gain
        self.v = nn.Parameter(torch.empty(out_channels, in_channels, *(width,) * dims))
        nn.init.normal_(self.v, std=0.05)
        self.g = nn.Parameter(torch.full((out_channels,), float(gain))) if scale else None
        self.bias = nn.Parameter(torch.zeros(out_channels)) if bias else None

    def weight(self) -> Tensor:
        """g v / ‖v‖, of v's shape."""
        ones = (1,) * (self.dims + 1)
        # A channel whose v is zero gives zero, not NaN.
        norm = torch.linalg.vector_norm(self.v.flatten(1), dim=1).clamp_min(1e-12)
        scale = (self.gain if self.g is None else self.g) / norm
        return self.v * scale.view(-1, *ones)

    def forward(self, x: Tensor) -> Tensor:
        """w ∗ x + b."""
        return _FUNCTIONS[self.dims](x, self.weight(), self.bias, padding=self.width // 2)

    def extra_repr(self) -> str:
        """Sizes and options."""
        options = f"bias={self.bias is not None}, scale={self.g is not None}"
        return f"{_sizes(self.v)}, gain={self.gain:.4g}, {options}"


class ChannelAffine(nn.Module):
    """A learned scale and shift of every channel: y = a ⊙ x + b, with a = 1 and b = 0 at the start.

    Args:
        channels: of x and y.
        dims: number of spatial dimensions.
    Shapes: x, y: (B, channels, *spatial).
    """

    def __init__(self, channels: int, dims: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(channels, *(1,) * dims))
        self.shift = nn.Parameter(torch.zeros(channels, *(1,) * dims))

    def forward(self, x: Tensor) -> Tensor:
        """a ⊙ x + b."""
        return x * self.scale + self.shift


class ChannelNorm(nn.Module):
    """Layer normalization of the channels at every position, with a learned scale and shift.

    Args:
        channels: of x and y.
    Shapes: x, y: (B, channels, *spatial); y lies in memory channels last.

    Reference: Ba, Kiros & Hinton, 2016, Layer Normalization, arXiv:1607.06450.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)

    def forward(self, x: Tensor) -> Tensor:
        """(x − mean) / deviation ⊙ scale + shift."""
        return self.norm(x.movedim(1, -1)).movedim(-1, 1)


def _channels_last(x: Tensor) -> Tensor:
    """Images with their channels last in memory, where convolutions are faster for it."""
    if x.dim() != 4 or is_traced():
        return x
    return x.contiguous(memory_format=torch.channels_last)


def convolution(
    dims: int, in_channels: int, out_channels: int, width: int = 3, bias: bool = True
) -> nn.Conv1d | nn.Conv2d | nn.Conv3d:
    """PyTorch's convolution in that many dimensions, its output as large as its input."""
    check_convolution("convolution", dims, in_channels, out_channels, width)
    return _MODULES[dims](in_channels, out_channels, width, padding=width // 2, bias=bias)


def zero_convolution(
    dims: int, in_channels: int, out_channels: int, width: int = 3
) -> nn.Conv1d | nn.Conv2d | nn.Conv3d:
    """The same with weights and bias started at zero."""
    layer = convolution(dims, in_channels, out_channels, width)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return layer


def resize(x: Tensor, spatial: Sequence[int]) -> Tensor:
    """x with other spatial extents: shrinking ones are averaged over areas, growing ones repeated.

    Shapes: x: (B, channels, *extents); out: (B, channels, *spatial).
    """
    extents, wanted = tuple(x.shape[2:]), tuple(spatial)
    least = tuple(min(have, want) for have, want in zip(extents, wanted, strict=True))
    if least != extents:
        x = F.interpolate(x, least, mode="area")  # type: ignore[arg-type]
    if least != wanted:
        x = F.interpolate(x, wanted, mode="nearest-exact")  # type: ignore[arg-type]
    return x


def as_one_batch(x: Tensor, dims: int) -> Tensor:
    """The first `dims` dimensions as one, which is of one event where there are none."""
    if dims == 1:
        return x
    return x.flatten(0, dims - 1) if dims else x.unsqueeze(0)


def as_batch(x: Tensor, batch: Sequence[int]) -> Tensor:
    """Undoes `as_one_batch`."""
    if len(batch) == 1:
        return x
    return x.unflatten(0, tuple(batch)) if len(batch) else x.squeeze(0)


def check_dims(owner: str, dims: int) -> None:
    """Refuses a number of spatial dimensions other than 1, 2 or 3."""
    if dims not in _MODULES or isinstance(dims, bool):
        raise ValueError(f"{owner}: dims must be 1, 2 or 3, got {dims!r}")


def check_sizes(owner: str, **sizes: int) -> None:
    """Refuses what is not a positive whole number."""
    for name, size in sizes.items():
        if not isinstance(size, int) or isinstance(size, bool) or size < 1:
            raise ValueError(f"{owner}: {name} must be a positive whole number, got {size!r}")


def check_dropout(owner: str, dropout: float) -> None:
    """Refuses a rate outside [0, 1)."""
    if not 0 <= dropout < 1:
        raise ValueError(f"{owner}: dropout must be at least 0 and below 1, got {dropout!r}")


def check_convolution(owner: str, dims: int, ins: int, outs: int, width: int) -> None:
    """Refuses numbers that are not positive, and a kernel without a middle."""
    check_dims(owner, dims)
    check_sizes(owner, in_channels=ins, out_channels=outs, width=width)
    if width % 2 == 0:
        raise ValueError(
            f"{owner}: width must be odd, so that the kernel has a middle; got {width}"
        )


def _sizes(weight: Tensor) -> str:
    return f"{weight.shape[1]}, {weight.shape[0]}, width={weight.shape[2]}, dims={weight.dim() - 2}"
