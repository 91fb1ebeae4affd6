"""The nearest images of a set, by the distance of their levels."""

import numpy as np

BLOCK = 2**21
"""Numbers of images that are held in float64 at once, of each set."""


def nearest(images: np.ndarray, among: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The place of each image's nearest among others, and the distance to it.

    d(x, y) = √Σ_i (x_i − y_i)², over the levels of all pixels and channels. Levels are whole
    numbers, so that the sums are exact. Of several nearest the first counts. Memory is bounded:
    a block of either set at a time.

    Args:
        images: (n, *event), whole numbers.
        among: (m, *event), m ≥ 1.
    Shapes: out: (n,) int64 and (n,) float64.

    Raises:
        ValueError: if the events are of different shapes, or there is none to be near.
    """
    if images.shape[1:] != among.shape[1:] or not len(among):
        raise ValueError(
            f"nearest: needs images of one shape, got {images.shape} and {among.shape}"
        )
    place = np.zeros(len(images), dtype=np.int64)
    square = np.full(len(images), np.inf)
    rows = max(1, BLOCK // max(images[:1].size, 1))
    for j in range(0, len(among), rows):
        other = among[j : j + rows].reshape(len(among[j : j + rows]), -1).astype(np.float64)
        lengths = np.einsum("ij,ij->i", other, other)
        for i in range(0, len(images), rows):
            some = images[i : i + rows].reshape(len(images[i : i + rows]), -1).astype(np.float64)
            found = lengths - 2 * some @ other.T
            best = found.argmin(1)
            least = found[np.arange(len(some)), best] + np.einsum("ij,ij->i", some, some)
            closer = least < square[i : i + rows]
            place[i : i + rows][closer] = best[closer] + j
            square[i : i + rows][closer] = least[closer]
    return place, np.sqrt(square)
