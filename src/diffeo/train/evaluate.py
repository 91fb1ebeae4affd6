"""Figures of a model on data: the log-likelihood of every row, and their mean."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from diffeo.contexts import Context
from diffeo.density import Density
from diffeo.noise import fixed_noise
from diffeo.train.batches import in_order
from diffeo.train.devices import fork_random
from diffeo.train.inputs import Data, Rows, as_context, as_rows, model_device, model_dtype


@dataclass(frozen=True)
class Evaluation:
    """The mean log-likelihood of rows under a model.

    `standard_error` is that of the mean over rows: what other rows of the same source would change.
    """

    log_likelihood: float
    """Mean of log p(x) over the rows, in `unit`."""
    standard_error: float
    unit: str
    bound: bool
    """Whether it is a lower bound."""
    rows: int
    dimensions: int
    """Elements of a row."""
    bits_per_dim: float
    """−log₂ p(x) / dimensions."""

    def to_dict(self) -> dict[str, Any]:
        """The same as plain values."""
        return asdict(self)

    def __str__(self) -> str:
        at_least = "at least " if self.bound else ""
        return (
            f"log-likelihood {at_least}{self.log_likelihood:.4f} ± {self.standard_error:.4f} "
            f"{self.unit} a row ({self.bits_per_dim:.4f} bits/dim, {self.rows} rows of "
            f"{self.dimensions})"
        )


def score(
    model: Density,
    x: Rows,
    context: Any = None,
    *,
    samples: int = 1,
    noise_draws: int = 10,
    batch_size: int = 1024,
    seed: int = 0,
) -> Tensor:
    """log p(x|context) of every row, in nats; −∞ outside the support.

    Models that draw noise are scored with fixed draws, the same for every row, so that a row's
    score is the same whatever its place or company: the mean of `noise_draws` bounds, each of them
    log_prob(…, samples=samples).

    Args:
        model: scored in evaluation mode; its mode stays as it was.
        x: rows, as a tensor, an array or a data frame.
        context: rows of what the model is conditioned on, or a dict of those.
        samples: draws inside the logarithm.
        noise_draws: draws that are averaged; 1 for models that draw none.
        batch_size: rows at a time.
        seed: of the draws.
    Shapes: out: (rows,), on the CPU, in at least float32.

    Raises:
        TypeError: if data or context is not numbers, or the context is missing or not wanted.
        ValueError: if a shape does not fit, or a number is not finite or not positive.
    """
    rows, given = _admit("score", model, x, context, samples, noise_draws, batch_size)
    scores = []
    with _evaluating(model):
        for batch in _batches(model, rows, given, batch_size):
            with fixed_noise(seed):  # entered anew, so that every batch meets the same draws
                scores.append(_mean_of_draws(model, batch, samples, noise_draws))
    return torch.cat(scores)


def evaluate(
    model: Density,
    x: Rows,
    context: Any = None,
    *,
    samples: int = 1,
    noise_draws: int = 10,
    batch_size: int = 1024,
    seed: int = 0,
) -> Evaluation:
    """The mean of log p(x|context) over the rows, with its standard error.

    Models that draw noise get noise of its own for each row here, from the seed: noise that all
    rows share, as in `score`, does not average out over rows, and their spread does not show it.
    Arguments and errors are those of `score`.

    Example:
        >>> import torch
        >>> from diffeo.bases import Normal
        >>> print(evaluate(Normal((2,)), torch.zeros(5, 2)))
        log-likelihood -1.8379 ± 0.0000 nats a row (1.3257 bits/dim, 5 rows of 2)
    """
    rows, given = _admit("evaluate", model, x, context, samples, noise_draws, batch_size)
    with _evaluating(model), fork_random(model_device(model)):
        torch.manual_seed(seed)
        scores = [
            _mean_of_draws(model, batch, samples, noise_draws)
            for batch in _batches(model, rows, given, batch_size)
        ]
    return summarize(torch.cat(scores), math.prod(rows.shape[1:]), bound=not model.exact)


def summarize(scores: Tensor, dimensions: int, bound: bool = False) -> Evaluation:
    """The figures of log-likelihoods that are there already.

    Args:
        scores: log-likelihood of every row, nats. Shape (rows,).
        dimensions: elements of a row.
        bound: whether the scores are lower bounds.
    """
    scores = scores.double()
    mean = float(scores.mean())
    error = float(scores.std()) / math.sqrt(len(scores)) if len(scores) > 1 else math.nan
    return Evaluation(
        log_likelihood=mean,
        standard_error=error,
        unit="nats",
        bound=bound,
        rows=len(scores),
        dimensions=dimensions,
        bits_per_dim=bits_per_dim(mean, dimensions),
    )


def bits_per_dim(nats: float, dimensions: int) -> float:
    """−nats / (dimensions · log 2): log-likelihood of a row in nats as bits per dimension."""
    return -nats / (dimensions * math.log(2))


def _admit(
    owner: str,
    model: Density,
    x: Rows,
    context: Any,
    samples: int,
    noise_draws: int,
    batch_size: int,
) -> Data:
    counts = {"samples": samples, "noise_draws": noise_draws, "batch_size": batch_size}
    for name, value in counts.items():
        if value < 1:
            raise ValueError(f"{owner}: {name} must be at least 1, got {value}")
    rows = as_rows(owner, model, x)
    return rows, as_context(owner, model, context, len(rows))


def _batches(model: Density, rows: Tensor, context: Context, size: int) -> Iterator[Data]:
    return in_order(rows, context, size, model_device(model), model_dtype(model))


def _mean_of_draws(model: Density, batch: Data, samples: int, draws: int) -> Tensor:
    drawn = range(1 if model.exact else draws)
    scores = torch.stack([model.log_prob(*batch, samples=samples) for _ in drawn])
    return scores.mean(0).cpu()


@contextmanager
def _evaluating(model: Density) -> Iterator[None]:
    """Evaluation mode without gradients; the mode is put back."""
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(training)
