"""`fit`: data → trained model."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from diffeo.density import Density
from diffeo.objectives import Objective, negative_log_likelihood
from diffeo.train.devices import choose_device, fork_random
from diffeo.train.history import History
from diffeo.train.inputs import (
    Data,
    Rows,
    as_context,
    as_rows,
    check_support,
    model_device,
    model_dtype,
    move,
    take,
)
from diffeo.train.plan import Options, make_plan

INITIALIZATION_ROWS = 10_000
"""The most rows that `initialize` is shown."""
VALIDATION_ROWS = 10_000
"""The most rows that are held out unless told."""
ON_DEVICE_BYTES = 2**30
"""Data up to this size is moved to the device once; larger data batch by batch."""


def fit(
    model: Density,
    x: Rows,
    *,
    context: Any = None,
    validation: Rows | float | tuple[Rows, Any] | None = None,
    max_steps: int | None = None,
    max_epochs: int | None = None,
    max_time: float | None = None,
    batch_size: int = 256,
    learning_rate: float = 1e-3,
    weight_decay: float = 0.0,
    clip: float | None = 5.0,
    schedule: str = "cosine",
    warmup_steps: int | None = None,
    average: float | None = 0.999,
    patience: int | None = None,
    evaluate_every: int | None = None,
    seed: int = 0,
    progress: bool | Callable[[History], None] = True,
    log_dir: str | Path | None = None,
    objective: Objective = negative_log_likelihood,
    device: str | torch.device = "auto",
    precision: str = "32",
    initialize: bool = True,
) -> History:
    """Trains a model in place; it ends with the best weights, in evaluation mode, where it was.

    Adam on batches in a random order; the gradient's norm clipped; the rate warmed up, then
    annealed. Every so often the averaged weights are evaluated on held-out rows; the best of those
    are kept, and training stops early when `patience` evaluations brought no better ones. Batches
    whose loss or gradient is not finite are skipped, counted and reported. The same seed on the
    same machine gives the same model; the global random state stays as it was.

    Ctrl-C raises `TrainingInterrupted` (a KeyboardInterrupt) once the best weights so far are in
    the model.

    Args:
        model: any density with parameters; its data-dependent parts are set from the data first
            (`initialize`).
        x: rows, as a tensor, an array or a data frame.
        context: rows of what the model is conditioned on, or a dict of those.
        validation: held-out rows; (rows, context) for a conditioned model; or the fraction of x to
            hold out. None: a tenth, at most 10,000 rows. 0, or of a single row: none, and then
            the last averaged weights are kept.
        max_steps: the most optimizer steps. None: 100 epochs, at least 2,000 steps and at most
            10,000.
        max_epochs: the most passes through the data.
        max_time: the most seconds. The rate is annealed to the time where that runs out first.
        batch_size: rows a step.
        learning_rate: of Adam.
        weight_decay: L2 penalty.
        clip: the largest norm of the gradient; None for any.
        schedule: "cosine" (to 0 at the end) or "constant".
        warmup_steps: steps over which the rate rises; None: a twentieth of all, at most 100.
        average: decay of the averaged weights; None to evaluate and keep the weights themselves.
        patience: evaluations without a better one before training stops; None: as many as a third
            of all steps has, at least 10.
        evaluate_every: steps between evaluations; None: an epoch, within bounds that keep
            evaluation cheap.
        seed: of the split, the order of the rows and the noise.
        progress: whether to show a bar on stderr (only where that is a terminal); or what to call
            with the history after each evaluation instead.
        log_dir: a folder for CSV and TensorBoard logs.
        objective: (model, x, context) ↦ what to make small, a mean over the batch.
        device: "auto" (an accelerator where there is one), "cpu", "cuda", "cuda:1", "mps".
        precision: "32", the model's own; or "bf16-mixed".
        initialize: False to go on with a model that was trained before.

    Raises:
        TypeError: if data or context is not numbers, or the model has nothing to train.
        ValueError: if data, context or an option does not fit, a value is not finite, or lies
            outside the support.
        TrainingError: if a hundred batches on end were not finite, or more than half of all, or no
            evaluation after the first.
        TrainingInterrupted: on Ctrl-C.

    Example:
        >>> import diffeo
        >>> from diffeo.data import toy
        >>> flow = diffeo.create("maf", features=2, transforms=2, hidden=(16,))
        >>> history = fit(flow, toy("two_moons", 500), max_steps=20)
        >>> history.best_validation > history.validation[0]
        True
    """
    options = Options(
        max_steps=max_steps,
        max_epochs=max_epochs,
        max_time=max_time,
        batch_size=batch_size,
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        clip=clip,
        schedule=schedule,
        warmup_steps=warmup_steps,
        average=average,
        patience=patience,
        evaluate_every=evaluate_every,
        precision=precision,
    )
    rows = as_rows("fit", model, x)
    given = as_context("fit", model, context, len(rows))
    check_support("fit", model, rows)
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise TypeError(f"fit: this {type(model).__name__} has no parameters to train")
    train, held_out = _split(model, (rows, given), validation, seed)
    history = History(
        rows=len(train[0]), validation_rows=0 if held_out is None else len(held_out[0])
    )
    plan = make_plan(options, history.rows, history.validation_rows)
    home, target = model_device(model), choose_device(device, model)
    try:
        with fork_random(target):
            torch.manual_seed(seed)
            model.to(target)
            train, held_out = _place(train, target), held_out and _place(held_out, target)
            if initialize:
                _initialize(model, train, seed)
            # Lightning takes seconds to import: whoever only evaluates does not wait for it.
            from diffeo.train.run import run

            run(model, train, held_out, plan, options, objective, seed, progress, log_dir, history)
    finally:
        model.to(home)
        model.eval()
    return history


def _split(model: Density, data: Data, validation: Any, seed: int) -> tuple[Data, Data | None]:
    """The part to train on and the part to hold out, if any."""
    if validation is not None and not isinstance(validation, (int, float)):
        rows, given = validation if isinstance(validation, tuple) else (validation, None)
        rows = as_rows("fit: validation", model, rows)
        check_support("fit: validation", model, rows)
        return data, (rows, as_context("fit: validation", model, given, len(rows)))
    count = _held_out_rows(len(data[0]), validation)
    if count == 0:
        if validation != 0:
            warnings.warn(
                f"fit: no row of {len(data[0])} is left to hold out, so the last weights are kept "
                "and nothing judges them; give validation=… or more rows",
                stacklevel=3,
            )
        return data, None
    # A seed of its own: the order of the rows in training is drawn from `seed`.
    generator = torch.Generator().manual_seed((seed + 1_000_003) % 2**63)
    order = torch.randperm(len(data[0]), generator=generator).to(data[0].device)
    return _rows_of(data, order[count:]), _rows_of(data, order[:count])


def _held_out_rows(rows: int, fraction: float | None) -> int:
    if fraction is None:
        count = min(VALIDATION_ROWS, max(1, rows // 10))
    elif 0 <= fraction < 1:
        count = round(fraction * rows)
    else:
        raise ValueError(f"fit: validation as a fraction must be in [0, 1), got {fraction}")
    return min(count, rows - 1)


def _rows_of(data: Data, index: Tensor) -> Data:
    return data[0][index], take(data[1], index)


def _place(data: Data, device: torch.device) -> Data:
    if data[0].numel() * data[0].element_size() > ON_DEVICE_BYTES:
        return data
    return data[0].to(device), move(data[1], device)


def _initialize(model: Density, train: Data, seed: int) -> None:
    count = len(train[0])
    if count > INITIALIZATION_ROWS:
        generator = torch.Generator().manual_seed((seed + 2_000_003) % 2**63)
        index = torch.randperm(count, generator=generator)[:INITIALIZATION_ROWS]
        train = _rows_of(train, index.to(train[0].device))
    device = model_device(model)
    model.initialize(train[0].to(device, model_dtype(model)), move(train[1], device))
