"""The look that all pictures share, and how they reach a file."""

import io
import os
import uuid
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

DATA = "#3d4451"
"""Colour of what was given: a dark grey."""
MODEL = "#1f77b4"
"""Colour of what the model says or draws."""
ACCENT = "#d9722c"
"""Colour of what the eye should find: the best point, a threshold, a held-out part."""
QUIET = "#8b93a1"
"""Colour of what stands for comparison."""

_SETTINGS: dict[str, Any] = {
    "axes.axisbelow": True,
    "axes.edgecolor": "#c3c8d0",
    "axes.grid": True,
    "axes.labelcolor": DATA,
    "axes.labelsize": 9,
    "axes.linewidth": 0.8,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": DATA,
    "axes.titlelocation": "left",
    "axes.titlesize": 10,
    "figure.facecolor": "white",
    "figure.titlesize": 11,
    "font.size": 9,
    "grid.color": "#eceef1",
    "grid.linewidth": 0.8,
    "legend.fontsize": 8.5,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "text.color": DATA,
    # Names of columns are text, never formulas: $ in one means a dollar.
    "text.parse_math": False,
    "xtick.color": DATA,
    "xtick.labelsize": 8,
    "xtick.major.size": 3,
    "ytick.color": DATA,
    "ytick.labelsize": 8,
    "ytick.major.size": 3,
}


@contextmanager
def styled() -> Iterator[None]:
    """Draws in the shared look, and leaves the caller's own settings of matplotlib as they were."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_SETTINGS)  # type: ignore[call-overload]
        yield


def figure(width: float, height: float) -> Figure:
    """An empty picture, in inches, that belongs to no window: no display is needed."""
    drawn = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(drawn)
    return drawn


def spacing(drawn: Figure, **padding: float) -> None:
    """Sets the space in a picture: w_pad, h_pad in inches; wspace, hspace in fractions."""
    engine = drawn.get_layout_engine()
    if engine is not None:
        engine.set(**padding)


def shorten(name: str, most: int = 24) -> str:
    """A column's name that fits above a small plot."""
    return name if len(name) <= most else name[: most - 1] + "…"


def png(drawn: Figure, *, dpi: int = 130) -> bytes:
    """A picture as the bytes of a PNG."""
    buffer = io.BytesIO()
    with styled(), warnings.catch_warnings():
        # A name in letters that the font has not: a box stands for each.
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from")
        drawn.savefig(buffer, format="png", dpi=dpi)
    return buffer.getvalue()


def save_figure(drawn: Figure, path: str | Path, *, dpi: int = 130) -> Path:
    """Writes a picture as PNG: all of it or nothing, whatever stood there replaced.

    Raises:
        OSError: if it can't be written.
    """
    return write_whole(path, png(drawn, dpi=dpi))


def write_whole(path: str | Path, content: bytes) -> Path:
    """Writes a file: all of it or nothing, whatever stood there replaced.

    Raises:
        OSError: if it can't be written.
    """
    path = Path(path)
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.partial")
    try:
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return path
