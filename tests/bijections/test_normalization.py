"""What is special to maps that take shift and scale from data: when they look, and their state."""

import math

import pytest
import torch

from diffeo.bijections.chain import Chain
from diffeo.bijections.linear import LULinear
from diffeo.bijections.normalization import ActNorm, BatchNorm, Standardize
from tests.properties.checks import check_ladj, check_round_trip, close
from tests.properties.draws import points, redraw
from tests.properties.tracing import check_compiles, check_vmaps

ALL = [Standardize, ActNorm, BatchNorm]
every = pytest.mark.parametrize("build", ALL, ids=lambda build: build.__name__)


def data(n=200):
    """Columns of other means and scales, the last one constant."""
    columns = torch.randn(n, 3, dtype=torch.float64) * torch.tensor([2.0, 0.05, 0.0])
    return columns + torch.tensor([10.0, -3.0, 7.0])


@every
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_initialize_normalizes(build, dtype):
    x = data().to(dtype)
    bijection = build(3).to(dtype).eval()
    z = bijection.initialize(x.reshape(10, 20, 3)).reshape(200, 3)
    assert z.isfinite().all()
    assert z.mean(0).abs().max() < 1e-3
    assert torch.allclose(z[:, :2].std(0, correction=0), torch.ones(2, dtype=dtype), atol=5e-3)
    assert torch.equal(bijection(x)[0], z)
    bound = 1e-12 if dtype == torch.float64 else 1e-4
    check_round_trip(bijection, x, bound=bound)
    check_ladj(bijection, x[:3], bound=bound)


@every
def test_extreme_units(build):
    """Variances that single precision can't hold, and a column that differs in the last digit."""
    x = torch.randn(50, 3) * torch.tensor([1e-25, 1e25, 0.0]) + torch.tensor([0.0, 0.0, 1e8])
    x[0, 2] += 8
    bijection = build(3).eval()
    z = bijection.initialize(x)
    assert z.isfinite().all()
    if build is Standardize:
        assert torch.allclose(z.std(0, correction=0), torch.ones(3), atol=1e-3)


@every
def test_shared_extents(build):
    """One shift and scale a channel, for events of any size; ladj counts every element."""
    bijection = build((2, None)).double().eval()
    x = torch.randn(6, 2, 5, dtype=torch.float64) * torch.tensor([[3.0], [0.5]]) + 1
    z = bijection.initialize(x)
    assert torch.allclose(z.mean((0, 2)), torch.zeros(2).double(), atol=1e-4)
    assert torch.allclose(z.std((0, 2), correction=0), torch.ones(2).double(), atol=1e-4)
    redraw(bijection)
    check_ladj(bijection, x[:2], bound=1e-10)
    check_round_trip(bijection, torch.randn(3, 2, 7, dtype=torch.float64), bound=1e-10)


@every
def test_an_event_of_numbers(build):
    bijection = build(()).eval()
    bijection.initialize(torch.tensor([1.0, 3.0]))
    z, ladj = bijection(torch.tensor([1.0, 3.0]))
    assert torch.allclose(z, torch.tensor([-1.0, 1.0]), atol=1e-4) and ladj.shape == (2,)


@every
@pytest.mark.parametrize("training", [True, False])
def test_only_initialize_looks_at_data(build, training):
    bijection = build(3).train(training)
    if not (training and build is BatchNorm):
        x = torch.randn(20, 3) + 5
        before = {name: value.clone() for name, value in bijection.state_dict().items()}
        assert torch.allclose(bijection(x)[0], x, atol=1e-4)
        bijection.inverse(x)
        assert all(torch.equal(before[k], v) for k, v in bijection.state_dict().items())


@every
def test_state_survives_saving(build):
    x = data().float()
    first, second = build(3).eval(), build(3).eval()
    first.initialize(x)
    redraw(first)
    second.load_state_dict(first.state_dict())
    assert torch.equal(first(x)[0], second(x)[0]) and torch.equal(first(x)[1], second(x)[1])


def test_standardize_has_nothing_to_train_and_may_be_set_again():
    standardize = Standardize(1)
    assert not list(standardize.parameters())
    standardize.initialize(torch.tensor([[0.0], [10.0]]))
    standardize.initialize(torch.tensor([[1.0], [3.0]]))
    assert standardize.mean == 2 and standardize.std == 1
    standardize.initialize(torch.tensor([[4.0]]))
    assert standardize.mean == 4 and standardize.std == 1


def test_actnorm_is_set_once_also_after_loading():
    actnorm, loaded = ActNorm(2), ActNorm(2)
    assert not actnorm.initialized
    actnorm.initialize(torch.randn(10, 2) * 3)
    assert actnorm.initialized
    loaded.load_state_dict(actnorm.state_dict())
    assert loaded.initialized
    kept = loaded.raw_log_scale.detach().clone()
    other = torch.randn(10, 2) + 100
    z = loaded.initialize(other)
    assert torch.equal(loaded.raw_log_scale, kept)
    assert torch.equal(z, loaded(other)[0])


def test_actnorm_scale_is_bounded():
    actnorm = ActNorm(2)
    actnorm.initialize(torch.randn(50, 2) * torch.tensor([1e-8, 1e8]))
    limit = 0.9 * actnorm.log_scale_bound
    z, ladj = actnorm(torch.zeros(1, 2))
    assert ladj.item() == pytest.approx(0, abs=1e-3) and z.isfinite().all()
    with torch.no_grad():
        actnorm.raw_log_scale.fill_(1e9)
    assert 2 * limit < actnorm(torch.zeros(1, 2))[1] <= 2 * actnorm.log_scale_bound * (1 + 1e-6)


def test_batch_norm_in_training_uses_the_batch_and_its_gradients():
    batch_norm = redraw(BatchNorm(2)).double().train()
    x = (torch.randn(6, 2, dtype=torch.float64) * 3 + 1).requires_grad_()

    def by_hand(x):
        mean, var = x.mean(0), x.var(0, correction=0)
        a = batch_norm.raw_log_gain
        gain = a / (1 + a.abs() / batch_norm.log_scale_bound)
        scale = gain - 0.5 * (var + 1e-5).log()
        return (x - mean) * scale.exp() + batch_norm.shift, scale.sum().expand(6)

    z, ladj = batch_norm(x)
    expected, expected_ladj = by_hand(x)
    close(z, expected, 1e-12, "z")
    close(ladj, expected_ladj, 1e-12, "ladj")
    found = torch.autograd.grad((z**3).sum() + (ladj * torch.arange(6)).sum(), x)[0]
    wanted = torch.autograd.grad((expected**3).sum() + (expected_ladj * torch.arange(6)).sum(), x)
    close(found, wanted[0], 1e-10, "gradient")


def test_batch_norm_averages_batches_in_training_only():
    batch_norm = BatchNorm(1, momentum=0.25).train()
    x = torch.tensor([[0.0], [4.0]])
    batch_norm(x)
    assert batch_norm.running_mean.item() == pytest.approx(0.75 * 0 + 0.25 * 2)
    assert batch_norm.running_var.item() == pytest.approx(0.75 * 1 + 0.25 * 4)
    kept = batch_norm.running_mean.clone()
    batch_norm.inverse(x)
    batch_norm.eval()(x)
    assert torch.equal(batch_norm.running_mean, kept)


def test_batch_norm_inverse_uses_running_statistics_in_training_too():
    batch_norm = redraw(BatchNorm(3)).train()
    batch_norm(data().float())
    z = torch.randn(5, 3)
    trained = batch_norm.inverse(z)
    evaluated = batch_norm.eval().inverse(z)
    assert torch.equal(trained[0], evaluated[0]) and torch.equal(trained[1], evaluated[1])


def test_lagged_batch_norm_trains_with_the_running_statistics_it_leaves_behind():
    batch_norm = BatchNorm(2, momentum=0.2, lagged=True).double().train()
    x = torch.randn(8, 2, dtype=torch.float64, requires_grad=True) * 2
    z, ladj = batch_norm(x)
    evaluated, evaluated_ladj = batch_norm.eval()(x.detach())
    close(z, evaluated, 1e-12, "z")
    close(ladj, evaluated_ladj, 1e-12, "ladj")
    # ∂ladj/∂x_i = −½ · 0.2 · 2 (x_i − m) / n / (v + ε): the batch's share alone.
    found = torch.autograd.grad(ladj[0], x)[0]
    var = batch_norm.running_var + batch_norm.eps
    close(found, -0.2 * (x - x.mean(0)) / 8 / var, 1e-12, "gradient")


def test_batch_norm_refuses_to_train_on_one_row():
    with pytest.raises(ValueError, match="more than one"):
        BatchNorm(3).train()(torch.randn(1, 3))
    assert BatchNorm(3).eval()(torch.randn(1, 3))[0].shape == (1, 3)


@every
def test_traced(build):
    bijection = redraw(build(3).eval())
    x = points(None, (4, 3), torch.float32)
    check_compiles(bijection, x, bound=1e-6)
    check_vmaps(bijection, x, bound=1e-6)


def test_batch_norm_compiles_in_training():
    eager, compiled = BatchNorm(3).train(), BatchNorm(3).train()
    x = torch.randn(10, 3) + 2
    expected = eager(x)[0]
    found = torch.compile(compiled, fullgraph=True, backend="eager")(x)[0]
    close(found, expected, 1e-6, "compiled")
    close(compiled.running_mean, eager.running_mean, 1e-6, "running mean")


def test_a_chain_is_initialized_part_by_part():
    chain = Chain(Standardize(3), LULinear(3), ActNorm(3)).double()
    redraw(chain.parts[1])
    z = chain.initialize(data())
    assert z.mean(0).abs().max() < 1e-8
    assert torch.allclose(z.std(0, correction=0), torch.ones(3).double(), atol=1e-6)


@pytest.mark.parametrize(
    "build",
    [
        lambda: Standardize(0),
        lambda: ActNorm((3, -1)),
        lambda: ActNorm(3, log_scale_bound=math.inf),
        lambda: BatchNorm(3, momentum=0.0),
        lambda: BatchNorm(3, eps=0.0),
        lambda: ActNorm(3).initialize(torch.empty(0, 3)),
    ],
)
def test_refuses(build):
    with pytest.raises(ValueError, match=r"must|needs"):
        build()
