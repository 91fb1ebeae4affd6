"""Inverting an autoregressive flow: all positions at once, beside one after another.

    python -m benchmarks.inverting --data DIR [--rounds 7] [--threads 2]
                                   [--device cuda] [--write]

Masked autoregressive flows are trained as `fit` does it: on the patches of benchmarks/tables.py (63
columns; `maf` with hidden layers of 256, and `nsf` with its defaults) and on MNIST (784 pixels,
dequantized, through a logit; `maf` with hidden layers of 512). Draws from the base are then decoded
by stepping, by Jacobi's iteration with as many rounds as it wants, and by what `solver="auto"`
makes of it; with steps in C, and with a network's steps of plain operations (splines stay in C),
which other machines, dtypes and networks have. All of it in one process, taking turns, in float32
without gradients. Medians are given and their quartiles, and how many passes of the network
Jacobi's iteration took in each transform: how many that are depends on how strongly a trained
flow's variables depend on each other, so that the flows' log-likelihood of test rows is given as
well.

DIR holds natural_patches_8x8.npz and mnist/train-images-idx3-ubyte.gz. `--write` keeps the table in
benchmarks/results/inverting.md.
"""

import argparse
import gzip
import os
import statistics
import sys
import warnings
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch import Tensor

import diffeo
from benchmarks._conditions import (
    add_device,
    conditions,
    on_gpu,
    result_on,
    said_device,
    tell,
    timed,
    use_device,
)
from benchmarks._tables import load
from diffeo.bijections import Autoregressive
from diffeo.bijections.autoregressive import Solver
from diffeo.contexts import Context
from diffeo.density import Flow
from diffeo.train import fit, score

RESULTS = Path(__file__).parent / "results" / "inverting.md"
EVENTS = (1, 16, 64, 256, 1024)


WAYS: dict[str, tuple[Solver, bool]] = {
    "stepping in C": ("step", True),
    "stepping": ("step", False),
    "Jacobi": ("jacobi", False),
    "auto without C": ("auto", False),
}
"""The solver of each way, and whether steps are in C; with them "auto" steps."""
HELD_OUT = 2_000


@dataclass(frozen=True)
class Case:
    """A flow, and what it is trained on."""

    model: str
    data: str
    steps: int
    options: dict[str, Any]


CASES = [
    Case("maf", "patches", 2_000, {"hidden": (256, 256)}),
    Case("nsf", "patches", 500, {}),
    Case("maf", "mnist", 500, {"hidden": (512, 512)}),
]


def rows_of(name: str, folder: Path) -> tuple[Tensor, Tensor]:
    """Rows to train on, and others."""
    if name == "patches":
        parts = load("patches", folder)
        return parts.train, parts.test[:HELD_OUT]
    with gzip.open(folder / "mnist" / "train-images-idx3-ubyte.gz") as file:
        raw = file.read()
    pixels = torch.from_numpy(np.frombuffer(raw, np.uint8, offset=16).reshape(-1, 784).copy())
    noise = torch.rand(pixels.shape, generator=torch.Generator().manual_seed(0))
    inside = 0.01 + 0.98 * (pixels + noise) / 256
    x = inside.log() - (-inside).log1p()
    return x[HELD_OUT:], x[:HELD_OUT]


def trained(case: Case, folder: Path) -> tuple[Flow, float]:
    """The flow of a case, and its mean log-likelihood of other rows, nats."""
    device = "cuda" if on_gpu() else "cpu"
    with torch.device("cpu"), warnings.catch_warnings():
        train, test = rows_of(case.data, folder)
        torch.manual_seed(0)
        flow = diffeo.create(case.model, features=train.shape[1], **case.options)
        assert isinstance(flow, Flow)
        warnings.filterwarnings("ignore", message=r"fit: .*")
        fit(flow, train, max_steps=case.steps, device=device)
        flow = flow.to(device).eval()
        return flow, float(score(flow, test).mean())


def maps_of(flow: Flow) -> list[Autoregressive]:
    """The autoregressive maps, from the data's side."""
    return [part for part in flow.modules() if isinstance(part, Autoregressive)]


def decode(flow: Flow, z: Tensor, way: str) -> tuple[Tensor, float]:
    """Decoded rows, and the milliseconds it took."""
    solver, in_c = WAYS[way]
    for part in maps_of(flow):
        part.solver = solver
    decoded: list[Tensor] = []
    with nullcontext() if in_c else without_c():
        seconds = timed(lambda: decoded.append(flow.decode(z)))
    return decoded[0], 1e3 * seconds


def without_c() -> AbstractContextManager[object]:
    """The network's steps are of plain operations."""
    return mock.patch("diffeo.nets.made.is_at_hand", lambda weights: False)


def passes(flow: Flow, z: Tensor) -> list[int]:
    """Passes of the network that Jacobi's iteration takes in each transform."""
    taken: list[int] = []
    for part in maps_of(flow):
        part.solver = "step"
    inverse = Autoregressive._solve

    def counted(part: Autoregressive, z: Tensor, context: Context) -> tuple[Tensor, Tensor]:
        taken.append(part.invert_at_once(z, context).rounds)
        return inverse(part, z, context)

    with mock.patch.object(Autoregressive, "_solve", counted):
        flow.decode(z)
    return taken


def line(name: str, flow: Flow, events: int, rounds: int) -> str:
    """One line of the table."""
    torch.manual_seed(events)
    z = flow.base.sample(events)
    taken: dict[str, list[float]] = {way: [] for way in WAYS}
    results = {}
    for index in range(rounds + 1):
        for way in WAYS:
            results[way], milliseconds = decode(flow, z, way)
            if index > 0:  # the first allocates
                taken[way].append(milliseconds)
    median = {way: statistics.median(taken[way]) for way in WAYS}
    exact = results["stepping"]
    gaps = [((results[way] - exact).abs() / (1 + exact.abs())).max() for way in WAYS]
    cells = [name, f"{events:,}"]
    cells += [f"{median['stepping'] / median[way]:.2f}" for way in WAYS if way != "stepping"]
    for way in WAYS:
        low, _, high = statistics.quantiles(taken[way], n=4)
        cells.append(f"{median[way]:.1f} ({low:.1f} – {high:.1f})")
    cells += [", ".join(map(str, passes(flow, z))), f"{float(max(gaps)):.0e}"]
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
    add_device(parser)
    parser.add_argument("--write", action="store_true", help="keep the table")
    arguments = parser.parse_args()
    if arguments.data is None:
        print("left out: it needs data that is not part of the project; give --data or DIFFEO_DATA")
        return
    if arguments.rounds < 2 or arguments.threads < 1:
        parser.error("--rounds: at least 2; --threads: at least 1")
    torch.set_num_threads(arguments.threads)
    use_device(arguments.device)
    lines = []
    flows = []
    faster = [way for way in WAYS if way != "stepping"]
    for case in CASES:
        name = f"`{case.model}`, {case.data}"
        print(f"{name}: training …", file=sys.stderr, flush=True)
        flow, nats = trained(case, Path(arguments.data))
        transforms, features = len(maps_of(flow)), flow.event_shape[0]
        flows.append(
            f"- {name}: D = {features}, {transforms} transforms, options {case.options or 'none'}; "
            f"after {case.steps:,} steps {nats:.2f} nats a test row."
        )
        with torch.no_grad():
            lines += [line(name, flow, events, arguments.rounds) for events in EVENTS]
    table = "\n".join(
        [
            "# Inverting an autoregressive flow",
            "",
            f"Trained flows, float32, without gradients, eager, {arguments.threads} threads. "
            f"Medians of {arguments.rounds} rounds in milliseconds, quartiles in brackets; times "
            'faster than stepping by plain operations. Where steps are in C, "auto" takes them.',
            "",
            *flows,
            "",
            f"| flow | events | {' | '.join(f'{way}, times faster' for way in faster)} "
            f"| {' | '.join(f'{way}, ms' for way in WAYS)} "
            "| Jacobi's passes in each transform | largest relative gap |",
            f"| {'--- | ' * (len(faster) + len(WAYS) + 4)}".strip(),
            *lines,
            "",
            "Made by `python -m benchmarks.inverting --data DIR --rounds "
            f"{arguments.rounds} --threads {arguments.threads}{said_device()} --write`.",
            "",
            conditions("diffeo", "torch"),
            "",
        ]
    )
    tell(table, result_on(RESULTS), arguments.write)


if __name__ == "__main__":
    main()
