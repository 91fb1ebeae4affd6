"""How the bits of an image are shared among the scales of a flow."""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from diffeo.bases import Base
from diffeo.bijections.base import Bijection, sum_to, zero_ladj
from diffeo.bijections.chain import Chain
from diffeo.bijections.coupling import Coupling
from diffeo.bijections.multiscale import MultiScale
from diffeo.bijections.normalization import ActNorm, BatchNorm
from diffeo.bijections.partition import Channels
from diffeo.contexts import Context
from diffeo.density import Density, Flow


def scales_of(density: Density) -> MultiScale | None:
    """The scales of a flow that has several, on a base of independent elements; or None."""
    if not isinstance(density, Flow) or not isinstance(density.base, Base):
        return None
    *_, last = parts_of(density.bijection)
    if not isinstance(last, MultiScale):
        return None
    return last if len(last.scales) > 1 else None


def scale_bits(flow: Flow, x: Tensor, context: Context = None) -> Tensor:
    """The bits of every image that the latents of each scale carry; they sum to −log₂ p(x).

    With D_s elements in z_s, and N_s = D_s + … + D_S that meet the bijections of scale s,

        b_s = −log₂ p(z_s) − log₂|det g_s| − D_s (log₂|det f₀| / N₁ + Σ_{t ≤ s} log₂|det f_t| / N_t)

    where f₀ stands in front of the scales (dequantization, a logit), g_s is the coupling that
    ends scale s (normalisations may follow) where it changes just what leaves there, the prior of
    z_s given the rest, and f_t is all else of scale t. So what the prior knows counts for its own
    latents, and every other log-determinant evenly for all the elements that it moved: what one
    scale blows up and the next shrinks again makes no difference, as it makes none to p.

    Args:
        flow: of which `scales_of` gives the scales.
        x: (batch, C, *space).
        context: (batch, *context).
    Shapes: out: (batch, S), float64.

    Raises:
        TypeError: if the flow has not several scales.
    """
    scales = scales_of(flow)
    if scales is None or not isinstance(flow.base, Base):
        raise TypeError("scale_bits: needs a flow of several scales on an independent base")
    x, given = flow._admit(x, context)
    cut = 1
    *front, _ = parts_of(flow.bijection)
    h, total = _through(front, x, given, cut)
    each = total / h[0].numel()
    parts, shares = [], []
    for s, scale in enumerate(scales.scales):
        steps = list(parts_of(scale))  # type: ignore[arg-type]
        ends = s + 1 == len(scales.scales)
        own = _prior(steps)
        elements = h[0].numel()
        moved, prior = zero_ladj(h, cut).double(), zero_ladj(h, cut).double()
        for step in steps:
            h, ladj = _through([step], h, given, cut)
            if step is own:
                prior = prior + ladj
            else:
                moved = moved + ladj
        each = each + moved / elements
        if not ends:
            h, out = h.tensor_split([h.shape[cut] // 2], dim=cut)
        else:
            out = h
        parts.append(out)
        shares.append(prior + out[0].numel() * each)
    log_base = flow.base._log_density(scales.join(parts), flow.base._prepare(given)).double()
    sizes = [math.prod(shape) for shape in scales.latent_shapes]
    of_latents = torch.stack([part.sum(-1) for part in log_base.split(sizes, dim=-1)], -1)
    return -(of_latents + torch.stack(shares, -1)) / math.log(2)


def _prior(steps: list[Bijection]) -> Coupling | None:
    """The coupling that ends a scale, where it changes what leaves and nothing else."""
    last = next((s for s in reversed(steps) if not isinstance(s, (ActNorm, BatchNorm))), None)
    if not isinstance(last, Coupling):
        return None
    halves = last.partition
    return last if isinstance(halves, Channels) and not halves.flip else None


def _through(
    steps: list[Bijection], x: Tensor, context: Context, cut: int
) -> tuple[Tensor, Tensor]:
    total = zero_ladj(x, cut).double()
    for step in steps:
        x, ladj = step(x, context)
        total = total + sum_to(ladj, cut)
    return x, total


def parts_of(bijection: Bijection) -> Iterator[Bijection]:
    """The bijections that a chain is made of, chains in it taken apart."""
    if isinstance(bijection, Chain):
        for part in bijection.parts:
            yield from parts_of(part)  # type: ignore[arg-type]
    else:
        yield bijection
