"""How a training run went, and the two ways in which it can end early with an exception."""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diffeo.density import Density
from diffeo.extras import require

if TYPE_CHECKING:
    import matplotlib.axes


@dataclass
class History:
    """What `fit` recorded: each list has an entry for each evaluation, the first at step 0.

    The figures are log-likelihoods a row, in nats (with another objective, minus its value).
    `train` is the mean over the batches since the evaluation before, of the weights as they were
    then; `validation` is that of the averaged weights on the held-out rows. NaN where there is
    nothing to report.
    """

    steps: list[int] = field(default_factory=list)
    """Optimizer steps done, skipped batches included."""
    train: list[float] = field(default_factory=list)
    validation: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    """Since the start of training, over all parts of a run that was resumed."""
    best_step: int = 0
    """The step whose weights the model has now."""
    best_validation: float = math.nan
    skipped: int = 0
    """Batches that were left out because their loss or gradient was not finite."""
    rows: int = 0
    """Training rows."""
    validation_rows: int = 0
    rows_per_second: float = math.nan
    """Training rows a second, evaluations included."""
    stopped: str = ""
    """Why training ended: "max_steps", "patience", "max_time" or "interrupted"."""

    def to_dict(self) -> dict[str, Any]:
        """The same as plain values."""
        return asdict(self)

    def plot(self, axes: "matplotlib.axes.Axes | None" = None) -> "matplotlib.axes.Axes":
        """Draws the learning curve, on new axes unless given some.

        Raises:
            ImportError: if matplotlib is not installed.
        """
        if axes is None:
            figure = require("matplotlib.figure", "History.plot").Figure(figsize=(6.4, 3.8))
            return self.plot(figure.subplots())
        axes.plot(self.steps, self.train, color="0.6", label="training batches")
        axes.plot(self.steps, self.validation, marker="o", markersize=3, label="held-out rows")
        if math.isfinite(self.best_validation):
            best = f"best: {self.best_validation:.3f} at step {self.best_step}"
            axes.plot(self.best_step, self.best_validation, "o", label=best)
        finite = sorted(v for v in (*self.train[1:], *self.validation[1:]) if math.isfinite(v))
        if finite and finite[-1] > (low := finite[len(finite) // 20]):
            room = 0.1 * (finite[-1] - low)
            axes.set_ylim(low - room, finite[-1] + room)
        axes.set_xlabel("optimizer step")
        axes.set_ylabel("log-likelihood a row, nats")
        axes.legend(loc="lower right")
        return axes


Watch = Callable[[Density, History], None]
"""What is shown the model at each evaluation, and the history so far."""


class TrainingError(RuntimeError):
    """Training that can't go on. The model holds the best weights so far."""


class TrainingInterrupted(KeyboardInterrupt):
    """Ctrl-C during training. The model holds the best weights so far; `history` is theirs.

    `checkpoint` is the file to resume from, or None where there is none.
    """

    def __init__(self, history: History, checkpoint: Path | None = None):
        super().__init__(
            f"training interrupted after {history.steps[-1] if history.steps else 0} steps"
        )
        self.history, self.checkpoint = history, checkpoint
