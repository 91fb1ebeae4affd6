"""What every page shares: its arguments, its look, and how a density in the plane is drawn."""

import argparse
import inspect
from collections.abc import Callable
from pathlib import Path

import matplotlib
import torch
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

DATA, MODEL, ACCENT = "#3d4451", "#1f77b4", "#d9722c"
"""Colours of what was given, of what a model says, and of what the eye should find."""

LOOK = {
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 10,
    "figure.constrained_layout.use": True,
    "font.size": 9,
    "image.cmap": "viridis",
    "legend.frameon": False,
    "lines.linewidth": 1.6,
}


def run(
    main: Callable[[Path, int], dict[str, float]],
    *,
    steps: int,
    what: str = "optimizer steps of each fit",
    arguments: list[str] | None = None,
) -> dict[str, float]:
    """Runs a page: main(out, steps) writes its pictures to `out` and returns figures by name.

    One thread, since networks this small gain nothing from more; seed 0.
    """
    source = Path(inspect.getfile(main))
    parser = argparse.ArgumentParser(
        description=main.__globals__["__doc__"],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=source.parent / "out" / source.stem,
        metavar="DIR",
        help="where the pictures go (default: %(default)s)",
    )
    parser.add_argument(
        "--steps", type=int, default=steps, metavar="N", help=f"{what} (default: %(default)s)"
    )
    given = parser.parse_args(arguments)
    given.out.mkdir(parents=True, exist_ok=True)
    matplotlib.use("Agg")  # pictures go to files: no display is needed
    torch.set_num_threads(1)
    torch.manual_seed(0)
    with matplotlib.rc_context(LOOK):
        return main(given.out, given.steps)


def plane(limit: float = 4.0, points: int = 160) -> tuple[Tensor, float]:
    """The centres (points, points, 2) of the cells of a grid over [−limit, limit]², and their area.

    The first index is the vertical one, as pictures have it.
    """
    side = 2 * limit / points
    ticks = torch.arange(points) * side + (side / 2 - limit)
    return torch.stack(torch.meshgrid(ticks, ticks, indexing="xy"), dim=-1), side**2


def draw_density(
    axes: Axes, density: Tensor, limit: float, title: str = "", top: float | None = None
) -> None:
    """A density on the cells of `plane`, 0 dark; `top` is the brightest value, its own if None."""
    extent = (-limit, limit, -limit, limit)
    axes.imshow(
        density.numpy(), origin="lower", extent=extent, vmin=0, vmax=top, interpolation="bilinear"
    )
    bare(axes, limit, title)


def draw_points(axes: Axes, x: Tensor, limit: float, title: str = "", **options) -> None:
    """Points of the plane."""
    options = {"color": DATA, "s": 2, "linewidths": 0, "alpha": 0.6} | options
    axes.scatter(x[..., 0].numpy(), x[..., 1].numpy(), **options)
    bare(axes, limit, title)


def bare(axes: Axes, limit: float, title: str = "") -> None:
    """A square [−limit, limit]² without ticks."""
    axes.set(xlim=(-limit, limit), ylim=(-limit, limit), aspect="equal", xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    axes.set_title(title)


def save(figure: Figure, path: Path) -> None:
    """Writes a picture and says where it is."""
    figure.savefig(path, dpi=130)
    plt.close(figure)
    print(f"wrote {path}")
