"""What images reach whose pixels know nothing of each other."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

LARGEST_TABLE = 2**24
"""Frequencies of pixels and levels that are kept at most."""


@dataclass(frozen=True)
class IndependentPixels:
    """Images in which every pixel of every channel has its own distribution of levels.

    log P(x) = Σ_d log f_d(x_d), f_d(k) = (n_d(k) + 1) / (N + K), where n_d(k) of N training images
    have level k at place d, of K levels (Laplace's rule).

    Example:
        >>> x = torch.tensor([[[[0, 1]]], [[[0, 0]]]])
        >>> IndependentPixels.fit(x, levels=2).log_prob(x)["independent"].exp()
        tensor([0.3750, 0.3750], dtype=torch.float64)
    """

    log_frequency: Tensor
    """(D, K)."""

    @classmethod
    def fit(cls, x: Tensor, levels: int) -> "IndependentPixels":
        """Counts the levels of training images, (N, *event), whole numbers 0 … K − 1."""
        flat = x.flatten(1)
        counts = torch.zeros(flat.shape[1], levels, dtype=torch.float64)
        for rows in flat.split(1024):
            where = rows.T.to(torch.long)
            counts.scatter_add_(1, where, torch.ones(where.shape, dtype=torch.float64))
        return cls(((counts + 1) / (len(x) + levels)).log())

    @property
    def levels(self) -> int:
        """K."""
        return self.log_frequency.shape[1]

    def log_prob(self, x: Tensor, context: object = None) -> dict[str, Tensor]:
        """log P of images in nats, by the name of this model.

        Shapes: x: (N, *event); out: (N,), float64.
        """
        found = [torch.zeros(0, dtype=torch.float64)]
        for rows in x.flatten(1).split(1024):
            levels = rows.to("cpu", torch.long)  # in uint8, 256 would be 0
            inside = ((levels == rows.cpu()) & (levels >= 0) & (levels < self.levels)).all(1)
            where = levels.T.clamp(0, self.levels - 1)
            score = self.log_frequency.gather(1, where).double().sum(0)
            found.append(score.masked_fill(~inside, -math.inf))
        return {"independent": torch.cat(found)}

    def state(self) -> dict[str, Tensor]:
        """The tensors that `from_state` takes."""
        return {"log_frequency": self.log_frequency.float()}

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor]) -> "IndependentPixels":
        """The model of which `state` gave the tensors.

        Raises:
            ValueError: if they are others.
        """
        if set(state) != {"log_frequency"} or state["log_frequency"].dim() != 2:
            raise ValueError(f"IndependentPixels: the state holds {', '.join(sorted(state))}")
        return cls(state["log_frequency"])
