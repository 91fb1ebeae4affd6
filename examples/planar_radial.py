"""Planar and radial flows fitted to an energy, not to data (variational inference).

A density p(x) = exp(−U(x)) / Z is known but for Z, and nobody has drawn from it. A flow q that
samples in closed form can be fitted all the same, by minimising over its own samples

    KL(q ‖ p) = E_q[log q(x) + U(x)] + log Z.

Planar steps x + û tanh(wᵀx + b) squeeze or stretch along one direction, radial steps
x + β (x − μ) / (α + ‖x − μ‖) about one centre: it takes many of them to bend a Gaussian into shape.
The four energies are those of the paper; a soft wall beyond |x₁| = 4 makes Z finite. Training
starts from β U with β = 0.01 rising to 1, as the paper's does, so that q finds all modes before it
settles. Z is summed over a grid here, to print KL(q ‖ p) in nats and not only up to a constant.

Reference: Rezende & Mohamed, 2015, Variational Inference with Normalizing Flows, arXiv:1505.05770,
section 6.1.
"""

import math
from collections.abc import Callable
from pathlib import Path

import page
import torch
from matplotlib import pyplot as plt
from torch import Tensor

from diffeo import Density, create
from diffeo.objectives import reverse_kl

LENGTHS, LIMIT = (1, 4, 16), 5.0


def energies() -> dict[str, Callable[[Tensor], Tensor]]:
    """U₁ … U₄, from (*batch, 2) to (*batch,)."""

    def bump(x: Tensor, scale: float) -> Tensor:
        return -0.5 * (x / scale).square()

    def wave(x: Tensor) -> Tensor:
        return x[..., 1] - torch.sin(math.pi / 2 * x[..., 0])

    def wall(x: Tensor) -> Tensor:
        return 0.5 * ((x[..., 0].abs() - 4).clamp(min=0) / 0.2).square()

    def u1(x: Tensor) -> Tensor:
        sides = torch.logaddexp(bump(x[..., 0] - 2, 0.6), bump(x[..., 0] + 2, 0.6))
        return -bump(torch.linalg.vector_norm(x, dim=-1) - 2, 0.4) - sides

    def u2(x: Tensor) -> Tensor:
        return -bump(wave(x), 0.4) + wall(x)

    def u3(x: Tensor) -> Tensor:
        w2 = 3 * bump(x[..., 0] - 1, 0.6).exp()
        return -torch.logaddexp(bump(wave(x), 0.35), bump(wave(x) + w2, 0.35)) + wall(x)

    def u4(x: Tensor) -> Tensor:
        w3 = 3 * torch.sigmoid((x[..., 0] - 1) / 0.3)
        return -torch.logaddexp(bump(wave(x), 0.4), bump(wave(x) + w3, 0.35)) + wall(x)

    return {"U₁": u1, "U₂": u2, "U₃": u3, "U₄": u4}


def fitted(name: str, length: int, energy: Callable[[Tensor], Tensor], steps: int) -> Density:
    """A flow of that many steps, trained on samples of its own."""
    torch.manual_seed(0)
    flow = create(
        name, features=2, transforms=length, fast="sampling", linear="none", base="learned_normal"
    )
    optimizer = torch.optim.Adam(flow.parameters(), lr=4e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for step in range(steps):
        beta = min(1.0, 0.01 + 2 * step / steps)
        loss = reverse_kl(flow, lambda x, beta=beta: -beta * energy(x), 256)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(flow.parameters(), 5.0)
        optimizer.step()
        schedule.step()
    return flow.eval()


def main(out: Path, steps: int) -> dict[str, float]:
    """Fits both kinds to every energy; returns KL(q ‖ p) in nats by kind, energy and length."""
    grid, area = page.plane(LIMIT, 100)
    figures = {}
    for name in ("planar", "radial"):
        figure, axes = plt.subplots(4, 4, figsize=(8, 8.3))
        for column, (label, energy) in enumerate(energies().items()):
            log_z = (-energy(grid)).flatten().logsumexp(0) + math.log(area)
            page.draw_density(axes[0, column], (-energy(grid) - log_z).exp(), LIMIT, label)
            for row, length in enumerate(LENGTHS, start=1):
                flow = fitted(name, length, energy, steps)
                with torch.no_grad():
                    kl = float(reverse_kl(flow, lambda x, u=energy: -u(x), 10_000) + log_z)
                    density = flow.log_prob(grid).exp()
                figures[f"{name} {label} K={length}"] = kl
                page.draw_density(axes[row, column], density, LIMIT, f"KL {kl:.2f} nats")
                axes[row, 0].set_ylabel(f"{name}, K = {length}")
            found = (figures[f"{name} {label} K={length}"] for length in LENGTHS)
            print(f"{name} {label}: KL(q‖p) " + ", ".join(f"{kl:.2f}" for kl in found), end="")
            print(f" nats with K = {', '.join(map(str, LENGTHS))}")
        axes[0, 0].set_ylabel("target")
        page.save(figure, out / f"{name}.png")
    return figures


if __name__ == "__main__":
    page.run(main, steps=600)
