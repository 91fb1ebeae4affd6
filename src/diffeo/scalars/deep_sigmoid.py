"""Monotone networks: dense deep sigmoidal maps."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from diffeo.numerics import widen
from diffeo.scalars.affine import soft_bound
from diffeo.scalars.base import ScalarMap
from diffeo.scalars.logistic_mixture import spread
from diffeo.scalars.sigmoids import sigmoid_mixture
from diffeo.solvers import solve_increasing

SPREAD = 0.03
SKEW = 0.5


class DeepSigmoid(ScalarMap):
    """A monotone network of one input and one output: the dense deep sigmoidal map.

        h⁰ = x,   hˡ⁺¹ = σ⁻¹(w σ(a ⊙ (u hˡ) + b)),   z = hᴸ,

    where σ⁻¹ is the logit, the rows of w and u are on the simplex and a > 0, so that every h is
    increasing in x. Each layer has `units` sigmoids; the layers between have as many outputs, the
    last has one. With one layer this is the deep sigmoidal map, w σ(a x + b) through a logit.

    Everything is computed in log space, as in `LogisticMixture`. With p = a ⊙ (u hˡ) + b,

        log ∂hˡ⁺¹_k/∂x = log Σ_i α_ki β_ki / w_ki · a_i Σ_j u_ij ∂hˡ_j/∂x,

    α_ki = w_ki σ(p_i) / Σ w_kj σ(p_j), β_ki likewise of −p.

    Inverse: a bracketed solver. All outputs of a layer have reached H where its inputs have reached
    max_i (H − b_i)/a_i, and none has before they reach min_i (H − b_i)/a_i; followed from z back to
    the first layer, these are the ends of the bracket.

    Bounds: |log a_i| < log 1000.

    Parameters, layer by layer: logits of u (units × inputs; none in the first layer, which has one
    input), a before its bound, b, logits of w (outputs × units). At zero parameters b is spread
    over ±0.03 and the logits of u and w over ±0.5 in a pattern whose rows and columns balance,
    which breaks the symmetry of the units; the map is then the identity to 1e-3.

    Args:
        units: sigmoids a layer.
        layers: L.

    Raises:
        ValueError: if there are no units or no layers.

    Reference: Huang, Krueger, Lacoste & Courville, 2018, Neural Autoregressive Flows,
        arXiv:1804.00779.
    """

    iterative = True
    log_scale_bound = math.log(1000.0)

    def __init__(self, units: int = 16, layers: int = 1) -> None:
        super().__init__()
        if units < 1 or layers < 1:
            raise ValueError(
                f"DeepSigmoid: needs 1 or more units and layers, got units={units}, layers={layers}"
            )
        self.units, self.layers = units, layers
        self._sizes = [
            [0 if first else units * units, units, units, units if last else units * units]
            for first, last in ((i == 0, i == layers - 1) for i in range(layers))
        ]
        self.num_params = sum(sum(sizes) for sizes in self._sizes)
        self.offsets: Tensor
        self.register_buffer("offsets", spread(units, SPREAD), persistent=False)
        angle = torch.arange(units, dtype=torch.float64) * (2 * math.pi / units)
        skew = SKEW * torch.cos(angle[:, None] - angle) if units > 1 else torch.zeros(1, 1)
        self.skew: Tensor
        self.register_buffer("skew", skew.float(), persistent=False)

    def forward(self, x: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        """z and log dz/dx."""
        z, log_slope = _network(widen(x), self._unpack(params))
        return z.to(x.dtype), log_slope.to(torch.promote_types(x.dtype, params.dtype))

    def inverse(self, z: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        """x and log dx/dz, found by a bracketed solver."""
        layers = self._unpack(params)

        def network(x: Tensor) -> tuple[Tensor, Tensor]:
            return _network(x, layers)

        wide = widen(z)
        x = solve_increasing(network, wide, *_bracket(wide, layers))
        return x.to(z.dtype), -network(x)[1].to(torch.promote_types(z.dtype, params.dtype))

    def _unpack(self, params: Tensor) -> list["_Layer"]:
        dtype, params = params.dtype, widen(params)
        parts = params.split([size for sizes in self._sizes for size in sizes], dim=-1)
        offsets, skew = self.offsets.to(params.dtype), self.skew.to(params.dtype)
        layers = []
        for i in range(self.layers):
            mix, raw, shift, weight = parts[4 * i : 4 * i + 4]
            log_mix = None
            if i > 0:
                log_mix = (mix.unflatten(-1, (self.units, self.units)) + skew).log_softmax(-1)
            weight = weight.unflatten(-1, (-1, self.units))
            weight = weight if i == self.layers - 1 else weight + skew
            log_scale = soft_bound(raw, self.log_scale_bound)
            layers.append(
                _Layer(
                    None if log_mix is None else log_mix.to(dtype),
                    None if log_mix is None else log_mix.exp(),
                    log_scale.to(dtype),
                    log_scale.exp(),
                    shift + offsets,
                    weight.log_softmax(-1),
                )
            )
        return layers

    def extra_repr(self) -> str:
        """Units and layers."""
        return f"units={self.units}, layers={self.layers}"


class _Layer(NamedTuple):
    """log u and u (None where there is one input), log a, a, b and log w."""

    log_mix: Tensor | None
    mix: Tensor | None
    log_scale: Tensor
    scale: Tensor
    shift: Tensor
    log_weight: Tensor


def _network(x: Tensor, layers: list[_Layer]) -> tuple[Tensor, Tensor]:
    h = x[..., None]
    log_slope = torch.zeros_like(h, dtype=layers[0].log_scale.dtype)
    for layer in layers:
        if layer.log_mix is not None and layer.mix is not None:
            h = (layer.mix * h[..., None, :]).sum(-1)
            log_slope = (layer.log_mix + log_slope[..., None, :]).logsumexp(-1)
        p = layer.scale * h + layer.shift
        log_slope = (layer.log_scale + log_slope)[..., None, :]
        h, log_slope = sigmoid_mixture(p[..., None, :], layer.log_weight, log_slope)
    return h[..., 0], log_slope[..., 0]


def _bracket(z: Tensor, layers: list[_Layer]) -> tuple[Tensor, Tensor]:
    with torch.no_grad():
        lower = upper = z
        for layer in reversed(layers):
            lower = _solve_units(lower, layer, -1)
            upper = _solve_units(upper, layer, 1)
        return lower, upper


def _solve_units(h: Tensor, layer: _Layer, side: int) -> Tensor:
    """The value at which all units (the first, below) have reached h."""
    roots = (h[..., None] - layer.shift) / layer.scale
    # The ends are to stay ends under rounding.
    slip = 8 * torch.finfo(h.dtype).eps * (h[..., None].abs() + layer.shift.abs()) / layer.scale
    return (roots + slip).amax(-1) if side > 0 else (roots - slip).amin(-1)
