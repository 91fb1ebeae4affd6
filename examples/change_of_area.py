"""The change of area in two dimensions is |det J|.

Near a point, a smooth map f looks like the linear map given by its Jacobian J = ∂f/∂x. It carries
a small square to a parallelogram with |det J| times the area: the factor by which a density there
is divided. For a square cell of side h with its centre at x,

    area f(cell) / h² = |det J(x)| + O(h²),

and without the remainder where f is linear. The area of a quadrilateral with corners p₀ … p₃ is
½ |(p₂ − p₀) × (p₃ − p₁)|, by the shoelace formula.

A grid is pushed through four planar steps x + û tanh(wᵀx + b) with random weights, and through a
linear map; the areas are compared with the log-determinants that the maps report. Halving h divides
the difference by four: planar steps are smooth, without kinks in any derivative.
"""

from pathlib import Path

import page
import torch
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from torch import Tensor

from diffeo import Bijection, Chain
from diffeo.bijections import FullLinear, Planar

LIMIT = 2.0


def main(out: Path, steps: int) -> dict[str, float]:
    """Compares areas at `steps` sizes of cells; returns the errors and how fast they fall."""
    torch.manual_seed(12)  # a map whose picture shows something
    curved, linear = Chain(*(Planar(2) for _ in range(4))).double(), FullLinear(2).double()
    with torch.no_grad():
        for parameter in (*curved.parameters(), *linear.parameters()):
            parameter.normal_()
    sides = [0.25 / 2**k for k in range(steps)]
    errors = []
    for side in sides:
        area, determinant = areas(curved, side)
        errors.append(float((area / determinant - 1).abs().max()))
        print(f"h = {side:<9g}  area / h² differs from |det J| by at most {100 * errors[-1]:.4f}%")
    order = torch.tensor(errors[:-1]).div(torch.tensor(errors[1:])).log2()[-1]
    area, determinant = areas(linear, 0.25)
    exact = float((area / determinant - 1).abs().max())
    print(f"the error falls as h^{order:.2f}; for the linear map it is {100 * exact:.0e}%")

    figure, (before, after, ratio, error) = plt.subplots(
        1, 4, figsize=(12, 3.7), width_ratios=(0.75, 0.75, 1, 1)
    )
    corners, _ = cells(0.25)
    area, determinant = areas(curved, 0.25)
    shade = determinant.log()
    pushed = image(curved, corners)
    drawn = draw_cells(before, corners, shade, "cells of side h = 0.25")
    draw_cells(after, pushed, shade, "their images, same scale")
    low, high = (end.tolist() for end in torch.cat([corners, pushed]).flatten(0, 1).aminmax(dim=0))
    for axes in (before, after):
        axes.set(xlim=(low[0] - 0.1, high[0] + 0.1), ylim=(low[1] - 0.1, high[1] + 0.1))
    figure.colorbar(drawn, ax=[before, after], label="log |det J| at the centre, nats", pad=0.01)
    ratio.plot(determinant.numpy(), area.numpy(), ".", color=page.MODEL, markersize=4)
    ends = [0.0, float(determinant.max())]
    ratio.plot(ends, ends, color=page.ACCENT, linewidth=1, label="equal")
    ratio.set(xlabel="|det J|", ylabel="area of the image / h²", title="a point for every cell")
    ratio.legend()
    error.loglog(sides, errors, "o-", color=page.MODEL, label="largest relative error")
    square = [errors[0] * (side / sides[0]) ** 2 for side in sides]
    error.loglog(sides, square, color=page.ACCENT, linewidth=1, label="h²")
    error.set(xlabel="side h of a cell", title="the error falls as h²")
    error.legend()
    page.save(figure, out / "change_of_area.png")
    return {"order": float(order), "error": errors[-1], "linear": exact}


def cells(side: float) -> tuple[Tensor, Tensor]:
    """The corners (n, 4, 2), in order, and centres (n, 2) of the cells of a grid."""
    centres = page.plane(LIMIT, round(2 * LIMIT / side))[0].double().reshape(-1, 2)
    corners = side / 2 * torch.tensor([[-1, -1], [1, -1], [1, 1], [-1, 1]]).double()
    return centres[:, None] + corners, centres


def image(f: Bijection, points: Tensor) -> Tensor:
    """f(points)."""
    return f(points)[0].detach()


def areas(f: Bijection, side: float) -> tuple[Tensor, Tensor]:
    """Of every cell, the area of its image / h², and |det J| at its centre."""
    corners, centres = cells(side)
    p0, p1, p2, p3 = image(f, corners).unbind(1)
    a, b = p2 - p0, p3 - p1
    area = 0.5 * (a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]).abs()
    return area / side**2, f(centres)[1].detach().exp()


def draw_cells(axes: Axes, corners: Tensor, shade: Tensor, title: str) -> PolyCollection:
    """Quadrilaterals, coloured."""
    drawn = PolyCollection(corners.numpy(), array=shade.numpy(), edgecolors="w", linewidths=0.4)
    axes.add_collection(drawn)
    axes.set(aspect="equal", title=title)
    return drawn


if __name__ == "__main__":
    page.run(main, steps=6, what="sizes of the cells, each half of the one before")
