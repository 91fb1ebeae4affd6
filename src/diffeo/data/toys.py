"""Toy densities in two dimensions, drawn exactly as described, within about [−4, 4]²."""

import math
from collections.abc import Callable

import torch
from torch import Generator, Tensor

Toy = Callable[[int, Generator], Tensor]
"""(n, generator) ↦ samples of shape (n, 2)."""


def toy(name: str, n: int, seed: int = 0) -> Tensor:
    """Samples of a toy density.

    Args:
        name: one of `TOYS`.
        n: how many.
        seed: the same seed gives the same samples.
    Shapes: out: (n, 2), float32.

    Raises:
        ValueError: if the name is unknown or n is negative.

    Example:
        >>> toy("two_moons", 5).shape
        torch.Size([5, 2])
    """
    if name not in TOYS:
        raise ValueError(f"toy: name must be one of {', '.join(TOYS)}; got {name!r}")
    if n < 0:
        raise ValueError(f"toy: n can't be negative, got {n}")
    return TOYS[name](n, torch.Generator().manual_seed(seed))


def two_moons(n: int, generator: Generator) -> Tensor:
    """Two half-circles that reach into each other, with noise of standard deviation 0.2."""
    angle = math.pi * torch.rand(n, generator=generator)
    upper = torch.rand(n, generator=generator) < 0.5
    x = torch.where(upper, angle.cos(), 1 - angle.cos())
    y = torch.where(upper, angle.sin(), 0.5 - angle.sin())
    points = torch.stack([x, y], dim=-1) + 0.1 * torch.randn(n, 2, generator=generator)
    return 2 * points - torch.tensor([1.0, 0.5])


def circles(n: int, generator: Generator) -> Tensor:
    """Two circles, of radius 1.5 and 3, with noise of standard deviation 0.2."""
    angle = 2 * math.pi * torch.rand(n, generator=generator)
    radius = torch.where(torch.rand(n, generator=generator) < 0.5, 3.0, 1.5)
    return _polar(radius, angle) + 0.2 * torch.randn(n, 2, generator=generator)


def pinwheel(n: int, generator: Generator) -> Tensor:
    """Five blades, Gaussian along and across, the more twisted the farther out."""
    blade = torch.randint(5, (n,), generator=generator)
    along = 1 + 0.3 * torch.randn(n, generator=generator)
    across = 0.1 * torch.randn(n, generator=generator)
    twist = 2 * math.pi / 5 * blade + 0.25 * along.exp()
    cos, sin = twist.cos(), twist.sin()
    return 2 * torch.stack([along * cos - across * sin, along * sin + across * cos], dim=-1)


def checkerboard(n: int, generator: Generator) -> Tensor:
    """Uniform on the eight dark squares of a 4×4 board over [−4, 4]²."""
    column = torch.randint(4, (n,), generator=generator)
    row = 2 * torch.randint(2, (n,), generator=generator) + column % 2
    inside = torch.rand(n, 2, generator=generator)
    return 2 * (torch.stack([column, row], dim=-1) + inside) - 4


def eight_gaussians(n: int, generator: Generator) -> Tensor:
    """Eight Gaussians of standard deviation 0.3 round a circle of radius 3."""
    angle = math.pi / 4 * torch.randint(8, (n,), generator=generator)
    return _polar(torch.full((n,), 3.0), angle) + 0.3 * torch.randn(n, 2, generator=generator)


def two_spirals(n: int, generator: Generator) -> Tensor:
    """Two spirals of one and a half turns from the centre to radius 3, with noise of 0.1."""
    turn = 3 * math.pi * torch.rand(n, generator=generator).sqrt()
    side = torch.where(torch.rand(n, generator=generator) < 0.5, math.pi, 0.0)
    return _polar(turn / math.pi, turn + side) + 0.1 * torch.randn(n, 2, generator=generator)


def swiss_roll(n: int, generator: Generator) -> Tensor:
    """One spiral of one and a half turns from radius 1 to 3, with noise of 0.1."""
    turn = 1.5 * math.pi * (1 + 2 * torch.rand(n, generator=generator))
    return _polar(turn / (1.5 * math.pi), turn) + 0.1 * torch.randn(n, 2, generator=generator)


def rings(n: int, generator: Generator) -> Tensor:
    """Four circles, of radius 0.9, 1.8, 2.7 and 3.6, with noise of standard deviation 0.08."""
    angle = 2 * math.pi * torch.rand(n, generator=generator)
    radius = 0.9 * (1 + torch.randint(4, (n,), generator=generator))
    return _polar(radius, angle) + 0.08 * torch.randn(n, 2, generator=generator)


def _polar(radius: Tensor, angle: Tensor) -> Tensor:
    return torch.stack([radius * angle.cos(), radius * angle.sin()], dim=-1)


TOYS: dict[str, Toy] = {
    "two_moons": two_moons,
    "circles": circles,
    "rings": rings,
    "pinwheel": pinwheel,
    "checkerboard": checkerboard,
    "eight_gaussians": eight_gaussians,
    "two_spirals": two_spirals,
    "swiss_roll": swiss_roll,
}
"""The toy densities by name."""
