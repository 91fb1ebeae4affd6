"""Bounds of a column, as they are typed and in its own steps."""

import math
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from diffeo.data import dates
from diffeo.data.column import Column
from diffeo.data.errors import DataError
from diffeo.data.messages import and_more, at

if TYPE_CHECKING:
    import pandas

Bound = int | float | str | None
Bounds = Sequence[Bound]
"""Smallest and largest value; None where there is no bound."""


_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


def parse_bounds(text: str) -> tuple[Bound, Bound]:
    """Bounds as they are typed, "0:120", "0:", ":2024-05-17": numbers, or dates as text.

    Raises:
        ValueError: if the text is not two ends around a colon, or both are empty.
    """
    # Times have colons too: the one in the middle divides.
    parts = text.split(":")
    if len(parts) % 2:
        raise ValueError(f"bounds must be LOWER:UPPER, such as 0:120 or 0:, got {text!r}")
    half = len(parts) // 2
    ends = [":".join(parts[:half]).strip(), ":".join(parts[half:]).strip()]
    if ends == ["", ""]:
        raise ValueError(f"bounds must be LOWER:UPPER, such as 0:120 or 0:, got {text!r}")
    lower, upper = (
        None if not end else float(end) if _NUMBER.fullmatch(end) else end for end in ends
    )
    return lower, upper


def checked_bounds(
    column: "pandas.Series", name: str, kind: str, bounds: Bounds
) -> tuple[Bound, Bound]:
    """The lower and upper bound of a column of some kind.

    Raises:
        DataError: if it can't have bounds, or not these.
    """
    if isinstance(bounds, str) or not isinstance(bounds, Sequence) or len(bounds) != 2:
        raise DataError(
            f"the bounds of column {name!r} must be a pair (lower, upper), not {bounds!r}"
        )
    lower, upper = bounds
    if lower is None and upper is None:
        return None, None
    said = f"--bounds {name}={'' if lower is None else lower}:{'' if upper is None else upper}"
    if kind == "category":
        raise DataError(f"{at(column, name)} is of categories, which have no bounds; omit {said}")
    if kind == "datetime":
        return lower, upper
    for end in (lower, upper):
        if end is not None and not isinstance(end, (int, float)):
            raise DataError(f"{said}: a bound must be a number, got {end!r}")
    if any(end is not None and not math.isfinite(float(end)) for end in (lower, upper)):
        raise DataError(f"{said}: a bound must be finite; leave it empty where there is none")
    if lower is not None and upper is not None and not float(lower) < float(upper):
        raise DataError(f"{said}: the lower bound must be below the upper one")
    return lower, upper


def check_within(
    column: "pandas.Series", name: str, values: np.ndarray, lower: Any, upper: Any, said: str
) -> None:
    """Refuses a column with values below `lower` or above `upper`.

    Args:
        column: as it is in the table.
        name: its name.
        values: its numbers, in the unit of the two ends.
        lower: the smallest number allowed, if any.
        upper: the largest one.
        said: the bounds, as text.

    Raises:
        DataError: naming the first row.
    """
    outside = np.zeros(len(values), bool)
    if lower is not None:
        outside |= values < lower
    if upper is not None:
        outside |= values > upper
    wrong = np.flatnonzero(outside)
    if len(wrong):
        first = int(wrong[0])
        raise DataError(
            f"{at(column, name, first)}: {column.iloc[first]} is outside the bounds {said}"
            f"{and_more(wrong)}; correct it, or widen --bounds {name}"
        )


def ends_in_steps(column: Column, lower: Any, upper: Any) -> tuple[Any, Any]:
    """The first and last whole step of a column within its bounds.

    Raises:
        DataError: if the bounds of a column of dates are none.
    """
    if column.kind == "datetime":
        try:
            ends = [
                None if end is None else dates.as_tick(end, str(column.step), up)
                for end, up in ((lower, True), (upper, False))
            ]
        except ValueError as error:
            raise DataError(
                f"--bounds {column.name}: {error}; write it as 2024-05-17 or 2024-05-17T08:30"
            ) from None
        return ends[0], ends[1]
    step = float(column.step or 1)
    # A bound that rounding puts beside its step is meant to be on it.
    least = None if lower is None else math.ceil(float(lower) / step - 1e-9)
    return least, None if upper is None else math.floor(float(upper) / step + 1e-9)


def interval(lower: object, upper: object) -> str:
    """Bounds as they are typed."""
    return f"{'' if lower is None else lower}:{'' if upper is None else upper}"
