"""The logistic-mixture CDF, seen through a logit."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from diffeo.numerics import widen
from diffeo.scalars.affine import soft_bound
from diffeo.scalars.base import ScalarMap
from diffeo.scalars.sigmoids import sigmoid_mixture
from diffeo.solvers import solve_increasing

SPREAD = 0.03


class LogisticMixture(ScalarMap):
    """The logit of a mixture of logistic CDFs, then an affine map.

        y = logit F(x),   F(x) = Σ_i π_i σ((x − μ_i) / s_i),   z = eᵃ y + b.
        log dz/dx = a + log Σ_i α_i β_i / (π_i s_i),

    where α_i = π_i σ(u_i) / F and β_i = π_i σ(−u_i) / (1 − F), u_i = (x − μ_i)/s_i, are the
    posterior weights of the components below and above x. All of it is computed in log space: log F
    and log(1 − F) separately, so that both tails keep their precision (there y is a straight line
    of slope 1/s_i).

    Inverse: a bracketed solver. At y = (z − b) e⁻ᵃ the root lies between the least and the greatest
    of μ_i + s_i y, the inverses of the components alone.

    Scales are bounded: |log s_i| < 12 and |a| < log 1000.

    Parameters: logits of π (K), μ (K), log s (K), a, b. At zero parameters all scales are 1 and the
    μ_i are spread evenly over ±0.03, which breaks the symmetry of the components; the map is then
    the identity to 2e-4.

    Args:
        components: K.

    Raises:
        ValueError: if there are no components.

    Reference: Ho, Chen, Srinivas, Duan & Abbeel, 2019, Flow++, arXiv:1902.00275.
    """

    iterative = True
    log_scale_bound = 12.0
    outer_log_scale_bound = math.log(1000.0)

    def __init__(self, components: int = 8) -> None:
        super().__init__()
        if components < 1:
            raise ValueError(f"LogisticMixture: components must be 1 or more, got {components}")
        self.components = components
        self.num_params = 3 * components + 2
        self.offsets: Tensor
        self.register_buffer("offsets", spread(components, SPREAD), persistent=False)

    def forward(self, x: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        """z and log dz/dx."""
        dtype = torch.promote_types(x.dtype, params.dtype)
        parts, outer, shift = self._unpack(params)
        y, log_slope = _mixture(widen(x), parts)
        return (y * widen(outer).exp() + shift).to(x.dtype), (log_slope + outer).to(dtype)

    def inverse(self, z: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        """x and log dx/dz, found by a bracketed solver."""
        dtype = torch.promote_types(z.dtype, params.dtype)
        parts, outer, shift = self._unpack(params)
        y = (widen(z) - shift) * widen(-outer).exp()

        def mixture(x: Tensor) -> tuple[Tensor, Tensor]:
            return _mixture(x, parts)

        x = solve_increasing(mixture, y, *_bracket(y, parts))
        return x.to(z.dtype), -(mixture(x)[1] + outer).to(dtype)

    def params_from_data(self, x: Tensor) -> Tensor:
        """Parameters whose F is near the marginal distribution of each element of the data.

        Component i lies at the quantile (i + ½)/K. Its scale is half the distance of its
        neighbours, but at least 1/100 of the distance of the first from the last, or of the
        standard deviation where all are equal; weights are equal.

        Args:
            x: (N, *shape), data.
        Shapes: out: (*shape, num_params).

        Raises:
            ValueError: if there are no data.
        """
        if x.dim() == 0 or x.shape[0] == 0:
            raise ValueError(
                f"LogisticMixture: needs rows to start from, got shape {tuple(x.shape)}"
            )
        k = self.components
        ordered = x.detach().nan_to_num().sort(0).values
        places = ((torch.arange(k, device=x.device) + 0.5) / k * x.shape[0]).long()
        mean = ordered[places]
        deviation = ordered.std(0, correction=0)
        extent = mean[-1] - mean[0]
        extent = torch.where(extent > 0, extent, deviation)
        # A constant column has no width of its own.
        extent = torch.where(extent > 0, extent, 1 + mean[0].abs())
        gaps = mean.diff(dim=0)
        if k > 1:
            spacing = torch.cat([gaps[:1], (gaps[1:] + gaps[:-1]) / 2, gaps[-1:]])
        else:
            spacing = deviation[None]
        log_scale = torch.maximum(spacing / 2, extent / 100).log()
        log_scale = log_scale.clamp(-0.9 * self.log_scale_bound, 0.9 * self.log_scale_bound)
        raw = log_scale / (1 - log_scale.abs() / self.log_scale_bound)
        mean = mean - self.offsets.to(mean).reshape(-1, *[1] * (mean.dim() - 1))
        rest = torch.zeros_like(mean[:1])
        return torch.cat([torch.zeros_like(mean), mean, raw, rest, rest]).movedim(0, -1)

    def _unpack(self, params: Tensor) -> tuple["_Components", Tensor, Tensor]:
        k = self.components
        logits, mean, raw, outer, shift = params.split([k, k, k, 1, 1], dim=-1)
        log_scale = soft_bound(raw, self.log_scale_bound)
        parts = _Components(
            widen(logits).log_softmax(-1),
            widen(mean) + self.offsets.to(mean.dtype),
            log_scale,
            widen(-log_scale).exp(),
        )
        return parts, soft_bound(outer[..., 0], self.outer_log_scale_bound), shift[..., 0]

    def extra_repr(self) -> str:
        """The number of components."""
        return f"components={self.components}"


class _Components(NamedTuple):
    """log π, μ, log s and 1/s."""

    log_weight: Tensor
    mean: Tensor
    log_scale: Tensor
    rate: Tensor


def _mixture(x: Tensor, parts: _Components) -> tuple[Tensor, Tensor]:
    u = (x[..., None] - parts.mean) * parts.rate
    return sigmoid_mixture(u, parts.log_weight, -parts.log_scale)


def _bracket(y: Tensor, parts: _Components) -> tuple[Tensor, Tensor]:
    with torch.no_grad():
        reach = y[..., None] / parts.rate
        # The ends are to stay ends under rounding.
        slip = 8 * torch.finfo(y.dtype).eps * (parts.mean.abs() + reach.abs())
        root = parts.mean + reach
        return (root - slip).amin(-1), (root + slip).amax(-1)


def spread(n: int, size: float) -> Tensor:
    """n numbers spread evenly over ±size; 0 if there is only one."""
    return torch.linspace(-size, size, n) if n > 1 else torch.zeros(1)
