"""The bijections made of other bijections: `Chain` and `Inverse`."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from diffeo.bijections.base import Bijection
from diffeo.contexts import Context, ContextShape, Shape
from diffeo.supports import Product, Support


class Chain(Bijection):
    """Bijections one after another: f = f_n ∘ … ∘ f₁; x meets the first in the list first.

    log|det| is the sum of the parts', each over what the event has more dimensions than the part
    acts on.

    Args:
        *bijections: the parts, in the order in which data meets them.

    Raises:
        TypeError: if a part is not a bijection.
        ValueError: if a part can't take the shape, or does not live on the set, that the part
            before it gives.

    Example:
        >>> import torch
        >>> from diffeo.bijections import Chain, Exp, Logit
        >>> z, ladj = Chain(Logit())(torch.tensor([0.25, 0.75]))
        >>> z.shape == ladj.shape == (2,)
        True
    """

    def __init__(self, *bijections: Bijection) -> None:
        super().__init__()
        for part in bijections:
            if not isinstance(part, Bijection):
                raise TypeError(f"Chain: expected bijections, got {type(part).__name__}")
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
        total = _zeros(x, batch_dim)
        for part in self.parts:
            x, ladj = part(x, context)
            total = total + _sum_to(ladj, batch_dim)
        return x, total

    def _inverse(self, z: Tensor, context: Context) -> tuple[Tensor, Tensor]:
        batch_dim = z.dim() - self.output_event_dim
        total = _zeros(z, batch_dim)
        for part in reversed(self.parts):
            z, ladj = part.inverse(z, context)  # type: ignore[operator]
            total = total + _sum_to(ladj, batch_dim)
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


def _zeros(x: Tensor, batch_dim: int) -> Tensor:
    return x.new_zeros(x.shape[:batch_dim], dtype=torch.promote_types(x.dtype, torch.float32))


def _sum_to(ladj: Tensor, batch_dim: int) -> Tensor:
    return ladj.flatten(batch_dim).sum(-1) if ladj.dim() > batch_dim else ladj


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
