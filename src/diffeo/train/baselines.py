"""What simple models reach on the same rows: whoever is not above them learned nothing of the dependencies."""

import math

import torch
from torch import Tensor

from diffeo.train.inputs import Rows, as_tensor

KERNELS = 2_000
"""The most training rows that the kernel density estimate of a column is made of."""


def baselines(x_train: Rows, x_test: Rows, *, discrete: bool | None = None) -> dict[str, float]:
    """Mean log-likelihood of test rows, in nats a row, under models fitted to training rows.

    `gaussian`: a Gaussian with the full covariance. For whole numbers it is fitted to x + u and scored by the bound
    E_u log N(x + u), u ~ U[0, 1), as a dequantized model's is; both expectations are exact here, nothing is drawn.

    `independent`: columns that know nothing of each other. For whole numbers, the frequency of each level between the
    least and the greatest, one added to each count; otherwise a Gaussian kernel density estimate of each column.

    Args:
        x_train: (rows, *event); tensor, array or data frame.
        x_test: the same columns.
        discrete: whether figures are of probabilities of whole numbers rather than of densities. None: whether all
            the data is whole numbers; say False for a model that does not dequantize them.

    Raises:
        TypeError: if the data is not numbers.
        ValueError: if there are fewer than two training rows or no test row, the rows differ in length, a value is not finite, or
            discrete data is not whole numbers.

    Reference: Silverman, 1986, Density Estimation for Statistics and Data Analysis (the kernel's width).
    """
    train, test = (as_tensor("baselines", "data", x).double().cpu() for x in (x_train, x_test))
    train, test = train.reshape(len(train), -1), test.reshape(len(test), -1)
    if len(train) < 2 or not len(test) or train.shape[1] != test.shape[1]:
        raise ValueError(
            "baselines: needs two training rows or more and one test row or more of the same length, "
            f"got {tuple(train.shape)} and {tuple(test.shape)}"
        )
    if not bool(train.isfinite().all() & test.isfinite().all()):
        raise ValueError("baselines: every value must be finite")
    whole = bool((train == train.round()).all() & (test == test.round()).all())
    if discrete and not whole:
        raise ValueError("baselines: discrete data must be whole numbers")
    discrete = whole if discrete is None else discrete
    independent = _categorical(train, test) if discrete else _kernels(train, test)
    return {
        "gaussian": _gaussian(train, test, 1 / 12 if discrete else 0.0),
        "independent": independent,
    }


def _gaussian(train: Tensor, test: Tensor, noise: float) -> float:
    """E_u log N(x + u; μ + E u, Σ + noise I), u with variance `noise` in each column."""
    columns = train.shape[1]
    eye = torch.eye(columns, dtype=train.dtype)
    mean, covariance = train.mean(0), torch.cov(train.T).reshape(columns, columns) + noise * eye
    scale = covariance.diagonal().sqrt()
    # As in `_kernels`, a constant column keeps the figure finite; so does the ridge, where columns depend on others.
    scale = torch.maximum(scale, 1e-6 * train.abs().amax(0).clamp(min=1e-6))
    factor = torch.linalg.cholesky(covariance / (scale * scale[:, None]) + 1e-8 * eye)
    whitened = torch.linalg.solve_triangular(factor, ((test - mean) / scale).T, upper=False)
    expected_noise = (torch.cholesky_inverse(factor).diagonal() * noise / scale.square()).sum()
    square = whitened.square().sum(0).mean() + expected_noise
    log_determinant = 2 * (factor.diagonal().log().sum() + scale.log().sum())
    return float(-0.5 * (square + log_determinant + columns * math.log(2 * math.pi)))


def _categorical(train: Tensor, test: Tensor) -> float:
    least = torch.minimum(train.min(), test.min())
    levels = int(torch.maximum(train.max(), test.max()) - least) + 1
    total = 0.0
    for column, wanted in zip(train.T, test.T, strict=True):
        counts = torch.bincount((column - least).long(), minlength=levels) + 1.0
        log_frequency = (counts / counts.sum()).log()
        total += float(log_frequency[(wanted - least).long()].mean())
    return total


def _kernels(train: Tensor, test: Tensor) -> float:
    """log 1/m Σ_j N(x; x_j, h²) of each column, h = 0.9 min(σ, IQR / 1.34) m^(−1/5)."""
    if len(train) > KERNELS:
        train = train[
            torch.randperm(len(train), generator=torch.Generator().manual_seed(0))[:KERNELS]
        ]
    quartiles = torch.quantile(train, torch.tensor([0.25, 0.75], dtype=train.dtype), dim=0)
    deviation, spread = train.std(0), (quartiles[1] - quartiles[0]) / 1.34
    width = (
        0.9
        * torch.where(spread > 0, torch.minimum(deviation, spread), deviation)
        * len(train) ** -0.2
    )
    # A constant column has no density; a width of a millionth of its size keeps the figure finite.
    width = torch.maximum(width, 1e-6 * train.abs().amax(0).clamp(min=1e-6))
    total = 0.0
    for column, wanted, h in zip(train.T, test.T, width, strict=True):
        for part in wanted.split(4096):
            logs = -0.5 * ((part[:, None] - column) / h).square()
            total += float((logs.logsumexp(-1) - h.log()).sum())
    constant = math.log(len(train)) + 0.5 * math.log(2 * math.pi)
    return total / len(test) - test.shape[1] * constant
