"""Glow beside normflows': throughput and memory of training, and memory as it grows deeper.

    python -m benchmarks.images [--part throughput|memory|accuracy|all] [--rounds 10] [--threads 2]
                                [--device cuda] [--write]

A step is a forward and a backward pass of the mean log-density of a batch of continuous images, and
fused Adam. The architecture is the same but for the priors (`benchmarks/_images.py`), with equal
numbers of parameters within 1 %; actnorms are set from the images and weights trained for 5 steps
before anything is measured. Flows take turns in one process, and nobody always comes after the same
one. Peak: what a forward and backward pass allocates at most, without parameters, their gradients
and the optimizer's state. `--write` keeps the tables in benchmarks/results/images.md.
"""

import argparse
import os
import statistics
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks._conditions import (
    add_device,
    conditions,
    result_on,
    said_device,
    tell,
    timed,
    use_device,
)
from benchmarks._images import (
    Built,
    LogProb,
    images,
    normflows_glow,
    our_glow,
    started,
    step_of,
)
from benchmarks._peak import peak_bytes
from diffeo.bijections.chain import Chain, Memory, inversion_error
from diffeo.nets.glow import GlowNet

RESULTS = Path(__file__).parent / "results" / "images.md"
SHAPE, SCALES, STEPS, BATCH, WIDTHS = (3, 32, 32), 3, 16, 16, (128, 512)
DEEP_SHAPE, DEPTHS, DEEP_FILTERS, DEEP_BATCH = (3, 64, 64), (4, 8, 16, 32, 48), 32, 4
START, RATE, SEEDS, NUDGES = 5, 1e-5, 5, 4
FULL, LU = "normflows, full 1×1", "normflows, LU"
ALONE = "diffeo's networks alone"
PARTS = ("throughput", "memory", "accuracy", "all")
STORE, INVERT = "diffeo, memory='store'", "diffeo, memory='invert'"


def glows(filters: int) -> dict[str, Built]:
    """Those whose throughput is compared; with diffeo's, of the same size."""
    size = SHAPE, SCALES, STEPS, filters
    return {
        "diffeo": our_glow(*size),
        FULL: normflows_glow(*size),
        LU: normflows_glow(*size, lu=True),
    }


def learned(model: nn.Module) -> int:
    """Number of parameters; those of a triangular factor that are never read are none."""
    count = 0
    for name, parameter in model.named_parameters():
        triangular = name.endswith((".L", ".U"))
        size = parameter.shape[0]
        count += size * (size - 1) // 2 if triangular else parameter.numel()
    return count


def gradients_of(model: nn.Module, log_prob: LogProb, x: Tensor) -> None:
    """A forward and a backward pass, from nothing."""
    model.zero_grad(set_to_none=True)
    (-log_prob(x).mean()).backward()


def in_turn(runs: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    names = list(runs)
    for index in range(rounds + 1):
        names.append(names.pop(0))
        for name in names:
            taken = timed(runs[name])
            if index:  # the first allocate
                seconds[name].append(taken)
    return seconds


def networks_of(flow: nn.Module, x: Tensor) -> Callable[[], object]:
    """Forward and backward passes of the couplings' networks, which both libraries have."""
    seen: list[tuple[nn.Module, Tensor]] = []
    hooks = [
        part.register_forward_pre_hook(
            lambda net, given: seen.append((net, given[0].detach().requires_grad_()))
        )
        for part in flow.modules()
        if isinstance(part, GlowNet)
    ]
    with torch.no_grad():
        flow.log_prob(x)  # type: ignore[operator]
    for hook in hooks:
        hook.remove()

    def run() -> None:
        outputs = [net(kept) for net, kept in seen]
        torch.autograd.backward(outputs, outputs)

    return run


def throughput(filters: int, rounds: int) -> list[str]:
    """The lines of one width."""
    torch.manual_seed(0)
    x = images(BATCH, SHAPE)
    built = {name: started(each, x, START) for name, each in glows(filters).items()}
    sizes = {name: learned(model) for name, (model, _) in built.items()}
    assert max(sizes.values()) <= 1.01 * min(sizes.values()), sizes
    runs = {name: step_of(each, x, RATE) for name, each in built.items()}
    seconds = in_turn({**runs, ALONE: networks_of(built["diffeo"][0], x)}, rounds)
    rates = {name: [BATCH / value for value in values] for name, values in seconds.items()}
    median = {name: statistics.median(values) for name, values in rates.items()}
    peaks = {
        name: peak_bytes(lambda each=each: gradients_of(*each, x), each[0])
        for name, each in built.items()
    }
    lines = []
    for name in built:
        low, _, high = statistics.quantiles(rates[name], n=4)
        cells = [str(filters), name, f"{median[name] / median[FULL]:.2f}"]
        cells += [f"{median[name]:.1f} ({low:.1f} – {high:.1f})"]
        cells += [f"{1e3 * BATCH / median[name]:.0f}", f"{peaks[name] / peaks[FULL]:.2f}"]
        cells += [f"{peaks[name] / 2**20:.1f} MiB", f"{sizes[name]:,}"]
        lines.append(f"| {' | '.join(cells)} |")
        print(lines[-1], file=sys.stderr)
    alone = statistics.median(seconds[ALONE])
    lines.append(
        f"| {filters} | {ALONE} | {BATCH / alone / median[FULL]:.2f} | {BATCH / alone:.1f} "
        f"| {1e3 * alone:.0f} | | | |"
    )
    print(lines[-1], file=sys.stderr)
    return lines


def deep(name: str, depth: int) -> Built:
    """One of those whose memory is compared."""
    size = DEEP_SHAPE, SCALES, depth, DEEP_FILTERS
    if name == "normflows":
        return normflows_glow(*size)
    return our_glow(*size, memory="invert" if name == INVERT else "store")


def growth(rounds: int) -> list[str]:
    """The lines of memory as flows grow deeper."""
    x = images(DEEP_BATCH, DEEP_SHAPE)
    peaks: dict[str, list[int]] = {name: [] for name in (STORE, INVERT, "normflows")}
    runs: dict[str, Callable[[], object]] = {}
    for depth in DEPTHS:
        for name, found in peaks.items():
            torch.manual_seed(0)
            built = started(deep(name, depth), x, 1)
            runs[name] = lambda each=built: gradients_of(*each, x)
            found.append(peak_bytes(runs[name], built[0]))
            print(f"{depth} {name}: {found[-1] / 2**20:.2f} MiB", file=sys.stderr)
    seconds = in_turn(runs, rounds)
    median = {name: statistics.median(values) for name, values in seconds.items()}
    lines = []
    for name, found in peaks.items():
        cells = [name, f"{found[-1] / found[0]:.2f} ×"]
        cells += [f"{value / 2**20:.2f} MiB" for value in found]
        low, _, high = statistics.quantiles(seconds[name], n=4)
        cells += [f"{median[name] / median[STORE]:.2f}"]
        cells += [f"{1e3 * median[name]:.0f} ({1e3 * low:.0f} – {1e3 * high:.0f})"]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def errors_of_inverting(seed: int) -> tuple[list[float], float]:
    """How far gradients are off, at the greatest depth after a few steps, and how far inputs are.

    `invert` from `store`, `store` from float64, `invert` from float64, and `store` from itself on
    images moved to neighbouring numbers, the greatest of a few; all of the gradients' global norm.
    """
    torch.manual_seed(seed)
    x = images(DEEP_BATCH, DEEP_SHAPE)
    model, log_prob = started(deep(STORE, DEPTHS[-1]), x, START)

    def gradients(images: Tensor, memory: Memory) -> Tensor:
        for part in model.modules():
            if isinstance(part, Chain):
                part.memory = memory
        gradients_of(model, log_prob, images)
        found = [p.grad.flatten() for p in model.parameters() if p.grad is not None]
        return torch.cat(found).double()

    stored, inverted = gradients(x, "store"), gradients(x, "invert")
    inversion = inversion_error(model)
    assert inversion is not None
    nudged = [
        gradients(torch.nextafter(x, torch.randn_like(x).sign() * torch.inf), "store")
        for _ in range(NUDGES)
    ]
    model.double()
    exact = gradients(x.double(), "store")
    pairs = (inverted, stored), (stored, exact), (inverted, exact)
    errors = [float((one - other).norm() / other.norm()) for one, other in pairs]
    moved = max(float((one - stored).norm() / stored.norm()) for one in nudged)
    return [*errors, moved], inversion


def accuracy() -> list[str]:
    """The lines of what inverting costs in digits, a seed each."""
    lines = []
    for seed in range(SEEDS):
        (apart, stored, inverted, moved), inversion = errors_of_inverting(seed)
        bound = max(1e-5, 2 * stored)
        cells = [f"{value:.1e}" for value in (apart, bound, stored, inverted, moved, inversion)]
        lines.append(f"| {seed} | {' | '.join(cells)} |")
        print(lines[-1], file=sys.stderr)
    return lines


def main() -> None:
    """Measure, print, and keep the result if asked to."""
    parser = argparse.ArgumentParser(description="Glow beside normflows'.")
    parser.add_argument("--part", choices=PARTS, default="all")
    parser.add_argument("--rounds", type=int, default=10, help="turns of each (10)")
    parser.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1))
    add_device(parser)
    parser.add_argument("--write", action="store_true", help="keep the tables")
    arguments = parser.parse_args()
    if arguments.rounds < 2 or arguments.threads < 1:
        parser.error("--rounds must be at least 2, --threads 1")
    if arguments.write and arguments.part != "all":
        parser.error("--write keeps all parts: leave out --part")
    torch.set_num_threads(arguments.threads)
    use_device(arguments.device)
    lines = ["# Glow: throughput and memory of training", ""]
    if arguments.part in ("throughput", "all"):
        rows = [row for filters in WIDTHS for row in throughput(filters, arguments.rounds)]
        lines += [
            f"Images of {'×'.join(map(str, SHAPE))}, batches of {BATCH}, {SCALES} scales of "
            f"{STEPS} steps, networks of 128 and 512 channels, float32, fused Adam, "
            f"{arguments.threads} threads. Medians of {arguments.rounds} rounds in turn, quartiles "
            "in brackets; ratios are to normflows with full 1×1 convolutions, which diffeo has "
            "here. Networks alone: those of the couplings, forward and backward, which is what a "
            "step would be if all else cost nothing. Peak of a forward and backward pass, "
            "without parameters, their gradients and the optimizer's state.",
            "",
            "| channels | flow | throughput over normflows' | images a second | ms a step "
            "| peak over normflows' | peak | parameters |",
            f"| {'--- | ' * 8}".strip(),
            *rows,
            "",
        ]
    if arguments.part in ("memory", "all"):
        rows = growth(arguments.rounds)
        depths = " | ".join(f"{depth} steps" for depth in DEPTHS)
        lines += [
            "## Memory as it grows deeper",
            "",
            f"Images of {'×'.join(map(str, DEEP_SHAPE))}, batches of {DEEP_BATCH}, {SCALES} scales "
            f"of as many steps each, networks of {DEEP_FILTERS} channels. Peak of a forward and "
            f"backward pass as above; times are of such a pass at {DEPTHS[-1]} steps a scale, "
            "ratios to storing.",
            "",
            f"| flow | growth | {depths} | time over storing | ms |",
            f"| {'--- | ' * (len(DEPTHS) + 4)}".strip(),
            *rows,
            "",
        ]
    if arguments.part in ("accuracy", "all"):
        lines += [
            "## Gradients with memory='invert'",
            "",
            f"The flow above at {DEPTHS[-1]} steps a scale, after {START} training steps, from "
            f"{SEEDS} seeds. Gradients are off by so much of their global norm; the bound is 1e-5, "
            "or twice what `store` is off from float64. Nudged: `store` from itself, where every "
            "pixel is moved to the next float32 up or down, the greatest of "
            f"{NUDGES}; rectifiers near zero switch. Inputs: the greatest error of one that was "
            "found by inversion, over 1 + |x|.",
            "",
            "| seed | invert from store | bound | store from float64 | invert from float64 "
            "| store, nudged | inputs |",
            f"| {'--- | ' * 7}".strip(),
            *accuracy(),
            "",
        ]
    lines += [
        f"Made by `python -m benchmarks.images --rounds {arguments.rounds} --threads "
        f"{arguments.threads}{said_device()} --write`.",
        "",
        conditions("diffeo", "normflows", "torch"),
        "",
    ]
    tell("\n".join(lines), result_on(RESULTS), arguments.write)


if __name__ == "__main__":
    main()
