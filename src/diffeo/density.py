"""The contract of models: `Density`, and `Flow`, the density that a base and a bijection make."""

import itertools
import math
import operator
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence

import torch
from torch import Generator, Tensor, nn
from torch.distributions import Distribution

from diffeo.bijections.base import Bijection
from diffeo.bijections.elementwise import sum_event
from diffeo.contexts import (
    Context,
    ContextShape,
    Shape,
    as_context_shape,
    as_floating,
    broadcast_batch,
    context_batch,
    describe,
    matches,
)
from diffeo.supports import LINE, Product, Support


class Density(nn.Module, ABC):
    """A probability density, or mass function, that scores and samples.

    Every model of this library is one; training, evaluation, saving and the command line know
    nothing else.

    A subclass writes `_log_prob` and `_sample`, which may rely on checked shapes and on contexts
    whose batch dimensions broadcast to those of x or of the samples, and sets the attributes below.
    """

    event_shape: Shape
    """Shape of one x; None for an extent that is given only at sampling."""
    context_shape: ContextShape = None
    """Shape, or shapes by name, of what it is conditioned on."""
    support: Support | Product = LINE
    """Where every element of x lies; the density is zero elsewhere."""
    exact: bool = True
    """False where `log_prob` is a lower bound, as for dequantized data."""
    reparameterized: bool = True
    """Whether `rsample` exists."""
    scalable: bool = True
    """Whether `temperature` has a meaning."""

    @abstractmethod
    def _log_prob(self, x: Tensor, context: Context) -> Tensor:
        """log p(x|context), nats, for x inside the support. Shape of the batch."""

    @abstractmethod
    def _sample(
        self,
        batch: tuple[int, ...],
        shape: tuple[int, ...],
        context: Context,
        temperature: float,
        generator: Generator | None,
    ) -> Tensor:
        """Samples of shape (*batch, *shape), with gradients where `reparameterized`."""

    def _sample_and_log_prob(
        self,
        batch: tuple[int, ...],
        shape: tuple[int, ...],
        context: Context,
        temperature: float,
        generator: Generator | None,
    ) -> tuple[Tensor, Tensor]:
        x = self._sample(batch, shape, context, temperature, generator)
        return x, self._log_prob(x, context)

    def forward(self, x: Tensor, context: Context = None) -> Tensor:
        """The same as `log_prob`, so that wrappers of modules (DDP, compile) work."""
        return self.log_prob(x, context)

    def log_prob(self, x: Tensor, context: Context = None, *, samples: int = 1) -> Tensor:
        """log p(x|context) in nats, in the units of x.

        −∞ outside the support; NaN only where x has a NaN. Where `exact` is False this is a lower
        bound (on average over the noise drawn); `samples` = k then averages k draws inside the
        logarithm, a tighter one: log 1/k Σ exp(log p(x, u_i) − log q(u_i|x)) (Burda, Grosse &
        Salakhutdinov, 2016, arXiv:1509.00519).

        Args:
            x: (*batch, *event).
            context: as declared by `context_shape`; its batch dimensions broadcast with those of x.
            samples: draws of the noise; 1 or more.
        Shapes: out: (*batch,).

        Raises:
            TypeError: if x is not a tensor of the model's dtype, or the context is missing or not
                wanted.
            ValueError: if a shape is not the declared one, the batch dimensions do not broadcast, x
                lies on another device than the model, or samples < 1.
        """
        if samples < 1:
            raise ValueError(f"{self._name}: samples must be at least 1, got {samples}")
        x, context = self._admit(x, context)
        inside, outside = self.support.replace_outside(x)
        if samples == 1 or self.exact:
            log_prob = self._log_prob(inside, context)
        else:
            draws = torch.stack([self._log_prob(inside, context) for _ in range(samples)])
            log_prob = draws.logsumexp(0) - math.log(samples)
        rank = len(self.event_shape)
        any_outside = outside.flatten(-rank).any(-1) if rank else outside
        return torch.where(any_outside, torch.full_like(log_prob, -math.inf), log_prob)

    def sample(
        self,
        n: int | Sequence[int] = (),
        context: Context = None,
        *,
        temperature: float = 1.0,
        generator: Generator | None = None,
        event_shape: Sequence[int] | None = None,
    ) -> Tensor:
        """Draws samples, without gradients.

        Args:
            n: how many for each context, a number or a shape; () for one.
            context: what to condition on, (*context_batch, *context_event).
            temperature: multiplies the base's scale (divides the logits of discrete models); 0
                gives the mode of the base.
            generator: source of the noise; None for torch's global one.
            event_shape: the whole event shape, where the model leaves an extent open.
        Shapes: out: (*n, *context_batch, *event).

        Raises:
            TypeError: if the context is missing or not wanted, n is not of whole numbers, or the
                temperature is not a number.
            ValueError: if n or the temperature is negative, the model has no temperature, or a
                shape does not fit.
        """
        with torch.no_grad():
            arguments = self._admit_sampling(n, context, temperature, generator, event_shape)
            return self._sample(*arguments)

    def rsample(
        self,
        n: int | Sequence[int] = (),
        context: Context = None,
        *,
        temperature: float = 1.0,
        generator: Generator | None = None,
        event_shape: Sequence[int] | None = None,
    ) -> Tensor:
        """Draws samples with gradients to the parameters and the context. Arguments as in `sample`.

        Raises:
            TypeError: if samples of this model have no such gradients.
        """
        self._need_gradients()
        arguments = self._admit_sampling(n, context, temperature, generator, event_shape)
        return self._sample(*arguments)

    def sample_and_log_prob(
        self,
        n: int | Sequence[int] = (),
        context: Context = None,
        *,
        temperature: float = 1.0,
        generator: Generator | None = None,
        event_shape: Sequence[int] | None = None,
        gradients: bool = False,
    ) -> tuple[Tensor, Tensor]:
        """Samples and their log-probabilities in one pass. Arguments as in `sample`.

        The log-probability is the model's own, that of `log_prob`, whatever the temperature.

        Args:
            gradients: whether samples and log-probabilities carry gradients, as `rsample`'s do.
        Shapes: out: (*n, *context_batch, *event) and (*n, *context_batch).
        """
        if gradients:
            self._need_gradients()
        with torch.set_grad_enabled(gradients and torch.is_grad_enabled()):
            arguments = self._admit_sampling(n, context, temperature, generator, event_shape)
            return self._sample_and_log_prob(*arguments)

    def dist(
        self, context: Context = None, *, event_shape: Sequence[int] | None = None
    ) -> Distribution:
        """The model, given a context, as a `torch.distributions.Distribution`.

        Its batch shape is that of the context. Once Pyro has been imported it also works in Pyro's
        `sample` statements.

        Args:
            context: what to condition on, (*context_batch, *context_event).
            event_shape: the whole event shape, where the model leaves an extent open.

        Raises:
            TypeError: if the context is missing or not wanted.
            ValueError: if a shape does not fit.
        """
        from diffeo.distribution import distribution

        return distribution(self, context, event_shape=event_shape)

    def bits_per_dim(self, x: Tensor, context: Context = None, *, samples: int = 1) -> Tensor:
        """−log₂ p(x|context) / D, bits per dimension, D the number of elements of an event.

        Shape (*batch,). For whole-number data, dequantized inside the model, this is the bits/dim
        of the tables in papers.
        """
        log_prob = self.log_prob(x, context, samples=samples)
        dimensions = math.prod(x.shape[x.dim() - len(self.event_shape) :])
        return log_prob / (-dimensions * math.log(2))

    def initialize(self, x: Tensor, context: Context = None) -> None:
        """Sets what is set from data, before training. Most densities have nothing to set."""
        self._initialize_context(context)

    def _initialize_context(self, context: Context) -> None:
        """Shows the context's network, where there is one that wants it, the training data's."""
        start = getattr(getattr(self, "context_net", None), "initialize", None)
        if start is not None and context is not None:
            start(context)

    @property
    def _name(self) -> str:
        return type(self).__name__

    def _prepare(self, context: Context) -> Context:
        """The context as the parts of the model see it: whole numbers are numbers like others."""
        if context is None:
            return None
        reference = self._reference()
        dtype = torch.get_default_dtype() if reference is None else reference.dtype
        return as_floating(context, dtype)

    def _need_gradients(self) -> None:
        if not self.reparameterized:
            raise TypeError(f"{self._name}: samples have no gradients; use sample")

    def _admit(
        self, x: Tensor, context: Context, shape: Shape | None = None
    ) -> tuple[Tensor, Context]:
        if not isinstance(x, Tensor):
            raise TypeError(
                f"{self._name}: expected a tensor, got {type(x).__name__}; use torch.as_tensor(x)"
            )
        shape = self.event_shape if shape is None else shape
        cut = x.dim() - len(shape)
        if cut < 0 or not matches(x.shape[cut:], shape):
            raise ValueError(
                f"{self._name}: expected shape (*batch, {describe(shape)}), got {tuple(x.shape)}"
            )
        x = self._admit_dtype(x)
        joint = broadcast_batch(self._name, x.shape[:cut], self._context_batch(context))
        return x.expand((*joint, *x.shape[cut:])), self._prepare(context)

    def _reference(self) -> Tensor | None:
        """A tensor that says on which device and in which dtype the model computes."""
        # Lazily: a walk over every parameter, in every call, would show in profiles.
        own = itertools.chain(self.parameters(), self.buffers())
        return next((tensor for tensor in own if tensor.is_floating_point()), None)

    def _admit_dtype(self, x: Tensor) -> Tensor:
        reference = self._reference()
        if reference is None:
            return x if x.is_floating_point() else x.to(torch.get_default_dtype())
        self._check_device("x", x, reference)
        if not x.is_floating_point() and self.support.integer:
            return x.to(reference.dtype)
        self._check_dtype("x", x, reference)
        # Only differs under autocast, where an input may come from a layer that computed in bf16.
        return x.to(reference.dtype)

    def _check_device(self, what: str, value: Tensor, reference: Tensor) -> None:
        if value.device != reference.device:
            raise ValueError(
                f"{self._name}: {what} is on {value.device}, the model on {reference.device}; "
                f"use {what}.to({str(reference.device)!r})"
            )

    def _check_dtype(self, what: str, value: Tensor, reference: Tensor) -> None:
        if value.dtype == reference.dtype:
            return
        if value.is_floating_point() and torch.is_autocast_enabled(value.device.type):
            return
        raise TypeError(
            f"{self._name}: {what} is {value.dtype}, the model {reference.dtype}; "
            f"use {what}.to({reference.dtype})"
        )

    def _context_batch(self, context: Context) -> tuple[int, ...]:
        if self.context_shape is None and context is not None:
            raise TypeError(
                f"{self._name}: takes no context; build it with context=… to condition it"
            )
        batch = context_batch(self._name, context, self.context_shape)
        reference = None if context is None else self._reference()
        if reference is not None:
            parts = {"context": context} if isinstance(context, Tensor) else context
            for what, value in parts.items():  # type: ignore[union-attr]
                self._check_device(what, value, reference)
                # Whole numbers may have any dtype: `_prepare` sees to them.
                if value.is_floating_point():
                    self._check_dtype(what, value, reference)
        return batch

    def _admit_count(self, n: int | Sequence[int]) -> tuple[int, ...]:
        try:
            leading = tuple(n) if isinstance(n, Iterable) else (n,)
            leading = tuple(operator.index(extent) for extent in leading)
        except TypeError:
            raise TypeError(
                f"{self._name}: the number of samples must be a whole number or a shape, got {n!r}"
            ) from None
        if any(extent < 0 for extent in leading):
            raise ValueError(f"{self._name}: the number of samples can't be negative, got {n}")
        return leading

    def _admit_sampling(
        self,
        n: int | Sequence[int],
        context: Context,
        temperature: float,
        generator: Generator | None,
        event_shape: Sequence[int] | None,
    ) -> tuple[tuple[int, ...], tuple[int, ...], Context, float, Generator | None]:
        leading = self._admit_count(n)
        try:
            temperature = float(temperature)
        except (TypeError, ValueError):
            raise TypeError(
                f"{self._name}: temperature must be a number, got {temperature!r}"
            ) from None
        if not 0 <= temperature < math.inf:
            raise ValueError(f"{self._name}: temperature must be 0 or more, got {temperature}")
        if temperature != 1 and not self.scalable:
            raise ValueError(
                f"{self._name}: has no scale for a temperature to multiply; leave temperature at 1"
            )
        shape = self.event_shape if event_shape is None else tuple(event_shape)
        if not matches(shape, self.event_shape):  # type: ignore[arg-type]
            raise ValueError(f"{self._name}: event_shape must fit {self.event_shape}, got {shape}")
        if None in shape:
            raise ValueError(
                f"{self._name}: give sample(…, event_shape=…) to fill {self.event_shape}"
            )
        if any(extent < 1 for extent in shape):  # type: ignore[operator]
            raise ValueError(
                f"{self._name}: every extent of event_shape must be 1 or more, got {shape}"
            )
        batch = (*leading, *self._context_batch(context))
        return batch, shape, self._prepare(context), temperature, generator  # type: ignore[return-value]

    def extra_repr(self) -> str:
        """Event shape, context, and whether log_prob is a bound."""
        parts = [f"event_shape={tuple(self.event_shape)}"]
        if self.context_shape is not None:
            parts.append(f"context={self.context_shape}")
        if not self.exact:
            parts.append("log_prob is a bound")
        return ", ".join(parts)


class Flow(Density):
    """The density of x when z = f(x) has the base's density.

    log p(x|c) = log p_base(f(x; c)|c) + log|det ∂f/∂x|; a sample is f⁻¹(z; c) with z from the base.

    Args:
        base: density of the latent z.
        bijection: f, from data to latent.
        context: shape, or shapes by name, of what the flow is conditioned on, at the door. None:
            whatever the bijection and the base need.
        context_net: module applied once a call to the context; base and bijection see what it
            gives.

    Raises:
        ValueError: if the base's support or event shape is not what the bijection gives.

    Example:
        >>> import torch
        >>> from diffeo.bases import Normal
        >>> from diffeo.bijections import Log
        >>> log_normal = Flow(Normal((2,)), Log())
        >>> log_normal.sample(3).shape
        torch.Size([3, 2])
    """

    def __init__(
        self,
        base: Density,
        bijection: Bijection,
        *,
        context: int | Sequence[int | None] | dict | None = None,
        context_net: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.base = base
        self.bijection = bijection
        self.context_net = context_net
        self.event_shape = bijection.input_shape(base.event_shape)
        rank = len(self.event_shape)
        if bijection.context_shape is not None and bijection.event_dim != rank:
            raise ValueError(
                f"Flow: the bijection takes a context and acts on events of rank "
                f"{bijection.event_dim}; the base's have rank {rank}"
            )
        needed = (
            bijection.context_shape if bijection.context_shape is not None else base.context_shape
        )
        if base.context_shape not in (None, needed):
            raise ValueError(
                f"Flow: the bijection takes context {needed}, the base {base.context_shape}"
            )
        self.context_shape = as_context_shape(context) if context is not None else needed
        if (
            context_net is None
            and self.context_shape is not None
            and needed not in (None, self.context_shape)
        ):
            raise ValueError(
                f"Flow: declared context {self.context_shape}, but the parts take {needed}"
            )
        codomain = bijection.codomain
        if codomain is not None and not codomain.same_set(base.support):
            raise ValueError(
                f"Flow: the bijection maps to {codomain}, but the base lives on {base.support}"
            )
        self.support = base.support if bijection.domain is None else bijection.domain
        self.exact = base.exact and not bijection.stochastic
        self.reparameterized = base.reparameterized and not bijection.stochastic
        self.scalable = base.scalable

    def encode(self, x: Tensor, context: Context = None) -> Tensor:
        """The latent z = f(x). Shape (*batch, *latent event)."""
        return self.bijection(*self._admit(x, context))[0]

    def decode(self, z: Tensor, context: Context = None) -> Tensor:
        """The data x = f⁻¹(z). Shape (*batch, *event)."""
        return self.bijection.inverse(*self._admit(z, context, self.base.event_shape))[0]

    def initialize(self, x: Tensor, context: Context = None) -> None:
        """Walks the bijection, setting actnorms, standardisations and mixture offsets from x."""
        self._initialize_context(context)
        with torch.no_grad():
            x, context = self._admit(x, context)
            z = self.bijection.initialize(x, context)
            self.base.initialize(z, context)

    def _prepare(self, context: Context) -> Context:
        # A context network meets whole numbers as they are: they may be classes for it to look up.
        if self.context_net is not None and context is not None:
            context = self.context_net(context)
        return super()._prepare(context)

    def _log_prob(self, x: Tensor, context: Context) -> Tensor:
        z, ladj = self.bijection(x, context)
        return self.base._log_prob(z, self.base._prepare(context)) + self._per_event(ladj)

    def _sample(
        self,
        batch: tuple[int, ...],
        shape: tuple[int, ...],
        context: Context,
        temperature: float,
        generator: Generator | None,
    ) -> Tensor:
        prepared = self.base._prepare(context)
        z = self.base._sample(batch, self._latent(shape), prepared, temperature, generator)
        return self.bijection.inverse(z, context)[0]

    def _sample_and_log_prob(
        self,
        batch: tuple[int, ...],
        shape: tuple[int, ...],
        context: Context,
        temperature: float,
        generator: Generator | None,
    ) -> tuple[Tensor, Tensor]:
        z, log_base = self.base._sample_and_log_prob(
            batch, self._latent(shape), self.base._prepare(context), temperature, generator
        )
        x, ladj = self.bijection.inverse(z, context)
        return x, log_base - self._per_event(ladj)

    def _per_event(self, ladj: Tensor) -> Tensor:
        """Summed also over the dimensions of the event that the bijection acts on one by one."""
        return sum_event(ladj, len(self.event_shape) - self.bijection.event_dim)

    def _latent(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return self.bijection.output_shape(shape)  # type: ignore[return-value]
