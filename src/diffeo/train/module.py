"""What Lightning runs: the step of the optimizer."""

import math
from typing import Any

import lightning.pytorch as lightning
import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from diffeo.density import Density
from diffeo.objectives import Objective
from diffeo.train.average import WeightAverage
from diffeo.train.batches import Batch
from diffeo.train.devices import fork_random
from diffeo.train.plan import Plan
from diffeo.train.processes import Processes
from diffeo.train.tally import Tally


class Training(lightning.LightningModule):
    """A density, its objective and its optimizer. A batch that is not finite changes nothing.

    Of several processes each takes its share s of a batch. Its loss counts s times, so that the
    sum of the gradients over processes is the gradient on the whole batch.
    """

    def __init__(
        self,
        model: Density,
        objective: Objective,
        plan: Plan,
        average: WeightAverage,
        weight_decay: float,
        clip: float | None,
        processes: Processes,
    ):
        super().__init__()
        self.automatic_optimization = False
        self.model, self.objective, self.plan, self.average = model, objective, plan, average
        self.weight_decay, self.clip = weight_decay, math.inf if clip is None else clip
        self.processes, self.tally = processes, Tally()
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

    def transfer_batch_to_device(self, batch: Any, device: Any, dataloader_idx: int) -> Any:
        """Batches are where they should be: no search through them for tensors."""
        return batch

    def loss(self, batch: Batch) -> Tensor:
        """The objective of a batch."""
        if batch.weights is None:
            return self.objective(self.model, batch.x, batch.context)
        return self.objective(self.model, batch.x, batch.context, weights=batch.weights)

    def has_unused(self, batch: Batch) -> bool:
        """Whether there are parameters that the objective does not use, judged by a batch."""
        training = self.model.training
        self.model.eval()  # running statistics stay as they are
        with fork_random(batch.x.device):
            gradients = torch.autograd.grad(self.loss(batch), self._trained, allow_unused=True)
        self.model.train(training)
        return any(gradient is None for gradient in gradients)

    def training_step(self, batch: Batch, batch_idx: int) -> None:
        """One step of the optimizer, unless the batch is skipped."""
        optimizer: Any = self.optimizers()
        optimizer.zero_grad()
        loss, tally = self.loss(batch), self.tally
        world = self.processes.world
        # The mean over processes that follows divides by their number.
        self.manual_backward(loss if world == 1 else loss * (batch.share * world))
        norm = clip_grad_norm_(self._trained, self.clip)
        value, rows = float(loss.detach() + 0.0 * norm), len(batch.x)
        tally.clock = tally.seconds
        if world > 1:
            clock = tally.clock if self.processes.main else 0.0
            value, tally.clock, count = self.processes.total(value * batch.share, clock, rows)
            rows = int(count)
        taken = math.isfinite(value)
        if taken:
            for group in optimizer.param_groups:
                group["lr"] = self.plan.rate(tally.steps, tally.clock)
            optimizer.step()
            self.average.update()
        tally.add(value if taken else None, rows)
