"""Progress of training: a bar in a terminal; elsewhere a line now and then."""

import math
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from diffeo.cli.console import Console, duration

if TYPE_CHECKING:
    from diffeo.train import History

EVERY = 10.0
"""Seconds between lines."""


def progress_of(console: Console) -> "bool | Callable[[History], None]":
    """What to give `fit` as `progress`."""
    if console.quiet:
        return False
    return True if sys.stderr.isatty() else Lines(console)


class Lines:
    """Prints a line on stderr after an evaluation, if the last is a while ago."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.last = time.monotonic()

    def __call__(self, history: "History") -> None:
        now = time.monotonic()
        if not history.steps[-1]:  # the preparations are over
            self.last = now
        if now - self.last < EVERY:
            return
        self.last = now
        held_out = history.validation[-1]
        figure = f", held-out rows {held_out:.3f} nats a row" if math.isfinite(held_out) else ""
        self.console.note(f"step {history.steps[-1]:,}, {duration(history.seconds[-1])}{figure}")
