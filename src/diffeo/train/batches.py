"""Batches of data that is in memory: whole batches are indexed at once, never row by row."""

from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from diffeo.contexts import Context
from diffeo.train.inputs import Examples, move


class Batch(NamedTuple):
    """Rows that one process takes through one step."""

    x: Tensor
    context: Context
    weights: Tensor | None
    share: float
    """Which part of the step's rows, by weight, these are: 1 where one process trains at once."""

    def parts(self, count: int) -> "list[Batch]":
        """The same rows in that many batches, in order and about as many in each."""
        if count == 1:
            return [self]
        bounds = [len(self.x) * i // count for i in range(count + 1)]
        rows = Examples(self.x, self.context, self.weights)
        parts = [rows.at(slice(start, end)) for start, end in pairwise(bounds)]
        # One transfer for all weights: each wait for a GPU costs time.
        weights = torch.ones(len(self.x)) if self.weights is None else self.weights.cpu()
        sums = [part.sum().item() for part in weights.double().tensor_split(bounds[1:-1])]
        total = sum(sums)
        return [
            Batch(*part, self.share * (own / total)) for part, own in zip(parts, sums, strict=True)
        ]


class BatchStream:
    """An endless stream of shuffled batches, each a function of the seed and the step alone.

    Every epoch has a permutation of its own, drawn from (seed, epoch), and is cut into batches of
    equal size; the rows that are left over are others in the next epoch. Where several processes
    train, each takes every so manieth row of every batch.

    Args:
        data: rows, context and weights.
        batch_size: rows a batch, of all processes together; all rows where there are fewer.
        seed: of the order.
        device: where batches go.
        dtype: of the weights; x keeps its own, smaller one where it is whole numbers.
        start: the first step.
        rank, world: which process this is, of how many.
    """

    def __init__(
        self,
        data: Examples,
        batch_size: int,
        seed: int,
        device: torch.device,
        dtype: torch.dtype,
        start: int = 0,
        rank: int = 0,
        world: int = 1,
    ):
        self.data = data
        self.batch_size = min(batch_size, len(data.x))
        self.seed, self.device, self.dtype, self.start = seed, device, dtype, start
        self.rank, self.world = rank, world
        self.steps_per_epoch = len(data.x) // self.batch_size

    def __iter__(self) -> Iterator[Batch]:
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
        return torch.randperm(len(self.data.x), generator=generator).to(self.data.x.device)

    def _batch(self, index: Tensor) -> Batch:
        share = 1.0
        if self.world > 1:
            whole, index = index, index[self.rank :: self.world]
            share = self._weight(index) / self._weight(whole)
        x, context, weights = self.data.at(index)
        weights = None if weights is None else weights.to(self.device, self.dtype)
        return Batch(x.to(self.device), move(context, self.device), weights, share)

    def _weight(self, index: Tensor) -> float:
        weights = self.data.weights
        if weights is None:
            return float(len(index))
        return float(weights[index].sum(dtype=torch.float64))


def shared_in_order(
    data: Examples,
    batch_size: int,
    device: torch.device,
    dtype: torch.dtype,
    rank: int = 0,
    world: int = 1,
) -> Iterator[Batch]:
    """Every row once, in order, in batches of at most that size; of those, this process's."""
    for start in range(rank * batch_size, len(data.x), world * batch_size):
        x, context, weights = data.at(slice(start, start + batch_size))
        weights = None if weights is None else weights.to(device, dtype)
        yield Batch(x.to(device, dtype), move(context, device), weights, 1.0)


def in_order(
    x: Tensor, context: Context, batch_size: int, device: torch.device, dtype: torch.dtype
) -> Iterator[tuple[Tensor, Context]]:
    """Every row once, in order, in batches of at most that size."""
    for batch in shared_in_order(Examples(x, context), batch_size, device, dtype):
        yield batch.x, batch.context
