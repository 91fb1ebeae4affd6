"""The latent space against the base: where a calibrated flow puts the data that it has not seen."""

import math
import textwrap

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle
from torch import Tensor

from diffeo.density import Density
from diffeo.report.style import ACCENT, DATA, MODEL, QUIET, figure, spacing, styled

MOST_PIT = 24
"""Dimensions whose histogram is drawn; of a larger space, the first."""
MOST_CIRCLES = 4
"""Pairs of dimensions that are drawn."""
WITHIN = (0.5, 0.9, 0.99)
"""What part of a standard normal in two dimensions lies within each circle."""


def pit(z: Tensor, base: Density) -> np.ndarray | None:
    """Probability integral transform: u = F_base(z) in (0, 1), for every element of every row.

    If z has the base's distribution, each column of u is uniform. Shape (rows, D). None for a base
    whose cumulative distribution function is not known here, or that needs a context.

    Reference: Dawid, 1984, Present position and potential developments: some personal views,
        Statistical theory, the prequential approach.
    """
    import torch
    from scipy import special

    from diffeo import bases
    from diffeo.supports import Support

    with torch.no_grad():
        z = z.detach().double().cpu()
        if isinstance(base, (bases.Normal, bases.StudentT)):
            standard = _to(base.position.standardize(z.to(base.origin.device))[0])
            if isinstance(base, bases.Normal):
                u = special.ndtr(standard)
            else:
                u = special.stdtr(_to(base.df(torch.float64)), standard)
        elif isinstance(base, bases.Logistic):
            u = special.expit(_to(z))
        elif isinstance(base, bases.Uniform) and isinstance(base.support, Support):
            u = (_to(z) - base.support.lower) / (base.support.upper - base.support.lower)
        elif isinstance(base, bases.Beta):
            a, b = (_to(part(torch.float64)) for part in (base.a, base.b))
            u = special.betainc(a, b, np.clip(_to(z), 0, 1))
        else:
            return None
    return np.asarray(u, dtype=float).reshape(len(z), -1)


def band(rows: int, bins: int) -> tuple[float, float]:
    """Between what counts 95 % of the bins of a uniform histogram lie, each bin by itself."""
    from scipy.stats import binom

    low, high = binom.interval(0.95, rows, 1 / bins)
    return float(low), float(high)


def outside_band(u: np.ndarray) -> float:
    """The part of all bars that lies outside the band; about 0.05 or less for a calibrated flow."""
    bins = _bins(len(u))
    low, high = band(len(u), bins)
    counts = np.stack([np.histogram(column, bins, (0, 1))[0] for column in u.T])
    return float(((counts < low) | (counts > high)).mean())


def latent(u: np.ndarray, *, title: str = "") -> Figure:
    """Histograms of u = F_base(z) for every dimension, and pairs of dimensions against circles.

    The histograms of a calibrated flow are flat: nineteen of twenty bars end in the grey band. The
    pairs show normal scores Φ⁻¹(u), which are the latents themselves where the base is standard
    normal; within the circles should lie half, nine tenths and all but a hundredth of the points.

    Args:
        u: as `pit` gives it, (rows, D).
        title: above the picture.
    """
    shown = min(u.shape[1], MOST_PIT)
    couples = [(i, i + 1) for i in range(0, u.shape[1] - 1, 2)][:MOST_CIRCLES]
    across = 4 if shown in (7, 8) else min(max(shown, 2), 6)
    above = math.ceil(shown / across)
    scale = 1.35 if across > 4 else 1.7
    tall = [1.25 * above + 0.25, 2.2] if couples else [1.25 * above + 0.25]
    with styled():
        drawn = figure(max(scale * across + 0.4, 4.4), sum(tall) + 0.6)
        parts = np.atleast_1d(drawn.subfigures(len(tall), 1, height_ratios=tall))  # type: ignore[arg-type]
        spacing(drawn, w_pad=0.05, h_pad=0.06)
        grid = parts[0].subplots(above, across, squeeze=False)
        bins = _bins(len(u))
        counts = [np.histogram(column, bins, (0, 1))[0].max() for column in u[:, :shown].T]
        top = 1.05 * min(max(band(len(u), bins)[1], *counts), 3 * len(u) / bins)
        for i, axes in enumerate(grid.ravel()):
            if i < shown:
                _flat(axes, u[:, i], f"z{_subscript(i + 1)}")
                axes.set_ylim(0, top)
                axes.tick_params(labelbottom=i + across >= shown)
            else:
                axes.set_axis_off()
        if couples:
            # A place more than there are pairs stays empty, or a single one would be enormous.
            places = parts[1].subplots(1, max(len(couples), 2), squeeze=False)[0]
            scores = _normal_scores(u)
            for axes in places[len(couples) :]:
                axes.set_axis_off()
            for axes, (i, j) in zip(places, couples, strict=False):
                _circles(axes, scores[:, i], scores[:, j])
                axes.set_xlabel(f"z{_subscript(i + 1)}")
                axes.set_ylabel(f"z{_subscript(j + 1)}")
        part = f" (the first {shown} of {u.shape[1]} dimensions)" if shown < u.shape[1] else ""
        words = textwrap.fill((title or "Latent space") + part, int(11 * drawn.get_figwidth()))
        drawn.suptitle(words, x=0.01, ha="left")
    return drawn


def _flat(axes: Axes, u: np.ndarray, name: str) -> None:
    bins = _bins(len(u))
    low, high = band(len(u), bins)
    axes.axhspan(low, high, color=QUIET, alpha=0.22, lw=0)
    axes.axhline(len(u) / bins, color=QUIET, lw=0.8)
    axes.hist(u, bins, range=(0, 1), histtype="step", color=MODEL, lw=1.4)
    axes.set_xlim(0, 1)
    axes.set_xticks([0, 0.5, 1], ["0", "½", "1"])
    axes.set_yticks([])
    axes.grid(False)
    axes.spines["left"].set_visible(False)
    axes.set_title(name, fontsize=8.5)


def _circles(axes: Axes, x: np.ndarray, y: np.ndarray) -> None:
    points = slice(0, 1500)
    axes.scatter(x[points], y[points], s=2.2, color=DATA, alpha=0.4, lw=0, rasterized=True)
    for part in WITHIN:
        radius = math.sqrt(-2 * math.log1p(-part))
        axes.add_patch(Circle((0, 0), radius, fill=False, color=ACCENT, lw=1.1))
    axes.set_xlim(-4, 4)
    axes.set_ylim(-4, 4)
    axes.set_aspect("equal")
    axes.set_xticks([-3, 0, 3])
    axes.set_yticks([-3, 0, 3])


def _normal_scores(u: np.ndarray) -> np.ndarray:
    """Φ⁻¹(u), held within the picture."""
    from scipy.special import ndtri

    return np.clip(ndtri(np.clip(u, 1e-12, 1 - 1e-12)), -3.95, 3.95)


def _bins(rows: int) -> int:
    return 20 if rows >= 1000 else 10


def _subscript(number: int) -> str:
    return "".join("₀₁₂₃₄₅₆₇₈₉"[int(digit)] for digit in str(number))


def _to(x: Tensor | float) -> np.ndarray:
    return np.asarray(x if isinstance(x, (int, float)) else x.detach().double().cpu().numpy())
