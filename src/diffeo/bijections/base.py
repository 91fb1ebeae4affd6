"""The contract of bijections."""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Literal

import torch
from torch import Tensor, nn

from diffeo.contexts import (
    Context,
    ContextShape,
    Shape,
    broadcast_batch,
    context_batch,
    describe,
    matches,
)
from diffeo.supports import LINE, Product, Support

Recompute = Literal["invert", "checkpoint", "store"]


class Bijection(nn.Module, ABC):
    """An invertible map between data x and latent z that knows its log-determinant.

        z, ladj = bijection(x, context)            forward: data → latent
        x, ladj = bijection.inverse(z, context)    inverse: latent → data

    `ladj` is log|det ∂output/∂input| of the direction that was run, summed over the event: one
    number per element of the batch, in at least float32. Any number of batch dimensions may lead;
    those of x and of the context broadcast.

    A subclass writes `_forward` and `_inverse`, which may rely on checked shapes and on a context
    whose batch dimensions broadcast to those of x, and sets the attributes below.

    Raises (both directions):
        TypeError: if the input is not a tensor of floating-point numbers, or a context it needs is
            missing.
        ValueError: if the shape of the input or of the context is not the declared one.
    """

    event_dim: int = 0
    """Rank of the event that comes in; 0 for maps that act on each element alone."""
    event_shape: Shape | None = None
    """Shape of the event that comes in where it is fixed (None inside for a free extent); None
    where any will do.
    """
    domain: Support | Product | None = LINE
    """Where x lies. None: anywhere; the map moves elements about without changing them."""
    codomain: Support | Product | None = LINE
    """Where z lies. None: where x lay."""
    stochastic: bool = False
    """Whether the map draws noise, so that a density with it gives a bound."""
    context_shape: ContextShape = None
    """Shape of the context it needs; None where it needs none, and ignores what it is given."""
    recompute: Recompute = "checkpoint"
    """How a chain that saves memory gets at the map's gradients: "invert", finds its input again
    from its output, where the inverse is accurate and cheap; "checkpoint", keeps the input, and
    computes the map again from there; "store", keeps all, where twice is not the same as once.
    """

    @abstractmethod
    def _forward(self, x: Tensor, context: Context) -> tuple[Tensor, Tensor]:
        """z = f(x) and the log-determinant, for input that `forward` has checked."""

    @abstractmethod
    def _inverse(self, z: Tensor, context: Context) -> tuple[Tensor, Tensor]:
        """x = f⁻¹(z) and the log-determinant, for input that `inverse` has checked."""

    def forward(self, x: Tensor, context: Context = None) -> tuple[Tensor, Tensor]:
        """z = f(x) and log|det ∂z/∂x|.

        Args:
            x: (*batch, *event).
            context: as declared by `context_shape`, with batch dimensions that broadcast with those
                of x.
        """
        return self._forward(*self._admit(x, context, self.event_shape, self.event_dim))

    def inverse(self, z: Tensor, context: Context = None) -> tuple[Tensor, Tensor]:
        """x = f⁻¹(z) and log|det ∂x/∂z|.

        Args:
            z: (*batch, *event), the event as `output_shape` says.
            context: as in `forward`.
        """
        shape = (
            self.event_shape if self.event_shape is None else self.output_shape(self.event_shape)
        )
        return self._inverse(*self._admit(z, context, shape, self.output_event_dim))

    def output_shape(self, event_shape: Shape) -> Shape:
        """Shape of z's event for x's; the number of elements is the same.

        Raises:
            ValueError: if the map can't take an event of that shape.
        """
        if len(event_shape) < self.event_dim:
            raise ValueError(
                f"{self._name}: needs an event of rank {self.event_dim} or more, "
                f"got shape {event_shape}"
            )
        if self.event_shape is not None and not _compatible(event_shape, self.event_shape):
            raise ValueError(
                f"{self._name}: made for events of shape {self.event_shape}, got {event_shape}"
            )
        return event_shape

    def input_shape(self, event_shape: Shape) -> Shape:
        """Shape of x's event for z's: undoes `output_shape`."""
        return self.output_shape(event_shape)

    @property
    def output_event_dim(self) -> int:
        """Rank of the event that comes out."""
        return self.event_dim

    def initialize(self, x: Tensor, context: Context = None) -> Tensor:
        """Sets what is set from data, and returns z = f(x).

        That is actnorms, standardisations, offsets of mixtures. Training calls this once, on a
        batch or on all the training data, before the first step; nothing else does.
        """
        with torch.no_grad():
            return self(x, context)[0]

    def invert_with_grad(self, z: Tensor, context: Context = None) -> tuple[Tensor, Tensor, Tensor]:
        """x = f⁻¹(z) as a leaf that takes gradients, and f(x) and log|det ∂f/∂x| with theirs.

        Subclasses share what both directions need, such as the pass through a conditioner.

        Args:
            z: (*batch, *event), as `output_shape` says.
            context: as in `forward`.
        """
        with torch.no_grad():
            x = self.inverse(z, context)[0]
        x = x.detach().requires_grad_()
        return x, *self(x, context)

    @property
    def _name(self) -> str:
        return type(self).__name__

    def _admit(
        self, x: Tensor, context: Context, shape: Shape | None, event_dim: int
    ) -> tuple[Tensor, Context]:
        if not isinstance(x, Tensor):
            raise TypeError(f"{self._name}: expected a tensor, got {type(x).__name__}")
        if not x.is_floating_point():
            raise TypeError(
                f"{self._name}: expected floating-point numbers, got {x.dtype}; use x.float()"
            )
        rank = event_dim if shape is None else len(shape)
        cut = x.dim() - rank
        if cut < 0 or (shape is not None and not matches(x.shape[cut:], shape)):
            wanted = (
                f"rank {rank} or more" if shape is None else f"shape (*batch, {describe(shape)})"
            )
            raise ValueError(f"{self._name}: expected {wanted}, got {tuple(x.shape)}")
        if self.context_shape is None:
            return x, context
        batch = broadcast_batch(
            self._name, x.shape[:cut], context_batch(self._name, context, self.context_shape)
        )
        return x.expand((*batch, *x.shape[cut:])), context


def _compatible(one: Shape, other: Shape) -> bool:
    if len(one) != len(other):
        return False
    return all(a is None or b is None or a == b for a, b in zip(one, other, strict=True))


def least_of(parts: Iterable[Bijection]) -> Recompute:
    """What can be done with all of the parts at once."""
    found = {part.recompute for part in parts}
    if "store" in found:
        return "store"
    return "checkpoint" if "checkpoint" in found else "invert"


def zero_ladj(x: Tensor, batch_dim: int) -> Tensor:
    """The log-determinant of nothing: zeros of the batch's shape, in at least float32."""
    return x.new_zeros(x.shape[:batch_dim], dtype=torch.promote_types(x.dtype, torch.float32))


def sum_to(ladj: Tensor, batch_dim: int) -> Tensor:
    """Sums all dimensions but the first `batch_dim`."""
    return ladj.flatten(batch_dim).sum(-1) if ladj.dim() > batch_dim else ladj
