"""What a table holds that a density has no answer to: constants, copies, atoms, lost digits."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from diffeo.data.codes import decode, encode
from diffeo.data.column import Column
from diffeo.data.messages import and_more, at, shown
from diffeo.data.numbers import numbers, series_of

if TYPE_CHECKING:
    import pandas

_LOOK = 1000
"""Pairs of columns are compared on this many rows first."""
_BEYOND = 0.1
"""How far beyond the values of training a context may lie, in parts of their range."""


def warnings(columns: Sequence[Column], frame: "pandas.DataFrame") -> list[str]:
    """A line for each of these, and what to do.

    - A real column that is constant: its density has no limit. Another one: it says nothing.
    - A real column that is a multiple of another column, plus a constant: nor has theirs.
    - A real column in which one value takes more than 5 % of the rows: nor has its own, there.
    - A real column whose values float32 can't tell apart as the table does: rounding moves one by
      more than a thousandth of the standard deviation, or leaves less than half of them.
    """
    lines: list[str] = []
    constant: set[str] = set()
    for column in columns:
        if column.kind != "real" and len(frame) > 1:
            series = series_of(frame, column.name)
            if series.nunique(dropna=False) == 1:
                lines.append(
                    f"{at(series, column.name)}: every value is {shown(series.iloc[0])}, which "
                    f"tells a model nothing; drop it (--drop {column.name})"
                )
        if column.kind == "real":
            series = series_of(frame, column.name)
            values = numbers(series, column.name).astype(np.float64, copy=False)
            if len(values) and (values == values[0]).all():
                constant.add(column.name)
                lines.append(
                    f"{at(series, column.name)}: every value is {values[0]:g}: its "
                    f"density has no limit; drop it (--drop {column.name})"
                )
                continue
            lines += _of_atoms(column, series, values)
            lines += _of_precision(column, series, values)
    numeric = [c for c in columns if c.kind in ("real", "integer", "step")]
    return lines + list(_of_copies([c for c in numeric if c.name not in constant], frame))


def unfamiliar(column: Column, series: "pandas.Series", encoded: np.ndarray) -> str | None:
    """A line about values of a context column that lie far beyond those of training.

    Args:
        column: with the role of context.
        series: its values.
        encoded: what `encode_context` made of them.
    """
    if column.kind == "category" or column.least is None or column.greatest is None:
        return None
    codes = encoded[:, 0].astype(np.float64) * column.std + column.mean
    range_ = column.greatest - column.least
    slack = max(_BEYOND * range_, 1e-5 * (column.std + abs(column.mean)))
    wrong = np.flatnonzero((codes < column.least - slack) | (codes > column.greatest + slack))
    if not len(wrong):
        return None
    ends = decode(column, np.array([column.least, column.greatest]))
    low, high = (f"{end:.6g}" if isinstance(end, float) else str(end) for end in ends)
    first = int(wrong[0])
    return (
        f"{at(series, column.name, first)}: {shown(series.iloc[first])} lies beyond "
        f"{low} … {high}, the contexts of training{and_more(wrong)}; what the model says there is "
        "guessed"
    )


def _of_atoms(column: Column, series: "pandas.Series", values: np.ndarray) -> Iterator[str]:
    different, counts = np.unique(values, return_counts=True)
    if not len(counts):
        return
    most = int(counts.argmax())
    if counts[most] >= 3 and counts[most] > 0.05 * len(values):
        yield (
            f"{at(series, column.name)}: the value {different[most]:g} is in "
            f"{100 * counts[most] / len(values):.0f} % of the rows, and a density diverges there; "
            f"declare what the column is: --type {column.name}=integer, step:… or category"
        )


def _of_precision(column: Column, series: "pandas.Series", values: np.ndarray) -> Iterator[str]:
    codes = encode(column, series)
    before, after = len(np.unique(values)), len(np.unique(codes))
    exact = values - column.offset
    moved = np.abs(codes - exact)
    on_bound = np.zeros(len(values), bool)
    for bound in (column.lower, column.upper):
        if bound is not None:  # moved inside on purpose
            on_bound |= np.abs(exact - bound) <= column.margin
    largest = float(moved[~on_bound].max(initial=0.0))
    if 2 * after < before or largest > 1e-3 * values.std() > 0:
        tiny = np.abs(values).max() < np.finfo(np.float32).tiny
        remedy = "multiply it by a large number" if tiny else "subtract an offset from it"
        yield (
            f"{at(series, column.name)}: its {before} different values become {after} in "
            f"torch.float32, and its steps are lost; {remedy}"
        )


def _of_copies(columns: Sequence[Column], frame: "pandas.DataFrame") -> Iterator[str]:
    if len(frame) <= 2:  # two rows always lie on a line
        return
    rows = np.linspace(0, len(frame) - 1, min(len(frame), _LOOK)).astype(int)
    few = frame.iloc[rows]
    units = [_unit(numbers(series_of(few, column.name), column.name)) for column in columns]
    if not units:
        return
    stacked = np.stack(units)
    told: set[int] = set()
    for i, column in enumerate(columns):
        near = np.flatnonzero(np.abs(stacked[:i] @ stacked[i]) > 1 - 1e-12)
        for j in near.tolist():
            other = columns[j]
            if j in told or "real" not in (column.kind, other.kind):
                continue
            both = [_unit(numbers(series_of(frame, c.name), c.name)) for c in (column, other)]
            if abs(float(both[0] @ both[1])) > 1 - 1e-13:
                told.add(i)
                place = at(series_of(frame, column.name), column.name)
                yield (
                    f"{place}: follows from column {other.name!r} "
                    "(a multiple of it, plus a constant): their density has no limit; drop one"
                )
                break


def _unit(values: np.ndarray) -> np.ndarray:
    """The values less their mean, of norm 1; zeros where all are the same."""
    unit = values / max(float(np.abs(values).max()), np.finfo(np.float64).tiny)
    unit = unit - unit.mean()
    return unit / max(float(np.linalg.norm(unit)), np.finfo(np.float64).tiny)
