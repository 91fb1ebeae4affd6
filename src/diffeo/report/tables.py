"""What a model drew beside what it was given: column by column, and in pairs."""

import math
import textwrap
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from diffeo.report.style import DATA, MODEL, figure, shorten, spacing, styled
from diffeo.report.views import Table, View, views

MOST_COLUMNS = 36
"""Columns that `marginals` draws; of a wider table, the first."""
MOST_PAIRS = 6
"""Columns that `pairs` draws; of a wider table, the first."""
CHARACTERS = 11
"""Characters in an inch of a title, of letters a little wider than usual."""


def marginals(
    data: Table, samples: Table, names: Sequence[str] | None = None, *, title: str = ""
) -> Figure:
    """The distribution of every column: data filled, samples as a line.

    Numbers and dates are histograms; whole numbers and rounded ones of few values, and categories,
    have a bar for each value, the most frequent categories first and the rare ones together.

    Args:
        data: rows that were given; an array (n, D), or a data frame.
        samples: rows that the model drew, of the same columns.
        names: of the columns; the first `MOST_COLUMNS` are drawn. A data frame knows its own.
        title: above the picture.

    Raises:
        ValueError: if an array comes without names, or a column is missing.
    """
    names = list(data.columns) if names is None and hasattr(data, "columns") else names
    total = len(names or ())
    columns = views(data, samples, None if names is None else names[:MOST_COLUMNS])
    shown = len(columns)
    across = min(shown, 6 if shown > 12 else 4 if shown > 4 else shown)
    down = math.ceil(shown / across)
    named = any(column.kind == "categories" for column in columns)
    with styled():
        drawn = figure(max(2.2 * across, 4.4), (1.95 if named else 1.65) * down + 0.6)
        spacing(drawn, w_pad=0.08)
        grid = drawn.subplots(down, across, squeeze=False).ravel()
        for axes in grid[shown:]:
            axes.set_axis_off()
        for axes, column in zip(grid, columns, strict=False):
            _distribution(axes, column)
            axes.set_title(shorten(column.name), fontsize=8.5)
        _explain(drawn, title, total, shown)
    return drawn


def pairs(
    data: Table,
    samples: Table,
    names: Sequence[str] | None = None,
    *,
    points: int = 1500,
    title: str = "",
) -> Figure:
    """Every pair of columns: data below the diagonal, samples above, both by column upon it.

    The two halves share their axes, so that a good model makes a picture that is symmetric about
    the diagonal. Points of columns with a bar for each value are strewn about their places.

    Args:
        data: rows that were given; an array (n, D), or a data frame.
        samples: rows that the model drew, of the same columns.
        names: of the columns; the first `MOST_PAIRS` are drawn. A data frame knows its own.
        points: rows drawn in a panel, at most.
        title: above the picture.

    Raises:
        ValueError: if an array comes without names, or a column is missing.
    """
    names = list(data.columns) if names is None and hasattr(data, "columns") else names
    total = len(names or ())
    chosen = None if names is None else names[:MOST_PAIRS]
    columns = views(data[:points], samples[:points], chosen, categories=8)
    shown = len(columns)
    strewn = [_strewn(column, seed) for seed, column in enumerate(columns)]
    with styled():
        drawn = figure(max(1.55 * shown + 0.5, 4.4), 1.5 * shown + 0.8)
        grid = drawn.subplots(shown, shown, squeeze=False)
        spacing(drawn, w_pad=0.03, h_pad=0.03)
        for i in range(shown):
            for j in range(shown):
                axes = grid[i, j]
                if i == j:
                    _distribution(axes, columns[i])
                else:
                    which, color = (0, DATA) if i > j else (1, MODEL)
                    x, y = strewn[j][which], strewn[i][which]
                    axes.scatter(x, y, color=color, lw=0, rasterized=True, **_dots(len(x)))
                    axes.set_ylim(*columns[i].limits)
                    columns[j].label(axes, "x")
                    columns[i].label(axes, "y")
                axes.set_xlim(*columns[j].limits)
                axes.tick_params(labelbottom=i == shown - 1, labelleft=j == 0 and i > 0)
            grid[-1, i].set_xlabel(shorten(columns[i].name, 18))
            grid[i, 0].set_ylabel(shorten(columns[i].name, 18))
        drawn.align_ylabels(grid[:, 0])
        _explain(drawn, title, total, shown)
    return drawn


def _strewn(column: View, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Data and samples, those of bars moved a little, or points would hide each other."""
    if not column.bars:
        return column.data, column.samples
    rng = np.random.default_rng(seed)
    data, samples = (
        values + column.step * rng.uniform(-0.3, 0.3, len(values))
        for values in (column.data, column.samples)
    )
    return data, samples


def _dots(rows: int) -> dict[str, float]:
    """Points that are seen when there are few, and don't hide each other when there are many."""
    fewer = 1500 / max(rows, 1)
    return {
        "s": min(16.0, 2.2 * max(fewer, 1.0) ** 0.5),
        "alpha": min(0.9, 0.35 * max(fewer, 1.0) ** 0.25),
    }


def _distribution(axes: Axes, column: View) -> None:
    draw = _bars if column.bars else _histogram
    draw(axes, column)
    axes.set_xlim(*column.limits)
    axes.set_yticks([])
    axes.grid(False)
    axes.spines["left"].set_visible(False)
    column.label(axes)


def _histogram(axes: Axes, column: View) -> None:
    edges = column.edges(len(column.data))
    for values, style in (
        (column.data, {"histtype": "stepfilled", "color": DATA, "alpha": 0.28}),
        (column.samples, {"histtype": "step", "color": MODEL, "lw": 1.5}),
    ):
        # Weights and not density=True: what falls outside the range still counts in the whole.
        inside = values[np.isfinite(values)]
        weight = 1 / (max(len(values), 1) * (edges[1] - edges[0]))
        axes.hist(inside, edges.tolist(), weights=np.full(len(inside), weight), **style)


def _bars(axes: Axes, column: View) -> None:
    places, width = column.places(), 0.4 * column.step
    for values, side, style in (
        (column.data, -0.5, {"color": DATA, "alpha": 0.28}),
        (column.samples, 0.5, {"facecolor": "none", "edgecolor": MODEL, "lw": 1.3}),
    ):
        inside = values[np.isfinite(values)]
        at = np.round((inside - places[0]) / column.step).astype(int) if len(places) else []
        counts = np.bincount([i for i in at if 0 <= i < len(places)], minlength=len(places))
        axes.bar(places + side * width, counts / max(len(values), 1), width, **style)


def _explain(drawn: Figure, title: str, total: int, shown: int) -> None:
    handles = [
        Patch(color=DATA, alpha=0.28, label="data"),
        Line2D([], [], color=MODEL, lw=1.5, label="samples"),
    ]
    drawn.legend(handles=handles, loc="outside lower right", ncols=2)
    part = f" (the first {shown} of {total} columns)" if shown < total else ""
    across = int(CHARACTERS * drawn.get_figwidth())
    drawn.suptitle(textwrap.fill((title or "Data and samples") + part, across), x=0.01, ha="left")
