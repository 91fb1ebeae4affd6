"""The numbers that a training run goes by: as asked, or chosen for the data."""

import math
from dataclasses import dataclass

SCHEDULES = ("cosine", "constant")
PRECISIONS = {"32": "32-true", "bf16-mixed": "bf16-mixed"}
"""What `fit` calls a precision, and what Lightning does."""
NEEDED = ("batch_size", "accumulate", "learning_rate", "weight_decay")
"""Numbers of which None is none."""


@dataclass(frozen=True)
class Options:
    """The options of `fit` that are numbers or words, as they were given.

    Raises:
        ValueError: if one is out of range or unknown.
    """

    max_steps: int | None
    max_epochs: int | None
    max_time: float | None
    batch_size: int
    learning_rate: float
    weight_decay: float
    clip: float | None
    schedule: str
    warmup_steps: int | None
    average: float | None
    patience: int | None
    evaluate_every: int | None
    precision: str
    accumulate: int

    def __post_init__(self) -> None:
        whole = ("batch_size", "max_steps", "max_epochs", "patience", "evaluate_every")
        for name in (*whole, "accumulate"):
            self._check(name, int, 1, "a whole number of at least 1")
        self._check("warmup_steps", int, 0, "a whole number of at least 0")
        for name in ("learning_rate", "max_time", "clip"):
            self._check(name, (int, float), math.ulp(0.0), "positive")
        self._check("weight_decay", (int, float), 0, "0 or more")
        if self.average is not None and not 0 <= self.average < 1:
            raise ValueError(f"fit: average is a decay in [0, 1), or None; got {self.average!r}")
        for name, choices in {"schedule": SCHEDULES, "precision": PRECISIONS}.items():
            if getattr(self, name) not in choices:
                found = getattr(self, name)
                raise ValueError(f"fit: {name} must be one of {', '.join(choices)}; got {found!r}")

    def _check(self, name: str, kind: type | tuple[type, ...], least: float, what: str) -> None:
        value = getattr(self, name)
        if value is None and name not in NEEDED:
            return
        right = isinstance(value, kind) and not isinstance(value, bool)
        if value is None or not right or not least <= value < math.inf:
            raise ValueError(f"fit: {name} must be {what}, got {value!r}")


@dataclass(frozen=True)
class Plan:
    """What a run goes by. Made by `make_plan`."""

    batch_size: int
    max_steps: int
    max_time: float | None
    evaluate_every: int
    patience: int
    warmup_steps: int
    learning_rate: float
    schedule: str

    def rate(self, step: int, seconds: float) -> float:
        """The learning rate of a step, from 0, that begins after that many seconds.

        It rises over the warm-up. The cosine falls to 0 where the steps run out, or the time where
        that is sooner.
        """
        warmup = min(1.0, (step + 1) / (self.warmup_steps + 1))
        if self.schedule == "constant":
            return self.learning_rate * warmup
        progress = step / self.max_steps
        if self.max_time is not None:
            progress = max(progress, seconds / self.max_time)
        return self.learning_rate * warmup * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


def make_plan(options: Options, rows: int, held_out: int) -> Plan:
    """The plan for that many rows to train on and to hold out; what was not asked for is chosen."""
    batch_size = min(options.batch_size, rows)
    epoch = rows // batch_size
    max_steps = options.max_steps
    if options.max_epochs is not None:
        in_epochs = options.max_epochs * epoch
        max_steps = in_epochs if max_steps is None else min(max_steps, in_epochs)
    if max_steps is None:
        max_steps = min(10_000, max(2_000, 100 * epoch))
    every = options.evaluate_every
    if every is None:
        # A batch of held-out rows costs a third of a step: this keeps evaluation under a tenth.
        cheap = math.ceil(held_out / batch_size / 3 * 10)
        every = max(1, cheap, min(epoch, max_steps // 50), min(50, max_steps // 10))
    patience, warmup = options.patience, options.warmup_steps
    return Plan(
        batch_size=batch_size,
        max_steps=max_steps,
        max_time=options.max_time,
        evaluate_every=every,
        patience=max(10, max_steps // (3 * every)) if patience is None else patience,
        warmup_steps=min(100, max_steps // 20) if warmup is None else warmup,
        learning_rate=options.learning_rate,
        schedule=options.schedule,
    )
