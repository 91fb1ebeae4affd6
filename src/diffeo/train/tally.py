"""What the steps of a run add up to."""

import math
import time
from typing import Any


class Tally:
    """Counts of steps and rows, and time; apart from the module, whose attributes are slow to set.

    With several processes all of them have the same counts, but each its own clock.
    """

    def __init__(self) -> None:
        self.steps = self.skipped = self.skipped_on_end = self.rows = 0
        self.began = time.monotonic()
        self.clock = 0.0
        """Seconds since training began, as all processes agreed at the last step."""
        self._total, self._taken = 0.0, 0

    def start(self) -> None:
        """Time runs from here."""
        self.began = time.monotonic()

    def add(self, value: float | None, rows: int) -> None:
        """Counts a step of that objective; None for one that was skipped."""
        self.steps += 1
        self.rows += rows
        if value is None:
            self.skipped += 1
            self.skipped_on_end += 1
        else:
            self.skipped_on_end = 0
            self._total -= value
            self._taken += 1

    @property
    def seconds(self) -> float:
        """Since training began, the time between parts of a resumed run left out."""
        return time.monotonic() - self.began

    def take_mean(self) -> float:
        """Minus the mean objective since the last call; NaN where no step was taken."""
        mean = self._total / self._taken if self._taken else math.nan
        self._total, self._taken = 0.0, 0
        return mean

    def state(self) -> dict[str, Any]:
        """All of it as plain numbers."""
        return {
            "steps": self.steps,
            "skipped": self.skipped,
            "skipped_on_end": self.skipped_on_end,
            "rows": self.rows,
            "total": self._total,
            "taken": self._taken,
            "seconds": self.seconds,
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Goes on from what `state` gave."""
        self.steps, self.skipped = state["steps"], state["skipped"]
        self.skipped_on_end, self.rows = state["skipped_on_end"], state["rows"]
        self._total, self._taken = state["total"], state["taken"]
        self.clock = state["seconds"]
        self.began = time.monotonic() - state["seconds"]
