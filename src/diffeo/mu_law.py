"""μ-law: a waveform as a few levels, fine near silence and coarse near full scale."""

import math

import torch
from torch import Tensor

MOST_LEVELS = {torch.bfloat16: 2**11, torch.float16: 2**14}
"""Codes that numbers of a dtype tell apart: they lie ln(1 + μ) / μ · 2|x| apart, x is rounded."""


def mu_law_encode(x: Tensor, levels: int = 256) -> Tensor:
    """The codes of a waveform: whole numbers 0 … levels − 1.

    f(x) = sign(x) ln(1 + μ|x|) / ln(1 + μ),  μ = levels − 1, and the code is the nearest of the
    levels that lie evenly in [−1, 1]: ⌊μ (f(x) + 1) / 2 + ½⌋.

    Args:
        x: a waveform, full scale being ±1, of any shape. What is beyond full scale gets the first
            or the last code. NaN has no code and counts as silence; where that matters, look for
            it first.
        levels: how many codes there are.

    Raises:
        TypeError: if x is not of floating-point numbers.
        ValueError: if there are fewer than 2 levels, or more than x's dtype can tell apart
            (`MOST_LEVELS`): 2¹¹ in bfloat16, 2¹⁴ in float16.
    Reference: ITU-T Recommendation G.711, 1988; van den Oord et al., 2016, WaveNet: A Generative
        Model for Raw Audio, arXiv:1609.03499, section 2.2.

    Example:
        >>> mu_law_encode(torch.tensor([-1.0, -0.01, 0.0, 0.01, 1.0]))
        tensor([  0,  98, 128, 157, 255])
    """
    mu = _mu(levels)
    if not x.is_floating_point():
        raise TypeError(
            f"mu_law_encode: needs a waveform in [-1, 1], got {x.dtype}; divide 16-bit samples by "
            "32768"
        )
    if levels > MOST_LEVELS.get(x.dtype, math.inf):
        raise ValueError(
            f"mu_law_encode: {x.dtype} can't tell {levels:,} codes apart; give float32, or fewer "
            "levels"
        )
    x = x.to(torch.promote_types(x.dtype, torch.float32)).nan_to_num(nan=0.0).clamp(-1, 1)
    compressed = x.sign() * (mu * x.abs()).log1p() / math.log1p(mu)
    return (mu * (compressed + 1) / 2 + 0.5).floor().clamp(0, mu).long()


def mu_law_decode(codes: Tensor, levels: int = 256) -> Tensor:
    """The waveform of codes, in the default dtype: the inverse of f at each code's level.

    x = sign(y) ((1 + μ)^|y| − 1) / μ,  y = 2 code / μ − 1. Encoding it gives the same codes.

    Args:
        codes: whole numbers 0 … levels − 1, of any shape and integer dtype; others count as the
            nearest code.
        levels: how many codes there are.

    Raises:
        TypeError: if the codes are not of an integer dtype.
        ValueError: if there are fewer than 2 levels.

    Example:
        >>> mu_law_decode(torch.tensor([0, 98, 128, 157, 255]))
        tensor([-1.0000e+00, -1.0225e-02,  8.6213e-05,  1.0225e-02,  1.0000e+00])
    """
    mu = _mu(levels)
    if codes.is_floating_point() or codes.is_complex():
        raise TypeError(f"mu_law_decode: codes are whole numbers, got {codes.dtype}")
    y = 2 * codes.clamp(0, mu).to(torch.get_default_dtype()) / mu - 1
    return (y.sign() * (y.abs() * math.log1p(mu)).expm1() / mu).clamp(-1, 1)


def _mu(levels: int) -> int:
    if levels < 2:
        raise ValueError(f"mu-law: there must be 2 levels or more, got {levels}")
    return levels - 1
