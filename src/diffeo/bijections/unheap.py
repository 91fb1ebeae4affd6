"""Levels that are frequent beyond their neighbours, widened: heaped values made smooth."""

import math

import torch
from torch import Tensor

from diffeo.bijections.base import Bijection
from diffeo.contexts import Context
from diffeo.supports import Support

LEVELS = 4096
"""Levels that can have a width of their own."""
LEAST_WIDTH = 2.0**-7
"""The least width of a level, before they are made to add up."""
SHRINKAGES = [2.0**k for k in range(-6, 11)]
"""α that are tried; the largest stands for no heaping."""


class Unheap(Bijection):
    """Piecewise-linear: dequantized levels as wide as they are frequent among their like.

    Numbers are heaped where people or instruments round: most are whole, or end in 5, in a column
    that also holds others. Level k, [k, k + 1) of x, becomes an interval of width

        w_k ∝ (c_k + α) / (m_k + α),

    c_k the level's count, m_k the one that its neighbours suggest (a Gaussian kernel over the other
    levels), so that the density of z has no heaps, but the data's shape and scale. α is the
    likeliest one if c_k is Poisson with a mean m_k r, r from a gamma distribution of mean 1 and
    variance 1/α; where counts vary no more than by chance, all widths are 1. They add up to the
    number of levels from the least to the greatest that was seen (of more than 4096, those around
    the median), and beyond these z = x. log dz/dx = log w_k.

    `initialize` takes the widths from the data; before, f is the identity. They are never trained.

    Args:
        features: D.
        lower: end of x, a whole number or −∞; z has the same ends.
        upper: end of x, a whole number or ∞.
    Shapes: x, z: (*batch, D); ladj: (*batch,).

    Raises:
        ValueError: if there is no feature, or no level between the ends.
    Reference: Heitjan & Rubin, 1990, Inference from coarse data via multiple imputation with
        application to age heaping, Journal of the American Statistical Association 85.

    Example:
        >>> import torch
        >>> from diffeo.bijections import Unheap
        >>> x = torch.arange(0.0, 1000.0).repeat_interleave(4)
        >>> x = torch.cat([x, x[x % 10 == 0].repeat(20)])[:, None] + 0.5
        >>> unheap = Unheap(1)
        >>> _ = unheap.initialize(x)
        >>> unheap.edges[0, 500:503].diff().round(decimals=1)
        tensor([6.9000, 0.3000])
    """

    edges: Tensor
    """(D, LEVELS + 1): where each level begins in z; in x they are `edges[:, 0]`, and 1 on, 2 on, …
    """

    def __init__(self, features: int, lower: float = -math.inf, upper: float = math.inf) -> None:
        super().__init__()
        if features < 1 or not lower < upper:
            raise ValueError(
                "Unheap: needs at least one feature, and a lower end below the upper; got "
                f"features {features}, lower {lower}, upper {upper}"
            )
        self.event_shape, self.event_dim = (features,), 1
        self.lower, self.upper = float(lower), float(upper)
        self.domain = self.codomain = Support(self.lower, self.upper)
        edges = torch.arange(LEVELS + 1, dtype=torch.get_default_dtype())
        self.register_buffer("edges", edges.repeat(features, 1))

    def _forward(self, x: Tensor, context: Context) -> tuple[Tensor, Tensor]:
        first, last = self.edges[:, 0], self.edges[:, -1]
        inside = (x >= first) & (x < last)
        # Not the floor of x − first, which can be rounded up to the next level.
        begin = torch.where(inside, x, first).floor()
        level = (begin - first).clamp(0, LEVELS - 1).long()
        left, right = self._interval(level)
        # Rounding can carry z to the next level.
        below = torch.nextafter(right, left)
        z = torch.minimum(left + (x - begin) * (right - left), below)
        return torch.where(inside, z, x), self._ladj(inside, right - left)

    def _inverse(self, z: Tensor, context: Context) -> tuple[Tensor, Tensor]:
        first, last = self.edges[:, 0], self.edges[:, -1]
        inside = (z >= first) & (z < last)
        values = torch.where(inside, z, first).reshape(-1, z.shape[-1]).T.contiguous()
        found = torch.searchsorted(self.edges, values, right=True).T.reshape(z.shape)
        level = (found - 1).clamp(0, LEVELS - 1)
        left, right = self._interval(level)
        begin = first + level
        x = torch.minimum(begin + (z - left) / (right - left), torch.nextafter(begin + 1, begin))
        return torch.where(inside, x, z), -self._ladj(inside, right - left)

    def _interval(self, level: Tensor) -> tuple[Tensor, Tensor]:
        """Where the interval of each level begins and ends in z."""
        column = torch.arange(self.edges.shape[0], device=level.device)
        return self.edges[column, level], self.edges[column, level + 1]

    @staticmethod
    def _ladj(inside: Tensor, width: Tensor) -> Tensor:
        width = torch.where(inside, width, 1.0)
        return width.to(torch.promote_types(width.dtype, torch.float32)).log().sum(-1)

    def initialize(self, x: Tensor, context: Context = None) -> Tensor:
        """Takes the widths from x, over its batch dimensions.

        Raises:
            ValueError: if x holds no row.
        """
        if x.numel() == 0:
            raise ValueError(f"Unheap: initialize needs data, got shape {tuple(x.shape)}")
        with torch.no_grad():
            levels = x.reshape(-1, x.shape[-1]).double().floor().cpu()
            for edges, column in zip(self.edges, levels.T, strict=True):
                edges.copy_(self._edges(column, torch.finfo(edges.dtype).eps))
        return super().initialize(x, context)

    def _edges(self, column: Tensor, eps: float) -> Tensor:
        """The edges for one column's levels: a window on all of them, or around their median."""
        least, most = float(column.min()), float(column.max())
        middle = float(column.median()) - LEVELS // 2
        first = least if most - least < LEVELS else max(least, middle)
        edges = torch.arange(LEVELS + 1, dtype=torch.float64)
        largest = max(abs(first), abs(first + LEVELS))
        if largest > 1 / eps:
            return edges  # f is the identity: the dtype hardly tells one level from the next
        edges += first
        count = min(LEVELS, int(most - first) + 1)
        place = (column - first).long()
        counts = torch.bincount(place[(place >= 0) & (place < count)], minlength=count).double()
        # So that the dtype tells the ends of an interval apart, and some numbers in between.
        widths = _widths(counts).clamp(min=max(LEAST_WIDTH, 16 * eps * largest))
        widths *= count / widths.sum()
        edges[1:count] = first + widths.cumsum(0)[:-1]
        return edges

    def extra_repr(self) -> str:
        """The number of elements, and the ends."""
        ends = f"lower={self.lower:g}, upper={self.upper:g}"
        return f"features={self.edges.shape[0]}, {ends}"


def _widths(counts: Tensor) -> Tensor:
    """(c + α) / (m + α)."""
    if len(counts) < 3:
        return torch.ones_like(counts)
    expected = _expected(counts)
    seen = expected > 1e-3
    c, m = counts[seen], expected[seen]
    alpha = max(SHRINKAGES, key=lambda a: _log_likelihood(c, m, a))
    if alpha == max(SHRINKAGES):
        return torch.ones_like(counts)
    return (counts + alpha) / (expected + alpha)


def _expected(counts: Tensor) -> Tensor:
    """What the other levels suggest for each one: their mean, weighted by a Gaussian kernel."""
    n = counts.sum()
    cumulated = counts.cumsum(0) / n
    quartiles = torch.searchsorted(cumulated, torch.tensor([0.25, 0.75], dtype=counts.dtype))
    level = torch.arange(len(counts), dtype=counts.dtype)
    mean = (counts * level).sum() / n
    std = float(((counts * (level - mean) ** 2).sum() / n).sqrt())
    spread = min(std, float(quartiles.diff()) / 1.34) or std
    width = max(0.9 * spread * float(n) ** -0.2, 1.0)  # Silverman's
    reach = min(math.ceil(4 * width), len(counts) - 1)
    kernel = torch.exp(-0.5 * (torch.arange(-reach, reach + 1, dtype=counts.dtype) / width) ** 2)
    kernel[reach] = 0
    both = torch.stack([counts, torch.ones_like(counts)])[:, None]
    # At the window's ends there are fewer neighbours.
    near, weight = torch.nn.functional.conv1d(both, kernel[None, None], padding=reach)[:, 0]
    return near / weight


def _log_likelihood(counts: Tensor, mean: Tensor, alpha: float) -> float:
    """Of counts that are negative binomial, with that mean and a variance of mean + mean²/α."""
    size = torch.full_like(mean, alpha)
    share = mean / (mean + size)
    terms = torch.lgamma(counts + size) - torch.lgamma(size) + size * torch.log1p(-share)
    return float((terms + torch.xlogy(counts, share)).sum())
