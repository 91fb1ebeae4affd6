"""Autoregressive densities and their heads."""

import torch

from diffeo.autoregressive import AutoregressiveDensity, GaussianMixtureHead
from diffeo.bases import Normal
from diffeo.bijections import Autoregressive
from diffeo.density import Flow
from diffeo.nets.causal import MOST_IN_GRAPH, CausalNetwork, Stepper
from diffeo.nets.made import MADE
from diffeo.scalars import Affine


class RunningSum(CausalNetwork):
    """Sequences of any length: every parameter at t is the sine of its number + Σ_{s<t} x_s."""

    event_shape = (None,)
    positions = None

    def __init__(self, num_params):
        super().__init__()
        self.num_params = num_params

    def parameters_after(self, past):
        return torch.sin(past.unsqueeze(-1) + torch.arange(self.num_params))

    def forward(self, x, context=None):
        return self.parameters_after(x.cumsum(-1) - x)

    def stepper(self, batch, context=None):
        return RunningSumStepper(self, torch.zeros(*batch, 1))

    def positions_of(self, event_shape):
        return event_shape[0]

    def to_positions(self, x):
        return x.unsqueeze(-1)

    def from_positions(self, values):
        return values.squeeze(-1)


class RunningSumStepper(Stepper):
    def __init__(self, net, past):
        self.net, self.past = net, past

    def step(self, values):
        past = self.past if values is None else self.past + values
        return self.net.parameters_after(past), RunningSumStepper(self.net, past)


def test_sequences_may_have_any_length():
    head = GaussianMixtureHead(2)
    density = AutoregressiveDensity(RunningSum(head.num_params), head)
    flow = Flow(Normal((None,)), Autoregressive(Affine(), RunningSum(2), unroll=4))
    for model in (density, flow):
        for length in (3, 7):
            x, log_prob = model.sample_and_log_prob(4, event_shape=(length,))
            assert x.shape == (4, length)
            torch.testing.assert_close(log_prob, model.log_prob(x), rtol=1e-4, atol=1e-4)
            assert model.sample((2, 3), event_shape=(length,)).shape == (2, 3, length)
    z = torch.randn(2, 7, dtype=torch.float64, requires_grad=True)
    # Undefined gradients, which gradcheck tries too, do not come to hooks in ordinary passes.
    assert torch.autograd.gradcheck(
        lambda z: flow.bijection.inverse(z)[0], (z,), check_undefined_grad=False
    )


def test_gradients_are_finite_where_every_component_underflows():
    head = GaussianMixtureHead(3)
    model = AutoregressiveDensity(MADE(2, head.num_params, (8,)), head)
    x = torch.full((4, 2), 1e30, requires_grad=True)
    log_prob = model.log_prob(x)
    log_prob.sum().backward()
    assert (log_prob < -1e30).all()
    assert x.grad is not None
    assert x.grad.isfinite().all()
    assert all(
        parameter.grad.isfinite().all()
        for parameter in model.parameters()
        if parameter.grad is not None
    )


def test_conditionals_are_the_factors_of_the_density():
    head = GaussianMixtureHead(3)
    model = AutoregressiveDensity(MADE(3, head.num_params, (8,), context=2), head)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0.0, 0.3)
    x, context = torch.randn(5, 3), torch.randn(5, 2)
    factors = model.conditionals(x, context).log_prob(x)
    torch.testing.assert_close(factors.sum(-1), model.log_prob(x, context))


def test_samples_carry_their_own_log_prob():
    head = GaussianMixtureHead(3)
    model = AutoregressiveDensity(MADE(3, head.num_params, (8,)), head)
    x, log_prob = model.sample_and_log_prob(7, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(log_prob, model.log_prob(x))
    torch.testing.assert_close(model.sample(7, generator=torch.Generator().manual_seed(0)), x)


def test_long_draws_compile_without_their_steps():
    head = GaussianMixtureHead(2)
    model = AutoregressiveDensity(MADE(MOST_IN_GRAPH + 4, head.num_params, (8,)), head)
    sizes = []

    def backend(graph, inputs):
        sizes.append(len(graph.graph.nodes))
        return graph

    torch._dynamo.reset()
    compiled = torch.compile(model.sample_and_log_prob, backend=backend)
    torch.manual_seed(1)
    expected = model.sample_and_log_prob(5)
    torch.manual_seed(1)
    assert all(map(torch.equal, compiled(5), expected))
    assert sum(sizes) < MOST_IN_GRAPH + 4, f"graphs of {sizes} operations: steps are among them"
