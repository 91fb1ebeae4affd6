"""The random numbers that sampling starts from."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Generator, Tensor


@dataclass(frozen=True)
class Noise:
    """Where random numbers come from: how many, of which dtype, where, by which generator."""

    size: tuple[int, ...]
    dtype: torch.dtype
    device: torch.device
    generator: Generator | None

    @property
    def _source(self) -> dict[str, Any]:
        # A generator of None is not the same as none to torch.compile, where sizes are symbols.
        return {} if self.generator is None else {"generator": self.generator}

    def normal(self) -> Tensor:
        """N(0, 1)."""
        return torch.randn(self.size, dtype=self.dtype, device=self.device, **self._source)

    def uniform(self) -> Tensor:
        """U(0, 1), never 0 or 1, whose logarithms are finite."""
        u = torch.rand(self.size, dtype=self.dtype, device=self.device, **self._source)
        half_eps = torch.finfo(self.dtype).eps / 2
        return u.clamp(min=half_eps, max=1 - half_eps)

    def gamma(self, concentration: Tensor | float) -> Tensor:
        """Gamma(concentration, 1), never 0, with gradients to the concentration."""
        if not isinstance(concentration, Tensor):
            concentration = torch.tensor(concentration, dtype=self.dtype, device=self.device)
        # What torch.distributions.Gamma calls, which takes no generator.
        drawn = torch._standard_gamma(  # type: ignore
            concentration.expand(self.size).contiguous(), generator=self.generator
        )
        return drawn.clamp(min=torch.finfo(self.dtype).tiny)


def choose(log_weights: Tensor, u: Tensor) -> Tensor:
    """The category whose stretch of the cumulative weights u falls in.

    Of weights that are NaN it is the first; `unless_nan` makes NaN of what is drawn from that.

    Args:
        log_weights: normalised. Shape (*shape, K).
        u: uniform numbers. Shape (*batch, *shape).
    Shapes: out: (*batch, *shape), whole numbers in [0, K).
    """
    cumulative = log_weights.exp().cumsum(-1)[..., :-1]
    return (u.unsqueeze(-1) >= cumulative).sum(-1)


def unless_nan(drawn: Tensor, weights: Tensor) -> Tensor:
    """What was drawn, and NaN where one of the weights that chose among categories is NaN.

    Args:
        drawn: (*batch, *shape).
        weights: or their logarithms, normalised or not. Shape (*shape, K).
    """
    return torch.where(weights.isnan().any(-1), torch.nan, drawn)
