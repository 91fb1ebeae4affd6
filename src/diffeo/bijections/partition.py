"""Partitions: which elements of an event a coupling keeps, and which it changes."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from itertools import product
from typing import Any

import torch
from torch import Tensor, nn

from diffeo.contexts import Shape, as_shape, known_shape
from diffeo.reorder import reorder


class Partition(nn.Module, ABC):
    """Splits an event into the part that is kept and the part that is changed, and merges them.

    An event of one element is all changed, nothing kept.
    """

    event_shape: Shape
    kept_shape: tuple[int, ...]
    changed_shape: tuple[int, ...]

    @abstractmethod
    def split(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(*batch, *event) → (*batch, *kept), (*batch, *changed)."""

    @abstractmethod
    def merge(self, kept: Tensor, changed: Tensor) -> Tensor:
        """Undoes `split`."""


class Halves(Partition):
    """Keeps the first half of a vector and changes the second; `flip` swaps the two.

    Args:
        features: D. The first half has ⌊D/2⌋ elements.
        flip: keep the second half instead.
    """

    def __init__(self, features: int, flip: bool = False) -> None:
        super().__init__()
        self.event_shape = (_positive("Halves", features),)
        self.cut, self.flip = features // 2, flip and features > 1
        self._sizes = [self.cut, features - self.cut]
        first, second = (self.cut,), (features - self.cut,)
        self.kept_shape, self.changed_shape = (second, first) if self.flip else (first, second)

    def split(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The halves, the kept one first."""
        first, second = x.split(self._sizes, dim=-1)
        return (second, first) if self.flip else (first, second)

    def merge(self, kept: Tensor, changed: Tensor) -> Tensor:
        """The halves side by side again."""
        return torch.cat((changed, kept) if self.flip else (kept, changed), dim=-1)

    def extra_repr(self) -> str:
        """Size and side."""
        return f"features={self.event_shape[0]}, flip={self.flip}"


class Mask(Partition):
    """Keeps the elements where a mask is True and changes the others. Both parts come flattened.

    Args:
        mask: nested booleans of the event's shape, or a tensor of them.

    Raises:
        ValueError: if the mask keeps everything.
    """

    _order: Tensor
    _back: Tensor

    def __init__(self, mask: Sequence | Tensor) -> None:
        super().__init__()
        chosen = torch.as_tensor(mask, dtype=torch.bool)
        if bool(chosen.all()):
            raise ValueError(
                f"{type(self).__name__}: the mask keeps every element, so nothing would change"
            )
        self.event_shape = tuple(chosen.shape)
        kept, changed = chosen.flatten().nonzero()[:, 0], (~chosen.flatten()).nonzero()[:, 0]
        self.kept_shape, self.changed_shape = (len(kept),), (len(changed),)
        order = torch.cat([kept, changed])
        self.register_buffer("_order", order, persistent=False)
        self.register_buffer("_back", order.argsort(), persistent=False)

    def split(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The chosen elements and the others, each as a vector."""
        flat = x.flatten(-len(self.event_shape)) if len(self.event_shape) > 1 else x
        sizes = [self.kept_shape[0], self.changed_shape[0]]
        kept, changed = reorder(flat, self._order, self._back).split(sizes, dim=-1)
        return kept, changed

    def merge(self, kept: Tensor, changed: Tensor) -> Tensor:
        """Every element in its place again."""
        flat = reorder(torch.cat([kept, changed], dim=-1), self._back, self._order)
        return flat.unflatten(-1, self.event_shape) if len(self.event_shape) > 1 else flat  # type: ignore[arg-type]


class Alternate(Mask):
    """Keeps the even elements of a vector (0, 2, …) and changes the odd ones; `flip` swaps the two.

    Args:
        features: D.
        flip: keep the odd elements instead.
    """

    def __init__(self, features: int, flip: bool = False) -> None:
        _positive("Alternate", features)
        self.flip = flip
        kept = (torch.arange(features) % 2 == int(flip)) & torch.tensor(features > 1)
        super().__init__(kept)

    def extra_repr(self) -> str:
        """Size and side."""
        return f"features={self.event_shape[0]}, flip={self.flip}"


class RandomHalf(Mask):
    """Keeps ⌊D/2⌋ elements of a vector, drawn at random, and changes the others; `flip` swaps.

    Args:
        features: D.
        seed: of the draw, which does not touch the global generator: the same seed keeps the same
            elements.
        flip: keep the other elements instead.
    """

    def __init__(self, features: int, seed: int = 0, flip: bool = False) -> None:
        _positive("RandomHalf", features)
        self.seed, self.flip = seed, flip and features > 1
        order = torch.randperm(features, generator=torch.Generator().manual_seed(seed))
        kept = torch.zeros(features, dtype=torch.bool)
        kept[order[: features // 2]] = True
        super().__init__(~kept if self.flip else kept)

    def extra_repr(self) -> str:
        """Size, seed and side."""
        return f"features={self.event_shape[0]}, seed={self.seed}, flip={self.flip}"


class Channels(Partition):
    """Keeps the first half of an image's channels and changes the others; `flip` swaps the two.

    Args:
        shape: (C, *space), None in it for extents of space that are free. The first half has ⌊C/2⌋
            channels; with one channel all is changed.
        flip: keep the second half instead.

    Raises:
        TypeError: if the shape is not of whole numbers.
        ValueError: if it isn't that of an image, a signal or a volume, or C is None.
    """

    def __init__(self, shape: Sequence[int | None], flip: bool = False) -> None:
        super().__init__()
        channels, *space = _ranked("Channels", as_shape("Channels", shape))
        if channels is None:
            raise ValueError(f"Channels: the number of channels must be known, got {tuple(shape)}")
        self.event_shape = (channels, *space)
        self.cut, self.flip = channels // 2, flip and channels > 1
        self._sizes = [self.cut, channels - self.cut]
        self._axis = -len(self.event_shape)
        first, second = (self.cut, *space), (channels - self.cut, *space)
        parts = (second, first) if self.flip else (first, second)
        self.kept_shape, self.changed_shape = parts  # type: ignore[assignment]

    def split(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The halves, the kept one first."""
        first, second = x.split(self._sizes, dim=self._axis)
        return (second, first) if self.flip else (first, second)

    def merge(self, kept: Tensor, changed: Tensor) -> Tensor:
        """The channels one after another again."""
        parts = (changed, kept) if self.flip else (kept, changed)
        return torch.cat(parts, dim=self._axis)

    def extra_repr(self) -> str:
        """Shape and side."""
        return f"shape={self.event_shape}, flip={self.flip}"


class Checkerboard(Partition):
    """Keeps the positions whose coordinates add up to an even number and changes the odd ones.

    Each part is half as wide: (C, …, W/2). A row keeps its order, so that neighbours of a position
    stay within one step of it; rows of different parity are half a step apart. Nothing is computed
    for positions that are not there.

    Args:
        shape: (C, *space), the last extent even.
        flip: keep the odd positions instead.

    Raises:
        TypeError: if the shape is not of whole numbers.
        ValueError: if it isn't that of an image, a signal or a volume, or the last extent is odd.
    Reference: Dinh, Sohl-Dickstein & Bengio, 2016, RealNVP, arXiv:1605.08803, section 3.4; without
        masks: Ho et al., 2019, Flow++, arXiv:1902.00275.
    """

    odd: Tensor

    def __init__(self, shape: Sequence[int], flip: bool = False) -> None:
        super().__init__()
        self.event_shape = (channels, *space) = _image("Checkerboard", shape)
        if space[-1] % 2:
            raise ValueError(f"Checkerboard: the last extent must be even, got {self.event_shape}")
        self.flip = flip
        half = (channels, *space[:-1], space[-1] // 2)
        self.kept_shape = self.changed_shape = half
        rows = torch.zeros(space[:-1], dtype=torch.long)
        for axis, extent in enumerate(space[:-1]):
            rows += torch.arange(extent).reshape(
                [-1 if i == axis else 1 for i in range(rows.dim())]
            )
        # Rows whose first position is one of the changed.
        self.register_buffer("odd", (rows + int(flip)).unsqueeze(-1) % 2 == 1, persistent=False)

    def split(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The kept positions and the changed ones."""
        first, second = x.unflatten(-1, (-1, 2)).unbind(-1)
        return torch.where(self.odd, second, first), torch.where(self.odd, first, second)

    def merge(self, kept: Tensor, changed: Tensor) -> Tensor:
        """Every position in its place again."""
        first, second = torch.where(self.odd, changed, kept), torch.where(self.odd, kept, changed)
        return torch.stack([first, second], dim=-1).flatten(-2)

    def extra_repr(self) -> str:
        """Shape and side."""
        return f"shape={self.event_shape}, flip={self.flip}"


class Lattice(Partition):
    """Keeps the positions whose coordinates along some axes add up to an even number.

    Along one axis these are every other row or column, along both of an image a checkerboard. Space
    is cut into blocks of 2 along each of the axes, and what a block has of a part becomes channels:
    of a axes, (2^(a−1) C, …) with their extents halved. So the neighbours of a position are at the
    same places everywhere, as convolutions need it, which they are not in `Checkerboard`, whose
    rows of different parity are shifted.

    Args:
        shape: (C, *space), even along the axes.
        along: axes of space, 0 the first.
        flip: keep the odd positions instead.

    Raises:
        TypeError: if the shape is not of whole numbers.
        ValueError: if it isn't that of an image, a signal or a volume, an extent is odd, or an axis
            does not exist or stands twice.
    """

    def __init__(self, shape: Sequence[int], along: Sequence[int], flip: bool = False) -> None:
        super().__init__()
        self.event_shape = (channels, *space) = _image("Lattice", shape)
        self.along, self.flip = tuple(along), flip
        if not along or len(set(along)) < len(along) or not set(along) <= set(range(len(space))):
            raise ValueError(f"Lattice: along must name axes 0 … {len(space) - 1}, got {along!r}")
        if any(space[axis] % 2 for axis in along):
            raise ValueError(f"Lattice: extents must be even along {along}, got {self.event_shape}")
        self._blocks = tuple(product((0, 1), repeat=len(self.along)))
        self._kept = [sum(place) % 2 == int(flip) for place in self._blocks]
        halved = [extent // 2 if axis in along else extent for axis, extent in enumerate(space)]
        self.kept_shape = self.changed_shape = (channels * len(self._blocks) // 2, *halved)

    def split(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The kept positions and the changed ones."""
        channels = -len(self.event_shape)
        parts = [x[self._slices(place)] for place in self._blocks]
        kept = [part for part, chosen in zip(parts, self._kept, strict=True) if chosen]
        changed = [part for part, chosen in zip(parts, self._kept, strict=True) if not chosen]
        return torch.cat(kept, channels), torch.cat(changed, channels)

    def merge(self, kept: Tensor, changed: Tensor) -> Tensor:
        """Every position in its place again."""
        dims = len(self.event_shape)
        left, right = (iter(x.chunk(len(self._blocks) // 2, -dims)) for x in (kept, changed))
        parts = [next(left) if chosen else next(right) for chosen in self._kept]
        for axis in reversed(self.along):  # the last axis of a block changes fastest
            dim = axis + 1 - dims
            pairs = zip(parts[::2], parts[1::2], strict=True)
            parts = [torch.stack(pair, dim).flatten(dim - 1, dim) for pair in pairs]
        return parts[0]

    def _slices(self, place: tuple[int, ...]) -> tuple[Any, ...]:
        """The positions at one place of every block."""
        of_axis = dict(zip(self.along, place, strict=True))
        space = range(len(self.event_shape) - 1)
        return (
            ...,
            *(slice(of_axis[axis], None, 2) if axis in of_axis else slice(None) for axis in space),
        )

    def extra_repr(self) -> str:
        """Shape, axes and side."""
        return f"shape={self.event_shape}, along={self.along}, flip={self.flip}"


def _image(owner: str, shape: Sequence[int]) -> tuple[int, ...]:
    return known_shape(owner, _ranked(owner, as_shape(owner, shape)))


def _ranked(owner: str, shape: Shape) -> Shape:
    if not 2 <= len(shape) <= 4:
        raise ValueError(f"{owner}: expected a shape (channels, *space), got {shape}")
    return shape


def _positive(owner: str, features: int) -> int:
    if features < 1:
        raise ValueError(f"{owner}: features must be positive, got {features}")
    return features
