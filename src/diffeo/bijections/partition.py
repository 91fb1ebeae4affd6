"""Partitions: which elements of an event a coupling keeps, and which it changes."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from diffeo.contexts import Shape


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
        first, second = (self.cut,), (features - self.cut,)
        self.kept_shape, self.changed_shape = (second, first) if self.flip else (first, second)

    def split(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The halves, the kept one first."""
        first, second = x[..., : self.cut], x[..., self.cut :]
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
        self.register_buffer("_kept", kept, persistent=False)
        self.register_buffer("_changed", changed, persistent=False)
        self.register_buffer("_back", torch.cat([kept, changed]).argsort(), persistent=False)

    def split(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The chosen elements and the others, each as a vector."""
        flat = x.flatten(-len(self.event_shape)) if len(self.event_shape) > 1 else x
        return flat.index_select(-1, self._kept), flat.index_select(-1, self._changed)  # type: ignore[arg-type]

    def merge(self, kept: Tensor, changed: Tensor) -> Tensor:
        """Every element in its place again."""
        flat = torch.cat([kept, changed], dim=-1).index_select(-1, self._back)  # type: ignore[arg-type]
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


def _positive(owner: str, features: int) -> int:
    if features < 1:
        raise ValueError(f"{owner}: features must be positive, got {features}")
    return features
