"""Where all that a person reads goes: results to stdout, what happens meanwhile to stderr."""

import json
import math
import shutil
import sys
import textwrap
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from diffeo.quantities import duration


class Console:
    """Prints for a person, or one JSON object for a program.

    Args:
        quiet: whether to keep silent about what happens meanwhile.
        json: whether stdout gets `result` as JSON and nothing else; the lines for a person then
            go to stderr.
    """

    def __init__(self, quiet: bool = False, json: bool = False) -> None:
        self.quiet, self.json = quiet, json
        self.started = time.monotonic()
        self.words: Sequence[str] = ()
        self.result: dict[str, Any] = {}
        self.warnings: list[str] = []

    def say(self, line: str = "") -> None:
        """A line of the result, on stdout."""
        if self.json:
            self.note(line)
        else:
            print(line)

    def finish(self) -> None:
        """Prints `result` with the warnings, if JSON is wanted. What is not finite is null."""
        if self.json:
            from diffeo.io import finite

            whole = {**self.result, "warnings": self.warnings}
            print(json.dumps(finite(whole), ensure_ascii=False, allow_nan=False))

    def rows(self, rows: Sequence[Sequence[str]], *, indent: int = 2) -> None:
        """Rows of a table, columns aligned; the last is wrapped to the terminal's width."""
        columns = max(map(len, rows), default=0) - 1
        widths = [max(len(row[i]) for row in rows if len(row) > i) for i in range(columns)]
        taken = indent + sum(widths) + 2 * columns
        room = max(30, shutil.get_terminal_size((100, 24)).columns - taken)
        for row in rows:
            start = "".join(cell.ljust(w) + "  " for cell, w in zip(row, widths, strict=False))
            last = "".join(row[columns:])
            first, *more = textwrap.wrap(last, room, break_on_hyphens=False) or [""]
            self.say((" " * indent + start + first).rstrip())
            for line in more:
                self.say(" " * taken + line)

    def note(self, line: str) -> None:
        """A line about what happens, on stderr; none when quiet."""
        if not self.quiet:
            print(line, file=sys.stderr, flush=True)

    def warn(self, line: str) -> None:
        """A line that the person should see even when quiet, on stderr."""
        self.warnings.append(line)
        print(f"diffeo: {line}", file=sys.stderr, flush=True)

    @property
    def elapsed(self) -> str:
        """The time since the command began."""
        return duration(time.monotonic() - self.started)


@contextmanager
def told_plainly(console: Console) -> Iterator[None]:
    """Shows warnings as a line each, without the place in the program that they come from."""

    def show(message: Warning | str, category: type[Warning], *place: object) -> None:
        console.warn(" ".join(str(message).split()))

    with warnings.catch_warnings():
        warnings.showwarning = show  # type: ignore[assignment]
        yield


def estimate(mean: float, error: float | None) -> str:
    """A mean with its standard error, where that is known: a single row has none."""
    if error is None or not math.isfinite(error):
        return number(mean)
    return f"{number(mean)} ± {number(error)}"


def number(value: float, digits: int = 4) -> str:
    """A figure with enough digits to compare it, or what it is if it is not finite."""
    if math.isnan(value):
        return "not a number"
    return f"{value:,.{digits}f}" if math.isfinite(value) else ("−∞" if value < 0 else "∞")
