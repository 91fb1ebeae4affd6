"""A training step of autoregressive and coupling flows, beside other libraries.

    python -m benchmarks.steps [--flows maf,splines,couplings] [--features 6 43 63] [--rounds 20]
        [--threads 2] [--compiled] [--device cuda] [--write]

A step is a forward and a backward pass of the mean log-density of 512 rows, and fused Adam. All
flows have 5 transforms with two hidden layers of 512 (`benchmarks/_flows.py`), equal numbers of
parameters within 1 %, and weights that are re-drawn, N(0, 0.02²), from the same seed. They take
turns in one process; medians are compared, diffeo's over that of the fastest other library. Before
that, every flow of diffeo is checked in float64: the log-determinant against the Jacobian's,
causality, the way back, and the gradients against those of plain operations. With `--compiled`, all
log-densities go through torch.compile.
`--write` keeps the table in benchmarks/results/steps.md (steps_compiled.md).
"""

import argparse
import statistics
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn
from torch.autograd import forward_ad

from benchmarks._conditions import (
    add_device,
    conditions,
    result_on,
    said_device,
    tell,
    timed,
    use_device,
)
from benchmarks._flows import FLOWS, Built
from diffeo import Flow
from diffeo.bases import Normal
from diffeo.bijections import Autoregressive

RESULTS = Path(__file__).parent / "results"
ROWS = 512
WORDS = {"maf": "MAF", "splines": "autoregressive splines", "couplings": "coupling splines"}


def redraw(model: nn.Module) -> None:
    """Other weights than the first."""
    torch.manual_seed(0)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.02)


def check(model: Flow, features: int) -> None:
    """At this size, in float64: log-determinant, causality, the way back, and all gradients.

    Raises:
        AssertionError: if one is wrong.
    """
    assert isinstance(model.base, Normal)
    bijection = model.bijection.double()
    x = torch.randn(2, features, dtype=torch.float64)
    z, ladj = bijection(x)
    jacobian = torch.func.vmap(torch.func.jacrev(lambda row: bijection(row)[0]))(x)
    torch.testing.assert_close(torch.linalg.slogdet(jacobian).logabsdet, ladj)
    for part in bijection.parts:
        if isinstance(part, Autoregressive):
            order = list(part.net.order)
            one = torch.func.jacrev(lambda row, part=part: part(row)[0])(x[0])
            assert not one[order][:, order].triu(1).any(), "a variable depends on a later one"
    torch.testing.assert_close(bijection.inverse(z)[0], x, rtol=1e-7, atol=1e-7)
    x = torch.randn(ROWS, features, dtype=torch.float64)
    parameters = list(model.parameters())
    found = torch.autograd.grad(model.log_prob(x).mean(), parameters)
    with forward_ad.dual_level():  # here no fast way is taken
        plain = torch.autograd.grad(model.log_prob(x).mean(), parameters)
    for one, other in zip(found, plain, strict=True):
        torch.testing.assert_close(one, other)
    model.float()


def step_of(built: Built, x: torch.Tensor, compiled: bool) -> Callable[[], object]:
    """One training step."""
    model, log_prob = built
    run = torch.compile(log_prob) if compiled else log_prob
    optimizer = torch.optim.Adam(model.parameters(), 1e-6, fused=True)

    def step() -> None:
        optimizer.zero_grad()
        (-run(x).mean()).backward()
        optimizer.step()

    return step


def measure(name: str, features: int, rounds: int, compiled: bool) -> list[str]:
    """The lines of one flow at one size, the fastest first."""
    torch.manual_seed(0)
    x = torch.randn(ROWS, features)
    built = {library: build(features) for library, build in FLOWS[name].items()}
    sizes = {}
    for library, (model, _) in built.items():
        redraw(model)
        sizes[library] = sum(p.numel() for p in model.parameters())
    assert max(sizes.values()) <= 1.01 * min(sizes.values()), sizes
    ours = built["diffeo"][0]
    assert isinstance(ours, Flow)
    check(ours, features)
    steps = {library: step_of(each, x, compiled) for library, each in built.items()}
    seconds: dict[str, list[float]] = {library: [] for library in steps}
    names = list(steps)
    for index in range(rounds + 2):
        names.append(names.pop(0))  # nobody always comes after the same one
        for library in names:
            taken = timed(steps[library])
            if index > 1:  # the first allocate
                seconds[library].append(taken)
        print(f"\r{name}, D = {features}: {index} of {rounds + 1}", end="", file=sys.stderr)
    print(file=sys.stderr)
    median = {library: statistics.median(values) for library, values in seconds.items()}
    fastest = min(value for library, value in median.items() if library != "diffeo")
    lines = []
    for library in sorted(median, key=lambda each: median[each]):
        low, _, high = statistics.quantiles(seconds[library], n=4)
        cells = [name, str(features), library, f"{median[library] / fastest:.2f}"]
        cells += [f"{1e3 * median[library]:.1f} ({1e3 * low:.1f} – {1e3 * high:.1f})"]
        cells += [f"{sizes[library]:,}"]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def main() -> None:
    """Measure, print, and keep the result if asked to."""
    parser = argparse.ArgumentParser(description="Training steps beside other libraries.")
    parser.add_argument("--flows", default=",".join(WORDS), help=", ".join(WORDS))
    parser.add_argument(
        "--features", type=int, nargs="+", default=[6, 43, 63], help="of maf; others have the last"
    )
    parser.add_argument("--rounds", type=int, default=20, help="turns of each (20)")
    parser.add_argument("--threads", type=int, default=2, help="threads of torch (2)")
    parser.add_argument("--compiled", action="store_true", help="through torch.compile")
    add_device(parser)
    parser.add_argument("--write", action="store_true", help="keep the table")
    arguments = parser.parse_args()
    flows, features = arguments.flows.split(","), arguments.features
    if set(flows) - set(WORDS) or min(*features, arguments.threads) < 1 or arguments.rounds < 2:
        parser.error("no such flow, or a number that is too small")
    torch.set_num_threads(arguments.threads)
    use_device(arguments.device)
    warnings.filterwarnings("ignore", module="torchflows")
    lines: list[str] = []
    for flow in flows:
        for size in features if flow == "maf" else features[-1:]:
            lines += measure(WORDS[flow], size, arguments.rounds, arguments.compiled)
    options = f"--flows {arguments.flows} --features {' '.join(map(str, features))} "
    options += f"--rounds {arguments.rounds} --threads {arguments.threads}"
    text = "\n".join(
        [
            "# Training steps" + (", compiled" if arguments.compiled else ""),
            "",
            f"{ROWS} rows, 5 transforms, two hidden layers of 512, float32, fused Adam, "
            f"{arguments.threads} threads. Medians of {arguments.rounds} rounds, quartiles in "
            "brackets; ratios are to the fastest library but diffeo.",
            "",
            "| flow | D | library | time over the fastest peer's | ms a step | parameters |",
            "| --- | --- | --- | --- | --- | --- |",
            *lines,
            "",
            f"Made by `python -m benchmarks.steps {options}"
            f"{' --compiled' if arguments.compiled else ''}{said_device()} --write`.",
            "",
            conditions("diffeo", "zuko", "nflows", "torchflows", "torch"),
            "",
        ]
    )
    name = "steps_compiled.md" if arguments.compiled else "steps.md"
    tell(text, result_on(RESULTS / name), arguments.write)


if __name__ == "__main__":
    main()
