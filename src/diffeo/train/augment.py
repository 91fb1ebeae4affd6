"""Augmentation: what is done to the rows of a training batch, at random, before they are used."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

Augment = Callable[[Tensor], Tensor]
"""Rows (rows, *event) of a batch ↦ rows of the same shape, its noise from torch's random state."""


def flip(x: Tensor) -> Tensor:
    """Mirrors each image along its last axis, the width, with probability 1/2.

    The draws, one an image, come from torch's random state.

    Args:
        x: images, of any dtype; they stay as they are.
    Shapes: x, out: (rows, channels, *space).

    Raises:
        ValueError: if x has no space: vectors are no images.

    Example:
        >>> images = torch.arange(6).reshape(2, 1, 1, 3).repeat(500, 1, 1, 1)
        >>> mirrored = (flip(images) != images).any(-1).sum()
        >>> 400 < mirrored < 600
        tensor(True)
    """
    if x.dim() < 3:
        raise ValueError(
            f"flip: x must be images, (rows, channels, *space), got shape {tuple(x.shape)}"
        )
    chosen = torch.rand(len(x), device=x.device) < 0.5
    return torch.where(chosen.view(-1, *[1] * (x.dim() - 1)), x.flip(-1), x)


def augmented(augment: Augment, x: Tensor) -> Tensor:
    """What `augment` makes of rows, in full precision and checked.

    Raises:
        TypeError: if it is no tensor.
        ValueError: if it has another shape.
    """
    with torch.no_grad(), torch.autocast(x.device.type, enabled=False):
        out = augment(x)
    if not isinstance(out, Tensor):
        raise TypeError(f"fit: augment must give a tensor, got {type(out).__name__}")
    if out.shape != x.shape:
        raise ValueError(
            f"fit: augment must give rows of the shape it was given, {tuple(x.shape)}, "
            f"got {tuple(out.shape)}"
        )
    return out


def name_of(augment: Augment | None) -> str | None:
    """Where a function is from and what it is called there; an object goes by its class."""
    if augment is None:
        return None
    while isinstance(augment, partial):
        augment = augment.func
    named = augment if hasattr(augment, "__qualname__") else type(augment)
    return f"{named.__module__}.{named.__qualname__}"  # type: ignore[union-attr]
