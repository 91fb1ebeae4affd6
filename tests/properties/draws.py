"""What tests draw: weights away from where they start, and points of a support."""

import math

import torch
from torch import Tensor, nn

from diffeo.supports import LINE, Product, Support

SCALE = 0.3


@torch.no_grad()
def redraw(module: nn.Module, scale: float = SCALE, seed: int = 0) -> nn.Module:
    """Draws every parameter anew from N(0, scale²), in place, and gives the module back.

    A new flow is the identity, at which everything passes. Buffers are part of what a map is
    (masks, permutations) and stay, except running statistics, which start where they do nothing.
    """
    generator = torch.Generator().manual_seed(seed)
    for parameter in module.parameters():
        parameter.copy_(
            scale * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        )
    for name, buffer in module.named_buffers():
        noise = scale * torch.randn(buffer.shape, generator=generator, dtype=torch.float64)
        if name.endswith("running_mean"):
            buffer.copy_(noise)
        elif name.endswith("running_var"):
            buffer.copy_(noise.exp())
    return module


def points(
    support: Support | Product | None,
    shape: tuple[int, ...],
    dtype: torch.dtype = torch.float64,
    seed: int = 0,
    spread: float = 1.5,
) -> Tensor:
    """Points of a support, away from its ends; normal with this standard deviation on the line."""
    if isinstance(support, Product):
        drawn = [
            points(one, shape[:-1], dtype, seed + 10 * i, spread)
            for i, one in enumerate(support.supports)
        ]
        return torch.stack(drawn, -1)
    generator = torch.Generator().manual_seed(1000 + seed)
    normal = spread * torch.randn(shape, generator=generator, dtype=torch.float64)
    uniform = torch.rand(shape, generator=generator, dtype=torch.float64)
    support = LINE if support is None else support
    lower, upper = support.lower, support.upper
    if support.integer:
        least = lower if math.isfinite(lower) else 0.0
        most = upper if math.isfinite(upper) else least + 20
        values = least + (uniform * (most - least + 1)).floor().clamp(max=most - least)
    elif math.isfinite(lower) and math.isfinite(upper):
        values = lower + (upper - lower) * (0.02 + 0.96 * uniform)
    elif math.isfinite(lower):
        values = lower + torch.nn.functional.softplus(normal)
    elif math.isfinite(upper):
        values = upper - torch.nn.functional.softplus(normal)
    else:
        values = normal
    return values.to(dtype)


def wide_points(
    support: Support | Product | None, shape: tuple[int, ...], dtype: torch.dtype, seed: int = 0
) -> Tensor:
    """Points of all of a support: to ±1e4, near zero, and down to a rounding from its ends.

    Magnitudes are drawn evenly in the logarithm, so that every scale is met.
    """
    if isinstance(support, Product):
        drawn = [
            wide_points(one, shape[:-1], dtype, seed + 10 * i)
            for i, one in enumerate(support.supports)
        ]
        return torch.stack(drawn, -1)
    generator = torch.Generator().manual_seed(2000 + seed)
    uniform = torch.rand(shape, generator=generator, dtype=torch.float64)
    size = 10.0 ** (-12 + 16 * torch.rand(shape, generator=generator, dtype=torch.float64))
    sign = torch.where(torch.rand(shape, generator=generator) < 0.5, -1.0, 1.0).double()
    kind = torch.rand(shape, generator=generator)
    support = LINE if support is None else support
    lower, upper = support.lower, support.upper
    if math.isfinite(lower) and math.isfinite(upper):
        width = upper - lower
        near = (size * 1e-5).clamp(max=0.5) * width
        values = torch.where(sign > 0, lower + near, upper - near)
        values = torch.where(kind < 0.5, lower + width * uniform, values)
    elif math.isfinite(lower):
        values = lower + size
    elif math.isfinite(upper):
        values = upper - size
    else:
        # A fifth lies where maps bend: within a few units of the origin, and at whole numbers.
        values = torch.where(kind < 0.2, 8 * (uniform - 0.5), sign * size)
        values = torch.where(kind < 0.05, values.round(), values)
    values = values.to(dtype)
    if not support.closed:
        # The point next to an open end, where rounding to the dtype reached it.
        if math.isfinite(lower):
            end = torch.tensor(lower, dtype=dtype)
            values = torch.maximum(
                values, torch.nextafter(end, torch.tensor(math.inf, dtype=dtype))
            )
        if math.isfinite(upper):
            end = torch.tensor(upper, dtype=dtype)
            values = torch.minimum(
                values, torch.nextafter(end, torch.tensor(-math.inf, dtype=dtype))
            )
    return values


def context_for(
    shape: tuple | dict | None,
    batch: tuple[int, ...],
    dtype: torch.dtype = torch.float64,
    seed: int = 0,
):
    """A context of a declared shape, or shapes by name; None where none is declared.

    A free extent is 1.
    """
    if shape is None:
        return None
    if isinstance(shape, dict):
        return {
            name: context_for(s, batch, dtype, seed + i)
            for i, (name, s) in enumerate(shape.items())
        }
    generator = torch.Generator().manual_seed(3000 + seed)
    known = (1 if extent is None else extent for extent in shape)
    return torch.randn(*batch, *known, generator=generator, dtype=torch.float64).to(dtype)
