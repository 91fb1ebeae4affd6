"""The door of densities: shapes, contexts, dtypes, temperature, counts, and what is refused."""

import copy
import math

import numpy as np
import pytest
import torch
from torch import nn

from diffeo.bases import Beta, ConditionalNormal, GaussianMixture, Normal, Uniform
from diffeo.bijections.base import Bijection
from diffeo.bijections.chain import Chain
from diffeo.bijections.elementwise import Elementwise
from diffeo.contexts import JoinContext
from diffeo.density import Density, Flow
from diffeo.nets.mlp import MLP
from diffeo.scalars.affine import Affine
from diffeo.supports import POSITIVE, UNIT, Support
from tests.conftest import TYPECHECK

CONTEXT = 3
# On purpose: what run-time type checks would refuse before the library does.
untyped = pytest.mark.skipif(TYPECHECK, reason="gives arguments of wrong types")


def redraw(module: nn.Module) -> nn.Module:
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(0.0, 0.3)
    return module


def affine(context: int = 0, shape: tuple[int, ...] = (2,)) -> Elementwise:
    net = MLP(0, (*shape, 2), (8,), context=context) if context else None
    return Elementwise(Affine(), shape, net)


def plain() -> Flow:
    return redraw(Flow(Normal(2), affine()))


def conditional() -> Flow:
    return redraw(Flow(ConditionalNormal(2, context=CONTEXT, hidden=(8,)), affine(CONTEXT)))


class Lifted(Bijection):
    """x = eᶻ of every element; log dz/dx = −z."""

    domain = POSITIVE

    def _forward(self, x, context):
        return x.log(), -x.log()

    def _inverse(self, z, context):
        return z.exp(), z


class Open(Bijection):
    """Takes a context, and acts on the last dimension of any event."""

    event_dim = 1
    context_shape = (3,)

    def _forward(self, x, context):
        return x, x.new_zeros(x.shape[:-1])

    _inverse = _forward


class Rounded(Bijection):
    """Uniform dequantization of whole numbers 0 … 3, as a line: z = x + u."""

    domain = Support(0.0, 3.0, closed=True, integer=True)
    codomain = Support(0, 4, closed=True)
    stochastic = True

    def _forward(self, x, context):
        return x + torch.rand_like(x), torch.zeros_like(x)

    def _inverse(self, z, context):
        return z.floor().clamp(max=3), torch.zeros_like(z)


class Fluctuating(Density):
    """A bound that jumps between log 1 and log 3 from draw to draw."""

    event_shape = ()
    exact = False

    def __init__(self):
        super().__init__()
        self.calls = 0

    def _log_prob(self, x, context):
        self.calls += 1
        return torch.full_like(x, math.log(1.0 if self.calls % 2 else 3.0))

    def _sample(self, batch, shape, context, temperature, generator):
        return torch.zeros(*batch)


# Shapes


@pytest.mark.parametrize("batch", [(), (5,), (2, 3), (0,)])
def test_log_prob_takes_any_batch(batch):
    flow = plain()
    x = torch.randn(*batch, 2)
    assert flow.log_prob(x).shape == batch
    assert torch.equal(flow(x), flow.log_prob(x))
    assert flow.encode(x).shape == flow.decode(x).shape == x.shape
    torch.testing.assert_close(flow.decode(flow.encode(x)), x)


@pytest.mark.parametrize(
    ("batch", "context_batch", "joint"),
    [
        ((5,), (5,), (5,)),
        ((5,), (), (5,)),
        ((), (5,), (5,)),
        ((4, 1), (5,), (4, 5)),
        ((4, 5), (5,), (4, 5)),
        ((1,), (4, 5), (4, 5)),
        ((0,), (1,), (0,)),
    ],
)
def test_batches_of_x_and_context_broadcast(batch, context_batch, joint):
    flow = conditional()
    x, context = torch.randn(*batch, 2), torch.randn(*context_batch, CONTEXT)
    log_prob = flow.log_prob(x, context)
    assert log_prob.shape == joint
    rows = flow.log_prob(
        x.expand(*joint, 2).reshape(-1, 2), context.expand(*joint, CONTEXT).reshape(-1, CONTEXT)
    )
    torch.testing.assert_close(log_prob.reshape(-1), rows)
    z = flow.encode(x, context)
    assert z.shape == (*joint, 2)
    torch.testing.assert_close(flow.decode(z, context), x.expand(*joint, 2))


@pytest.mark.parametrize(
    ("n", "leading"),
    [((), ()), (0, (0,)), (3, (3,)), ((2, 3), (2, 3)), ([2], (2,)), (torch.Size([4]), (4,))],
)
@pytest.mark.parametrize("context_batch", [(), (5,), (2, 5), (0,)])
def test_samples_lead_with_n_then_the_context_batch(n, leading, context_batch):
    assert plain().sample(n).shape == (*leading, 2)
    flow, context = conditional(), torch.randn(*context_batch, CONTEXT)
    shape = (*leading, *context_batch)
    assert flow.sample(n, context).shape == (*shape, 2)
    assert flow.rsample(n, context).shape == (*shape, 2)
    x, log_prob = flow.sample_and_log_prob(n, context)
    assert x.shape == (*shape, 2)
    torch.testing.assert_close(log_prob, flow.log_prob(x, context), rtol=1e-4, atol=1e-4)


@untyped
def test_numpy_counts_are_numbers():
    assert plain().sample(np.int64(3)).shape == (3, 2)


def test_samples_belong_to_their_context():
    """Means over 4,000 draws against each context's own, 6 standard errors (alarms 2e-9 each)."""
    base = redraw(ConditionalNormal(2, context=CONTEXT, hidden=(8,)))
    context = 2 * torch.randn(4, CONTEXT)
    loc, _ = base._position(context, torch.float32)
    x = base.sample((2, 2000), context)
    error = (x.mean((0, 1)) - loc) / (x.std((0, 1)) / math.sqrt(4000))
    assert error.abs().max() < 6
    assert (loc[:, None] - loc).abs().sum(-1).fill_diagonal_(9).min() > 0.05


def test_a_scalar_event_is_a_number():
    flow = redraw(Flow(Normal(()), affine(shape=())))
    x, log_prob = flow.sample_and_log_prob()
    assert x.shape == log_prob.shape == ()
    torch.testing.assert_close(flow.log_prob(x), log_prob)
    assert flow.bits_per_dim(x).shape == ()


@untyped
def test_extents_left_open_are_given_at_sampling():
    flow = Flow(Normal((1, None)), Lifted())
    assert flow.log_prob(torch.rand(4, 1, 7)).shape == (4,)
    assert flow.sample(2, event_shape=(1, 9)).shape == (2, 1, 9)
    with pytest.raises(ValueError, match="event_shape="):
        flow.sample(2)
    for wrong in ((2, 9), (9,), (1, None)):
        with pytest.raises(ValueError, match="event_shape"):
            flow.sample(2, event_shape=wrong)


# Values


@pytest.mark.parametrize("temperature", [0.0, 0.5, 2.0])
def test_temperature_scales_the_base_and_not_the_score(temperature):
    flow, context = conditional(), torch.randn(5, CONTEXT)
    seed = [torch.Generator().manual_seed(3) for _ in range(3)]
    x, log_prob = flow.sample_and_log_prob(4, context, temperature=temperature, generator=seed[0])
    torch.testing.assert_close(log_prob, flow.log_prob(x, context), rtol=1e-4, atol=1e-4)
    z = flow.base.sample(4, context, temperature=temperature, generator=seed[1])
    torch.testing.assert_close(flow.decode(z, context), x)
    assert torch.equal(x, flow.sample(4, context, temperature=temperature, generator=seed[2]))
    if temperature == 0:
        assert torch.equal(x, x[:1].expand_as(x))


def test_change_of_variables_is_that_of_a_known_density():
    flow = Flow(Normal(()), Lifted())
    x = torch.tensor([1e-30, 0.3, 2.0, 1e30])
    torch.testing.assert_close(flow.log_prob(x), torch.distributions.LogNormal(0, 1).log_prob(x))
    grid = (torch.arange(400_000) + 0.5) * 1e-3
    assert abs(flow.double().log_prob(grid.double()).exp().sum() * 1e-3 - 1) < 1e-3


def test_integral_of_a_flow_in_two_dimensions():
    flow = conditional().double()
    axis = torch.linspace(-12, 12, 601, dtype=torch.float64)
    grid = torch.cartesian_prod(axis, axis)
    for context in torch.randn(2, CONTEXT, dtype=torch.float64):
        mass = flow.log_prob(grid, context).exp().sum() * (axis[1] - axis[0]) ** 2
        assert abs(mass - 1) < 1e-3


def test_outside_the_support_is_minus_infinity_and_nan_stays():
    flow = Flow(Normal(2), Lifted())
    assert flow.support.same_set(POSITIVE)
    x = torch.tensor([[1.0, 2.0], [-1.0, 2.0], [0.0, 1.0], [math.inf, 1.0], [math.nan, 1.0]])
    x.requires_grad_()
    log_prob = flow.log_prob(x)
    assert log_prob[0].isfinite()
    assert (log_prob[1:4] == -math.inf).all()
    assert log_prob[4].isnan()
    (gradient,) = torch.autograd.grad(log_prob[:4].sum(), x)
    assert gradient[:4].isfinite().all()


def test_bits_per_dim_is_in_bits():
    x = torch.zeros(3, 2, 2)
    expected = torch.full((3,), 0.5 * math.log2(2 * math.pi))
    torch.testing.assert_close(Normal((2, 2)).bits_per_dim(x), expected)


def test_more_draws_average_inside_the_logarithm():
    density = Fluctuating()
    x = torch.zeros(3)
    torch.testing.assert_close(density.log_prob(x, samples=4), torch.full((3,), math.log(2.0)))
    assert density.calls == 4
    assert "bound" in repr(density)
    with pytest.raises(ValueError, match="samples"):
        density.log_prob(x, samples=0)
    exact, calls = plain(), []
    exact.bijection.register_forward_hook(lambda *_: calls.append(1))
    exact.log_prob(torch.zeros(2), samples=5)
    assert len(calls) == 1


def test_a_stochastic_bijection_makes_a_bound():
    flow = Flow(Uniform(2, 0.0, 4.0), Rounded())
    assert not flow.exact and not flow.reparameterized
    levels = torch.cartesian_prod(*[torch.arange(4)] * 2)
    torch.testing.assert_close(flow.log_prob(levels).exp().sum(), torch.tensor(1.0))
    assert flow.log_prob(torch.tensor([0.5, 1.0])) == -math.inf
    assert flow.log_prob(torch.tensor([4.0, 1.0])) == -math.inf
    x, log_prob = flow.sample_and_log_prob(50)
    assert not flow.support.outside(x).any()
    torch.testing.assert_close(log_prob, torch.full((50,), -2 * math.log(4)))
    with pytest.raises(TypeError, match="no gradients"):
        flow.rsample(3)
    with pytest.raises(TypeError, match="no gradients"):
        flow.sample_and_log_prob(3, gradients=True)


def test_elementwise_bijections_count_once_for_every_element_of_an_event():
    """Also where the batch is as large as the event, so that a wrong sum would broadcast."""
    flow = Flow(Normal((2, 3)), Lifted())
    x = torch.rand(2, 3, 2, 3) + 0.1
    expected = torch.distributions.LogNormal(0, 1).log_prob(x).sum((-1, -2))
    torch.testing.assert_close(flow.log_prob(x), expected)
    x, log_prob = flow.sample_and_log_prob((2, 3))
    torch.testing.assert_close(log_prob, flow.log_prob(x))


# Gradients and randomness


def test_only_rsample_carries_gradients():
    flow, context = conditional(), torch.randn(5, CONTEXT, requires_grad=True)
    assert not flow.sample(3, context).requires_grad
    assert not flow.sample_and_log_prob(3, context)[0].requires_grad
    x, log_prob = flow.sample_and_log_prob(3, context, gradients=True)
    wanted = [context, *flow.parameters()]
    for value in (flow.rsample(3, context), x, log_prob, flow.log_prob(x.detach(), context)):
        gradients = torch.autograd.grad(value.square().sum(), wanted, retain_graph=True)
        assert all(g.isfinite().all() and g.abs().sum() > 0 for g in gradients)


def test_the_generator_is_the_only_source_of_noise():
    flow, context = conditional(), torch.randn(2, CONTEXT)
    state = torch.get_rng_state()
    one, same, other = (
        flow.sample(4, context, generator=torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
    )
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert torch.equal(state, torch.get_rng_state())


# Contexts


def test_a_context_net_runs_once_and_feeds_base_and_bijection():
    calls = []
    join = JoinContext({"a": (2,), "b": (1,)})
    join.register_forward_hook(lambda *_: calls.append(1))
    inner = conditional()
    flow = Flow(inner.base, inner.bijection, context={"a": 2, "b": 1}, context_net=join)
    context = {"a": torch.randn(4, 1, 2), "b": torch.randn(5, 1)}
    joined = join(context)
    calls.clear()
    x = flow.sample(3, context)
    assert x.shape == (3, 4, 5, 2)
    assert len(calls) == 1
    torch.testing.assert_close(flow.log_prob(x, context), inner.log_prob(x, joined))
    assert len(calls) == 2


def test_a_flow_whose_base_is_a_flow_uses_both_context_nets():
    class Doubled(nn.Module):
        def forward(self, context):
            return 2 * context

    context, x = torch.randn(5, CONTEXT), torch.randn(5, 2)
    inner = conditional()
    base = Flow(inner.base, inner.bijection, context_net=Doubled())
    outer = Flow(base, redraw(affine()))
    z, ladj = outer.bijection(x)
    expected = inner.log_prob(z, 2 * context) + ladj
    torch.testing.assert_close(outer.log_prob(x, context), expected)
    sample, log_prob = outer.sample_and_log_prob((), context)
    torch.testing.assert_close(log_prob, outer.log_prob(sample, context), rtol=1e-4, atol=1e-4)
    cold = outer.sample((), context, temperature=0.0)
    torch.testing.assert_close(
        outer.encode(cold, context), inner.sample((), 2 * context, temperature=0.0)
    )


def test_whole_number_contexts_reach_the_context_net():
    class Embedded(nn.Embedding):
        def forward(self, context):
            return super().forward(context[..., 0])

    inner = conditional()
    net = Embedded(10, CONTEXT)
    flow = Flow(inner.base, inner.bijection, context=1, context_net=net)
    classes = torch.tensor([[1], [7]])
    assert flow.sample(3, classes).shape == (3, 2, 2)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_whole_number_contexts_are_numbers_without_a_context_net(dtype):
    x, context = torch.randn(5, 2, dtype=dtype), torch.randint(4, (5, CONTEXT))
    flow = conditional().to(dtype)
    torch.testing.assert_close(flow.log_prob(x, context), flow.log_prob(x, context.to(dtype)))
    assert flow.sample(3, context).dtype == dtype
    joined = Flow(
        flow.base,
        flow.bijection,
        context={"age": 1, "sites": 2},
        context_net=JoinContext({"age": (1,), "sites": (2,)}),
    )
    parts = {"age": context[:, :1], "sites": context[:, 1:]}
    torch.testing.assert_close(joined.log_prob(x, parts), flow.log_prob(x, context))
    parts["sites"] = parts["sites"].to(dtype)
    torch.testing.assert_close(joined.log_prob(x, parts), flow.log_prob(x, context))


@pytest.mark.parametrize("method", ["log_prob", "encode", "decode"])
def test_contexts_are_checked(method):
    x = torch.randn(5, 2)
    with pytest.raises(TypeError, match="takes no context"):
        getattr(plain(), method)(x, torch.randn(5, 3))
    flow = conditional()
    with pytest.raises(TypeError, match="needs a context"):
        getattr(flow, method)(x)
    with pytest.raises(ValueError, match="context must have shape"):
        getattr(flow, method)(x, torch.randn(5, 4))
    with pytest.raises(ValueError, match="broadcast"):
        getattr(flow, method)(x, torch.randn(4, CONTEXT))
    with pytest.raises(TypeError, match="must be a tensor"):
        getattr(flow, method)(x, {"c": torch.randn(5, CONTEXT)})
    with pytest.raises(TypeError, match=r"context is torch\.float64"):
        getattr(flow, method)(x, torch.randn(5, CONTEXT).double())
    with pytest.raises(ValueError, match="context is on meta"):
        getattr(flow, method)(x, torch.randn(5, CONTEXT, device="meta"))
    join = JoinContext({"a": (1,), "b": (2,)})
    flow = Flow(flow.base, flow.bijection, context=join.shapes, context_net=join)
    with pytest.raises(ValueError, match="parts do not broadcast"):
        getattr(flow, method)(x, {"a": torch.randn(3, 1), "b": torch.randn(5, 2)})


def test_sampling_checks_contexts_too():
    with pytest.raises(TypeError, match="takes no context"):
        plain().sample(3, torch.randn(5, 3))
    with pytest.raises(TypeError, match="needs a context"):
        conditional().sample(3)
    with pytest.raises(TypeError, match=r"context is torch\.float64"):
        conditional().sample(3, torch.randn(5, CONTEXT).double())


# Dtypes, devices, options


@untyped
def test_dtypes_and_devices_are_checked():
    flow = plain()
    with pytest.raises(TypeError, match=r"torch\.float64.*torch\.float32"):
        flow.log_prob(torch.randn(3, 2).double())
    with pytest.raises(TypeError, match=r"torch\.int64"):
        flow.log_prob(torch.zeros(3, 2, dtype=torch.int64))
    with pytest.raises(ValueError, match="on meta"):
        flow.log_prob(torch.zeros(3, 2, device="meta"))
    for method in (flow.log_prob, flow.bits_per_dim):
        with pytest.raises(TypeError, match="as_tensor"):
            method([[0.0, 0.0]])  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="as_tensor"):
            method(np.zeros((3, 2)))  # type: ignore[arg-type]
    double = copy.deepcopy(flow).double()
    assert double.log_prob(torch.randn(3, 2).double()).dtype == torch.float64
    assert double.sample(3).dtype == torch.float64


def test_autocast_keeps_densities_in_float32():
    flow = conditional()
    x, context = torch.randn(5, 2), torch.randn(5, CONTEXT)
    expected = flow.log_prob(x, context)
    with torch.autocast("cpu", torch.bfloat16):
        assert flow.sample(2, context).dtype == torch.float32
        for narrow in (x, x.bfloat16()):
            log_prob = flow.log_prob(narrow, context)
            assert log_prob.dtype == torch.float32
            torch.testing.assert_close(log_prob, expected, rtol=0.1, atol=0.1)
        with pytest.raises(TypeError, match=r"torch\.int64"):
            flow.log_prob(torch.zeros(3, 2, dtype=torch.int64))


@untyped
@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"n": -1}, ValueError, "negative"),
        ({"n": (2, -1)}, ValueError, "negative"),
        ({"n": 2.5}, TypeError, "whole number"),
        ({"n": "ab"}, TypeError, "whole number"),
        ({"n": 2, "temperature": "cold"}, TypeError, "temperature"),
        ({"n": 2, "temperature": -0.1}, ValueError, "temperature"),
        ({"n": 2, "temperature": math.nan}, ValueError, "temperature"),
        ({"n": 2, "temperature": math.inf}, ValueError, "temperature"),
        ({"n": 2, "event_shape": (3,)}, ValueError, "event_shape"),
    ],
)
@pytest.mark.parametrize("method", ["sample", "rsample", "sample_and_log_prob"])
def test_sampling_options_are_checked(method, arguments, error, message):
    with pytest.raises(error, match=message):
        getattr(plain(), method)(**arguments)


def test_temperature_needs_a_scale():
    for base in (Uniform(2), Beta(2, 2.0, 2.0)):
        flow = Flow(base, Identity01())
        assert not flow.scalable
        flow.sample(2, temperature=1.0)
        with pytest.raises(ValueError, match="temperature"):
            flow.sample(2, temperature=0.7)


class Identity01(Bijection):
    domain = codomain = UNIT

    def _forward(self, x, context):
        return x, torch.zeros_like(x)

    _inverse = _forward


@pytest.mark.parametrize("shape", [(3,), (5, 3), (2, 2, 2)])
def test_event_shapes_are_checked(shape):
    wrong = torch.zeros(shape)[..., :1]
    with pytest.raises(ValueError, match=r"expected shape \(\*batch, 2\)"):
        plain().log_prob(wrong)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Flow(Uniform(2), affine()), "lives on"),
        (lambda: Flow(Normal(3), affine()), "made for events"),
        (lambda: Flow(Normal(2), affine(2), context=3), "declared context"),
        (lambda: Flow(Normal((4, 2)), Open()), "rank"),
        (lambda: Flow(ConditionalNormal(2, context=4), affine(3)), "base"),
    ],
)
def test_flows_of_parts_that_do_not_fit_are_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_flow_attributes_follow_its_parts():
    assert plain().exact and plain().reparameterized and plain().scalable
    assert not Flow(GaussianMixture(2, 3), affine()).reparameterized
    assert conditional().context_shape == (CONTEXT,)
    assert Flow(Normal(2), Chain(Lifted(), affine())).support.same_set(POSITIVE)
    text = repr(conditional())
    assert "event_shape=(2,)" in text and "context=(3,)" in text


def test_a_base_without_parameters_moves_with_its_flow():
    flow = plain().double()
    assert flow.base.origin.dtype == torch.float64
    assert flow.base.sample(2).dtype == torch.float64
