"""Masked layers whole and by blocks: what leaving masked weights out of the products saves.

    python -m benchmarks.blocks [--rounds 40] [--threads 2] [--write]

The layers are those of the MADEs of benchmarks/steps.py at D = 63, 512 rows: between hidden layers
of 512, to 2 parameters a variable, and to a spline's 23. Timed are the layer and all its gradients,
masking included: whole, as `torch.nn.functional.linear` has it, and in blocks of rows, each
multiplied up to its last weight in use (`diffeo.nets.masked.BlockProduct`), all in one process,
taking turns. `--write` keeps the table in benchmarks/results/blocks.md.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks._conditions import conditions, tell
from diffeo.nets import MADE
from diffeo.nets.masked import BlockProduct, MaskedLinear, blocks_of

RESULTS = Path(__file__).parent / "results" / "blocks.md"
ROWS, FEATURES, HIDDEN, COUNTS = 512, 63, 512, (2, 4, 8)
LAYERS = {"hidden": 1, "exit, 2 parameters": 2, "exit, 23 parameters": 23}


def layer_of(name: str) -> MaskedLinear:
    """One layer of a MADE, with weights of its own."""
    net = MADE(FEATURES, LAYERS[name], (HIDDEN, HIDDEN))
    layer = net.layers[0] if name == "hidden" else net.exit
    assert isinstance(layer, MaskedLinear)
    torch.nn.init.normal_(layer.weight, std=0.02)
    return layer


def timed(product: Callable[[Tensor, Tensor], Tensor], layer: MaskedLinear, x: Tensor) -> float:
    """Milliseconds of the layer and its gradients."""
    start = time.perf_counter()
    out = product(x, layer.weight * layer.mask)
    torch.autograd.grad(out, (x, layer.weight, layer.bias), torch.ones_like(out))
    return 1e3 * (time.perf_counter() - start)


def measure(name: str, rounds: int) -> str:
    """One line of the table."""
    torch.manual_seed(0)
    layer = layer_of(name)
    x = torch.randn(ROWS, HIDDEN, requires_grad=True)

    def whole(x: Tensor, weight: Tensor) -> Tensor:
        return F.linear(x, weight, layer.bias)

    def in_blocks(count: int) -> Callable[[Tensor, Tensor], Tensor]:
        blocks = blocks_of(layer.mask, count)
        return lambda x, weight: BlockProduct.apply(x, weight, layer.bias, blocks)  # type: ignore[return-value]

    ways = [whole, *map(in_blocks, COUNTS)]
    expected = whole(x, layer.weight * layer.mask)
    taken: list[list[float]] = [[] for _ in ways]
    for way in ways[1:]:
        torch.testing.assert_close(way(x, layer.weight * layer.mask).t(), expected)
    for index in range(rounds + 3):
        for way, times in zip(ways, taken, strict=True):
            spent = timed(way, layer, x)
            if index > 2:  # the first allocate
                times.append(spent)
    medians = [statistics.median(times) for times in taken]
    used = float(layer.mask.mean())
    cells = [name, f"{len(layer.weight):,} × {HIDDEN}", f"{used:.0%}", f"{medians[0]:.2f} ms"]
    cells += [f"{median:.2f} ms ({median / medians[0]:.2f})" for median in medians[1:]]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Measure, print, and keep the result if asked to."""
    parser = argparse.ArgumentParser(description="Masked layers whole and by blocks.")
    parser.add_argument("--rounds", type=int, default=40, help="turns of each (40)")
    parser.add_argument("--threads", type=int, default=2, help="threads of torch (2)")
    parser.add_argument("--write", action="store_true", help="keep the table")
    arguments = parser.parse_args()
    if min(arguments.rounds, arguments.threads) < 1:
        parser.error("--rounds and --threads: at least 1")
    torch.set_num_threads(arguments.threads)
    lines = [measure(name, arguments.rounds) for name in LAYERS]
    text = "\n".join(
        [
            "# Masked layers whole and by blocks",
            "",
            f"{ROWS} rows, D = {FEATURES}, float32, {arguments.threads} threads; a layer with all "
            f"its gradients. Medians of {arguments.rounds} rounds; in brackets, over the whole "
            "layer's.",
            "",
            f"| layer | weights | in use | whole | {' | '.join(f'{n} blocks' for n in COUNTS)} |",
            f"| {' | '.join(['---'] * (4 + len(COUNTS)))} |",
            *lines,
            "",
            f"Made by `python -m benchmarks.blocks --rounds {arguments.rounds} --threads "
            f"{arguments.threads} --write`.",
            "",
            conditions("diffeo", "torch"),
            "",
        ]
    )
    tell(text, RESULTS, arguments.write)


if __name__ == "__main__":
    main()
