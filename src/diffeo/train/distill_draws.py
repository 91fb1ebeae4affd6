"""Rows for distillation: contexts, and draws of the teacher for each."""

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Union

import torch
from torch import Tensor

from diffeo.contexts import Context, matches
from diffeo.density import Density
from diffeo.train.inputs import as_context, as_rows, model_device, move, take

if TYPE_CHECKING:
    import diffeo.sound_model
    import diffeo.table

Model = Union[Density, "diffeo.table.Table", "diffeo.sound_model.SoundModel"]
"""What may be distilled."""
Contexts = Tensor | Mapping[str, Tensor] | Callable[[int], Any] | None
"""Rows of contexts, or a function that gives so many."""

ROWS = 20_000
"""Rows drawn from the teacher, unless they are long."""
NUMBERS = 4_000_000
"""Long rows are fewer, up to so many numbers, but at least `LEAST_ROWS`."""
LEAST_ROWS = 64
AT_ONCE = 2**22
"""Numbers that are drawn in a call."""


def contexts_for(
    teacher: Model,
    density: Density,
    context: Any,
    shape: tuple[int, ...],
    rows: int | None,
) -> Context:
    """Rows of contexts, checked; at most `rows` of them, drawn at random.

    A model of a table takes a frame as well, one of sounds sounds, of which it makes segments.

    Raises:
        TypeError: if they are missing, not wanted, or not numbers.
        ValueError: if they do not fit.
    """
    if callable(context):
        context = context(default_rows(shape) if rows is None else rows)
    elif is_of_sounds(teacher) and hasattr(context, "clips"):
        context = teacher.rows(context, shape[-1]).context  # type: ignore[call-arg, union-attr]
    elif hasattr(context, "columns") and not isinstance(teacher, Density):
        context = teacher.columns.encode_context(context)  # type: ignore[union-attr]
    if density.context_shape is None or context is None:
        return as_context("distill", density, context, 0)
    first: Any = next(iter(context.values())) if isinstance(context, Mapping) else context
    count = len(first)
    given = as_context("distill", density, context, count)
    if rows is not None and rows < count:
        given = take(given, torch.randperm(count)[:rows])
    return move(given, model_device(density))


def default_rows(shape: tuple[int | None, ...]) -> int:
    """How many draws of events of that shape are made, unless told."""
    numbers = math.prod(extent or 1 for extent in shape)
    return max(LEAST_ROWS, min(ROWS, NUMBERS // numbers))


def draw(
    density: Density, n: int, context: Context, shape: tuple[int, ...] | None = None
) -> Tensor:
    """So many samples, or one for each row of contexts; memory stays bounded. (rows, *event)."""
    shape = shape if None in density.event_shape else None
    numbers = math.prod(shape or tuple(e for e in density.event_shape if e is not None))
    most = max(1, AT_ONCE // numbers)
    if context is None:
        counts = [min(most, n - start) for start in range(0, n, most)]
        return torch.cat([density.sample(count, event_shape=shape) for count in counts])
    parts = [take(context, slice(start, start + most)) for start in range(0, n, most)]
    return torch.cat([density.sample((), part, event_shape=shape) for part in parts])


def references(
    target: Density,
    teacher: Density,
    contexts: Context,
    shape: tuple[int, ...],
    rows: int | None,
    reference: Any,
) -> Tensor:
    """Rows for the start and for what is compared with: the teacher's draws, or what is given."""
    first = next(iter(contexts.values())) if isinstance(contexts, Mapping) else contexts
    count = (default_rows(shape) if rows is None else rows) if first is None else len(first)
    if count < 2:
        raise ValueError(f"distill: needs at least 2 rows, got {count}")
    if reference is None:
        return draw(target, count, contexts, shape)
    given = as_rows("distill: reference", teacher, reference).to(model_device(teacher))
    if tuple(given.shape[1:]) != shape:
        raise ValueError(
            f"distill: reference must be rows of shape {shape}, got {tuple(given.shape[1:])}; cut "
            "them, or give their event_shape"
        )
    if first is not None and len(given) != count:
        raise ValueError(
            f"distill: reference has {len(given)} rows, there are {count} contexts; give one for "
            "each, and no `rows`"
        )
    if target is not teacher:
        for part in list(teacher.bijection.parts)[: _front_length(target, teacher)]:  # type: ignore[union-attr]
            given = part(given)[0]  # type: ignore[operator]
    return given.detach()


def _front_length(behind: Density, whole: Density) -> int:
    return len(whole.bijection.parts) - len(behind.bijection.parts)  # type: ignore[union-attr, arg-type]


def whole_shape(teacher: Model, event_shape: tuple[int, ...] | None) -> tuple[int, ...]:
    """The shape of the events to draw: of sounds that of their segments, unless told.

    Raises:
        ValueError: if the density leaves an extent open and it is not given, or it does not fit.
    """
    density = density_of(teacher)
    if event_shape is None and is_of_sounds(teacher):
        event_shape = (1, teacher.segment)  # type: ignore[union-attr]
    shape = density.event_shape if event_shape is None else tuple(event_shape)
    if not matches(shape, density.event_shape):  # type: ignore[arg-type]
        raise ValueError(f"distill: event_shape must fit {density.event_shape}, got {shape}")
    if None in shape:
        raise ValueError(
            f"distill: the teacher models events of shape {shape}; give the whole event_shape, as "
            "(1, 16000) for a second of sound at 16 kHz"
        )
    return shape  # type: ignore[return-value]


def density_of(model: Any) -> Density:
    """The density itself.

    Raises:
        TypeError: if it is none, nor a model of a table or of sounds.
    """
    density = model if isinstance(model, Density) else getattr(model, "density", None)
    if not isinstance(density, Density) or len(getattr(model, "classes", ())):
        raise TypeError(
            f"distill: expected a Density, a Table or a SoundModel, got {type(model).__name__}"
        )
    return density


def is_of_sounds(model: Any) -> bool:
    """Whether it is a model of sounds, which has segments of them."""
    return not isinstance(model, Density) and hasattr(model, "segment")
