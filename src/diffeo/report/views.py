"""How a column is shown: real and drawn values as numbers on one axis, whatever they are."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.dates import (
    HOURLY,
    MINUTELY,
    MONTHLY,
    SECONDLY,
    AutoDateLocator,
    ConciseDateFormatter,
)

from diffeo.report.style import shorten

if TYPE_CHECKING:
    import pandas

Table = Any
"""An array (rows, columns) or a data frame."""

MOST_BARS = 24
"""A column of evenly spaced values with at most so many places is drawn as bars."""
MOST_CATEGORIES = 20
"""Categories that have a bar; the rest, less frequent, share one."""
OTHER = "other"
DATE_TICKS = ["%Y", "%b %Y", "%d %b", "%H:%M", "%H:%M", "%S.%f"]
"""Words of ticks that are years, months, days, hours, minutes or seconds apart."""
NEXT_TICKS = ["", "%Y", "%b %Y", "%d %b", "%H:%M", "%H:%M"]
"""The same where a tick begins the next longer time."""
DATES = "datetime"


@dataclass(frozen=True)
class View:
    """A column of the data and of the samples, as numbers on one axis.

    Values of a category are its place among `labels`; datetimes are days, as matplotlib counts.
    """

    name: str
    data: np.ndarray
    samples: np.ndarray
    kind: str = "line"
    """"line", "bars" (whole multiples of `step`), "categories" or "datetime"."""
    step: float = 0.0
    """The distance between neighbouring values, where they are evenly spaced; else 0."""
    labels: tuple[str, ...] = ()

    @property
    def bars(self) -> bool:
        """Whether values are few enough for a bar each."""
        return self.kind in ("bars", "categories")

    @property
    def limits(self) -> tuple[float, float]:
        """The range of the data with a little room, single far values aside."""
        if self.kind == "categories":
            return -0.6, max(len(self.labels), 1) - 0.4
        values = self.data[np.isfinite(self.data)]
        if not len(values):
            return -1.0, 1.0
        if self.kind == "bars":
            return float(values.min() - 0.7 * self.step), float(values.max() + 0.7 * self.step)
        low, high = np.quantile(values, [0.002, 0.998])
        room = 0.05 * (high - low) or 0.5 * (abs(high) or 1.0)
        return float(low - room), float(high + room)

    def edges(self, rows: int) -> np.ndarray:
        """Edges of a histogram's bins, between whole steps where the column has steps."""
        low, high = self.limits
        count = min(40, max(8, round(2 * rows ** (1 / 3))))
        if not self.step:
            return np.linspace(low, high, count + 1)
        width = max(1, round((high - low) / (count * self.step))) * self.step
        first = np.floor((low - self.data.min()) / width) * width + self.data.min() - self.step / 2
        return np.arange(first, high + width, width)

    def places(self) -> np.ndarray:
        """Where the bars stand."""
        if self.kind == "categories":
            return np.arange(len(self.labels), dtype=float)
        low, high = np.nanmin(self.data), np.nanmax(self.data)
        return low + self.step * np.arange(round((high - low) / self.step) + 1)

    def label(self, axes: Axes, axis: Literal["x", "y"] = "x", most: int = 10) -> None:
        """Ticks of the axis: few numbers, dates, or the names of categories."""
        which = axes.xaxis if axis == "x" else axes.yaxis
        if self.kind == "categories":
            upright = len(self.labels) > 5 or sum(map(len, self.labels)) > 18
            which.set_ticks(
                range(len(self.labels)),
                [shorten(name, most) for name in self.labels],
                fontsize=8 if len(self.labels) <= 8 else 6.5,
                rotation=90 if upright and axis == "x" else 0,
            )
        elif self.kind == DATES:
            locator = AutoDateLocator(minticks=2, maxticks=4)
            for frequency, whole in ((MONTHLY, 12), (HOURLY, 24), (MINUTELY, 60), (SECONDLY, 60)):
                locator.intervald[frequency] = [*locator.intervald[frequency], whole]
            formatter = ConciseDateFormatter(
                locator, formats=DATE_TICKS, zero_formats=NEXT_TICKS, show_offset=False
            )
            which.set_major_locator(locator)
            which.set_major_formatter(formatter)
        else:
            axes.locator_params(axis=axis, nbins=4, integer=self.step >= 1)


def views(
    data: Table,
    samples: Table,
    names: Sequence[str] | None = None,
    *,
    categories: int = MOST_CATEGORIES,
) -> list[View]:
    """Both tables column by column.

    Args:
        data: rows that were given; an array or a data frame.
        samples: rows that the model drew, of the same columns.
        names: of the columns to show; all of a data frame when None.
        categories: that have a place of their own; the others share one.

    Raises:
        ValueError: if an array comes without names, or a column is missing.
    """
    if not hasattr(data, "columns"):
        if names is None:
            raise ValueError("pictures of an array need the names of its columns")
        pairs = zip(np.asarray(data).T, np.asarray(samples).T, strict=True)
        return [_numbers(str(name), *pair) for name, pair in zip(names, pairs, strict=False)]
    names = list(data.columns) if names is None else list(names)
    missing = [name for name in names if name not in data.columns or name not in samples.columns]
    if missing:
        raise ValueError(f"both tables must have the column {missing[0]!r}")
    return [_view(str(name), data[name], samples[name], categories) for name in names]


def is_category(column: "pandas.Series") -> bool:
    """Whether a column holds names rather than numbers or times; booleans are names."""
    from pandas.api import types

    return types.is_bool_dtype(column.dtype) or not (
        types.is_numeric_dtype(column.dtype) or is_time(column)
    )


def is_time(column: "pandas.Series") -> bool:
    """Whether a column holds points in time, or spans of it."""
    from pandas.api import types

    dtype = column.dtype
    return types.is_datetime64_any_dtype(dtype) or types.is_timedelta64_dtype(dtype)


def days(column: "pandas.Series") -> np.ndarray:
    """Points in time as days since 1970, spans as days; NaN where missing."""
    import pandas as pd

    spans: Any = column
    if pd.api.types.is_datetime64_any_dtype(column.dtype):
        local: Any = column.dt.tz_localize(None) if column.dt.tz is not None else column
        spans = local - pd.Timestamp(0)
    return (spans / pd.Timedelta(days=1)).to_numpy(dtype=float)


def _view(name: str, data: "pandas.Series", samples: "pandas.Series", categories: int) -> View:
    if is_category(data):
        return _categories(name, data, samples, categories)
    if is_time(data):
        kind = DATES if data.dtype.kind == "M" else "line"
        return View(name, days(data), days(samples), kind)
    numbers = (c.to_numpy(dtype=float, na_value=np.nan) for c in (data, samples))
    return _numbers(name, *numbers)


def _numbers(name: str, data: np.ndarray, samples: np.ndarray) -> View:
    data, samples = np.asarray(data, dtype=float), np.asarray(samples, dtype=float)
    step = _step(data)
    low, high = (np.nanmin(data), np.nanmax(data)) if step else (0.0, 0.0)
    # Dequantized neighbours of the data's steps would fall between bars: then it is no such column.
    drawn = samples[np.isfinite(samples)]
    aligned = bool(step) and np.allclose((drawn - low) % step, 0, atol=1e-3 * step)
    if step and not aligned:
        off = (drawn - low) % step
        aligned = bool(np.all(np.minimum(off, step - off) <= 1e-3 * step))
    if not aligned:
        return View(name, data, samples)
    few = (high - low) / step < MOST_BARS
    return View(name, data, samples, "bars" if few else "line", step)


def _step(values: np.ndarray) -> float:
    """The distance between neighbouring values if they lie on a lattice and repeat; else 0."""
    values = values[np.isfinite(values)]
    levels = np.unique(values)
    if len(levels) < 2 or 1.5 * len(levels) > len(values):
        return 0.0
    step = float(np.diff(levels).min())
    places = (levels - levels[0]) / step
    if not step > 1e-9 * float(np.abs(levels).max()) or places[-1] > 1e7:
        return 0.0
    return step if np.abs(places - places.round()).max() < 1e-2 else 0.0


def _categories(name: str, data: "pandas.Series", samples: "pandas.Series", most: int) -> View:
    import pandas as pd

    texts = [column.astype(object).map(str, na_action="ignore") for column in (data, samples)]
    counts = texts[0].value_counts()
    # What was drawn has a name as well, after what is in the data.
    more = texts[1].value_counts().drop(counts.index, errors="ignore")
    counts = pd.concat([counts, 0 * more])
    if data.dtype.name == "category" and data.cat.ordered:
        in_order = [str(value) for value in data.cat.categories if str(value) in counts.index]
    elif data.dtype.name in ("bool", "boolean"):
        in_order = [value for value in ("False", "True") if value in counts.index]
    else:
        in_order = [str(value) for value in counts.index]
    kept = set(counts.index[:most])
    shown = [value for value in in_order if value in kept]
    places = {value: i for i, value in enumerate(shown)}
    numbers = [
        text.map(lambda value: places.get(value, len(shown)), na_action="ignore").to_numpy(
            dtype=float, na_value=np.nan
        )
        for text in texts
    ]
    rest = any((number == len(shown)).any() for number in numbers)
    labels = (*shown, OTHER) if rest else tuple(shown)
    return View(name, numbers[0], numbers[1], "categories", 1.0, labels)
