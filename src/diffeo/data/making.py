"""The schema of one column, made from its values and what is said of it."""

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from diffeo.data import dates
from diffeo.data.bounds import Bounds, check_within, checked_bounds, ends_in_steps, interval
from diffeo.data.categories import categories
from diffeo.data.codes import whole_steps
from diffeo.data.column import Column
from diffeo.data.errors import DataError
from diffeo.data.infer import infer_kind, parse_kind
from diffeo.data.messages import at
from diffeo.data.numbers import check_complete, numbers

if TYPE_CHECKING:
    import pandas

MOST_CONTEXT_CATEGORIES = 1000
"""A context column has an input for each of its categories, and so at most this many."""

MOST_POINTS = 2**18
"""Whole numbers that fill a larger range are modelled as real ones."""


def make_column(
    column: "pandas.Series",
    name: str,
    kind: str | None = None,
    bounds: Bounds = (None, None),
    role: str = "feature",
) -> Column:
    """The schema of a column.

    Args:
        column: its values, of which none may be missing.
        name: its name.
        kind: real, integer, category, datetime or step:0.01; inferred if None.
        bounds: smallest and largest value there can be.
        role: "feature" or "context".

    Raises:
        DataError: if a value is missing, of another type, or beyond a bound.
    """
    kind, step = parse_kind(infer_kind(column, name) if kind is None else kind, name)
    lower, upper = checked_bounds(column, name, kind, bounds)
    if kind == "category":
        made = Column(name, kind, role, values=_categories(column, name))
        if role == "context" and len(made.values) > MOST_CONTEXT_CATEGORIES:
            raise DataError(
                f"{at(column, name)} has {len(made.values):,} categories, too many for a context "
                f"(at most {MOST_CONTEXT_CATEGORIES:,}); merge the rare ones, or drop the column"
            )
        return made
    if kind == "real":
        made = _real(column, name, lower, upper)
    else:
        made = _lattice(column, name, kind, step, lower, upper)
    return _standardized(replace(made, role=role), column) if role == "context" else made


def _categories(column: "pandas.Series", name: str) -> tuple[Any, ...]:
    check_complete(column, name)
    return categories(column, name)


def _real(column: "pandas.Series", name: str, lower: Any, upper: Any) -> Column:
    values = numbers(column, name).astype(np.float64, copy=False)
    check_within(column, name, values, lower, upper, interval(lower, upper))
    std = _std(values)
    offset = 0.0
    if std > 0 and abs(mean := float(values.mean())) > 1000 * std:
        # A number of few digits, not further from the mean than some standard deviations.
        offset = float(round(mean, -math.ceil(math.log10(std))))
    made = Column(name, offset=offset)
    if lower is None and upper is None:
        return made
    low, high = (None if end is None else float(end) - offset for end in (lower, upper))
    # Not less than float32 can tell from the bound.
    fine = max(
        4 * float(np.spacing(np.float32(abs(end)))) for end in (low, high) if end is not None
    )
    width = 1.0 if low is None or high is None else high - low
    return replace(made, lower=low, upper=high, margin=max(1e-4 * (std or width), fine))


def _lattice(
    column: "pandas.Series", name: str, kind: str, step: float | None, lower: Any, upper: Any
) -> Column:
    made = Column(name, kind, step=step if kind != "datetime" else "day")
    if kind == "datetime":
        moments, zone = dates.instants(column, name)
        unit = np.datetime_data(moments.dtype)[0] if dates.are_dates(column) else "us"
        unit = "ns" if (coarsest := dates.coarsest(moments)) == "nanosecond" else unit
        made = replace(made, step=coarsest, unit=unit, zone=zone)
    steps = whole_steps(made, column)
    if steps.dtype.kind != "i" or int(steps.max()) - int(steps.min()) >= 2**62:
        raise DataError(
            f"{at(column, name)} holds whole numbers too large to count; --type {name}=real"
        )
    least, most = ends_in_steps(made, lower, upper)
    if None not in (least, most) and least > most:
        raise DataError(f"--bounds {name}={interval(lower, upper)}: no {kind} lies between them")
    check_within(column, name, steps, least, most, interval(lower, upper))
    low, high = int(steps.min()), int(steps.max())
    counts = kind != "datetime" and low >= 0
    return replace(made, **_range(low, high, len(steps), least, most, counts))


def _range(
    low: int, high: int, rows: int, least: int | None, most: int | None, counts: bool
) -> dict[str, Any]:
    """Offset, ends and way of modelling of whole numbers that were seen from low to high.

    Few numbers among many rows are a range, which is widened by its own width on each side (10
    numbers at least), within the bounds, or without a lower one not below 0 for `counts`, numbers
    of which none is negative. Others are bounded where they have to be, and where 0 is near.
    """
    points = high - low + 1
    if points <= max(2, min(1000, rows / 20)):
        wider = max(points, 10)
        floor = least if least is not None else 0 if counts else None
        first = low - wider if floor is None else max(low - wider, floor)
        last = high + wider if most is None else min(high + wider, most)
        return {"offset": first, "lower": 0, "upper": last - first}
    first = least if least is not None else 0 if counts and low < points else None
    offset = low if first is None else first
    return {
        "offset": offset,
        "lower": None if first is None else 0,
        "upper": None if most is None else most - offset,
        "continuous": points > MOST_POINTS or high - offset >= 2 * MOST_POINTS,
    }


def _standardized(made: Column, column: "pandas.Series") -> Column:
    values = whole_steps(made, column) if made.is_whole else numbers(column, made.name)
    codes = values - made.offset
    return replace(
        made,
        lower=None,
        upper=None,
        margin=0.0,
        mean=float(codes.mean()),
        std=_std(codes) or 1.0,
        least=float(codes.min()),
        greatest=float(codes.max()),
    )


def _std(values: np.ndarray) -> float:
    """The standard deviation, without overflow; 0 where all values are the same."""
    least, most = float(values.min()), float(values.max())
    if least == most:
        return 0.0
    scale = max(abs(least), abs(most))
    std = float((values / scale).std() * scale)
    return std if math.isfinite(std) else 0.0
