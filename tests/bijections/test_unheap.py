"""Levels as wide as they are frequent beyond their neighbours."""

import copy
import math

import pytest
import torch

from diffeo.bijections import Unheap
from diffeo.bijections.unheap import LEVELS


def rounded(rows: int, step: int) -> torch.Tensor:
    """Numbers of which nine in ten are rounded to multiples of the step, dequantized."""
    generator = torch.Generator().manual_seed(0)
    exact = 500 + 80 * torch.randn(rows, 1, generator=generator)
    heaped = torch.rand(rows, 1, generator=generator) < 0.9
    levels = torch.where(heaped, (exact / step).round() * step, exact.floor())
    return levels + torch.rand(rows, 1, generator=generator)


def test_heaps_are_gone():
    x = rounded(5000, 10)
    unheap = Unheap(1)
    z = unheap.initialize(x)
    for values, uneven in ((x, True), (z, False)):
        counts = torch.histc(values, 400, 300, 700)
        near = counts.unfold(0, 41, 1).mean(-1)
        assert ((counts[20:-20] - near).square().mean() > 3 * near.mean()) == uneven
    assert float((z - x).abs().max()) < 40
    assert float(unheap(x)[1].mean()) > 1.0


def test_what_it_gains_is_gained_on_other_rows_too():
    unheap = Unheap(1)
    x = rounded(6000, 10)
    unheap.initialize(x[:3000])
    seen, other = (float(unheap(part)[1].mean()) for part in (x[:3000], x[3000:]))
    assert other > seen - 0.1 > 1.0


@pytest.mark.parametrize("spread", [5.0, 50.0, 5000.0])
def test_counts_that_vary_by_chance_are_left_alone(spread):
    generator = torch.Generator().manual_seed(1)
    x = spread * torch.randn(4000, 1, generator=generator)
    unheap = Unheap(1)
    unheap.initialize(x[:2000])
    assert abs(float(unheap(x[2000:])[1].mean())) < 0.02


def test_beyond_the_levels_it_is_the_identity():
    unheap = Unheap(1, lower=0.0)
    unheap.initialize(rounded(2000, 10))
    x = torch.tensor([[0.25], [1e5], [3e9]])
    z, ladj = unheap(x)
    torch.testing.assert_close(z, x)
    torch.testing.assert_close(ladj, torch.zeros(3))


def test_ends_stay_ends():
    x = rounded(2000, 10)
    unheap = Unheap(1, lower=0.0, upper=2001.0)
    unheap.initialize(x)
    z, _ = unheap(torch.tensor([[1e-3], [2000.999]]))
    assert float(z.min()) > 0 and float(z.max()) < 2001


@pytest.mark.parametrize("offset", [0.0, 2.0**18, 2.0**25])
def test_levels_come_back_wherever_they_lie(offset):
    levels = rounded(3000, 10).floor() + offset
    unheap = Unheap(1)
    unheap.initialize(levels)
    for inside in (0.0, 0.5):
        z, ladj = unheap(levels + inside)
        x, back = unheap.inverse(z)
        torch.testing.assert_close(x.floor(), (levels + inside).floor())
        torch.testing.assert_close(ladj, -back)
        assert ladj.isfinite().all()


def test_just_below_a_level_it_is_the_one_before():
    """Also where x less the first level is rounded up."""
    unheap = Unheap(1)
    unheap.initialize(rounded(3000, 10) - 500)
    x = torch.nextafter(torch.arange(-9.0, 11.0), torch.tensor(-math.inf))[:, None]
    z, ladj = unheap(x)
    exact, exact_ladj = copy.deepcopy(unheap).double()(x.double())
    torch.testing.assert_close(z, exact.float(), rtol=1e-6, atol=1e-5)
    torch.testing.assert_close(ladj, exact_ladj.float(), rtol=1e-6, atol=1e-6)


def test_a_constant_column_and_one_wider_than_the_window():
    unheap = Unheap(2)
    wide = torch.linspace(0, 20 * LEVELS, 500)
    x = torch.stack([torch.full((500,), 7.5), wide], -1)
    z = unheap.initialize(x)
    assert z.isfinite().all() and (z[:, 1].diff() > 0).all()


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match="at least one feature"):
        Unheap(0)
    with pytest.raises(ValueError, match="lower end below the upper"):
        Unheap(1, lower=math.inf)
    with pytest.raises(ValueError, match="needs data"):
        Unheap(1).initialize(torch.zeros(0, 1))
