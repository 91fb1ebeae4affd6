"""Autoregressive maps inverted at all positions at once, beside stepping through them."""

import math

import pytest
import torch
from torch import nn

from diffeo.bijections import Autoregressive
from diffeo.bijections.jacobi import ROUNDINGS, invert_at_once
from diffeo.nets import MADE
from diffeo.nets.causal import CausalNetwork
from diffeo.scalars import Affine, LogisticMixture, RationalQuadraticSpline

SCALARS = [Affine(), RationalQuadraticSpline(bins=4), LogisticMixture(3)]
FEATURES = 40


def example(scalar, size: float = 0.5, solver="auto", dtype=torch.float32) -> Autoregressive:
    """A map with weights of N(0, size²/inputs), through a network whose order is not the file's."""
    torch.manual_seed(0)
    order = torch.randperm(FEATURES).tolist()
    net = MADE(FEATURES, scalar.num_params, (48, 48), context=2, order=order, activation="tanh")
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=size / math.sqrt(parameter.shape[-1]))
    return Autoregressive(scalar, net, solver=solver).to(dtype)


def latent(*batch: int, dtype=torch.float32) -> tuple[torch.Tensor, torch.Tensor]:
    """Events and contexts."""
    generator = torch.Generator().manual_seed(1)
    z = 2 * torch.randn(*batch, FEATURES, generator=generator, dtype=dtype)
    return z, torch.randn(*batch, 2, generator=generator, dtype=dtype)


class Counted:
    """How often a map's network runs in parallel."""

    def __init__(self, map_: Autoregressive) -> None:
        self.passes, self.given = 0, map_.net.given
        map_.net.given = self.counting  # type: ignore[method-assign]

    def counting(self, context):
        parameters = self.given(context)

        def counted(x):
            self.passes += 1
            return parameters(x)

        return counted


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("scalar", SCALARS, ids=lambda scalar: type(scalar).__name__)
@torch.no_grad()
def test_is_stepping_to_rounding(scalar, dtype):
    z, c = latent(2, 3, dtype=dtype)
    map_ = example(scalar, dtype=dtype)
    found = map_.invert_at_once(z, c)
    map_.solver = "step"
    x, ladj = map_.inverse(z, c)
    assert bool(found.solved.all())
    assert 1 < found.rounds < FEATURES / 2
    bound = 1e-4 if dtype == torch.float32 else 1e-12
    torch.testing.assert_close(found.x, x, rtol=bound, atol=bound)
    torch.testing.assert_close(found.ladj, ladj, rtol=bound, atol=10 * bound)


@pytest.mark.parametrize("scalar", SCALARS, ids=lambda scalar: type(scalar).__name__)
@torch.no_grad()
def test_residual_bounds_what_the_solution_is_off_by(scalar):
    """In float64, given x, the solution for z is as near as was said, at the end and before."""
    z, c = latent(5)
    map_, exact = example(scalar), example(scalar, dtype=torch.float64)
    assert bool((map_.invert_at_once(z, c).residual <= 1e-5).all())
    for most in (1, 3, FEATURES):
        found = map_.invert_at_once(z, c, most)
        x = found.x.double()
        solution, log_slope = scalar.inverse(z.double(), exact.net(x, c.double()))
        scale = x.abs() + (1 + z.abs()) * log_slope.exp()
        off = ((solution - x).abs() / scale).amax(-1)
        slack = ROUNDINGS * torch.finfo(z.dtype).eps
        assert bool((off <= 1.001 * found.residual + slack).all())
        if most == 1:
            assert not bool(found.solved.any())
            assert bool((off > 1e-3).all())


@torch.no_grad()
def test_an_event_is_what_it_is_alone():
    z, c = latent(4)
    z[2] *= 30
    map_ = example(RationalQuadraticSpline(bins=4), dtype=torch.float64)
    z, c = z.double(), c.double()
    together = map_.invert_at_once(z, c)
    for i in range(4):
        alone = map_.invert_at_once(z[i], c[i])
        assert alone.x.shape == z[i].shape
        torch.testing.assert_close(alone.x, together.x[i], rtol=1e-12, atol=1e-12)


class Previous(CausalNetwork):
    """x_{i−1} is added to x_i, times a factor: what is far behind matters as what is near does."""

    event_shape, positions, num_params = (FEATURES,), FEATURES, 2

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x, context=None):
        before = torch.cat([torch.zeros_like(x[..., :1]), x[..., :-1]], dim=-1)
        return torch.stack([self.factor * before, torch.zeros_like(x)], dim=-1)

    def stepper(self, batch, context=None):
        raise AssertionError("not to be stepped through")

    def to_positions(self, x):
        return x.unsqueeze(-1)

    def from_positions(self, values):
        return values.squeeze(-1)


@torch.no_grad()
def test_as_many_rounds_as_positions_suffice():
    z, _ = latent(3, dtype=torch.float64)
    map_ = Autoregressive(Affine(), Previous(-1.0))
    with pytest.raises(AssertionError, match="stepped"):
        map_.inverse(z)
    map_.solver = "jacobi"
    x, ladj = map_.inverse(z)
    torch.testing.assert_close(x, z.cumsum(-1), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(ladj, torch.zeros(3, dtype=torch.float64))
    short = invert_at_once(map_.scalar, map_.net, z, None, FEATURES // 2)
    assert short.rounds == FEATURES // 2
    assert not bool(short.solved.any())


@torch.no_grad()
def test_steps_where_it_does_not_come_to_an_end():
    """Weights so large that values overflow on the way."""
    z, c = latent(3)
    map_ = example(Affine(), size=40.0, solver="step")
    x, ladj = map_.inverse(z, c)
    assert bool(x.isfinite().all())
    counted = Counted(map_)
    for solver in ("auto", "jacobi"):
        map_.solver = solver
        again, again_ladj = map_.inverse(z, c)
        image, _ = map_(again, c)
        torch.testing.assert_close(again, x, rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(again_ladj, ladj, rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(image, z, rtol=1e-3, atol=1e-3)
    assert counted.passes > FEATURES // 4


@torch.no_grad()
def test_only_events_that_do_not_come_to_an_end_are_stepped_through(monkeypatch):
    z, c = latent(2, 3)
    z[1, 2] *= 1e20
    map_ = example(Affine(), solver="step")
    x, ladj = map_.inverse(z, c)
    stepped = []
    stepper = map_.net.stepper
    monkeypatch.setattr(
        map_.net, "stepper", lambda batch, context: stepped.append(batch) or stepper(batch, context)
    )
    map_.solver = "auto"
    again, again_ladj = map_.inverse(z, c)
    assert stepped == [(1,)]
    torch.testing.assert_close(again, x, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(again_ladj, ladj, rtol=1e-4, atol=1e-3)


@torch.no_grad()
def test_what_is_not_finite_stays_in_its_row():
    z, c = latent(3)
    z[1, 5] = math.nan
    map_ = example(Affine(), solver="jacobi")
    x, ladj = map_.inverse(z, c)
    map_.solver = "step"
    torch.testing.assert_close(x, map_.inverse(z, c)[0], equal_nan=True)
    assert ladj.isnan().tolist() == [False, True, False]


@torch.no_grad()
def test_few_events_are_solved_at_once_and_many_are_stepped_through():
    map_ = example(Affine())
    counted = Counted(map_)
    map_.inverse(*latent(FEATURES + 1))
    assert counted.passes == 0
    map_.inverse(*latent(1))
    assert counted.passes > 0


def test_gradients_of_few_positions_are_those_of_steps():
    map_ = example(Affine(), solver="jacobi")
    counted = Counted(map_)
    z, c = latent(1)
    map_.inverse(z.requires_grad_(), c)[0].sum().backward()
    assert counted.passes == 0


def test_refuses_another_solver():
    with pytest.raises(ValueError, match="auto, step, jacobi"):
        example(Affine(), solver="newton")
