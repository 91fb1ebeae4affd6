"""What a report is made of: held-out rows, the model's scores of them, and rows that it drew."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from diffeo.contexts import Context
from diffeo.density import Density, Flow
from diffeo.train.baselines import Baselines
from diffeo.train.devices import fork_random
from diffeo.train.evaluate import score
from diffeo.train.inputs import (
    as_context,
    as_rows,
    as_tensor,
    model_device,
    model_dtype,
    move,
    take,
)

if TYPE_CHECKING:
    import pandas

    import diffeo.data.columns
    import diffeo.table

DRAWN = 5_000
"""Rows drawn, and real rows shown beside them, at most."""
LEAST_NOTED = 50
"""Rows from which on it is noted what is wrong with their columns."""
ENCODED = 5_000
"""Rows whose latents are looked at, at most."""


@dataclass(frozen=True)
class Material:
    """A model's held-out rows as it sees them and as a person does, and what it makes of them."""

    density: Density
    x: Tensor
    context: Context
    weights: Tensor | None
    scores: Tensor
    real: "pandas.DataFrame"
    """The held-out rows, features first and then what they are conditioned on."""
    drawn: "pandas.DataFrame"
    """Rows that the model drew, with the same columns."""
    kinds: list[tuple[str, str]]
    """What every column is taken for."""
    notes: list[str]
    """What a person should know about the data."""
    given: tuple[str, ...] = ()
    """Columns conditioned on."""
    twins: np.ndarray | None = None
    """The place in `real` of the row for whose context each row was drawn; None if for none."""

    def to_compare(self) -> tuple["pandas.DataFrame", "pandas.DataFrame"]:
        """Held-out and drawn rows, row i of both of one context where there is any."""
        if self.twins is None:
            return self.real, self.drawn
        once = self.twins[: len(self.real)]  # later ones come again
        return self.real.iloc[once], self.drawn.iloc[: len(once)]


def of_table(
    table: "diffeo.table.Table", data: "pandas.DataFrame", samples: Any, noise_draws: int, seed: int
) -> Material:
    """From a model of a table and held-out rows of such a table.

    Args:
        table: the model.
        data: held-out rows.
        samples: rows that the model drew, with the same columns; how many to draw; None for as many
            as fit a report.
        noise_draws: of the scores, for dequantized columns.
        seed: of all draws.

    Raises:
        DataError: if the columns are not those of the model.
        ValueError: if there is no row.
    """
    columns = table.columns
    encoded = columns.encode(data)
    if not len(encoded.x):
        raise ValueError("report: the held-out data has no rows")
    scores = _scores(table.density, encoded.x, encoded.context, noise_draws, seed)
    data = data.rename(columns=str)
    given = tuple(column.name for column in columns.given)
    names = [*columns.names, *given]
    twins = None
    if samples is None or isinstance(samples, int):
        count = min(len(data), DRAWN) if samples is None else samples
        if given:
            twins = _choose(len(data), count, seed)
            samples = table.sample(1, given=data.iloc[twins][list(given)], seed=seed)
        else:
            samples = table.sample(count, seed=seed)
    return Material(
        density=table.density,
        x=encoded.x,
        context=encoded.context,
        weights=encoded.weights,
        scores=scores,
        real=_typed(columns, data, encoded.x).loc[:, names],
        drawn=samples[names],
        kinds=list(columns.describe()),
        # Of a few rows it can't be said what a column holds.
        notes=[
            *columns.why_impossible(data),
            *(columns.warnings(data) if len(data) >= LEAST_NOTED else ()),
        ],
        given=given,
        twins=twins,
    )


def _typed(
    columns: "diffeo.data.columns.Columns", data: "pandas.DataFrame", x: Tensor
) -> "pandas.DataFrame":
    """The rows in the types of samples (a file's dates are text); impossible values as they are."""
    typed = columns.decode(x).set_index(data.index)
    for name, outside in zip(columns.names, columns.impossible(data).T, strict=True):
        if outside.any():
            typed[name] = typed[name].astype(object)
            typed.loc[outside, name] = data.loc[outside, name]
    for column in columns.given:
        typed[column.name] = data[column.name]
    return typed


def of_tensors(
    density: Density, data: Any, context: Any, samples: Any, noise_draws: int, seed: int
) -> Material:
    """From a model and held-out rows as tensors, arrays or a data frame of numbers.

    Columns are named x0, x1, … unless a data frame names them. Arguments and errors as above.
    """
    import pandas as pd

    x = as_rows("report", density, data)
    context = as_context("report", density, context, len(x))
    scores = _scores(density, x, context, noise_draws, seed)
    twins = None
    if samples is None or isinstance(samples, int):
        count = samples or min(len(x), DRAWN)
        twins = None if context is None else _choose(len(x), count, seed)
        samples = _sample(density, context, twins, count, seed)
    else:
        samples = as_rows("report", density, samples)
    named = getattr(data, "columns", None)
    flat = x.flatten(1)
    names = [f"x{i}" for i in range(flat.shape[1])] if named is None else [str(n) for n in named]
    real, drawn = (
        pd.DataFrame(rows.flatten(1).double().cpu().numpy(), columns=names) for rows in (x, samples)
    )
    what = "a whole number" if density.support.integer else "a number"
    return Material(
        density=density,
        x=x,
        context=context,
        weights=None,
        scores=scores,
        real=real,
        drawn=drawn,
        kinds=[(name, what) for name in names] if len(names) <= 100 else [],
        notes=[],
        twins=twins,
    )


def _scores(density: Density, x: Tensor, context: Any, noise_draws: int, seed: int) -> Tensor:
    # With noise of its own for each row, which the standard errors of means then know of.
    return score(density, x, context, noise_draws=noise_draws, seed=seed, shared_noise=False)


def fit_baselines(model: Any, train: Any, context: Any = None) -> Baselines:
    """The simple models, fitted to the rows that the model was trained on.

    Args:
        model: a density, or a model of a table.
        train: rows as for the model.
        context: of those rows, where the model is a density.
    """
    if hasattr(model, "columns"):
        encoded = model.columns.encode(train)
        support = model.density.support
        return Baselines.fit(encoded.x, support, encoded.context, encoded.weights)
    return Baselines.fit(train, model.support, _vectors(context))


def baseline_scores(baselines: Baselines, material: Material) -> dict[str, np.ndarray]:
    """Log-likelihood of the held-out rows under the simple models."""
    scores = baselines.log_prob(material.x, _vectors(material.context))
    return {name: values.numpy() for name, values in scores.items()}


def latents(material: Material, seed: int) -> Tensor | None:
    """The latents of held-out rows (rows, D); None where the model is no flow."""
    density = material.density
    kept = torch.isfinite(material.scores).nonzero()[:, 0][:ENCODED]
    if not isinstance(density, Flow) or not len(kept):
        return None
    x = material.x[kept].to(model_device(density), model_dtype(density))
    given = move(take(material.context, kept), x.device)
    training = density.training
    density.eval()
    try:
        with torch.no_grad(), fork_random(model_device(density)):
            torch.manual_seed(seed)
            parts = [
                density.encode(x[i : i + 1024], take(given, slice(i, i + 1024))).cpu()
                for i in range(0, len(x), 1024)
            ]
    finally:
        density.train(training)
    return torch.cat(parts)


def _vectors(context: Any) -> Tensor | None:
    """A context as vectors: a dict's parts side by side."""
    if context is None:
        return None
    parts = list(context.values()) if isinstance(context, dict) else [context]
    flat = [as_tensor("report", "context", part) for part in parts]
    return torch.cat([part.reshape(len(part), -1).double().cpu() for part in flat], dim=1)


def _sample(
    density: Density, context: Context, twins: np.ndarray | None, count: int, seed: int
) -> Tensor:
    device = model_device(density)
    generator = torch.Generator(device).manual_seed(seed)
    training = density.training
    density.eval()
    try:
        if twins is None:
            sizes = [min(1000, count - i) for i in range(0, count, 1000)]
            return torch.cat([density.sample(n, generator=generator).cpu() for n in sizes])
        chosen = move(take(context, torch.from_numpy(twins)), device)
        return density.sample((), chosen, generator=generator).cpu()
    finally:
        density.train(training)


def _choose(rows: int, count: int, seed: int) -> np.ndarray:
    """Places of rows: all of them once before any comes again."""
    rng = np.random.default_rng(seed)
    turns = [rng.permutation(rows) for _ in range(-(-count // rows))]
    return np.concatenate([*turns, np.zeros(0, dtype=int)])[:count].astype(int)
