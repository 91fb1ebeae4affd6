"""The two ways of an autoregressive inverse's gradient, compiling it, and what the map says."""

import pytest
import torch
from torch import nn

from diffeo.bases import Normal
from diffeo.bijections import Autoregressive, Chain
from diffeo.density import Flow
from diffeo.nets import MADE
from diffeo.nets.causal import MOST_IN_GRAPH
from diffeo.scalars import Affine, RationalQuadraticSpline


def example(scalar, features: int = 6, context: int = 2, **options) -> Autoregressive:
    net = MADE(features, scalar.num_params, (16, 16), context)
    map_ = Autoregressive(scalar, net, **options).double()
    torch.manual_seed(0)
    for parameter in map_.parameters():
        nn.init.normal_(parameter, std=0.3)
    return map_


@pytest.mark.parametrize("scalar", [Affine(), RationalQuadraticSpline(bins=4)])
def test_implicit_and_unrolled_gradients_agree(scalar):
    def gradients(unroll):
        map_ = example(scalar, unroll=unroll)
        generator = torch.Generator().manual_seed(1)
        z = torch.randn(5, 6, generator=generator, dtype=torch.double, requires_grad=True)
        c = torch.randn(5, 2, generator=generator, dtype=torch.double, requires_grad=True)
        x, ladj = map_.inverse(z, c)
        loss = (x.square() * torch.arange(6)).sum() + ladj.square().sum()
        return torch.autograd.grad(loss, [z, c, *map_.parameters()])

    for implicit, unrolled in zip(gradients(0), gradients(64), strict=True):
        torch.testing.assert_close(implicit, unrolled, rtol=1e-8, atol=1e-8)


def test_says_so_where_there_is_no_past():
    assert "elementwise" in repr(example(Affine(), features=1))
    assert "elementwise" not in repr(example(Affine(), features=2))


def test_refuses_a_network_with_other_parameters():
    with pytest.raises(ValueError, match="Affine takes 2 parameters"):
        Autoregressive(Affine(), MADE(3, 5))


def long_flow() -> Flow:
    """Two maps of more positions than compilers are given."""
    features = MOST_IN_GRAPH + 4
    maps = [
        Autoregressive(Affine(), MADE(features, 2, (16, 16), order=order))
        for order in ("forward", "reverse")
    ]
    flow = Flow(Normal(features), Chain(*maps))
    torch.manual_seed(0)
    for parameter in flow.parameters():
        nn.init.normal_(parameter, std=0.3)
    return flow


def captured(sizes: list[int]):
    """A compiler that runs graphs as they are, and notes how many operations they have."""

    def backend(graph, inputs):
        sizes.append(len(graph.graph.nodes))
        return graph

    return backend


def test_long_draws_compile_without_their_steps():
    flow, sizes = long_flow(), []
    torch._dynamo.reset()
    compiled = torch.compile(flow.sample, backend=captured(sizes))
    torch.manual_seed(1)
    expected = flow.sample(5)
    torch.manual_seed(1)
    assert torch.equal(compiled(5), expected)
    assert sum(sizes) < MOST_IN_GRAPH + 4, f"graphs of {sizes} operations: steps are among them"


def test_long_draws_have_gradients_when_compiled():
    flow = long_flow()
    torch._dynamo.reset()
    compiled = torch.compile(flow.decode, backend=captured([]))
    z, parameters = torch.randn(5, flow.bijection.event_shape[0]), list(flow.parameters())
    expected = torch.autograd.grad(flow.decode(z).square().sum(), parameters)
    found = torch.autograd.grad(compiled(z).square().sum(), parameters)
    torch.testing.assert_close(found, expected)


@pytest.mark.slow
def test_the_real_compiler_makes_long_draws():
    flow = long_flow()
    torch._dynamo.reset()
    z = torch.randn(5, flow.bijection.event_shape[0])
    with torch.no_grad():
        torch.testing.assert_close(torch.compile(flow.decode)(z), flow.decode(z))
