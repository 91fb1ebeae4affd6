"""Sampling an autoregressive flow by cached stepping, beside others' full pass a variable.

    python -m benchmarks.sampling [--rounds 5] [--threads 2] [--limit 300] [--device cuda]
                                  [--write]

The flows have 5 transforms and two hidden layers of 512, rectified, at D = 63 and 784, and draw 512
samples in float32, without gradients, in one process, taking turns; weights are re-drawn,
N(0, 0.02²), so that none is at the identity and no sample overflows. diffeo steps
(`solver="step"`), whose time does not depend on the weights; nor do the other libraries' passes.
Medians are given, and the spread; at D = 784, where a round takes minutes, of two rounds at most.
Each flow's samples are checked to have the density that it gives them.

Compiled, a draw of diffeo's is `torch.compile(model.sample)`, which leaves the steps as they are.
Of the others' loops it would make a graph of 315 passes: how long that takes is tried, each in a
process of its own, which is ended after `--limit` seconds (0: not tried). What is timed is faster:
one pass is compiled for each transform, and called D times.
`--write` keeps the table in benchmarks/results/sampling.md.
"""

import argparse
import multiprocessing
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

import diffeo
from benchmarks._conditions import (
    add_device,
    conditions,
    result_on,
    said_device,
    tell,
    timed,
    use_device,
)
from benchmarks._flows import nflows_spline_maf, zuko_maf, zuko_spline_maf
from diffeo.bijections import Autoregressive

RESULTS = Path(__file__).parent / "results" / "sampling.md"
SAMPLES, TRANSFORMS, HIDDEN = 512, 5, (512, 512)
CASES = [("affine", 63), ("spline", 63), ("affine", 784)]
LONG, FEW = 100, 2
"""Beyond how many features there are few rounds."""
Draw = Callable[[], object]
Pass = Callable[[Tensor, Tensor], Tensor]
"""Corrects x once: (z, x) ↦ τ⁻¹(z; θ(x)). After D times it is the inverse."""


def ours(scalar: str, features: int) -> nn.Module:
    """diffeo's flow, which steps."""
    bound = {"bound": 5.0} if scalar == "spline" else {}
    model = diffeo.create(
        "maf",
        features=features,
        transforms=TRANSFORMS,
        hidden=HIDDEN,
        scalar=scalar,
        activation="relu",
        base="normal",
        **bound,
    )
    for part in model.modules():
        if isinstance(part, Autoregressive):
            part.solver = "step"
    return redrawn(model)


def redrawn(model: nn.Module) -> nn.Module:
    """With weights N(0, 0.02²)."""
    torch.manual_seed(0)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.02)
    return model.eval()


def peers(scalar: str, features: int) -> dict[str, nn.Module]:
    """The others' flows, of the same architecture."""
    if scalar == "affine":
        return {"zuko": redrawn(zuko_maf(features)[0])}
    built = {"zuko": zuko_spline_maf, "nflows": nflows_spline_maf}
    return {name: redrawn(build(features)[0]) for name, build in built.items()}


def draw_of(name: str, peer: nn.Module) -> Draw:
    """A draw as the library has it."""
    return lambda: peer().sample((SAMPLES,)) if name == "zuko" else peer.sample(SAMPLES)


def compiled_draw_of(name: str, peer: nn.Module, features: int) -> Draw:
    """The same draw with one compiled pass for each transform."""
    passes = _zuko_passes(peer) if name == "zuko" else _nflows_passes(peer)
    device = torch.get_default_device()

    def draw() -> Tensor:
        z = torch.randn(SAMPLES, features, device=device)
        for corrected, times in passes:
            x = torch.zeros_like(z)
            for _ in range(times or features):
                x = corrected(z, x)
            z = x
        return z

    return draw


def _zuko_passes(peer: nn.Module) -> list[tuple[Pass, int]]:
    def pass_of(transform: nn.Module) -> Pass:
        return torch.compile(lambda z, x: transform.meta(None, x).inv(z))

    return [(pass_of(part), part.passes) for part in reversed(peer.transform.transforms)]


def _nflows_passes(peer: nn.Module) -> list[tuple[Pass, int]]:
    def pass_of(transform: nn.Module) -> tuple[Pass, int]:
        if not hasattr(transform, "autoregressive_net"):
            return lambda z, x: transform.inverse(z)[0], 1

        def corrected(z: Tensor, x: Tensor) -> Tensor:
            return transform._elementwise_inverse(z, transform.autoregressive_net(x, None))[0]

        return torch.compile(corrected), 0

    return [pass_of(part) for part in reversed(peer._transform._transforms)]


def compile_whole(name: str, features: int, threads: int, device: str) -> None:
    """Compiles a peer's draw as it is, and makes one."""
    torch.set_num_threads(threads)
    use_device(device)
    with torch.no_grad():
        torch.compile(draw_of(name, peers("spline", features)[name]))()


def seconds_to_compile(name: str, features: int, threads: int, limit: int) -> str:
    """How long that takes, in words."""
    process = multiprocessing.get_context("spawn").Process(
        target=compile_whole, args=(name, features, threads, torch.get_default_device().type)
    )
    start = time.perf_counter()
    process.start()
    process.join(limit)
    if process.is_alive():
        process.kill()
        process.join()
        return f"{name}'s has not ended after {limit} s"
    failed = "" if process.exitcode == 0 else ", and fails"
    return f"{name}'s takes {time.perf_counter() - start:.0f} s{failed}"


def measure(
    name: str,
    mine: nn.Module,
    draw: Draw,
    others: dict[str, Draw],
    features: int,
    rounds: int,
) -> str:
    """One line of the table."""
    rounds = min(rounds, FEW) if features > LONG else rounds
    x = mine.sample(SAMPLES)
    drawn, log_prob = mine.sample_and_log_prob(SAMPLES)
    gap = float((mine.log_prob(drawn) - log_prob).abs().max())
    runs: dict[str, Draw] = {"diffeo": draw, "pass": lambda: mine.log_prob(x), **others}
    seconds: dict[str, list[float]] = {way: [] for way in runs}
    for index in range(rounds + 1):
        for way, run in runs.items():
            taken = timed(run)
            if index > 0:  # the first allocates, and compiles
                seconds[way].append(taken)
        print(
            f"\r{name}, {features}: round {index} of {rounds}",
            end="",
            file=sys.stderr,
            flush=True,
        )
    print(file=sys.stderr)
    median = {way: statistics.median(values) for way, values in seconds.items()}
    spread = {
        way: f"{median[way]:.3f} s ({min(values):.3f} – {max(values):.3f})"
        for way, values in seconds.items()
    }
    fastest = min(others, key=lambda way: median[way])
    cells = [
        name,
        str(features),
        f"{median[fastest] / median['diffeo']:.1f}",
        spread["diffeo"],
        ", ".join(f"{way} {spread[way]}" for way in others),
        f"{median['diffeo'] / median['pass']:.1f}",
        f"{gap:.1e}",
    ]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Measure, print, and keep the result if asked to."""
    parser = argparse.ArgumentParser(description="Sampling by cached stepping, beside zuko.")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each (5)")
    parser.add_argument("--threads", type=int, default=2, help="threads of torch (2)")
    parser.add_argument("--write", action="store_true", help="keep the table")
    add_device(parser)
    parser.add_argument("--limit", type=int, default=300, help="s for a graph of a draw (300)")
    arguments = parser.parse_args()
    if arguments.rounds < 1 or arguments.threads < 1:
        parser.error("--rounds and --threads: at least 1")
    torch.set_num_threads(arguments.threads)
    use_device(arguments.device)
    rounds, rows, notes = arguments.rounds, [], []
    with torch.no_grad():
        for scalar, features in CASES:
            mine, others = ours(scalar, features), peers(scalar, features)
            draws = {name: draw_of(name, peer) for name, peer in others.items()}
            draw = partial(mine.sample, SAMPLES)
            rows.append(measure(scalar, mine, draw, draws, features, rounds))
            if scalar == "spline":
                draws = {
                    name: compiled_draw_of(name, peer, features) for name, peer in others.items()
                }
                draw = partial(torch.compile(mine.sample), SAMPLES)
                rows.append(measure("spline, compiled", mine, draw, draws, features, rounds))
                if arguments.limit:
                    tried = [
                        seconds_to_compile(name, features, arguments.threads, arguments.limit)
                        for name in others
                    ]
                    notes += [
                        "",
                        "Compiled, the others' draws are one compiled pass for each transform, "
                        f"called D times. As one function a draw of {', one of '.join(tried)}.",
                    ]
    table = "\n".join(
        [
            "# Sampling an autoregressive flow",
            "",
            f"{SAMPLES} samples, {TRANSFORMS} transforms, hidden {HIDDEN}, float32, "
            f"{arguments.threads} threads. Ratios of medians of {arguments.rounds} rounds "
            f"({FEW} beyond D = {LONG}), the spread in brackets.",
            "",
            "| scalar map | D | times faster than the fastest other | diffeo | others "
            "| in likelihood passes | largest gap of log-densities, nats |",
            "| --- | --- | --- | --- | --- | --- | --- |",
            *rows,
            *notes,
            "",
            "Made by `python -m benchmarks.sampling "
            f"--rounds {arguments.rounds} --threads {arguments.threads}{said_device()} --write`.",
            "",
            conditions("diffeo", "zuko", "nflows", "torch"),
            "",
        ]
    )
    tell(table, result_on(RESULTS), arguments.write)


if __name__ == "__main__":
    main()
