"""Stacks of affine inverse autoregressive flows, which sample by a location and a scale a step."""

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from diffeo.bases import Base, Logistic, Normal, StudentT
from diffeo.bijections.autoregressive import Autoregressive
from diffeo.bijections.base import Bijection
from diffeo.bijections.chain import Chain, Inverse
from diffeo.bijections.fixed import FixedAffine
from diffeo.bijections.normalization import ActNorm, Standardize
from diffeo.contexts import Context
from diffeo.density import Density, Flow
from diffeo.nets.causal import CausalNetwork
from diffeo.scalars.affine import Additive, Affine, Scaling, SigmoidAffine, soft_bound

AFFINE = (Additive, Scaling, Affine, SigmoidAffine)
"""Scalar maps whose inverse in x is affine, whatever the parameters."""
NOISES = (Logistic, Normal, StudentT)
"""Bases of independent elements, of which the entropy is known."""


class Draw(NamedTuple):
    """Samples of a stack, and the distributions they were drawn from, step by step."""

    x: Tensor
    """(*batch, *event): x_t = μ_t + s_t z_t."""
    loc: Tensor
    """μ_t, a function of z_<t. Shape of x."""
    log_scale: Tensor
    """log s_t, a function of z_<t. Shape of x."""
    others: Tensor
    """Further values of each x_t given the same z_<t: (samples, *batch, *event), the first is x."""


class AffineStack:
    """A flow that samples by x_t = μ_t(z_<t) + s_t(z_<t) z_t, as one location and one scale a step.

    Its parts are affine inverse autoregressive maps whose networks all take the positions in the
    same order, and shifts and scales of single elements between them. Composed, they are one such
    map: μ ← e^σ μ + m, log s ← log s + σ where a part takes y to e^σ(y_<) y + m(y_<). So a step's
    distribution given the past is the base's, moved and scaled: any number of values of each step
    are drawn for one pass of the networks, and the entropy of the step is H(base) + log s_t.

    Args:
        flow: what is to be run so.

    Raises:
        ValueError: if it is no such stack; the message says which part is not.

    Reference: van den Oord et al., 2017, Parallel WaveNet, arXiv:1711.10433, section 4.
    """

    def __init__(self, flow: Density) -> None:
        if not isinstance(flow, Flow):
            raise ValueError(f"{type(flow).__name__} is no flow")
        if not isinstance(flow.base, NOISES):
            names = ", ".join(kind.__name__ for kind in NOISES)
            raise ValueError(
                f"its base is a {type(flow.base).__name__}; closed forms are known of {names}"
            )
        self.flow, self.base = flow, flow.base
        self._parts = list(flat(flow.bijection))
        self.nets: list[CausalNetwork] = []
        for part in self._parts:
            if isinstance(part, Inverse) and isinstance(part.bijection, Autoregressive):
                if not isinstance(part.bijection.scalar, AFFINE):
                    name = type(part.bijection.scalar).__name__
                    raise ValueError(f"its steps are not affine: {name}")
                self.nets.append(part.bijection.net)
            elif not is_elementwise(part):
                raise ValueError(
                    f"a {type(part).__name__} in it is no affine inverse autoregressive map"
                )
        if not self.nets:
            raise ValueError("it has no autoregressive map")

    def in_order_of(self, net: CausalNetwork, shape: tuple[int, ...]) -> bool:
        """Whether all networks take the positions of such events in the order of that one."""
        order = order_of(net, shape)
        orders = [order_of(own, shape) for own in self.nets]
        return all(own.shape == order.shape and bool((own == order).all()) for own in orders)

    def draw(
        self,
        n: int | tuple[int, ...] = (),
        context: Context = None,
        *,
        samples: int = 1,
        generator: Generator | None = None,
        event_shape: tuple[int, ...] | None = None,
    ) -> Draw:
        """Samples with gradients, and what they were drawn from, in one pass.

        Args:
            n: how many for each context, a number or a shape.
            context: what to condition on.
            samples: values of each x_t given the same past, 1 or more.
            generator: source of the noise.
            event_shape: the whole event shape, where the flow leaves an extent open.

        Raises:
            TypeError: as `Density.sample`.
            ValueError: as `Density.sample`.
        """
        flow = self.flow
        batch, shape, context, _, _ = flow._admit_sampling(n, context, 1.0, generator, event_shape)
        prepared = self.base._prepare(context)
        latent = flow._latent(shape)
        z = self.base._sample((samples, *batch), latent, prepared, 1.0, generator)
        loc, log_scale = torch.zeros_like(z[0]), torch.zeros_like(z[0])
        x = z[0]
        for part in reversed(self._parts):
            if isinstance(part, Inverse):
                steps: Autoregressive = part.bijection  # type: ignore[assignment]
                params = steps.net(x, context).to(x.dtype)
                x, added = steps.scalar(x, params)
                loc = steps.scalar(loc, params)[0]
            else:
                x, loc = part.inverse(x)[0], part.inverse(loc)[0]
                added = log_scale_of(part)
            log_scale = log_scale + added
        others = torch.cat([x.unsqueeze(0), loc + log_scale.exp() * z[1:]])
        return Draw(x, loc, log_scale, others)

    def entropy(self, draw: Draw) -> Tensor:
        """Σ_t log s_t + H(base), nats: its mean over draws is the entropy H(q). Shape (*batch,)."""
        rank = len(self.base.event_shape)
        noise = entropy_of_element(self.base).expand(draw.log_scale.shape)
        return (draw.log_scale + noise).flatten(-rank).sum(-1)

    @property
    def is_gaussian(self) -> bool:
        """Whether every step is Gaussian, given the past."""
        return isinstance(self.base, Normal)

    def gaussians(self, draw: Draw) -> tuple[Tensor, Tensor] | None:
        """Mean and log-deviation of every step given the past; None where the noise is no normal.

        Shapes: out: those of x.
        """
        if not isinstance(self.base, Normal):
            return None
        mean, log_deviation = torch.zeros_like(draw.loc), torch.zeros_like(draw.loc)
        position = self.base.position
        if position.loc is not None:
            mean, log_deviation = mean + position.loc, log_deviation + _own_log_scale(self.base)
        return draw.loc + draw.log_scale.exp() * mean, draw.log_scale + log_deviation


def flat(bijection: Bijection) -> Iterator[Bijection]:
    """The parts of a bijection, those of chains in their place, in the order that data meets."""
    if not isinstance(bijection, Chain):
        yield bijection
        return
    for part in bijection.parts:
        yield from flat(part)  # type: ignore[arg-type]


def order_of(net: CausalNetwork, shape: tuple[int, ...]) -> Tensor:
    """Which elements of an event of that shape each position holds: (positions, values)."""
    return net.to_positions(torch.arange(math.prod(shape)).reshape(shape))


def entropy_of_element(base: Base) -> Tensor:
    """Differential entropy of each element, nats: of a logistic 2, of a normal ½ log 2πe + log σ.

    Of a Student's t: (ν+1)/2 (ψ((ν+1)/2) − ψ(ν/2)) + ½ log ν + log B(ν/2, ½) + log σ.

    Shapes: out: (*event,), or one number where all elements are alike.

    Raises:
        ValueError: if the entropy of that base is not known here.
    """
    if isinstance(base, Logistic):
        return base.origin + 2.0
    if isinstance(base, Normal):
        return base.origin + 0.5 * math.log(2 * math.pi * math.e) + _own_log_scale(base)
    if isinstance(base, StudentT):
        df = base.origin + base.df(base.origin.dtype)
        half = df / 2
        log_beta = torch.lgamma(half) + math.lgamma(0.5) - torch.lgamma(half + 0.5)
        spread = (half + 0.5) * (torch.digamma(half + 0.5) - torch.digamma(half))
        return spread + 0.5 * df.log() + log_beta + _own_log_scale(base)
    raise ValueError(f"the entropy of a {type(base).__name__} has no closed form here")


def _own_log_scale(base: Normal | StudentT) -> Tensor | float:
    """log σ of every element."""
    return base.position.standardize(base.origin)[1]


def is_elementwise(part: Bijection) -> bool:
    """Whether it shifts and scales each element, with a positive scale, by numbers of its own."""
    if isinstance(part, FixedAffine):
        return part.scale > 0
    return isinstance(part, (Standardize, ActNorm))


def log_scale_of(part: Bijection) -> Tensor | float:
    """log dx_i/dz_i of such a part, on the way to data: one number, or one for each element.

    Raises:
        ValueError: if it is another kind of part.
    """
    if isinstance(part, Standardize):
        return part.std.log()
    if isinstance(part, ActNorm):
        return -soft_bound(part.raw_log_scale, part.log_scale_bound)
    if isinstance(part, FixedAffine):
        return -math.log(part.scale)
    raise ValueError(f"{type(part).__name__} is no shift and scale of single elements")
