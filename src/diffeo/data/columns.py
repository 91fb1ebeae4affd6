"""The schema of a table: its columns, and how they become the numbers of a model and come back."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from diffeo.data.errors import DataError
from diffeo.data.tables import line_of
from diffeo.extras import require

if TYPE_CHECKING:
    import pandas

KINDS = ("real",)
"""The kinds of columns there are."""


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Args:
        name: as in the file.
        kind: one of `KINDS`; "real" is a finite number, modelled as it is.

    Raises:
        DataError: if the kind is unknown.
    """

    name: str
    kind: str = "real"

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise DataError(
                f"column {self.name!r}: unknown kind {self.kind!r}; this diffeo knows "
                f"{', '.join(KINDS)} (made by a newer one? upgrade with pip install -U diffeo)"
            )


@dataclass(frozen=True)
class Columns:
    """The columns of a table, in the order in which a model sees them.

    Args:
        columns: one or more, of different names.

    Raises:
        DataError: if there is none, or two have the same name.

    Example:
        >>> import pandas as pd
        >>> frame = pd.DataFrame({"height": [1.5, 2.0], "weight": [60, 75]})
        >>> columns = Columns.infer(frame)
        >>> columns.to_tensor(frame[["weight", "height"]])
        tensor([[ 1.5000, 60.0000],
                [ 2.0000, 75.0000]])
    """

    columns: tuple[Column, ...]

    def __post_init__(self) -> None:
        if not self.columns:
            raise DataError("the table has no columns")
        names = self.names
        for i, name in enumerate(names):
            if name in names[:i]:
                raise DataError(f"two columns are named {name!r}; rename one")

    @property
    def names(self) -> tuple[str, ...]:
        """The names, in order."""
        return tuple(column.name for column in self.columns)

    def __len__(self) -> int:
        return len(self.columns)

    @classmethod
    def infer(cls, frame: "pandas.DataFrame") -> "Columns":
        """The schema of a table of numbers.

        Raises:
            DataError: if a column holds something else, a gap or an infinity, naming the file, line
                and column.
        """
        columns = cls(tuple(Column(str(name)) for name in frame.columns))
        columns.to_tensor(frame)
        return columns

    def to_tensor(self, frame: "pandas.DataFrame", dtype: torch.dtype = torch.float32) -> Tensor:
        """The table as numbers, columns in this schema's order whatever theirs.

        Args:
            frame: a table with exactly these columns, in any order; one from a file without names
                (.npy) is taken to have them in this order.
            dtype: of the result.
        Shapes: out: (rows, len(self)).

        Raises:
            DataError: if a column is missing, unknown or holds something else than finite numbers
                that fit the dtype.
        """
        arrays = []
        for name, column, values in self._numbers_of(frame):
            _check_finite(column, name, values, dtype)
            arrays.append(values)
        return torch.from_numpy(np.stack(arrays, axis=1)).to(dtype)

    def check_levels(self, frame: "pandas.DataFrame", levels: int) -> None:
        """Refuses a table for a model of the whole numbers 0 … levels − 1.

        Raises:
            DataError: if a value is another number, naming the file, line and column.
        """
        for name, column, values in self._numbers_of(frame):
            right = (values == np.round(values)) & (values >= 0) & (values < levels)
            if len(wrong := np.flatnonzero(~right)):
                raise DataError(
                    f"{_where(column, int(wrong[0]))}column {name!r}: {values[wrong[0]]:g} is "
                    f"outside the whole numbers 0 … {levels - 1} of {levels} levels; renumber the "
                    "column, or leave levels out where columns are real numbers"
                )

    def lost_precision(
        self, frame: "pandas.DataFrame", dtype: torch.dtype = torch.float32
    ) -> list[str]:
        """A line for each column whose values `to_tensor` can't tell apart as the table does.

        That is where rounding to the dtype moves a value by more than a thousandth of the column's
        standard deviation, or leaves less than half of its different values.
        """
        where, lines = _where(frame), []
        for name, column, values in self._numbers_of(frame):
            kept = torch.tensor(values).to(dtype).numpy()
            before, after = column.nunique(), len(np.unique(kept))
            moved = np.abs(kept.astype(np.float64) - values).max()
            if 2 * after < before or moved > 1e-3 * values.std() > 0:
                tiny = np.abs(values).max() < torch.finfo(dtype).tiny
                remedy = "multiply it by a large number" if tiny else "subtract an offset from it"
                lines.append(
                    f"{where}column {name!r}: its {before} different values become {after} in "
                    f"{dtype}, and its steps are lost; {remedy}"
                )
        return lines

    def degenerate(self, frame: "pandas.DataFrame") -> list[str]:
        """A line for each column whose density has no limit: constant, or a line in another one."""
        where, lines = _where(frame), []
        seen: list[tuple[str, np.ndarray]] = []
        for name, column, values in self._numbers_of(frame):
            if column.nunique() == 1:
                lines.append(
                    f"{where}column {name!r}: every value is {values[0]:g}: its density has no "
                    "limit; drop it"
                )
                continue
            unit = values / np.abs(values).max()
            unit = unit - unit.mean()
            unit = unit / max(float(np.linalg.norm(unit)), np.finfo(np.float64).tiny)
            # Two rows always lie on a line. Many columns are not compared: their pairs take long.
            if len(values) > 2 and len(self) <= 100:
                for other, direction in seen:
                    if abs(float(unit @ direction)) > 1 - 1e-13:
                        lines.append(
                            f"{where}column {name!r}: follows from column {other!r} (a multiple of "
                            "it, plus a constant): their density has no limit; drop one"
                        )
                        break
                else:
                    seen.append((name, unit))
        return lines

    def to_frame(self, x: Tensor) -> "pandas.DataFrame":
        """The table of a model's numbers: the same names, the dtype of x.

        Args:
            x: (rows, len(self)).

        Raises:
            ValueError: if x has another shape.
        """
        pd = require("pandas", "diffeo.data")
        if x.dim() != 2 or x.shape[1] != len(self):
            raise ValueError(f"Columns: expected shape (rows, {len(self)}), got {tuple(x.shape)}")
        return pd.DataFrame(x.detach().cpu().numpy(), columns=list(self.names))

    def to_json(self) -> list[dict[str, Any]]:
        """The schema as plain values."""
        return [{"name": column.name, "kind": column.kind} for column in self.columns]

    @classmethod
    def from_json(cls, columns: Sequence[Mapping[str, Any]]) -> "Columns":
        """The schema that `to_json` gave.

        Raises:
            DataError: if it is not one, or one of a newer version.
        """
        made = []
        for i, column in enumerate(columns):
            if not isinstance(column, Mapping) or not isinstance(column.get("name"), str):
                raise DataError(f"column {i + 1} of the schema has no name; the file is damaged")
            if unknown := sorted(set(column) - {"name", "kind"}):
                raise DataError(
                    f"column {column['name']!r} of the schema has the unknown entry {unknown[0]!r} "
                    "(made by a newer diffeo? upgrade with pip install -U diffeo)"
                )
            made.append(Column(column["name"], column.get("kind", "real")))
        return cls(tuple(made))

    def _numbers_of(
        self, frame: "pandas.DataFrame"
    ) -> "Iterator[tuple[str, pandas.Series, np.ndarray]]":
        """Each column in this schema's order: its name, itself, its values as float64."""
        where = _where(frame)
        frame = frame.rename(columns=str)
        if frame.attrs.get("unnamed") and len(frame.columns) == len(self):
            frame = frame.set_axis(list(self.names), axis=1)
        self._check_names([str(name) for name in frame.columns], where)
        for name in self.names:
            column: Any = frame[name]
            yield name, column, _numbers(column, name)

    def _check_names(self, found: Sequence[str], where: str) -> None:
        absent = [name for name in self.names if name not in found]
        extra = [name for name in found if name not in self.names]
        problems = []
        if absent:
            problems.append(f"lacks the {_plural('column', absent)}")
        if extra:
            problems.append(f"has the unknown {_plural('column', extra)}")
        if problems:
            advice = f"the columns must be {_listed(self.names)}"
            raise DataError(f"{where}{' and '.join(problems)}; {advice}")
        if len(found) != len(set(found)):
            twice = next(name for name in found if list(found).count(name) > 1)
            raise DataError(f"{where}has two columns named {twice!r}; rename one")


def _numbers(column: "pandas.Series", name: str) -> np.ndarray:
    """The column as float64, with NaN where a value is missing."""
    import pandas as pd

    types, dtype = pd.api.types, column.dtype
    wrong_kinds = {
        "True and False, not numbers; write 0 and 1": types.is_bool_dtype(dtype),
        "complex numbers; split it into two columns": types.is_complex_dtype(dtype),
        "dates or times, not numbers; convert it": types.is_datetime64_any_dtype(dtype)
        or types.is_timedelta64_dtype(dtype),
    }
    for what, found in wrong_kinds.items():
        if found:
            raise DataError(f"{_where(column)}column {name!r} holds {what}, or remove it")
    if types.is_numeric_dtype(dtype):
        return column.to_numpy(dtype=np.float64, na_value=np.nan)
    numbers: Any = pd.to_numeric(column.astype(object), errors="coerce")
    values = numbers.to_numpy(dtype=np.float64, na_value=np.nan)
    wrong = np.flatnonzero(np.isnan(values) & ~column.isna().to_numpy())
    if len(wrong):
        text = str(column.iloc[wrong[0]])
        text = text if len(text) <= 40 else text[:37] + "…"
        raise DataError(
            f"{_where(column, int(wrong[0]))}column {name!r}: {text!r} is not a number"
            f"{_about_commas(text)}; "
            "correct it, or remove the column"
        )
    return values


def _check_finite(
    column: "pandas.Series", name: str, values: np.ndarray, dtype: torch.dtype
) -> None:
    largest = torch.finfo(dtype).max
    wrong = np.flatnonzero(~(np.abs(values) <= largest))
    if not len(wrong):
        return
    value = values[wrong[0]]
    if np.isnan(value):
        what, advice = "a value is missing", "fill it in, or remove the row"
    elif np.isinf(value):
        what, advice = "the value is infinite", "correct it, or remove the row"
    else:
        what, advice = f"{value:g} is too large for {dtype}", "rescale the column"
    more = f" (and {len(wrong) - 1} more in this column)" if len(wrong) > 1 else ""
    raise DataError(f"{_where(column, int(wrong[0]))}column {name!r}: {what}{more}; {advice}")


def _where(data: "pandas.DataFrame | pandas.Series", position: int | None = None) -> str:
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


def _about_commas(text: str) -> str:
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


def _plural(noun: str, names: Sequence[str]) -> str:
    return f"{noun}{'s' if len(names) > 1 else ''} {_listed(names)}"


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(repr(name) for name in names[:8])
    return shown + (f", … ({len(names)} in all)" if len(names) > 8 else "")
