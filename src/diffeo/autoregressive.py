"""Autoregressive densities: each value's distribution from the values before it, by a network."""

import math
from abc import ABC, abstractmethod

import torch
from torch import Generator, Tensor, nn
from torch.distributions import Categorical, Distribution, MixtureSameFamily, Normal

from diffeo.contexts import Context, ContextArgument, as_context_shape
from diffeo.density import Density
from diffeo.draws import Noise
from diffeo.gaussian_mixture import draw_mixture, mixture_log_density
from diffeo.nets.causal import CausalNetwork, outside_graph, tell_steps
from diffeo.nets.wavenet import WaveNetStepperInC
from diffeo.nets.wavenet_kernel import HeadInC
from diffeo.scalars.affine import soft_bound
from diffeo.supports import LINE, Support


class Head(nn.Module, ABC):
    """A family of distributions of one value, whose parameters a causal network supplies."""

    num_params: int
    support: Support = LINE
    reparameterized: bool = False
    discrete: bool = False
    numbers: int = 0
    """Of noise that a draw takes, where that is drawn before the parameters are known, for all
    positions at once; 0 where it isn't."""

    @abstractmethod
    def log_prob(self, x: Tensor, params: Tensor) -> Tensor:
        """log p(x; θ), nats: x (*,), params (*, num_params) → (*,)."""

    @abstractmethod
    def sample(self, params: Tensor, temperature: float, generator: Generator | None) -> Tensor:
        """One value for each row of parameters: (*, num_params) → (*,)."""

    @abstractmethod
    def distribution(self, params: Tensor) -> Distribution:
        """The same as a `torch.distributions.Distribution` of batch shape (*,)."""

    means: slice | None = None
    """Where the means are among the parameters, if there are any."""

    def initialize(self, x: Tensor) -> None:
        """Sets what is set from data, before training. Most heads have nothing to set."""

    def noise(self, source: Noise) -> Tensor:
        """What draws start from, (*source.size, numbers)."""
        raise NotImplementedError(f"{type(self).__name__}: noise is not drawn by itself")

    def place(self, params: Tensor, noise: Tensor, temperature: float) -> Tensor:
        """Draws from noise: (*, num_params) and (*, numbers) → (*,)."""
        raise NotImplementedError(f"{type(self).__name__}: noise is not drawn by itself")

    def in_c(self) -> HeadInC | None:
        """What draws the same in C, if anything does."""
        return None


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
        context: shape, or shapes by name, of what the density is conditioned on, at the door. None:
            whatever the network needs.
        context_net: module applied once a call to the context; the network sees what it gives.

    Raises:
        ValueError: if the network gives another number of parameters than the head takes, or takes
            another context.
    """

    def __init__(
        self,
        net: CausalNetwork,
        head: Head,
        *,
        context: ContextArgument = None,
        context_net: nn.Module | None = None,
    ) -> None:
        super().__init__()
        if net.num_params != head.num_params:
            raise ValueError(
                f"AutoregressiveDensity: the head takes {head.num_params} parameters, "
                f"the network gives {net.num_params}"
            )
        declared = as_context_shape(context)
        self.context_shape = net.context_shape if declared is None else declared
        if context_net is None and self.context_shape != net.context_shape:
            raise ValueError(
                f"AutoregressiveDensity: declared context {self.context_shape}, but the network "
                f"takes {net.context_shape}"
            )
        self.net, self.head, self.context_net = net, head, context_net
        self.event_shape = net.event_shape
        self.support, self.reparameterized = head.support, head.reparameterized

    def with_head(self, head: Head) -> "AutoregressiveDensity":
        """The same network under another head, of as many parameters; nothing is copied."""
        made = AutoregressiveDensity(
            self.net, head, context=self.context_shape, context_net=self.context_net
        )
        made.training = self.training
        return made

    def conditionals(self, x: Tensor, context: Context = None) -> Distribution:
        """The distribution of every value given those of x before it; batch shape that of x."""
        x, context = self._admit(x, context)
        return self.head.distribution(self.net(x, context).to(x.dtype))

    def initialize(self, x: Tensor, context: Context = None) -> None:
        """Has the context's network, the head and the network set what they set from data.

        Raises:
            ValueError: if there are no rows.
        """
        if not len(x):
            raise ValueError("AutoregressiveDensity: initialize needs rows to start from, got none")
        self._initialize_context(context)
        with torch.no_grad():
            self.head.initialize(x)
            self.net.initialize(x, self.head.means)

    def _prepare(self, context: Context) -> Context:
        # A context network meets whole numbers as they are: they may be classes for it to look up.
        if self.context_net is not None and context is not None:
            context = self.context_net(context)
        return super()._prepare(context)

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
        state, told = self.net.stepper(batch, context), self.head.in_c()
        if told is not None and isinstance(state, WaveNetStepperInC) and state.draws(told):
            source = Noise((positions, *batch, 1), torch.float32, torch.device("cpu"), generator)
            drawn = state.draw(told, temperature, self.head.noise(source))
            x = self.net.from_positions(drawn.movedim(0, -2))
            return x, self._log_prob(x, context) if score else None
        values: Tensor | None = None
        noise: Tensor | None = None
        solved: list[Tensor] = []
        total: Tensor | None = None
        for position in range(positions):
            params, state = state.step(values)
            if self.head.numbers:
                if noise is None:
                    size = (positions, *params.shape[:-1])
                    noise = self.head.noise(Noise(size, params.dtype, params.device, generator))
                values = self.head.place(params, noise[position], temperature)
            else:
                values = self.head.sample(params, temperature, generator)
            solved.append(values)
            if score:
                log_prob = self.head.log_prob(values, params).sum(-1)
                total = log_prob if total is None else total + log_prob
            tell_steps(position + 1, positions)
        return self.net.from_positions(torch.stack(solved, dim=-2)), total
