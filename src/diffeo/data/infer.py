"""What a column of a table holds, where nobody says so."""

import math
from typing import TYPE_CHECKING

import numpy as np

from diffeo.data import dates
from diffeo.data.categories import distinct
from diffeo.data.codes import tolerance
from diffeo.data.errors import DataError
from diffeo.data.messages import about_commas, about_marks, at, listed, shown
from diffeo.data.numbers import check_complete, is_text, numbers, parse_numbers, resolution
from diffeo.data.text import is_code

if TYPE_CHECKING:
    import pandas

MOST_CATEGORIES = 1000
"""Text with more different values is not taken for categories."""


def infer_kind(column: "pandas.Series", name: str) -> str:
    """What the values of a column look like.

    - True and False: "category".
    - Dates and times, or text of nothing but these in ISO 8601: "datetime".
    - Other text, and digits that begin with a zero (01069): "category" where values repeat and
      there are at most 1,000 different ones, 20, or half as many as rows, whichever of these two is
      more. Else it is refused.
    - Whole numbers: "integer". More than 20 that are all different and fill a range (1 … n in any
      order) count the rows, and are refused.
    - Multiples of 0.1, 0.01, … or 10⁻⁶, at least 50 of them, with at most half as many different
      ones as rows: "step:0.01".
    - Other numbers: "real".

    Raises:
        DataError: if a value is missing; of text that is an identifier or free, mostly numbers or
            mostly dates; of whole numbers that count the rows.
    """
    import pandas as pd

    check_complete(column, name)
    if dates.are_dates(column):
        return "datetime"
    categorical = isinstance(column.dtype, pd.CategoricalDtype)
    if pd.api.types.is_bool_dtype(column.dtype) and not categorical:
        return "category"
    if not categorical and not is_text(column):
        return _kind_of_numbers(column, numbers(column, name), name)
    codes, values = distinct(column, name)
    counts = np.bincount(codes, minlength=len(values))
    if not categorical and all(isinstance(value, bool) for value in values):
        return "category"
    if categorical:
        return _kind_of_text(column, name, int((counts > 0).sum()))
    parsed, is_number = parse_numbers(values)
    if any(isinstance(value, str) and is_code(value) for value in values):
        return _kind_of_text(column, name, len(values))
    if is_number.all():
        return _kind_of_numbers(column, parsed[codes], name)
    is_date = ~np.isnat(dates.parse_instants(values)[0])
    if is_date.all():
        return "datetime"
    # A look at the first texts tells whether they are numbers with commas.
    like = np.array([bool(about_commas(str(value))) for value in values[:100]])
    like = is_number | np.pad(like, (0, len(values) - len(like)), mode="edge")
    if 2 * counts[like].sum() >= len(codes):
        numbers(column, name)  # says which is none
    if 2 * counts[is_date].sum() >= len(codes):
        dates.instants(column, name)
    _refuse_marks(column, name)
    return _kind_of_text(column, name, len(values))


def _refuse_marks(column: "pandas.Series", name: str) -> None:
    """Refuses text that means numbers or dates: $12, 60 %, 31.12.2020."""
    first = [str(value) for value in column.iloc[:100]]
    advice = [about_marks(text) for text in first]
    if 2 * sum(map(bool, advice)) > len(first):
        found = next(i for i, text in enumerate(advice) if text)
        raise DataError(
            f"{at(column, name, found)}: {shown(first[found])} is text to a program; "
            f"{advice[found]}, or --type {name}=category, or --drop {name}"
        )


def _kind_of_text(column: "pandas.Series", name: str, different: int) -> str:
    rows = len(column)
    most = min(MOST_CATEGORIES, max(20, rows // 2), rows - 1)
    if different > max(most, 1):
        raise DataError(
            f"{at(column, name)} holds {different:,} different texts in {rows:,} rows (such as "
            f"{listed(list(column.iloc[:2]))}): an identifier or free text; --drop {name}, or "
            f"--type {name}=category"
        )
    return "category"


def _kind_of_numbers(column: "pandas.Series", values: np.ndarray, name: str) -> str:
    rows = len(values)
    size = np.abs(values).max(initial=0)
    if values.dtype.kind == "i" or (size <= 2**53 and (values == np.rint(values)).all()):
        span = int(values.max()) - int(values.min()) + 1
        if rows > 20 and span == rows == len(np.unique(values)):
            raise DataError(
                f"{at(column, name)} holds each of {int(values.min())} … {int(values.max())} once: "
                f"it counts the rows; --drop {name}, or --type {name}=integer"
            )
        return "integer"
    if rows < 50:
        return "real"
    eps = resolution(column)
    # A look at a few tells most columns of real numbers.
    few = values[:: max(1, rows // 50)]
    for places in range(1, 7):
        if not _on_lattice(few, places, eps):
            continue
        if _on_lattice(values, places, eps):
            return f"step:{10**-places:g}" if 2 * len(np.unique(values)) <= rows else "real"
    return "real"


def _on_lattice(values: np.ndarray, places: int, eps: float) -> bool:
    steps = values * 10**places
    most = float(np.abs(steps).max())
    # Where rounding moves a number by a good part of a step, every number is on the lattice.
    return 4 * eps * most < 0.05 and bool(
        (np.abs(steps - np.rint(steps)) <= tolerance(steps, eps)).all()
    )


def parse_kind(text: str, name: str) -> tuple[str, float | None]:
    """A declared type as kind and step: "integer" or "step:0.01".

    Raises:
        DataError: if it is unknown.
    """
    kind, colon, number = str(text).strip().partition(":")
    if kind in ("real", "integer", "category", "datetime") and not colon:
        return kind, None
    if kind == "step":
        try:
            step = float(number)
        except ValueError:
            step = math.nan
        if math.isfinite(step) and step > 0:
            return kind, step
        raise DataError(
            f"--type {name}={text}: the step must be a positive number, such as step:0.01"
        )
    raise DataError(
        f"--type {name}={text}: unknown type; the types are real, integer, category, datetime and "
        "step:0.01 (any step)"
    )
