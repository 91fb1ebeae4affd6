"""Mixtures of Gaussians in one variable: their log-density and their draws."""

import math

import torch
from torch import Tensor

from diffeo.draws import Noise, choose, unless_nan

_HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)


def mixture_log_density(
    x: Tensor, log_weights: Tensor, means: Tensor, log_scales: Tensor
) -> Tensor:
    """log Σ_k π_k N(x; μ_k, σ_k²), element by element.

    Args:
        x: (*batch, *shape).
        log_weights: log π_k, normalised. Shape (*shape, K), as of the next two; they may have the
            batch dimensions of x as well.
        means: μ_k.
        log_scales: log σ_k.
    Shapes: out: (*batch, *shape).
    """
    z = (x.unsqueeze(-1) - means) * (-log_scales).exp()
    # Beyond, z² overflows in all components at once, and logsumexp's gradient would be NaN.
    limit = math.sqrt(torch.finfo(x.dtype).max) / 10
    z = z.clamp(min=-limit, max=limit)
    return torch.logsumexp(log_weights - 0.5 * z.square() - log_scales - _HALF_LOG_2PI, dim=-1)


def draw_mixture(
    log_weights: Tensor, means: Tensor, log_scales: Tensor, noise: Noise, temperature: float
) -> Tensor:
    """A component by its weight, then μ_k + temperature · σ_k · N(0, 1). Shape `noise.size`.

    NaN where a weight is.

    Args:
        log_weights: log π_k, normalised. Shape (*shape, K), as of the next two, where `noise.size`
            is (*batch, *shape); they may have the batch dimensions as well.
        means: μ_k.
        log_scales: log σ_k.
        noise: how many are drawn, and where the randomness comes from.
        temperature: multiplies the σ_k.
    """
    chosen = choose(log_weights, noise.uniform()).unsqueeze(-1)
    size = (*noise.size, means.shape[-1])
    mean = means.expand(size).gather(-1, chosen).squeeze(-1)
    log_scale = log_scales.expand(size).gather(-1, chosen).squeeze(-1)
    drawn = mean + temperature * log_scale.exp() * noise.normal()
    return unless_nan(drawn, log_weights)
