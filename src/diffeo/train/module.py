"""What Lightning runs: the step of the optimizer."""

import math
from contextlib import nullcontext
from functools import partial
from typing import Any

import lightning.pytorch as lightning
import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from diffeo.density import Density
from diffeo.objectives import Objective
from diffeo.train.augment import Augment, augmented
from diffeo.train.average import WeightAverage
from diffeo.train.batches import Batch
from diffeo.train.devices import fork_random
from diffeo.train.inputs import model_dtype
from diffeo.train.plan import Options, Plan
from diffeo.train.processes import Processes
from diffeo.train.tally import Tally


class Training(lightning.LightningModule):
    """A density, its objective and its optimizer. A batch that is not finite changes nothing.

    Of several processes each takes its share of a batch, in several parts where it is told to. The
    loss of a part counts as often as the part's share s, so that the sum of the gradients over all
    parts of all processes is the gradient on the whole batch.
    """

    def __init__(
        self,
        model: Density,
        objective: Objective,
        plan: Plan,
        average: WeightAverage,
        options: Options,
        augment: Augment | None,
        processes: Processes,
    ):
        super().__init__()
        self.automatic_optimization = False
        self.model, self.objective, self.plan, self.average = model, objective, plan, average
        self.options, self.dtype_of_rows = options, model_dtype(model)
        # Not the function itself, which may be a module: it is no part of this one.
        self.augment = None if augment is None else partial(augmented, augment)
        self.clip = math.inf if options.clip is None else options.clip
        self.processes, self.tally = processes, Tally()
        self._trained = [parameter for parameter in model.parameters() if parameter.requires_grad]

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam, in its fused form where there is one: on a CPU it takes a quarter of the time."""
        fused = all(parameter.device.type in ("cpu", "cuda") for parameter in self._trained)
        return torch.optim.Adam(
            self._trained,
            lr=self.plan.learning_rate,
            weight_decay=self.options.weight_decay,
            fused=fused or None,
        )

    def transfer_batch_to_device(self, batch: Any, device: Any, dataloader_idx: int) -> Any:
        """Batches are where they should be: no search through them for tensors."""
        return batch

    def loss(self, batch: Batch) -> Tensor:
        """The objective of a batch."""
        x = batch.x.to(self.dtype_of_rows)
        if batch.weights is None:
            return self.objective(self.model, x, batch.context)
        return self.objective(self.model, x, batch.context, weights=batch.weights)

    def has_unused(self, batch: Batch) -> bool:
        """Whether there are parameters that the objective does not use, judged by a batch."""
        training = self.model.training
        self.model.eval()  # running statistics stay as they are
        part = batch.parts(self.options.accumulate)[0]
        with fork_random(batch.x.device):
            gradients = torch.autograd.grad(self.loss(part), self._trained, allow_unused=True)
        self.model.train(training)
        return any(gradient is None for gradient in gradients)

    def training_step(self, batch: Batch, batch_idx: int) -> None:
        """One step of the optimizer, unless the batch is skipped."""
        optimizer: Any = self.optimizers()
        optimizer.zero_grad()
        # Here and not where batches are made, which Lightning does ahead of the steps: a checkpoint
        # would hold the random state of a later batch.
        if self.augment is not None:
            batch = batch._replace(x=self.augment(batch.x))
        loss, tally = self._backward(batch), self.tally
        norm = clip_grad_norm_(self._trained, self.clip)
        value, rows = float(loss + 0.0 * norm), len(batch.x)
        tally.clock = tally.seconds
        if self.processes.world > 1:
            clock = tally.clock if self.processes.main else 0.0
            value, tally.clock, count = self.processes.total(value, clock, rows)
            rows = int(count)
        taken = math.isfinite(value)
        if taken:
            for group in optimizer.param_groups:
                group["lr"] = self.plan.rate(tally.steps, tally.clock)
            optimizer.step()
            self.average.update()
        tally.add(value if taken else None, rows)

    def _backward(self, batch: Batch) -> Tensor:
        """Sets the gradients, part after part, and gives what the batch adds to the step's loss."""
        world, total = self.processes.world, torch.zeros((), device=batch.x.device)
        *others, last = batch.parts(self.options.accumulate)
        strategy: Any = self.trainer.strategy
        for part in (*others, last):
            # Processes meet once a step, when each has added up its own gradients.
            apart = part is not last and world > 1
            with strategy.block_backward_sync() if apart else nullcontext():
                loss = self.loss(part)
                # The mean over processes that follows divides by their number.
                factor = part.share * world
                self.manual_backward(loss if factor == 1 else loss * factor)
            total = total + part.share * loss.detach()
        return total
