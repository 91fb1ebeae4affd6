"""The values of a column as a model's numbers (codes), and back."""

from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np

from diffeo.data import dates
from diffeo.data.categories import indices
from diffeo.data.column import Column
from diffeo.data.errors import DataError
from diffeo.data.messages import and_more, at, listed, shown
from diffeo.data.numbers import check_complete, numbers, resolution

if TYPE_CHECKING:
    import pandas

LARGEST = float(np.finfo(np.float32).max)
"""The largest number that a code can be."""


def encode(column: Column, values: "pandas.Series") -> np.ndarray:
    """The codes of a column, as float32.

    A value of a real column that lies on a bound is put `margin` inside of it; one beyond a bound,
    or a category that is not known, gets a code outside the support.

    Shapes: out: (rows,).

    Raises:
        DataError: if a value is missing, or of another type than the column.
    """
    if column.kind == "category":
        check_complete(values, column.name)
        return indices(values, column.name, column.values).astype(np.float32)
    if column.is_whole:
        return _as_float32(column, values, whole_steps(column, values) - column.offset)
    exact = numbers(values, column.name)
    codes = _as_float32(column, values, exact - column.offset if column.offset else exact)
    for bound, inward in ((column.lower, 1), (column.upper, -1)):
        if bound is not None:
            outside = inward * exact < inward * (bound + column.offset)
            on = (inward * codes <= inward * np.float32(bound)) & ~outside
            codes[on] = bound + inward * column.margin
    return codes


def impossible(column: Column, codes: np.ndarray) -> np.ndarray:
    """Which codes lie outside the column's support: beyond a bound, or an unknown category."""
    support = column.support
    return (codes < support.get("lower", -np.inf)) | (codes > support.get("upper", np.inf))


def encode_context(column: Column, values: "pandas.Series") -> np.ndarray:
    """A column as context: (code − mean) / std, or a one in the place of its category.

    Shapes: out: (rows, column.width), float32.

    Raises:
        DataError: if a value is missing, of another type than the column, or an unknown category.
    """
    if column.kind == "category":
        check_complete(values, column.name)
        found = indices(values, column.name, column.values)
        wrong = np.flatnonzero(found < 0)
        if len(wrong):
            raise DataError(
                f"{at(values, column.name, int(wrong[0]))}: the category "
                f"{shown(values.iloc[int(wrong[0])])} is unknown{and_more(wrong)}; the model was "
                f"trained on {listed(column.values)}"
            )
        made = np.zeros((len(found), column.width), np.float32)
        made[np.arange(len(found)), found] = 1
        return made
    if column.is_whole:
        codes = whole_steps(column, values, strict=False) - column.offset
    else:
        codes = numbers(values, column.name) - column.offset
    return _as_float32(column, values, (codes - column.mean) / column.std)[:, None]


def whole_steps(column: Column, values: "pandas.Series", strict: bool = True) -> np.ndarray:
    """How many steps each value is: int64 where all are whole, else float64.

    Args:
        column: of kind integer, step or datetime.
        values: of the column.
        strict: whether to refuse what is no whole number of steps.

    Raises:
        DataError: if a value is of another type than the column.
    """
    if column.kind == "datetime":
        moments, zone = dates.instants(values, column.name)
        if (zone is None) != (column.zone is None):
            has, had = ("no", "one") if zone is None else ("a", "none")
            raise DataError(
                f"{at(values, column.name)} has {has} time zone, but the model was trained on "
                f"times with {had}; make them alike"
            )
        steps, between = dates.ticks(moments, str(column.step))
        if strict and between.any():
            _refuse(column, values, between, f"no whole {column.step}", moments)
        return steps
    exact = numbers(values, column.name)
    if exact.dtype.kind == "i" and column.step is None:
        return exact
    steps = exact / column.step if isinstance(column.step, (int, float)) else exact
    rounded = np.rint(steps)
    between = np.abs(steps - rounded) > tolerance(rounded, resolution(values))
    if between.any():
        if not strict:
            return steps
        kind = "integer" if column.step is None else f"multiple of {column.step:g}"
        _refuse(column, values, between, f"no {kind}", exact)
    return rounded.astype(np.int64) if np.abs(rounded).max(initial=0) < 2**62 else rounded


def tolerance(steps: np.ndarray, eps: float) -> np.ndarray:
    """How far from a whole number of steps a value may be, rounded as its type has to."""
    return 1e-6 + 4 * eps * np.abs(steps)


def decode(column: Column, codes: np.ndarray) -> "pandas.Series | np.ndarray":
    """The values of codes, each in its column's own type and within its bounds.

    Real numbers are float64: those that the codes are written as, or with an offset added. Integers
    are int64, multiples of a step float64, rounded to the step's decimals.

    Raises:
        ValueError: if the codes of a column that is not real hold NaN.
    """
    if column.kind == "real":
        if column.offset:
            values = codes.astype(np.float64) + column.offset
        else:  # 0.1 and not 0.10000000149, which is what float32 has for it
            values = codes.astype(str).astype(np.float64)
        for end, inward, keep in ((column.lower, 1, np.maximum), (column.upper, -1, np.minimum)):
            if end is not None:
                bound = values.dtype.type(end + column.offset)
                if inward * float(bound) < inward * (end + column.offset):  # rounded outside
                    bound = np.nextafter(bound, values.dtype.type(inward * np.inf))
                values = keep(values, bound)
        return values
    if np.isnan(codes).any():
        raise ValueError(f"column {column.name!r}: codes can't be NaN")
    whole = np.rint(codes.astype(np.float64))
    if column.kind == "category":
        return _of_categories(column, np.clip(whole, 0, len(column.values) - 1).astype(np.int64))
    # The numbers of int64 that float64 has, so that nothing wraps around.
    lowest, highest = (end - int(column.offset) for end in (-(2**63) + 1024, 2**63 - 1024))
    lowest = lowest if column.lower is None else max(lowest, column.lower)
    highest = highest if column.upper is None else min(highest, column.upper)
    whole = np.clip(whole, max(lowest, -(2**63) + 1024), min(highest, 2**63 - 1024))
    steps = whole.astype(np.int64) + int(column.offset)
    if column.kind == "datetime":
        return dates.from_ticks(steps, str(column.step), column.unit, column.zone)
    if not isinstance(column.step, (int, float)):
        return steps
    return np.round(steps * column.step, decimals(column.step))


def decimals(step: int | float) -> int:
    """How many decimals the multiples of a step have: 2 for 0.01 and for 0.25."""
    exponent = Decimal(repr(float(step))).normalize().as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0


def _of_categories(column: Column, index: np.ndarray) -> "pandas.Series | np.ndarray":
    import pandas as pd

    types = {type(value) for value in column.values}
    if len(types) == 1 and types != {str}:
        return np.array(column.values)[index]
    return pd.Series(list(column.values)).take(index).reset_index(drop=True)  # type: ignore[arg-type]


def _as_float32(column: Column, values: "pandas.Series", codes: np.ndarray) -> np.ndarray:
    # What is no number at all has been refused, and so have infinite ones.
    if codes.dtype.kind == "f" and len(wrong := np.flatnonzero(np.abs(codes) > LARGEST)):
        first = int(wrong[0])
        raise DataError(
            f"{at(values, column.name, first)}: {float(values.iloc[first]):g} is too large for "
            f"torch.float32{and_more(wrong)}; rescale the column"
        )
    return codes.astype(np.float32)


def _refuse(
    column: Column, values: "pandas.Series", wrong: np.ndarray, what: str, exact: np.ndarray
) -> None:
    rows = np.flatnonzero(wrong)
    value: Any = exact[rows[0]]
    text = f"{value:.9g}" if column.kind != "datetime" else str(value)
    raise DataError(
        f"{at(values, column.name, int(rows[0]))}: {text} is {what}{and_more(rows)}, which the "
        f"column is taken to hold; correct it, or train with --type {column.name}="
        + ("real" if column.kind != "datetime" else "category")
    )
