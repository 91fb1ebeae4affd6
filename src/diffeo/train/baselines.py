"""What simple models reach on the same rows: a flow that is no better has learned nothing."""

import math

import torch
from torch import Tensor

from diffeo.train.inputs import Rows, as_tensor

KERNELS = 2_000
"""The most training rows that the kernel density estimate of a column is made of."""
CONSTANT = 1e-6
"""The width that a constant column is given, as a part of the size of its numbers."""


def baselines(x_train: Rows, x_test: Rows, *, discrete: bool | None = None) -> dict[str, float]:
    """Mean log-likelihood of test rows, in nats a row, under models fitted to training rows.

    - `gaussian`: a Gaussian with the full covariance. For whole numbers it is fitted to x + u and
      scored by the bound E_u log N(x + u), u ~ U[0, 1), as a dequantized model's is; both
      expectations are exact here, nothing is drawn.
    - `independent`: columns that know nothing of each other. For whole numbers, the frequency of
      each level between the least and the greatest, one added to each count; otherwise a Gaussian
      kernel density estimate of each column, with a hundredth of a Cauchy for its tails.

    Other units of a column shift both densities by the logarithm of the factor, and nothing else. A
    constant column, whose density has no limit, counts as one of a millionth of its numbers' size.

    Args:
        x_train: (rows, *event); tensor, array or data frame.
        x_test: the same columns.
        discrete: whether figures are of probabilities of whole numbers rather than of densities.
            None: whether all the data is whole numbers; say False for a model that does not
            dequantize them.

    Raises:
        TypeError: if the data is not numbers.
        ValueError: if there are fewer than two training rows or no test row, the rows differ in
            length, a value is not finite, or discrete data is not whole numbers.

    Reference: Silverman, 1986, Density Estimation for Statistics and Data Analysis (kernel width).
    """
    train, test = (as_tensor("baselines", "data", x).double().cpu() for x in (x_train, x_test))
    train, test = train.reshape(len(train), -1), test.reshape(len(test), -1)
    if len(train) < 2 or not len(test) or train.shape[1] != test.shape[1]:
        raise ValueError(
            "baselines: needs at least two training rows and one test row, of the same length; "
            f"got {tuple(train.shape)} and {tuple(test.shape)}"
        )
    if not bool(train.isfinite().all() & test.isfinite().all()):
        raise ValueError("baselines: every value must be finite")
    whole = bool((train == train.round()).all() & (test == test.round()).all())
    if discrete and not whole:
        raise ValueError("baselines: discrete data must be whole numbers")
    discrete = whole if discrete is None else discrete
    if discrete:
        return {
            "gaussian": _gaussian(train, test, 1 / 12),
            "independent": _categorical(train, test),
        }
    size = _size(train)
    train, test, units = train / size, test / size, float(size.log().sum())
    return {
        "gaussian": _gaussian(train, test, 0.0) - units,
        "independent": _kernels(train, test) - units,
    }


def _size(train: Tensor) -> Tensor:
    """The greatest absolute value of each column; the table's for a column of zeros."""
    size = train.abs().amax(0)
    size = torch.where(size > 0, size, size.max())
    return torch.where(size > 0, size, 1.0)


def _gaussian(train: Tensor, test: Tensor, noise: float) -> float:
    """E_u log N(x + u; μ + E u, Σ + noise I), u with variance `noise` in each column."""
    columns = train.shape[1]
    eye = torch.eye(columns, dtype=train.dtype)
    mean, covariance = train.mean(0), torch.cov(train.T).reshape(columns, columns) + noise * eye
    scale = covariance.diagonal().sqrt()
    # A width keeps the figure finite where a column is constant, a ridge where some are dependent.
    if not noise:
        scale = torch.where(_constant(train), CONSTANT, scale)
    factor = _cholesky((covariance / (scale * scale[:, None])).fill_diagonal_(1.0))
    whitened = torch.linalg.solve_triangular(factor, ((test - mean) / scale).T, upper=False)
    expected_noise = (torch.cholesky_inverse(factor).diagonal() * noise / scale.square()).sum()
    square = whitened.square().sum(0).mean() + expected_noise
    log_determinant = 2 * (factor.diagonal().log().sum() + scale.log().sum())
    return float(-0.5 * (square + log_determinant + columns * math.log(2 * math.pi)))


def _cholesky(correlation: Tensor) -> Tensor:
    """The Cholesky factor, with the smallest ridge that makes the matrix positive definite."""
    eye = torch.eye(len(correlation), dtype=correlation.dtype)
    for ridge in (1e-12, 1e-10, 1e-8):
        factor, failed = torch.linalg.cholesky_ex(correlation + ridge * eye)
        if not failed:
            return factor
    return torch.linalg.cholesky(correlation + 1e-6 * eye)


def _constant(train: Tensor) -> Tensor:
    return train.amax(0) == train.amin(0)


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
    """Σ over columns of log(0.99/m Σ_j N(x; x_j, h²) + 0.01 Cauchy(x; median, q)).

    h = 0.9 min(σ, 2q/1.34) m^(−1/5); q is half the distance between the quartiles, a Cauchy's own
    scale. Its hundredth is there for rows in the tails, which lie many widths from any kernel: it
    costs at most 0.01 nats a column and bounds what a single row can lose.
    """
    if len(train) > KERNELS:
        train = train[
            torch.randperm(len(train), generator=torch.Generator().manual_seed(0))[:KERNELS]
        ]
    lower, middle, upper = torch.quantile(
        train, torch.tensor([0.25, 0.5, 0.75], dtype=train.dtype), dim=0
    )
    deviation, spread = train.std(0), (upper - lower) / 2
    spread = torch.where(spread > 0, spread, deviation)
    width = 0.9 * torch.minimum(deviation, spread / 0.67) * len(train) ** -0.2
    width, spread = (torch.where(_constant(train), CONSTANT, w) for w in (width, spread))
    total = 0.0
    for i, (column, wanted) in enumerate(zip(train.T, test.T, strict=True)):
        h, q = width[i], spread[i]
        to_kernels = -h.log() - math.log(len(train)) - 0.5 * math.log(2 * math.pi) + math.log(0.99)
        to_tails = -q.log() - math.log(math.pi) + math.log(0.01)
        for part in wanted.split(4096):
            kernels = (-0.5 * ((part[:, None] - column) / h).square()).logsumexp(-1) + to_kernels
            tails = to_tails - ((part - middle[i]) / q).square().log1p()
            total += float(torch.logaddexp(kernels, tails).sum())
    return total / len(test)
