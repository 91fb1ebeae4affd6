"""Masked layers whose outputs lie apart in memory: the same numbers, in fewer products."""

import pytest
import torch
from torch import nn
from torch.autograd import grad, gradcheck, gradgradcheck

from diffeo.nets import MADE, MLP
from diffeo.nets.masked import BlockProduct, MaskedLinear, blocks_of, linear_operator


def stairs(rows: int, columns: int) -> torch.Tensor:
    """More columns in use, the further down."""
    return torch.arange(1, columns + 1) * rows <= (torch.arange(rows)[:, None] + 1) * columns


def layers(rows: int, columns: int) -> tuple[MaskedLinear, MaskedLinear]:
    """A layer with outputs apart and a usual one, of the same weights."""
    torch.manual_seed(0)
    apart, usual = (MaskedLinear(stairs(rows, columns), apart) for apart in (True, False))
    usual.load_state_dict(apart.state_dict())
    return apart.double(), usual.double()


@pytest.mark.parametrize("rows", [40, 600, 1_100])
@pytest.mark.parametrize("batch", [(), (5,), (2, 3)])
def test_numbers_and_gradients_are_those_of_the_usual_layer(rows, batch):
    apart, usual = layers(rows, 30)
    assert len(apart._blocks) == {40: 0, 600: 2, 1_100: 4}[rows]
    x = torch.randn(*batch, 30, dtype=torch.float64, requires_grad=True)
    found, expected = apart(x), usual(x)
    weights = torch.randn_like(expected)
    torch.testing.assert_close(found, expected)
    assert len(batch) == 0 or found.stride(-1) > 1
    ours = grad(found, (x, apart.weight, apart.bias), weights)
    theirs = grad(expected, (x, usual.weight, usual.bias), weights)
    for got, want in zip(ours, theirs, strict=True):
        torch.testing.assert_close(got, want)


def test_what_needs_no_gradient_gets_none():
    apart, _ = layers(600, 30)
    x = torch.randn(4, 30, dtype=torch.float64)
    apart.bias.requires_grad_(False)
    apart(x).sum().backward()
    assert apart.bias.grad is None and apart.weight.grad is not None
    (alone,) = grad(apart(x.requires_grad_()).sum(), x)
    torch.testing.assert_close(alone, (apart.weight * apart.mask).sum(0).expand(4, -1))


def test_derivatives_of_derivatives():
    mask = stairs(6, 4)
    blocks = blocks_of(mask, 3)
    assert [block.width for block in blocks] == [1, 2, 4]
    x, bias = torch.randn(3, 4, dtype=torch.float64), torch.randn(6, dtype=torch.float64)
    weight = torch.randn(6, 4, dtype=torch.float64)
    inputs = tuple(t.requires_grad_() for t in (x, weight, bias))

    def product(x, weight, bias):
        return BlockProduct.apply(x, weight * mask, bias, blocks)

    assert gradcheck(product, inputs)
    assert gradgradcheck(product, inputs)


def test_blocks_hold_every_weight_in_use():
    mask = torch.rand(50, 20, generator=torch.Generator().manual_seed(0)) < 0.1
    held = torch.zeros_like(mask)
    for first, last, width in blocks_of(mask, 7):
        held[first:last, :width] = True
    assert not (mask & ~held).any()


def test_no_blocks_where_they_leave_nothing_out():
    assert MaskedLinear(stairs(600, 30).flip(1), apart=True)._blocks == ()


@pytest.mark.parametrize("kind", ["made", "mlp"])
def test_networks_give_the_same_whatever_the_layout(kind):
    def build(apart):
        torch.manual_seed(0)
        if kind == "made":
            net = MADE(30, 20, (64,), context=3, apart=apart)
        else:
            net = MLP(30, (30, 20), (64,), context=3, apart=apart)
        for parameter in net.parameters():
            nn.init.normal_(parameter, std=0.3)
        return net

    x, context = torch.randn(7, 30), torch.randn(7, 3)
    found, expected = build(True)(x, context), build(False)(x, context)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    assert found.stride(0) == 1 and expected.stride(-1) == 1


def test_autocast_has_its_way():
    apart, usual = (layer.float() for layer in layers(600, 30))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        x = torch.randn(5, 30)
        found, expected = apart(x), usual(x)
    assert found.dtype == expected.dtype == torch.bfloat16
    torch.testing.assert_close(found, expected)


def test_the_operator_is_what_compilers_are_told_of_it():
    mask = stairs(6, 4)
    numbers = [number for block in blocks_of(mask, 3) for number in block]
    x, bias = torch.randn(3, 4), torch.randn(6, requires_grad=True)
    weight = (torch.randn(6, 4) * mask).requires_grad_()
    inputs = (x.requires_grad_(), weight, bias)
    torch.library.opcheck(linear_operator, (*inputs, numbers))
    found, expected = linear_operator(*inputs, numbers), (x @ weight.t() + bias).t()
    torch.testing.assert_close(found, expected)
    weights = torch.randn_like(expected)
    ours, theirs = (grad(out, inputs, weights) for out in (found, expected))
    for got, want, used in zip(ours, theirs, (1, mask, 1), strict=True):
        torch.testing.assert_close(got * used, want * used)


def test_recorded_gradients_where_weights_are_made_of_x():
    x = torch.randn(6, 4, dtype=torch.float64, requires_grad=True)
    mask = stairs(6, 4)

    def value():
        return BlockProduct.apply(x, x.sin() * mask, x.sum(1), blocks_of(mask, 3)).sin().sum()

    torch.testing.assert_close(grad(value(), x, create_graph=True), grad(value(), x))


def test_a_last_layer_with_outputs_apart_is_a_linear_layer():
    net = MLP(3, (2, 5), (8,), apart=True)
    called = []
    net.exit.register_forward_hook(lambda *_: called.append(True))
    net(torch.randn(4, 3))
    assert called and isinstance(net.exit, nn.Linear)
    assert sorted(net.state_dict()) == sorted(MLP(3, (2, 5), (8,)).state_dict())
