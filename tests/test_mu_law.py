"""μ-law: the formula, codes that come back, and what has no code."""

import math

import pytest
import torch

from diffeo.data import mu_law_decode, mu_law_encode


def formula(x: float, mu: int = 255) -> int:
    """ITU-T G.711's curve as the paper on WaveNet writes it, to the nearest level."""
    f = math.copysign(math.log1p(mu * abs(x)) / math.log1p(mu), x)
    return math.floor((f + 1) / 2 * mu + 0.5)


def test_codes_are_those_of_the_formula():
    x = torch.rand(2000, dtype=torch.float64) * 2 - 1
    x = torch.cat([x, x**9])  # many that are quiet
    assert mu_law_encode(x).tolist() == [formula(value) for value in x.tolist()]
    few = mu_law_encode(x, levels=16)
    assert few.tolist() == [formula(value, 15) for value in x.tolist()]


@pytest.mark.parametrize("levels", [2, 3, 255, 256, 65536])
def test_codes_come_back(levels):
    codes = torch.arange(levels)
    x = mu_law_decode(codes, levels)
    assert x.dtype == torch.get_default_dtype()
    assert x.min() == -1 and x.max() == 1 and (x.diff() > 0).all()
    assert (mu_law_encode(x, levels) == codes).all()


@pytest.mark.parametrize(("dtype", "most"), [(torch.bfloat16, 11), (torch.float16, 14)])
def test_a_dtype_too_coarse_for_the_codes_is_refused(dtype, most):
    codes = torch.arange(2**most)
    assert (mu_law_encode(mu_law_decode(codes, 2**most).to(dtype), 2**most) == codes).all()
    with pytest.raises(ValueError, match=r"can't tell [\d,]+ codes apart; give float32"):
        mu_law_encode(torch.zeros(3, dtype=dtype), 2 ** (most + 1))


def test_a_waveform_comes_back_within_half_a_step():
    x = torch.linspace(-1, 1, 10001)
    off = (mu_law_decode(mu_law_encode(x)) - x).abs()
    # Steps grow with the loudness, as the curve flattens.
    slope = (1 + 255 * x.abs()) * math.log(256) / 255
    assert (off <= slope / 255 * 1.02).all()


def test_ends_and_what_is_beyond_them():
    x = torch.tensor([-math.inf, -7.0, -1.0, 0.0, 1.0, 1.0001, math.inf])
    assert mu_law_encode(x).tolist() == [0, 0, 0, 128, 255, 255, 255]
    assert mu_law_encode(torch.tensor(math.nan)).item() == 128  # counts as silence
    assert mu_law_decode(torch.tensor([-3, 300])).tolist() == [-1, 1]


def test_shapes_and_dtypes():
    x = torch.rand(2, 1, 30)
    codes = mu_law_encode(x)
    assert codes.shape == x.shape and codes.dtype == torch.int64
    assert (mu_law_encode(codes.float() / 255) >= 128).all()
    assert mu_law_encode(torch.tensor([-1, 0.5, 1], dtype=torch.bfloat16)).tolist() == [0, 239, 255]
    assert mu_law_decode(codes.to(torch.uint8)).equal(mu_law_decode(codes))


def test_what_is_no_waveform_and_no_code_is_refused():
    with pytest.raises(TypeError, match="divide 16-bit samples by 32768"):
        mu_law_encode(torch.zeros(3, dtype=torch.int16))
    with pytest.raises(TypeError, match=r"codes are whole numbers, got torch.float32"):
        mu_law_decode(torch.zeros(3))
    with pytest.raises(ValueError, match="2 levels or more, got 1"):
        mu_law_encode(torch.zeros(3), 1)
