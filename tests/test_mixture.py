"""Mixtures of densities."""

import copy
import math
import pickle

import pytest
import torch
from torch import distributions

from diffeo.bases import Beta, ConditionalNormal, GaussianMixture, Normal, Uniform
from diffeo.bijections.elementwise import Elementwise
from diffeo.contexts import JoinContext
from diffeo.density import Density, Flow
from diffeo.mixture import Mixture
from diffeo.nets.mlp import MLP
from diffeo.scalars.affine import Affine
from tests.conftest import TYPECHECK

# On purpose: what run-time type checks would refuse before the library does.
untyped = pytest.mark.skipif(TYPECHECK, reason="gives arguments of wrong types")
# P(√n · KS distance > 2.7) ≈ 1e-6 under the hypothesis.
KOLMOGOROV = 2.7


def redraw(module: torch.nn.Module, scale: float = 0.3) -> torch.nn.Module:
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(0.0, scale)
    return module


def flow(context: int = 0) -> Flow:
    net = MLP(0, (2, 2), (8,), context=context) if context else None
    return Flow(Normal(2), Elementwise(Affine(), (2,), net))


def mixed() -> Mixture:
    """Components with and without a context."""
    return redraw(Mixture([flow(3), Normal(2, learned=True), flow(3)]))


class Bound(Density):
    event_shape = (2,)
    exact = False
    scalable = False

    def _log_prob(self, x, context):
        return torch.full(x.shape[:-1], -1.0)

    def _sample(self, batch, shape, context, temperature, generator):
        return torch.zeros(*batch, 2)


class Nowhere(Bound):
    """Its density is zero everywhere that is asked."""

    exact = True

    def _log_prob(self, x, context):
        return torch.full(x.shape[:-1], -math.inf)


def test_log_prob_is_that_of_torch():
    mixture = redraw(Mixture([Normal(2, learned=True) for _ in range(3)]))
    places = [part.position for part in mixture.components]
    loc = torch.stack([place.loc for place in places])
    _, log_scale = zip(*(place.standardize(torch.zeros(2)) for place in places), strict=True)
    parts = distributions.Independent(distributions.Normal(loc, torch.stack(log_scale).exp()), 1)
    truth = distributions.MixtureSameFamily(distributions.Categorical(logits=mixture.logits), parts)
    x = torch.randn(4, 5, 2)
    torch.testing.assert_close(mixture.log_prob(x), truth.log_prob(x))
    torch.testing.assert_close(mixture.weights, truth.mixture_distribution.probs)


def test_samples_follow_the_density():
    """Kolmogorov–Smirnov on a mixture of far components; false alarms: 1e-6."""
    n = 20_000
    mixture = Mixture([Normal((), learned=True) for _ in range(3)], weights=[1.0, 2.0, 5.0])
    with torch.no_grad():
        for part, loc in zip(mixture.components, (-4.0, 0.0, 7.0), strict=True):
            part.position.loc.fill_(loc)
    x = mixture.sample(n).double().sort().values
    grid = torch.linspace(-12, 15, 100_001, dtype=torch.float64)
    density = copy.deepcopy(mixture).double().log_prob(grid).exp()
    mass = density.sum() * (grid[1] - grid[0])
    assert abs(mass - 1) < 1e-3
    cdf = density.cumsum(0) / density.sum()
    below = cdf[torch.searchsorted(grid, x).clamp(max=100_000)]
    ranks = torch.arange(n, dtype=torch.float64) / n
    assert (below - ranks).abs().max() * math.sqrt(n) < KOLMOGOROV
    # Neighbours in the batch come from components drawn independently.
    heavy = (mixture.sample(n) > 3.5).double()
    product = (heavy[1:] * heavy[:-1]).mean()
    assert abs(product - 0.625**2) < 6 * 0.5 / math.sqrt(n)


@pytest.mark.parametrize("n", [(), 4, (2, 3), 0])
@pytest.mark.parametrize("batch", [(), (5,), (2, 5)])
def test_contexts_reach_the_components_that_take_one(n, batch):
    mixture, context = mixed(), torch.randn(*batch, 3)
    assert mixture.context_shape == (3,)
    leading = (n,) if isinstance(n, int) else n
    x, log_prob = mixture.sample_and_log_prob(n, context)
    assert x.shape == (*leading, *batch, 2)
    torch.testing.assert_close(log_prob, mixture.log_prob(x, context))
    parts = [
        mixture.components[0].log_prob(x, context),
        mixture.components[1].log_prob(x),
        mixture.components[2].log_prob(x, context),
    ]
    expected = torch.logsumexp(torch.stack(parts, -1) + mixture.logits.log_softmax(-1), -1)
    torch.testing.assert_close(log_prob, expected)


def test_samples_belong_to_their_row_of_the_context():
    """At temperature 0 a sample is its component's location, for its own row's context."""
    mixture = redraw(Mixture([ConditionalNormal(2, context=3, hidden=(8,)) for _ in range(2)]), 1.0)
    context = torch.randn(6, 3)
    x = mixture.sample(50, context, temperature=0.0)
    places = torch.stack([part.sample((), context, temperature=0.0) for part in mixture.components])
    distance = (x.unsqueeze(0) - places.unsqueeze(1)).abs().sum(-1)
    assert distance.amin(0).max() < 1e-5
    assert set(distance.argmin(0).flatten().tolist()) == {0, 1}


def test_dict_contexts_and_context_nets():
    shapes = {"a": (2,), "b": (1,)}
    parts = [
        Flow(flow(3).base, flow(3).bijection, context=shapes, context_net=JoinContext(shapes))
        for _ in range(2)
    ]
    mixture = redraw(Mixture(parts))
    context = {"a": torch.randn(4, 1, 2), "b": torch.randn(5, 1)}
    x, log_prob = mixture.sample_and_log_prob(3, context)
    assert x.shape == (3, 4, 5, 2)
    torch.testing.assert_close(log_prob, mixture.log_prob(x, context))
    mixture.initialize(x, context)


def test_a_mixture_is_a_base_and_its_parts_may_be_open():
    outer = redraw(Flow(mixed(), Elementwise(Affine(), (2,), MLP(0, (2, 2), (8,), context=3))))
    context = torch.randn(5, 3)
    x, log_prob = outer.sample_and_log_prob(4, context)
    torch.testing.assert_close(log_prob, outer.log_prob(x, context), rtol=1e-4, atol=1e-4)
    plain = redraw(Flow(Mixture([flow(), flow()]), flow(3).bijection))
    assert plain.sample(4, context).shape == (4, 5, 2)
    opened = Mixture([Normal((1, None)), Normal((1, None))])
    assert opened.sample(2, event_shape=(1, 7)).shape == (2, 1, 7)


def test_attributes_follow_the_components():
    assert mixed().exact and mixed().scalable and not mixed().reparameterized
    bound = Mixture([Bound(), Normal(2)])
    assert not bound.exact and not bound.scalable
    with pytest.raises(TypeError, match="no gradients"):
        mixed().rsample(2, torch.randn(3))
    assert Mixture([Uniform(2, 0, 2), Uniform(2, 0, 2)]).support.upper == 2
    assert Mixture([Uniform(2), Beta(2, 2.0, 2.0)]).log_prob(torch.tensor([0.5, 1.5])) == -math.inf


def test_gradients_reach_weights_and_components_and_survive_impossible_ones():
    mixture = redraw(Mixture([Nowhere(), Normal(2, learned=True)]))
    x = torch.randn(6, 2)
    log_prob = mixture.log_prob(x)
    assert log_prob.isfinite().all()
    gradients = torch.autograd.grad(log_prob.sum(), list(mixture.parameters()))
    assert all(g.isfinite().all() and g.abs().sum() > 0 for g in gradients)
    hopeless = Mixture([Nowhere(), Nowhere()])
    log_prob = hopeless.log_prob(x)
    assert (log_prob == -math.inf).all()
    assert torch.autograd.grad(log_prob.sum(), hopeless.logits)[0].isfinite().all()


def test_generator_decides_the_samples():
    mixture, context = mixed(), torch.randn(5, 3)
    state = torch.get_rng_state()
    one, same, other = (
        mixture.sample(9, context, generator=torch.Generator().manual_seed(seed))
        for seed in (1, 1, 2)
    )
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert torch.equal(state, torch.get_rng_state())


def test_initialize_makes_components_differ():
    mixture = Mixture([Normal(2, learned=True) for _ in range(3)])
    x = torch.randn(300, 2) + 10 * torch.arange(3).repeat(100).unsqueeze(-1)
    mixture.initialize(x[torch.randperm(300)])
    locs = sorted(part.position.loc[0].item() for part in mixture.components)
    assert all(abs(loc - 10 * k) < 1 for k, loc in enumerate(locs))
    mixture.initialize(x[:2])
    assert mixture.log_prob(x).isfinite().all()


def test_mixtures_copy_move_and_trace():
    mixture, context = mixed(), torch.randn(5, 3)
    x = mixture.sample((), context)
    expected = mixture.log_prob(x, context)
    for twin in (copy.deepcopy(mixture), pickle.loads(pickle.dumps(mixture))):
        assert torch.equal(twin.log_prob(x, context), expected)
    double = copy.deepcopy(mixture).double()
    assert double.sample(2, context.double()).dtype == torch.float64
    torch.testing.assert_close(
        double.log_prob(x.double(), context.double()).float(), expected, rtol=1e-5, atol=1e-5
    )
    torch.testing.assert_close(torch.vmap(mixture.log_prob)(x, context), expected)


@pytest.mark.traced
def test_mixtures_compile_whole():
    mixture, context = mixed(), torch.randn(5, 3)
    x = mixture.sample((), context)
    compiled = torch.compile(mixture, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(x, context), mixture.log_prob(x, context))


@untyped
@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (lambda: Mixture([]), ValueError, "at least one"),
        (lambda: Mixture([torch.nn.Linear(1, 1)]), TypeError, "densities"),
        (lambda: Mixture([Normal(2), Normal(3)]), ValueError, "event shape"),
        (lambda: Mixture([Normal(2), Uniform(2)]), ValueError, "lives on"),
        (lambda: Mixture([flow(3), flow(2)]), ValueError, "contexts"),
        (lambda: Mixture([Normal(2)] * 2, [1.0]), ValueError, "2 positive weights"),
        (lambda: Mixture([Normal(2)] * 2, [1.0, 0.0]), ValueError, "positive weights"),
        (lambda: Mixture([Normal(2), GaussianMixture(2)]).rsample(3), TypeError, "no gradients"),
    ],
)
def test_bad_arguments_are_refused(build, error, message):
    with pytest.raises(error, match=message):
        build()
