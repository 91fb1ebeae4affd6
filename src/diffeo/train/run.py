"""The run itself, under Lightning's trainer: quiet, interruptible, ending with the best weights."""

import logging
import math
import signal
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import lightning.pytorch as lightning

from diffeo.density import Density
from diffeo.objectives import Objective
from diffeo.train.augment import Augment
from diffeo.train.average import WeightAverage
from diffeo.train.batches import BatchStream, shared_in_order
from diffeo.train.devices import trainer_options
from diffeo.train.history import History, TrainingError, TrainingInterrupted, Watch
from diffeo.train.inputs import Examples, model_device, model_dtype
from diffeo.train.interrupts import Interrupts
from diffeo.train.logs import loggers
from diffeo.train.module import Training
from diffeo.train.monitor import Monitor
from diffeo.train.plan import PRECISIONS, Options, Plan
from diffeo.train.processes import Processes
from diffeo.train.resume import Checkpoints

MANY_SKIPPED = 10
"""From so many skipped batches on, half of all are too many."""


def run(
    model: Density,
    train: Examples,
    held_out: Examples | None,
    plan: Plan,
    options: Options,
    objective: Objective,
    augment: Augment | None,
    seed: int,
    progress: bool | Callable[[History], None],
    watch: Watch | None,
    log_dir: str | Path | None,
    history: History,
    checkpoints: Checkpoints,
    processes: Processes,
) -> None:
    """Trains a model, initialised and on its device, with Lightning's trainer.

    Args: as those of `fit`, made into tensors and plans; `history` is written to.
    """
    device, dtype = model_device(model), model_dtype(model)
    place = {"device": device, "dtype": dtype, "rank": processes.rank, "world": processes.world}
    stream = BatchStream(train, plan.batch_size, seed, start=checkpoints.steps, **place)
    batches = None
    if held_out is not None:
        rows = 2 * plan.batch_size // options.accumulate
        batches = partial(shared_in_order, held_out, rows, **place)
    processes.follow_model(model)
    average = WeightAverage(model.parameters(), options.average)
    module = Training(model, objective, plan, average, options, augment, processes)
    interrupts = Interrupts(launched=processes.world > 1)
    monitor = Monitor(history, batches, seed, progress, watch, checkpoints, interrupts)
    if checkpoints.finished:
        checkpoints.restore(model, monitor.best, average, None, module.tally, history)
        model.load_state_dict(monitor.best)
        _judge(history, module.tally.steps, processes.main)
        return
    unused = processes.world > 1 and module.has_unused(next(iter(stream)))
    with _quiet():
        trainer = lightning.Trainer(
            **trainer_options(device, processes, unused),
            precision=PRECISIONS[options.precision],  # type: ignore[arg-type]
            max_steps=-1,
            max_epochs=-1,
            callbacks=[monitor],
            logger=loggers(log_dir, checkpoints.steps) if processes.main else False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
        )
        _go(trainer, module, stream, monitor)
    _judge(history, module.tally.steps, processes.main)


def _judge(history: History, steps: int, warn: bool) -> None:
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
    if not warn:
        return
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
    model, history, interrupts = module.model, monitor.history, monitor.interrupts
    model.train()
    try:
        trainer.fit(module, stream)
    except SystemExit:
        # Lightning answers KeyboardInterrupt by ignoring further ones and leaving the program.
        # Handlers are put back below.
        if not monitor.interrupted:
            raise
        history.stopped = "interrupted"
    finally:
        interrupts.restore()
        monitor.close(module)
        if monitor.best:
            model.load_state_dict(monitor.best)
    # A signal that came too late to stop training is obeyed all the same.
    if interrupts.asked == signal.SIGTERM:
        # It was kept waiting for the end of the step: now it does what it would have done.
        signal.raise_signal(signal.SIGTERM)
        raise SystemExit(128 + signal.SIGTERM)
    if interrupts.asked or history.stopped == "interrupted":
        raise TrainingInterrupted(history, monitor.checkpoints.kept)


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
