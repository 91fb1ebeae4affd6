"""What Lightning runs: the step; after it evaluation, stopping and the progress bar."""

import math
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any

import lightning.pytorch as lightning
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor
from torch.nn.utils import clip_grad_norm_
from tqdm import tqdm

from diffeo.contexts import Context
from diffeo.density import Density
from diffeo.objectives import Objective
from diffeo.train.average import WeightAverage
from diffeo.train.devices import fork_random
from diffeo.train.history import History, TrainingError
from diffeo.train.plan import Plan

MAX_SKIPPED = 100
"""How many batches on end may be skipped before training gives up."""


class Tally:
    """What the steps add up to; apart from the module, whose attributes are slow to set."""

    def __init__(self) -> None:
        self.steps = self.skipped = self.skipped_on_end = self.rows = 0
        self.began = time.monotonic()
        self._total, self._taken = 0.0, 0

    def add(self, value: float | None, rows: int) -> None:
        """Counts a step of that objective; None for one that was skipped."""
        self.steps += 1
        self.rows += rows
        if value is None:
            self.skipped += 1
            self.skipped_on_end += 1
        else:
            self.skipped_on_end = 0
            self._total -= value
            self._taken += 1

    @property
    def seconds(self) -> float:
        """Since training began."""
        return time.monotonic() - self.began

    def take_mean(self) -> float:
        """Minus the mean objective since the last call; NaN where no step was taken."""
        mean = self._total / self._taken if self._taken else math.nan
        self._total, self._taken = 0.0, 0
        return mean


class Training(lightning.LightningModule):
    """A density, its objective and its optimizer. A batch that is not finite changes nothing."""

    def __init__(
        self,
        model: Density,
        objective: Objective,
        plan: Plan,
        average: WeightAverage,
        weight_decay: float,
        clip: float | None,
    ):
        super().__init__()
        self.automatic_optimization = False
        self.model, self.objective, self.plan, self.average = model, objective, plan, average
        self.weight_decay, self.clip = weight_decay, math.inf if clip is None else clip
        self.tally = Tally()
        self._trained = [parameter for parameter in model.parameters() if parameter.requires_grad]

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam, in its fused form where there is one: on a CPU it takes a quarter of the time."""
        fused = all(parameter.device.type in ("cpu", "cuda") for parameter in self._trained)
        return torch.optim.Adam(
            self._trained,
            lr=self.plan.learning_rate,
            weight_decay=self.weight_decay,
            fused=fused or None,
        )

    def training_step(self, batch: tuple[Tensor, Context], batch_idx: int) -> None:
        """One step of the optimizer, unless the batch is skipped."""
        x, context = batch
        optimizer: Any = self.optimizers()
        optimizer.zero_grad()
        loss = self.objective(self.model, x, context)
        self.manual_backward(loss)
        norm = clip_grad_norm_(self._trained, self.clip)
        value = float(loss.detach() + 0.0 * norm)
        taken = math.isfinite(value)
        if taken:
            for group in optimizer.param_groups:
                group["lr"] = self.plan.rate(self.tally.steps, self.tally.seconds)
            optimizer.step()
            self.average.update()
        self.tally.add(value if taken else None, len(x))


class Monitor(Callback):
    """Evaluates the averaged weights every so often, keeps the best, and says when to stop.

    Args:
        history: what it writes to.
        validation: gives the batches of the held-out rows; None to keep the last weights instead of
            the best.
        seed: of the noise that evaluation draws, the same each time, so that only the weights
            differ.
    """

    def __init__(
        self,
        history: History,
        validation: Callable[[], Iterable[tuple[Tensor, Context]]] | None,
        seed: int,
        progress: bool | Callable[[History], None],
    ):
        self.history, self.validation, self.seed = history, validation, seed
        self.best: dict[str, Tensor] = {}
        self.waited = 0
        self.interrupted = False
        self._report = progress if callable(progress) else None
        shown = progress and self._report is None and sys.stderr.isatty()
        self._bar = None if shown else tqdm(disable=True)

    def on_train_start(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """The first entry of the history, before the first step."""
        pl_module.tally.began = time.monotonic()
        if self._bar is None:
            self._bar = tqdm(
                total=pl_module.plan.max_steps,
                desc="training",
                unit="step",
                file=sys.stderr,
                leave=False,
            )
        self._evaluate(trainer, pl_module)

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Evaluates where it is time to, and stops training where it is time to."""
        plan: Plan = pl_module.plan
        tally: Tally = pl_module.tally
        if tally.skipped_on_end >= MAX_SKIPPED:
            raise TrainingError(
                f"fit: the loss or its gradient was not finite for {MAX_SKIPPED} batches on end, "
                f"up to step {tally.steps}; try a smaller learning_rate, or look for extreme "
                "values in the data"
            )
        late = plan.max_time is not None and tally.seconds >= plan.max_time
        last = late or tally.steps >= plan.max_steps
        if last or tally.steps % plan.evaluate_every == 0:
            self._evaluate(trainer, pl_module)
        if last:
            self._stop(trainer, "max_time" if late else "max_steps")
        elif self.validation is not None and self.waited >= plan.patience:
            self._stop(trainer, "patience")
        self._bar.update()  # type: ignore[union-attr]

    def on_exception(
        self, trainer: lightning.Trainer, pl_module: Any, exception: BaseException
    ) -> None:
        """Remembers that it was Ctrl-C, which Lightning turns into SystemExit."""
        self.interrupted = isinstance(exception, KeyboardInterrupt)

    def close(self, module: Training) -> None:
        """Ends the bar and fills in what is known at the end."""
        if self._bar is not None:
            self._bar.close()
        self.history.skipped = module.tally.skipped
        self.history.rows_per_second = module.tally.rows / max(module.tally.seconds, 1e-9)

    def _stop(self, trainer: lightning.Trainer, why: str) -> None:
        self.history.stopped = why
        trainer.should_stop = True

    def _evaluate(self, trainer: lightning.Trainer, module: Training) -> None:
        history = self.history
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
        self.waited = 0 if improved else self.waited + 1
        self._show(trainer, module)
        if self._report is not None:
            self._report(history)

    def _measure(self, module: Training) -> float:
        """Minus the objective's mean over the held-out rows, evaluation mode, equal noise."""
        model = module.model
        training = model.training
        device = module.device
        total = rows = 0.0
        model.eval()
        # In full precision: mixed precision is for the steps.
        with torch.no_grad(), fork_random(device), torch.autocast(device.type, enabled=False):
            torch.manual_seed(self.seed)
            for x, context in self.validation():  # type: ignore[misc]
                total -= float(module.objective(model, x, context)) * len(x)
                rows += len(x)
        model.train(training)
        return total / rows

    def _show(self, trainer: lightning.Trainer, module: Training) -> None:
        history, tally = self.history, module.tally
        speed = tally.rows / max(history.seconds[-1], 1e-9)
        shown = {"train": history.train[-1], "held-out": history.validation[-1]}
        bar = {name: f"{value:.3f}" for name, value in shown.items() if math.isfinite(value)}
        bar |= {"nats, rows/s": f"{speed:.0f}"} | (
            {"skipped": str(tally.skipped)} if tally.skipped else {}
        )
        self._bar.set_postfix(bar)  # type: ignore[union-attr]
        metrics = {
            "train_nats": history.train[-1],
            "validation_nats": history.validation[-1],
            "learning_rate": module.plan.rate(tally.steps, history.seconds[-1]),
            "rows_per_second": speed,
            "skipped": float(tally.skipped),
        }
        for logger in trainer.loggers:
            logger.log_metrics(
                {k: v for k, v in metrics.items() if math.isfinite(v)}, step=tally.steps
            )
