"""Tables to measure on, as three parts: to train on, to choose by, to judge by."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

UCI = {
    "power-plant": "power-plant.txt",
    "protein": "protein-tertiary-structure.txt",
    "concrete": "concrete.txt",
    "wine": "wine-quality-red.txt",
}
TABLES = (*UCI, "patches")


class Parts(NamedTuple):
    """Rows of float32."""

    train: Tensor
    validation: Tensor
    test: Tensor


def load(table: str, folder: Path) -> Parts:
    """The table of that name, from the folder that holds uci/ and natural_patches_8x8.npz."""
    if table == "patches":
        parts = _patches(folder / "natural_patches_8x8.npz")
    else:
        parts = _uci(folder / "uci" / UCI[table])
    return Parts(*(torch.from_numpy(part.astype(np.float32)) for part in parts))


def _uci(path: Path) -> list[np.ndarray]:
    """Permuted by `default_rng(0)`, 80 % / 10 % / 10 %, standardised on the first part."""
    rows = np.loadtxt(path)
    rows = rows[np.random.default_rng(0).permutation(len(rows))]
    parts = np.split(rows, [int(0.8 * len(rows)), int(0.9 * len(rows))])
    mean, std = parts[0].mean(0), parts[0].std(0)
    return [(part - mean) / std for part in parts]


def _patches(path: Path) -> list[np.ndarray]:
    """Its own parts, split by photograph: (x + u) / 256, less the patch's mean, in 63 dimensions.

    u ~ U[0, 1), from `default_rng(0)`, part after part. Natural units: no column is scaled.
    """
    generator = np.random.default_rng(0)
    parts = []
    with np.load(path) as file:
        for name in ("train", "val", "test"):
            pixels = file[name].reshape(len(file[name]), -1).astype(np.float64)
            rows = (pixels + generator.random(pixels.shape)) / 256
            parts.append((rows - rows.mean(1, keepdims=True))[:, :-1])
    return parts
