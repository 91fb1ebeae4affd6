"""What a model drew beside what it was given: column by column, and in pairs."""

import math
import textwrap
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from diffeo.report.style import DATA, MODEL, figure, shorten, spacing, styled

MOST_COLUMNS = 36
"""Columns that `marginals` draws; of a wider table, the first."""
MOST_PAIRS = 6
"""Columns that `pairs` draws; of a wider table, the first."""
CHARACTERS = 11
"""Characters in an inch of a title, of letters a little wider than usual."""


def marginals(
    data: np.ndarray, samples: np.ndarray, names: Sequence[str], *, title: str = ""
) -> Figure:
    """A histogram of every column: data filled, samples as a line.

    Args:
        data: rows that were given, (n, D).
        samples: rows that the model drew, (m, D).
        names: of the columns, D of them; the first `MOST_COLUMNS` are drawn.
        title: above the picture.
    """
    shown = min(len(names), MOST_COLUMNS)
    across = min(shown, 6 if shown > 12 else 4 if shown > 4 else shown)
    down = math.ceil(shown / across)
    with styled():
        drawn = figure(max(2.2 * across, 4.4), 1.65 * down + 0.6)
        spacing(drawn, w_pad=0.08)
        grid = drawn.subplots(down, across, squeeze=False).ravel()
        for column, axes in enumerate(grid):
            if column >= shown:
                axes.set_axis_off()
                continue
            _histogram(axes, data[:, column], samples[:, column])
            axes.set_title(shorten(names[column]), fontsize=8.5)
        _explain(drawn, grid[0], title, len(names), shown)
    return drawn


def pairs(
    data: np.ndarray,
    samples: np.ndarray,
    names: Sequence[str],
    *,
    points: int = 1500,
    title: str = "",
) -> Figure:
    """Every pair of columns: data below the diagonal, samples above, both by column upon it.

    The two halves share their axes, so that a good model makes a picture that is symmetric about
    the diagonal.

    Args:
        data: rows that were given, (n, D).
        samples: rows that the model drew, (m, D).
        names: of the columns, D of them; the first `MOST_PAIRS` are drawn.
        points: rows drawn in a panel, at most.
        title: above the picture.
    """
    shown = min(len(names), MOST_PAIRS)
    data, samples = data[:points, :shown], samples[:points, :shown]
    limits = [_limits(data[:, i]) for i in range(shown)]
    with styled():
        drawn = figure(max(1.55 * shown + 0.5, 4.4), 1.5 * shown + 0.8)
        grid = drawn.subplots(shown, shown, squeeze=False)
        spacing(drawn, w_pad=0.03, h_pad=0.03)
        for i in range(shown):
            for j in range(shown):
                axes = grid[i, j]
                if i == j:
                    _histogram(axes, data[:, i], samples[:, i])
                else:
                    rows, color = (data, DATA) if i > j else (samples, MODEL)
                    axes.scatter(
                        rows[:, j], rows[:, i], color=color, lw=0, rasterized=True, **_dots(rows)
                    )
                    axes.set_ylim(*limits[i])
                axes.set_xlim(*limits[j])
                axes.tick_params(labelbottom=i == shown - 1, labelleft=j == 0 and i > 0)
                axes.locator_params(nbins=3)
            grid[-1, i].set_xlabel(shorten(names[i], 18))
            grid[i, 0].set_ylabel(shorten(names[i], 18))
        drawn.align_ylabels(grid[:, 0])
        _explain(drawn, grid[0, 0], title, len(names), shown)
    return drawn


def _dots(rows: np.ndarray) -> dict[str, float]:
    """Points that are seen when there are few, and don't hide each other when there are many."""
    fewer = 1500 / max(len(rows), 1)
    return {
        "s": min(16.0, 2.2 * max(fewer, 1.0) ** 0.5),
        "alpha": min(0.9, 0.35 * max(fewer, 1.0) ** 0.25),
    }


def _histogram(axes: Axes, data: np.ndarray, samples: np.ndarray) -> None:
    low, high = _limits(data)
    count = min(40, max(8, round(2 * len(data) ** (1 / 3))))
    edges = np.linspace(low, high, count + 1)
    for values, style in (
        (data, {"histtype": "stepfilled", "color": DATA, "alpha": 0.28, "label": "data"}),
        (samples, {"histtype": "step", "color": MODEL, "lw": 1.5, "label": "samples"}),
    ):
        # Weights and not density=True: what falls outside the range still counts in the whole.
        inside = values[np.isfinite(values)]
        weight = 1 / (max(len(values), 1) * (edges[1] - edges[0]))
        axes.hist(inside, edges.tolist(), weights=np.full(len(inside), weight), **style)
    axes.set_xlim(low, high)
    axes.set_yticks([])
    axes.grid(False)
    axes.spines["left"].set_visible(False)
    axes.locator_params(axis="x", nbins=4)


def _limits(values: np.ndarray) -> tuple[float, float]:
    """The range of the data with a little room, single far values aside."""
    values = values[np.isfinite(values)]
    if not len(values):
        return -1.0, 1.0
    low, high = np.quantile(values, [0.002, 0.998])
    room = 0.05 * (high - low) or 0.5 * (abs(high) or 1.0)
    return float(low - room), float(high + room)


def _explain(drawn: Figure, axes: Axes, title: str, total: int, shown: int) -> None:
    handles, labels = axes.get_legend_handles_labels()
    drawn.legend(handles, labels, loc="outside lower right", ncols=2)
    part = f" (the first {shown} of {total} columns)" if shown < total else ""
    across = int(CHARACTERS * drawn.get_figwidth())
    drawn.suptitle(textwrap.fill((title or "Data and samples") + part, across), x=0.01, ha="left")
