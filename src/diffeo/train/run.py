"""The run itself, under Lightning's trainer: quiet, interruptible, ending with the best weights."""

import logging
import math
import signal
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import lightning.pytorch as lightning
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from lightning.pytorch.utilities.exceptions import SIGTERMException

from diffeo.density import Density
from diffeo.objectives import Objective
from diffeo.train.average import WeightAverage
from diffeo.train.batches import BatchStream, in_order
from diffeo.train.devices import accelerator
from diffeo.train.history import History, TrainingError, TrainingInterrupted
from diffeo.train.inputs import Data, model_device, model_dtype
from diffeo.train.module import Monitor, Training
from diffeo.train.plan import PRECISIONS, Options, Plan

MANY_SKIPPED = 10
"""From so many skipped batches on, half of all are too many."""


def run(
    model: Density,
    train: Data,
    held_out: Data | None,
    plan: Plan,
    options: Options,
    objective: Objective,
    seed: int,
    progress: bool | Callable[[History], None],
    log_dir: str | Path | None,
    history: History,
) -> None:
    """Trains a model, initialised and on its device, with Lightning's trainer.

    Args: as those of `fit`, made into tensors and plans; `history` is written to.
    """
    device, dtype = model_device(model), model_dtype(model)
    stream = BatchStream(*train, plan.batch_size, seed, device, dtype)
    batches = None
    if held_out is not None:
        batches = partial(in_order, *held_out, 2 * plan.batch_size, device, dtype)
    average = WeightAverage(model.parameters(), options.average)
    module = Training(model, objective, plan, average, options.weight_decay, options.clip)
    monitor = Monitor(history, batches, seed, progress)
    with _quiet():
        trainer = lightning.Trainer(
            **accelerator(device),
            precision=PRECISIONS[options.precision],  # type: ignore[arg-type]
            max_steps=plan.max_steps,
            max_epochs=-1,
            callbacks=[monitor],
            logger=_loggers(log_dir),
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        _go(trainer, module, stream, monitor)
    _judge(history, module.tally.steps)


def _judge(history: History, steps: int) -> None:
    """Refuses a run that diverged, and warns of what went wrong in others."""
    skipped, remedy = history.skipped, "lower learning_rate (--learning-rate)"
    if skipped == steps or (skipped >= MANY_SKIPPED and 2 * skipped > steps):
        raise TrainingError(
            f"fit: the loss or its gradient was not finite for {skipped} of {steps} batches; "
            f"{remedy}, or look for extreme values in the data"
        )
    later = history.validation[1:] if history.validation_rows else []
    wrong = [value for value in later if not math.isfinite(value)]
    if later and len(wrong) == len(later):
        raise TrainingError(
            f"fit: the log-likelihood of the held-out rows was {wrong[-1]} at the end, and not "
            f"finite at any evaluation after step 0; {remedy}, or look for extreme values in the "
            "data"
        )
    if wrong:
        warnings.warn(
            f"fit: the log-likelihood of the held-out rows was not finite ({wrong[-1]}) at "
            f"{len(wrong)} of {len(later)} evaluations; {remedy}",
            stacklevel=5,
        )
    if skipped:
        warnings.warn(
            f"fit: {skipped} of {steps} batches were skipped, since their loss or gradient was not "
            "finite",
            stacklevel=5,
        )


def _go(
    trainer: lightning.Trainer, module: Training, stream: BatchStream, monitor: Monitor
) -> None:
    """Runs the trainer; whatever ends it, the model holds the best weights afterwards."""
    handler = signal.getsignal(signal.SIGINT)
    model = module.model
    model.train()
    try:
        trainer.fit(module, stream)
    except SIGTERMException:
        # Lightning waited for the end of the step, and would leave with status 0, as if all were
        # well. Its handler is gone by now: the signal does what it would have done without it.
        signal.raise_signal(signal.SIGTERM)
        raise
    except SystemExit:
        # Lightning's answer to Ctrl-C is to ignore further ones and to leave the program.
        if not monitor.interrupted:
            raise
        signal.signal(signal.SIGINT, handler)
        monitor.history.stopped = "interrupted"
    finally:
        monitor.close(module)
        if monitor.best:
            model.load_state_dict(monitor.best)
    if monitor.history.stopped == "interrupted":
        raise TrainingInterrupted(monitor.history) from None


def _loggers(log_dir: str | Path | None) -> Any:
    if log_dir is None:
        return False
    return [make(str(log_dir), name="", version="") for make in (CSVLogger, TensorBoardLogger)]


@contextmanager
def _quiet() -> Iterator[None]:
    """Keeps Lightning's remarks about hardware and loaders from people who asked for neither."""
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
