"""Autoregressive maps inverted at all positions at once, beside stepping through them."""

import math
import warnings

import pytest
import torch
from torch import nn
from torch._subclasses import FakeTensorMode

from diffeo.bijections import Autoregressive, autoregressive
from diffeo.bijections.jacobi import ROUNDINGS, iterate
from diffeo.nets import MADE
from diffeo.nets.causal import CausalNetwork
from diffeo.scalars import Affine, LogisticMixture, RationalQuadraticSpline, Scaling

SCALARS = [Affine(), RationalQuadraticSpline(bins=4), LogisticMixture(3)]
FEATURES = 40


def example(
    scalar, size: float = 0.5, solver="auto", dtype=torch.float32, activation="tanh"
) -> Autoregressive:
    """A map with weights of N(0, size²/inputs), through a network whose order is not the file's."""
    torch.manual_seed(0)
    order = torch.randperm(FEATURES).tolist()
    net = MADE(FEATURES, scalar.num_params, (48, 48), context=2, order=order, activation=activation)
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
        scale = x.abs() + (z.abs() * log_slope.exp()).clamp(max=1)
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


class Parallel(CausalNetwork):
    """A network that is not to be stepped through."""

    event_shape, positions = (FEATURES,), FEATURES

    def stepper(self, batch, context=None):
        raise AssertionError("not to be stepped through")

    def to_positions(self, x):
        return x.unsqueeze(-1)

    def from_positions(self, values):
        return values.squeeze(-1)


class Previous(Parallel):
    """z_i = x_i − x_{i−1} + ½: what is far behind matters as what is near does."""

    num_params = 2

    def forward(self, x, context=None):
        before = torch.cat([torch.zeros_like(x[..., :1]), x[..., :-1]], dim=-1)
        return torch.stack([0.5 - before, torch.zeros_like(x)], dim=-1)


@torch.no_grad()
def test_as_many_rounds_as_positions_suffice():
    z, _ = latent(3, dtype=torch.float64)
    map_ = Autoregressive(Affine(), Previous())
    with pytest.raises(AssertionError, match="stepped"):
        map_.inverse(z)
    map_.solver = "jacobi"
    for x, ladj in (map_.inverse(z), map_.invert_at_once(z)[:2]):
        torch.testing.assert_close(x, (z - 0.5).cumsum(-1), rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(ladj, torch.zeros(3, dtype=torch.float64))
    short = iterate(map_.scalar, map_.net, z, None, FEATURES // 2)
    assert short.rounds == FEATURES // 2
    assert not bool(short.solved.any())


@torch.no_grad()
def test_steps_where_it_does_not_come_to_an_end():
    """Dependencies so strong that values overflow on the way, and after the last round still do."""
    z, c = latent(3)
    map_ = example(Affine(), size=4.0, solver="step", activation="relu")
    x, ladj = map_.inverse(z, c)
    assert bool(x.isfinite().all())
    assert not bool(map_.invert_at_once(z, c).solved.any())
    for solver in ("auto", "jacobi"):
        map_.solver = solver
        again, again_ladj = map_.inverse(z, c)
        torch.testing.assert_close(again, x, rtol=1e-5, atol=1e-5, equal_nan=True)
        torch.testing.assert_close(again_ladj, ladj, rtol=1e-5, atol=1e-5, equal_nan=True)


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
    map_.solver = "jacobi"
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
def test_small_values_keep_their_digits():
    z, c = latent(3)
    map_ = example(Scaling(), size=2.0)
    for size in (1e-3, 1e-6, 1e-20):
        found = map_.invert_at_once(size * z, c)
        map_.solver = "step"
        x, _ = map_.inverse(size * z, c)
        assert bool(found.solved.all())
        torch.testing.assert_close(found.x, x, rtol=1e-4, atol=0.0)


class Moved(Parallel):
    """Two clusters, far apart and narrow, around a centre that moves with the values before."""

    def __init__(self, scalar: LogisticMixture) -> None:
        super().__init__()
        self.scalar, self.num_params = scalar, scalar.num_params

    def forward(self, x, context=None):
        before = x.cumsum(-1) - x
        logits = torch.zeros(*x.shape, 2, dtype=x.dtype)
        ends = torch.tensor([-2.0, 2.0], dtype=x.dtype)
        centres = 3 * torch.cos(torch.arange(FEATURES)) + 0.1 * torch.sin(before)
        means = centres[..., None] + ends
        rest = torch.zeros(*x.shape, 2, dtype=x.dtype)
        return torch.cat([logits, means, torch.full_like(logits, -3.0), rest], dim=-1)


@torch.no_grad()
def test_flat_stretches_are_not_taken_for_solutions():
    """Between clusters z says next to nothing of x; right beside, a little of x is all of z."""
    scalar = LogisticMixture(2)
    map_ = Autoregressive(scalar, Moved(scalar), solver="jacobi")
    z = torch.zeros(2, FEATURES)
    z[1] = 1e-4 * torch.randn(FEATURES, generator=torch.Generator().manual_seed(0))
    x, ladj = map_.inverse(z)
    image, forward_ladj = map_(x)
    torch.testing.assert_close(image, z, rtol=0.0, atol=1e-3)
    torch.testing.assert_close(ladj, -forward_ladj, rtol=1e-3, atol=1e-2)


@torch.no_grad()
def test_few_events_are_solved_at_once_and_many_are_stepped_through():
    """Unless steps are in C, as they are not in float64."""
    map_ = example(Affine(), dtype=torch.float64)
    counted = Counted(map_)
    map_.inverse(*latent(FEATURES + 1, dtype=torch.float64))
    assert counted.passes == 0
    map_.inverse(*latent(FEATURES, dtype=torch.float64))
    assert counted.passes > 0


@torch.no_grad()
def test_a_round_has_a_limit_of_memory(monkeypatch):
    map_ = example(Affine(), dtype=torch.float64)
    counted = Counted(map_)
    monkeypatch.setattr(autoregressive, "_MOST_VALUES", FEATURES)
    map_.inverse(*latent(2, dtype=torch.float64))
    assert counted.passes == 0


@pytest.mark.parametrize("features", [2, 15])
@torch.no_grad()
def test_few_positions_are_stepped_through(features):
    map_ = Autoregressive(Affine(), MADE(features, 2, (16,))).double()
    counted = Counted(map_)
    map_.inverse(torch.zeros(1, features, dtype=torch.float64))
    assert counted.passes == 0


@torch.no_grad()
def test_events_that_have_no_solution_cost_no_rounds():
    z, c = latent(3)
    rounds = example(Affine()).invert_at_once(z[[0, 2]], c[[0, 2]]).rounds
    z[1, 5] = math.inf
    found = example(Affine()).invert_at_once(z, c)
    assert found.rounds == rounds
    assert found.solved.tolist() == [True, False, True]
    assert found.ladj.isnan().tolist() == [False, True, False]


@torch.no_grad()
def test_an_event_that_is_solved_is_left_as_it_is():
    """To the last bit, though others take more rounds."""
    z, c = latent(64)
    map_ = example(Affine(), size=2.0, activation="relu")
    end = map_.invert_at_once(z, c)
    first = next(r for r in range(1, 40) if bool(map_.invert_at_once(z, c, r).solved.any()))
    assert first < end.rounds
    early = map_.invert_at_once(z, c, first)
    assert torch.equal(early.x[early.solved], end.x[early.solved])
    assert torch.equal(early.ladj[early.solved], end.ladj[early.solved])


@pytest.mark.parametrize("how", ["bfloat16", "dropout", "meta", "fake", "jit"])
@torch.no_grad()
def test_steps_where_passes_or_values_say_little(how):
    map_ = example(Affine(), solver="jacobi").requires_grad_(False)
    z, c = latent(2)
    if how == "dropout":
        map_.net.dropout = 0.5
        assert not map_.train().net.repeatable
        assert map_.eval().net.repeatable
        map_.train()
    elif how in ("bfloat16", "meta"):
        map_, z, c = (
            each.to(getattr(torch, how)) if how == "bfloat16" else each.to(how)
            for each in (map_, z, c)
        )
    counted = Counted(map_)
    if how == "fake":
        with FakeTensorMode(allow_non_fake_inputs=True) as mode:
            assert map_.inverse(mode.from_tensor(z), mode.from_tensor(c))[0].shape == z.shape
    elif how == "jit":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            traced = torch.jit.trace(lambda z, c: map_.inverse(z, c), (z, c), check_trace=False)
        map_.solver = "step"
        torch.testing.assert_close(traced(30 * z, c), map_.inverse(30 * z, c))
    else:
        assert map_.inverse(z, c)[0].shape == z.shape
    assert counted.passes == 0


def test_gradients_of_few_positions_are_those_of_steps():
    def gradient(solver):
        map_ = example(Affine(), solver=solver)
        counted = Counted(map_)
        z, c = latent(1)
        map_.inverse(z.requires_grad_(), c)[0].square().sum().backward()
        assert counted.passes == 0
        return z.grad

    torch.testing.assert_close(gradient("jacobi"), gradient("step"), rtol=0.0, atol=0.0)


def test_what_is_refused():
    map_ = example(Affine())
    with pytest.raises(ValueError, match="auto, step, jacobi, got 'newton'"):
        example(Affine(), solver="newton")
    with pytest.raises(ValueError, match="auto, step, jacobi, got 'newton'"):
        map_.solver = "newton"
    with pytest.raises(ValueError, match="most must be 1 or more, got 0"):
        map_.invert_at_once(*latent(1), 0)
