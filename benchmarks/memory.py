"""Training memory of affine couplings as they grow deeper, beside normflows and FrEIA.

    python -m benchmarks.memory [--depths 8,16,32,64] [--rows 1024] [--rounds 9] [--threads 2]
        [--device cpu] [--write]

All flows are couplings of 64 elements, each of which changes one half by a network with two hidden
layers of 256. Peak: what a forward and backward pass on `--rows` rows allocates at most, without
parameters and their gradients, in float32. Times are medians of a forward and backward pass, of all
flows in turn in one process.

Gradients are compared at the greatest depth, with weights that were trained for 300 steps on the
8×8 digits of scikit-learn: the norm of the difference from what plain autograd finds, over the norm
of that. Beside it stands plain float32's own error, from float64.
"""

import argparse
import copy
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import FrEIA.framework
import FrEIA.modules
import normflows
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

import diffeo
from benchmarks._conditions import add_device, conditions, result_on, tell, use_device
from benchmarks._peak import peak_bytes
from diffeo.bases import Normal
from diffeo.bijections import Chain, Coupling
from diffeo.bijections.chain import Memory
from diffeo.bijections.partition import Halves
from diffeo.nets import MLP
from diffeo.scalars import Affine
from diffeo.train import fit

RESULTS = Path(__file__).parent / "results" / "memory.md"
FEATURES, HIDDEN, STEPS = 64, (256, 256), 300
MODES: tuple[Memory, ...] = ("store", "checkpoint", "invert")


def our_flow(depth: int, memory: Memory) -> diffeo.Flow:
    """Couplings of halves, each half in turn."""
    half = FEATURES // 2
    parts = [
        Coupling(Halves(FEATURES, flip=i % 2 == 1), Affine(), MLP(half, (half, 2), HIDDEN))
        for i in range(depth)
    ]
    return diffeo.Flow(Normal((FEATURES,)), Chain(*parts, memory=memory))


class Freia(nn.Module):
    """The same in FrEIA's parts."""

    def __init__(self, depth: int) -> None:
        super().__init__()
        self.flow = FrEIA.framework.SequenceINN(FEATURES)
        for _ in range(depth):
            self.flow.append(FrEIA.modules.AffineCouplingOneSided, subnet_constructor=_net)
            self.flow.append(FrEIA.modules.PermuteRandom)

    def forward(self, x: Tensor) -> Tensor:
        """log p(x)."""
        z, ladj = self.flow(x)
        return -0.5 * z.square().sum(-1) + ladj  # type: ignore[operator]


class Normflows(nn.Module):
    """The same in normflows' parts."""

    def __init__(self, depth: int) -> None:
        super().__init__()
        half = FEATURES // 2
        parts = []
        for _ in range(depth):
            net = normflows.nets.MLP([half, *HIDDEN, FEATURES], init_zeros=True)
            parts += [
                normflows.flows.AffineCouplingBlock(net, scale_map="sigmoid"),
                normflows.flows.Permute(FEATURES, mode="swap"),
            ]
        base = normflows.distributions.DiagGaussian(FEATURES, trainable=False)
        self.flow = normflows.NormalizingFlow(base, parts)

    def forward(self, x: Tensor) -> Tensor:
        """log p(x)."""
        return self.flow.log_prob(x)


def _net(inputs: int, outputs: int) -> nn.Module:
    first, second = HIDDEN
    return nn.Sequential(
        *(nn.Linear(inputs, first), nn.ReLU(), nn.Linear(first, second), nn.ReLU()),
        nn.Linear(second, outputs),
    )


FLOWS: dict[str, Callable[[int], nn.Module]] = {
    **{
        f"diffeo, memory={mode!r}": (lambda depth, mode=mode: our_flow(depth, mode))
        for mode in MODES
    },
    "normflows": Normflows,
    "FrEIA": Freia,
}


def redrawn(module: nn.Module) -> nn.Module:
    """With weights N(0, 0.02²), so that no map is the identity."""
    for parameter in module.parameters():
        if parameter.requires_grad:
            nn.init.normal_(parameter, std=0.02)
    return module


def step(model: nn.Module, x: Tensor) -> None:
    """The gradients of −mean log p(x), from nothing."""
    model.zero_grad(set_to_none=True)
    (-model(x).mean()).backward()


def gradients(model: nn.Module, x: Tensor) -> Tensor:
    """All of them, as one vector in double precision."""
    step(model, x)
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]).double()


def trained(depth: int, device: str) -> tuple[diffeo.Flow, Tensor]:
    """A flow that knows something about digits, and rows of them."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.from_numpy(load_digits().data).float()
    x = (pixels + torch.rand(pixels.shape, generator=generator)) / 17 - 0.5
    torch.manual_seed(0)
    flow = our_flow(depth, "invert")
    fit(flow, x, max_steps=STEPS, learning_rate=1e-4, progress=False, device=device, seed=0)
    return flow.to(device).train(), x[:512].to(device)


def errors(depth: int, device: str) -> list[str]:
    """Lines on how far gradients are off."""
    flow, x = trained(depth, device)
    chain = flow.bijection
    found = {}
    for mode in MODES:
        chain.memory = mode  # type: ignore[assignment]
        found[mode] = gradients(flow, x)
    plain = found["store"]
    with torch.autocast(device, torch.bfloat16):
        found["invert, bf16"] = gradients(flow, x)
    chain.memory = "store"  # type: ignore[assignment]
    with torch.autocast(device, torch.bfloat16):
        plain_bf16 = gradients(flow, x)
    exact = gradients(copy.deepcopy(flow).double(), x.double())

    def off(one: Tensor, other: Tensor) -> float:
        return float((one - other).norm() / other.norm())

    return [
        f"- `invert`: {off(found['invert'], plain):.1e}, `checkpoint`: "
        f"{off(found['checkpoint'], plain):.1e}; plain float32 from float64: "
        f"{off(plain, exact):.1e}.",
        f"- `invert` under bf16 autocast, from storing under it: "
        f"{off(found['invert, bf16'], plain_bf16):.1e}.",
        f"- Inversion was off by at most {chain.inversion_error:.1e} (1 + |x|), bf16 included.",  # type: ignore[str-format]
    ]


def measure(depths: list[int], rows: int, rounds: int, device: str) -> str:
    """The table."""
    x = torch.randn(rows, FEATURES, generator=torch.Generator().manual_seed(1)).to(device)
    peaks: dict[str, list[int]] = {name: [] for name in FLOWS}
    flows: dict[str, nn.Module] = {}
    for depth in depths:
        for name, make in FLOWS.items():
            flows[name] = model = redrawn(make(depth)).to(device)
            peaks[name].append(peak_bytes(lambda model=model: step(model, x), model))
            print(f"{depth} {name}: {peaks[name][-1] / 2**20:.1f} MiB", file=sys.stderr)
    seconds: dict[str, list[float]] = {name: [] for name in FLOWS}
    for index in range(rounds + 1):
        for name, model in flows.items():
            start = time.perf_counter()
            step(model, x)
            if device != "cpu":
                torch.cuda.synchronize()
            if index:
                seconds[name].append(time.perf_counter() - start)
    median = {name: statistics.median(values) for name, values in seconds.items()}
    plain = median[f"diffeo, memory={'store'!r}"]
    lines = [
        "| flow | "
        + " | ".join(f"{depth} blocks" for depth in depths)
        + f" | growth | seconds at {depths[-1]} blocks | of storing |",
        "| --- " * (len(depths) + 4) + "|",
    ]
    for name, found in peaks.items():
        cells = [f"{value / 2**20:.2f} MiB" for value in found]
        spread = f"{min(seconds[name]):.3f} – {max(seconds[name]):.3f}"
        cells += [f"{found[-1] / found[0]:.2f} ×", f"{median[name]:.3f} ({spread})"]
        cells.append(f"{median[name] / plain:.2f}" if name.startswith("diffeo") else "")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Measure, print, and keep the result if asked to."""
    parser = argparse.ArgumentParser(description="Training memory as flows grow deeper.")
    parser.add_argument("--depths", default="8,16,32,64", help="numbers of couplings")
    parser.add_argument("--rows", type=int, default=1024, help="rows of a batch (1024)")
    parser.add_argument("--rounds", type=int, default=9, help="turns of each (9)")
    parser.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1))
    add_device(parser)
    parser.add_argument("--write", action="store_true", help="keep the table")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    depths = [int(depth) for depth in arguments.depths.split(",")]
    peaks = measure(depths, arguments.rows, arguments.rounds, arguments.device)
    off = errors(depths[-1], arguments.device)
    use_device(arguments.device)  # which is told of, and whose result it is
    text = "\n".join(
        [
            "# Training memory as flows grow deeper",
            "",
            f"Affine couplings of {FEATURES} elements, networks with hidden layers {HIDDEN}, "
            f"{arguments.rows} rows, float32, {arguments.device}, {arguments.threads} threads. "
            "Peak of a forward and backward pass, without parameters and their gradients. Medians "
            f"of the times of {arguments.rounds} rounds in turn, the spread in brackets.",
            "",
            peaks,
            "",
            f"Gradients at {depths[-1]} blocks, after {STEPS} steps on the 8×8 digits; how far "
            "off, relative, in norm:",
            "",
            *off,
            "",
            f"Made by `python -m benchmarks.memory --depths {arguments.depths} --rows "
            f"{arguments.rows} --rounds {arguments.rounds} --threads {arguments.threads} --device "
            f"{arguments.device} --write`.",
            "",
            conditions("diffeo", "normflows", "FrEIA", "torch"),
            "",
        ]
    )
    tell(text, result_on(RESULTS), arguments.write)


if __name__ == "__main__":
    main()
