"""What each column of a table is to a model, by names and patterns; rows without gaps."""

from collections.abc import Collection, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

import numpy as np

from diffeo.data.errors import DataError
from diffeo.data.messages import is_pattern, no_such_column, where
from diffeo.data.numbers import gaps, series_of

if TYPE_CHECKING:
    import pandas

USED = ("feature", "context", "weight")
"""The roles of columns that are read."""


def assign_roles(
    frame: "pandas.DataFrame",
    only: Collection[str] | None = None,
    drop: Collection[str] = (),
    context: Collection[str] = (),
    weight: str | None = None,
) -> dict[str, str]:
    """What each column of a table is to a model, as `Columns.infer` is told.

    A column's own name counts more than a pattern, and of patterns the first of these: drop,
    context, weight, only.

    Raises:
        DataError: if a name is unknown, or a column is named for two things.
    """
    names, place = [str(name) for name in frame.columns], where(frame)
    told = {
        ("dropped", "--drop"): _as_list(drop),
        ("context", "--context"): _as_list(context),
        ("weight", "--weight"): _as_list(() if weight is None else weight),
        ("feature", "--columns"): _as_list(() if only is None else only),
    }
    roles: dict[str, str] = {}
    options: dict[str, str] = {}
    for (role, option), wanted in told.items():
        for name in wanted:
            if name in names:
                if roles.setdefault(name, role) != role:
                    raise DataError(
                        f"{place}column {name!r} can't be in both {options[name]} and {option}"
                    )
                options.setdefault(name, option)
    for (role, option), wanted in told.items():
        for name in by_name(dict.fromkeys(wanted, True), names, option, place):
            roles.setdefault(name, role)
    rest = "feature" if only is None else "dropped"
    return {name: roles.get(name, rest) for name in names}


def by_name(
    told: Mapping[str, Any], names: Sequence[str], option: str, place: str = ""
) -> dict[str, Any]:
    """What is told of each column, by its name or by a pattern.

    Raises:
        DataError: if a name or pattern is of no column.
    """
    made: dict[str, Any] = {}
    for key, value in told.items():
        if key in names:
            continue
        matched = [name for name in names if fnmatchcase(name, key)] if is_pattern(key) else []
        if not matched:
            raise no_such_column(key, names, option, place)
        made.update(dict.fromkeys(matched, value))
    made.update({key: value for key, value in told.items() if key in names})
    return made


def with_names(frame: "pandas.DataFrame") -> "pandas.DataFrame":
    """The frame with names of text, each of one column."""
    if not hasattr(frame, "columns") or not hasattr(frame, "attrs"):
        raise TypeError(f"Columns: expected a pandas DataFrame, got {type(frame).__name__}")
    if getattr(frame.columns, "nlevels", 1) > 1:
        raise DataError(f"{where(frame)}the columns have names of several levels; join each to one")
    named = frame.rename(columns=str)
    names = list(named.columns)
    if len(names) != len(set(names)):
        twice = next(name for name in names if names.count(name) > 1)
        raise DataError(f"{where(frame)}has two columns named {twice!r}; rename one")
    return named


def drop_missing(
    frame: "pandas.DataFrame",
    only: Collection[str] | None = None,
    drop: Collection[str] = (),
    context: Collection[str] = (),
    weight: str | None = None,
) -> "tuple[pandas.DataFrame, int]":
    """The rows without gaps in the columns that `Columns.infer` would use, and how many others.

    Rows keep their labels, so that messages name the right lines.

    Raises:
        DataError: if a name is unknown or used twice, or every row has a gap.
    """
    named = with_names(frame)
    roles = assign_roles(named, only, drop, context, weight)
    kept, dropped = without_gaps(frame, named, [n for n, r in roles.items() if r in USED])
    if dropped and not len(kept):
        raise DataError(
            f"{where(frame)}every row has a missing value; drop the columns that have most (--drop)"
        )
    return kept, dropped


def without_gaps(
    frame: "pandas.DataFrame", named: "pandas.DataFrame", used: Sequence[str]
) -> "tuple[pandas.DataFrame, int]":
    """The rows of a frame without gaps in some columns of the same frame with names of text."""
    missing = np.zeros(len(frame), bool)
    for name in used:
        missing |= gaps(series_of(named, name), name)
    dropped = int(missing.sum())
    if not dropped:
        return frame, 0
    kept: Any = frame[~missing]
    kept.attrs = dict(frame.attrs)
    return kept, dropped


def _as_list(names: Collection[str]) -> list[str]:
    return [names] if isinstance(names, str) else list(names)
