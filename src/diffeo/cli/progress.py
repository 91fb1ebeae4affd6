"""Progress of training: a bar in a terminal; elsewhere a line now and then."""

import math
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from diffeo.cli.console import Console
from diffeo.quantities import duration

if TYPE_CHECKING:
    from diffeo.train import History

EVERY = 10.0
"""Seconds between lines."""


def progress_of(
    console: Console,
    *,
    steps: int | None = None,
    dimensions: int | None = None,
    noun: str = "row",
    words: Callable[[float], str] | None = None,
) -> "bool | Callable[[History], None]":
    """What to give `fit` as `progress`.

    Args:
        steps: how many there will be, where that is known.
        dimensions: of a row, where bits/dim are wanted beside nats.
        noun: what a row is called.
        words: says a held-out figure; None for `in_nats`.
    """
    if console.quiet:
        return False
    return True if sys.stderr.isatty() else Lines(console, steps, dimensions, noun, words)


@contextmanager
def drawing(console: Console, what: str) -> "Iterator[Callable[[int, int], None] | None]":
    """A block with something to tell how many are done, and of how many: a bar, or lines.

    Args:
        console: to tell on.
        what: are done, "samples drawn".
    """
    if console.quiet:
        yield None
        return
    if not sys.stderr.isatty():
        yield Done(console, what)
        return
    from tqdm import tqdm

    with tqdm(file=sys.stderr, desc=what, unit="", unit_scale=True, leave=False) as bar:

        def show(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield show


class Done:
    """Prints a line on stderr with how many are done, if the last is a while ago.

    Args: as `drawing`.
    """

    def __init__(self, console: Console, what: str) -> None:
        self.console, self.what, self.last = console, what, time.monotonic()

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        if now - self.last > EVERY:
            self.last = now
            self.console.note(f"{done:,} of {total:,} {self.what} ({self.console.elapsed})")


class Lines:
    """Prints a line on stderr after an evaluation, if the last is a while ago.

    Args: as `progress_of`.
    """

    def __init__(
        self,
        console: Console,
        steps: int | None = None,
        dimensions: int | None = None,
        noun: str = "row",
        words: Callable[[float], str] | None = None,
    ) -> None:
        self.console, self.noun = console, noun
        self.words = words or (lambda value: in_nats(value, dimensions, noun))
        self.total = "" if steps is None else f" of {steps:,}"
        self.last = time.monotonic()

    def __call__(self, history: "History") -> None:
        now = time.monotonic()
        if not history.steps[-1]:  # the preparations are over
            self.last = now
        if now - self.last < EVERY:
            return
        self.last = now
        told = [f"step {history.steps[-1]:,}{self.total}", duration(history.seconds[-1])]
        held_out = history.validation[-1]
        if math.isfinite(held_out):
            told.append(f"held-out {self.noun}s {self.words(held_out)}")
        self.console.note(", ".join(told))


def in_nats(log_likelihood: float, dimensions: int | None, noun: str = "row") -> str:
    """A mean log-likelihood of rows, in bits/dim too where the dimensions are given."""
    nats = f"{log_likelihood:.3f} nats {'an' if noun == 'image' else 'a'} {noun}"
    if dimensions is None:
        return nats
    from diffeo.train import bits_per_dim

    return f"{nats} ({bits_per_dim(log_likelihood, dimensions):.3f} bits/dim)"
