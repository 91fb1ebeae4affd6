"""Grids of small images."""

import math
from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from diffeo.report.style import figure, spacing, styled


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
    rows = {name: math.ceil(len(images) / columns) for name, images in sets.items()}
    tall = max(rows.values(), default=1)
    side, text = 0.42, 0.14 if captions else 0.0
    with styled():
        drawn = figure(len(sets) * (columns * side + 0.3), tall * (side + text) + 0.55)
        blocks = drawn.subfigures(1, len(sets), squeeze=False, wspace=0.08)[0]
        spacing(drawn, w_pad=0.015, h_pad=0.015, wspace=0.0, hspace=0.0)
        for block, (name, images) in zip(blocks, sets.items(), strict=True):
            block.suptitle(name, fontsize=9.5, x=0.02, ha="left")
            darkest = levels if levels is not None else float(np.max(images, initial=1.0))
            grid = block.subplots(tall, columns, squeeze=False).ravel()
            for axes in grid:
                axes.set_axis_off()
            for axes, image in zip(grid, images, strict=False):
                axes.imshow(image, cmap="gray_r", vmin=0, vmax=darkest, interpolation="nearest")
            for axes, caption in zip(grid, captions.get(name, []), strict=False):
                axes.set_title(caption, fontsize=6, loc="center", pad=1.5)
        if title:
            drawn.suptitle(title, x=0.01, ha="left")
    return drawn
