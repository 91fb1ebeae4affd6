"""What Lightning calls around the steps: evaluation, stopping, checkpoints, the progress bar."""

import math
import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import lightning.pytorch as lightning
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from diffeo.bijections.chain import inversion_error, warn_if_doubtful
from diffeo.train.bar import make_bar
from diffeo.train.batches import Batch
from diffeo.train.devices import fork_random
from diffeo.train.history import History, TrainingError, Watch
from diffeo.train.interrupts import Interrupts
from diffeo.train.module import Training
from diffeo.train.plan import Plan
from diffeo.train.resume import Checkpoints
from diffeo.train.tally import Tally

MAX_SKIPPED = 100
"""How many batches on end may be skipped before training gives up."""


class Monitor(Callback):
    """Evaluates the averaged weights every so often, keeps the best, and says when to stop.

    Args:
        history: what it writes to.
        validation: gives the batches of the held-out rows; None to keep the last weights instead of
            the best.
        seed: of the noise that evaluation draws, the same each time, so that only the weights
            differ.
        progress, watch: as for `fit`.
        checkpoints: where the state goes now and then.
        interrupts: which notes that somebody wants training to end.
    """

    def __init__(
        self,
        history: History,
        validation: Callable[[], Iterable[Batch]] | None,
        seed: int,
        progress: bool | Callable[[History], None],
        watch: Watch | None,
        checkpoints: Checkpoints,
        interrupts: Interrupts,
    ):
        self.history, self.validation, self.seed = history, validation, seed
        self.checkpoints, self.interrupts = checkpoints, interrupts
        self.best: dict[str, Tensor] = {}
        self.waited = 0
        self.interrupted = False
        self._watch, self._report = watch, progress if callable(progress) else None
        self._shown = bool(progress) and self._report is None
        self._bar: Any = None

    def on_train_start(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """The first entry of the history, before the first step; or the state of a checkpoint."""
        self.interrupts.listen()
        module: Training = pl_module
        module.tally.start()
        main, total = module.processes.main, module.plan.max_steps
        self._bar = make_bar(self._shown and main, total, self.checkpoints.steps)
        resumed = self.checkpoints.found is not None
        if resumed:
            self.waited = self.checkpoints.restore(
                module.model,
                self.best,
                module.average,
                trainer.optimizers[0],
                module.tally,
                self.history,
            )
        if not main:  # noise of its own, as its rows are
            torch.manual_seed(
                (self.seed + 3_000_017 * module.processes.rank + 7_000_003 * module.tally.steps)
                % 2**63
            )
        if not resumed:
            self._evaluate(trainer, module)
        self.checkpoints.begin()

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Evaluates where it is time to, stops where it is time to, and keeps the state."""
        plan: Plan = pl_module.plan
        tally: Tally = pl_module.tally
        if tally.skipped_on_end >= MAX_SKIPPED:
            raise TrainingError(
                f"fit: the loss or its gradient was not finite for {MAX_SKIPPED} batches on end, "
                f"up to step {tally.steps}; try a smaller learning_rate, or look for extreme "
                "values in the data"
            )
        late = plan.max_time is not None and tally.clock >= plan.max_time
        last = late or tally.steps >= plan.max_steps
        if last or tally.steps % plan.evaluate_every == 0:
            self._evaluate(trainer, pl_module)
        if last:
            self._stop(trainer, "max_time" if late else "max_steps")
        elif self.validation is not None and self.waited >= plan.patience:
            self._stop(trainer, "patience")
        self._keep(trainer, pl_module)
        self._bar.update()

    def _keep(self, trainer: lightning.Trainer, module: Training) -> None:
        """Writes a checkpoint where it is time to, and ends the run where a signal asks for it."""
        asked, due = self.interrupts.asked, self.checkpoints.due()
        if module.processes.world > 1:
            interrupt, terminate, first_due = module.processes.total(
                asked == signal.SIGINT, asked == signal.SIGTERM, due and module.processes.main
            )
            asked = signal.SIGINT if interrupt else signal.SIGTERM if terminate else 0
            self.interrupts.asked, due = asked, bool(first_due)
        if due or asked or self.history.stopped:
            self._bring_together(module)
            self._sum_up(module.tally)
            self.checkpoints.write(
                module.model,
                self.best,
                module.average,
                trainer.optimizers[0],
                module.tally,
                self.history,
                self.waited,
            )
        if asked and not self.history.stopped:
            self._stop(trainer, "interrupted")

    def on_exception(
        self, trainer: lightning.Trainer, pl_module: Any, exception: BaseException
    ) -> None:
        """Remembers that it was Ctrl-C, which Lightning turns into SystemExit."""
        self.interrupted = isinstance(exception, KeyboardInterrupt)

    def close(self, module: Training) -> None:
        """Ends the bar and fills in what is known at the end."""
        if self._bar is not None:
            self._bar.close()
        self._sum_up(module.tally)

    def _sum_up(self, tally: Tally) -> None:
        self.history.skipped = tally.skipped
        self.history.rows_per_second = tally.rows / max(tally.seconds, 1e-9)

    def _stop(self, trainer: lightning.Trainer, why: str) -> None:
        self.history.stopped = why
        trainer.should_stop = True

    def _evaluate(self, trainer: lightning.Trainer, module: Training) -> None:
        history = self.history
        self._bring_together(module)
        with module.average.swapped():
            held_out = math.nan if self.validation is None else self._measure(module)
            # The first figure may be no number; whatever follows is then as good.
            improved = math.isnan(history.best_validation) or held_out > history.best_validation
            if improved:
                self.best = {
                    name: value.detach().clone()
                    for name, value in module.model.state_dict().items()
                }
            history.steps.append(module.tally.steps)
            history.train.append(module.tally.take_mean())
            history.validation.append(held_out)
            history.seconds.append(module.tally.seconds)
            if improved:
                history.best_step, history.best_validation = module.tally.steps, held_out
            if self._watch is not None and module.processes.main:
                with _looking(module):
                    self._watch(module.model, history)
        self.waited = 0 if improved else self.waited + 1
        self._show(trainer, module)
        if self._report is not None and module.processes.main:
            self._report(history)

    def _bring_together(self, module: Training) -> None:
        """Running statistics are those of the first process's share of the batches."""
        module.processes.follow(module.model.buffers())

    def _measure(self, module: Training) -> float:
        """Minus the objective's mean over the held-out rows, evaluation mode, equal noise."""
        total = rows = 0.0
        with _looking(module):
            torch.manual_seed(self.seed)
            for batch in self.validation():  # type: ignore[misc]
                count = len(batch.x) if batch.weights is None else float(batch.weights.sum())
                total -= float(module.loss(batch)) * count
                rows += count
        total, rows = module.processes.total(total, rows)
        return total / rows

    def _show(self, trainer: lightning.Trainer, module: Training) -> None:
        history, tally = self.history, module.tally
        speed = tally.rows / max(history.seconds[-1], 1e-9)
        shown = {"train": history.train[-1], "held-out": history.validation[-1]}
        bar = {name: f"{value:.3f}" for name, value in shown.items() if math.isfinite(value)}
        bar |= {"nats, rows/s": f"{speed:.0f}"} | (
            {"skipped": str(tally.skipped)} if tally.skipped else {}
        )
        self._bar.set_postfix(bar)
        metrics = {
            "train_nats": history.train[-1],
            "validation_nats": history.validation[-1],
            "learning_rate": module.plan.rate(tally.steps, history.seconds[-1]),
            "rows_per_second": speed,
            "skipped": float(tally.skipped),
        }
        if (error := inversion_error(module.model)) is not None:
            warn_if_doubtful(error)
            metrics["inversion_error"] = error
        for logger in trainer.loggers:
            logger.log_metrics(
                {k: v for k, v in metrics.items() if math.isfinite(v)}, step=tally.steps
            )


@contextmanager
def _looking(module: Training) -> Iterator[None]:
    """A block with the model in evaluation mode, that leaves no trace in modes or random states."""
    model, device = module.model, module.device
    training = model.training
    model.eval()
    # In full precision: mixed precision is for the steps.
    with torch.no_grad(), fork_random(device), torch.autocast(device.type, enabled=False):
        yield
    model.train(training)
