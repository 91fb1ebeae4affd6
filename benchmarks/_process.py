"""An autoregressive Gaussian process of known parameters, as a density with known steps."""

import math

import torch
from torch import Tensor

from diffeo.autoregressive import AutoregressiveDensity, GaussianMixtureHead
from diffeo.contexts import Context
from diffeo.nets.causal import CausalNetwork, Stepper
from diffeo.scalars.affine import from_soft_bound

_BOUND = math.log(1000.0)
"""Of the head's log-scales."""


def autocovariance(coefficients: tuple[float, ...], lags: int) -> Tensor:
    """γ(0), …, γ(lags − 1) of x_t = Σ a_i x_{t−i} + ε_t, ε ~ N(0, 1), where it is stationary.

    From the Yule–Walker equations, solved for γ(0) … γ(p), and their recursion beyond.
    """
    p = len(coefficients)
    system = torch.eye(p + 1, dtype=torch.float64)
    for k in range(p + 1):
        for i, a in enumerate(coefficients, 1):
            system[k, abs(k - i)] -= a
    right = torch.zeros(p + 1, dtype=torch.float64)
    right[0] = 1
    found = torch.linalg.solve(system, right).tolist()
    while len(found) < lags:
        found.append(sum(a * found[-i] for i, a in enumerate(coefficients, 1)))
    return torch.tensor(found[:lags], dtype=torch.float64)


class Process(AutoregressiveDensity):
    """T values of the process in its stationary state: x_t|x_<t is N(Σ_j b_tj x_j, σ_t²), exactly.

    Events are (1, T), as sounds are.

    Args:
        coefficients: a_1, …, a_p.
        length: T.
    """

    def __init__(self, coefficients: tuple[float, ...], length: int) -> None:
        gamma = autocovariance(coefficients, length)
        scale = gamma[0].sqrt()  # values of variance 1
        lags = torch.arange(length)
        self_covariance = (gamma / gamma[0])[(lags[:, None] - lags).abs()]
        super().__init__(_Linear(self_covariance), GaussianMixtureHead(1))
        self.coefficients, self.noise = coefficients, float(1 / scale)
        self.covariance = gamma / gamma[0]

    def spectrum(self, window: int) -> Tensor:
        """The expectation of `diffeo.objectives.mean_power`, exact: windows blur the spectrum."""
        taper = torch.hann_window(window, dtype=torch.float64)
        lags = torch.arange(window)
        blurred = torch.stack([(taper[k:] * taper[: window - k]).sum() for k in lags])
        blurred = blurred * self.covariance[:window] / taper.square().sum()
        turns = torch.arange(window // 2 + 1)[:, None] * lags / window
        cosines = torch.cos(2 * math.pi * turns)
        return blurred[0] + 2 * (cosines[:, 1:] * blurred[1:]).sum(-1)


class _Linear(CausalNetwork):
    """The best linear forecasts of a Gaussian vector from the values before, as parameters."""

    def __init__(self, covariance: Tensor) -> None:
        super().__init__()
        length = len(covariance)
        self.event_shape, self.positions, self.num_params = (1, length), length, 3
        root = torch.linalg.cholesky(covariance)
        scales = root.diagonal()
        # x = L ε, so L⁻¹ x = ε: the forecast is what is left of it but for x itself.
        back = torch.linalg.inv(root)
        forecasts = torch.eye(length, dtype=root.dtype) - scales[:, None] * back
        self.forecasts: Tensor
        self.register_buffer("forecasts", forecasts.tril(-1).float())
        self.raw: Tensor
        self.register_buffer("raw", from_soft_bound(scales.log(), _BOUND).float())

    def forward(self, x: Tensor, context: Context = None) -> Tensor:
        mean = x @ self.forecasts.T
        return torch.stack([torch.zeros_like(mean), mean, self.raw.expand_as(mean)], -1)

    def stepper(self, batch, context: Context = None) -> Stepper:
        return _Walk(self, torch.zeros(*batch, *self.event_shape), 0)

    def to_positions(self, x: Tensor) -> Tensor:
        return x.transpose(-1, -2)

    def from_positions(self, values: Tensor) -> Tensor:
        return values.transpose(-1, -2)


class _Walk(Stepper):
    def __init__(self, net: _Linear, x: Tensor, position: int) -> None:
        self.net, self.x, self.position = net, x, position

    def step(self, values: Tensor | None) -> tuple[Tensor, Stepper]:
        if values is not None:
            self.x[..., self.position - 1] = values
        net, i = self.net, self.position
        mean = self.x @ net.forecasts[i]
        params = torch.stack([torch.zeros_like(mean), mean, net.raw[i].expand_as(mean)], -1)
        self.position += 1
        return params, self
