"""What two processes do together: run under torchrun by `test_processes.py`, and alone by it."""

import json
import os
import signal
import sys
import warnings
from pathlib import Path

import torch

from diffeo.models import create
from diffeo.train import TrainingInterrupted, fit
from tests.train.simple import Bell

RANK = int(os.environ.get("RANK", 0))
KINDS = [
    *((dtype, weighted, "maf") for dtype in (torch.float64, torch.float32) for weighted in (0, 1)),
    (torch.float64, 1, "realnvp"),
]
"""Dtypes, whether rows have weights, and models; couplings are recomputed by inversion."""


def data(rows=203, dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    return torch.randn(rows, 2, generator=generator, dtype=dtype) * torch.tensor([0.5, 2.0])


def flow(dtype, seed=0, name="maf"):
    torch.manual_seed(seed)
    memory = "invert" if name == "realnvp" else "store"
    return create(name, features=2, transforms=2, hidden=(8,), memory=memory).to(dtype)


def weights(rows):
    return torch.linspace(0.1, 3, rows)


def gradients(dtype, weighted, name, accumulate=1):
    """The gradients of the first step, on a batch that two can't share evenly."""
    model, x = flow(dtype, name=name), data(dtype=dtype)
    fit(
        model,
        x,
        weights=weights(len(x)) if weighted else None,
        max_steps=1,
        batch_size=31,
        accumulate=accumulate,
        clip=None,
        progress=False,
        device="cpu",
    )
    return [parameter.grad.tolist() for parameter in model.parameters()]


def state(model):
    return [parameter.tolist() for parameter in model.parameters()]


def trained(path=None, *, seed=0, **options):
    """A run of 40 steps, with unused parameters and averages."""
    model = flow(torch.float64, seed)
    model.register_parameter("unused", torch.nn.Parameter(torch.zeros(3).double()))
    x = data()
    told = []
    history = fit(
        model,
        x,
        weights=weights(len(x)),
        max_steps=40,
        batch_size=31,
        evaluate_every=10,
        progress=lambda history: told.append(history.steps[-1]),
        checkpoint=path,
        device="cpu",
        **options,
    )
    return state(model), history, told


def interrupted(path):
    """The same run, ended by a signal that only the second process gets, and resumed."""
    calls = {"n": 0}

    def objective(model, x, context, weights):
        calls["n"] += model.training
        if calls["n"] == 17 and RANK == 1:
            signal.raise_signal(signal.SIGINT)
        return -(weights * model(x, context)).sum() / weights.sum()

    try:
        trained(path, objective=objective)
    except TrainingInterrupted as error:
        steps = calls["n"], error.history.stopped
    return steps, trained(path, resume=True)[0]


def skipping():
    """A run in which only the second process meets batches that are not finite."""
    calls = {"n": 0}

    def objective(model, x, context):
        calls["n"] += model.training
        loss = -model(x, context).mean()
        return loss * torch.inf if model.training and RANK and calls["n"] % 5 == 0 else loss

    model = Bell(2)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        history = fit(model, data(), max_steps=20, objective=objective, progress=False)
    return history.skipped, len(caught), state(model)


def refused():
    """What a process says when it has other data than the first."""
    try:
        fit(Bell(2), data() + RANK, max_steps=2, progress=False)
    except ValueError as error:
        return str(error)


def everything(folder):
    """All of it as plain values."""
    found = {"gradients": [gradients(*kind) for kind in KINDS]}
    found["parts"] = [gradients(*kind, accumulate=4) for kind in KINDS]
    # Each process begins with weights of its own: those of the first count.
    found["trained"], history, found["told"] = trained(
        folder / "a", seed=RANK, log_dir=folder / f"logs{RANK}"
    )
    found["validation"], found["rows"] = history.validation, history.rows
    found["interrupted"], found["resumed"] = interrupted(folder / "b")
    found["skipping"] = skipping()
    found["watched"] = watched = []
    found["accumulated"] = trained(
        accumulate=4, watch=lambda model, history: watched.append(history.steps[-1])
    )[0]
    # Both processes would give the same rows the same noise, were it not their own.
    found["noise"] = noise = []
    fit(Bell(2), data(), augment=lambda x: noise.append(float(torch.rand(()))) or x, max_steps=3)
    return found


if __name__ == "__main__":
    torch.set_num_threads(1)
    folder = Path(sys.argv[1])
    found = everything(folder)
    found["refused"] = refused()
    (folder / f"{RANK}.json").write_text(json.dumps(found))
