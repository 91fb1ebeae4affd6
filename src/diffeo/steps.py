"""The conditionals of densities that go step by step: log p(x_t|x_<t, c) of every value at once."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from diffeo.affine_stack import AFFINE, flat, is_elementwise, log_scale_of
from diffeo.autoregressive import AutoregressiveDensity, GaussianMixtureHead, Head
from diffeo.bases import Base, Normal
from diffeo.bijections.autoregressive import Autoregressive
from diffeo.contexts import Context
from diffeo.density import Density, Flow
from diffeo.nets.causal import CausalNetwork


class Steps(NamedTuple):
    """The distributions of all values of events, each given the values before it."""

    log_density: Callable[[Tensor], Tensor]
    """log p(x_t|past), nats, of other values in place of x_t: (*samples, *batch, *event), each
    given the past that the steps were made for.
    """
    gaussian: tuple[Tensor, Tensor] | None
    """Mean and log-deviation of every value, (*batch, *event), where all are Gaussian."""


class StepDensity:
    """A density p(x|c) = Π_t p(x_t|x_<t, c) whose factors are known, from one pass of a network.

    An `AutoregressiveDensity` with a head that is not discrete: where the head weighs intervals,
    this is the continuous density whose intervals they are. And a `Flow` of a single autoregressive
    map on a base of independent elements, where p(x_t|x_<t) = p_base(τ(x_t)) τ′(x_t); shifts and
    scales of single elements may stand before and behind the map.

    Args:
        density: one of the two.

    Raises:
        ValueError: if it is neither; the message says what it is instead.
    """

    def __init__(self, density: Density) -> None:
        self.density = density
        self.net: CausalNetwork
        if isinstance(density, AutoregressiveDensity):
            if density.head.discrete:
                raise ValueError(f"its head, {type(density.head).__name__}, is discrete")
            self.net = density.net
            return
        if not isinstance(density, Flow):
            raise ValueError(f"{type(density).__name__} has no steps that are known")
        parts = list(flat(density.bijection))
        maps = [i for i, part in enumerate(parts) if isinstance(part, Autoregressive)]
        if len(maps) != 1 or sum(map(is_elementwise, parts)) != len(parts) - 1:
            raise ValueError("it is not one autoregressive map, so its steps are not known")
        if not isinstance(density.base, Base):
            raise ValueError(f"its base is a {type(density.base).__name__}")
        at = maps[0]
        self._map: Autoregressive = parts[at]  # type: ignore[assignment]
        self._before, self._behind = parts[:at], parts[at + 1 :]
        self.net = self._map.net

    @property
    def is_gaussian(self) -> bool:
        """Whether every step is one Gaussian."""
        if isinstance(self.density, AutoregressiveDensity):
            return is_gaussian(self.density.head)
        return self.location_scale and isinstance(self.density.base, Normal)  # type: ignore[union-attr]

    @property
    def location_scale(self) -> bool:
        """Whether every step is a base of one shape, moved and scaled."""
        if isinstance(self.density, AutoregressiveDensity):
            return is_gaussian(self.density.head)
        return isinstance(self._map.scalar, AFFINE)

    def steps(self, x: Tensor, context: Context = None) -> Steps:
        """The distributions of the values of x, each given those of x before it.

        Args:
            x: (*batch, *event).
            context: as the density declares.
        """
        density = self.density
        x, context = density._admit(x, context)
        if isinstance(density, AutoregressiveDensity):
            head, params = density.head, self.net(x, context).to(x.dtype)
            return Steps(lambda values: continuous(head, values, params), gaussian(head, params))
        return self._of_map(x, context)

    def _of_map(self, x: Tensor, context: Context) -> Steps:
        """Those of a flow of one map."""
        scalar = self._map.scalar
        base: Base = self.density.base  # type: ignore[assignment]
        prepared = base._prepare(context)
        seen = x
        for part in self._before:
            seen = part(seen)[0]
        params = self.net(seen, context).to(x.dtype)

        def log_density(values: Tensor) -> Tensor:
            z = values
            for part in self._before:
                z = part(z)[0]
            z, log_slope = scalar(z, params)
            for part in (*self._before, *self._behind):
                log_slope = log_slope - log_scale_of(part)
            for part in self._behind:
                z = part(z)[0]
            wide = z.to(torch.promote_types(z.dtype, torch.float32))
            return base._log_density(wide, prepared) + log_slope

        return Steps(log_density, self._gaussians(x, params) if self.is_gaussian else None)

    def _gaussians(self, x: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-deviation of every step of an affine map on a normal base."""
        base: Normal = self.density.base  # type: ignore[assignment]
        zero = torch.zeros_like(x)
        mean, log_deviation = base.position.place(zero), zero + base.position.standardize(zero)[1]
        for part in reversed(self._behind):
            mean, log_deviation = part.inverse(mean)[0], log_deviation + log_scale_of(part)
        mean, log_slope = self._map.scalar.inverse(mean, params)
        log_deviation = log_deviation + log_slope
        for part in reversed(self._before):
            mean, log_deviation = part.inverse(mean)[0], log_deviation + log_scale_of(part)
        return mean, log_deviation


def continuous(head: Head, x: Tensor, params: Tensor) -> Tensor:
    """log density of values under a head, nats: of the density behind its intervals, if any."""
    log_density = getattr(head, "log_density", head.log_prob)
    return log_density(x, params)


def is_gaussian(head: Head) -> bool:
    """Whether each of the head's distributions is one Gaussian."""
    if isinstance(head, GaussianMixtureHead):
        return head.components == 1
    return hasattr(head, "gaussian")


def gaussian(head: Head, params: Tensor) -> tuple[Tensor, Tensor] | None:
    """Means and log-deviations of a head's Gaussians; None where they are none.

    Shapes: out: those of params without the last extent.
    """
    if not is_gaussian(head):
        return None
    if isinstance(head, GaussianMixtureHead):
        _, means, log_scales = head._unpack(params)
        return means.squeeze(-1), log_scales.squeeze(-1)
    return head.gaussian(params)  # type: ignore[operator]


def sequential(density: Density) -> str | None:
    """The name of a part that goes step by step on the way to samples; None where none does."""
    if isinstance(density, AutoregressiveDensity):
        return type(density).__name__
    if not isinstance(density, Flow):
        return None
    for part in flat(density.bijection):
        if isinstance(part, Autoregressive) and part.net.positions != 1:
            return type(part).__name__
    return sequential(density.base)
