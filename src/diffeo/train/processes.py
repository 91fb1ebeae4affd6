"""The processes that train one model together, as torchrun starts them."""

import atexit
import hashlib
import os
import time
from collections.abc import Iterable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn


class Processes:
    """The processes of a run, seen from one of them. Outside torchrun there is one.

    torchrun tells each process its place by environment variables (WORLD_SIZE, RANK, LOCAL_RANK,
    LOCAL_WORLD_SIZE). The first that trains joins them into torch's default process group, which
    stays until the process ends: gloo between CPUs, nccl between GPUs.
    """

    def __init__(self) -> None:
        told = all(name in os.environ for name in ("WORLD_SIZE", "RANK", "LOCAL_RANK"))
        self.world = int(os.environ["WORLD_SIZE"]) if told and dist.is_available() else 1
        """How many there are."""
        self.rank = int(os.environ["RANK"]) if self.world > 1 else 0
        """Which this is, from 0."""
        self.local_rank = int(os.environ["LOCAL_RANK"]) if self.world > 1 else 0
        """Which of its machine this is."""
        self.local_world = int(os.environ.get("LOCAL_WORLD_SIZE", self.world))
        if self.world == 1:
            self.local_world = 1

    @property
    def main(self) -> bool:
        """Whether this is the one that writes, draws and warns."""
        return self.rank == 0

    def join(self) -> None:
        """Meets the others; does nothing where that was done or there are none."""
        if self.world > 1 and not dist.is_initialized():
            nccl = torch.cuda.is_available() and dist.is_nccl_available()
            if nccl:
                torch.cuda.set_device(self.local_rank % torch.cuda.device_count())
            dist.init_process_group("cpu:gloo,cuda:nccl" if nccl else "gloo")
            atexit.register(_part)

    def total(self, *values: float) -> list[float]:
        """The sums over all processes, each adding its values."""
        if self.world == 1:
            return list(values)
        sums = torch.tensor(values, dtype=torch.float64, device=self._device())
        dist.all_reduce(sums)
        return sums.tolist()

    def same(self, value: Any) -> bool:
        """Whether all processes give the same plain value."""
        if self.world == 1:
            return True
        number = int.from_bytes(hashlib.sha256(repr(value).encode()).digest()[:7], "big")
        own = torch.tensor([number], device=self._device())
        first = own.clone()
        dist.broadcast(first, src=0)
        return self.total(float(bool(first != own)))[0] == 0

    def follow(self, tensors: Iterable[Tensor]) -> None:
        """Gives every process the values that the first has."""
        if self.world == 1:
            return
        for tensor in tensors:
            value = tensor.detach().contiguous()
            moved = value if self._reaches(value) else value.to(self._device())
            dist.broadcast(moved, src=0)
            # What is equal may be an expanded view, which can't be written to.
            if moved.data_ptr() != tensor.data_ptr() and not torch.equal(moved.to(value), value):
                with torch.no_grad():
                    tensor.copy_(moved)

    def follow_model(self, model: nn.Module) -> None:
        """Gives every process the first's parameters and buffers."""
        self.follow([*model.parameters(), *model.buffers()])

    def _device(self) -> torch.device:
        return torch.device("cpu") if _carries("cpu") else torch.device("cuda", self.local_rank)

    def _reaches(self, tensor: Tensor) -> bool:
        return _carries(tensor.device.type)


def _carries(kind: str) -> bool:
    return f"{kind}:" in str(dist.get_backend_config())


def _part() -> None:
    """Ends the process group while the interpreter still runs.

    gloo's threads let go of the last tensors a moment after the collective is done, and for that
    they need the interpreter: without it they abort the process. Nothing tells when they are done,
    and DDP's reducer keeps the group alive, so that destroying it does not wait for them.
    """
    time.sleep(0.3)  # long beside what they need, short beside a training
    if dist.is_initialized():
        dist.destroy_process_group()
