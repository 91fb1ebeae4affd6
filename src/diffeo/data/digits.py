"""The 8×8 digits that scikit-learn ships."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from diffeo.extras import require

_PARTS = {"train": slice(0, 1000), "val": slice(1000, 1350), "test": slice(1350, None)}


def digits() -> dict[str, Tensor]:
    """1,797 handwritten digits of 8×8 pixels with 17 levels, split as in Tomczak's book.

    `train` is rows [:1000], `validation` [1000:1350], `test` the rest, in the order in which
    scikit-learn gives them.

    Shapes: each (rows, 64), float32, whole numbers 0 … 16.

    Raises:
        ImportError: if scikit-learn is not installed.

    Reference: Alpaydin & Kaynak, 1998, Optical Recognition of Handwritten Digits, UCI Machine
        Learning Repository; the split: Tomczak, 2022, Deep Generative Modeling, Springer.
    """
    x = torch.as_tensor(_loaded().data, dtype=torch.float32)
    names = {"val": "validation"}
    return {names.get(part, part): x[rows] for part, rows in _PARTS.items()}


def digit_files() -> dict[str, np.ndarray]:
    """The same as files of images for `read_images`, by name: levels (N, 8, 8), and labels."""
    found = _loaded()
    files = {}
    for part, rows in _PARTS.items():
        files[f"{part}.npy"] = found.images[rows].astype(np.uint8)
        files[f"{part}_labels.npy"] = found.target[rows]
    return files


def wrong_digit_files(folder: Path) -> dict[str, str]:
    """What is wrong with such files in a folder, by name: "is missing", or that it holds others."""
    wrong = {}
    for name, values in digit_files().items():
        if not (folder / name).exists():
            wrong[name] = "is missing"
        elif not _holds(folder / name, values):
            wrong[name] = "holds something else"
    return wrong


def _holds(path: Path, values: np.ndarray) -> bool:
    try:
        return np.array_equal(np.load(path, allow_pickle=False), values)
    except (OSError, ValueError, EOFError):
        return False


def _loaded() -> Any:
    return require("sklearn.datasets", "diffeo.data.digits").load_digits()
