"""The schema of a table: its columns, and how they become the numbers of a model and come back."""

import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from diffeo.data import checks, codes
from diffeo.data.bounds import Bounds
from diffeo.data.column import Column
from diffeo.data.errors import DataError
from diffeo.data.making import make_column
from diffeo.data.messages import and_more, at, listed, plural, shown, where
from diffeo.data.numbers import numbers, series_of
from diffeo.data.phrases import phrase
from diffeo.data.roles import USED, assign_roles, by_name, with_names, without_gaps
from diffeo.extras import require

if TYPE_CHECKING:
    import pandas


class Encoded(NamedTuple):
    """The rows of a table as a model sees them.

    Shapes: x: (rows, D); context: (rows, C), None without context columns; weights: (rows,), None
        without such a column. All are float32.
    """

    x: Tensor
    context: Tensor | None
    weights: Tensor | None


@dataclass(frozen=True)
class Columns:
    """The columns of a table, in the order in which it has them.

    Args:
        columns: of different names, at least one of them a feature.

    Raises:
        DataError: if there is no feature, or two columns have the same name.

    Example:
        >>> import pandas as pd
        >>> frame = pd.DataFrame({"height": [1.5, 2.25], "site": ["B", "A"]})
        >>> columns = Columns.infer(frame, types={"site": "category"})
        >>> columns.encode(frame[["site", "height"]]).x
        tensor([[1.5000, 1.0000],
                [2.2500, 0.0000]])
        >>> columns.decode(torch.tensor([[2.0, 1.0]])).to_dict("records")
        [{'height': 2.0, 'site': 'B'}]
    """

    columns: tuple[Column, ...]

    def __post_init__(self) -> None:
        names = [column.name for column in self.columns]
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise DataError(f"two columns are named {twice!r}; rename one")
        if not names:
            raise DataError("the table has no columns")
        if not self.features:
            raise DataError("the table has no columns to model: all are context, weight or dropped")
        if len(weights := [column.name for column in self.columns if column.role == "weight"]) > 1:
            raise DataError(f"only one column can be the weight of the rows, not {listed(weights)}")

    @property
    def features(self) -> tuple[Column, ...]:
        """The columns that are modelled, in order."""
        return tuple(column for column in self.columns if column.role == "feature")

    @property
    def given(self) -> tuple[Column, ...]:
        """The context columns, which a model is conditioned on, in order."""
        return tuple(column for column in self.columns if column.role == "context")

    @property
    def weight(self) -> str | None:
        """The name of the column that holds the weights of the rows, if there is one."""
        return next((column.name for column in self.columns if column.role == "weight"), None)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the features, in order."""
        return tuple(column.name for column in self.features)

    @property
    def text_columns(self) -> tuple[str, ...]:
        """The names of used columns of which every category is text.

        Read them as text (`read_table(path, text=columns.text_columns)`), so that 01 stays 01.
        """
        return tuple(
            column.name
            for column in self.columns
            if column.values and all(isinstance(value, str) for value in column.values)
        )

    def __len__(self) -> int:
        return len(self.features)

    @property
    def supports(self) -> list[dict[str, Any]] | None:
        """`Column.support` of each feature; None if all are the whole line."""
        made = [column.support for column in self.features]
        return made if any(made) else None

    @property
    def context_features(self) -> int | None:
        """C, how many numbers the context is; None without context columns."""
        return sum(column.width for column in self.given) or None

    @classmethod
    def infer(
        cls,
        frame: "pandas.DataFrame",
        types: Mapping[str, str] | None = None,
        bounds: Mapping[str, Bounds] | None = None,
        only: Collection[str] | None = None,
        drop: Collection[str] = (),
        context: Collection[str] = (),
        weight: str | None = None,
    ) -> "Columns":
        """The schema of a table.

        Every argument that names columns takes patterns as well, such as "*" or "t_*". A column's
        own name counts more than a pattern, and a later pattern more than an earlier one.

        Args:
            frame: the table.
            types: real, integer, category, datetime or step:0.01 (any step) for some columns;
                the others' are inferred (`diffeo.data.infer.infer_kind`).
            bounds: smallest and largest value of some columns; either may be None.
            only: the columns to model; all others, but context and weight, are dropped.
            drop: the columns to leave out.
            context: the columns that the model is conditioned on.
            weight: the column that holds the weights of the rows.

        Raises:
            DataError: if a name is unknown or used twice, or a column holds what can't be used: a
                gap, an infinity, text in a column of numbers, an identifier, a value beyond its
                bounds; naming the file, line and column.
        """
        frame = with_names(frame)
        roles = assign_roles(frame, only, drop, context, weight)
        place, names = where(frame), list(roles)
        if not len(frame):
            raise DataError(f"{place}the table has no rows")
        used = [name for name, role in roles.items() if role in ("feature", "context")]
        kinds = by_name(types or {}, names, "--type", place)
        limits = by_name(bounds or {}, names, "--bounds", place)
        for name in bounds or {}:
            if name in roles and roles[name] != "feature":
                raise DataError(
                    f"{place}column {name!r} is {_ROLE_WORDS[roles[name]]}, and bounds are for "
                    f"columns that are modelled; omit --bounds {name}"
                )
        made = []
        for name, role in roles.items():
            if name in used:
                ends = limits.get(name, (None, None)) if role == "feature" else (None, None)
                column = make_column(series_of(frame, name), name, kinds.get(name), ends, role)
                if role == "feature" and column.kind == "real":
                    codes.encode(column, series_of(frame, name))  # refuses what float32 can't hold
                made.append(column)
            else:
                made.append(Column(name, role=role))
        columns = cls(tuple(made))
        if weight is not None and not columns._weights(frame).any():
            series = series_of(frame, weight)
            raise DataError(f"{at(series, weight)}: every weight is 0; some must be positive")
        return columns

    def encode(self, frame: "pandas.DataFrame") -> Encoded:
        """The rows as a model sees them, whatever the order of the columns.

        Columns that were dropped in training may be there or not. A weight column that is not
        there gives no weights.

        Args:
            frame: a table with these columns; one from a file without names (.npy) is taken to have
                them in this order, with or without those that were dropped.

        Raises:
            DataError: if a column is missing, unknown, or holds what it can't, naming the file,
                line and column. A value beyond the bounds or a category that is unknown is none:
                its code lies outside the support, where a density is 0. As context it is.

        Warns of contexts that lie far beyond those of training.
        """
        frame = self._checked(frame, (*self.features, *self.given))
        x = np.empty((len(frame), len(self)), np.float32)
        weighted = self.weight is not None and self.weight in frame.columns
        with _decided():
            for i, column in enumerate(self.features):
                x[:, i] = codes.encode(column, series_of(frame, column.name))
            return Encoded(
                torch.from_numpy(x),
                self._context(frame) if self.given else None,
                self._weights(frame) if weighted else None,
            )

    def encode_context(self, frame: "pandas.DataFrame") -> Tensor:
        """The context of each row; only the context columns have to be there.

        Shapes: out: (rows, context_features).

        Raises:
            DataError: as `encode` does.
            ValueError: if there are no context columns.
        """
        if not self.given:
            raise ValueError("Columns: the model has no context columns")
        with _decided():
            return self._context(self._checked(frame, self.given))

    def decode(self, x: Tensor) -> "pandas.DataFrame":
        """The features of rows that a model gave, each in its own type and within its bounds.

        Args:
            x: (rows, len(self)).

        Raises:
            ValueError: if x has another shape.
        """
        pd = require("pandas", "diffeo.data")
        if x.dim() != 2 or x.shape[1] != len(self):
            raise ValueError(f"Columns: expected shape (rows, {len(self)}), got {tuple(x.shape)}")
        given = x.detach().cpu().numpy()
        return pd.DataFrame(
            {
                column.name: codes.decode(column, given[:, i])
                for i, column in enumerate(self.features)
            }
        )

    def complete(self, frame: "pandas.DataFrame") -> "tuple[pandas.DataFrame, int]":
        """The rows without gaps in the columns that are used, and how many others there were.

        Rows keep their labels, so that messages name the right lines.
        """
        named = self._named(frame, (*self.features, *self.given))
        roles = {column.name: column.role for column in self.columns}
        return without_gaps(frame, named, [n for n in named if roles.get(n) in USED])

    def check_possible(self, frame: "pandas.DataFrame") -> None:
        """Refuses rows that have no probability, whatever a model learns.

        Raises:
            DataError: at the first value that lies beyond a feature's bounds, or is a category
                that is unknown, naming the file, line and column.
        """
        if lines := self.why_impossible(frame):
            raise DataError(lines[0])

    def why_impossible(self, frame: "pandas.DataFrame") -> list[str]:
        """A line for each column with values that have no probability, naming the first of them."""
        outside = self.impossible(frame)
        frame = self._checked(frame, self.features)
        lines = []
        for column, wrong in zip(self.features, map(np.flatnonzero, outside.T), strict=True):
            if len(wrong):
                series = series_of(frame, column.name)
                value = shown(series.iloc[int(wrong[0])])
                what = "is an unknown category" if column.kind == "category" else "is out of range"
                lines.append(
                    f"{at(series, column.name, int(wrong[0]))}: {value} {what}{and_more(wrong)}; "
                    f"the column is {phrase(column)} in the table to learn from"
                )
        return lines

    def impossible(self, frame: "pandas.DataFrame") -> np.ndarray:
        """Which values have no probability, whatever a model learns: (rows, len(self)), bool.

        Raises:
            DataError: as `encode` does.
        """
        x = self.encode(frame).x.numpy()
        pairs = zip(self.features, x.T, strict=True)
        return np.stack([codes.impossible(column, values) for column, values in pairs], axis=1)

    def describe(self) -> list[tuple[str, str]]:
        """Each column's name, and what it is taken for, in words."""
        return [(column.name, phrase(column)) for column in self.columns]

    def warnings(self, frame: "pandas.DataFrame") -> list[str]:
        """A line for each thing in a table that a model of it will suffer from.

        See `diffeo.data.checks`.
        """
        return checks.warnings(self.features, self._checked(frame, self.features))

    def to_json(self) -> list[dict[str, Any]]:
        """The schema as plain values."""
        return [column.to_json() for column in self.columns]

    @classmethod
    def from_json(cls, columns: Any) -> "Columns":
        """The schema that `to_json` gave.

        Raises:
            DataError: if it is not one, or one of a newer version.
        """
        if isinstance(columns, (str, Mapping)) or not isinstance(columns, Sequence):
            raise DataError("the schema is no list of columns; the file is damaged")
        for i, column in enumerate(columns):
            if not isinstance(column, Mapping) or not isinstance(column.get("name"), str):
                raise DataError(f"column {i + 1} of the schema has no name; the file is damaged")
        return cls(tuple(Column.from_json(column) for column in columns))

    def _context(self, frame: "pandas.DataFrame") -> Tensor:
        parts = []
        for column in self.given:
            series = series_of(frame, column.name)
            parts.append(codes.encode_context(column, series))
            if line := checks.unfamiliar(column, series, parts[-1]):
                warnings.warn(line, stacklevel=4)
        return torch.from_numpy(np.concatenate(parts, axis=1))

    def _weights(self, frame: "pandas.DataFrame") -> Tensor:
        name = str(self.weight)
        series = series_of(frame, name)
        with _decided():
            values = numbers(series, name)
        wrong = np.flatnonzero((values < 0) | (values > codes.LARGEST))
        if len(wrong):
            raise DataError(
                f"{at(series, name, int(wrong[0]))}: {values[wrong[0]]:g} can't be a weight"
                f"{and_more(wrong)}; weights are numbers from 0"
            )
        return torch.from_numpy(values.astype(np.float32))

    def _named(self, frame: "pandas.DataFrame", needed: Sequence[Column]) -> "pandas.DataFrame":
        named = with_names(frame)
        if not frame.attrs.get("unnamed"):
            return named
        every = [column.name for column in self.columns]
        used = [column.name for column in self.columns if column.role in USED]
        must = [column.name for column in self.columns if column in needed]
        for names in (every, used, must):
            if len(names) == len(named.columns):
                return named.set_axis(names, axis=1)
        return named

    def _checked(self, frame: "pandas.DataFrame", needed: Sequence[Column]) -> "pandas.DataFrame":
        frame = self._named(frame, needed)
        found = [str(name) for name in frame.columns]
        known = [column.name for column in self.columns]
        absent = [column for column in needed if column.name not in found]
        extra = [name for name in found if name not in known]
        problems = []
        for role, noun in (("feature", "column"), ("context", "context column")):
            if names := [column.name for column in absent if column.role == role]:
                problems.append(f"lacks the {plural(noun, names)}")
        if extra:
            problems.append(f"has the unknown {plural('column', extra)}")
        if problems:
            must = [column.name for column in self.columns if column.role in ("feature", "context")]
            advice = f"the columns must be {listed(must)}"
            raise DataError(f"{where(frame)}{' and '.join(problems)}; {advice}")
        return frame


@contextmanager
def _decided() -> Iterator[None]:
    """Leaves out of messages the options that say what a column holds: here that is settled."""
    try:
        yield
    except DataError as error:
        raise DataError(error.problem) from None


_ROLE_WORDS = {"context": "context", "weight": "the weight", "dropped": "dropped"}
