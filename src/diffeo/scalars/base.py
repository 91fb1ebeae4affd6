"""The contract of scalar maps: increasing functions of one variable, given parameters."""

from abc import ABC, abstractmethod

from torch import Tensor, nn

from diffeo.supports import LINE, Support


class ScalarMap(nn.Module, ABC):
    """An increasing map z = τ(x; θ) of one variable, whose parameters θ a conditioner supplies.

    A scalar map holds options and no weights. It is applied element by element: x and z have some
    shape (*,), the parameters (*, num_params), or anything that broadcasts to them. Parameters are
    unconstrained; the map bounds them itself and states the bounds. At zero parameters it is the
    identity (mixtures: to 1e-3), so that a conditioner whose last layer starts at zero starts a
    flow at the identity.

    `forward(x, params)` returns (z, log dz/dx); `inverse(z, params)` returns (x, log dx/dz); the
    logarithms have the shape of x. Both are differentiable in both arguments, compile without graph
    breaks, and are finite wherever the exact value is representable.
    """

    num_params: int
    """How many parameters an element takes."""
    domain: Support = LINE
    codomain: Support = LINE
    iterative: bool = False
    """Whether the inverse is found by iteration."""
    apart: bool = False
    """Whether it is faster where parameters lie in memory parameter by parameter, not together."""

    @abstractmethod
    def forward(self, x: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        """z = τ(x; θ) and log dz/dx."""

    @abstractmethod
    def inverse(self, z: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        """x = τ⁻¹(z; θ) and log dx/dz."""
