"""What the models of sounds share: the shape of a sound, and the way of its context."""

from collections.abc import Sequence
from typing import NamedTuple

from torch import nn

from diffeo.contexts import ContextArgument, ContextShape, Shape, as_context_shape
from diffeo.nets.upsample import Upsample


def sound_length(name: str, shape: Shape) -> int | None:
    """The number of samples of the shape (1, samples); None where it is free.

    Raises:
        ValueError: if the shape is not that of a sound.
    """
    if len(shape) != 2 or shape[0] != 1:
        raise ValueError(
            f"{name}: models sounds of one channel, shape=(1, None) or (1, samples); "
            f"got shape {tuple(shape)}"
        )
    return shape[1]


class SoundContext(NamedTuple):
    """What a sound is conditioned on, and how networks see it."""

    channels: int
    """Of the condition; 0 where there is none."""
    local: bool
    """Whether that has a column for every sample; otherwise it has one for all."""
    declared: ContextShape
    """What is declared at the door."""
    net: nn.Module | None
    """What makes the condition, once a call."""


def sound_context(
    name: str,
    context: ContextArgument,
    hop: int,
    strides: Sequence[int] | None = None,
    overlap: int = 2,
    standardize: bool = False,
) -> SoundContext:
    """The way of a context: vectors, local parts (channels, frames) of `hop` samples, or both.

    Arguments are those of `Upsample`.

    Raises:
        ValueError: if a part is of another kind, or strides do not make up the hop.
    """
    declared = as_context_shape(context)
    if declared is None:
        return SoundContext(0, False, None, None)
    try:
        net = Upsample(declared, hop, strides, overlap, standardize)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
    return SoundContext(net.channels, bool(net.local), declared, net)


def layers_of(name: str, transforms: int, layers: int | Sequence[int]) -> tuple[int, ...]:
    """The layers of each transform, of one number for all or one for each.

    Raises:
        ValueError: if there is another number of them than of transforms, or one is not positive.
    """
    each = (layers,) * transforms if isinstance(layers, int) else tuple(layers)
    if len(each) != transforms:
        raise ValueError(
            f"{name}: layers must be one number, or one for each of the {transforms} transforms; "
            f"got {each}"
        )
    return each
