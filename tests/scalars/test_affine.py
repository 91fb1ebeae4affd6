"""Shifts and scales: what they take from data."""

import math

import pytest
import torch

from diffeo.bijections import Elementwise
from diffeo.scalars import Scaling


def test_scaling_starts_at_unit_variance() -> None:
    """What varies has variance 1, from numbers of 1e-2 or of 1e2, beside an offset as well."""
    x = torch.randn(5000, 2, 2) * torch.tensor([[0.01, 1.0], [7.0, 100.0]]) + 3.0
    scaling = Elementwise(Scaling(), (2, 2))
    z = scaling.initialize(x)
    torch.testing.assert_close(z.std(0, correction=0), torch.ones(2, 2), rtol=1e-3, atol=0)
    expected = -x.double().std(0, correction=0).log().sum()
    ladj = scaling(x[:1])[1]
    torch.testing.assert_close(ladj.double(), expected[None], rtol=1e-4, atol=0)


@pytest.mark.parametrize("size", [0.0, 1e-30, 1e-9, 1e30])
def test_scaling_starts_inside_its_bound(size: float) -> None:
    """Columns that are constant, or too small or large for the bound, make no scale beyond it."""
    scaling = Scaling()
    params = scaling.params_from_data(size * torch.randn(100, 1))
    z, log_scale = scaling(torch.ones(1), params)
    assert z.isfinite().all()
    assert log_scale.abs() <= 0.9 * math.log(1000.0) + 1e-5
    assert size or log_scale == 0


def test_scaling_needs_rows_to_start_from() -> None:
    """No data: said so."""
    with pytest.raises(ValueError, match="needs rows to start from"):
        Scaling().params_from_data(torch.randn(0, 3))
