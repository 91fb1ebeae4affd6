"""`fit`: data → trained model."""

import logging
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from diffeo.contexts import Context
from diffeo.density import Density
from diffeo.objectives import Objective, negative_log_likelihood
from diffeo.train.average import WeightAverage
from diffeo.train.batches import BatchStream, in_order
from diffeo.train.history import History, TrainingInterrupted
from diffeo.train.inputs import (
    Rows,
    as_context,
    as_rows,
    check_support,
    model_device,
    model_dtype,
    move,
    take,
)

if TYPE_CHECKING:
    from diffeo.train.module import Monitor, Plan, Training

INITIALIZATION_ROWS = 10_000
"""The most rows that `initialize` is shown."""
VALIDATION_ROWS = 10_000
"""The most rows that are held out unless told."""
ON_DEVICE_BYTES = 2**30
"""Data up to this size is moved to the device once; larger data batch by batch."""
PRECISIONS = {"32": "32-true", "bf16-mixed": "bf16-mixed"}
SCHEDULES = ("cosine", "constant")


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
    progress: bool = True,
    log_dir: str | Path | None = None,
    objective: Objective = negative_log_likelihood,
    device: str | torch.device = "auto",
    precision: str = "32",
    initialize: bool = True,
) -> History:
    """Trains a model, in place, and leaves in it the best weights, in evaluation mode, on the device it was on.

    Adam on batches in a random order; the gradient's norm clipped; the rate warmed up, then annealed. Every so often
    the averaged weights are evaluated on held-out rows; the best of those are kept, and training stops early when
    `patience` evaluations brought no better ones. Batches whose loss or gradient is not finite are skipped, counted
    and reported. The same seed on the same machine gives the same model; the global random state stays as it was.

    Ctrl-C raises `TrainingInterrupted` (a KeyboardInterrupt) once the best weights so far are in the model.

    Args:
        model: any density with parameters; its data-dependent parts are set from the data first (`initialize`).
        x: rows, as a tensor, an array or a data frame.
        context: rows of what the model is conditioned on, or a dict of those.
        validation: held-out rows; (rows, context) for a conditioned model; or the fraction of x to hold out.
            None: a tenth, at most 10,000 rows. 0: none, and then the last averaged weights are kept.
        max_steps: the most optimizer steps. None: 100 epochs, at least 2,000 steps and at most 10,000.
        max_epochs: the most passes through the data.
        max_time: the most seconds. The rate is annealed to the time where that runs out first.
        batch_size: rows a step.
        learning_rate: of Adam.
        weight_decay: L2 penalty.
        clip: the largest norm of the gradient; None for any.
        schedule: "cosine" (to 0 at the end) or "constant".
        warmup_steps: steps over which the rate rises; None: a twentieth of all, at most 100.
        average: decay of the averaged weights; None to evaluate and keep the weights themselves.
        patience: evaluations without a better one before training stops; None: as many as a third of all steps has,
            at least 10.
        evaluate_every: steps between evaluations; None: an epoch, within bounds that keep evaluation cheap.
        seed: of the split, the order of the rows and the noise.
        progress: whether to show a bar on stderr (only where that is a terminal).
        log_dir: a folder for CSV and TensorBoard logs.
        objective: (model, x, context) ↦ what to make small, a mean over the batch.
        device: "auto" (an accelerator where there is one), "cpu", "cuda", "cuda:1", "mps".
        precision: "32", the model's own; or "bf16-mixed".
        initialize: False to go on with a model that was trained before.

    Raises:
        TypeError: if data or context is not numbers, or the model has nothing to train.
        ValueError: if data, context or an option does not fit, a value is not finite, or lies outside the support.
        TrainingError: if a hundred batches on end were not finite.
        TrainingInterrupted: on Ctrl-C.

    Example:
        >>> import diffeo
        >>> from diffeo.data import toy
        >>> flow = diffeo.create("maf", features=2, transforms=2, hidden=(16,))
        >>> history = fit(flow, toy("two_moons", 500), max_steps=20)
        >>> history.best_validation > history.validation[0]
        True
    """
    _check_options(
        batch_size, learning_rate, max_steps, max_epochs, max_time, average, schedule, precision
    )
    rows = as_rows("fit", model, x)
    given = as_context("fit", model, context, len(rows))
    check_support("fit", model, rows)
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise TypeError(f"fit: this {type(model).__name__} has no parameters to train")
    train, held_out = _split(model, rows, given, validation, seed)
    batch_size = min(batch_size, len(train[0]))
    plan = _plan(
        rows=len(train[0]),
        held_out=len(held_out[0]) if held_out is not None else 0,
        batch_size=batch_size,
        max_steps=max_steps,
        max_epochs=max_epochs,
        evaluate_every=evaluate_every,
        patience=patience,
        warmup_steps=warmup_steps,
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        clip=clip,
        schedule=schedule,
        max_time=max_time,
    )
    home, target = model_device(model), _device(device, model)
    history = History(
        rows=len(train[0]), validation_rows=len(held_out[0]) if held_out is not None else 0
    )
    from diffeo.train.module import (
        fork_random,
    )  # Lightning's import takes seconds: not before the data is checked

    try:
        with fork_random(target):
            torch.manual_seed(seed)
            model.to(target)
            train, held_out = _place(train, target), _place(held_out, target)
            if initialize:
                _initialize(model, train, seed, target)
            _train(
                model,
                train,
                held_out,
                plan,
                batch_size,
                average,
                objective,
                seed,
                progress,
                log_dir,
                precision,
                history,
            )
    finally:
        model.to(home)
        model.eval()
    return history


def _train(
    model: Density,
    train: tuple[Tensor, Context],
    held_out: tuple[Tensor, Context] | None,
    plan: "Plan",
    batch_size: int,
    average: float | None,
    objective: Objective,
    seed: int,
    progress: bool,
    log_dir: str | Path | None,
    precision: str,
    history: History,
) -> None:
    import lightning.pytorch as lightning

    from diffeo.train.module import Monitor, Training

    device, dtype = model_device(model), model_dtype(model)
    stream = BatchStream(*train, batch_size, seed, device, dtype)
    batches = (
        None if held_out is None else partial(in_order, *held_out, 2 * batch_size, device, dtype)
    )
    module = Training(model, objective, plan, WeightAverage(model.parameters(), average))
    monitor = Monitor(history, batches, seed, progress)
    with _quiet():
        trainer = lightning.Trainer(
            **_accelerator(device),
            precision=PRECISIONS[precision],  # type: ignore[arg-type]
            max_steps=plan.max_steps,
            max_epochs=-1,
            callbacks=[monitor],
            logger=_loggers(log_dir),
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        _run(trainer, module, stream, monitor)
    if history.skipped:
        warnings.warn(
            f"fit: {history.skipped} of {module.steps} batches were skipped, since their loss or gradient was not finite",
            stacklevel=3,
        )


def _run(trainer: Any, module: "Training", stream: BatchStream, monitor: "Monitor") -> None:
    """Runs the trainer; whatever ends it, the model holds the best weights afterwards."""
    import signal

    handler = signal.getsignal(signal.SIGINT)
    model = module.model
    model.train()
    try:
        trainer.fit(module, stream)
    except SystemExit:
        # Lightning's answer to Ctrl-C is to ignore further ones and to leave the program.
        if not monitor.interrupted:
            raise
        signal.signal(signal.SIGINT, handler)
        monitor.history.stopped = "interrupted"
    finally:
        monitor.close(module)
        if monitor.best:
            with torch.no_grad():
                model.load_state_dict(monitor.best)
    if monitor.history.stopped == "interrupted":
        raise TrainingInterrupted(monitor.history) from None


def _check_options(
    batch_size: int,
    learning_rate: float,
    max_steps: int | None,
    max_epochs: int | None,
    max_time: float | None,
    average: float | None,
    schedule: str,
    precision: str,
) -> None:
    whole = {"batch_size": batch_size, "max_steps": max_steps, "max_epochs": max_epochs}
    for name, value in whole.items():
        if value is not None and (not isinstance(value, int) or value < 1):
            raise ValueError(f"fit: {name} must be a whole number of at least 1, got {value!r}")
    for name, number in {"learning_rate": learning_rate, "max_time": max_time}.items():
        if number is not None and not (number > 0 and math.isfinite(number)):
            raise ValueError(f"fit: {name} must be positive, got {number!r}")
    if average is not None and not 0 <= average < 1:
        raise ValueError(f"fit: average is a decay in [0, 1), or None; got {average!r}")
    if schedule not in SCHEDULES:
        raise ValueError(f"fit: schedule must be one of {', '.join(SCHEDULES)}; got {schedule!r}")
    if precision not in PRECISIONS:
        raise ValueError(
            f"fit: precision must be one of {', '.join(PRECISIONS)}; got {precision!r}"
        )


def _split(
    model: Density, x: Tensor, context: Context, validation: Any, seed: int
) -> tuple[tuple[Tensor, Context], tuple[Tensor, Context] | None]:
    if validation is None or isinstance(validation, (int, float)):
        fraction = 0.1 if validation is None else float(validation)
        if not 0 <= fraction < 1:
            raise ValueError(f"fit: validation as a fraction must be in [0, 1), got {validation}")
        count = (
            round(fraction * len(x))
            if validation is not None
            else min(VALIDATION_ROWS, max(1, len(x) // 10))
        )
        count = min(count, len(x) - 1)
        if count == 0:
            return (x, context), None
        # A seed of its own: the order of the rows in training is drawn from `seed`.
        order = torch.randperm(
            len(x), generator=torch.Generator().manual_seed(seed + 1_000_003)
        ).to(x.device)
        held, kept = order[:count], order[count:]
        return (x[kept], take(context, kept)), (x[held], take(context, held))
    rows, given = validation if isinstance(validation, tuple) else (validation, None)
    held_x = as_rows("fit: validation", model, rows)
    return (x, context), (held_x, as_context("fit: validation", model, given, len(held_x)))


def _plan(
    *,
    rows: int,
    held_out: int,
    batch_size: int,
    max_steps: int | None,
    max_epochs: int | None,
    evaluate_every: int | None,
    patience: int | None,
    warmup_steps: int | None,
    **rest: Any,
) -> "Plan":
    from diffeo.train.module import Plan

    epoch = rows // batch_size
    if max_steps is None:
        max_steps = (
            min(10_000, max(2_000, 100 * epoch)) if max_epochs is None else max_epochs * epoch
        )
    elif max_epochs is not None:
        max_steps = min(max_steps, max_epochs * epoch)
    if evaluate_every is None:
        # An evaluation costs a third of a step for each batch of held-out rows: keep it under a tenth of the time.
        cheap = math.ceil(held_out / batch_size / 3 * 10)
        evaluate_every = max(cheap, min(epoch, max_steps // 50), min(50, max_steps // 10), 1)
    if patience is None:
        patience = max(10, max_steps // (3 * evaluate_every))
    if warmup_steps is None:
        warmup_steps = min(100, max_steps // 20)
    return Plan(
        max_steps=max_steps,
        evaluate_every=evaluate_every,
        patience=patience,
        warmup_steps=warmup_steps,
        **rest,
    )


def _device(device: str | torch.device, model: Density) -> torch.device:
    if device != "auto":
        try:
            chosen = torch.device(device)
            torch.empty(0, device=chosen)
        except (RuntimeError, AssertionError) as error:
            raise ValueError(
                f"fit: device {str(device)!r} can't be used: {str(error).splitlines()[0]}"
            ) from None
        return chosen
    here = model_device(model)
    if here.type != "cpu":
        return here
    if torch.cuda.is_available():
        return torch.device("cuda", torch.cuda.current_device())
    if torch.backends.mps.is_available() and model_dtype(model) == torch.float32:
        return torch.device("mps")
    return here


def _accelerator(device: torch.device) -> dict[str, Any]:
    if device.type == "cuda":
        return {"accelerator": "cuda", "devices": [device.index or 0]}
    return {"accelerator": device.type, "devices": 1}


def _place(data: tuple[Tensor, Context] | None, device: torch.device) -> Any:
    if data is None or data[0].numel() * data[0].element_size() > ON_DEVICE_BYTES:
        return data
    return move(data[0], device), move(data[1], device)


def _initialize(
    model: Density, train: tuple[Tensor, Context], seed: int, device: torch.device
) -> None:
    x, context = train
    index = torch.arange(len(x))
    if len(x) > INITIALIZATION_ROWS:
        generator = torch.Generator().manual_seed(seed + 2_000_003)
        index = torch.randperm(len(x), generator=generator)[:INITIALIZATION_ROWS]
    index = index.to(x.device)
    rows = move(take(x, index), device, model_dtype(model))
    model.initialize(rows, move(take(context, index), device))  # type: ignore[arg-type]


def _loggers(log_dir: str | Path | None) -> Any:
    if log_dir is None:
        return False
    from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger

    where = {"save_dir": str(log_dir), "name": "", "version": ""}
    return [CSVLogger(**where), TensorBoardLogger(**where)]


@contextmanager
def _quiet() -> Iterator[None]:
    """Keeps Lightning's remarks about hardware, loaders and loggers from people who asked for none of these."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"lightning(\.|$)")
            warnings.filterwarnings("ignore", message=r".*(LeafSpec|treespec).*")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
