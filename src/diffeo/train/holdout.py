"""Which rows are trained on, and which are held out."""

import warnings
from typing import Any

import torch

from diffeo.density import Density
from diffeo.train.inputs import (
    Examples,
    Rows,
    as_context,
    as_rows,
    as_weights,
    check_support,
)

VALIDATION_ROWS = 10_000
"""The most rows that are held out unless told."""


def admit(owner: str, model: Density, x: Rows, context: Any, weights: Any) -> Examples:
    """Data as tensors, checked; rows that count nothing are left out.

    Raises:
        TypeError: if data, context or weights are not numbers.
        ValueError: if one does not fit, is not finite, or lies outside the support.
    """
    rows = as_rows(owner, model, x)
    given = as_context(owner, model, context, len(rows))
    check_support(owner, model, rows)
    counted = as_weights(owner, weights, len(rows))
    if counted is None:
        return Examples(rows, given)
    counted = counted.to(rows.device)
    examples = Examples(rows, given, counted)
    if bool((counted > 0).all()):
        return examples
    return examples.at(counted.nonzero().squeeze(-1))


def split(
    model: Density, data: Examples, validation: Any, seed: int, warn: bool = True
) -> tuple[Examples, Examples | None]:
    """The part to train on and the part to hold out, if any.

    Args:
        model: what the rows are for.
        data: all rows.
        validation: as for `fit`.
        seed: of which rows are held out.
        warn: whether to say that none is left to hold out.

    Raises:
        TypeError: if rows that were given as validation are not numbers.
        ValueError: if they do not fit, or a fraction is out of range.
    """
    if validation is not None and not isinstance(validation, (int, float)):
        given = validation if isinstance(validation, tuple) else (validation,)
        if not 1 <= len(given) <= 3:
            raise ValueError(
                "fit: validation as a tuple must be (rows, context) or (rows, context, weights), "
                f"got {len(given)} parts"
            )
        x, context, weights = (*given, None, None)[:3]
        return data, admit("fit: validation", model, x, context, weights)
    count = _held_out_rows(len(data.x), validation)
    if count == 0:
        if validation != 0 and warn:
            warnings.warn(
                f"fit: no row of {len(data.x)} is left to hold out, so the last weights are kept "
                "and nothing judges them; give validation=… or more rows",
                stacklevel=3,
            )
        return data, None
    # A seed of its own: the order of the rows in training is drawn from `seed`.
    generator = torch.Generator().manual_seed((seed + 1_000_003) % 2**63)
    order = torch.randperm(len(data.x), generator=generator).to(data.x.device)
    return data.at(order[count:]), data.at(order[:count])


def _held_out_rows(rows: int, fraction: float | None) -> int:
    if fraction is None:
        count = min(VALIDATION_ROWS, max(1, rows // 10))
    elif 0 <= fraction < 1:
        count = round(fraction * rows)
    else:
        raise ValueError(f"fit: validation as a fraction must be in [0, 1), got {fraction}")
    return min(count, rows - 1)
