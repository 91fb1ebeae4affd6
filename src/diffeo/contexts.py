"""Contexts: nothing, one tensor, or a dict of tensors, each of a declared shape."""

import operator
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

Context = Tensor | Mapping[str, Tensor] | None
Shape = tuple[int | None, ...]
ContextShape = Shape | dict[str, Shape] | None
ContextArgument = int | Sequence[int | None] | Mapping[str, int | Sequence[int | None]] | None


def as_context_shape(context: ContextArgument) -> ContextShape:
    """The declared shape in one form: None, a shape, or a dict of shapes.

    Args:
        context: None or 0 (no context), a number of features, a shape (None where an extent is
            free), or a dict of those by name.

    Raises:
        TypeError: if it is something else.
        ValueError: if an extent is not positive.
    """
    if context is None or context == 0:
        return None
    if isinstance(context, Mapping):
        return {
            str(name): as_shape(f"context[{name!r}]", shape) for name, shape in context.items()
        } or None
    return as_shape("context", context)


def as_shape(owner: str, shape: int | Sequence[int | None]) -> Shape:
    """An event shape in one form: a tuple of whole numbers, None where an extent is free.

    Args:
        owner: whose shape it is, for the message.
        shape: a number of features, or a shape; NumPy's whole numbers become Python's.

    Raises:
        TypeError: if it is something else.
        ValueError: if an extent is not positive.
    """
    extents = shape if isinstance(shape, Sequence) and not isinstance(shape, str) else (shape,)
    try:
        if any(isinstance(extent, bool) for extent in extents):
            raise TypeError
        known = tuple(None if extent is None else operator.index(extent) for extent in extents)  # type: ignore[arg-type]
    except TypeError:
        raise TypeError(
            f"{owner}: expected a shape, of whole numbers, or a number of features, got {shape!r}"
        ) from None
    if any(extent is not None and extent < 1 for extent in known):
        raise ValueError(f"{owner}: every extent must be positive, got {known}")
    return known


def known_shape(owner: str, shape: Shape) -> tuple[int, ...]:
    """The shape, where every extent is known.

    Raises:
        ValueError: if one is None.
    """
    known = tuple(extent for extent in shape if extent is not None)
    if len(known) != len(shape):
        raise ValueError(f"{owner}: parameters for every element need known extents, got {shape}")
    return known


def matches(shape: Sequence[int | None], declared: Shape) -> bool:
    """Whether a shape is the declared one, where None stands for any extent."""
    return len(shape) == len(declared) and all(
        want is None or want == have for have, want in zip(shape, declared, strict=True)
    )


def context_batch(owner: str, context: Context, declared: ContextShape) -> tuple[int, ...]:
    """The batch shape of a context, after checking it against what was declared.

    Raises:
        TypeError: if a tensor was declared and a dict given, or the reverse, or nothing.
        ValueError: if names or event shapes differ from the declared ones, or the batch shapes of a
            dict's parts do not broadcast.
    """
    if declared is None or context is None:
        if declared is not None:
            raise TypeError(
                f"{owner}: needs a context of shape {describe_context(declared)}, got none"
            )
        return ()
    if isinstance(declared, dict):
        if not isinstance(context, Mapping):
            raise TypeError(
                f"{owner}: context must be a dict with {describe_context(declared)}, "
                f"got {type(context).__name__}"
            )
        if set(context) != set(declared):
            raise ValueError(
                f"{owner}: context must hold {sorted(declared)}, got {sorted(context)}"
            )
        batches = {k: _batch(owner, f"context[{k!r}]", context[k], declared[k]) for k in declared}
        try:
            return tuple(torch.broadcast_shapes(*batches.values()))
        except RuntimeError:
            raise ValueError(
                f"{owner}: the batch shapes of the context's parts do not broadcast, got {batches}"
            ) from None
    return _batch(owner, "context", context, declared)


def _batch(owner: str, what: str, value: object, declared: Shape) -> tuple[int, ...]:
    if not isinstance(value, Tensor):
        raise TypeError(
            f"{owner}: {what} must be a tensor of shape (*batch, {describe(declared)}), "
            f"got {type(value).__name__}"
        )
    cut = value.dim() - len(declared)
    if cut < 0 or not matches(value.shape[cut:], declared):
        raise ValueError(
            f"{owner}: {what} must have shape (*batch, {describe(declared)}), "
            f"got {tuple(value.shape)}"
        )
    return tuple(value.shape[:cut])


def expand_context(context: Context, declared: ContextShape, batch: Sequence[int]) -> Context:
    """The context with its batch dimensions expanded (no copy) to `batch`."""
    if context is None or declared is None:
        return None
    if isinstance(declared, dict):
        return {name: _expand(context[name], declared[name], batch) for name in declared}  # type: ignore[index]
    return _expand(context, declared, batch)  # type: ignore[arg-type]


def select_context(
    context: Context, declared: ContextShape, batch: Sequence[int], mask: Tensor
) -> Context:
    """The contexts of the events of a batch that a mask of its shape selects, one after another."""
    expanded = expand_context(context, declared, batch)
    if expanded is None or isinstance(expanded, Tensor):
        return None if expanded is None else expanded[mask]
    return {name: value[mask] for name, value in expanded.items()}


def _expand(value: Tensor, declared: Shape, batch: Sequence[int]) -> Tensor:
    cut = value.dim() - len(declared)
    return value.expand((*batch, *value.shape[cut:]))


def as_floating(context: Context, dtype: torch.dtype) -> Context:
    """The context with whole numbers and booleans as numbers of that dtype; others stay."""
    if context is None:
        return None
    if isinstance(context, Tensor):
        return context if context.is_floating_point() else context.to(dtype)
    return {
        name: value if value.is_floating_point() else value.to(dtype)
        for name, value in context.items()
    }


def describe(shape: Shape) -> str:
    """A shape as text, with ? for a free extent."""
    return ", ".join("?" if extent is None else str(extent) for extent in shape)


def describe_context(declared: ContextShape) -> str:
    """A declared context as text."""
    if isinstance(declared, dict):
        return "{" + ", ".join(f"{k!r}: ({describe(s)})" for k, s in declared.items()) + "}"
    return f"({describe(declared)})" if declared is not None else "none"


def broadcast_batch(owner: str, batch: Sequence[int], context: Sequence[int]) -> tuple[int, ...]:
    """The batch shape of an input and its context together.

    Raises:
        ValueError: if they do not broadcast.
    """
    if tuple(batch) == tuple(context) or not context:
        return tuple(batch)
    try:
        return tuple(torch.broadcast_shapes(batch, context))
    except RuntimeError:
        raise ValueError(
            f"{owner}: batch shape {tuple(batch)} of the input and {tuple(context)} of the context "
            "do not broadcast"
        ) from None


class JoinContext(nn.Module):
    """Makes one vector of a context: the parts flattened, one after another as declared.

    Args:
        shapes: the declared shape or shapes; every extent known.
    Shapes: out: (*batch, features).
    """

    def __init__(self, shapes: ContextShape) -> None:
        super().__init__()
        if shapes is None:
            raise ValueError("JoinContext: there is no context to join")
        self.shapes = shapes
        parts = list(shapes.values()) if isinstance(shapes, dict) else [shapes]
        if any(extent is None for shape in parts for extent in shape):
            raise ValueError(
                f"JoinContext: a vector needs known extents, got {describe_context(shapes)}"
            )
        self.features = sum(int(torch.Size(shape).numel()) for shape in parts)  # type: ignore[arg-type]

    def forward(self, context: Context) -> Tensor:
        """The joined vector; parts whose batch dimensions differ are broadcast."""
        if not isinstance(self.shapes, dict):
            rank = len(self.shapes)
            if rank == 0:
                return context.unsqueeze(-1)  # type: ignore[union-attr]
            return context.flatten(-rank) if rank > 1 else context  # type: ignore[union-attr,return-value]
        batch = context_batch("JoinContext", context, self.shapes)
        parts = expand_context(context, self.shapes, batch)
        # Not −1 for the last extent, which a batch of no rows leaves undecided.
        flat = [
            parts[name].reshape(*batch, torch.Size(shape).numel())  # type: ignore[index,arg-type]
            for name, shape in self.shapes.items()
        ]
        # Beside floating-point numbers whole ones take their dtype; alone they stay whole numbers.
        dtype = next((part.dtype for part in flat if part.is_floating_point()), None)
        return torch.cat([part if dtype is None else part.to(dtype) for part in flat], dim=-1)
