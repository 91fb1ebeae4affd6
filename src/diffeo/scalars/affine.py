"""Shifts, scales, and both."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from diffeo.numerics import widen
from diffeo.scalars.base import ScalarMap

_LOG_SIGMOID_OF_2 = -math.log1p(math.exp(-2.0))


class Additive(ScalarMap):
    """A shift: z = x + t; log dz/dx = 0. Inverse: x = z − t.

    Parameters: (t).
    Reference: Dinh, Krueger & Bengio, 2014, NICE, arXiv:1410.8516.
    """

    num_params = 1

    def forward(self, x: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        """z = x + t."""
        z = x + params[..., 0]
        return z, torch.zeros_like(z)

    def inverse(self, z: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        """x = z − t."""
        x = z - params[..., 0]
        return x, torch.zeros_like(x)


class Scaling(ScalarMap):
    """A bounded scale: z = eˢ x with s = a / (1 + |a| / B); log dz/dx = s. Inverse: x = z e⁻ˢ.

    Parameters: (a).

    Args:
        log_scale_bound: B; log 1000 unless told.
    Reference: Dinh, Krueger & Bengio, 2014, NICE, arXiv:1410.8516, section 3.3.
    """

    num_params = 1

    def __init__(self, log_scale_bound: float = math.log(1000.0)) -> None:
        super().__init__()
        self.log_scale_bound = _positive_bound("Scaling", log_scale_bound)

    def forward(self, x: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        """z = eˢ x and s."""
        log_scale = soft_bound(params[..., 0], self.log_scale_bound)
        z = x * log_scale.exp()
        return z, log_scale.expand_as(z)

    def inverse(self, z: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        """x = z e⁻ˢ and −s."""
        log_scale = soft_bound(params[..., 0], self.log_scale_bound)
        x = z * (-log_scale).exp()
        return x, (-log_scale).expand_as(x)

    def params_from_data(self, x: Tensor) -> Tensor:
        """Parameters that give each element unit variance, as far as 0.9 B allows.

        Where x is constant they are 0: a scale of 1.

        Args:
            x: (N, *shape), data.
        Shapes: out: (*shape, 1).

        Raises:
            ValueError: if there are no data.
        """
        if x.dim() == 0 or x.shape[0] == 0:
            raise ValueError(f"Scaling: needs rows to start from, got shape {tuple(x.shape)}")
        deviation = widen(x.detach()).std(0, correction=0)
        log_scale = -torch.where(deviation > 0, deviation, 1.0).log()
        limit = 0.9 * self.log_scale_bound
        raw = from_soft_bound(log_scale.clamp(-limit, limit), self.log_scale_bound)
        return raw.unsqueeze(-1)

    def extra_repr(self) -> str:
        """The bound."""
        return f"log_scale_bound={self.log_scale_bound:.4g}"


class Affine(ScalarMap):
    """A bounded scale and a shift: z = eˢ x + t with s = a / (1 + |a| / B); log dz/dx = s.

    Inverse: x = (z − t) e⁻ˢ.

    The log-scale s lies in (−B, B) whatever the network says, so that training can't drive it to
    infinity.

    Parameters: (t, a).

    Args:
        log_scale_bound: B; log 1000 unless told.
    Reference: Dinh, Sohl-Dickstein & Bengio, 2016, RealNVP, arXiv:1605.08803.
    """

    num_params = 2

    def __init__(self, log_scale_bound: float = math.log(1000.0)) -> None:
        super().__init__()
        self.log_scale_bound = _positive_bound("Affine", log_scale_bound)

    def forward(self, x: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        """z = eˢ x + t and s."""
        shift, log_scale = self._unpack(params)
        z = x * log_scale.exp() + shift
        return z, log_scale.expand_as(z)

    def inverse(self, z: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        """x = (z − t) e⁻ˢ and −s."""
        shift, log_scale = self._unpack(params)
        x = (z - shift) * (-log_scale).exp()
        return x, (-log_scale).expand_as(x)

    def _unpack(self, params: Tensor) -> tuple[Tensor, Tensor]:
        shift, raw = params.unbind(-1)
        return shift, soft_bound(raw, self.log_scale_bound)

    def extra_repr(self) -> str:
        """The bound."""
        return f"log_scale_bound={self.log_scale_bound:.4g}"


class SigmoidAffine(ScalarMap):
    """A shift, then a scale that hardly grows: z = s (x + t) with s = σ(a + 2) / σ(2).

    log dz/dx = log s. Inverse: x = z / s − t. s lies below 1.14; a counts as −B where it is below
    that, so that s stays above e^−B. σ(a + 2) is Glow's scale; dividing by σ(2) makes the map of
    zeros the identity, and is a constant factor that the next normalisation undoes.

    Parameters: (t, a).

    Args:
        log_scale_bound: B; log 1000 unless told.
    Reference: Kingma & Dhariwal, 2018, Glow, arXiv:1807.03039 (the published code).
    """

    num_params = 2

    def __init__(self, log_scale_bound: float = math.log(1000.0)) -> None:
        super().__init__()
        self.log_scale_bound = _positive_bound("SigmoidAffine", log_scale_bound)

    def forward(self, x: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        """z = s (x + t) and log s."""
        shift, log_scale = self._unpack(params)
        z = (x + shift) * log_scale.exp()
        return z, log_scale.expand_as(z)

    def inverse(self, z: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        """x = z / s − t and −log s."""
        shift, log_scale = self._unpack(params)
        x = z * (-log_scale).exp() - shift
        return x, (-log_scale).expand_as(x)

    def _unpack(self, params: Tensor) -> tuple[Tensor, Tensor]:
        shift, raw = params.unbind(-1)
        log_scale = F.logsigmoid(raw.clamp(min=-self.log_scale_bound) + 2)
        return shift, log_scale - _LOG_SIGMOID_OF_2

    def extra_repr(self) -> str:
        """The bound."""
        return f"log_scale_bound={self.log_scale_bound:.4g}"


def soft_bound(raw: Tensor, bound: float) -> Tensor:
    """a / (1 + |a| / B): near 0 the identity, inside (−B, B) everywhere, once differentiable."""
    return raw / (1 + raw.abs() / bound)


def from_soft_bound(bounded: Tensor, bound: float) -> Tensor:
    """The inverse of `soft_bound`: a of s = a / (1 + |a| / B), s inside (−B, B)."""
    return bounded / (1 - bounded.abs() / bound)


def _positive_bound(owner: str, bound: float) -> float:
    if not bound > 0:
        raise ValueError(f"{owner}: log_scale_bound must be positive, got {bound}")
    return bound
