"""Averaged weights: the exponential moving average of the trajectory of training."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.optim.swa_utils import get_ema_multi_avg_fn


class WeightAverage:
    """θ̄ ← d_t θ̄ + (1 − d_t) θ after every step t, with d_t = min(d, (1 + t) / (10 + t)).

    The growing decay lets the average forget the start of a short run. Only parameters are
    averaged; the model's buffers (running statistics) are those of the trajectory.

    Args:
        parameters: θ; those without gradients are left alone.
        decay: d, in [0, 1); None or 0 for no average: θ̄ = θ.

    Reference: Polyak & Juditsky, 1992, Acceleration of stochastic approximation by averaging.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], decay: float | None):
        self.parameters = [parameter for parameter in parameters if parameter.requires_grad]
        self.decay = decay or 0.0
        self.averages = (
            [parameter.detach().clone() for parameter in self.parameters] if self.decay else []
        )
        self.count = 0

    def update(self) -> None:
        """Takes in the parameters as they are now."""
        if not self.decay:
            return
        decay = min(self.decay, (1 + self.count) / (10 + self.count))
        values = [parameter.detach() for parameter in self.parameters]
        get_ema_multi_avg_fn(decay)(self.averages, values, self.count)  # type: ignore[arg-type]
        self.count += 1

    @contextmanager
    def swapped(self) -> Iterator[None]:
        """Puts the averages in place of the parameters in a `with` block, by exchanging storage."""
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    def _exchange(self) -> None:
        if not self.decay:
            return
        with torch.no_grad():
            for parameter, average in zip(self.parameters, self.averages, strict=True):
                parameter.data, average.data = average.data, parameter.data
