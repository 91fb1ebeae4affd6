"""The different values of a column, and which of the known ones each is."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from diffeo.data.errors import DataError
from diffeo.data.messages import at

if TYPE_CHECKING:
    import pandas

Value = bool | int | float | str
"""A category, in its own type."""


def distinct(column: "pandas.Series", name: str) -> tuple[np.ndarray, list[Any]]:
    """Which of its different values each row holds (−1: none), and these, as Python's objects.

    Raises:
        DataError: if the column holds lists or the like.
    """
    import pandas as pd

    if isinstance(column.dtype, pd.CategoricalDtype):
        codes = column.cat.codes.to_numpy().astype(np.int64)
        return codes, [_plain(value) for value in column.cat.categories]
    try:
        codes, values = pd.factorize(column)
    except TypeError:
        held = next(value for value in column if not isinstance(value, (str, int, float)))
        raise DataError(
            f"{at(column, name)} holds values of type {type(held).__name__}, which are no numbers, "
            f"dates or categories; drop it (--drop {name})"
        ) from None
    held = np.asarray(values, dtype=object).tolist()
    kinds = set(map(type, held))
    return codes, held if kinds <= {str} else [_plain(value) for value in held]


def categories(column: "pandas.Series", name: str) -> tuple[Value, ...]:
    """The categories of a column: in order of size where all are numbers, else of the alphabet.

    A pandas categorical that is ordered keeps its order.
    """
    codes, values = distinct(column, name)
    present = np.bincount(codes[codes >= 0], minlength=len(values)) > 0
    found: dict[str, Value] = {}
    for value in (value for value, there in zip(values, present, strict=True) if there):
        found.setdefault(_key(value), _plain_category(value))
    kept = list(found.values())
    if getattr(column.dtype, "ordered", False):
        return tuple(kept)
    if all(isinstance(value, (bool, int, float)) for value in kept):
        return tuple(sorted(kept))
    return tuple(sorted(kept, key=str))


def indices(column: "pandas.Series", name: str, known: Sequence[Value]) -> np.ndarray:
    """Where in `known` the value of each row stands; −1 where it does not.

    Values are compared as text, so that a column may come as another type than it had: 1, 1.0, "1"
    and "01" are the same, True and "true" too. Of two texts that differ, such as "1" and "01",
    each is itself where both are known.
    """
    exact, loose = {}, {}
    for i, value in enumerate(known):
        exact.setdefault(_key(value), i)
        loose.setdefault(_loose_key(value), i)
    codes, values = distinct(column, name)
    table = np.full(len(values) + 1, -1)  # the last one: of missing values
    for i, value in enumerate(values):
        index = exact.get(_key(value))
        table[i] = loose.get(_loose_key(value), -1) if index is None else index
    return table[codes]


def _plain(value: Any) -> Any:
    if isinstance(value, np.floating):
        return float(str(value))  # float32's 0.1 is 0.1
    return value.item() if isinstance(value, (np.bool_, np.integer)) else value


def _plain_category(value: Any) -> Value:
    # A schema holds these four types; others, such as dates, are kept as text.
    return value if isinstance(value, (bool, int, float, str)) else str(value)


def _key(value: Any) -> str:
    if isinstance(value, float) and math.isfinite(value) and value == round(value):
        return str(int(value))
    return str(value)


def _loose_key(value: Any) -> str:
    text = _key(value).strip()
    if text.lower() in ("true", "false"):
        return text.capitalize()
    try:
        number = float(text)
    except ValueError:
        return text
    return _key(number) if math.isfinite(number) and "_" not in text else text
