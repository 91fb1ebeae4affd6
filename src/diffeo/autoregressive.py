"""Autoregressive densities: each value's distribution from the values before it, by a network."""

import math
from abc import ABC, abstractmethod

import torch
from torch import Generator, Tensor, nn
from torch.distributions import Categorical, Distribution, MixtureSameFamily, Normal

from diffeo.contexts import Context
from diffeo.density import Density
from diffeo.draws import Noise
from diffeo.gaussian_mixture import draw_mixture, mixture_log_density
from diffeo.nets.causal import CausalNetwork, outside_graph
from diffeo.scalars.affine import soft_bound
from diffeo.supports import LINE, Support


class Head(nn.Module, ABC):
    """A family of distributions of one value, whose parameters a causal network supplies."""

    num_params: int
    support: Support = LINE
    reparameterized: bool = False
    discrete: bool = False

    @abstractmethod
    def log_prob(self, x: Tensor, params: Tensor) -> Tensor:
        """log p(x; θ), nats: x (*,), params (*, num_params) → (*,)."""

    @abstractmethod
    def sample(self, params: Tensor, temperature: float, generator: Generator | None) -> Tensor:
        """One value for each row of parameters: (*, num_params) → (*,)."""

    @abstractmethod
    def distribution(self, params: Tensor) -> Distribution:
        """The same as a `torch.distributions.Distribution` of batch shape (*,)."""


class GaussianMixtureHead(Head):
    """A mixture of K Gaussians: p(x) = Σ π_k N(x; μ_k, e^{2 s_k}), |s_k| < log 1000.

    Zero parameters give means spread over (−1, 1), so that the components are not all alike.

    Args:
        components: K.
    Reference: the MADE-MoG of Papamakarios, Pavlakou & Murray, 2017, arXiv:1705.07057, section 4.
    """

    def __init__(self, components: int = 10) -> None:
        super().__init__()
        if components < 1:
            raise ValueError(f"GaussianMixtureHead: components must be positive, got {components}")
        self.components, self.num_params = components, 3 * components
        spread = (torch.arange(components) * 2 + 1) / components - 1
        self.spread: Tensor
        self.register_buffer("spread", spread, persistent=False)

    def log_prob(self, x: Tensor, params: Tensor) -> Tensor:
        """logsumexp over the components."""
        return mixture_log_density(x, *self._unpack(params))

    def sample(self, params: Tensor, temperature: float, generator: Generator | None) -> Tensor:
        """A component by its weight, then a value; temperature multiplies the component's scale."""
        noise = Noise(tuple(params.shape[:-1]), params.dtype, params.device, generator)
        return draw_mixture(*self._unpack(params), noise, temperature)

    def distribution(self, params: Tensor) -> Distribution:
        """A `MixtureSameFamily` of normals."""
        log_weights, means, log_scales = self._unpack(params)
        return MixtureSameFamily(Categorical(logits=log_weights), Normal(means, log_scales.exp()))

    def _unpack(self, params: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """log π, μ and s."""
        logits, means, raw = params.unflatten(-1, (3, self.components)).unbind(-2)
        log_scales = soft_bound(raw, math.log(1000.0))
        return logits.log_softmax(-1), means + self.spread.to(means.dtype), log_scales


class AutoregressiveDensity(Density):
    """p(x|c) = Π_i p(x_i | x_{<i}, c), each factor a head's, its parameters a causal network's.

    Scoring is one parallel pass; sampling steps through the positions at about the same total cost.
    `torch.compile` leaves more steps than `diffeo.nets.causal.MOST_IN_GRAPH` as they are, between
    graphs.

    Args:
        net: causal network with the head's number of parameters a value.
        head: the family of the factors.

    Raises:
        ValueError: if the network gives another number of parameters than the head takes.
    """

    def __init__(self, net: CausalNetwork, head: Head) -> None:
        super().__init__()
        if net.num_params != head.num_params:
            raise ValueError(
                f"AutoregressiveDensity: the head takes {head.num_params} parameters, "
                f"the network gives {net.num_params}"
            )
        self.net, self.head = net, head
        self.event_shape, self.context_shape = net.event_shape, net.context_shape
        self.support, self.reparameterized = head.support, head.reparameterized

    def conditionals(self, x: Tensor, context: Context = None) -> Distribution:
        """The distribution of every value given those of x before it; batch shape that of x."""
        x, context = self._admit(x, context)
        return self.head.distribution(self.net(x, context).to(x.dtype))

    def _log_prob(self, x: Tensor, context: Context) -> Tensor:
        log_prob = self.head.log_prob(x, self.net(x, context).to(x.dtype))
        return log_prob.flatten(-len(self.event_shape)).sum(-1)

    def _sample(
        self,
        batch: tuple[int, ...],
        shape: tuple[int, ...],
        context: Context,
        temperature: float,
        generator: Generator | None,
    ) -> Tensor:
        return self._walk(batch, shape, context, temperature, generator, score=False)[0]

    def _sample_and_log_prob(
        self,
        batch: tuple[int, ...],
        shape: tuple[int, ...],
        context: Context,
        temperature: float,
        generator: Generator | None,
    ) -> tuple[Tensor, Tensor]:
        x, log_prob = self._walk(batch, shape, context, temperature, generator, score=True)
        return x, log_prob  # type: ignore[return-value]

    def _walk(
        self,
        batch: tuple[int, ...],
        shape: tuple[int, ...],
        context: Context,
        temperature: float,
        generator: Generator | None,
        score: bool,
    ) -> tuple[Tensor, Tensor | None]:
        """A value at each position in turn, and the log-probability of all if asked for."""
        positions = self.net.positions_of(shape)
        arguments = (batch, positions, context, temperature, generator, score)
        if outside_graph(positions):
            return torch.compiler.disable(self._steps)(*arguments)  # type: ignore
        return self._steps(*arguments)

    def _steps(
        self,
        batch: tuple[int, ...],
        positions: int,
        context: Context,
        temperature: float,
        generator: Generator | None,
        score: bool,
    ) -> tuple[Tensor, Tensor | None]:
        state = self.net.stepper(batch, context)
        values: Tensor | None = None
        drawn: list[Tensor] = []
        total: Tensor | None = None
        for _ in range(positions):
            params, state = state.step(values)
            values = self.head.sample(params, temperature, generator)
            drawn.append(values)
            if score:
                log_prob = self.head.log_prob(values, params).sum(-1)
                total = log_prob if total is None else total + log_prob
        return self.net.from_positions(torch.stack(drawn, dim=-2)), total
