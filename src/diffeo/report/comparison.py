"""A model's log-likelihoods beside those of simple models, in figures and in words."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike

from diffeo.train.evaluate import mean_and_error

CLEAR = 2.0
"""From so many standard errors on, a difference is called one."""


@dataclass(frozen=True)
class Mean:
    """A mean over rows and its standard error, nats a row."""

    value: float
    error: float

    def __str__(self) -> str:
        if not math.isfinite(self.value):
            return number(self.value)
        return f"{number(self.value)} ± {number(self.error, like=self.value)}"

    @property
    def sign(self) -> int:
        """+1 or −1 where it is clearly above or below zero, otherwise 0."""
        # One row has no standard error, and shows nothing; an infinite mean needs none.
        clear = math.isinf(self.value) or abs(self.value) > CLEAR * self.error
        return int(np.sign(self.value)) if clear else 0


@dataclass(frozen=True)
class Comparison:
    """The mean log-likelihood of the same rows under a model and under simple ones."""

    model: Mean
    others: dict[str, Mean]
    """By what the simple model is called."""
    differences: dict[str, Mean]
    """Model minus simple model, row by row: rows that are hard for both cancel."""
    rows: int
    impossible: int
    """Rows to which the model gives no probability at all, −∞."""

    @property
    def in_words(self) -> str:
        """Whether the model learned anything that simple models don't know."""
        if self.impossible:
            return (
                f"The model gives no probability at all to {self.impossible} of {self.rows:,} "
                "held-out rows: they hold what it takes for impossible, or training went wrong."
            )
        if not self.differences:
            return (
                f"The model gives the held-out rows {self.model} nats a row. No simple models were "
                "fitted beside it, so nothing says whether that is much."
            )
        name = min(self.differences, key=lambda name: self.differences[name].value)
        least, sign = self.differences[name], min(d.sign for d in self.differences.values())
        if sign > 0:
            rest = (
                f", the better of {len(self.others)} simple models" if len(self.others) > 1 else ""
            )
            return (
                f"The model learned something: held-out rows are {least} nats a row likelier under "
                f"it than under {name}{rest}."
            )
        if sign < 0:
            worse = Mean(-least.value, least.error)
            return (
                f"The model is worse than {name}: held-out rows are {worse} nats a row less "
                "likely under it. Train longer, with another learning rate or a smaller model, or "
                "use the simple model."
            )
        return (
            f"The model can't be told from {name}: held-out rows differ by {least} nats a row. "
            "It learned nothing that the simple model doesn't know, or there are too few rows to "
            "show it."
        )


def compare(
    scores: ArrayLike, others: Mapping[str, ArrayLike], weights: ArrayLike | None = None
) -> Comparison:
    """Compares log-likelihoods of the same rows.

    Args:
        scores: of every row under the model, nats.
        others: the same under simple models, by name.
        weights: how much every row counts.

    Raises:
        ValueError: if the numbers of rows differ, or no row has a positive weight.
    """
    mine = np.asarray(scores, dtype=float)
    theirs = {name: np.asarray(values, dtype=float) for name, values in others.items()}
    weight = np.ones(len(mine)) if weights is None else np.asarray(weights, dtype=float)
    for name, values in {**theirs, "weights": weight}.items():
        if values.shape != mine.shape:
            raise ValueError(f"compare: {name} has {len(values)} rows, the model's {len(mine)}")
    if not weight.sum() > 0:
        raise ValueError("compare: needs at least one row, of positive weight")
    with np.errstate(invalid="ignore"):
        return Comparison(
            model=_mean(mine, weight),
            others={name: _mean(values, weight) for name, values in theirs.items()},
            differences={name: _mean(mine - values, weight) for name, values in theirs.items()},
            rows=len(mine),
            impossible=int((mine == -math.inf).sum()),
        )


def number(value: float, like: float | None = None) -> str:
    """A figure of nats as people read it, with as many digits as `like` has."""
    if math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    size = abs(value if like is None else like)
    digits = 3 if size < 100 else 2 if size < 1000 else 1
    return f"{value:,.{digits}f}".replace("-", "−")


def _mean(values: np.ndarray, weight: np.ndarray) -> Mean:
    return Mean(*mean_and_error(torch.from_numpy(values), torch.from_numpy(weight)))
