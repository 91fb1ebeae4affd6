"""Grids of small images."""

import math
from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from diffeo.report.style import figure, styled

PIXEL = 0.045
"""Inches of an image's pixel."""
GAP = 2
"""Pixels between images."""
CAPTION = 4
"""Pixels below an image that has a caption."""


def image_grid(
    sets: Mapping[str, np.ndarray],
    *,
    columns: int = 10,
    levels: float | None = None,
    captions: Mapping[str, list[str]] | None = None,
    title: str = "",
) -> Figure:
    """Grey images in named blocks side by side: data beside samples, likeliest beside strangest.

    Args:
        sets: images by the name of the block, each (n, height, width).
        columns: images in a row of a block.
        levels: the value drawn black; the largest there is when None. Zero is white.
        captions: a short text under each image, by the name of the block.
        title: above the picture.
    """
    captions = captions or {}
    darkest = levels if levels is not None else max(map(_darkest, sets.values()), default=1.0)
    blocks = [
        _mosaic(images, columns, CAPTION if name in captions else GAP)
        for name, images in sets.items()
    ]
    across = sum(block.shape[1] for block in blocks)
    tall = max((block.shape[0] for block in blocks), default=1)
    with styled():
        drawn = figure(across * PIXEL + 0.3 * len(blocks), tall * PIXEL + 0.4 + 0.25 * bool(title))
        widths = [block.shape[1] for block in blocks]
        grid = drawn.subplots(1, len(blocks), squeeze=False, width_ratios=widths)[0]
        for axes, (name, images), block in zip(grid, sets.items(), blocks, strict=True):
            axes.set_axis_off()
            axes.set_anchor("NW")
            axes.set_title(name, fontsize=9.5)
            axes.imshow(block, cmap="gray_r", vmin=0, vmax=darkest, interpolation="nearest")
            for i, caption in enumerate(captions.get(name, [])):
                height, width = images.shape[1:]
                left = i % columns * (width + GAP) + width / 2 - 0.5
                top = (i // columns + 1) * (height + CAPTION) - CAPTION + 0.4
                axes.text(left, top, caption, fontsize=6, ha="center", va="top")
        if title:
            drawn.suptitle(title, x=0.01, ha="left")
    return drawn


def _mosaic(images: np.ndarray, columns: int, below: int) -> np.ndarray:
    """One image of all, in rows of `columns`, with white between them and `below` each row."""
    count, height, width = images.shape
    rows = math.ceil(count / columns)
    padded = np.zeros((rows * columns, height + below, width + GAP), dtype=float)
    padded[:count, :height, :width] = images
    tiled = padded.reshape(rows, columns, height + below, width + GAP).swapaxes(1, 2)
    return tiled.reshape(rows * (height + below), columns * (width + GAP))


def _darkest(images: np.ndarray) -> float:
    return float(np.max(images, initial=1.0))
