"""The embedded digits and the toy densities."""

import pytest
import torch

from diffeo.data import TOYS, digits, toy


def test_digits_are_split_as_published():
    parts = digits()
    assert {name: tuple(x.shape) for name, x in parts.items()} == {
        "train": (1000, 64),
        "validation": (350, 64),
        "test": (447, 64),
    }
    x = torch.cat(list(parts.values()))
    assert x.dtype == torch.float32
    assert torch.equal(x, x.round())
    assert (x.min(), x.max()) == (0, 16)


@pytest.mark.parametrize("name", TOYS)
def test_toys_repeat_and_fill_the_square(name):
    x = toy(name, 4000, seed=1)
    assert x.shape == (4000, 2)
    assert x.dtype == torch.float32
    assert torch.equal(x, toy(name, 4000, seed=1))
    assert not torch.equal(x, toy(name, 4000, seed=2))
    assert x.abs().max() < 5
    assert (x.std(0) > 0.8).all()
    # Dependent columns or more than one hump: no toy is an isotropic Gaussian. Fourth moments along
    # the axes and the diagonals give it away (a Gaussian has 3; standard error about 0.08).
    z = (x - x.mean(0)) @ torch.linalg.cholesky(torch.linalg.inv(torch.cov(x.T)))
    along = torch.cat([z, (z @ torch.tensor([[1.0, 1.0], [1.0, -1.0]])) / 2**0.5], dim=1)
    assert ((along**4).mean(0) - 3).abs().max() > 0.4


def test_toys_do_not_touch_the_global_generator():
    before = torch.random.get_rng_state()
    toy("two_moons", 10)
    assert torch.equal(before, torch.random.get_rng_state())


def test_checkerboard_has_no_points_on_light_squares():
    square = (toy("checkerboard", 2000) / 2 + 2).floor()
    assert (square.sum(-1) % 2 == 0).all()
    assert len(square.unique(dim=0)) == 8


def test_unknown_toys_are_refused():
    with pytest.raises(ValueError, match="name must be one of two_moons, "):
        toy("three_moons", 5)
    with pytest.raises(ValueError, match="n can't be negative"):
        toy("two_moons", -1)
