"""Batches of data that is in memory: whole batches are indexed at once, never row by row."""

from collections.abc import Iterator

import torch
from torch import Tensor

from diffeo.contexts import Context
from diffeo.train.inputs import move, take


class BatchStream:
    """An endless stream of shuffled batches, each a function of the seed and the step alone.

    Every epoch has a permutation of its own, drawn from (seed, epoch), and is cut into batches of
    equal size; the rows that are left over are others in the next epoch.

    Args:
        x: (rows, *event).
        context: with as many rows, or None.
        batch_size: rows a batch; all of them where there are fewer.
        seed: of the order.
        device: where batches go.
        dtype: of the batches of x.
        start: the first step.
    """

    def __init__(
        self,
        x: Tensor,
        context: Context,
        batch_size: int,
        seed: int,
        device: torch.device,
        dtype: torch.dtype,
        start: int = 0,
    ):
        self.x, self.context = x, context
        self.batch_size = min(batch_size, len(x))
        self.seed, self.device, self.dtype, self.start = seed, device, dtype, start
        self.steps_per_epoch = len(x) // self.batch_size

    def __iter__(self) -> Iterator[tuple[Tensor, Context]]:
        epoch, skip = divmod(self.start, self.steps_per_epoch)
        while True:
            order = self.order(epoch)
            for step in range(skip, self.steps_per_epoch):
                index = order[step * self.batch_size : (step + 1) * self.batch_size]
                yield self._batch(index)
            epoch, skip = epoch + 1, 0

    def order(self, epoch: int) -> Tensor:
        """The order of the rows in an epoch."""
        generator = torch.Generator().manual_seed((self.seed * 1_000_003 + epoch) % 2**63)
        return torch.randperm(len(self.x), generator=generator).to(self.x.device)

    def _batch(self, index: Tensor) -> tuple[Tensor, Context]:
        x = self.x[index].to(self.device, self.dtype)
        return x, move(take(self.context, index), self.device)


def in_order(
    x: Tensor, context: Context, batch_size: int, device: torch.device, dtype: torch.dtype
) -> Iterator[tuple[Tensor, Context]]:
    """Every row once, in order, in batches of at most that size."""
    for start in range(0, len(x), batch_size):
        rows = slice(start, start + batch_size)
        yield x[rows].to(device, dtype), move(take(context, rows), device)
