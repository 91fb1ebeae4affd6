"""A posterior learned from a simulator's draws alone (neural posterior estimation).

Somebody can draw θ ~ p(θ) and x ~ p(x|θ), but not evaluate p(x|θ). A conditional flow q(θ|x) fitted
to the pairs by maximum likelihood minimises E_x KL(p(θ|x) ‖ q(θ|x)); with enough draws and a flow
that bends enough it becomes the posterior, for every x at once.

The simulator is one whose posterior is known, to compare with: two moons. With θ ~ N(0, I) and
m(θ) = (|θ₁ + θ₂|, θ₂ − θ₁) / √2, it draws x on a noisy half-circle round m,

    x = m(θ) + r (cos a, sin a),  a ~ U(−π/2, π/2),  r ~ N(0.5, 0.1²).

Because of the modulus, two arcs of θ explain every x: posteriors are pairs of crescents. KL(p ‖ q)
is summed over a grid. Calibration: the rank of the true θ_i among draws of q(θ_i|x) is uniform over
0 … L if q is the posterior, and crowds the ends if q is too narrow.

Reference: Papamakarios & Murray, 2016, arXiv:1605.06376; Talts et al., 2018, arXiv:1804.06788; the
simulator, but for its noise: Greenberg, Nonnenmacher & Macke, 2019, arXiv:1905.07488.
"""

import math
from pathlib import Path

import page
import torch
from matplotlib import pyplot as plt
from torch import Tensor

from diffeo import create
from diffeo.bases import Normal
from diffeo.train import fit

RADIUS, WIDTH, LIMIT = 0.5, 0.1, 2.4
PRIOR = Normal(2)


def centre(theta: Tensor) -> Tensor:
    """m(θ). Shape (*batch, 2)."""
    one, two = theta.unbind(-1)
    return torch.stack([(one + two).abs(), two - one], dim=-1) / math.sqrt(2)


def simulate(theta: Tensor) -> Tensor:
    """x ~ p(x|θ). Shape (*batch, 2)."""
    angle = math.pi * (torch.rand(theta.shape[:-1]) - 0.5)
    radius = RADIUS + WIDTH * torch.randn(theta.shape[:-1])
    return centre(theta) + radius[..., None] * torch.stack([angle.cos(), angle.sin()], dim=-1)


def log_posterior(theta: Tensor, x: Tensor) -> Tensor:
    """log p(θ|x) up to a constant: of the prior and of p(x|θ) = N(r; 0.5, 0.1²) / (π r)."""
    away = x - centre(theta)
    radius = torch.linalg.vector_norm(away, dim=-1)
    log_likelihood = -0.5 * ((radius - RADIUS) / WIDTH).square() - radius.log()
    return PRIOR.log_prob(theta) + log_likelihood.where(away[..., 0] > 0, -torch.inf)


def main(out: Path, steps: int) -> dict[str, float]:
    """Learns the posterior; returns KL to the exact one and a measure of calibration."""
    theta = PRIOR.sample(30_000)
    x = simulate(theta)
    flow = create("nsf_coupling", features=2, context=2, transforms=4, hidden=(64, 64))
    fit(flow, theta, context=x, max_steps=steps, learning_rate=2e-3, batch_size=512)

    observed = simulate(torch.tensor([[0.0, 0.0], [0.9, -0.3], [1.0, 1.0], [-0.6, 0.9]]))
    grid, area = page.plane(LIMIT, 144)
    figure = plt.figure(figsize=(11.5, 4.6))
    left, right = figure.subfigures(1, 2, width_ratios=(2.5, 1))
    panels = left.subplots(2, len(observed))
    divergences, masses = [], []
    for (above, below), x_observed in zip(panels.T, observed, strict=True):
        exact = log_posterior(grid, x_observed).flatten().log_softmax(0).view(grid.shape[:-1])
        exact = exact - math.log(area)
        with torch.no_grad():
            learned = flow.log_prob(grid, x_observed)
        p = exact.exp()
        divergences.append(float((p * (exact - learned).where(p > 0, 0.0)).sum() * area))
        masses.append(float(learned.exp().sum() * area))
        at = ", ".join(f"{value:.2f}" for value in x_observed)
        print(f"x = ({at}): KL(exact ‖ learned) = {divergences[-1]:.3f} nats")
        page.draw_density(above, p, LIMIT, f"x = ({at})", float(p.max()))
        page.draw_density(
            below, learned.exp(), LIMIT, f"KL {divergences[-1]:.2f} nats", float(p.max())
        )
    panels[0, 0].set_ylabel("exact p(θ|x)")
    panels[1, 0].set_ylabel("learned q(θ|x)")

    trials, draws = 1_000, 99
    truth = PRIOR.sample(trials)
    ranks = (flow.sample(draws, simulate(truth)) < truth).sum(0)
    levels = (torch.arange(draws + 1) + 1.0) / (draws + 1)
    # By the Dvoretzky–Kiefer–Wolfowitz inequality: 95 of 100 uniform curves stay inside all along.
    band = math.sqrt(math.log(2 / 0.05) / (2 * trials))
    axes = right.subplots()
    axes.fill_between([0, 1], -band, band, color="#e4e7ec", label="95% if q is exact")
    worst = 0.0
    for i, color in enumerate((page.MODEL, page.ACCENT)):
        share = (ranks[:, i, None] <= torch.arange(draws + 1)).float().mean(0)
        axes.plot(levels.numpy(), (share - levels).numpy(), color=color, label=f"θ{'₁₂'[i]}")
        worst = max(worst, float((share - levels).abs().max()))
    axes.set(xlabel="rank of the truth / L", title="calibration: ECDF of ranks − uniform")
    axes.set_ylim(-max(2 * band, 1.2 * worst), max(2 * band, 1.2 * worst))
    axes.legend(loc="upper center")
    print(f"ranks differ from uniform by at most {worst:.3f} (95% band: {band:.3f})")
    page.save(figure, out / "posterior.png")
    mean = sum(divergences) / len(divergences)
    return {"kl": mean, "ranks": worst, "band": band, "mass": sum(masses) / len(masses)}


if __name__ == "__main__":
    page.run(main, steps=1500)
