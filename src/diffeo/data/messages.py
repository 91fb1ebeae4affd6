"""The words of messages about a table: places in it, lists of names, what to do about a comma."""

import difflib
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from diffeo.data.errors import DataError
from diffeo.data.text import line_of

if TYPE_CHECKING:
    import pandas


def where(data: "pandas.DataFrame | pandas.Series", position: int | None = None) -> str:
    """The place in the words of who reads the file: "table.csv, line 7, " or "row 6, "."""
    source = data.attrs.get("source")
    if position is None:
        return "" if source is None else f"{source}: "
    label = data.index[position]
    prefix = "" if source is None else f"{source}, "
    if source is not None and isinstance(label, (int, np.integer)):
        line = line_of(source, int(label))
        return f"{prefix}line {line}, " if line is not None else f"{prefix}row {int(label) + 1}, "
    return f"{prefix}row {position + 1}, "


def at(column: "pandas.Series", name: str, position: int | None = None) -> str:
    """The place of a value: "table.csv, line 7, column 'a'"."""
    return f"{where(column, position)}column {name!r}"


def shown(value: object) -> str:
    """A value in quotation marks, cut where it is long."""
    text = str(value)
    return repr(text if len(text) <= 40 else text[:37] + "…")


def listed(names: Sequence[object], most: int = 8) -> str:
    """The first names in quotation marks, and how many there are where that is not all."""
    text = ", ".join(shown(name) for name in names[:most])
    return text + (f", … ({len(names)} in all)" if len(names) > most else "")


def plural(noun: str, names: Sequence[str]) -> str:
    """The noun, in the plural where there are several names, and the names."""
    return f"{noun}{'s' if len(names) > 1 else ''} {listed(names)}"


def and_more(wrong: Sequence[int] | np.ndarray) -> str:
    """How many there are beside the first: " (and 3 more in this column)"."""
    return f" (and {len(wrong) - 1} more in this column)" if len(wrong) > 1 else ""


def no_such_column(name: str, names: Sequence[str], option: str, place: str = "") -> DataError:
    """The error of a name that no column has: the nearest one there is."""
    near = difflib.get_close_matches(name, names, 1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else f"the columns are {listed(names)}"
    what = "no column matches" if is_pattern(name) else "there is no column"
    return DataError(f"{place}{what} {name!r} (named in {option}); {hint}")


def is_pattern(name: str) -> bool:
    """Whether a name has the marks *, ? or [ of a pattern."""
    return any(mark in name for mark in "*?[")


def about_marks(text: str) -> str:
    """What to do about a number with a currency or percent sign, or a date that is not ISO 8601."""
    text = text.strip()
    if re.fullmatch(r"[-+(]?\s*([$€£¥]\s*)?[-+]?\d[\d.,' ]*\s*([$€£¥%])?\)?", text) and re.search(
        r"[$€£¥%]", text
    ):
        return "write plain numbers, without signs of currency or percent"
    if re.fullmatch(r"\d{1,2}([./-])\d{1,2}\1\d{2,4}", text):
        return "write dates as 2024-05-17"
    return ""


def about_commas(text: str) -> str:
    """What to do about the commas in a number, in brackets; nothing where that is not clear."""
    text = text.strip()
    bare, point = text.replace(",", ""), text.replace(",", ".")
    if re.fullmatch(r"[+-]?[1-9]\d{0,2},\d{3}", text):
        return f" (if the comma separates thousands, write {bare}; if decimals, write {point})"
    if re.fullmatch(r"[+-]?[1-9]\d{0,2}(,\d{3})+(\.\d*)?", text):
        return f" (remove the commas between thousands: {bare})"
    if re.fullmatch(r"[+-]?\d+,\d+", text):
        return " (write a decimal point, not a comma)"
    return ""
