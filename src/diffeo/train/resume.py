"""What a checkpoint of a run holds, when it is written, and how a run goes on from it."""

import hashlib
import math
import time
import warnings
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from diffeo.density import Density
from diffeo.objectives import Objective
from diffeo.train.augment import Augment, name_of
from diffeo.train.average import WeightAverage
from diffeo.train.checkpoint import (
    CheckpointError,
    check_place,
    read_checkpoint,
    remove_stale,
    write_checkpoint,
)
from diffeo.train.history import History
from diffeo.train.inputs import Examples
from diffeo.train.plan import Options, Plan
from diffeo.train.tally import Tally

_PIECE = 2**22
"""Rows are digested so many elements at a time."""
_BEFORE = {"accumulate": 1, "augment": None, "objective": None}
"""What runs had before there was the option: their checkpoints do not name it."""


class Checkpoints:
    """Writes the state of a run to a file now and then, and brings it back.

    Args:
        path: the file; None for no checkpoints.
        every: seconds between two of them; 0 for one after every step.
        identity: what a run must agree in to go on from another's checkpoint (`identify`).
        writes: whether this process is the one that writes.
    """

    def __init__(
        self, path: Path | None, every: float, identity: Mapping[str, Any], writes: bool = True
    ):
        self.path, self.every, self.identity = path, every, dict(identity)
        self.writes = writes
        self.kept: Path | None = None
        """The file, once it holds this run."""
        self.found: tuple[dict[str, Tensor], dict[str, Any]] | None = None
        """What `load` read, until it is restored."""
        self._last = time.monotonic()

    def load(self, resume: bool) -> None:
        """Clears away what killed runs left, and reads the checkpoint if the run is to go on.

        Raises:
            ValueError: if no checkpoint can be written there.
            CheckpointError: if the file is damaged or of another run.
        """
        if self.path is None:
            return
        check_place(self.path)
        if self.writes:
            remove_stale(self.path)
        if not resume:
            return
        if not self.path.exists():
            if self.writes:
                warnings.warn(
                    f"fit: there is no checkpoint {str(self.path)!r} to resume from; training "
                    "starts from the beginning",
                    stacklevel=3,
                )
            return
        self.found = read_checkpoint(self.path)
        self._check(self.found[1].get("run", {}))
        self.kept = self.path

    @property
    def finished(self) -> bool:
        """Whether what was read is a run that came to its end."""
        return self.found is not None and bool(self.found[1]["history"]["stopped"])

    @property
    def steps(self) -> int:
        """Steps that were done before."""
        return 0 if self.found is None else self.found[1]["tally"]["steps"]

    def begin(self) -> None:
        """Time runs from here until the next checkpoint."""
        self._last = time.monotonic()

    def due(self) -> bool:
        """Whether it is time for one."""
        return self.path is not None and time.monotonic() - self._last >= self.every

    def write(
        self,
        model: Density,
        best: Mapping[str, Tensor],
        average: WeightAverage,
        optimizer: torch.optim.Optimizer,
        tally: Tally,
        history: History,
        waited: int,
    ) -> None:
        """Writes the state as it is between two steps. What goes wrong is told, and no more."""
        if self.path is None or not self.writes:
            return
        tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
        tensors |= {f"best.{name}": value for name, value in best.items()}
        tensors |= {f"average.{i}": value for i, value in enumerate(average.averages)}
        for i, state in optimizer.state_dict()["state"].items():
            tensors |= {f"adam.{i}.{name}": value for name, value in state.items()}
        tensors |= _random_states(next(iter(model.parameters())).device)
        note = {
            "run": self.identity,
            "history": history.to_dict(),
            "tally": tally.state(),
            "average": average.count,
            "waited": waited,
        }
        try:
            write_checkpoint(self.path, tensors, note)
            self.kept = self.path
        except OSError as error:
            kept = "the one before is kept" if self.kept else "there is none"
            warnings.warn(
                f"fit: the checkpoint {str(self.path)!r} could not be written "
                f"({error.strerror or error}); {kept}, and training goes on",
                stacklevel=2,
            )
        self._last = time.monotonic()

    def restore(
        self,
        model: Density,
        best: dict[str, Tensor],
        average: WeightAverage,
        optimizer: torch.optim.Optimizer | None,
        tally: Tally,
        history: History,
    ) -> int:
        """Puts everything back as it was; the number of evaluations that brought nothing better.

        The random states come last: nothing may draw before the next step.

        Raises:
            RuntimeError: if `load` found no run, or it was restored already.
        """
        if self.found is None:
            raise RuntimeError("Checkpoints: there is nothing to restore; call load first")
        (tensors, note), self.found = self.found, None
        device = next(iter(model.parameters())).device
        model.load_state_dict(_part(tensors, "model."))
        best.clear()
        best |= {name: value.to(device) for name, value in _part(tensors, "best.").items()}
        with torch.no_grad():
            for i, value in enumerate(average.averages):
                value.copy_(tensors[f"average.{i}"])
        average.count = note["average"]
        if optimizer is not None:
            states: dict[int, dict[str, Tensor]] = {}
            for name, value in _part(tensors, "adam.").items():
                index, _, key = name.partition(".")
                states.setdefault(int(index), {})[key] = value
            optimizer.load_state_dict({**optimizer.state_dict(), "state": states})
        tally.set_state(note["tally"])
        for name, value in note["history"].items():
            setattr(history, name, value)
        _set_random_states(tensors, device)
        return note["waited"]

    def _check(self, found: Mapping[str, Any]) -> None:
        found = {**_BEFORE, **found}
        differ = [
            (name, found.get(name), value)
            for name, value in self.identity.items()
            if found.get(name) != value
        ]
        if not differ:
            return
        name, there, here = differ[0]
        if isinstance(there, Mapping) and isinstance(here, Mapping):  # of parts: the first of them
            name, there, here = next(
                (part, there.get(part), here.get(part))
                for part in {**here, **there}
                if there.get(part) != here.get(part)
            )
        said = (
            f"{name} differs"
            if isinstance(here, (str, dict)) and name not in ("schedule", "precision", "augment")
            else f"{name} was {there}, and is {here} now"
        )
        more = f" (and {len(differ) - 1} more)" if len(differ) > 1 else ""
        raise CheckpointError(
            f"{self.path}: is of another run: {said}{more}; give what it was made with, or start "
            "anew without resume"
        )


def identify(
    model: Density,
    train: Examples,
    held_out: Examples | None,
    plan: Plan,
    options: Options,
    augment: Augment | None,
    seed: int,
    objective: Objective,
) -> dict[str, Any]:
    """What makes a run the run it is, as plain values. The first that differs is what is told.

    Of the objective this is what it says of itself, its attribute `identity`: plain values by name.
    """
    tensors = model.state_dict().items()
    shapes = [(name, str(value.dtype), list(value.shape)) for name, value in tensors]
    made = (type(model).__name__, getattr(model, "config", None), shapes)
    held = "" if held_out is None else digest(held_out)
    others = ("weight_decay", "clip", "average", "precision", "accumulate")
    return {
        "the model": hashlib.sha256(repr(made).encode()).hexdigest(),
        "rows": len(train.x),
        "the training data": digest(train),
        "validation rows": 0 if held_out is None else len(held_out.x),
        "the held-out data": held,
        "seed": int(seed),
        **{name: value for name, value in asdict(options).items() if name in others},
        **asdict(plan),
        "augment": name_of(augment),
        "objective": getattr(objective, "identity", None),
    }


def digest(data: Examples) -> str:
    """A SHA-256 of rows, context and weights."""
    hashed = hashlib.sha256()
    context = data.context if isinstance(data.context, Mapping) else {"": data.context}
    for name, tensor in [("x", data.x), *sorted(context.items()), ("weights", data.weights)]:
        if tensor is None:
            continue
        hashed.update(f"{name} {tensor.dtype} {tuple(tensor.shape)};".encode())
        rows = max(1, _PIECE // max(1, math.prod(tensor.shape[1:])))
        for piece in tensor.split(rows):
            flat = piece.detach().cpu().contiguous().reshape(-1)
            hashed.update(flat.view(torch.uint8).numpy().data)
    return hashed.hexdigest()


def _part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def _random_states(device: torch.device) -> dict[str, Tensor]:
    states = {"random.cpu": torch.random.get_rng_state()}
    if device.type == "cuda":
        states["random.cuda"] = torch.cuda.get_rng_state(device)
    elif device.type == "mps":
        states["random.mps"] = torch.mps.get_rng_state()
    return states


def _set_random_states(tensors: Mapping[str, Tensor], device: torch.device) -> None:
    torch.random.set_rng_state(tensors["random.cpu"])
    if device.type == "cuda" and "random.cuda" in tensors:
        torch.cuda.set_rng_state(tensors["random.cuda"], device)
    elif device.type == "mps" and "random.mps" in tensors:
        torch.mps.set_rng_state(tensors["random.mps"])
