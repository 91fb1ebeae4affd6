"""The bijections made of other bijections: `Chain` and `Inverse`."""

import warnings
from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from diffeo.bijections.base import Bijection, Recompute, least_of, sum_to, zero_ladj
from diffeo.bijections.memory import Recomputed, forgetful, takes_gradients
from diffeo.contexts import Context, ContextShape, Shape
from diffeo.solvers import is_traced
from diffeo.supports import Product, Support

Memory = Literal["store", "checkpoint", "invert"]

_DOUBTFUL = 0.01
"""How far inversion may be off before it is said."""


class Chain(Bijection):
    """Bijections one after another: f = f_n ∘ … ∘ f₁; x meets the first in the list first.

    log|det| is the sum of the parts', each over what the event has more dimensions than the part
    acts on.

    Training memory: what gradients need of every part is stored, so that memory grows with the
    number of parts, unless `memory` says otherwise. With "invert" the backward pass finds each
    part's input again from its output and computes it anew, and memory stays flat; parts without an
    accurate and cheap inverse (autoregressive ones, say) keep their input, which is little beside
    what a conditioner needs. A warning says where what is found is far off. With "checkpoint" all
    parts keep their input. Both give the gradients of "store" (first derivatives only) of forward,
    at about one more forward pass; the inverse direction, `torch.func` and compiled code store.

    Args:
        *bijections: the parts, in the order in which data meets them.
        memory: "store", "checkpoint" or "invert".

    Raises:
        TypeError: if a part is not a bijection.
        ValueError: if a part can't take the shape, or does not live on the set, that the part
            before it gives; if `memory` is none of the three.

    Example:
        >>> import torch
        >>> from diffeo.bijections import Chain, Exp, Logit
        >>> z, ladj = Chain(Logit())(torch.tensor([0.25, 0.75]))
        >>> z.shape == ladj.shape == (2,)
        True
    """

    def __init__(self, *bijections: Bijection, memory: Memory = "store") -> None:
        super().__init__()
        for part in bijections:
            if not isinstance(part, Bijection):
                raise TypeError(f"Chain: expected bijections, got {type(part).__name__}")
        if memory not in (ways := get_args(Memory)):
            raise ValueError(f"Chain: memory must be one of {', '.join(ways)}; got {memory!r}")
        self.memory = memory
        self._inversion_error: Tensor | None = None
        self.parts = nn.ModuleList(bijections)
        self.event_shape = _chain_shape(bijections)
        self.event_dim = (
            _chain_rank(bijections) if self.event_shape is None else len(self.event_shape)
        )
        self._rise = sum(part.output_event_dim - part.event_dim for part in bijections)
        self.domain, self.codomain = _chain_supports(bijections)
        self.stochastic = any(part.stochastic for part in bijections)
        self.context_shape = common_context("Chain", bijections)

    @property
    def output_event_dim(self) -> int:
        """Rank of the event that comes out of the last part."""
        return self.event_dim + self._rise

    def output_shape(self, event_shape: Shape) -> Shape:
        """Shape after every part in turn."""
        for part in self.parts:
            event_shape = part.output_shape(event_shape)  # type: ignore[operator]
        return event_shape

    def input_shape(self, event_shape: Shape) -> Shape:
        """Shape before every part, last to first."""
        for part in reversed(self.parts):
            event_shape = part.input_shape(event_shape)  # type: ignore[operator]
        return event_shape

    def _forward(self, x: Tensor, context: Context) -> tuple[Tensor, Tensor]:
        batch_dim = x.dim() - self.event_dim
        total = zero_ladj(x, batch_dim)
        for step in self._steps(x, context):
            x, ladj = step(x, context)
            total = total + sum_to(ladj, batch_dim)
        return x, total

    def _steps(self, x: Tensor, context: Context) -> Sequence[Bijection | Recomputed]:
        """The parts, forgetful where memory is to be saved."""
        parts: list[Bijection] = list(self.parts)  # type: ignore[arg-type]
        if self.memory == "store" or not torch.is_grad_enabled() or is_traced():
            return parts
        parts = _flat(parts)
        # What takes no gradients, such as a dequantization in front, has nothing to store.
        first = next(
            (i for i, part in enumerate(parts) if takes_gradients(part, x, context)), len(parts)
        )
        rest = forgetful(parts[first:], self.memory == "invert", self._note_error)
        return [*parts[:first], *rest]

    def _note_error(self, error: Tensor) -> None:
        if error.device.type == "cpu":  # elsewhere looking would wait for the device
            warn_if_doubtful(float(error))
        before = self._inversion_error
        self._inversion_error = error if before is None else torch.maximum(before, error)

    @property
    def inversion_error(self) -> float | None:
        """What inversion was off by in the backward passes so far, with memory="invert".

        The greatest |x̂ − x| / (1 + |x|), x being what went into a run of inverted parts and x̂ what
        was found of it at the run's far end. None before there was such a pass.
        """
        return None if self._inversion_error is None else float(self._inversion_error)

    @property
    def recompute(self) -> Recompute:  # type: ignore[override]
        """That of the part of which least can be recomputed."""
        return least_of(self.parts)  # type: ignore[arg-type]

    def extra_repr(self) -> str:
        """How training uses memory, where it is saved."""
        if self.memory == "store":
            return ""
        parts = _flat(list(self.parts))  # type: ignore[arg-type]
        kept = [part for part in parts if self.memory == "checkpoint" or part.recompute != "invert"]
        names = ", ".join(sorted({type(part).__name__ for part in kept}))
        return f"memory={self.memory!r}" + (
            f"; {len(kept)} of {len(parts)} parts keep their input: {names}" if kept else ""
        )

    def _inverse(self, z: Tensor, context: Context) -> tuple[Tensor, Tensor]:
        batch_dim = z.dim() - self.output_event_dim
        total = zero_ladj(z, batch_dim)
        for part in reversed(self.parts):
            z, ladj = part.inverse(z, context)  # type: ignore[operator]
            total = total + sum_to(ladj, batch_dim)
        return z, total

    def initialize(self, x: Tensor, context: Context = None) -> Tensor:
        """Initialises each part on what the parts before it make of x."""
        with torch.no_grad():
            for part in self.parts:
                x = part.initialize(x, context)  # type: ignore[operator]
        return x


class Inverse(Bijection):
    """A bijection run backwards: forward is the other's inverse, inverse the other's forward.

    An inverse autoregressive flow is `Inverse` of a masked autoregressive one.

    Args:
        bijection: the bijection to turn round.

    Raises:
        TypeError: if it draws noise: rounding has no inverse in the other direction.
    """

    def __init__(self, bijection: Bijection) -> None:
        super().__init__()
        if bijection.stochastic:
            raise TypeError(
                f"Inverse: {type(bijection).__name__} draws noise and can't be turned round"
            )
        self.bijection = bijection
        self.event_dim = bijection.output_event_dim
        shape = bijection.event_shape
        self.event_shape = None if shape is None else bijection.output_shape(shape)
        self.domain, self.codomain = bijection.codomain, bijection.domain
        self.context_shape = bijection.context_shape

    @property
    def recompute(self) -> Recompute:  # type: ignore[override]
        """The original's."""
        return self.bijection.recompute

    @property
    def output_event_dim(self) -> int:
        """Rank of the event that goes into the original."""
        return self.bijection.event_dim

    def output_shape(self, event_shape: Shape) -> Shape:
        """The original's input shape."""
        return self.bijection.input_shape(event_shape)

    def input_shape(self, event_shape: Shape) -> Shape:
        """The original's output shape."""
        return self.bijection.output_shape(event_shape)

    def _forward(self, x: Tensor, context: Context) -> tuple[Tensor, Tensor]:
        return self.bijection.inverse(x, context)

    def _inverse(self, z: Tensor, context: Context) -> tuple[Tensor, Tensor]:
        return self.bijection(z, context)


def warn_if_doubtful(error: float) -> None:
    """A warning where inversion is off by so much that gradients may be wrong."""
    if not error <= _DOUBTFUL:
        warnings.warn(
            f'memory="invert": inputs that were found by inversion are off by over {_DOUBTFUL:.0%} '
            'of their size, and gradients may be wrong; memory="checkpoint" needs no inverse.',
            stacklevel=1,  # one place, so that it is said once, whoever noticed
        )


def inversion_error(module: nn.Module) -> float | None:
    """The greatest `Chain.inversion_error` in a module; None where nothing was inverted."""
    errors = [part.inversion_error for part in module.modules() if isinstance(part, Chain)]
    return max((error for error in errors if error is not None), default=None)


def _flat(parts: Sequence[Bijection]) -> list[Bijection]:
    """The parts, those of chains among them instead of the chains."""
    found: list[Bijection] = []
    for part in parts:
        found += _flat(list(part.parts)) if isinstance(part, Chain) else [part]  # type: ignore[arg-type]
    return found


def _chain_rank(parts: Sequence[Bijection]) -> int:
    rank = rise = 0
    for part in parts:
        rank = max(rank, part.event_dim - rise)
        rise += part.output_event_dim - part.event_dim
    return rank


def _chain_shape(parts: Sequence[Bijection]) -> Shape | None:
    known = next((i for i, part in enumerate(parts) if part.event_shape is not None), None)
    if known is None:
        return None
    shape: Shape = parts[known].event_shape  # type: ignore[assignment]
    for part in reversed(parts[:known]):
        shape = part.input_shape(shape)
    first = shape
    for i, part in enumerate(parts):
        if part.context_shape is not None and part.event_dim != len(shape):
            raise ValueError(
                f"Chain: part {i} ({type(part).__name__}) takes a context and acts on rank "
                f"{part.event_dim}; the event has rank {len(shape)}"
            )
        try:
            shape = part.output_shape(shape)
        except ValueError as error:
            raise ValueError(
                f"Chain: part {i} does not fit what comes before it: {error}"
            ) from None
    return first


def _chain_supports(
    parts: Sequence[Bijection],
) -> tuple[Support | Product | None, Support | Product | None]:
    first: Support | Product | None = None
    current: Support | Product | None = None
    for i, part in enumerate(parts):
        if part.domain is None:
            continue
        if current is None:
            first = part.domain
        elif not current.same_set(part.domain):
            raise ValueError(
                f"Chain: part {i} ({type(part).__name__}) lives on {part.domain}, but the part "
                f"before it gives {current}; put a map between the two there (Logit, Log, …)"
            )
        current = part.codomain
    return first, current


def common_context(owner: str, parts: Sequence[Bijection]) -> ContextShape:
    """The context that the parts of a bijection need; None where none needs any.

    Raises:
        ValueError: if they declare different ones.
    """
    shape: ContextShape = None
    for part in parts:
        if part.context_shape is None:
            continue
        if shape is not None and shape != part.context_shape:
            raise ValueError(
                f"{owner}: parts declare different contexts, {shape} and {part.context_shape}"
            )
        shape = part.context_shape
    return shape
