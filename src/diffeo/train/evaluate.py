"""Figures of a model on data: the log-likelihood of every row, and their mean."""

import math
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from diffeo.density import Density
from diffeo.noise import fixed_noise
from diffeo.train.batches import in_order
from diffeo.train.inputs import Rows, as_context, as_rows, model_device, model_dtype


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
    for name, value in {
        "samples": samples,
        "noise_draws": noise_draws,
        "batch_size": batch_size,
    }.items():
        if value < 1:
            raise ValueError(f"score: {name} must be at least 1, got {value}")
    rows = as_rows("score", model, x)
    given = as_context("score", model, context, len(rows))
    draws = 1 if model.exact else noise_draws
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            scores = []
            for batch, batch_context in in_order(
                rows, given, batch_size, model_device(model), model_dtype(model)
            ):
                with fixed_noise(seed):
                    drawn = [
                        model.log_prob(batch, batch_context, samples=samples) for _ in range(draws)
                    ]
                scores.append(torch.stack(drawn).mean(0).cpu())
    finally:
        model.train(training)
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
    """The mean of `score` over the rows, with its standard error. Arguments as there.

    Example:
        >>> import torch
        >>> from diffeo.bases import Normal
        >>> print(evaluate(Normal((2,)), torch.zeros(5, 2)))
        log-likelihood -1.8379 ± 0.0000 nats a row (1.3257 bits/dim, 5 rows of 2)
    """
    scores = score(
        model,
        x,
        context,
        samples=samples,
        noise_draws=noise_draws,
        batch_size=batch_size,
        seed=seed,
    ).double()
    rows = as_rows("evaluate", model, x)
    return summarize(scores, dimensions=math.prod(rows.shape[1:]), bound=not model.exact)


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
