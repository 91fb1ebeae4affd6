"""Inverting an autoregressive flow: all positions at once, beside one after another.

    python -m benchmarks.inverting --data DIR [--rounds 7] [--threads 2] [--write]

Masked autoregressive flows of 5 transforms are trained for 1,000 steps (500 for the images), as
`fit` does it: on the patches of benchmarks/tables.py (63 columns; affine maps and splines, hidden
layers of 256) and on MNIST (784 pixels, dequantized, through a logit; affine maps, hidden layers of
512). Draws from the base are then decoded by stepping and by Jacobi's iteration, in one process,
taking turns, in float32 without gradients. Medians are given; how many passes of the network
Jacobi's iteration took in each transform, how many events it left to stepping; the largest relative
gap between the two results; and which of the two `solver="auto"` takes.

DIR holds natural_patches_8x8.npz and mnist/train-images-idx3-ubyte.gz. `--write` keeps the table in
benchmarks/results/inverting.md.
"""

import argparse
import gzip
import os
import statistics
import sys
import time
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

import diffeo
from benchmarks._conditions import conditions, tell
from benchmarks._tables import load
from diffeo.bijections import Autoregressive
from diffeo.density import Flow
from diffeo.train import fit

RESULTS = Path(__file__).parent / "results" / "inverting.md"
EVENTS = (1, 16, 64, 256, 1024)


@dataclass(frozen=True)
class Case:
    """A flow, and what it is trained on."""

    data: str
    scalar: str
    hidden: int
    steps: int


CASES = [
    Case("patches", "affine", 256, 1_000),
    Case("patches", "spline", 256, 1_000),
    Case("mnist", "affine", 512, 500),
]


def rows_of(name: str, folder: Path) -> Tensor:
    """Rows to train on."""
    if name == "patches":
        return load("patches", folder).train
    with gzip.open(folder / "mnist" / "train-images-idx3-ubyte.gz") as file:
        raw = file.read()
    pixels = torch.from_numpy(np.frombuffer(raw, np.uint8, offset=16).reshape(-1, 784).copy())
    noise = torch.rand(pixels.shape, generator=torch.Generator().manual_seed(0))
    inside = 0.01 + 0.98 * (pixels + noise) / 256
    return inside.log() - (-inside).log1p()


def trained(case: Case, folder: Path) -> Flow:
    """The flow of a case."""
    x = rows_of(case.data, folder)
    torch.manual_seed(0)
    flow = diffeo.create(
        "maf", features=x.shape[1], hidden=(case.hidden, case.hidden), scalar=case.scalar
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"fit: .*")
        fit(flow, x, max_steps=case.steps)
    return flow.eval()


def maps_of(flow: Flow) -> list[Autoregressive]:
    """The autoregressive maps, from the base's side."""
    return [part for part in reversed(list(flow.modules())) if isinstance(part, Autoregressive)]


def decode(flow: Flow, z: Tensor, solver: str) -> tuple[Tensor, float]:
    """Decoded rows, and the seconds it took."""
    for part in maps_of(flow):
        part.solver = solver  # type: ignore[assignment]
    start = time.perf_counter()
    x = flow.decode(z)
    return x, time.perf_counter() - start


def passes(flow: Flow, z: Tensor) -> tuple[list[int], int]:
    """Passes of the network that each transform takes, and how many events are left unsolved."""
    taken, left = [], 0
    for part in maps_of(flow):
        found = part.invert_at_once(z)
        taken.append(found.rounds)
        left += int((~found.solved).sum())
        part.solver = "step"
        z = part.inverse(z)[0]
    return taken, left


def line(case: Case, flow: Flow, events: int, rounds: int) -> str:
    """One line of the table."""
    torch.manual_seed(events)
    z = flow.base.sample(events)
    seconds: dict[str, list[float]] = {"step": [], "jacobi": []}
    results = {}
    for index in range(rounds + 1):
        for solver, taken in seconds.items():
            results[solver], second = decode(flow, z, solver)
            if index > 0:  # the first allocates
                taken.append(second)
    step, jacobi = (statistics.median(seconds[solver]) for solver in ("step", "jacobi"))
    gap = (results["step"] - results["jacobi"]).abs() / (1 + results["step"].abs())
    taken, left = passes(flow, z)
    first = maps_of(flow)[0]
    first.solver = "auto"
    auto = "jacobi" if first._patience(z) else "step"
    cells = [f"{case.data}, {case.scalar}", str(z.shape[-1]), f"{events:,}"]
    cells += [f"{step / jacobi:.2f}", f"{1e3 * step:.1f} ms", f"{1e3 * jacobi:.1f} ms"]
    cells += [", ".join(map(str, taken)), str(left), f"{float(gap.max()):.0e}", auto]
    text = f"| {' | '.join(cells)} |"
    print(text, file=sys.stderr, flush=True)
    return text


def main() -> None:
    """Measure, print, and keep the result if asked to."""
    parser = argparse.ArgumentParser(description="Two ways to invert an autoregressive flow.")
    parser.add_argument(
        "--data",
        type=Path,
        default=os.environ.get("DIFFEO_DATA"),
        help="the folder of the data; DIFFEO_DATA where it is not given",
    )
    parser.add_argument("--rounds", type=int, default=7, help="turns of each (7)")
    parser.add_argument("--threads", type=int, default=2, help="threads of torch (2)")
    parser.add_argument("--write", action="store_true", help="keep the table")
    arguments = parser.parse_args()
    if arguments.data is None:
        print("left out: it needs data that is not part of the project; give --data or DIFFEO_DATA")
        return
    if arguments.rounds < 1 or arguments.threads < 1:
        parser.error("--rounds and --threads: at least 1")
    torch.set_num_threads(arguments.threads)
    lines = []
    for case in CASES:
        print(f"{case.data}, {case.scalar}: training …", file=sys.stderr, flush=True)
        flow = trained(case, Path(arguments.data))
        with torch.no_grad():
            lines += [line(case, flow, events, arguments.rounds) for events in EVENTS]
    table = "\n".join(
        [
            "# Inverting an autoregressive flow",
            "",
            "5 transforms, trained, float32, without gradients, eager, "
            f"{arguments.threads} threads. Medians of {arguments.rounds} rounds.",
            "",
            "| flow | D | events | Jacobi times faster | stepping | Jacobi | passes a transform "
            "| left to stepping | largest relative gap | auto takes |",
            "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
            *lines,
            "",
            "Made by `python -m benchmarks.inverting --data DIR --rounds "
            f"{arguments.rounds} --threads {arguments.threads} --write`.",
            "",
            conditions("diffeo", "torch"),
            "",
        ]
    )
    tell(table, RESULTS, arguments.write)


if __name__ == "__main__":
    main()
