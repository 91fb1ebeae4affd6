"""The two ways of an autoregressive inverse's gradient, and what the map says of itself."""

import pytest
import torch
from torch import nn

from diffeo.bijections import Autoregressive
from diffeo.nets import MADE
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
