"""Scalar maps one after another."""

import itertools
from typing import cast

from torch import Tensor, nn

from diffeo.scalars.base import ScalarMap


class Composed(ScalarMap):
    """Scalar maps one after another: z = τₙ(… τ₁(x; θ₁) …; θₙ); log dz/dx is the sum of theirs.

    The inverse undoes them from the last to the first. An affine map before a spline, for instance,
    puts the spline's interval where the values are and as wide as they spread, element by element.

    Parameters: (θ₁, …, θₙ), each as its map takes them.

    Args:
        maps: τ₁, …, τₙ, each living on the set that the one before it gives.

    Raises:
        ValueError: if there is no map, or one does not fit the one before it.

    Example:
        >>> import torch
        >>> from diffeo.scalars import Affine, Composed, RationalQuadraticSpline
        >>> tau = Composed(Affine(), RationalQuadraticSpline(bins=8))
        >>> tau.num_params
        25
        >>> tau(torch.tensor(0.5), torch.zeros(25))[0]
        tensor(0.5000)
    """

    def __init__(self, *maps: ScalarMap) -> None:
        super().__init__()
        if not maps:
            raise ValueError("Composed: needs at least one scalar map")
        for before, after in itertools.pairwise(maps):
            if not before.codomain.same_set(after.domain):
                raise ValueError(
                    f"Composed: {type(before).__name__} gives {before.codomain}, but "
                    f"{type(after).__name__} lives on {after.domain}"
                )
        self.maps = nn.ModuleList(maps)
        self._sizes = [tau.num_params for tau in maps]
        self.num_params = sum(self._sizes)
        self.domain, self.codomain = maps[0].domain, maps[-1].codomain
        self.iterative = any(tau.iterative for tau in maps)
        self.apart = any(tau.apart for tau in maps)

    def forward(self, x: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        """z and the sum of the logarithms."""
        parts = params.split(self._sizes, dim=-1)
        z, total = self.maps[0](x, parts[0])
        for tau, own in zip(self.maps[1:], parts[1:], strict=True):
            z, log_slope = tau(z, own)
            total = total + log_slope
        return z, total

    def inverse(self, z: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        """x and the sum of the logarithms."""
        parts = params.split(self._sizes, dim=-1)
        x, total = self._map(-1).inverse(z, parts[-1])
        for i in reversed(range(len(parts) - 1)):
            x, log_slope = self._map(i).inverse(x, parts[i])
            total = total + log_slope
        return x, total

    def _map(self, index: int) -> ScalarMap:
        return cast(ScalarMap, self.maps[index])
