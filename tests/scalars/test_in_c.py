"""Walks in C, with scalar maps between the steps, against stepping in PyTorch's operations."""

import pytest
import torch
from torch import nn

from diffeo.bijections import Autoregressive
from diffeo.nets import MADE, made_kernel
from diffeo.nets.made import StepperInC
from diffeo.scalars import Affine, Composed, RationalQuadraticSpline, Scaling
from diffeo.scalars.in_c import inverse_in_c

FEATURES = 20
SPLINE = RationalQuadraticSpline(bins=6, bound=2.5)
IN_C = {
    "affine": Affine(),
    "bounded": Affine(log_scale_bound=0.5),
    "spline": SPLINE,
    "both": Composed(Affine(), SPLINE),
    "three": Composed(SPLINE, Composed(Affine(), RationalQuadraticSpline(bins=1))),
}
in_c = pytest.mark.parametrize("scalar", IN_C.values(), ids=IN_C)


@pytest.fixture(autouse=True)
def kernel():
    """Without the kernel there would be nothing to compare."""
    if made_kernel._kernel() is None:
        pytest.skip("there is no C compiler")


def example(scalar, size: float = 0.1, **options) -> Autoregressive:
    net = MADE(FEATURES, scalar.num_params, (24, 24), order="reverse", **options)
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=size)
    return Autoregressive(scalar, net, solver="step")


@torch.no_grad()
def inverses(map_: Autoregressive, z: torch.Tensor, monkeypatch, context=None):
    """x and ladj by a walk in C, and by steps in operations."""
    walks = []
    invert = StepperInC.invert
    with monkeypatch.context() as patch:
        patch.setattr(StepperInC, "invert", lambda *args: walks.append(1) or invert(*args))
        found = map_.inverse(z, context)
        assert len(walks) == (z.numel() > 0)
        patch.setattr(made_kernel, "_kernel", lambda: None)
        expected = map_.inverse(z, context)
        assert len(walks) == (z.numel() > 0)
    return found, expected


def assert_close(found, expected) -> None:
    for got, want in zip(found, expected, strict=True):
        assert got.dtype == want.dtype
        torch.testing.assert_close(got, want, rtol=5e-5, atol=5e-5, equal_nan=True)


@in_c
@pytest.mark.parametrize("residual", [False, True])
def test_the_walk_is_the_steps(scalar, residual, monkeypatch):
    map_ = example(scalar, residual=residual, context=2)
    z = 2 * torch.randn(3, 15, FEATURES)
    z[0, :4, 0] = torch.tensor([2.5, -2.5, 2.6, -40.0])
    found, expected = inverses(map_, z, monkeypatch, torch.randn(15, 2))
    assert_close(found, expected)


@in_c
def test_it_undoes_the_map(scalar):
    map_, z = example(scalar), 2 * torch.randn(50, FEATURES)
    with torch.no_grad():
        x, ladj = map_.inverse(z)
        again, forward_ladj = map_(x)
    torch.testing.assert_close(again, z, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(ladj, -forward_ladj, rtol=1e-4, atol=1e-3)


@in_c
@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("batch", [(), (0,), (1,), (33,), (4, 75)])
def test_any_batch_on_any_threads(batch, threads, scalar, monkeypatch):
    map_, before = example(scalar), torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        assert_close(*inverses(map_, torch.randn(*batch, FEATURES), monkeypatch))
    finally:
        torch.set_num_threads(before)


@in_c
def test_z_however_it_lies_and_stays_as_it_is(scalar, monkeypatch):
    z = torch.randn(FEATURES, 14).t()[::2]
    kept = z.clone()
    assert_close(*inverses(example(scalar), z, monkeypatch))
    assert torch.equal(z, kept)
    assert_close(*inverses(example(scalar), kept[:1].expand(9, FEATURES), monkeypatch))


@in_c
def test_what_is_not_finite_stays_in_its_row(scalar, monkeypatch):
    z = torch.randn(6, FEATURES)
    z[1, 5], z[2, 6], z[3, 7] = float("nan"), float("inf"), -float("inf")
    found, expected = inverses(example(scalar, size=0.1), z, monkeypatch)
    assert_close(found, expected)
    assert found[0].isfinite().all(-1).tolist() == [True, False, False, False, True, True]


@pytest.mark.parametrize("bound", [0.5, 6.9, 1e3])
@torch.no_grad()
def test_affine_parameters_at_their_ends(bound, monkeypatch):
    """Given by the biases alone."""
    map_ = example(Affine(bound), size=0.0)
    ends = [0.0, -0.0, 1e-30, 1.0, -1.0, 80.0, -80.0, 1e10, -1e10, float("nan")]
    map_.net.exit.bias[1 : 2 * len(ends) : 2] = torch.tensor(ends)
    assert_close(*inverses(map_, torch.randn(3, FEATURES), monkeypatch))


class Doubled(Affine):
    """Another map than the one it derives from."""

    def inverse(self, z, params):
        x, log_slope = super().inverse(z, params)
        return 2 * x, log_slope


def test_maps_that_derive_from_others_have_inverses_of_their_own():
    assert inverse_in_c(Doubled()) is None
    assert inverse_in_c(Composed(Affine(), Doubled())) is None


@torch.no_grad()
def test_maps_that_take_other_parameters_than_there_are_are_refused():
    map_ = example(Affine())
    map_.scalar = SPLINE
    with pytest.raises(ValueError, match="the network's 2 parameters"):
        map_.inverse(torch.zeros(3, FEATURES))


def test_other_maps_have_none():
    assert inverse_in_c(Scaling()) is None
    assert inverse_in_c(Composed(Affine(), Scaling())) is None
    assert inverse_in_c(RationalQuadraticSpline(tails="circular")) is None


def test_auto_steps_where_steps_are_in_c(monkeypatch):
    z, rounds = torch.randn(3, FEATURES), []
    map_ = example(Affine(), size=0.01)
    map_.solver = "auto"
    find = made_kernel.Walk.invert
    monkeypatch.setattr(
        made_kernel.Walk, "invert", lambda *args: rounds.append("walk") or find(*args)
    )
    with torch.no_grad():
        x, _ = map_.inverse(z)
        assert rounds == ["walk"]
        again, _ = map_.double().inverse(z.double())  # at all positions at once
    assert rounds == ["walk"]
    torch.testing.assert_close(x.double(), again, rtol=1e-5, atol=1e-5)
