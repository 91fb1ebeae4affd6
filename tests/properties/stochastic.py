"""Densities of whole numbers that draw noise: probabilities, averaged over it, sum to 1."""

import itertools

import torch

from diffeo.density import Density
from diffeo.supports import each

DRAWS = 20_000
SIGMAS = 5.0
"""A right density is refused with probability 6e-7, by the central limit theorem."""
PRECISION = 0.01
"""The standard error that the draws have to reach, so that the test says something."""


def check_probabilities_sum_to_one(density: Density, context=None) -> None:
    """Σ_x E_u[exp log_prob(x, u)] = 1 over all levels: each term is an unbiased estimate of P(x).

    Args:
        density: of vectors of whole numbers, few and with few levels, with `exact` False.
        context: one context, or None.
    """
    assert not density.exact, "the density says that it is exact, but it draws noise"
    grid = _grid(density)
    torch.manual_seed(3)
    with torch.no_grad():
        draws = density.log_prob(grid[:, None, :].expand(-1, DRAWS, -1), context).exp()
    error = (draws.var(1) / DRAWS).sum().sqrt()
    total = draws.mean(1).sum()
    assert error < PRECISION, f"the standard error {error:.3g} is too large to tell"
    assert (total - 1).abs() < SIGMAS * error + 1e-9, (
        f"probabilities sum to {total:.4f} ± {error:.4f}"
    )


def check_samples_have_those_probabilities(density: Density, context=None) -> None:
    """The frequencies of samples are the averaged probabilities, within their standard errors."""
    grid = _grid(density)
    torch.manual_seed(4)
    with torch.no_grad():
        draws = density.log_prob(grid[:, None, :].expand(-1, DRAWS, -1), context).exp()
    samples = density.sample(DRAWS, context)
    found = (samples[:, None, :] == grid).all(-1).double()
    assert (found.sum(1) == 1).all(), "a sample is no level"
    expected, frequency = draws.mean(1), found.mean(0)
    error = (draws.var(1) / DRAWS + expected * (1 - expected) / DRAWS).sqrt()
    worst = ((frequency - expected).abs() / (error + 1e-9)).max()
    assert worst < SIGMAS, f"a frequency is {worst:.1f} standard errors from its probability"


def _grid(density: Density) -> torch.Tensor:
    """Every vector of levels."""
    assert density.support.integer
    (features,) = density.event_shape
    assert features is not None
    levels = [range(int(s.lower), int(s.upper) + 1) for s in each(density.support, features)]
    return torch.tensor(list(itertools.product(*levels)), dtype=torch.float64)


def check_noise(stochastic, x: torch.Tensor, context=None, *, draws: int = 4000) -> None:
    """log q(u|x) is the noise's density: E_u[1/q(u|x)] is the volume of where u lies, here 1.

    Args:
        stochastic: a bijection that adds noise from [0, 1) to each of its few elements.
        x: one event.
    """
    torch.manual_seed(5)
    v, ladj = stochastic(x.expand(draws, *x.shape), context)
    u = v - x
    assert ((u >= 0) & (u < 1)).all(), "noise outside [0, 1)"
    weight = ladj.exp()
    error = weight.std() / draws**0.5
    assert (weight.mean() - 1).abs() <= SIGMAS * error + 1e-6, (
        f"E 1/q = {weight.mean():.4f} ± {error:.4f}"
    )
    # Half of each element's interval has half of the volume.
    for half in (u < 0.5).unbind(-1):
        part = weight * half
        error = part.std() / draws**0.5
        assert (part.mean() - 0.5).abs() <= SIGMAS * error + 1e-6, (
            "the noise is not of the density it says"
        )
