"""Two moons, by every named model.

A held-out log-likelihood E_p[log q(x)] falls short of the truth's own, −H(p), by KL(p ‖ q): the
nats that a model loses for not being the data's density. The truth is known here: a point on one of
two half-circles, at a uniform angle, plus Gaussian noise,

    p(x) = ½ Σ_m 1/π ∫₀^π N(x; c_m(φ), 0.2² I) dφ,

the integral as a mean over 200 angles. The baseline is a Gaussian with the data's mean and
covariance. The models have their default settings but for narrower networks, and as many optimizer
steps each: the figures show what each can and can't bend, not the best that it can do.
"""

import math
import time
from pathlib import Path

import page
import torch
from matplotlib import pyplot as plt
from torch import Tensor

from diffeo import create
from diffeo.data import toy
from diffeo.models import MODELS
from diffeo.train import evaluate, fit

LIMIT, ANGLES, NOISE = 3.6, 200, 0.2


def true_log_prob(x: Tensor) -> Tensor:
    """log p(x) of `diffeo.data.toy("two_moons", …)`, nats. Shape (*batch,)."""
    angle = math.pi * (torch.arange(ANGLES) + 0.5) / ANGLES
    upper = torch.stack([angle.cos(), angle.sin()], dim=-1)
    lower = torch.stack([1 - angle.cos(), 0.5 - angle.sin()], dim=-1)
    arcs = 2 * torch.cat([upper, lower]) - torch.tensor([1.0, 0.5])
    squares = (x[..., None, :] - arcs).square().sum(-1)
    constant = math.log(2 * math.pi * NOISE**2) + math.log(len(arcs))
    return (-0.5 * squares / NOISE**2).logsumexp(-1) - constant


def main(out: Path, steps: int) -> dict[str, float]:
    """Fits every model; returns the held-out nats of each, and of the truth."""
    x, held_out = toy("two_moons", 10_000), toy("two_moons", 4_000, seed=1)
    grid, area = page.plane(LIMIT, 100)
    truth = true_log_prob(grid).exp()
    figures = {"truth": float(true_log_prob(held_out).mean()), "mass": float(truth.sum() * area)}
    print(f"{'truth':<13} {figures['truth']:.3f} nats")
    densities = {"truth": truth}
    for name, entry in MODELS.items():
        torch.manual_seed(0)
        narrow = {"hidden": (64, 64)} if "hidden" in entry.options else {}
        try:
            model = create(name, features=2, **narrow)
        except ValueError:
            continue  # a model of images or sequences, not of vectors
        start = time.perf_counter()
        fit(model, x, max_steps=steps, learning_rate=3e-3, evaluate_every=max(1, steps // 10))
        seconds = time.perf_counter() - start
        result = evaluate(model, held_out)
        figures[name] = result.log_likelihood
        with torch.no_grad():
            densities[name] = model.log_prob(grid).exp()
        print(
            f"{name:<13} {result.log_likelihood:.3f} ± {result.standard_error:.3f} nats, "
            f"{figures['truth'] - result.log_likelihood:.3f} below the truth; {seconds:.0f} s"
        )

    names = sorted(densities, key=lambda name: -figures[name])
    columns = 5
    rows = math.ceil((1 + len(names)) / columns)
    figure, axes = plt.subplots(rows, columns, figsize=(2.1 * columns, 2.35 * rows), squeeze=False)
    panels = list(axes.flat)
    page.draw_points(panels[0], held_out[:2000], LIMIT, "held-out data")
    for panel, name in zip(panels[1:], names, strict=False):
        title = f"{name}  {figures[name]:.3f}"
        page.draw_density(panel, densities[name], LIMIT, title, float(truth.max()))
    for panel in panels[1 + len(names) :]:
        panel.set_axis_off()
    title = "Held-out log-likelihood, nats a row; every density on the scale of the true one"
    figure.suptitle(title, x=0.01, ha="left", fontsize=11)
    page.save(figure, out / "two_moons.png")
    return figures


if __name__ == "__main__":
    page.run(main, steps=400)
