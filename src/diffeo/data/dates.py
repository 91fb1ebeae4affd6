"""Dates and times: read from text or columns of their own, counted in steps, given back."""

import datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from diffeo.data.categories import distinct
from diffeo.data.errors import DataError
from diffeo.data.messages import and_more, at, shown
from diffeo.data.numbers import check_complete, is_text

if TYPE_CHECKING:
    import pandas

UNITS = {
    "day": "D",
    "hour": "h",
    "minute": "m",
    "second": "s",
    "millisecond": "ms",
    "microsecond": "us",
    "nanosecond": "ns",
}
"""The steps of dates and times, from the coarsest, and what NumPy calls them."""

_EPOCH_ENDS = {
    "ns": ("1678-01-01", "2262-01-01"),
    "else": ("0001-01-01", "9999-12-31"),
}


def instants(column: "pandas.Series", name: str) -> tuple[np.ndarray, str | None]:
    """The moments of a column as datetime64 in UTC, and its time zone, if it has one.

    Text is read as ISO 8601: 2024-05-17, 2024-05-17 08:30, 2024-05-17T08:30:15.25+02:00. Text with
    differences from UTC is in the zone "UTC".

    Raises:
        DataError: if a value is missing or none, or only some have a time zone.
    """
    check_complete(column, name)
    if hasattr(column.dtype, "tz") or str(column.dtype).startswith("datetime64"):
        zone = getattr(column.dtype, "tz", None)
        if zone is None:
            return column.to_numpy(), None
        utc: Any = column.dt.tz_convert("UTC").dt.tz_localize(None)
        return utc.to_numpy(), _zone_name(zone)
    codes, values = distinct(column, name)
    moments, zoned = parse_instants(values)
    wrong = np.flatnonzero(np.isnat(moments)[codes])
    if len(wrong):
        value = values[codes[wrong[0]]]
        raise DataError(
            f"{at(column, name, int(wrong[0]))}: {shown(value)} is not a date or time"
            f"{and_more(wrong)}; write it as 2024-05-17 or 2024-05-17T08:30:00, or --drop {name}"
        )
    if zoned.any() and not zoned.all():
        first = int(np.flatnonzero(~zoned[codes])[0])
        raise DataError(
            f"{at(column, name, first)}: {shown(values[codes[first]])} has no time zone, as other "
            "values of the column do; write all with one, or all without"
        )
    return moments[codes], "UTC" if zoned.any() else None


def parse_instants(values: list[Any]) -> tuple[np.ndarray, np.ndarray]:
    """Each value as datetime64 in UTC (NaT: it is none), and whether it names a time zone."""
    import pandas as pd

    fit = [
        # datetime.datetime and pandas.Timestamp are dates too; a year alone is a number.
        (value[:4].isdigit() and len(value) > 4)
        if isinstance(value, str)
        else isinstance(value, datetime.date)
        for value in values
    ]
    zoned = np.zeros(len(values), bool)
    kept = [value if ok else None for value, ok in zip(values, fit, strict=True)]
    if not any(fit):
        return np.full(len(values), np.datetime64("NaT", "us")), zoned
    made: Any = pd.to_datetime(
        pd.Series(kept, dtype=object), format="ISO8601", errors="coerce", utc=True
    )
    moments = made.dt.tz_localize(None).to_numpy()
    for i, value in enumerate(kept):
        if isinstance(value, str):
            # After the time, which begins at the 11th place: Z, +02:00, -0230.
            if tail := value[11:]:
                zoned[i] = tail[-1] in "Zz" or "+" in tail or "-" in tail
        elif isinstance(value, datetime.datetime):
            zoned[i] = value.tzinfo is not None
    return moments, zoned


def coarsest(moments: np.ndarray) -> str:
    """The largest of `UNITS` of which every moment is a whole number."""
    for step, unit in UNITS.items():
        if (moments.astype(f"M8[{unit}]") == moments).all():
            return step
    return "nanosecond"


def ticks(moments: np.ndarray, step: str) -> tuple[np.ndarray, np.ndarray]:
    """The number of whole steps from 1970-01-01 to each moment, and which are no whole number."""
    counted = moments.astype(f"M8[{UNITS[step]}]")
    return counted.astype(np.int64), counted != moments


def from_ticks(
    counted: np.ndarray, step: str, unit: str = "us", zone: str | None = None
) -> "pandas.Series":
    """The moments of `ticks`, kept within the years 1 … 9999 (nanoseconds: 1678 … 2261).

    Args:
        counted: steps from 1970-01-01.
        step: one of `UNITS`.
        unit: of the result, one of pandas' units: s, ms, us, ns.
        zone: name of the time zone, if any.
    """
    import pandas as pd

    fine = "ns" in (UNITS[step], unit)
    lowest, highest = (
        np.datetime64(end, UNITS[step]).astype(np.int64)
        for end in _EPOCH_ENDS["ns" if fine else "else"]
    )
    counted = np.clip(counted.astype(np.int64), lowest, highest)
    moments: Any = pd.Series(counted.astype(f"M8[{UNITS[step]}]").astype(f"M8[{unit}]"))
    return moments if zone is None else moments.dt.tz_localize("UTC").dt.tz_convert(zone)


def moment(counted: int, step: str) -> str:
    """The moment so many steps after 1970-01-01, as text."""
    return str(np.array(counted).astype(f"M8[{UNITS[step]}]"))


def are_dates(column: "pandas.Series") -> bool:
    """Whether a column is of dates and times by its type."""
    return not is_text(column) and str(column.dtype).startswith("datetime64")


def as_tick(value: object, step: str, up: bool) -> int:
    """A bound, such as "2024-05-17", in whole steps, rounded into the interval.

    Raises:
        ValueError: if it is no date or time.
    """
    import pandas as pd

    if isinstance(value, (int, float)):
        raise ValueError(f"{value!r} is not a date or time")
    moment = pd.Timestamp(value)  # type: ignore[arg-type]
    if moment.tzinfo is not None:
        moment = moment.tz_convert("UTC").tz_localize(None)
    counted, between = ticks(np.array([moment.to_datetime64()]), step)
    return int(counted[0]) + (1 if up and between[0] else 0)


def _zone_name(zone: object) -> str:
    import pandas as pd

    try:
        pd.Timestamp("2024-01-01", tz=str(zone))
    except Exception:  # whatever library made the zone, its name may be known to no other
        return "UTC"
    return str(zone)
