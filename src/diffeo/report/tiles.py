"""Rows of images as tiles, each row with its name and each tile with a few words."""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from diffeo.data.images import full_range, tiled
from diffeo.report.style import ACCENT, figure, styled

WIDE = 1_250
"""Pixels of the pictures of a page, across, at most."""
LARGEST = 128
"""Pixels of an image's longest side; larger ones are shown smaller."""
SHOWN = 10
"""Images in a row, where they fit."""
_DPI = 130
"""That of `style.png`, at which a pixel here is a pixel of the file."""
_WORDS = 18
"""Pixels of a line of small letters."""
_LETTER = 9
"""Pixels that a letter is wide, on average, or less."""


@dataclass(frozen=True)
class Row:
    """Images in a row: (n, C, H, W) or (n, C, D, H, W), whole numbers."""

    images: np.ndarray
    name: str = ""
    """Left of the row."""
    captions: tuple[str, ...] = ()
    """Below each image."""


def visible(images: np.ndarray, levels: int) -> np.ndarray:
    """Levels 0 … K − 1 as greys or colours 0 … 255: uint8, one or three channels.

    Of other numbers of channels the first is shown. Sides longer than `LARGEST` are divided by a
    whole number, blocks of pixels becoming their mean.

    Args:
        images: (n, C, *space).
        levels: K.
    """
    shown = full_range(images if images.shape[1] in (1, 3) else images[:, :1], levels)
    block = reduction(images.shape[2:])
    if block == 1:
        return shown
    for axis in range(2, shown.ndim):
        size = max(shown.shape[axis] // block, 1)
        kept = shown.take(range(min(size * block, shown.shape[axis])), axis=axis)
        shown = kept.reshape(*kept.shape[:axis], size, -1, *kept.shape[axis + 1 :]).mean(axis + 1)
    return shown.round().astype(np.uint8)


def reduction(space: Sequence[int]) -> int:
    """By how much `visible` divides the sides of images of these extents."""
    return math.ceil(max(space) / LARGEST)


def across(images: np.ndarray, most: int) -> int:
    """How many images fit beside one another, `most` at most and two at least."""
    tile, gap = _tile(visible(images[:1], 256)[0])
    return max(2, min(most, WIDE // (tile.shape[1] + gap)))


def tiles(rows: Sequence[Row], *, levels: int, frames: Collection[tuple[int, int]] = ()) -> Figure:
    """Rows of images, one below the other, every pixel of an image a square of whole pixels.

    A volume is shown by the middle slices along its three axes, side by side.

    Args:
        rows: from top to bottom; each holds at least one image.
        levels: K, where images hold 0 … K − 1: 0 is black and K − 1 white.
        frames: (row, column) of the images that get a frame.
    """
    lines = [_line(visible(row.images, levels)) for row in rows]
    left = max((_LETTER * len(row.name) + 12 for row in rows if row.name), default=0)
    width = left + max(picture.shape[1] for picture, _, _ in lines)
    below = [
        _WORDS * max((caption.count("\n") + 1 for caption in row.captions), default=0) + 4
        for row in rows
    ]
    height = sum(picture.shape[0] for picture, _, _ in lines) + sum(below)
    with styled():
        drawn = figure(width / _DPI, height / _DPI)
        drawn.set_layout_engine("none")
        axes = drawn.add_axes((0, 0, 1, 1))
        axes.set_axis_off()
        top = 0
        for i, (row, (picture, tile, step)) in enumerate(zip(rows, lines, strict=True)):
            tall, wide = picture.shape[:2]
            place = (left, left + wide, top + tall, top)
            axes.imshow(picture, extent=place, interpolation="nearest", aspect="auto")
            axes.text(left - 8, top + tall / 2, row.name, fontsize=8, ha="right", va="center")
            for j, caption in enumerate(row.captions):
                for k, words in enumerate(caption.split("\n")):
                    at = (left + j * step + tile / 2, top + tall + _WORDS * (k + 1) - 3)
                    axes.text(*at, words, fontsize=7, ha="center", va="baseline")
            for j in (column for line, column in frames if line == i):
                corner = (left + j * step + 1, top + 1)
                axes.add_patch(Rectangle(corner, tile - 2, tall - 2, fill=False, ec=ACCENT, lw=1.5))
            top += tall + below[i]
        axes.set_xlim(0, width)
        axes.set_ylim(height, 0)
    return drawn


def _line(images: np.ndarray) -> tuple[np.ndarray, int, int]:
    """Images beside one another, (H, W, 3); how wide one is, and where the next begins."""
    made = [_tile(image) for image in images]
    (tall, wide, _), gap = made[0][0].shape, made[0][1]
    line = np.full((tall, len(made) * (wide + gap) - gap, 3), 255, np.uint8)
    for i, (tile, _) in enumerate(made):
        line[:, i * (wide + gap) : i * (wide + gap) + wide] = tile
    return line, wide, wide + gap


def _tile(image: np.ndarray) -> tuple[np.ndarray, int]:
    """An image as `write_images` draws it, (H, W, 3), and the gap to the next.

    Slices of a volume stand beside one another, so that volumes need more space between them.
    """
    tile = tiled(image[None], 1, None)
    gap = 2 if image.ndim == 3 else 12
    return np.broadcast_to(tile, (3, *tile.shape[1:])).transpose(1, 2, 0), gap
