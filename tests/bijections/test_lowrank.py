"""What is special to planar, radial and Sylvester flows: formulas, and inverses that hold."""

import pytest
import torch

from diffeo.bijections.chain import Chain
from diffeo.bijections.lowrank import MIN_SLOPE, Planar, Radial, Sylvester
from diffeo.nets.mlp import MLP
from tests.properties.checks import (
    check_inverse_gradients,
    check_ladj,
    check_round_trip,
    check_round_trip_from_latent,
    close,
)
from tests.properties.draws import SCALE, points, redraw
from tests.properties.tracing import check_compiles, check_vmaps

CONTEXT = 2


def planar(features=3, context=0):
    shape = Planar.param_shape(features)
    return Planar(features, MLP(0, shape, (8,), context) if context else None)


def radial(features=3, context=0):
    shape = Radial.param_shape(features)
    return Radial(features, MLP(0, shape, (8,), context) if context else None)


def sylvester(features=3, context=0, rank=2):
    rank = min(rank, features)
    shape = Sylvester.param_shape(features, rank)
    return Sylvester(features, rank, net=MLP(0, shape, (8,), context) if context else None)


every = pytest.mark.parametrize("build", [planar, radial, sylvester])


def drawn(build, *arguments, scale=SCALE, dtype=torch.float64):
    return redraw(build(*arguments), scale).to(dtype)


def context_of(bijection, n, dtype=torch.float64):
    return None if bijection.context_shape is None else torch.randn(n, CONTEXT, dtype=dtype)


@every
@pytest.mark.parametrize("features, context", [(1, 0), (4, 0), (3, CONTEXT)])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_inverse_ladj_and_gradients(build, features, context, dtype):
    bijection = drawn(build, features, context, dtype=dtype)
    x, c = points(None, (6, features), dtype), context_of(bijection, 6, dtype)
    double = dtype == torch.float64
    check_round_trip(bijection, x, c, bound=1e-9 if double else 1e-4)
    check_round_trip_from_latent(bijection, x, c, bound=1e-9 if double else 1e-4)
    check_ladj(bijection, x, c, bound=1e-8 if double else 1e-4)
    check_ladj(bijection, x, c, bound=1e-8 if double else 1e-4, inverse=True)
    check_inverse_gradients(bijection, x, c, bound=1e-7 if double else 1e-3)


@every
def test_gradient_of_the_inverse_against_finite_differences(build):
    bijection = drawn(build)
    z = points(None, (4, 3))
    parameter = bijection.params.start
    with torch.no_grad():
        direction = torch.randn_like(parameter)
        step = 1e-6 * direction
        parameter += step
        above = torch.stack([part.sum() for part in bijection.inverse(z)])
        parameter -= 2 * step
        below = torch.stack([part.sum() for part in bijection.inverse(z)])
        parameter += step
    for i, part in enumerate(bijection.inverse(z)):
        gradient = torch.autograd.grad(part.sum(), parameter, retain_graph=True)[0]
        close((gradient * direction).sum(), (above - below)[i] / 2e-6, 1e-7, f"output {i}")


@every
def test_starts_near_the_identity_but_not_symmetric(build):
    bijection = build(8)
    x = torch.randn(200, 8)
    z, ladj = bijection(x)
    assert (z - x).abs().max() < 0.1 and ladj.abs().max() < 0.1
    (z.square().sum() + ladj.sum()).backward()
    assert bijection.params.start.grad.abs().sum() > 0
    assert not torch.equal(bijection.params.start, build(8).params.start)


@every
def test_slopes_stay_above_the_minimum(build):
    """Parameters far out, where the papers' formulas would fold: still increasing, never NaN."""
    for seed in range(5):
        bijection = redraw(build(2), 30.0, seed).double()
        x = points(None, (100, 2), spread=3.0)
        z, ladj = bijection(x)
        assert z.isfinite().all() and ladj.isfinite().all()
        x = x.requires_grad_()
        z = bijection(x)[0]
        rows = [torch.autograd.grad(z[:, i].sum(), x, retain_graph=True)[0] for i in range(2)]
        sign, _ = torch.linalg.slogdet(torch.stack(rows, dim=-2))
        assert (sign > 0).all()


def test_planar_is_the_formula_of_the_paper():
    bijection = drawn(planar)
    w, u, b = bijection.params.start.detach().split([3, 3, 1])
    u = u + (3 - w @ u) * w / (w @ w)  # wᵀu = 3 ≥ 0, where no correction is made
    with torch.no_grad():
        bijection.params.start.copy_(torch.cat([w, u, b]))
    x = points(None, (5, 3))
    alpha = x @ w + b
    z, ladj = bijection(x)
    close(z, x + u * torch.tanh(alpha)[:, None], 1e-12, "z")
    close(ladj, torch.log(1 + (1 - torch.tanh(alpha) ** 2) * (w @ u)), 1e-12, "ladj")


@pytest.mark.parametrize("length", [0.0, 1e-30, 1e-12, 1e-4])
def test_planar_tends_to_the_identity_as_w_vanishes(length):
    bijection = planar()
    with torch.no_grad():
        bijection.params.start[:3] = length * torch.tensor([1.0, -2.0, 2.0])
        bijection.params.start[3:6] = torch.tensor([-1.0, 2.0, -2.0])
        bijection.params.start[6] = 0.0
    x = torch.randn(10, 3)
    z, ladj = bijection(x)
    assert (z - x).abs().max() < 30 * length + 1e-6 and ladj.abs().max() < 30 * length + 1e-6
    (z.sum() + ladj.sum()).backward()
    assert bijection.params.start.grad.isfinite().all()


def test_planar_at_its_least_slope_is_inverted_in_float32():
    bijection = planar(2)
    with torch.no_grad():
        bijection.params.start.copy_(torch.tensor([3.0, 0.0, -50.0, 0.5, 0.0]))
    x = torch.tensor([[0.0, 1.0], [1e-3, 0.0], [2.0, 1.0]])
    z, ladj = bijection(x)
    assert ladj[0].exp().item() == pytest.approx(MIN_SLOPE, rel=1e-2)
    back, _ = bijection.inverse(z)
    assert torch.allclose(back, x, atol=1e-5 / MIN_SLOPE)


def test_radial_is_the_formula_of_the_paper():
    bijection = drawn(radial)
    centre, a, c = bijection.params.start.detach().split([3, 1, 1])
    alpha = (a / (1 + a.abs() / torch.tensor(1000.0).double().log())).exp()
    beta = alpha * torch.where(c < 0, (1 - MIN_SLOPE) * torch.expm1(c), c)
    x = points(None, (5, 3))
    r = (x - centre).norm(dim=-1)
    h = 1 / (alpha + r)
    z, ladj = bijection(x)
    close(z, x + beta * h[:, None] * (x - centre), 1e-12, "z")
    along = 1 + beta * h - beta * h**2 * r
    close(ladj, 2 * torch.log(1 + beta * h) + torch.log(along), 1e-12, "ladj")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("slope", [-30.0, -1.0, 0.0, 5.0])
def test_radial_at_and_far_from_its_centre(slope, dtype):
    """At μ itself, beside it and a float32 away from overflow: values and gradients are finite."""
    bijection = radial(2).to(dtype)
    with torch.no_grad():
        bijection.params.start.copy_(torch.tensor([1.0, -1.0, 0.3, slope]))
    away = torch.tensor([[0.0, 0.0], [1e-30, 0.0], [1e-6, 1e-6], [3.0, 4.0], [1e18, -1e18]])
    x = (torch.tensor([1.0, -1.0]) + away).to(dtype).requires_grad_()
    z, ladj = bijection(x)
    back, back_ladj = bijection.inverse(z)
    for value in (z, ladj, back, back_ladj):
        assert value.isfinite().all()
    assert torch.allclose(back, x, rtol=1e-4, atol=1e-4)
    leaves = [x, bijection.params.start]
    total = back.sum() + back_ladj.sum() + (z / (1 + z.detach().abs())).sum() + ladj.sum()
    assert all(g.isfinite().all() for g in torch.autograd.grad(total, leaves))


def test_sylvester_is_the_formula_of_the_paper():
    bijection = drawn(sylvester)
    q, r, r_tilde, b = bijection._unpack(bijection.params.start.detach())
    x = points(None, (5, 3))
    inner = x @ q @ r_tilde.mT + b
    z, ladj = bijection(x)
    close(q.mT @ q, torch.eye(2).double(), 1e-12, "QᵀQ")
    assert r[1, 0] == r_tilde[1, 0] == 0
    close(z, x + torch.tanh(inner) @ r.mT @ q.mT, 1e-12, "z")
    slopes = 1 + r.diagonal() * r_tilde.diagonal() * (1 - torch.tanh(inner) ** 2)
    close(ladj, slopes.log().sum(-1), 1e-12, "ladj")


def test_sylvester_with_one_direction_and_reflections_of_its_own():
    bijection = redraw(Sylvester(4, 1, reflections=3)).double()
    check_ladj(bijection, points(None, (3, 4)), bound=1e-8)
    check_round_trip(bijection, points(None, (3, 4)), bound=1e-9)


@every
def test_traced(build):
    for context in (0, CONTEXT):
        bijection = drawn(build, 3, context)
        x, c = points(None, (4, 3)), context_of(bijection, 4)
        check_compiles(bijection, x, c, bound=1e-9)
        check_vmaps(bijection, x, c, bound=1e-9)
        check_vmaps(bijection.inverse, x, c, bound=1e-9)


def test_in_a_chain_with_a_context():
    chain = redraw(Chain(*(build(3, CONTEXT) for build in (planar, radial, sylvester)))).double()
    c = torch.randn(5, CONTEXT, dtype=torch.float64)
    check_ladj(chain, points(None, (5, 3)), c, bound=1e-8)
    check_round_trip(chain, points(None, (5, 3)), c, bound=1e-8)
    # One x under many contexts.
    assert chain(points(None, (3,)), c)[0].shape == (5, 3)


@pytest.mark.parametrize(
    "build",
    [
        lambda: Planar(0),
        lambda: Planar(3, MLP(0, (6,), (8,), CONTEXT)),
        lambda: Radial(3, MLP(0, (3,), (8,), CONTEXT)),
        lambda: Sylvester(3, 4),
        lambda: Sylvester(3, 0),
        lambda: Sylvester(3, 2, reflections=0),
    ],
)
def test_refuses(build):
    with pytest.raises(ValueError, match="must"):
        build()
