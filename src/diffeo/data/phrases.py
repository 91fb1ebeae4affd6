"""What a column is taken for, in words."""

from diffeo.data.column import Column
from diffeo.data.dates import moment


def phrase(column: Column) -> str:
    """What a column is taken for: "integer 0 … 120", "category of 3: A, B, C", "date, in days"."""
    if column.role == "dropped":
        return "left out"
    if column.role == "weight":
        return "weight of the row"
    words = _kind(column)
    return f"{words} (context)" if column.role == "context" else words


def _kind(column: Column) -> str:
    if column.kind == "category":
        first = ", ".join(_printable(value) for value in column.values[:5])
        more = ", …" if len(column.values) > 5 else ""
        return f"category of {len(column.values)}: {first}{more}"
    lower, upper = (_end(column, end) for end in (column.lower, column.upper))
    if column.kind == "real":
        return f"real{_between(lower, upper, 'to')}"
    if column.kind == "integer":
        counts = " (counts)" if lower == "0" and upper is None else ""
        words = f"integer{_between(lower, upper, '…')}{counts}"
    elif column.kind == "step":
        words = f"multiples of {column.step:g}{_between(lower, upper, 'to')}"
    else:
        what = "date" if column.step == "day" else "date and time"
        zone = f" ({column.zone})" if column.zone else ""
        ends = _between(lower, upper, "to")
        words = f"{what}, in {column.step}s{',' if ends else ''}{ends}{zone}"
    return words + (", modelled as real" if column.continuous else "")


def _printable(value: object) -> str:
    text = str(value)
    return text if text.isprintable() else repr(text)


def _between(lower: str | None, upper: str | None, to: str) -> str:
    if lower is None and upper is None:
        return ""
    if upper is None:
        return f" {lower} …" if to == "…" else f" from {lower}"
    if lower is None:
        return f" up to {upper}"
    return f" {lower} {to} {upper}"


def _end(column: Column, end: int | float | None) -> str | None:
    if end is None:
        return None
    if column.kind == "real":
        return f"{end + column.offset:.6g}"
    steps = int(end) + int(column.offset)
    if column.kind == "datetime":
        return moment(steps, str(column.step))
    return f"{steps * column.step:.12g}" if isinstance(column.step, float) else str(steps)
