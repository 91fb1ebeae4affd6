"""Scores of rows."""

from collections.abc import Mapping
from typing import Literal

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from diffeo.report.style import ACCENT, DATA, MODEL, QUIET, figure, styled


def score_histogram(
    scores: Mapping[str, ArrayLike],
    *,
    unit: str = "log-likelihood of a row, nats",
    title: str = "",
) -> Figure:
    """How the scores of one or several sets of rows are spread, on one scale.

    Each set's histogram has area one, so that sets of different sizes compare. Scores far below the
    rest are gathered at the left edge, and counted in the legend: they stay in sight without
    squeezing the others together.

    Args:
        scores: scores by the name of the set.
        unit: of the scores, on the axis.
        title: above the picture.
    """
    arrays = {name: np.asarray(values, dtype=float) for name, values in scores.items()}
    finite = np.concatenate([a[np.isfinite(a)] for a in arrays.values()] or [np.zeros(0)])
    limits = _range(finite) if len(finite) else None
    return histograms(arrays, limits, unit=unit, title=title)


def histograms(
    sets: Mapping[str, np.ndarray],
    limits: tuple[float, float] | None,
    *,
    unit: str,
    title: str = "",
    noun: str = "rows",
    legend: Literal["upper left", "upper right"] = "upper left",
) -> Figure:
    """Histograms of area one on one axis; what lies beyond its ends is gathered there and counted.

    Args:
        sets: values by the name of the set; NaN counts as far left.
        limits: of the axis; None for no axis, where there is nothing to draw.
        unit: of the values, on the axis.
        title: above the picture.
        noun: what the values are of, in the legend; nothing where the names say so.
        legend: where it stands.
    """
    with styled():
        drawn = figure(6.4, 3.6)
        axes = drawn.subplots()
        if limits is not None:
            low, high = limits
            count = sum(int(np.isfinite(values).sum()) for values in sets.values())
            edges = np.linspace(low, high, min(60, max(10, int(np.sqrt(count)) + 1))).tolist()
            for (name, values), color in zip(
                sets.items(), (MODEL, ACCENT, DATA, QUIET), strict=False
            ):
                below, above = int(np.sum(~(values >= low))), int(np.sum(values > high))
                label = f"{name}: {len(values)} {noun}".rstrip()
                label += f", {below} further left" if below else ""
                label += f", {above} further right" if above else ""
                clipped = np.clip(
                    np.nan_to_num(values, nan=low, neginf=low, posinf=high), low, high
                )
                axes.hist(
                    clipped, edges, density=True, histtype="stepfilled", color=color, alpha=0.25
                )
                axes.hist(
                    clipped, edges, density=True, histtype="step", color=color, lw=1.4, label=label
                )
            # Room above the bars, a line of the legend each, so that it hides none.
            axes.set_ylim(0, axes.get_ylim()[1] / (1 - 0.08 * min(len(sets), 4)))
            axes.legend(loc=legend)
        axes.set_yticks([])
        axes.grid(False)
        axes.spines["left"].set_visible(False)
        axes.set_xlabel(unit)
        axes.set_title(title)
    return drawn


def range_of(values: np.ndarray, own: np.ndarray | None = None) -> tuple[float, float] | None:
    """From the least value to the greatest; None where none is finite.

    Args:
        values: of all sets.
        own: some of them: the range goes beyond theirs by no more than its width.
    """
    values = values[np.isfinite(values)]
    if not len(values):
        return None
    low, high = float(values.min()), float(values.max())
    if own is not None and np.isfinite(own).any():
        first, last = np.quantile(own[np.isfinite(own)], [0.005, 0.995])
        room = max(last - first, 1e-6)
        low, high = max(low, float(first - room)), min(high, float(last + room))
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _range(values: np.ndarray) -> tuple[float, float]:
    low, middle, high = np.quantile(values, [0.01, 0.5, 1.0])
    low = max(values.min(), low - 0.5 * (middle - low))
    return (low, high) if high > low else (low - 0.5, high + 0.5)
