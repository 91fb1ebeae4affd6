"""Contexts of sounds, from frames to samples: transposed convolutions, and vectors beside them."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from diffeo.contexts import (
    Context,
    ContextArgument,
    JoinContext,
    as_context_shape,
    as_floating,
    context_batch,
    describe,
)
from diffeo.nets.convolution import as_batch, as_one_batch, check_sizes
from diffeo.numerics import widen

SLOPE = 0.4
"""Of the leaky rectifiers between transposed convolutions."""
LEAST_SPREAD = 1e-2
"""Channels that vary less than so much of what the most varied one does count as varying so much.
"""


class Upsample(nn.Module):
    """Makes one condition, a column a sample, of a context of a sound.

    Local parts, (channels, frames), are joined along the channels and go through transposed
    convolutions, with leaky rectifiers between them, to `hop` columns a frame: frame f is spread
    around the samples f·hop … (f + 1)·hop − 1. Vectors (a speaker as one-hot) are joined to every
    column. Where all parts are vectors there is one column.

    The kernel of a convolution of stride s is `overlap`·s wide, and starts as a window around the
    middle of a frame's samples that fades each frame into the next, channel by channel.

    Args:
        context: declared shape or shapes: (channels, None) or (channels, frames) for local parts,
            () or (features,) for vectors.
        hop: samples a frame.
        strides: of the transposed convolutions, first to last; their product is the hop. None: one
            convolution. WaveGlow's is one of stride 256 with an overlap of 4.
        overlap: how many frames meet in a sample, for each convolution.
        standardize: whether each channel of the local parts is brought to mean 0 and variance 1
            first, as `initialize` measures them; before that it is left as it is.
    Shapes: context: as declared, with batch dimensions that broadcast; out: (*batch, channels,
        frames · hop), or (*batch, channels, 1) if all parts are vectors.

    Raises:
        ValueError: if a part is of another rank, its channels or features are not known, there is
            none, or strides do not make up the hop; in a call, if local parts differ in frames, or
            have none.

    Example:
        >>> upsample = Upsample({"mel": (80, None), "speaker": (6,)}, hop=256)
        >>> upsample({"mel": torch.randn(3, 80, 10), "speaker": torch.eye(6)[:3]}).shape
        torch.Size([3, 86, 2560])

    Reference: van den Oord et al., 2016, WaveNet, arXiv:1609.03499, section 2.5; Prenger, Valle &
        Catanzaro, 2018, WaveGlow, arXiv:1811.00002.
    """

    shift: Tensor | None
    scale: Tensor | None
    initialized: Tensor

    def __init__(
        self,
        context: ContextArgument,
        hop: int = 256,
        strides: Sequence[int] | None = None,
        overlap: int = 2,
        standardize: bool = False,
    ) -> None:
        super().__init__()
        declared = as_context_shape(context)
        if declared is None:
            raise ValueError("Upsample: there is no context")
        self.one = not isinstance(declared, dict)
        shapes = declared if isinstance(declared, dict) else {"context": declared}
        self.strides = (hop,) if strides is None else tuple(strides)
        self.hop, self.overlap = hop, overlap
        check_sizes("Upsample", hop=hop, overlap=overlap, strides=min(self.strides))
        if math.prod(self.strides) != hop:
            raise ValueError(f"Upsample: strides {self.strides} do not make up a hop of {hop}")
        for name, shape in shapes.items():
            if len(shape) > 2 or (shape and shape[0] is None):
                raise ValueError(
                    f"Upsample: {name} must be a vector (features,) or local (channels, ?), "
                    f"got ({describe(shape)})"
                )
        self.shapes = shapes
        self.local = {name: shape for name, shape in shapes.items() if len(shape) == 2}
        vectors = {name: shape for name, shape in shapes.items() if len(shape) < 2}
        self.join = JoinContext(vectors) if vectors else None
        within = sum(shape[0] for shape in self.local.values())  # type: ignore[misc]
        self.channels = within + (self.join.features if self.join else 0)
        self.weights, self.biases = nn.ParameterList(), nn.ParameterList()
        for stride in self.strides if within else ():
            self.weights.append(_fading(within, stride, overlap))
            self.biases.append(nn.Parameter(torch.zeros(within)))
        measured = standardize and within > 0
        self.register_buffer("shift", torch.zeros(within, 1) if measured else None)
        self.register_buffer("scale", torch.ones(within, 1) if measured else None)
        if measured:
            self.register_buffer("initialized", torch.tensor(False))

    def forward(self, context: Context) -> Tensor:
        """The condition, (*batch, channels, samples or 1)."""
        parts, batch = self._admit(context)
        columns: list[Tensor] = []
        if self.local:
            columns.append(self._upsampled(self._joined(parts)))
        if self.join is not None:
            vector = self.join({name: parts[name] for name in self.join.shapes})  # type: ignore[index,union-attr]
            columns.append(vector.unsqueeze(-1))
        if len(columns) == 1:
            return columns[0]
        length = columns[0].shape[-1]
        spread = [part.expand(*batch, part.shape[-2], length) for part in columns]
        return torch.cat(spread, dim=-2)

    @torch.no_grad()
    def initialize(self, context: Context) -> None:
        """Measures shift and scale of the local channels, unless that was done before.

        Args:
            context: of the training data, as declared.
        """
        if self.shift is None or self.scale is None or self.initialized:
            return
        local = self._joined(self._admit(context)[0])
        var, mean = torch.var_mean(
            widen(local.movedim(-2, 0).flatten(1)), dim=1, keepdim=True, correction=0
        )
        least = LEAST_SPREAD**2 * var.max()
        self.shift.copy_(mean)
        self.scale.copy_(var.clamp(min=least).sqrt() if least > 0 else torch.ones_like(var))
        self.initialized.fill_(True)

    def _admit(self, context: Context) -> tuple[Mapping[str, Tensor], tuple[int, ...]]:
        """The parts by name, and their batch shape."""
        parts: Any = {"context": context} if self.one else context
        batch = context_batch("Upsample", parts, self.shapes)  # type: ignore[arg-type]
        return (as_floating(parts, self.weights[0].dtype) if self.local else parts), batch  # type: ignore[return-value]

    def _joined(self, parts: Mapping[str, Tensor]) -> Tensor:
        """The local parts along the channels, (*batch, channels, frames)."""
        local = [parts[name] for name in self.local]
        frames = {name: part.shape[-1] for name, part in zip(self.local, local, strict=True)}
        if len(set(frames.values())) > 1:
            raise ValueError(f"Upsample: local parts differ in their numbers of frames: {frames}")
        if 0 in frames.values():
            raise ValueError(f"Upsample: {', '.join(frames)} must have 1 frame or more, got 0")
        batch = torch.broadcast_shapes(*(part.shape[:-2] for part in local))
        return torch.cat([part.expand(*batch, *part.shape[-2:]) for part in local], dim=-2)

    def _upsampled(self, local: Tensor) -> Tensor:
        batch = local.shape[:-2]
        if self.shift is not None and self.scale is not None:
            local = (local - self.shift) / self.scale
        y = as_one_batch(local, len(batch))
        for i, (stride, weight, bias) in enumerate(
            zip(self.strides, self.weights, self.biases, strict=True)
        ):
            wanted, cut = y.shape[-1] * stride, weight.shape[-1] - stride
            y = F.conv_transpose1d(F.leaky_relu(y, SLOPE) if i else y, weight, bias, stride)
            y = y.narrow(-1, cut // 2, wanted)
        return as_batch(y, batch)

    def extra_repr(self) -> str:
        """Shapes and sizes."""
        return (
            f"{self.shapes}, hop={self.hop}, strides={self.strides}, overlap={self.overlap}, "
            f"standardize={self.shift is not None}"
        )


def fit_condition(
    owner: str, condition: Tensor, positions: int, local: bool = True, group: int = 1
) -> Tensor:
    """A condition cropped to the columns of so many positions; one that is not local stays.

    Args:
        owner: for the message.
        condition: (*batch, channels, columns).
        positions: of the event.
        local: whether there is a column for every position, and not one for all.
        group: samples of a position, for the message.

    Raises:
        ValueError: if there are too few columns.
    """
    if local:
        check_columns(owner, condition.shape[-1], positions, group)
    return condition[..., :positions] if local else condition


def check_columns(owner: str, columns: int, positions: int, group: int = 1) -> None:
    """Refuses a local condition that ends before the sound does.

    Args:
        owner: for the message.
        columns: of the condition.
        positions: of the sound, so far.
        group: samples of each.

    Raises:
        ValueError: if there are too few columns.
    """
    if columns < positions:
        raise ValueError(
            f"{owner}: the frames of the context cover {columns * group:,} samples, and the sound "
            f"has {positions * group:,}; give more frames, or a shorter sound"
        )


def _fading(channels: int, stride: int, overlap: int) -> nn.Parameter:
    """Windows that add up to one wherever frames meet, for each channel its own.

    (1 + cos 2π (i − c) / size) / overlap, c the place of the middle of a frame's samples in the
    kernel, some of whose first values lie before them.
    """
    size, before = overlap * stride, (overlap - 1) * stride // 2
    if overlap == 1:
        window = torch.ones(size)
    else:
        away = torch.arange(size, dtype=torch.float64) - before - (stride - 1) / 2
        window = ((1 + torch.cos(2 * math.pi * away / size)) / overlap).float()
    return nn.Parameter(torch.eye(channels)[:, :, None] * window)
