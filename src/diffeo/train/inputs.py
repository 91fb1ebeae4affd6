"""What training and evaluation accept as data: tensors, arrays, data frames; then tensors."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from diffeo.contexts import Context, Shape, describe, describe_context, matches
from diffeo.density import Density

Rows = Any
"""A tensor, an array or a data frame: a row an example. Or what a model of a table, of images or of
sounds takes: a frame, `Images`, `Sounds`.
"""
Data = tuple[Tensor, Context]
"""Rows as a tensor, and their context."""


class Examples(NamedTuple):
    """Rows to train or to judge by, all with as many rows."""

    x: Tensor
    context: Context = None
    weights: Tensor | None = None
    """What each row counts; None where all count the same."""

    def at(self, index: Tensor | slice) -> "Examples":
        """The rows of that index."""
        weights = None if self.weights is None else self.weights[index]
        return Examples(self.x[index], take(self.context, index), weights)

    def to(self, device: torch.device) -> "Examples":
        """The same on that device."""
        weights = None if self.weights is None else self.weights.to(device)
        return Examples(self.x.to(device), move(self.context, device), weights)


def as_rows(owner: str, model: Density, x: Rows) -> Tensor:
    """Data as a tensor (rows, *event), checked.

    Whole numbers stay in their own, smaller dtype until they are used.

    Raises:
        TypeError: if x is not numbers.
        ValueError: if the shape is not the model's, there is no row, or a value is not finite or
            outside the support.
    """
    rows = as_tensor(owner, "x", x)
    if rows.dim() == 1 and model.event_shape == (1,):
        rows = rows.unsqueeze(-1)
    if rows.dim() != len(model.event_shape) + 1 or not matches(rows.shape[1:], model.event_shape):
        raise ValueError(
            f"{owner}: x must have shape (rows, {describe(model.event_shape)}), "
            f"got {tuple(rows.shape)}"
        )
    if not len(rows):
        raise ValueError(f"{owner}: x has no rows")
    rows = _as_float(rows, model)
    _check(owner, "is not finite", rows, _not_finite(rows))
    return rows


def check_support(owner: str, model: Density, x: Tensor) -> None:
    """Refuses rows where the density is zero whatever the weights: there is nothing to learn there.

    Raises:
        ValueError: naming the first row outside.
    """
    _check(owner, f"is outside {model.support}, where the model lives", x, model.support.outside(x))


def as_context(owner: str, model: Density, context: Any, rows: int) -> Context:
    """The context as the model declares it, a row for each row of the data.

    Raises:
        TypeError: if it is missing, not wanted, or not numbers.
        ValueError: if a shape or the number of rows is wrong, or a value is not finite.
    """
    declared = model.context_shape
    if declared is None:
        if context is not None:
            raise TypeError(
                f"{owner}: this model takes no context; build it with context=… to condition it"
            )
        return None
    if context is None:
        raise TypeError(
            f"{owner}: this model needs a context of shape {describe_context(declared)}, got none"
        )
    if not isinstance(declared, dict):
        return _context_part(owner, "context", model, context, declared, rows)
    if not isinstance(context, Mapping) or set(context) != set(declared):
        found = sorted(context) if isinstance(context, Mapping) else type(context).__name__
        raise ValueError(f"{owner}: context must be a dict with {sorted(declared)}, got {found}")
    return {
        k: _context_part(owner, f"context[{k!r}]", model, context[k], declared[k], rows)
        for k in declared
    }


def as_weights(owner: str, weights: Any, rows: int) -> Tensor | None:
    """What each row counts, scaled to a mean of 1; None for None.

    Shapes: out: (rows,), float32.

    Raises:
        TypeError: if they are not numbers.
        ValueError: if there are more or fewer than rows, one is negative or not finite, or all are
            zero.
    """
    if weights is None:
        return None
    values = as_tensor(owner, "weights", weights)
    if values.shape == (rows, 1):
        values = values.squeeze(-1)
    if values.shape != (rows,):
        raise ValueError(
            f"{owner}: weights must be one number for each of the {rows} rows, "
            f"got shape {tuple(values.shape)}"
        )
    _check(owner, "is not finite", values, _not_finite(values), "weights")
    _check(owner, "is negative; a weight is at least 0", values, values < 0, "weights")
    values = values.double() if values.device.type != "mps" else values.float()
    largest = values.max()
    if not largest > 0:
        raise ValueError(f"{owner}: weights are all 0; at least one row must count")
    values = values / largest  # no sum can overflow after this
    return (values / values.mean()).float()


def take(data: Context, index: Tensor | slice) -> Context:
    """The rows of that index, of a tensor or of every tensor of a dict."""
    if data is None:
        return None
    if isinstance(data, Mapping):
        return {name: value[index] for name, value in data.items()}
    return data[index]


def move(data: Context, device: torch.device) -> Context:
    """The same on that device."""
    if data is None:
        return None
    if isinstance(data, Mapping):
        return {name: value.to(device) for name, value in data.items()}
    return data.to(device)


def model_dtype(model: Density) -> torch.dtype:
    """The dtype of the model's floating-point parameters, or else buffers."""
    tensors = (*model.parameters(), *model.buffers())
    return next((t.dtype for t in tensors if t.is_floating_point()), torch.get_default_dtype())


def model_device(model: Density) -> torch.device:
    """Where the model is."""
    tensors = (*model.parameters(), *model.buffers())
    return next((t.device for t in tensors), torch.device("cpu"))


def as_tensor(owner: str, what: str, value: Any) -> Tensor:
    """Numbers in any form as a tensor, of whatever dtype they have.

    Raises:
        TypeError: if they are no numbers.
    """
    if isinstance(value, Tensor):
        return value.detach()
    if hasattr(value, "to_numpy"):  # a data frame or series
        value = value.to_numpy()
    if isinstance(value, (np.ndarray, Sequence)):
        array = np.asarray(value)
        if array.dtype.kind in "fiub":
            # Copied where it is read-only, as a data frame's is: torch wants to be able to write.
            return torch.from_numpy(np.require(array, requirements=("C", "W")))
        raise TypeError(
            f"{owner}: {what} must hold numbers, got {array.dtype}; convert or remove the others"
        )
    raise TypeError(
        f"{owner}: {what} must be a tensor, an array or a data frame, got {type(value).__name__}"
    )


def _as_float(rows: Tensor, model: Density) -> Tensor:
    return rows.to(model_dtype(model)) if rows.is_floating_point() else rows


def _context_part(
    owner: str, what: str, model: Density, value: Any, declared: Shape, rows: int
) -> Tensor:
    part = as_tensor(owner, what, value)
    if part.dim() == 1 and declared == (1,):
        part = part.unsqueeze(-1)
    if part.dim() != len(declared) + 1 or not matches(part.shape[1:], declared):
        raise ValueError(
            f"{owner}: {what} must have shape (rows, {describe(declared)}), got {tuple(part.shape)}"
        )  # type: ignore[arg-type]
    if len(part) != rows:
        raise ValueError(f"{owner}: {what} has {len(part)} rows, x has {rows}")
    part = part.to(model_dtype(model)) if part.is_floating_point() else part
    _check(owner, "is not finite", part, _not_finite(part), what)
    return part


def _not_finite(rows: Tensor) -> Tensor:
    # One pass without a mask of the size of the data, where all is well.
    if not rows.is_floating_point() or bool(rows.sum(dtype=torch.float64).isfinite()):
        return rows.new_zeros(1, dtype=torch.bool)
    return ~rows.isfinite()


def _check(owner: str, problem: str, rows: Tensor, wrong: Tensor, what: str = "x") -> None:
    if not bool(wrong.any()):
        return
    first = [int(i) for i in wrong.nonzero()[0]]
    value = rows[tuple(first)].item()
    count = int(wrong.flatten(1).any(-1).sum()) if wrong.dim() > 1 else int(wrong.sum())
    more = f" ({count} rows in all)" if count > 1 else ""
    raise ValueError(f"{owner}: {what}{first} is {value:g}, which {problem}{more}")
