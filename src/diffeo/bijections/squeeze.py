"""Reshapes of images: squeezing space into channels, and flattening."""

import math
from collections.abc import Sequence

from torch import Tensor

from diffeo.bijections.base import Bijection, zero_ladj
from diffeo.contexts import Context, Shape, as_shape, known_shape
from diffeo.nets.convolution import check_dims


class Squeeze(Bijection):
    """Blocks of neighbours become channels: (C, *S) → (C fⁿ, *S / f); log|det| = 0.

    The fⁿ values of a block and a channel follow one another among the new channels, rows first:
    z[c f² + i f + j, y, x] = x[c, f y + i, f x + j] for images (n = 2).

    Args:
        dims: n, the number of dimensions of space: 1, 2 or 3.
        factor: f.
    Shapes: x: (*batch, C, *S); z: (*batch, C fⁿ, *S / f); ladj: (*batch,).

    Raises:
        ValueError: if n is not 1, 2 or 3 or f is below 2; when an extent is no multiple of f.
    Reference: Dinh, Sohl-Dickstein & Bengio, 2016, RealNVP, arXiv:1605.08803, section 3.6.

    Example:
        >>> import torch
        >>> from diffeo.bijections import Squeeze
        >>> Squeeze()(torch.zeros(5, 3, 32, 32))[0].shape
        torch.Size([5, 12, 16, 16])
    """

    domain = None
    codomain = None
    recompute = "invert"

    def __init__(self, dims: int = 2, factor: int = 2) -> None:
        super().__init__()
        check_dims("Squeeze", dims)
        if isinstance(factor, bool) or not isinstance(factor, int) or factor < 2:
            raise ValueError(f"Squeeze: factor must be a whole number of at least 2, got {factor}")
        self.dims, self.factor = dims, factor
        self.event_dim = dims + 1

    def output_shape(self, event_shape: Shape) -> Shape:
        """More channels, less space."""
        *outer, channels, space = self._parts(super().output_shape(event_shape))
        if any(extent is not None and extent % self.factor for extent in space):
            raise ValueError(
                f"Squeeze: every extent of space must be a multiple of {self.factor}, "
                f"got {tuple(event_shape)}"
            )
        more = None if channels is None else channels * self.factor**self.dims
        return (*outer, more, *(None if s is None else s // self.factor for s in space))

    def input_shape(self, event_shape: Shape) -> Shape:
        """Fewer channels, more space."""
        *outer, channels, space = self._parts(super().output_shape(event_shape))
        block = self.factor**self.dims
        if channels is not None and channels % block:
            raise ValueError(
                f"Squeeze: the inverse needs a multiple of {block} channels, got {event_shape}"
            )
        less = None if channels is None else channels // block
        return (*outer, less, *(None if s is None else s * self.factor for s in space))

    def _forward(self, x: Tensor, context: Context) -> tuple[Tensor, Tensor]:
        cut, n = x.dim() - self.event_dim, self.dims
        shape = self.output_shape(tuple(x.shape[cut:]))
        space = [extent for s in shape[1:] for extent in (s, self.factor)]
        blocks = x.reshape(*x.shape[: cut + 1], *space)  # type: ignore[arg-type]
        inner = range(cut + 2, cut + 2 + 2 * n, 2)
        outer = range(cut + 1, cut + 1 + 2 * n, 2)
        z = blocks.permute(*range(cut + 1), *inner, *outer)
        return z.reshape(*x.shape[:cut], *shape), zero_ladj(x, cut)  # type: ignore[arg-type]

    def _inverse(self, z: Tensor, context: Context) -> tuple[Tensor, Tensor]:
        cut, n = z.dim() - self.event_dim, self.dims
        shape = self.input_shape(tuple(z.shape[cut:]))
        blocks = z.reshape(*z.shape[:cut], shape[0], *[self.factor] * n, *z.shape[cut + 1 :])  # type: ignore[arg-type]
        pairs = [axis for i in range(n) for axis in (cut + 1 + n + i, cut + 1 + i)]
        x = blocks.permute(*range(cut + 1), *pairs)
        return x.reshape(*z.shape[:cut], *shape), zero_ladj(z, cut)  # type: ignore[arg-type]

    def _parts(self, shape: Shape) -> tuple:
        """Leading extents, the channels, and the extents of space."""
        at = len(shape) - self.dims
        return *shape[: at - 1], shape[at - 1], shape[at:]

    def extra_repr(self) -> str:
        """Dimensions and factor."""
        return f"dims={self.dims}, factor={self.factor}"


class Flatten(Bijection):
    """An event of any shape as a vector; log|det| = 0.

    Args:
        shape: event shape, every extent known.
    Shapes: x: (*batch, *shape); z: (*batch, D); ladj: (*batch,).

    Raises:
        TypeError: if the shape is not of whole numbers.
        ValueError: if an extent is None or not positive.
    """

    domain = None
    codomain = None
    recompute = "invert"

    def __init__(self, shape: Sequence[int]) -> None:
        super().__init__()
        self.event_shape = known_shape("Flatten", as_shape("Flatten", shape))
        self.event_dim = len(self.event_shape)
        self._features = math.prod(self.event_shape)

    @property
    def output_event_dim(self) -> int:
        """That of a vector."""
        return 1

    def output_shape(self, event_shape: Shape) -> Shape:
        """(D,)."""
        super().output_shape(event_shape)
        return (self._features,)

    def input_shape(self, event_shape: Shape) -> Shape:
        """The shape before."""
        if event_shape != (self._features,):
            raise ValueError(f"Flatten: the inverse needs ({self._features},), got {event_shape}")
        return self.event_shape  # type: ignore[return-value]

    def _forward(self, x: Tensor, context: Context) -> tuple[Tensor, Tensor]:
        cut = x.dim() - self.event_dim
        return x.reshape(*x.shape[:cut], self._features), zero_ladj(x, cut)

    def _inverse(self, z: Tensor, context: Context) -> tuple[Tensor, Tensor]:
        cut = z.dim() - 1
        return z.reshape(*z.shape[:cut], *self.event_shape), zero_ladj(z, cut)  # type: ignore[arg-type]

    def extra_repr(self) -> str:
        """The shape before."""
        return f"shape={self.event_shape}"
