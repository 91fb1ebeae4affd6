"""Where the time of a training step goes.

    python -m benchmarks.profile [--steps 30] [--threads 2] [--write]

The steps are those of benchmarks/steps.py: 512 rows, 5 transforms with two hidden layers of 512,
fused Adam. PyTorch's profiler says what each operation took itself. What is left of the profiled
steps is between operations: Python, autograd, dispatch, and the profiler, so that it is less
without one. `--write` keeps the tables in benchmarks/results/profile.md.
"""

import argparse
import contextlib
import statistics
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile, record_function

from benchmarks._conditions import conditions, tell
from benchmarks._flows import FLOWS
from benchmarks.steps import ROWS, WORDS, redraw, step_of
from diffeo.scalars import spline_kernel

RESULTS = Path(__file__).parent / "results" / "profile.md"
CASES = [("maf", 6), ("maf", 43), ("maf", 63), ("splines", 63), ("couplings", 63)]
KERNEL = "diffeo::spline"
"""What the kernel's calls are named; they are no operations of PyTorch's."""
PRODUCTS = {"aten::mm", "aten::addmm", "aten::addmm_", "aten::bmm"}
TOP = 8


@contextlib.contextmanager
def named_kernel() -> Iterator[None]:
    """Lets the profiler see the calls of the spline's kernel."""
    call = spline_kernel._call

    def told(*arguments: object) -> None:
        with record_function(KERNEL):
            call(*arguments)  # type: ignore[arg-type]

    spline_kernel._call = told  # type: ignore[assignment]
    try:
        yield
    finally:
        spline_kernel._call = call


def measure(flow: str, features: int, steps: int) -> tuple[str, str]:
    """The line of one flow, and the line of its greatest operations."""
    torch.manual_seed(0)
    x = torch.randn(ROWS, features)
    built = FLOWS[WORDS[flow]]["diffeo"](features)
    redraw(built[0])
    step = step_of(built, x, compiled=False)
    taken = []
    for index in range(steps + 3):
        start = time.perf_counter()
        step()
        if index > 2:  # the first allocate
            taken.append(1e3 * (time.perf_counter() - start))
    with named_kernel(), profile(activities=[ProfilerActivity.CPU]) as found:
        start = time.perf_counter()
        for _ in range(steps):
            step()
        whole = 1e3 * (time.perf_counter() - start) / steps
    own = {
        event.key: event.self_cpu_time_total / 1e3 / steps
        for event in found.key_averages()
        if event.key.startswith(("aten::", KERNEL))
    }
    products = sum(own.get(name, 0.0) for name in PRODUCTS)
    others = sum(own.values()) - products
    shares = [f"{part / whole:.0%}" for part in (products, others, whole - products - others)]
    greatest = sorted(own, key=lambda name: -own[name])[:TOP]
    words = ", ".join(f"{name.removeprefix('aten::')} {own[name]:.1f}" for name in greatest)
    name = f"{WORDS[flow]}, D = {features}"
    cells = [name, f"{statistics.median(taken):.1f}", f"{whole:.1f}", *shares]
    return f"| {' | '.join(cells)} |", f"- {name}: {words}."


def main() -> None:
    """Measure, print, and keep the result if asked to."""
    parser = argparse.ArgumentParser(description="Where the time of a training step goes.")
    parser.add_argument("--steps", type=int, default=30, help="of each flow (30)")
    parser.add_argument("--threads", type=int, default=2, help="threads of torch (2)")
    parser.add_argument("--write", action="store_true", help="keep the tables")
    arguments = parser.parse_args()
    if arguments.steps < 1 or arguments.threads < 1:
        parser.error("--steps and --threads: at least 1")
    torch.set_num_threads(arguments.threads)
    measured = [measure(flow, features, arguments.steps) for flow, features in CASES]
    text = "\n".join(
        [
            "# Where a training step's time goes",
            "",
            f"{ROWS} rows, 5 transforms, two hidden layers of 512, float32, fused Adam, "
            f"{arguments.threads} threads. Medians of {arguments.steps} steps without a profiler, "
            "means of as many under one, and what operations took of those.",
            "",
            "| flow | ms a step | profiled | matrix products | other operations "
            "| between operations |",
            "| --- | --- | --- | --- | --- | --- |",
            *(line for line, _ in measured),
            "",
            "Milliseconds a step of the greatest operations:",
            "",
            *(line for _, line in measured),
            "",
            f"Made by `python -m benchmarks.profile --steps {arguments.steps} --threads "
            f"{arguments.threads} --write`.",
            "",
            conditions("diffeo", "torch"),
            "",
        ]
    )
    tell(text, RESULTS, arguments.write)


if __name__ == "__main__":
    main()
