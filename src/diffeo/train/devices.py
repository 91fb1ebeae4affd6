"""Where training runs."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from diffeo.density import Density
from diffeo.steps import sequential
from diffeo.train.inputs import model_device, model_dtype
from diffeo.train.processes import Processes


def choose_device(
    device: str | torch.device, model: Density, processes: Processes | None = None
) -> torch.device:
    """The device of that name; "auto" is the model's own if that is no CPU, or else an accelerator.

    Each of several processes has the GPU of its place on its machine, or all have the CPU.

    Raises:
        ValueError: if it can't be used.
    """
    if processes is not None and processes.world > 1:
        return _device_of(str(device), processes)
    if device != "auto":
        try:
            chosen = torch.device(device)
            torch.empty(0, device=chosen)
        except (RuntimeError, AssertionError) as error:
            reason = str(error).splitlines()[0]
            raise ValueError(f"fit: device {str(device)!r} can't be used: {reason}") from None
        return chosen
    here = model_device(model)
    if here.type != "cpu":
        return here
    if torch.cuda.is_available():
        return torch.device("cuda", torch.cuda.current_device())
    if torch.backends.mps.is_available() and model_dtype(model) == torch.float32:
        return torch.device("mps")
    return here


def _device_of(name: str, processes: Processes) -> torch.device:
    if name not in ("auto", "cpu", "cuda"):
        raise ValueError(
            f"fit: device {name!r} can't be shared by {processes.world} processes; give cuda, for "
            "a GPU each, or cpu"
        )
    if name == "cpu" or (name == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    gpus = torch.cuda.device_count()
    if gpus < processes.local_world:
        raise ValueError(
            f"fit: {processes.local_world} processes on this machine need a GPU each, and there "
            f"are {gpus}; start fewer, or give device cpu"
        )
    return torch.device("cuda", processes.local_rank)


def trainer_options(
    device: torch.device, processes: Processes, unused: bool = False
) -> dict[str, Any]:
    """The same in the words of Lightning's trainer.

    Args:
        device: of this process.
        processes: which train together.
        unused: whether there are parameters that the objective does not use.
    """
    if processes.world > 1:
        from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
        from lightning.pytorch.strategies import DDPStrategy

        return {
            "accelerator": device.type,
            "devices": processes.local_world,
            "num_nodes": processes.world // processes.local_world,
            # Buffers are sent where they are used, not before every step.
            "strategy": DDPStrategy(find_unused_parameters=unused, broadcast_buffers=False),
            "plugins": [TorchElasticEnvironment()],
        }
    if device.type == "cuda":
        return {"accelerator": "cuda", "devices": [device.index or 0]}
    return {"accelerator": device.type, "devices": 1}


@contextmanager
def fork_random(device: torch.device) -> Iterator[None]:
    """A block whose random draws leave the global random states as they were."""
    mps = torch.mps.get_rng_state() if device.type == "mps" else None
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        try:
            yield
        finally:
            if mps is not None:
                torch.mps.set_rng_state(mps)


def where_quick(density: Density, *, stepping: bool | None = None) -> Density:
    """The density itself; a copy on the CPU of one that goes step by step on a GPU.

    A step is a few small operations, which a CPU makes in less time than a GPU takes to start.

    Args:
        density: to draw from, or to score with.
        stepping: whether that goes step by step; None: whether drawing does.
    """
    stepping = sequential(density) is not None if stepping is None else stepping
    if model_device(density).type == "cpu" or not stepping:
        return density
    return copy.deepcopy(density).cpu()
