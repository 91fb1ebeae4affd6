"""The schema of one column: what it holds, how it is counted, and what a model may give."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from diffeo.data.categories import Value
from diffeo.data.dates import UNITS
from diffeo.data.errors import DataError

KINDS = ("real", "integer", "category", "step", "datetime")
"""The kinds of columns there are."""

ROLES = ("feature", "context", "weight", "dropped")
"""What a column is to a model: modelled, conditioned on, the weights of the rows, or nothing."""


@dataclass(frozen=True)
class Column:
    """A column of a table.

    A model sees a column as *codes*, in float32:

    - real: value − offset;
    - integer, step, datetime: the whole number value / step − offset, where moments are counted
      from 1970 in UTC;
    - category: 0 … K − 1, the place in `values`.

    Whole numbers get noise in [0, 1) added in front of a density (dequantization), and float32 has
    to hold both. Where the codes fill more than 2¹⁸ numbers it can't: they are `continuous`, and
    modelled as if they were real. The density of a code is then, to first order, the probability
    of its step.

    Args:
        name: as in the file.
        kind: one of `KINDS`.
        role: one of `ROLES`.
        offset: subtracted, in the value's unit for a real column, else in steps.
        step: of a step column a number such as 0.01; of a datetime column one of
            `diffeo.data.dates.UNITS`, such as "day".
        values: of a category column, in order.
        lower: smallest code that there can be, if there is a bound.
        upper: largest such code.
        continuous: whether whole numbers are modelled as real ones.
        margin: how far inside its bounds a real column's value on a bound is put.
        mean: of the codes of a context column.
        std: standard deviation of the same.
        least: smallest of the same, where it is known.
        greatest: largest of the same.
        unit: of a datetime column's type: s, ms, us or ns.
        zone: name of a datetime column's time zone, if it has one.

    Raises:
        DataError: if a field has a value that it can't have.
    """

    name: str
    kind: str = "real"
    role: str = "feature"
    offset: int | float = 0
    step: int | float | str | None = None
    values: tuple[Value, ...] = ()
    lower: int | float | None = None
    upper: int | float | None = None
    continuous: bool = False
    margin: int | float = 0.0
    mean: int | float = 0.0
    std: int | float = 1.0
    least: int | float | None = None
    greatest: int | float | None = None
    unit: str = "us"
    zone: str | None = None

    def __post_init__(self) -> None:
        _check({name: getattr(self, name) for name in self.__dataclass_fields__})

    @property
    def is_whole(self) -> bool:
        """Whether the column is of whole steps: integers, multiples of a step, or moments."""
        return self.kind in ("integer", "step", "datetime")

    @property
    def width(self) -> int:
        """How many numbers the column is as context: the number of categories, else one."""
        return len(self.values) if self.kind == "category" else 1

    @property
    def support(self) -> dict[str, Any]:
        """Where the codes lie: `lower`, `upper` and `integer`, as far as they are bound.

        Whole numbers that are modelled as real ones may lie half a step beyond their ends.
        """
        if self.kind == "category":
            return {"lower": 0.0, "upper": float(max(len(self.values) - 1, 1)), "integer": True}
        ends = {"lower": self.lower, "upper": self.upper}
        found: dict[str, Any] = {side: float(end) for side, end in ends.items() if end is not None}
        if not self.is_whole:
            return found
        if self.continuous:
            # Half a step, or where float32 can't tell that apart, a few of the steps it can.
            signs = {"lower": -1, "upper": 1}
            return {n: end + signs[n] * max(0.5, 1e-6 * abs(end)) for n, end in found.items()}
        if "lower" in found and "upper" in found:
            found["upper"] = max(found["upper"], found["lower"] + 1)
        return {**found, "integer": True}

    def to_json(self) -> dict[str, Any]:
        """The schema as plain values; what is as usual is left out."""
        plain = {name: getattr(self, name) for name in self.__dataclass_fields__}
        usual = {
            name: field.default
            for name, field in self.__dataclass_fields__.items()
            if name not in ("name", "kind")
        }
        made = {n: v for n, v in plain.items() if n not in usual or v != usual[n]}
        if self.values:
            made["values"] = list(self.values)
        return made

    @classmethod
    def from_json(cls, entries: Mapping[str, Any]) -> "Column":
        """The column that `to_json` gave.

        Raises:
            DataError: if it is not one, or one of a newer version.
        """
        if unknown := sorted(set(map(str, entries)) - set(cls.__dataclass_fields__)):
            raise DataError(
                f"column {entries['name']!r} of the schema has the unknown entry {unknown[0]!r} "
                "(made by a newer diffeo? upgrade with pip install -U diffeo)"
            )
        made = dict(entries)
        if isinstance(made.get("values"), list):
            made["values"] = tuple(made["values"])
        usual = {
            name: field.default
            for name, field in cls.__dataclass_fields__.items()
            if name != "name"
        }
        _check({**usual, **made})
        return cls(**made)


def _check(entries: Mapping[str, Any]) -> None:
    """Refuses what no column can be, whatever types the entries have."""
    name, kind = entries["name"], entries["kind"]
    if kind not in KINDS:
        raise DataError(
            f"column {name!r}: unknown kind {kind!r}; this diffeo knows {', '.join(KINDS)} (made "
            "by a newer one? upgrade with pip install -U diffeo)"
        )
    lower, upper, step, values = (entries[key] for key in ("lower", "upper", "step", "values"))
    whole = kind != "real"
    number_or_none = {
        side: end is None or _is_number(end, whole)
        for side, end in (("lower", lower), ("upper", upper))
    }
    right = {
        "role": entries["role"] in ROLES,
        "offset": _is_number(entries["offset"], whole),
        "step": {
            "step": _is_number(step) and step > 0,
            "datetime": isinstance(step, str) and step in UNITS,
        }.get(kind, step is None),
        "values": isinstance(values, tuple)
        and all(isinstance(value, (str, int)) or _is_number(value) for value in values)
        and len({(type(value), value) for value in values}) == len(values)
        and (kind == "category") == bool(values),
        **number_or_none,
        "continuous": isinstance(entries["continuous"], bool),
        "margin": _is_number(entries["margin"]) and entries["margin"] >= 0,
        "mean": _is_number(entries["mean"]),
        "std": _is_number(entries["std"]) and entries["std"] > 0,
        "least": entries["least"] is None or _is_number(entries["least"]),
        "greatest": entries["greatest"] is None or _is_number(entries["greatest"]),
        "unit": entries["unit"] in ("s", "ms", "us", "ns"),
        "zone": entries["zone"] is None or isinstance(entries["zone"], str),
    }
    if right["lower"] and right["upper"] and None not in (lower, upper):
        right["upper"] = lower <= upper
    for entry, ok in right.items():
        if not ok:
            raise DataError(
                f"column {name!r} of the schema: {entry} can't be {entries[entry]!r}; the file is "
                "damaged"
            )


def _is_number(value: object, whole: bool = False) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return math.isfinite(value) and (not whole or value == round(value))
