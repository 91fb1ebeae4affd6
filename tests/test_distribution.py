"""Densities as `torch.distributions`, and in Pyro's models and guides."""

import copy
import math
import pickle
import subprocess
import sys

import pytest
import torch
from torch import distributions
from torch.distributions import constraints

from diffeo.bases import Beta, ConditionalNormal, GaussianMixture, Normal
from diffeo.bijections.elementwise import Elementwise
from diffeo.density import Flow
from diffeo.distribution import DensityDistribution, distribution
from diffeo.nets.mlp import MLP
from diffeo.scalars.affine import Affine

CONTEXT = 3


@pytest.fixture(autouse=True)
def _validating():
    """On, as torch starts: compiling anything, and importing Pyro, turn it off for the process."""
    before = distributions.Distribution._validate_args
    distributions.Distribution.set_default_validate_args(True)
    yield
    distributions.Distribution.set_default_validate_args(before)


def redraw(module):
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(0.0, 0.3)
    return module


def flow(context: int = 0, base=None) -> Flow:
    net = MLP(0, (2, 2), (8,), context=context) if context else None
    return redraw(Flow(base or Normal(2), Elementwise(Affine(), (2,), net)))


@pytest.mark.parametrize("batch", [(), (5,), (4, 5), (1, 5), (0,)])
@pytest.mark.parametrize("sample_shape", [(), (3,), (2, 3), (0,)])
def test_shapes_are_those_of_torch(batch, sample_shape):
    context = torch.randn(*batch, CONTEXT)
    d = flow(CONTEXT).dist(context)
    assert isinstance(d, distributions.Distribution)
    assert d.batch_shape == batch and d.event_shape == (2,)
    x = d.sample(torch.Size(sample_shape))
    assert x.shape == (*sample_shape, *batch, 2)
    assert d.rsample(sample_shape).shape == x.shape
    log_prob = d.log_prob(x)
    assert log_prob.shape == (*sample_shape, *batch)
    torch.testing.assert_close(log_prob, d.density.log_prob(x, context))
    assert d.support.event_dim == 1
    if x.numel():  # torch's constraints can't look at an empty tensor
        assert d.support.check(x).all()
        assert d.support.check(x).shape == (*sample_shape, *batch)
    assert d._extended_shape(torch.Size(sample_shape)) == x.shape


def test_without_a_context_the_batch_is_empty():
    d = flow().dist()
    assert d.batch_shape == () and d.event_shape == (2,)
    assert d.sample().shape == (2,)
    assert d.log_prob(torch.randn(7, 2)).shape == (7,)
    scalar = Normal(()).dist()
    assert scalar.event_shape == () and scalar.support is constraints.real


@pytest.mark.parametrize(
    ("batch", "wider"),
    [((), (4,)), ((), (2, 4)), ((5,), (4, 5)), ((1,), (5,)), ((4, 1), (2, 4, 5)), ((5,), (5,))],
)
@pytest.mark.parametrize("context", [0, CONTEXT])
def test_expand_widens_the_batch(batch, wider, context):
    d = flow(context).dist(torch.randn(*batch, context) if context else None)
    if not context:
        d = d.expand(batch)
    e = d.expand(wider)
    assert isinstance(e, DensityDistribution)
    assert e.batch_shape == wider and e.event_shape == (2,) and d.batch_shape == batch
    x = e.sample((6,))
    assert x.shape == (6, *wider, 2)
    torch.testing.assert_close(e.log_prob(x), d.log_prob(x), rtol=1e-5, atol=1e-5)
    one = torch.randn(2)
    assert e.log_prob(one).shape == wider
    torch.testing.assert_close(e.log_prob(one), d.log_prob(one).expand(wider))
    # Every element of the batch has its own draw.
    flat = e.sample().reshape(-1, 2)
    assert len(flat.unique(dim=0)) == len(flat)
    assert e.rsample((6,)).shape == x.shape
    assert e.expand(wider).batch_shape == wider


def test_expand_keeps_extents_marked_so_and_refuses_others():
    d = flow(CONTEXT).dist(torch.randn(5, CONTEXT))
    assert d.expand((2, -1)).batch_shape == (2, 5)
    with pytest.raises(RuntimeError, match="expand"):
        d.expand((4,))


def test_values_are_validated_as_in_torch():
    d = flow(CONTEXT).dist(torch.randn(5, CONTEXT))
    with pytest.raises(ValueError, match="right-most"):
        d.log_prob(torch.randn(5, 3))
    with pytest.raises(ValueError, match="broadcast"):
        d.log_prob(torch.randn(4, 2))
    with pytest.raises(ValueError, match="support"):
        d.log_prob(torch.full((5, 2), math.nan))
    with pytest.raises(ValueError, match="Tensor"):
        d.log_prob([0.0, 0.0])
    narrow = Beta(2, 2.0, 2.0)
    outside = torch.tensor([0.5, 1.5])
    with pytest.raises(ValueError, match="support"):
        narrow.dist().log_prob(outside)
    lax = distribution(narrow, validate_args=False)
    assert lax.log_prob(outside) == -math.inf
    assert lax.expand((3,)).log_prob(outside).tolist() == [-math.inf] * 3


def test_contexts_are_checked_when_it_is_made():
    with pytest.raises(TypeError, match="takes no context"):
        flow().dist(torch.randn(3))
    with pytest.raises(TypeError, match="needs a context"):
        flow(CONTEXT).dist()
    with pytest.raises(ValueError, match="context must have shape"):
        flow(CONTEXT).dist(torch.randn(5, 4))


def test_an_open_extent_is_given_when_it_is_made():
    base = Normal((1, None))
    assert base.dist(event_shape=(1, 7)).sample((2,)).shape == (2, 1, 7)
    for shape in (None, (7,), (2, 7)):
        with pytest.raises(ValueError, match="event_shape"):
            base.dist(event_shape=shape)


def test_gradients_reach_context_and_parameters():
    context = torch.randn(5, CONTEXT, requires_grad=True)
    d = flow(CONTEXT).dist(context)
    wanted = [context, *d.density.parameters()]
    for value in (d.rsample((4,)), d.log_prob(torch.randn(5, 2)), d.expand((2, 5)).rsample()):
        gradients = torch.autograd.grad(value.square().sum(), wanted)
        assert all(g.isfinite().all() and g.abs().sum() > 0 for g in gradients)
    assert not d.sample((4,)).requires_grad


def test_what_has_no_closed_form_is_not_implemented():
    d = flow().dist()
    for name in ("mean", "variance", "stddev", "mode"):
        with pytest.raises(NotImplementedError):
            getattr(d, name)
    with pytest.raises(NotImplementedError):
        d.entropy()
    with pytest.raises(NotImplementedError):
        d.cdf(torch.zeros(2))
    mixture = flow(base=GaussianMixture(2, 3)).dist()
    assert d.has_rsample and not mixture.has_rsample
    with pytest.raises(NotImplementedError):
        mixture.rsample()
    assert DensityDistribution.arg_constraints == {}


def test_works_inside_torch_s_own_wrappers():
    context = torch.randn(4, 5, CONTEXT)
    d = flow(CONTEXT).dist(context)
    independent = distributions.Independent(d, 1)
    assert independent.batch_shape == (4,) and independent.event_shape == (5, 2)
    x = independent.rsample((3,))
    torch.testing.assert_close(independent.log_prob(x), d.log_prob(x).sum(-1))
    assert independent.expand((2, 4)).sample().shape == (2, 4, 5, 2)
    lifted = distributions.TransformedDistribution(d, [distributions.ExpTransform()])
    y = lifted.rsample((3,))
    expected = d.log_prob(y.log()) - y.log().sum(-1)
    torch.testing.assert_close(lifted.log_prob(y), expected, rtol=1e-4, atol=1e-4)
    assert lifted.expand((2, 4, 5)).sample().shape == (2, 4, 5, 2)
    mixture = distributions.MixtureSameFamily(
        distributions.Categorical(logits=torch.zeros(4, 5)), d
    )
    assert mixture.sample((3,)).shape == (3, 4, 2)
    assert mixture.log_prob(torch.randn(4, 2)).shape == (4,)


def test_copies_and_pickles():
    d = flow(CONTEXT).dist(torch.randn(5, CONTEXT)).expand((4, 5))
    x = torch.randn(4, 5, 2)
    for twin in (copy.deepcopy(d), pickle.loads(pickle.dumps(d))):
        assert type(twin) is type(d)
        assert twin.batch_shape == (4, 5)
        assert torch.equal(twin.log_prob(x), d.log_prob(x))
    assert repr(d).endswith("(Flow, batch_shape=(4, 5), event_shape=(2,))")


def test_library_does_not_import_pyro_itself():
    code = (
        "import sys, diffeo.bases; d = diffeo.bases.Normal(2).dist(); d.sample();"
        "assert 'pyro' not in sys.modules; assert type(d).__name__ == 'DensityDistribution'"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# Pyro


@pytest.fixture
def pyro():
    pyro = pytest.importorskip("pyro")
    pyro.clear_param_store()
    pyro.set_rng_seed(0)
    pyro.enable_validation(True)
    return pyro


def test_pyro_samples_and_scores(pyro):
    model_flow = flow(CONTEXT)
    context = torch.randn(5, CONTEXT)
    observed = torch.randn(5, 2)

    def model(data=None):
        pyro.module("flow", model_flow)
        with pyro.plate("rows", 5):
            return pyro.sample("x", model_flow.dist(context), obs=data)

    trace = pyro.poutine.trace(model).get_trace(observed)
    trace.compute_log_prob()
    expected = model_flow.log_prob(observed, context)
    torch.testing.assert_close(trace.nodes["x"]["log_prob"], expected)
    assert model().shape == (5, 2)
    d = model_flow.dist(context)
    assert d.shape((3,)) == (3, 5, 2) and d.event_dim == 1 and d().shape == (5, 2)
    assert d.to_event(1).event_shape == (5, 2)
    assert d.expand_by((4,)).batch_shape == (4, 5)
    masked = d.mask(torch.tensor([True, False, True, True, False]))
    assert (masked.log_prob(observed) == 0).tolist() == [False, True, False, False, True]


def test_pyro_distributions_copy_and_pickle(pyro):
    d = flow(CONTEXT).dist(torch.randn(5, CONTEXT))
    assert isinstance(d, pyro.distributions.torch_distribution.TorchDistributionMixin)
    assert isinstance(d.expand((4, 5)), type(d))
    x = d.sample()
    for twin in (copy.deepcopy(d), pickle.loads(pickle.dumps(d))):
        assert type(twin) is type(d)
        assert torch.equal(twin.log_prob(x), d.log_prob(x))


def test_pyro_plates_broadcast_the_batch(pyro):
    prior = flow()

    def model():
        with pyro.plate("outer", 3, dim=-2), pyro.plate("inner", 4, dim=-1):
            return pyro.sample("x", prior.dist())

    trace = pyro.poutine.trace(model).get_trace()
    trace.compute_log_prob()
    assert trace.nodes["x"]["value"].shape == (3, 4, 2)
    assert trace.nodes["x"]["log_prob"].shape == (3, 4)
    assert len(trace.nodes["x"]["value"].reshape(-1, 2).unique(dim=0)) == 12


def test_pyro_learns_by_variational_inference(pyro):
    """x ~ N(μ, 1) with μ ~ N(0, 1) given 8 rows: the posterior is N(Σx/9, 1/9)."""
    data = torch.randn(8, 2) + torch.tensor([2.0, -1.0])
    guide_flow = flow()

    def model(data):
        prior = pyro.distributions.Normal(torch.zeros(2), 1.0).to_event(1)
        mean = pyro.sample("mean", prior)
        with pyro.plate("rows", len(data)):
            pyro.sample("x", pyro.distributions.Normal(mean, 1.0).to_event(1), obs=data)

    def guide(data):
        pyro.module("guide", guide_flow)
        pyro.sample("mean", guide_flow.dist())

    elbo = pyro.infer.Trace_ELBO(num_particles=16, vectorize_particles=True)
    svi = pyro.infer.SVI(model, guide, pyro.optim.Adam({"lr": 0.2}), elbo)
    losses = [svi.step(data) for _ in range(250)]
    assert sum(losses[-20:]) < sum(losses[:20])
    x = guide_flow.sample(4000)
    assert (x.mean(0) - data.sum(0) / 9).abs().max() < 0.1
    assert (x.std(0) - 1 / 3).abs().max() < 0.06


def test_pyro_learns_a_flow_in_the_model(pyro):
    """Maximum likelihood through an observed site, with a context: the loss falls."""
    likelihood = flow(CONTEXT, base=ConditionalNormal(2, context=CONTEXT, hidden=(8,)))
    context = torch.randn(32, CONTEXT)
    data = context[:, :2] * 0.5 + 1

    def model():
        pyro.module("flow", likelihood)
        with pyro.plate("rows", 32):
            pyro.sample("x", likelihood.dist(context), obs=data)

    svi = pyro.infer.SVI(
        model, lambda: None, pyro.optim.Adam({"lr": 0.02}), pyro.infer.Trace_ELBO()
    )
    first = svi.step()
    for _ in range(40):
        last = svi.step()
    expected = -likelihood.log_prob(data, context).sum().item()
    assert last < first - 20
    assert abs(svi.evaluate_loss() - expected) < 1e-2 * abs(expected) + 1e-2


@pytest.mark.parametrize("what", ["mean", "mode", "variance", "stddev", "entropy", "cdf", "icdf"])
def test_what_has_no_closed_form_says_to_sample(what):
    d = flow().dist()
    with pytest.raises(NotImplementedError, match="estimate it from samples"):
        value = getattr(d, what)
        value() if what == "entropy" else value(torch.zeros(2))
