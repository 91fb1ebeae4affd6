"""The numbers of a column, and what is missing in it."""

from typing import TYPE_CHECKING, Any

import numpy as np

from diffeo.data.categories import distinct
from diffeo.data.errors import DataError
from diffeo.data.messages import about_commas, and_more, at, shown

if TYPE_CHECKING:
    import pandas


def series_of(frame: "pandas.DataFrame", name: str) -> "pandas.Series":
    """The one column of a name."""
    column: Any = frame[name]
    return column


def is_text(column: "pandas.Series") -> bool:
    """Whether a column holds text or objects, which may be anything."""
    import pandas as pd

    return bool(
        pd.api.types.is_object_dtype(column.dtype) or pd.api.types.is_string_dtype(column.dtype)
    ) and not isinstance(column.dtype, pd.CategoricalDtype)


def gaps(column: "pandas.Series", name: str) -> np.ndarray:
    """Which values are missing: None, NaN, NaT, or text of nothing but blanks."""
    missing = column.isna().to_numpy(dtype=bool)
    if is_text(column):
        codes, values = distinct(column, name)
        blank = [isinstance(value, str) and not value.strip() for value in values]
        if any(blank):
            missing = missing | np.array([*blank, True])[codes]
    return missing


def check_complete(column: "pandas.Series", name: str) -> None:
    """Refuses a column with gaps.

    Raises:
        DataError: naming the first row that has one, and how many there are.
    """
    wrong = np.flatnonzero(gaps(column, name))
    if 0 < len(wrong) == len(column):
        raise DataError(
            f"{at(column, name, 0)}: every value is missing; leave the column out (--drop {name})"
        )
    if len(wrong):
        raise DataError(
            f"{at(column, name, int(wrong[0]))}: a value is missing{and_more(wrong)}; fill it in, "
            "or leave out the rows that have gaps (--drop-missing; in Python, frame.dropna())"
        )


def numbers(column: "pandas.Series", name: str) -> np.ndarray:
    """The column as int64, where it is of integers or of True and False, else as float64.

    Raises:
        DataError: if a value is missing, infinite or no number, naming the file, line and column.
    """
    import pandas as pd

    check_complete(column, name)
    types, dtype = pd.api.types, column.dtype
    wrong_kinds = {
        "complex numbers; split it into two columns": types.is_complex_dtype(dtype),
        "durations; convert it to numbers": types.is_timedelta64_dtype(dtype),
        f"dates or times, not numbers; --type {name}=datetime takes it as such": (
            types.is_datetime64_any_dtype(dtype) or isinstance(dtype, pd.PeriodDtype)
        ),
    }
    for what, found in wrong_kinds.items():
        if found:
            raise DataError(f"{at(column, name)} holds {what}", f", or drop it (--drop {name})")
    if types.is_bool_dtype(dtype) and not isinstance(dtype, pd.CategoricalDtype):
        return column.to_numpy(dtype=np.int64)
    if types.is_integer_dtype(dtype) and (not len(column) or int(column.max()) < 2**63):
        return column.to_numpy(dtype=np.int64)
    if types.is_numeric_dtype(dtype):
        values = column.to_numpy(dtype=np.float64, na_value=np.nan)
    else:
        codes, held = distinct(column, name)
        parsed, is_number = parse_numbers(held)
        wrong = np.flatnonzero(~is_number[codes])
        if len(wrong):
            text = held[codes[wrong[0]]]
            raise DataError(
                f"{at(column, name, int(wrong[0]))}: {shown(text)} is not a number"
                f"{about_commas(str(text))}{and_more(wrong)}; correct it",
                f", or --type {name}=category, or --drop {name}",
            )
        values = parsed[codes]
    wrong = np.flatnonzero(np.isinf(values))
    if len(wrong):
        raise DataError(
            f"{at(column, name, int(wrong[0]))}: the value is infinite{and_more(wrong)}; correct "
            "it, or remove the row"
        )
    return values


def parse_numbers(values: list[Any]) -> tuple[np.ndarray, np.ndarray]:
    """Each value as a float64, and whether it is a number; True and False are none."""
    import pandas as pd

    made: Any = pd.to_numeric(pd.Series(values, dtype=object), errors="coerce")
    parsed = made.to_numpy(dtype=np.float64, na_value=np.nan)
    truth = np.fromiter((isinstance(value, bool) for value in values), bool, len(values))
    return parsed, ~np.isnan(parsed) & ~truth


def resolution(column: "pandas.Series") -> float:
    """The relative rounding error of the numbers that a column holds."""
    name = str(column.dtype).lower()
    return float(np.finfo(name).eps) if name in ("float16", "float32") else 2.3e-16
