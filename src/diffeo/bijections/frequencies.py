"""Dequantization at the width of each level's frequency: the distributional transform."""

from collections.abc import Sequence

import torch
from torch import Tensor

from diffeo.bijections.base import Bijection
from diffeo.contexts import Context
from diffeo.noise import uniform_noise
from diffeo.supports import Support, product

LEAST_WIDTH = 2.0**-20
"""The least width of a level, so that float32 tells its ends apart."""


class FrequencyDequantize(Bijection):
    """Whole numbers to the unit interval, each level as wide as it is frequent.

    z_i = P(X_i < x_i) + u P(X_i = x_i), u ~ U[0, 1): in the data's own frequencies z_i is uniform,
    whatever the distribution of x_i, and the maps that follow need only learn how the elements
    depend on each other. Inverse: the level in whose interval z_i lies. A density p(z) gives

        E_u log p(z) + Σ log P(X_i = x_i) ≤ log P(x).

    The frequencies are those that `initialize` counts, 1/K_i added to each level (Perks' rule), so
    that none is impossible and all that were never seen share a single count; before, they are
    equal. They are never trained.

    Args:
        levels: K_i of each element; levels are lower_i … lower_i + K_i − 1.
        lower: the first level of each element; 0 unless told.
    Shapes: x, z: (*batch, D), D the number of K_i; ladj: (*batch,).

    Raises:
        ValueError: if a K_i is below 2, or `lower` is not of that length.
    Reference: Rüschendorf, 2009, On the distributional transform, Sklar's theorem, and the
        empirical copula process, Journal of Statistical Planning and Inference 139.

    Example:
        >>> import torch
        >>> from diffeo.bijections import FrequencyDequantize
        >>> dequantize = FrequencyDequantize([2])
        >>> x = torch.tensor([[0.0], [1.0], [1.0], [1.0]])
        >>> z = dequantize.initialize(x)
        >>> dequantize.edges.round(decimals=3).tolist()
        [[0.0, 0.30000001192092896, 1.0]]
        >>> torch.equal(dequantize.inverse(z)[0], x)
        True
    """

    stochastic = True
    codomain = Support(0.0, 1.0)
    edges: Tensor
    """(D, max K + 1): where each level begins, and 1 from the end of the last on."""
    lower: Tensor
    top: Tensor

    def __init__(self, levels: Sequence[int], lower: Sequence[int] | None = None) -> None:
        super().__init__()
        counts = [int(k) for k in levels]
        first = [0] * len(counts) if lower is None else [int(k) for k in lower]
        if min(counts, default=0) < 2 or len(first) != len(counts):
            raise ValueError(
                "FrequencyDequantize: needs at least two levels for each element, and as many "
                f"lower ends as elements; got levels {levels} and lower {lower}"
            )
        self.event_shape, self.event_dim = (len(counts),), 1
        self.domain = product(
            [
                Support(float(a), float(a + k - 1), closed=True, integer=True)
                for a, k in zip(first, counts, strict=True)
            ]
        )
        dtype = torch.get_default_dtype()
        # From the arguments alone, so that they are no part of the state that is saved.
        self.register_buffer("lower", torch.tensor(first, dtype=dtype), persistent=False)
        self.register_buffer("top", torch.tensor(counts) - 1, persistent=False)
        self.register_buffer("edges", self._edges([torch.ones(k) for k in counts]).to(dtype))

    def _forward(self, x: Tensor, context: Context) -> tuple[Tensor, Tensor]:
        level = torch.minimum((x - self.lower).long().clamp(min=0), self.top)
        left, width = self._interval(level)
        z = left + uniform_noise(x, 1) * width
        # Rounding can carry z to the next level, and 0 is not in the open interval.
        eps = torch.finfo(x.dtype).eps
        z = torch.minimum(z.clamp(min=eps * LEAST_WIDTH), (left + width) * (1 - eps / 2))
        return torch.where(x.isnan(), x, torch.maximum(z, left)), _sum_log(width)

    def _inverse(self, z: Tensor, context: Context) -> tuple[Tensor, Tensor]:
        values = z.reshape(-1, z.shape[-1]).T.contiguous()
        found = torch.searchsorted(self.edges, values, right=True).T.reshape(z.shape)
        level = torch.minimum((found - 1).clamp(min=0), self.top)
        x = torch.where(z.isnan(), z, level.to(z.dtype) + self.lower)
        return x, -_sum_log(self._interval(level)[1])

    def _interval(self, level: Tensor) -> tuple[Tensor, Tensor]:
        """Where the interval of each level begins, and its width."""
        column = torch.arange(self.edges.shape[0], device=level.device)
        left = self.edges[column, level]
        return left, self.edges[column, level + 1] - left

    def initialize(self, x: Tensor, context: Context = None) -> Tensor:
        """Counts the levels of x, over its batch dimensions."""
        with torch.no_grad():
            rows = (x.reshape(-1, x.shape[-1]) - self.lower).long()
            counts = [
                torch.bincount(column.clamp(0, int(top)), minlength=int(top) + 1).cpu()
                + 1.0 / (int(top) + 1)
                for column, top in zip(rows.T, self.top, strict=True)
            ]
            self.edges.copy_(self._edges(counts))
        return super().initialize(x, context)

    @staticmethod
    def _edges(counts: Sequence[Tensor]) -> Tensor:
        most = max(map(len, counts))
        edges = torch.ones(len(counts), most + 1, dtype=torch.float64)
        for row, count in zip(edges, counts, strict=True):
            share = count.double() / count.sum()
            least = min(LEAST_WIDTH, 0.1 / len(count))
            share = least + (1 - len(count) * least) * share
            row[: len(count)] = torch.cat([share.new_zeros(1), share.cumsum(0)[:-1]])
        return edges

    def extra_repr(self) -> str:
        """How many levels there are."""
        return f"levels={[int(top) + 1 for top in self.top]}"


def _sum_log(width: Tensor) -> Tensor:
    return width.to(torch.promote_types(width.dtype, torch.float32)).log().sum(-1)
