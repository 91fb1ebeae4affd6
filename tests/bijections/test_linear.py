"""What is special to linear maps: what matrix they are, how they start, cost of the ladj."""

import pytest
import torch

from diffeo.bijections.chain import Chain
from diffeo.bijections.householder import householder_product
from diffeo.bijections.linear import FullLinear, LULinear, Permutation, QRLinear
from tests.properties.checks import (
    check_inverse_gradients,
    check_ladj,
    check_round_trip,
    check_round_trip_from_latent,
    close,
)
from tests.properties.draws import points, redraw
from tests.properties.tracing import check_autocast, check_compiles, check_vmaps

BUILD = {
    "LULinear": LULinear,
    "QRLinear": QRLinear,
    "QRLinear/2": lambda features: QRLinear(features, 2),
    "FullLinear": FullLinear,
}
matrices = pytest.mark.parametrize("build", BUILD.values(), ids=BUILD.keys())


def matrix(bijection, features):
    """The matrix of an affine map, column by column, without its shift."""
    with torch.no_grad():
        eye = torch.eye(features, dtype=next(bijection.parameters()).dtype)
        return (bijection(eye)[0] - bijection(torch.zeros_like(eye))[0]).mT


@matrices
@pytest.mark.parametrize("features", [1, 5])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_inverse_and_ladj(build, features, dtype):
    bijection = redraw(build(features)).to(dtype)
    x = points(None, (2, 3, features), dtype)
    double = dtype == torch.float64
    check_round_trip(bijection, x, bound=1e-10 if double else 1e-4)
    check_round_trip_from_latent(bijection, x, bound=1e-10 if double else 1e-4)
    check_ladj(bijection, x, bound=1e-8 if double else 1e-4)
    if double:
        check_inverse_gradients(bijection, x, bound=1e-8)


@matrices
def test_ladj_is_that_of_the_matrix_for_every_x(build):
    bijection = redraw(build(4)).double()
    _, ladj = bijection(torch.randn(3, 2, 4).double())
    expected = torch.linalg.slogdet(matrix(bijection, 4)).logabsdet
    close(ladj, expected.expand(3, 2), 1e-12, "ladj")
    assert ladj.stride() == (0, 0), "one number, expanded"


def test_starts():
    eye = torch.eye(5)
    close(matrix(QRLinear(5), 5), eye, 1e-5, "QR starts at the identity")
    close(matrix(FullLinear(5, "identity"), 5), eye, 0, "a full matrix told to")
    assert torch.equal(matrix(LULinear(5, "identity"), 5), eye)
    lu = LULinear(5, seed=3)
    x = torch.randn(5)
    assert torch.equal(lu(x)[0], Permutation(5, "random", seed=3)(x)[0])
    rotation = matrix(FullLinear(5), 5)
    close(rotation @ rotation.mT, eye, 1e-5, "rotation")
    assert torch.linalg.det(rotation) == pytest.approx(1, abs=1e-5)


def test_lu_is_the_product_of_its_factors():
    lu = redraw(LULinear(4, seed=1)).double()
    entries = lu.entries.detach()
    lower = entries.tril(-1) + torch.eye(4)
    a = entries.diagonal()
    upper = entries.triu(1) + torch.diag((a / (1 + a.abs() / lu.log_scale_bound)).exp())
    permute = torch.eye(4, dtype=torch.float64)[lu.permutation.order]
    close(matrix(lu, 4), permute @ lower @ upper, 1e-12, "P L U")


def test_scales_of_triangular_matrices_are_bounded():
    for bijection in (LULinear(3), QRLinear(3)):
        with torch.no_grad():
            bijection.entries.copy_(1e6 * torch.eye(3))
        assert bijection(torch.zeros(3))[1] <= 3 * bijection.log_scale_bound
        assert bijection(torch.ones(3))[0].isfinite().all()


def test_householder_product_is_the_product_of_reflections():
    vectors = torch.randn(2, 4, 5, dtype=torch.float64)
    vectors[1, 2] = 0
    expected = torch.eye(5, dtype=torch.float64).expand(2, 5, 5)
    for k in range(4):
        v = vectors[:, k]
        norm = v.square().sum(-1)[:, None, None].clamp(min=1e-300)
        expected = expected @ (torch.eye(5) - 2 * v[:, :, None] * v[:, None, :] / norm)
    q = householder_product(vectors)
    close(q, expected, 1e-13, "Q")
    close(q.mT @ q, torch.eye(5).double().expand(2, 5, 5), 1e-13, "QᵀQ")
    close(householder_product(vectors, 2), expected[..., :2], 1e-13, "the first columns")


@pytest.mark.parametrize("order", ["reverse", "random", "identity", [2, 0, 3, 1]])
def test_permutation(order):
    permutation = Permutation(4, order, seed=2)
    x = torch.randn(3, 4)
    z, ladj = permutation(x)
    assert torch.equal(z, x[:, permutation.order])
    assert torch.equal(permutation.inverse(z)[0], x)
    assert torch.equal(ladj, torch.zeros(3))
    assert permutation.domain is None and permutation.codomain is None


def test_random_orders_follow_the_seed_and_are_saved():
    first, same, other = (Permutation(20, "random", seed) for seed in (1, 1, 2))
    x = torch.randn(20)
    assert torch.equal(first(x)[0], same(x)[0]) and not torch.equal(first(x)[0], other(x)[0])
    other.load_state_dict(first.state_dict())
    assert torch.equal(first(x)[0], other(x)[0])
    assert torch.equal(other.inverse(other(x)[0])[0], x)


def test_a_singular_matrix_raises_nothing():
    full = FullLinear(3)
    with torch.no_grad():
        full.weight.copy_(torch.ones(3, 3))
    assert full(torch.randn(2, 3))[1].max() < -10
    full.inverse(torch.randn(2, 3))


@matrices
def test_traced(build):
    bijection = redraw(build(3)).double()
    x = points(None, (4, 3))
    check_compiles(bijection, x, bound=1e-12)
    check_vmaps(bijection, x, bound=1e-12)
    check_vmaps(bijection.inverse, x, bound=1e-12)


@matrices
def test_products_keep_their_precision_under_autocast(build):
    bijection = redraw(build(3))
    check_autocast(bijection, torch.randn(4, 3), bound=1e-6)
    check_autocast(bijection.inverse, torch.randn(4, 3), bound=1e-6)


def test_in_a_chain():
    chain = redraw(Chain(LULinear(3), Permutation(3), QRLinear(3), FullLinear(3))).double()
    check_round_trip(chain, points(None, (5, 3)), bound=1e-9)
    check_ladj(chain, points(None, (5, 3)), bound=1e-9)


@pytest.mark.parametrize(
    "build",
    [
        lambda: Permutation(3, [0, 1, 1]),
        lambda: Permutation(3, [0, 1]),
        lambda: Permutation(3, "sorted"),
        lambda: LULinear(0),
        lambda: LULinear(3, log_scale_bound=0),
        lambda: QRLinear(3, 3),
        lambda: QRLinear(3, 0),
        lambda: FullLinear(3, "zeros"),
    ],
)
def test_refuses(build):
    with pytest.raises(ValueError, match="must"):
        build()
