"""Sampling an autoregressive flow by cached stepping, beside zuko's full pass a variable.

    python -m benchmarks.sampling [--data DIR] [--rounds 5] [--threads 2] [--write]

Both flows have 5 transforms and two hidden layers of 512 at D = 63 and 784, and draw 512 samples in
float32, without gradients, in one process, taking turns; weights are re-drawn, N(0, 0.02²), so that
neither is at the identity and no sample overflows. diffeo steps (`solver="step"`), whose time does
not depend on the weights. That of inverting at all positions at once does: with `--data`, a flow
that benchmarks/inverting.py trains on MNIST's digits is added, which samples as it does unless told
(`solver="auto"`); the other library's passes are as many whatever the weights. Medians are given,
and the spread; at D = 784, where a round takes minutes, of two rounds at most. Each flow's samples
are checked to have the density that it gives them.
`--write` keeps the table in benchmarks/results/sampling.md.
"""

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
import zuko
from torch import nn

import diffeo
from benchmarks._conditions import conditions, tell
from benchmarks.inverting import CASES as TRAINED
from benchmarks.inverting import trained
from diffeo.bijections import Autoregressive

RESULTS = Path(__file__).parent / "results" / "sampling.md"
SAMPLES, TRANSFORMS, HIDDEN, BINS = 512, 5, (512, 512), 8
CASES = [("affine", 63), ("spline", 63), ("affine", 784)]
LONG, FEW = 100, 2
"""Beyond how many features there are few rounds."""


def flows(scalar: str, features: int) -> tuple[nn.Module, nn.Module]:
    """diffeo's flow and zuko's, of the same architecture."""
    if scalar == "affine":
        mine = diffeo.create(
            "maf",
            features=features,
            transforms=TRANSFORMS,
            hidden=HIDDEN,
            activation="relu",
            base="normal",
        )
        peer = zuko.flows.MAF(features, transforms=TRANSFORMS, hidden_features=HIDDEN)
    else:
        mine = diffeo.create(
            "maf",
            features=features,
            transforms=TRANSFORMS,
            hidden=HIDDEN,
            scalar="spline",
            bound=5.0,
            base="normal",
        )
        peer = zuko.flows.NSF(features, transforms=TRANSFORMS, hidden_features=HIDDEN, bins=BINS)
    for part in mine.modules():
        if isinstance(part, Autoregressive):
            part.solver = "step"
    for model in (mine, peer):
        torch.manual_seed(0)
        for parameter in model.parameters():
            nn.init.normal_(parameter, std=0.02)
    return mine.eval(), peer.eval()


def timed(run: Callable[[], object]) -> float:
    """Seconds that one call takes."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def measure(name: str, mine: nn.Module, peer: nn.Module, features: int, rounds: int) -> str:
    """One line of the table."""
    rounds = min(rounds, FEW) if features > LONG else rounds
    x = mine.sample(SAMPLES)
    drawn, log_prob = mine.sample_and_log_prob(SAMPLES)
    gap = float((mine.log_prob(drawn) - log_prob).abs().max())
    runs: dict[str, Callable[[], object]] = {
        "diffeo": lambda: mine.sample(SAMPLES),
        "zuko": lambda: peer().sample((SAMPLES,)),
        "pass": lambda: mine.log_prob(x),
    }
    seconds: dict[str, list[float]] = {way: [] for way in runs}
    for index in range(rounds + 1):
        for way, run in runs.items():
            taken = timed(run)
            if index > 0:  # the first allocates
                seconds[way].append(taken)
        print(
            f"\r{name}, {features}: round {index} of {rounds}",
            end="",
            file=sys.stderr,
            flush=True,
        )
    print(file=sys.stderr)
    median = {way: statistics.median(values) for way, values in seconds.items()}
    cells = [name, str(features), f"{median['zuko'] / median['diffeo']:.1f}"]
    for way in ("diffeo", "zuko"):
        values = seconds[way]
        cells.append(f"{median[way]:.3f} s ({min(values):.3f} – {max(values):.3f})")
    cells += [f"{median['diffeo'] / median['pass']:.1f}", f"{gap:.1e}"]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Measure, print, and keep the result if asked to."""
    parser = argparse.ArgumentParser(description="Sampling by cached stepping, beside zuko.")
    parser.add_argument("--data", default=os.environ.get("DIFFEO_DATA"), help="folder of the data")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each (5)")
    parser.add_argument("--threads", type=int, default=2, help="threads of torch (2)")
    parser.add_argument("--write", action="store_true", help="keep the table")
    arguments = parser.parse_args()
    if arguments.rounds < 1 or arguments.threads < 1:
        parser.error("--rounds and --threads: at least 1")
    torch.set_num_threads(arguments.threads)
    rows = []
    for scalar, features in CASES:
        with torch.no_grad():
            rows.append(measure(scalar, *flows(scalar, features), features, arguments.rounds))
    notes = []
    if arguments.data:
        case = next(case for case in TRAINED if case.data == "mnist")
        mine, reached = trained(case, Path(arguments.data))
        _, peer = flows("affine", 784)
        with torch.no_grad():
            rows.append(measure('affine, trained, "auto"', mine, peer, 784, arguments.rounds))
        notes = [
            "",
            f"The trained flow: `{case.model}` on {case.data}, {case.steps:,} steps, {reached:.2f} "
            "nats a test row.",
        ]
    table = "\n".join(
        [
            "# Sampling an autoregressive flow",
            "",
            f"{SAMPLES} samples, {TRANSFORMS} transforms, hidden {HIDDEN}, float32, eager, "
            f"{arguments.threads} threads. Ratios of medians of {arguments.rounds} rounds "
            f"({FEW} beyond D = {LONG}), the spread in brackets.",
            "",
            "| scalar map | D | times faster than zuko | diffeo | zuko | in likelihood passes "
            "| largest gap of log-densities, nats |",
            "| --- | --- | --- | --- | --- | --- | --- |",
            *rows,
            *notes,
            "",
            f"Made by `python -m benchmarks.sampling {'--data DIR ' if arguments.data else ''}"
            f"--rounds {arguments.rounds} --threads {arguments.threads} --write`.",
            "",
            conditions("diffeo", "zuko", "torch"),
            "",
        ]
    )
    tell(table, RESULTS, arguments.write)


if __name__ == "__main__":
    main()
