"""`fixed_noise`: what draws depend on, and that traced code sees it."""

import pytest
import torch

from diffeo.noise import fixed_noise, uniform_noise


def draws(seed, x, count=3, function=uniform_noise):
    with fixed_noise(seed):
        return [function(x, 1) for _ in range(count)]


def test_draws_depend_on_seed_and_number_alone():
    first, again, other = (
        draws(1, torch.zeros(2, 3)),
        draws(1, torch.ones(5, 3)),
        draws(2, torch.zeros(2, 3)),
    )
    for one, same, different in zip(first, again, other, strict=True):
        assert torch.equal(one[0], one[1]) and torch.equal(one[0], same[4])
        assert not torch.equal(one, different)
    assert not torch.equal(first[0], first[1])


def test_neighbouring_seeds_share_no_draws():
    values = torch.cat([torch.stack(draws(seed, torch.zeros(4))) for seed in range(50)])
    assert len(values.flatten().unique()) == 600
    assert abs(values.mean() - 0.5) < 6 * (1 / 12 / 600) ** 0.5


def test_dtypes_agree():
    single, double = draws(3, torch.zeros(4)), draws(3, torch.zeros(4, dtype=torch.float64))
    assert torch.allclose(single[0].double(), double[0], atol=1e-7)


def test_neither_the_global_generator_nor_the_outside_is_touched():
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    draws(1, torch.zeros(4))
    assert torch.equal(torch.rand(3), expected)
    x = torch.zeros(2, 3)
    free = uniform_noise(x, 1)
    assert not torch.equal(free[0], free[1])
    assert torch.equal(x, torch.zeros(2, 3))


def test_blocks_nest_and_end_with_an_exception():
    x = torch.zeros(3)
    wanted = draws(1, x, 2)
    with fixed_noise(1):
        first = uniform_noise(x, 1)
        with pytest.raises(RuntimeError), fixed_noise(2):
            uniform_noise(x, 1)
            raise RuntimeError
        second = uniform_noise(x, 1)
    assert torch.equal(first, wanted[0]) and torch.equal(second, wanted[1])
    assert not torch.equal(uniform_noise(x, 1), uniform_noise(x, 1))


def test_ends_never_occur():
    for dtype in (torch.bfloat16, torch.float32):
        noise = uniform_noise(torch.zeros(200000, dtype=dtype), 0)
        assert noise.min() > 0 and noise.max() < 1


def test_compiled_code_follows_the_block_it_runs_in():
    """One graph serves every seed and draw, and the outside has a graph of its own."""
    compiled = torch.compile(uniform_noise, fullgraph=True, backend="eager")
    x = torch.zeros(4, 3)
    for seed in range(12):
        for one, other in zip(draws(seed, x), draws(seed, x, function=compiled), strict=True):
            assert torch.equal(one, other)
    free = compiled(x, 1)
    assert not torch.equal(free[0], free[1])


def test_refuses_what_is_no_seed():
    with pytest.raises(TypeError, match="whole number"), fixed_noise(0.5):
        pass
