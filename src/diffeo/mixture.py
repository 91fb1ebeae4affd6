"""Mixtures of densities."""

from collections.abc import Sequence

import torch
from torch import Generator, Tensor, nn

from diffeo.contexts import Context, ContextShape, expand_context
from diffeo.density import Density
from diffeo.draws import Noise, choose


class Mixture(Density):
    """A mixture of densities of the whole event, with learned weights.

    log p(x|c) = log Σ_k π_k p_k(x|c), π = softmax(logits). A sample picks a component by its weight
    and draws from it; it has no gradients, since the choice has none. The temperature goes to the
    components.

    Where a component's log_prob is a bound, so is the mixture's.

    Args:
        components: the p_k, all of one event shape and support; those that take a context take the
            same one.
        weights: where the π_k start, positive; equal unless told.

    Raises:
        TypeError: if a component is not a density.
        ValueError: if there is none, or their event shapes, supports or contexts differ, or a
            weight is missing or not positive.

    Example:
        >>> import torch
        >>> from diffeo.bases import Normal
        >>> mixture = Mixture([Normal(2, learned=True) for _ in range(3)])
        >>> mixture.sample(5).shape
        torch.Size([5, 2])
    """

    reparameterized = False

    def __init__(
        self, components: Sequence[Density], weights: Sequence[float] | None = None
    ) -> None:
        super().__init__()
        if not components:
            raise ValueError("Mixture: needs at least one component")
        for component in components:
            if not isinstance(component, Density):
                raise TypeError(f"Mixture: expected densities, got {type(component).__name__}")
        self.components = nn.ModuleList(components)
        first = components[0]
        for k, component in enumerate(components):
            if component.event_shape != first.event_shape:
                raise ValueError(
                    f"Mixture: component 0 has event shape {first.event_shape}, "
                    f"component {k} has {component.event_shape}"
                )
            if not component.support.same_set(first.support):
                raise ValueError(
                    f"Mixture: component 0 lives on {first.support}, "
                    f"component {k} on {component.support}"
                )
        self.event_shape, self.support = first.event_shape, first.support
        self.context_shape = _common_context(components)
        self.exact = all(component.exact for component in components)
        self.scalable = all(component.scalable for component in components)
        self.logits = nn.Parameter(_log_weights(len(components), weights))

    @property
    def weights(self) -> Tensor:
        """π. Shape (K,)."""
        return self.logits.softmax(-1)

    def _log_prob(self, x: Tensor, context: Context) -> Tensor:
        scores = [part.log_prob(x, self._context_of(part, context)) for part in self._parts]
        stacked = torch.stack(scores, dim=-1)
        joint = stacked + self.logits.to(stacked.dtype).log_softmax(-1)
        # Where every component says −∞, logsumexp's gradient would be NaN.
        lowest = torch.finfo(joint.dtype).min / 2
        impossible = joint.amax(-1) < lowest
        total = joint.clamp(min=lowest).logsumexp(-1)
        return torch.where(impossible, torch.full_like(total, -torch.inf), total)

    def _sample(
        self,
        batch: tuple[int, ...],
        shape: tuple[int, ...],
        context: Context,
        temperature: float,
        generator: Generator | None,
    ) -> Tensor:
        count = int(torch.Size(batch).numel())
        rows = self._context_rows(context, batch)
        dtype = torch.promote_types(self.logits.dtype, torch.float32)
        noise = Noise((count,), dtype, self.logits.device, generator)
        chosen = choose(self.logits.detach().to(dtype).log_softmax(-1), noise.uniform())
        # Rows sorted by component, so that each draws as many as it has to, and back.
        order = chosen.argsort()
        drawn = []
        for part, which in zip(self._parts, _split(order, chosen, len(self._parts)), strict=True):
            own = self._context_of(part, _take(rows, which))
            drawn.append(
                part.sample(
                    () if own is not None else len(which),
                    own,
                    temperature=temperature,
                    generator=generator,
                    event_shape=shape,
                )
            )
        return torch.cat(drawn)[order.argsort()].reshape(*batch, *shape)

    def initialize(self, x: Tensor, context: Context = None) -> None:
        """Initialises each component on its own part of x, so that components differ.

        The parts are of equal size: x cut along the element that varies most.
        """
        with torch.no_grad():
            x, context = self._admit(x, context)
            batch = tuple(x.shape[: x.dim() - len(self.event_shape)])
            count = int(torch.Size(batch).numel())
            x = x.reshape(count, *x.shape[len(batch) :])
            rows = self._context_rows(context, batch)
            flat = x.reshape(count, -1)
            widest = flat.var(0, correction=0).argmax()
            order = flat.index_select(1, widest.reshape(1)).squeeze(1).argsort()
            pieces = order.tensor_split(len(self._parts))
            for part, which in zip(self._parts, pieces, strict=True):
                # Fewer rows than components: all of them for those that would get none.
                own = which if len(which) else order
                part.initialize(x[own], self._context_of(part, _take(rows, own)))

    @property
    def _parts(self) -> list[Density]:
        return list(self.components)  # type: ignore[arg-type]

    def _context_rows(self, context: Context, batch: tuple[int, ...]) -> Context:
        """The context with one row for each element of the batch."""
        expanded = expand_context(context, self.context_shape, batch)
        if expanded is None or isinstance(expanded, Tensor):
            return None if expanded is None else _flatten_batch(expanded, len(batch))
        return {name: _flatten_batch(value, len(batch)) for name, value in expanded.items()}

    @staticmethod
    def _context_of(part: Density, context: Context) -> Context:
        return None if part.context_shape is None else context


def _common_context(components: Sequence[Density]) -> ContextShape:
    declared = [part.context_shape for part in components if part.context_shape is not None]
    for other in declared:
        if other != declared[0]:
            raise ValueError(f"Mixture: components take contexts {declared[0]} and {other}")
    return declared[0] if declared else None


def _log_weights(count: int, weights: Sequence[float] | None) -> Tensor:
    if weights is None:
        return torch.zeros(count)
    if len(weights) != count or not all(0 < weight < float("inf") for weight in weights):
        raise ValueError(f"Mixture: expected {count} positive weights, got {list(weights)}")
    return torch.tensor([float(weight) for weight in weights]).log()


def _split(order: Tensor, chosen: Tensor, count: int) -> Sequence[Tensor]:
    return order.split(torch.bincount(chosen, minlength=count).tolist())


def _take(rows: Context, which: Tensor) -> Context:
    if rows is None or isinstance(rows, Tensor):
        return None if rows is None else rows[which]
    return {name: value[which] for name, value in rows.items()}


def _flatten_batch(value: Tensor, rank: int) -> Tensor:
    return value.reshape(-1, *value.shape[rank:])
