"""Dequantization: whole numbers made continuous by noise."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from diffeo.bijections.base import Bijection, zero_ladj
from diffeo.contexts import Context, Shape, as_shape
from diffeo.noise import uniform_noise
from diffeo.supports import Support


class Dequantize(Bijection):
    """Uniform dequantization: v = s (x + u), u ~ U[0, 1)ᴰ, for x_i in {0, …, K_i − 1}.

    Inverse: x = ⌊v / s⌋, and the nearest level where v lies beyond them.

    s_i = max_j K_j / K_i, which is 1 where all elements have the same number of levels; it makes
    every element fill the same interval, [0, max K). log q(u|x) = 0, so that the contribution is
    Σ log s_i forward and −Σ log s_i back, and a density p(v) gives
    E_u log p(v) + Σ log s_i ≤ log P(x). Forward it is −∞ for an element above its own levels.

    In floating point too v stays below s (x + 1), so that x always comes back as it was.
    `fixed_noise` fixes u.

    Args:
        levels: K, for all elements, or a K_i for each in a tuple, or nested as the shape is.
        shape: event shape.
        codomain: the set that v is said to lie in; the interval (0, max K) unless told. With a
            larger one, such as the real line or the domain of a squeezed logit, maps of that set
            can follow at once. The mass they put beyond the interval is sampled as the first or
            last level, and is left out of `log_prob`, which stays a lower bound.
    Shapes: x, v: (*batch, *shape); ladj: (*batch,).

    Raises:
        ValueError: if a K_i is not positive, none is above 1, the K_i do not fit the shape, or the
            codomain does not hold the interval.
    Reference: Theis, van den Oord & Bethge, 2016, A note on the evaluation of generative models,
        arXiv:1511.01844, section 3.1.

    Example:
        >>> import torch
        >>> from diffeo.bijections import Dequantize
        >>> dequantize = Dequantize(256, (8, 8))
        >>> x = torch.randint(256, (5, 8, 8)).float()
        >>> v, ladj = dequantize(x)
        >>> torch.equal(dequantize.inverse(v)[0], x)
        True
    """

    stochastic = True
    top: Tensor
    stretch: Tensor

    def __init__(
        self,
        levels: int | Sequence[int],
        shape: int | Sequence[int],
        codomain: Support | None = None,
    ) -> None:
        super().__init__()
        self.event_shape = as_shape(type(self).__name__, shape)
        self.event_dim = len(self.event_shape)
        counts = _as_counts(levels, self.event_shape)
        most = int(counts.max())
        if int(counts.min()) < 1 or most < 2:
            raise ValueError(f"Dequantize: needs at least 2 levels, got {levels}")
        self.domain = Support(0.0, most - 1.0, closed=True, integer=True)
        self.codomain = Support(0.0, float(most)) if codomain is None else codomain
        if self.codomain.lower > 0 or self.codomain.upper < most or self.codomain.integer:
            raise ValueError(f"Dequantize: the codomain must hold (0, {most}), got {codomain}")
        # From the options alone, so that they are no part of the state that is saved.
        self.register_buffer("top", _as_float(counts - 1), persistent=False)
        self.register_buffer("stretch", _as_float(most / counts), persistent=False)

    def _forward(self, x: Tensor, context: Context) -> tuple[Tensor, Tensor]:
        lower, upper = x * self.stretch, (x + 1) * self.stretch
        v = (x + uniform_noise(x, self.event_dim)) * self.stretch
        # Rounding can carry v to the next level; the product is a number or two below that.
        v = torch.minimum(torch.maximum(v, lower), upper * (1 - torch.finfo(x.dtype).eps))
        ladj = self._log_stretch(x)
        beyond = x > self.top
        beyond = beyond.flatten(-self.event_dim).any(-1) if self.event_dim else beyond
        return v, torch.where(beyond, torch.full_like(ladj, -math.inf), ladj)

    def _inverse(self, z: Tensor, context: Context) -> tuple[Tensor, Tensor]:
        x = torch.floor(z / self.stretch)
        # The same products as forward decide on the level, whatever the quotient was rounded to.
        x = x + (z >= (x + 1) * self.stretch).to(z.dtype) - (z < x * self.stretch).to(z.dtype)
        x = torch.minimum(x.clamp(min=0.0), self.top)
        return x, -self._log_stretch(z)

    def _log_stretch(self, x: Tensor) -> Tensor:
        cut = x.dim() - self.event_dim
        dtype = torch.promote_types(x.dtype, torch.float32)
        total = self.stretch.to(dtype).log().expand(x.shape[cut:]).sum()
        return total.expand(x.shape[:cut])

    def extra_repr(self) -> str:
        """The event shape and where v lies."""
        return f"event_shape={self.event_shape}, codomain={self.codomain}"


class DequantizeRange(Bijection):
    """Uniform dequantization of whole numbers in a range that may have no end: v = x + u.

    u ~ U[0, 1) for x in {l, …, m}, l or m or both infinite. Inverse: x = ⌊v⌋, and the nearest end
    beyond one. log|det| = 0, so that a density p(v) gives E_u log p(v) ≤ log P(x). In floating
    point too v stays below x + 1, where x + 1 is a number of the dtype (below 2²⁴ in float32).

    Args:
        shape: event shape, or the number of features.
        lower: l, a whole number or −∞.
        upper: m, a whole number or ∞.
    Shapes: x, v: (*batch, *shape); ladj: (*batch,).

    Raises:
        ValueError: if l < m does not hold, or a finite end is no whole number.

    Example:
        >>> import torch
        >>> from diffeo.bijections import DequantizeRange
        >>> counts = torch.tensor([[3.0], [250.0]])
        >>> dequantize = DequantizeRange(1, lower=0.0)
        >>> torch.equal(dequantize.inverse(dequantize(counts)[0])[0], counts)
        True
    """

    stochastic = True

    def __init__(
        self, shape: int | Sequence[int], lower: float = -math.inf, upper: float = math.inf
    ) -> None:
        super().__init__()
        if any(math.isfinite(end) and end != round(end) for end in (lower, upper)):
            raise ValueError(f"DequantizeRange: ends must be whole, got {lower} and {upper}")
        self.event_shape = as_shape(type(self).__name__, shape)
        self.event_dim = len(self.event_shape)
        self.lower, self.upper = float(lower), float(upper)
        self.domain = Support(self.lower, self.upper, closed=True, integer=True)
        self.codomain = Support(self.lower, self.upper + 1)

    def _forward(self, x: Tensor, context: Context) -> tuple[Tensor, Tensor]:
        v = x + uniform_noise(x, self.event_dim)
        # Rounding can carry v to the next level.
        below = torch.nextafter(x + 1, torch.full_like(x, -math.inf))
        return torch.maximum(torch.minimum(v, below), x), self._zeros(x)

    def _inverse(self, z: Tensor, context: Context) -> tuple[Tensor, Tensor]:
        return torch.floor(z).clamp(min=self.lower, max=self.upper), self._zeros(z)

    def _zeros(self, x: Tensor) -> Tensor:
        return zero_ladj(x, x.dim() - self.event_dim)

    def extra_repr(self) -> str:
        """The event shape and the range."""
        return f"event_shape={self.event_shape}, lower={self.lower:g}, upper={self.upper:g}"


def _as_counts(levels: int | Sequence[int], shape: Shape) -> Tensor:
    counts = torch.as_tensor(levels)
    if counts.is_floating_point() or counts.is_complex() or counts.dtype == torch.bool:
        raise ValueError(f"Dequantize: levels must be whole numbers, got {levels}")
    if counts.dim() and tuple(counts.shape) != shape:
        raise ValueError(
            f"Dequantize: levels must be one number or of the event's shape {shape}, "
            f"got shape {tuple(counts.shape)}"
        )
    return counts


def _as_float(numbers: Tensor) -> Tensor:
    return numbers.to(torch.get_default_dtype())
