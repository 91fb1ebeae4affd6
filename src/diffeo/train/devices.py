"""Where training runs."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

from diffeo.density import Density
from diffeo.train.inputs import model_device, model_dtype


def choose_device(device: str | torch.device, model: Density) -> torch.device:
    """The device of that name; "auto" is the model's own if that is no CPU, or else an accelerator.

    Raises:
        ValueError: if it can't be used.
    """
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


def accelerator(device: torch.device) -> dict[str, Any]:
    """The same in the words of Lightning's trainer."""
    if device.type == "cuda":
        return {"accelerator": "cuda", "devices": [device.index or 0]}
    return {"accelerator": device.type, "devices": 1}


def fork_random(device: torch.device) -> AbstractContextManager[None]:
    """A block whose random draws leave the global random states as they were."""
    if device.type == "cuda":
        return torch.random.fork_rng(devices=[device])
    return torch.random.fork_rng(devices=[]) if device.type == "cpu" else nullcontext()
