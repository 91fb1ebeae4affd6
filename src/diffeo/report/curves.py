"""How training went."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from diffeo.report.style import ACCENT, MODEL, QUIET, figure, styled


def learning_curve(
    train: tuple[ArrayLike, ArrayLike],
    validation: tuple[ArrayLike, ArrayLike],
    *,
    unit: str = "nats",
    higher_is_better: bool = True,
    baselines: Mapping[str, float] | None = None,
    title: str = "",
    held_out: str = "held-out rows",
) -> Figure:
    """The figure of merit against optimizer steps, on the training batches and on held-out rows.

    The axis shows the range in which training moved after its first steps: a start thousands of
    nats away would flatten everything that matters.

    Args:
        train: steps, and the figure of each batch (or its mean since the last).
        validation: steps, and the figure on the held-out part.
        unit: of both, named on the axis.
        higher_is_better: whether the best is the largest (log-likelihood) or the smallest
            (bits/dim).
        baselines: figures of simple models on the same held-out rows, drawn as level lines.
        title: above the picture.
        held_out: what the held-out part is called.
    """
    train_steps, train_values = (np.asarray(part, dtype=float) for part in train)
    steps, values = (np.asarray(part, dtype=float) for part in validation)
    with styled():
        drawn = figure(6.4, 3.8)
        axes = drawn.subplots()
        axes.plot(
            train_steps, train_values, color=QUIET, lw=0.9, alpha=0.8, label="training batches"
        )
        axes.plot(steps, values, color=MODEL, marker="o", ms=2.6, label=held_out)
        kept = np.flatnonzero(np.isfinite(values))
        if len(kept):
            order = values[kept] if higher_is_better else -values[kept]
            best = kept[int(np.argmax(order))]
            label = f"best: {values[best]:.3f} at step {int(steps[best])}"
            axes.plot(steps[best], values[best], "o", color=ACCENT, ms=6, label=label)
        _levels(axes, baselines or {}, held_out)
        _zoom(axes, train_values, values, list((baselines or {}).values()), higher_is_better)
        axes.set_xlabel("optimizer step")
        axes.set_ylabel(unit)
        axes.set_title(title)
        drawn.legend(loc="outside lower center", ncols=3)
    return drawn


def _levels(axes: Axes, levels: Mapping[str, float], held_out: str) -> None:
    finite = {name: value for name, value in levels.items() if np.isfinite(value)}
    highest = max(finite.values(), default=0.0)
    for name, value in finite.items():
        axes.axhline(value, color=QUIET, lw=1, ls=(0, (4, 3)))
        # The highest is named above its line and the others below: close lines keep their names.
        axes.annotate(
            f"{name} {value:.2f} ({held_out})",
            (0.99, value),
            xycoords=("axes fraction", "data"),
            xytext=(0, 2 if value == highest else -2),
            textcoords="offset points",
            ha="right",
            va="bottom" if value == highest else "top",
            fontsize=7.5,
            zorder=1.5,  # behind the curves, which it may meet
            bbox={"facecolor": "white", "alpha": 0.75, "lw": 0, "pad": 0.6},
        )


def _zoom(
    axes: Axes, train: np.ndarray, validation: np.ndarray, levels: Sequence[float], up: bool
) -> None:
    late = [part[len(part) // 10 :] for part in (train, validation)]
    shown = np.concatenate([*late, np.asarray(levels, dtype=float)])
    shown = shown[np.isfinite(shown)]
    if not len(shown):
        return
    # The worse end is cut at a quantile, since single batches can be far off; the better end never.
    worst, best = (
        (np.quantile(shown, 0.02), shown.max()) if up else (np.quantile(shown, 0.98), shown.min())
    )
    extreme = [level for level in levels if np.isfinite(level)]
    worst = min([worst, *extreme]) if up else max([worst, *extreme])
    room = 0.08 * abs(best - worst) or 0.5
    low, high = sorted((worst, best))
    axes.set_ylim(low - room, high + room)
