"""Contexts of sounds, from frames to samples: transposed convolutions, and vectors beside them."""

import math
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
    context_batch,
    describe,
)
from diffeo.nets.convolution import as_batch, as_one_batch, check_sizes

SLOPE = 0.4
"""Of the leaky rectifiers between transposed convolutions."""


class Upsample(nn.Module):
    """Makes one condition, a column a sample, of a context of a sound.

    Local parts, (channels, frames), are joined along the channels and go through transposed
    convolutions, with leaky rectifiers between them, to `hop` columns a frame: frame f is spread
    around the samples f·hop … (f + 1)·hop − 1. Vectors (a speaker as one-hot) are joined to every
    column. Where all parts are vectors there is one column.

    The kernel of a convolution of stride s is `overlap`·s wide, and starts as a window that fades
    each frame into the next, channel by channel.

    Args:
        context: declared shape or shapes: (channels, None) or (channels, frames) for local parts,
            () or (features,) for vectors.
        hop: samples a frame.
        strides: of the transposed convolutions, first to last; their product is the hop. None: one
            convolution. WaveGlow's is one of stride 256 with an overlap of 4.
        overlap: how many frames meet in a sample, for each convolution.
    Shapes: context: as declared, with batch dimensions that broadcast; out: (*batch, channels,
        frames · hop), or (*batch, channels, 1) if all parts are vectors.

    Raises:
        ValueError: if a part is of another rank, its channels or features are not known, there is
            none, or strides do not make up the hop; in a call, if local parts differ in frames.

    Example:
        >>> upsample = Upsample({"mel": (80, None), "speaker": (6,)}, hop=256)
        >>> upsample({"mel": torch.randn(3, 80, 10), "speaker": torch.eye(6)[:3]}).shape
        torch.Size([3, 86, 2560])

    Reference: van den Oord et al., 2016, WaveNet, arXiv:1609.03499, section 2.5; Prenger, Valle &
        Catanzaro, 2018, WaveGlow, arXiv:1811.00002.
    """

    def __init__(
        self,
        context: ContextArgument,
        hop: int = 256,
        strides: Sequence[int] | None = None,
        overlap: int = 2,
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

    def forward(self, context: Context) -> Tensor:
        """The condition, (*batch, channels, samples or 1)."""
        parts: Context = {"context": context} if self.one else context  # type: ignore[dict-item]
        batch = context_batch("Upsample", parts, self.shapes)  # type: ignore[arg-type]
        if self.local:
            parts = as_floating(parts, self.weights[0].dtype)
        columns: list[Tensor] = []
        if self.local:
            columns.append(self._upsampled(parts))
        if self.join is not None:
            vector = self.join({name: parts[name] for name in self.join.shapes})  # type: ignore[index,union-attr]
            columns.append(vector.unsqueeze(-1))
        if len(columns) == 1:
            return columns[0]
        length = columns[0].shape[-1]
        spread = [part.expand(*batch, part.shape[-2], length) for part in columns]
        return torch.cat(spread, dim=-2)

    def _upsampled(self, parts: Context) -> Tensor:
        local = [parts[name] for name in self.local]  # type: ignore[index]
        frames = {name: part.shape[-1] for name, part in zip(self.local, local, strict=True)}
        if len(set(frames.values())) > 1:
            raise ValueError(f"Upsample: local parts differ in their numbers of frames: {frames}")
        batch = torch.broadcast_shapes(*(part.shape[:-2] for part in local))
        joined = torch.cat([part.expand(*batch, *part.shape[-2:]) for part in local], dim=-2)
        y = as_one_batch(joined, len(batch))
        for i, (stride, weight, bias) in enumerate(
            zip(self.strides, self.weights, self.biases, strict=True)
        ):
            wanted, cut = y.shape[-1] * stride, weight.shape[-1] - stride
            y = F.conv_transpose1d(F.leaky_relu(y, SLOPE) if i else y, weight, bias, stride)
            y = y.narrow(-1, cut // 2, wanted)
        return as_batch(y, batch)

    def extra_repr(self) -> str:
        """Shapes and sizes."""
        return f"{self.shapes}, hop={self.hop}, strides={self.strides}, overlap={self.overlap}"


def fit_condition(owner: str, condition: Tensor, length: int, hop: int | None = None) -> Tensor:
    """A condition cropped to the columns of a sound of so many samples; one column serves all.

    Args:
        owner: for the message.
        condition: (*batch, channels, samples or 1).
        length: samples of the event.
        hop: samples a frame, for the message.

    Raises:
        ValueError: if it is too short.
    """
    found = condition.shape[-1]
    if found == 1 or found == length:
        return condition
    if found > length:
        return condition[..., :length]
    frames = f"{-(-length // hop)} of {hop}" if hop else "more"
    raise ValueError(
        f"{owner}: the frames of the context cover {found} samples, and the sound has {length}; "
        f"give {frames} frames"
    )


def _fading(channels: int, stride: int, overlap: int) -> nn.Parameter:
    """Windows that add up to one wherever frames meet, for each channel its own."""
    if overlap == 1:
        window = torch.ones(stride)
    else:
        window = torch.hann_window(overlap * stride, periodic=True, dtype=torch.float64).float()
        window = window * (2 / overlap)
    return nn.Parameter(torch.eye(channels)[:, :, None] * window)
