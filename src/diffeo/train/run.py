"""The run itself, under Lightning's trainer: quiet, interruptible, ending with the best weights."""

import logging
import signal
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import lightning.pytorch as lightning
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger

from diffeo.density import Density
from diffeo.objectives import Objective
from diffeo.train.average import WeightAverage
from diffeo.train.batches import BatchStream, in_order
from diffeo.train.devices import accelerator
from diffeo.train.history import History, TrainingInterrupted
from diffeo.train.inputs import Data, model_device, model_dtype
from diffeo.train.module import Monitor, Training
from diffeo.train.plan import PRECISIONS, Options, Plan


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
    if history.skipped:
        warnings.warn(
            f"fit: {history.skipped} of {module.tally.steps} batches were skipped, since their "
            "loss or gradient was not finite",
            stacklevel=4,
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
