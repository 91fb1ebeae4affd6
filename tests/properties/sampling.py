"""Samples agree with the density: it integrates to 1, and samples fall where it says.

Densities of one or two variables are summed over a grid that is even in a coordinate u whose image
is the whole support, x = m + s sinh u on the line: fine where the samples are, and out to where
nothing is left.
"""

import math
from dataclasses import dataclass

import torch
from scipy import stats
from torch import Tensor

from diffeo.density import Density
from diffeo.supports import Support, each
from tests.properties.checks import _map

FALSE_ALARM = 1e-6
"""How often a test of samples fails where nothing is wrong."""
SAMPLES = 4000
GRIDS = {1: (1000, 10000), 2: (200, 400, 1000)}
"""Points a dimension: at first, and then where the integral is still off by more than it may be."""


TEST_GRIDS = {1: (1000, 10000), 2: (300, 1000)}
"""The same for tests of samples."""


@dataclass
class Axis:
    """One coordinate of the grid: x(u) for u even in [low, high].

    On the line that is at first out to 8e4 sizes, beside an end to within e⁻³⁰ of the width.
    """

    support: Support
    centre: float
    size: float
    low: float = 0.0
    high: float = 0.0

    def __post_init__(self) -> None:
        ends = math.isfinite(self.support.lower) or math.isfinite(self.support.upper)
        self.high = 30.0 if ends else 12.0
        self.low = -self.high

    def nodes(self, n: int) -> tuple[Tensor, Tensor]:
        """The middles of n cells and the widths of the cells, in x."""
        step = (self.high - self.low) / n
        u = self.low + step * (torch.arange(n, dtype=torch.float64) + 0.5)
        lower, upper = self.support.lower, self.support.upper
        if math.isfinite(lower) and math.isfinite(upper):
            width = upper - lower
            x = torch.where(u < 0, lower + width * u.sigmoid(), upper - width * (-u).sigmoid())
            return x, step * width * u.sigmoid() * (-u).sigmoid()
        if math.isfinite(lower):
            return lower + self.size * u.exp(), step * self.size * u.exp()
        return self.centre + self.size * u.sinh(), step * self.size * u.cosh()

    def cells(self, x: Tensor, n: int) -> Tensor:
        """Where x lies, in cells from the left: 2.5 is the middle of the third."""
        lower, upper = self.support.lower, self.support.upper
        x = x.double()
        if math.isfinite(lower) and math.isfinite(upper):
            u = (x - lower).log() - (upper - x).log()
        elif math.isfinite(lower):
            u = ((x - lower) / self.size).log()
        else:
            u = ((x - self.centre) / self.size).asinh()
        return ((u - self.low) * n / (self.high - self.low)).clamp(0, n - 1e-6)

    def crop(self, masses: Tensor) -> None:
        """Leaves out what holds no mass (less than 1e-8 of it on each side), two cells aside."""
        n, step = len(masses), (self.high - self.low) / len(masses)
        share = masses.cumsum(0) / masses.sum()
        first = int((share < 1e-8).sum()) - 2
        last = n - int((share > 1 - 1e-8).sum()) + 3
        self.low, self.high = self.low + step * max(first, 0), self.low + step * min(last, n)


def check_integral(density: Density, context=None, *, bound: float) -> None:
    """The density of one or two variables integrates to 1."""
    axes = _axes(density, context)
    total = 0.0
    for n in GRIDS[len(axes)]:
        total = float(_masses(density, context, axes, n).sum())
        if abs(total - 1) <= bound:
            return
    raise AssertionError(f"integrates to {total:.6f}, not to 1 ± {bound}")


def check_samples_follow(density: Density, context=None) -> None:
    """Samples pass a Kolmogorov–Smirnov test against the integrated density, and pairs a χ² test.

    Pairs are made uniform on the square by the distribution of the first variable and that of the
    second given the first, and counted in 64 cells. A right density fails with probability
    `FALSE_ALARM`; the seed is fixed.
    """
    axes = _axes(density, context)
    x = density.sample(SAMPLES, context, generator=torch.Generator().manual_seed(11))
    probability = 0.0
    # A grid too coarse for the density fails what is right: the finest has the last word.
    for n in TEST_GRIDS[len(axes)]:
        probability = _probability_of(x, _masses(density, context, axes, n), axes)
        if probability > FALSE_ALARM:
            return
    raise AssertionError(f"samples don't follow the density: p = {probability:.3g}")


def _probability_of(x: Tensor, masses: Tensor, axes: list[Axis]) -> float:
    """How probable samples as far from the masses as these are."""
    n = masses.shape[0]
    first = axes[0].cells(x[:, 0], n)
    if len(axes) == 1:
        return float(stats.kstest(_cumulative(masses, first).numpy(), "uniform").pvalue)
    uniform = _cumulative(masses.sum(-1), first)
    given = _cumulative(masses[first.long()], axes[1].cells(x[:, 1], n))
    cell = (8 * uniform).long().clamp(max=7) * 8 + (8 * given).long().clamp(max=7)
    return float(stats.chisquare(torch.bincount(cell, minlength=64).numpy()).pvalue)


def check_same_distribution(one: Tensor, other: Tensor) -> None:
    """Two-sample Kolmogorov–Smirnov tests of every coordinate and of their sum and product.

    Args:
        one, other: (n, D), independent draws.
    """
    views = [*range(one.shape[-1])]
    pairs = [(one[:, i], other[:, i]) for i in views]
    pairs += [(one.sum(-1), other.sum(-1)), (one.prod(-1), other.prod(-1))]
    for i, (a, b) in enumerate(pairs):
        probability = stats.ks_2samp(a.numpy(), b.numpy()).pvalue
        assert probability > FALSE_ALARM / len(pairs), (
            f"two samples differ in view {i}: p = {probability:.3g}"
        )


@torch.no_grad()
def _axes(density: Density, context) -> list[Axis]:
    x = density.sample(1000, context, generator=torch.Generator().manual_seed(9)).double()
    quartiles = x.quantile(torch.tensor([0.25, 0.5, 0.75], dtype=torch.float64), dim=0)
    axes = []
    supports = each(density.support, x.shape[-1])
    for support, (low, middle, high) in zip(supports, quartiles.T.tolist(), strict=True):
        size = middle - support.lower if support.lower > -math.inf else high - low
        axes.append(Axis(support, middle, max(size, 1e-6)))
    masses = _masses(density, context, axes, GRIDS[len(axes)][0])
    for i, axis in enumerate(axes):
        axis.crop(masses if len(axes) == 1 else masses.sum(1 - i))
    return axes


@torch.no_grad()
def _masses(density: Density, context, axes: list[Axis], n: int) -> Tensor:
    """Probability of every cell of the grid. Shape (n,) or (n, n)."""
    nodes, widths = zip(*(axis.nodes(n) for axis in axes), strict=True)
    x = torch.stack(torch.meshgrid(*nodes, indexing="ij"), dim=-1).reshape(-1, len(axes))
    weight = widths[0] if len(axes) == 1 else widths[0][:, None] * widths[1]
    dtype = _dtype(density)
    # In a narrower dtype x may round onto an end of the support; there is no mass to miss.
    log_prob = torch.cat([density.log_prob(part.to(dtype), context) for part in x.split(100_000)])
    return log_prob.double().exp().reshape(weight.shape) * weight


def _cumulative(masses: Tensor, at: Tensor) -> Tensor:
    """The probability to the left of `at` (in cells): masses (n,), or (rows, n), each row's own."""
    total = masses.cumsum(-1)
    index = at.long()
    part = at - index
    if masses.dim() == 1:
        left, own = total[index] - masses[index], masses[index]
        return (left + part * own) / total[-1]
    own = masses.gather(-1, index[:, None])[:, 0]
    left = total.gather(-1, index[:, None])[:, 0] - own
    return (left + part * own) / total[:, -1]


def _dtype(density: Density) -> torch.dtype:
    own = [*density.parameters(), *density.buffers()]
    return next(
        (tensor.dtype for tensor in own if tensor.is_floating_point()), torch.get_default_dtype()
    )


def one_context(context):
    """The first of a batch of contexts."""
    return _map(context, lambda part: part[0])
