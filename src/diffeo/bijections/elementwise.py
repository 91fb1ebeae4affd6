"""Elementwise maps: a scalar map with its own parameters for every element."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from diffeo.bijections.base import Bijection
from diffeo.contexts import Context, as_shape, known_shape
from diffeo.scalars.base import ScalarMap


class Elementwise(Bijection):
    """A scalar map for every element, with parameters learned or made from the context.

    z_i = τ(x_i; θ_i), θ_i = w_i (+ net(context)_i); log|det| = Σ log dz_i/dx_i.

    Args:
        scalar: τ.
        shape: event shape, or the number of features.
        net: conditioner from the context (vector) to (*shape, num_params); None for parameters that
            depend on nothing.
    Shapes: x, z: (*batch, *shape); ladj: (*batch,).

    Raises:
        TypeError: if the shape is not of whole numbers.
        ValueError: if an extent is not positive, or None.
    """

    def __init__(
        self, scalar: ScalarMap, shape: int | Sequence[int], net: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.scalar = scalar
        known = known_shape("Elementwise", as_shape("Elementwise", shape))
        self.event_shape, self.event_dim = known, len(known)
        self.domain, self.codomain = scalar.domain, scalar.codomain
        self.recompute = "checkpoint" if scalar.iterative else "invert"
        self.params = nn.Parameter(torch.zeros(*known, scalar.num_params))
        self.net = net
        self.context_shape = None if net is None else net.context_shape  # type: ignore[assignment]

    def _parameters_for(self, x: Tensor, context: Context) -> Tensor:
        if self.net is None:
            return self.params
        return self.params + self.net(context=context).to(x.dtype)

    def _forward(self, x: Tensor, context: Context) -> tuple[Tensor, Tensor]:
        z, ladj = self.scalar(x, self._parameters_for(x, context))
        return z, sum_event(ladj, self.event_dim)

    def _inverse(self, z: Tensor, context: Context) -> tuple[Tensor, Tensor]:
        x, ladj = self.scalar.inverse(z, self._parameters_for(z, context))
        return x, sum_event(ladj, self.event_dim)

    def initialize(self, x: Tensor, context: Context = None) -> Tensor:
        """Lets a scalar map that knows how (a mixture) set its parameters from the data."""
        start = getattr(self.scalar, "params_from_data", None)
        if start is not None:
            with torch.no_grad():
                self.params.copy_(start(x.reshape(-1, *x.shape[x.dim() - self.event_dim :])))
        return super().initialize(x, context)


def sum_event(ladj: Tensor, event_dim: int) -> Tensor:
    """Sums the last `event_dim` dimensions."""
    return ladj.flatten(-event_dim).sum(-1) if event_dim else ladj
