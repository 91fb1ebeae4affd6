"""A density, given a context, as a `torch.distributions.Distribution`."""

import sys
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints

from diffeo.contexts import Context, context_batch, expand_context, matches
from diffeo.density import Density


def distribution(
    density: Density,
    context: Context = None,
    *,
    event_shape: Sequence[int] | None = None,
    validate_args: bool | None = None,
) -> "DensityDistribution":
    """The density of x given the context, as torch's and Pyro's own distributions.

    Once Pyro has been imported, what comes back also works in its `sample` statements.

    Args:
        density: the density.
        context: as it declares; its batch shape becomes the distribution's.
        event_shape: the whole event shape, where the density leaves an extent open.
        validate_args: whether values outside the support raise; torch's default if None.

    Raises:
        TypeError: if the context is missing or not wanted.
        ValueError: if a shape does not fit.
    """
    kind = DensityDistribution
    if "pyro.distributions" in sys.modules:
        from diffeo.pyro_distribution import PyroDensityDistribution as kind
    return kind(density, context, event_shape=event_shape, validate_args=validate_args)


class DensityDistribution(Distribution):
    """A density, given a context, with the interface of `torch.distributions`.

    It shares the density's parameters: log_prob and rsample carry gradients to them and to the
    context. Like torch's own, it refuses values outside its support unless validate_args is False;
    log_prob is −∞ there then. There are no closed forms of mean, variance, entropy and cdf.

    Args: as `distribution`.
    Shapes: batch_shape: the context's; samples: (*sample_shape, *batch_shape, *event_shape).

    Raises:
        TypeError: if the context is missing or not wanted.
        ValueError: if a shape does not fit.
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {}  # type: ignore

    def __init__(
        self,
        density: Density,
        context: Context = None,
        *,
        event_shape: Sequence[int] | None = None,
        validate_args: bool | None = None,
    ) -> None:
        name = type(density).__name__
        if context is not None and density.context_shape is None:
            raise TypeError(f"{name}: takes no context; build it with context=… to condition it")
        self.density = density
        self.context = context
        shape = density.event_shape if event_shape is None else tuple(event_shape)
        known = tuple(extent for extent in shape if extent is not None)
        if not matches(known, density.event_shape):
            raise ValueError(f"{name}: event_shape must fit {density.event_shape}, got {shape}")
        batch = context_batch(name, context, density.context_shape)
        super().__init__(torch.Size(batch), torch.Size(known), validate_args=validate_args)

    @property
    def has_rsample(self) -> bool:  # type: ignore[override]
        """Whether samples carry gradients."""
        return self.density.reparameterized

    @constraints.dependent_property
    def support(self) -> constraints.Constraint:  # type: ignore[override]
        """The density's support, as one constraint on the whole event."""
        rank = len(self.event_shape)
        within = self.density.support.constraint
        missing = rank - within.event_dim
        return constraints.independent(within, missing) if missing else within

    def log_prob(self, value: Tensor) -> Tensor:
        """log p(value), nats. Shape (*sample_shape, *batch_shape)."""
        # Constraints of torch can't look at an empty tensor; the density checks its shape.
        empty = isinstance(value, Tensor) and value.numel() == 0
        if self._validate_args and not empty:
            self._validate_sample(value)
        log_prob = self.density.log_prob(value, self.context)
        return log_prob.expand(torch.broadcast_shapes(log_prob.shape, self.batch_shape))

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Samples without gradients."""
        leading, context = self._leading(sample_shape)
        return self.density.sample(leading, context, event_shape=self.event_shape)

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Samples with gradients.

        Raises:
            NotImplementedError: if samples of the density have none.
        """
        if not self.has_rsample:
            name = type(self.density).__name__
            raise NotImplementedError(f"{name}: samples have no gradients; use sample")
        leading, context = self._leading(sample_shape)
        return self.density.rsample(leading, context, event_shape=self.event_shape)

    def expand(
        self, batch_shape: Sequence[int], _instance: Distribution | None = None
    ) -> "DensityDistribution":
        """The same distribution with a larger batch shape, drawn independently along it.

        Raises:
            RuntimeError: if the batch shape does not expand to it.
        """
        new: DensityDistribution = self._get_checked_instance(DensityDistribution, _instance)  # type: ignore
        new.density, new.context = self.density, self.context
        # Tensor.expand knows the rules: −1 leaves an extent as it is, 1 may become anything.
        expanded = torch.empty(self.batch_shape, device="meta").expand(tuple(batch_shape)).shape
        Distribution.__init__(new, expanded, self.event_shape, validate_args=False)
        new._validate_args = self._validate_args
        return new

    @property
    def mean(self) -> Tensor:
        """No closed form: raises NotImplementedError, as do the others below."""
        raise self._no_closed_form("mean")

    @property
    def mode(self) -> Tensor:
        """No closed form."""
        raise self._no_closed_form("mode")

    @property
    def variance(self) -> Tensor:
        """No closed form."""
        raise self._no_closed_form("variance")

    def entropy(self) -> Tensor:
        """No closed form."""
        raise self._no_closed_form("entropy")

    def cdf(self, value: Tensor) -> Tensor:
        """No closed form."""
        raise self._no_closed_form("cdf")

    def icdf(self, value: Tensor) -> Tensor:
        """No closed form."""
        raise self._no_closed_form("icdf")

    def _no_closed_form(self, what: str) -> NotImplementedError:
        name = type(self.density).__name__
        how = {
            "mean": "sample((10_000,)).mean(0)",
            "variance": "sample((10_000,)).var(0)",
            "entropy": "−log_prob(sample((10_000,))).mean(0)",
        }.get(what, "sample((10_000,))")
        return NotImplementedError(
            f"{name}: its {what} has no closed form; estimate it from samples: {how}"
        )

    def _leading(self, sample_shape: Sequence[int]) -> tuple[tuple[int, ...], Context]:
        """What goes before the context's own batch shape, and the context."""
        declared = self.density.context_shape
        own = context_batch(type(self.density).__name__, self.context, declared)
        wanted = tuple(self.batch_shape)
        cut = len(wanted) - len(own)
        if wanted[cut:] == own:
            return (*sample_shape, *wanted[:cut]), self.context
        return tuple(sample_shape), expand_context(self.context, declared, wanted)

    def __repr__(self) -> str:
        name = type(self.density).__name__
        return (
            f"{type(self).__name__}({name}, batch_shape={tuple(self.batch_shape)}, "
            f"event_shape={tuple(self.event_shape)})"
        )
