"""A flow in one dimension: a change of variables, to three base densities.

An increasing map z = f(x) carries the density of x to that of z. Probability is conserved,
p(x) |dx| = p_base(z) |dz|, so that

    log p(x) = log p_base(f(x)) + log f′(x).

Here f is a monotone spline, its knots fitted by maximum likelihood to draws of a mixture of two
Gaussians. With a uniform base on [0, 1] the formula reads p = f′: f is then the distribution
function F of the data. With a base whose distribution function is G, f = G⁻¹ ∘ F.

One sees, for a normal, a uniform and a Beta(2, 5) base: the density; the map; and the data encoded
by it, which has the density of the base.
"""

from collections.abc import Sequence
from pathlib import Path

import page
import torch
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from torch import Tensor

from diffeo import Chain, Flow, Mixture
from diffeo.bases import Beta, Normal, Uniform
from diffeo.bijections import Elementwise, FixedAffine, Inverse, Sigmoid
from diffeo.scalars import RationalQuadraticSpline
from diffeo.train import fit

TRUTH = Mixture(
    [
        Flow(Normal(1), Inverse(FixedAffine(scale, shift)))
        for scale, shift in ((0.8, -1.5), (0.4, 1.2))
    ],
    weights=(0.6, 0.4),
).requires_grad_(False)


def main(out: Path, steps: int) -> dict[str, float]:
    """Fits a spline to each base; returns the largest errors over the three."""
    x, held_out = TRUTH.sample(20_000), TRUTH.sample(5_000)
    grid = torch.linspace(-12, 12, 2401)[:, None]
    best = float(TRUTH.log_prob(held_out).mean())
    bases = {"normal": Normal(1), "uniform": Uniform(1), "Beta(2, 5)": Beta(1, 2.0, 5.0)}
    worst = {"mass": 0.0, "formula": 0.0, "shortfall": 0.0}
    figure, rows = plt.subplots(3, 3, figsize=(9.5, 7.5))
    for axes, (name, base) in zip(rows, bases.items(), strict=True):
        spline = Elementwise(RationalQuadraticSpline(bins=24, bound=8.0), 1)
        flow = Flow(base, spline if name == "normal" else Chain(spline, Sigmoid()))
        fit(flow, x, max_steps=steps, learning_rate=1e-2, batch_size=512)

        flow.requires_grad_(False)
        log_prob = flow.log_prob(grid)
        z, slope = derivative(flow, grid)
        by_hand = base.log_prob(z) + slope.log()[:, 0]
        errors = {
            "mass": abs(float(torch.trapezoid(log_prob.exp(), dx=0.01)) - 1),
            "formula": float((by_hand - log_prob).abs().max()),
            "shortfall": best - float(flow.log_prob(held_out).mean()),
        }
        worst = {key: max(worst[key], error) for key, error in errors.items()}
        print(
            f"{name:<10}  ∫ p dx is 1 within {errors['mass']:.0e}; log p(x) by autograd differs by "
            f"{errors['formula']:.0e} nats; held-out log-likelihood {errors['shortfall']:.3f} nats "
            f"below the truth's {best:.3f}"
        )
        draw(axes, flow, grid, held_out)
        axes[0].set_ylabel(f"{name} base")
    for axes, title in zip(rows[0], ("density of x", "map z = f(x)", "density of z"), strict=True):
        axes.set_title(title)
    for axes, label in zip(rows[-1], "xxz", strict=True):
        axes.set_xlabel(label)
    rows[0, 0].legend(loc="upper left")
    rows[-1, 2].legend(loc="upper right")
    page.save(figure, out / "one_dimension.png")
    return worst


def draw(axes: Sequence[Axes], flow: Flow, x: Tensor, held_out: Tensor) -> None:
    """The density of x, the map, and the encoded data with the density of z."""
    density, truth = flow.log_prob(x).exp(), TRUTH.log_prob(x).exp()
    axes[0].plot(x.numpy(), truth.numpy(), color=page.DATA, label="truth")
    axes[0].plot(x.numpy(), density.numpy(), "--", color=page.ACCENT, label="flow")
    axes[1].plot(x.numpy(), flow.encode(x).numpy(), color=page.MODEL)
    ends = (-4.0, 4.0) if isinstance(flow.base, Normal) else (-0.1, 1.1)
    z = torch.linspace(*ends, 401)
    encoded = flow.encode(held_out)[:, 0]
    axes[2].hist(encoded.numpy(), 40, density=True, color="#b9cfe3", label="encoded data")
    base = flow.base.log_prob(z[:, None]).exp()
    axes[2].plot(z.numpy(), base.numpy(), color=page.DATA, label="base")
    axes[0].set(xlim=(-4.5, 3.5), ylim=(0, 0.45))
    axes[1].set(xlim=(-4.5, 3.5), ylim=ends)
    axes[2].set_xlim(ends)


def derivative(flow: Flow, x: Tensor) -> tuple[Tensor, Tensor]:
    """f(x) and f′(x), by automatic differentiation. Shapes as x."""
    x = x.clone().requires_grad_()
    z = flow.encode(x)
    return z.detach(), torch.autograd.grad(z.sum(), x)[0]


if __name__ == "__main__":
    page.run(main, steps=1000)
