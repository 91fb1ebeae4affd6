"""Figures of a model on data: the log-likelihood of every row, and their mean."""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor

from diffeo.density import Density
from diffeo.noise import fixed_noise
from diffeo.train.baselines import Baselines
from diffeo.train.batches import in_order
from diffeo.train.devices import fork_random
from diffeo.train.inputs import (
    Data,
    Rows,
    as_context,
    as_rows,
    as_tensor,
    model_device,
    model_dtype,
)
from diffeo.train.pixels import IndependentPixels
from diffeo.train.tabular import Whole, encoded


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
    impossible: int = 0
    """Rows outside the support, whose log-likelihood is −∞."""
    baselines: Mapping[str, float] = field(default_factory=dict)
    """The same mean under simple models, where those are known: of tables trained by the command
    line.
    """
    gains: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """How much likelier a row is than under each of them, and the standard error, over rows."""

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
    model: Density | Whole,
    x: Rows,
    context: Any = None,
    *,
    samples: int = 1,
    noise_draws: int = 10,
    batch_size: int = 1024,
    seed: int = 0,
    shared_noise: bool = True,
) -> Tensor:
    """log p(x|context) of every row, in nats; −∞ outside the support.

    Models that draw noise are scored with fixed draws, the same for every row, so that a row's
    score is the same whatever its place or company: the mean of `noise_draws` bounds, each of them
    log_prob(…, samples=samples).

    Args:
        model: scored in evaluation mode; its mode stays as it was.
        x: rows, as a tensor, an array or a data frame.
        context: rows of what the model is conditioned on, or a dict of those; none for a `Table`,
            whose frame holds it.
        samples: draws inside the logarithm.
        noise_draws: draws that are averaged; 1 for models that draw none.
        batch_size: rows at a time.
        seed: of the draws.
        shared_noise: False for noise of its own for each row: what is averaged over rows is then
            less noisy, but a row's score depends on its place.
    Shapes: out: (rows,), on the CPU, in at least float32.

    Raises:
        TypeError: if data or context is not numbers, or the context is missing or not wanted.
        ValueError: if a shape does not fit, or a number is not finite or not positive.
    """
    density, x, context, _ = encoded("score", model, x, context)
    rows, given = _admit("score", density, x, context, samples, noise_draws, batch_size)
    scores = []
    with _evaluating(density), fork_random(model_device(density)):
        torch.manual_seed(seed)
        for batch in in_order(rows, given, batch_size, model_device(density), model_dtype(density)):
            # Entered anew, so that every batch meets the same draws.
            with fixed_noise(seed) if shared_noise else nullcontext():
                scores.append(_mean_of_draws(density, batch, samples, noise_draws))
    return torch.cat(scores)


def evaluate(
    model: Density | Whole,
    x: Rows,
    context: Any = None,
    *,
    weights: Any = None,
    samples: int = 1,
    noise_draws: int = 10,
    batch_size: int = 1024,
    seed: int = 0,
) -> Evaluation:
    """The mean of log p(x|context) over the rows, with its standard error.

    Models that draw noise get noise of its own for each row here, from the seed: noise that all
    rows share, as in `score`, does not average out over rows, and their spread does not show it.
    Beside a `Table` that the command line trained stand its baselines. Other arguments and errors
    are those of `score`.

    Args:
        model: as in `score`.
        x: as in `score`.
        context: as in `score`.
        weights: of the rows, for a weighted mean.
        samples: as in `score`.
        noise_draws: as in `score`.
        batch_size: as in `score`.
        seed: as in `score`.

    Example:
        >>> import torch
        >>> from diffeo.bases import Normal
        >>> print(evaluate(Normal((2,)), torch.zeros(5, 2)))
        log-likelihood -1.8379 ± 0.0000 nats a row (1.3257 bits/dim, 5 rows of 2)
    """
    density, rows, given, weights = encoded("evaluate", model, x, context, weights)
    scores = score(
        density,
        rows,
        given,
        samples=samples,
        noise_draws=noise_draws,
        batch_size=batch_size,
        seed=seed,
        shared_noise=False,
    )
    compared = {}
    if not isinstance(model, Density) and (simple := baselines_of(model)) is not None:
        compared = simple.log_prob(rows, given)
    dimensions = math.prod(shape for shape in density.event_shape if shape is not None)
    if None in density.event_shape:
        dimensions = as_tensor("evaluate", "x", rows)[0].numel()
    return summarize(
        scores, dimensions, bound=not density.exact, weights=weights, baselines=compared
    )


def summarize(
    scores: Tensor,
    dimensions: int,
    bound: bool = False,
    *,
    weights: Any = None,
    baselines: Mapping[str, Tensor] | None = None,
) -> Evaluation:
    """The figures of log-likelihoods that are there already.

    Args:
        scores: log-likelihood of every row, nats. Shape (rows,).
        dimensions: elements of a row.
        bound: whether the scores are lower bounds.
        weights: of the rows, (rows,).
        baselines: log-likelihoods of the same rows under simple models, by name.
    """
    mean, error = mean_and_error(scores, weights)
    simple = baselines or {}
    return Evaluation(
        log_likelihood=mean,
        standard_error=error,
        unit="nats",
        bound=bound,
        rows=len(scores),
        dimensions=dimensions,
        bits_per_dim=bits_per_dim(mean, dimensions),
        impossible=int((scores == -math.inf).sum()),
        baselines={name: mean_and_error(values, weights)[0] for name, values in simple.items()},
        gains={
            name: mean_and_error(scores.double() - values.double(), weights)
            for name, values in simple.items()
        },
    )


def mean_and_error(values: Tensor, weights: Any = None) -> tuple[float, float]:
    """The mean of values of rows, Σ w v / Σ w, and its standard error (NaN for a single row).

    Args:
        values: (rows,).
        weights: w, (rows,); equal if None.

    Raises:
        ValueError: if no weight is positive.
    """
    values = values.double()
    if weights is None:
        share = torch.full_like(values, 1 / max(len(values), 1))
    else:
        share = as_tensor("mean", "weights", weights).double().to(values.device)
        if not float(share.sum()) > 0:
            raise ValueError("mean: needs at least one row of positive weight")
        values, share = values[share > 0], share[share > 0]
        share = share / share.sum()
    mean = float((share * values).sum())
    if len(values) < 2 or not math.isfinite(mean):
        return mean, math.nan
    rows = 1 / float(share.square().sum())  # that many of equal weight say as much
    variance = float((share * (values - mean)).square().sum())
    return mean, math.sqrt(variance * rows / max(rows - 1, 1e-9))


def baselines_of(
    table: Whole,
) -> Baselines | IndependentPixels | None:
    """The simple models that were fitted to what the model was trained on, if recorded."""
    prefix = "baselines."
    state = {
        name.removeprefix(prefix): value
        for name, value in table.reference.items()
        if name.startswith(prefix)
    }
    if not state:
        return None
    of_pixels = set(state) == {"log_frequency"}
    return (IndependentPixels if of_pixels else Baselines).from_state(state)


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
