"""Log-determinants add: a flow is many small changes of variables, one after another.

For f = f_K ∘ … ∘ f₁ the chain rule makes the Jacobian a product, so that

    log |det ∂f/∂x| = Σ_k log |det ∂f_k/∂x_{k−1}|,  x_k = f_k(x_{k−1}),  x₀ = x.

Run backwards, from the base density on, every step is a flow of its own: the density after k steps
is that of the base carried through f_K⁻¹, …, f_{K−k+1}⁻¹. A RealNVP with K affine couplings, each
of which moves one of the two coordinates, is fitted to two moons; one sees the density after each
of its steps, and the same draws on their way from the base to the data.
"""

from pathlib import Path

import page
import torch
from matplotlib import pyplot as plt

from diffeo import Chain, Flow, create
from diffeo.data import toy
from diffeo.train import fit

COUPLINGS, LIMIT = 8, 4.0


def main(out: Path, steps: int) -> dict[str, float]:
    """Fits the flow and takes it apart; returns how far the sums are off."""
    x, held_out = toy("two_moons", 20_000), toy("two_moons", 2_000, seed=1)
    flow = create("realnvp", features=2, transforms=COUPLINGS, hidden=(64, 64))
    fit(flow, x, max_steps=steps, learning_rate=2e-3)

    flow, held_out = flow.double().requires_grad_(False), held_out.double()
    total, point = torch.zeros(len(held_out), dtype=torch.float64), held_out
    for k, part in enumerate(flow.bijection.parts, start=1):
        point, ladj = part(point)
        total = total + ladj
        print(f"f_{k}: log |det| {ladj.mean():+.3f} nats on average over the held-out rows")
    whole = flow.bijection(held_out)[1]
    jacobian = torch.func.vmap(torch.func.jacrev(flow.encode))(held_out[:100])
    by_autograd = torch.linalg.slogdet(jacobian).logabsdet
    figures = {
        "sum": float((total - whole).abs().max()),
        "autograd": float((by_autograd - whole[:100]).abs().max()),
        "log_likelihood": float(flow.log_prob(held_out).mean()),
    }
    print(
        f"together {whole.mean():+.3f} nats: the sum of the parts within {figures['sum']:.0e}, "
        f"the log-determinant by autograd within {figures['autograd']:.0e}\n"
        f"held-out log-likelihood {figures['log_likelihood']:.3f} nats"
    )

    grid = page.plane(LIMIT, 120)[0].double()
    parts = list(flow.bijection.parts)
    stages = [Flow(flow.base, Chain(*parts[len(parts) - k :])) for k in range(1, len(parts) + 1)]
    densities = [flow.base.log_prob(grid).exp()]
    densities += [stage.log_prob(grid).exp() for stage in stages]
    z = flow.base.sample(3_000)
    points = [z] + [stage.decode(z) for stage in stages]
    top = max(float(density.max()) for density in densities)
    columns = len(densities)
    figure, axes = plt.subplots(2, columns, figsize=(1.6 * columns, 3.5))
    for k in range(columns):
        title = "base" if k == 0 else f"after {k} step{'s' * (k > 1)}"
        page.draw_density(axes[0, k], densities[k], LIMIT, title, top)
        angle = torch.atan2(z[:, 1], z[:, 0])
        page.draw_points(axes[1, k], points[k], LIMIT, color=None, c=angle.numpy(), cmap="twilight")
    axes[0, 0].set_ylabel(f"density, 0 … {top:.2f}")
    axes[1, 0].set_ylabel("the same draws,\ncoloured by their angle")
    page.save(figure, out / "composition.png")
    return figures


if __name__ == "__main__":
    page.run(main, steps=1500)
