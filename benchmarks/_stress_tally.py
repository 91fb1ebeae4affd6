"""What goes wrong with a map at its edges, counted, and its line of the table."""

import sys
from dataclasses import dataclass, field

from torch import Tensor

HUGE = 1e37
"""What float32 is not asked to hold."""
HEADER = [
    "| map | library | scale | exceptions, calls | not finite | round trips beyond the bound | "
    "largest error / bound | log-derivatives beyond 1e-4 |",
    "| --- | --- | --- | --- | --- | --- | --- | --- |",
]


@dataclass
class Tally:
    """What went wrong."""

    points: int = 0
    exceptions: dict[str, int] = field(default_factory=dict)
    not_finite: int = 0
    round_trips: int = 0
    worst: float = 0.0
    log_derivatives: int = 0

    def raised(self, error: Exception) -> None:
        """Counts a call that raised."""
        name = type(error).__name__
        self.exceptions[name] = self.exceptions.get(name, 0) + 1

    def add(
        self, held: Tensor, numbers: tuple[Tensor, ...], share: Tensor, log_off: Tensor
    ) -> None:
        """Counts what was found at some points.

        Args:
            held: where float32 can hold the exact values.
            numbers: what the map said.
            share: errors of the round trips over what is allowed.
            log_off: errors of the log-derivatives over what is allowed.
        """
        finite, nan = numbers[0].isfinite(), numbers[0].isnan()
        for number in numbers[1:]:
            finite, nan = finite & number.isfinite(), nan | number.isnan()
        self.not_finite += int((nan | held & ~finite).sum())
        judged = held & finite
        self.round_trips += int((share > 1)[judged].sum())
        self.worst = max([self.worst, *share[judged].tolist()])
        self.log_derivatives += int((log_off > 1)[judged].sum())

    def line(self, name: str, library: str, scale: str) -> str:
        """The table's line, which is also shown."""
        raised = ", ".join(f"{n} {error}" for error, n in self.exceptions.items()) or "0"
        cells = [name, library, scale, raised, f"{self.not_finite:,}"]
        cells += [f"{self.round_trips:,}", f"{self.worst:.2g}", f"{self.log_derivatives:,}"]
        line = f"| {' | '.join(cells)} |"
        print(line, file=sys.stderr, flush=True)
        return line
