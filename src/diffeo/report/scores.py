"""Scores of rows."""

from collections.abc import Mapping

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
    with styled():
        drawn = figure(6.4, 3.6)
        axes = drawn.subplots()
        if len(finite):
            low, high = _range(finite)
            edges = np.linspace(low, high, min(60, max(10, int(np.sqrt(len(finite))) + 1))).tolist()
            for (name, values), color in zip(
                arrays.items(), (MODEL, ACCENT, DATA, QUIET), strict=False
            ):
                below = int(np.sum(~(values >= low)))
                label = f"{name}: {len(values)} rows" + (f", {below} further left" if below else "")
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
            axes.set_ylim(0, axes.get_ylim()[1] / (1 - 0.08 * min(len(arrays), 4)))
            axes.legend(loc="upper left")
        axes.set_yticks([])
        axes.grid(False)
        axes.spines["left"].set_visible(False)
        axes.set_xlabel(unit)
        axes.set_title(title)
    return drawn


def _range(values: np.ndarray) -> tuple[float, float]:
    low, middle, high = np.quantile(values, [0.01, 0.5, 1.0])
    low = max(values.min(), low - 0.5 * (middle - low))
    return (low, high) if high > low else (low - 0.5, high + 0.5)
