"""What flags say about columns: kinds, bounds, lists of names, values."""

import difflib
import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from diffeo.cli.errors import CommandError, mistakes

if TYPE_CHECKING:
    from diffeo.data.bounds import Bound


def names_among(values: Iterable[str], known: Sequence[str]) -> list[str]:
    """The columns of a flag that was given once or more, with commas between names.

    A name that holds a comma is taken whole where there is such a column.
    """
    names: list[str] = []
    for value in values:
        names += [value] if value in known else [part.strip() for part in value.split(",")]
    return list(dict.fromkeys(names))


def kinds(values: Iterable[str]) -> dict[str, str]:
    """Kinds by column or pattern, of values COLUMN=KIND.

    Raises:
        CommandError: if a value has no =, or a column stands twice.
    """
    return dict(_pairs("--type", values, "zip=category"))


def bounds(values: Iterable[str]) -> "dict[str, tuple[Bound, Bound]]":
    """Ends by column, of values COLUMN=LOWER:UPPER.

    Raises:
        CommandError: if a value can't be understood, or a column stands twice.
    """
    from diffeo.data.bounds import parse_bounds

    found = {}
    for name, text in _pairs("--bounds", values, "age=0:120"):
        with mistakes():
            found[name] = parse_bounds(text)
    return found


def values(flag_values: Iterable[str], known: Sequence[str]) -> dict[str, str]:
    """Values by column, of COLUMN=VALUE,COLUMN=VALUE.

    A comma starts the next pair only where a known column and = follow it, so that values may hold
    commas, and names too.

    Raises:
        CommandError: if a value has no =, or a column is unknown or stands twice.
    """
    found: dict[str, str] = {}
    last = None
    for value in flag_values:
        for i, part in enumerate(_at_commas(value, known)):
            # The longest name that fits: names can hold = too.
            fitting = [name for name in known if part.strip().startswith(f"{name}=")]
            if fitting:
                last = max(fitting, key=len)
                if last in found:
                    raise CommandError(f"--given: column {last!r} is given twice")
                found[last] = part.strip()[len(last) + 1 :]
            elif i and last is not None and not re.match(r"\s*\w[\w .-]*=", part):
                found[last] += "," + part
            elif "=" in part:
                name = part.partition("=")[0].strip()
                raise CommandError(
                    f"--given: the model has no context column {name!r}{_nearest(name, known)}"
                )
            else:
                raise CommandError(f"--given {value}: write it as site=B,temp=20")
    return found


def _at_commas(text: str, known: Sequence[str]) -> list[str]:
    """The text divided at its commas, those aside that are in a known name before =."""
    names = sorted((name for name in known if "," in name), key=len, reverse=True)
    inside = "|".join(f"{re.escape(name)}=" for name in names)
    pieces = re.findall(
        rf"(?:^|,)((?:\s*(?:{inside}))?[^,]*)" if inside else r"(?:^|,)([^,]*)", text
    )
    return pieces or [text]


def _pairs(flag: str, given: Iterable[str], example: str) -> list[tuple[str, str]]:
    pairs: list[tuple[str, str]] = []
    for value in given:
        name, sign, text = value.rpartition("=")
        if not sign or not name or not text:
            raise CommandError(f"{flag} {value}: write it as {example}")
        if name in dict(pairs):
            raise CommandError(f"{flag}: column {name!r} is given twice")
        pairs.append((name, text))
    return pairs


def _nearest(name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    shown: Any = ", ".join(known[:8]) + (", …" if len(known) > 8 else "")
    return f"; did you mean {near[0]!r}?" if near else f"; there are: {shown or 'none'}"
