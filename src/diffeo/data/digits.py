"""The 8×8 digits that scikit-learn ships."""

import torch
from torch import Tensor

from diffeo.extras import require


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
    datasets = require("sklearn.datasets", "diffeo.data.digits")
    x = torch.as_tensor(datasets.load_digits().data, dtype=torch.float32)
    return {"train": x[:1000], "validation": x[1000:1350], "test": x[1350:]}
