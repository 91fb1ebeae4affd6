"""Blocks of masked products: the numbers of the whole product, from fewer multiplications."""

import pytest
import torch
from torch import nn
from torch.autograd import forward_ad, gradcheck, gradgradcheck
from torch.nn import functional as F

from diffeo.nets import MADE
from diffeo.nets.masked import LEAST_ROWS, MaskedLinear


def staircase(rows: int, columns: int, steps: int) -> torch.Tensor:
    """Each row sees as many columns as its degree of `steps`."""
    below = torch.arange(columns) * steps // columns
    return torch.arange(rows)[:, None] * steps // rows >= below[None, :]


MASKS = {
    "down": staircase(192, 160, 5),
    "up": staircase(192, 160, 5).flip(0),
    "from the right": staircase(192, 160, 5).flip(1),
    "many steps": staircase(256, 256, 200),
    "rows and columns without any": F.pad(staircase(192, 160, 4), (40, 40, 30, 30)),
}


def layer_of(mask: torch.Tensor) -> MaskedLinear:
    torch.manual_seed(0)
    return MaskedLinear(mask)


@pytest.mark.parametrize("name", MASKS)
@pytest.mark.parametrize("batch", [(LEAST_ROWS,), (2, LEAST_ROWS)])
def test_blocks_give_what_the_whole_product_gives(name, batch):
    layer = layer_of(MASKS[name]).double()
    plain = layer.weight.detach().where(MASKS[name], 0.0).requires_grad_()
    x = torch.randn(*batch, layer.in_features, dtype=torch.float64, requires_grad=True)
    assert layer._in_blocks(x)
    z, expected = layer(x), F.linear(x, plain, layer.bias)
    torch.testing.assert_close(z, expected)
    grad = torch.randn_like(z)
    ours = torch.autograd.grad(z, [x, layer.weight, layer.bias], grad)
    theirs = torch.autograd.grad(expected, [x, plain, layer.bias], grad)
    for got, want in zip(ours, (theirs[0], theirs[1] * MASKS[name], theirs[2]), strict=True):
        torch.testing.assert_close(got, want)


def test_gradients_have_gradients_and_come_in_batches():
    layer = layer_of(MASKS["down"]).double()
    x = torch.randn(LEAST_ROWS, layer.in_features, dtype=torch.float64)
    inputs = (x.requires_grad_(), layer.weight, layer.bias)
    assert layer._in_blocks(x)
    with forward_ad.dual_level():
        assert layer(forward_ad.make_dual(x, x)).shape == (LEAST_ROWS, layer.out_features)

    def through(*inputs):
        parameters = dict(zip(("weight", "bias"), inputs[1:], strict=True))
        return torch.func.functional_call(layer, parameters, inputs[0]).tanh()

    assert gradcheck(through, inputs, fast_mode=True, check_batched_grad=True)
    assert gradgradcheck(through, inputs, fast_mode=True)


def test_weights_may_change_before_the_backward_pass():
    layer = layer_of(MASKS["down"])
    x = torch.randn(LEAST_ROWS, layer.in_features, requires_grad=True)
    z, before = layer(x), (layer.weight * layer.mask).detach()
    with torch.no_grad():
        layer.weight.mul_(2)
    torch.testing.assert_close(torch.autograd.grad(z.sum(), x)[0][0], before.sum(0))


def test_blocks_leave_out_a_third_and_more(monkeypatch):
    net = MADE(63, 2, (512, 512))
    multiplied = 0
    addmm = torch.addmm

    def counted(bias, weight, x, **out):
        nonlocal multiplied
        multiplied += weight.numel()
        return addmm(bias, weight, x, **out)

    monkeypatch.setattr(torch, "addmm", counted)
    with torch.no_grad():
        net(torch.zeros(LEAST_ROWS, 63))
    masks = [part.mask for part in net.modules() if isinstance(part, MaskedLinear)]
    used, all_of_them = (sum(float(f(mask)) for mask in masks) for f in (torch.sum, torch.numel))
    assert used <= multiplied < 0.65 * all_of_them


@pytest.mark.filterwarnings("ignore:Initializing zero-element")
def test_a_layer_that_is_dense_or_small_is_not_cut():
    x = torch.zeros(LEAST_ROWS, 160)
    assert layer_of(MASKS["down"])._in_blocks(x)
    assert not layer_of(MASKS["down"])._in_blocks(x[1:])
    assert not layer_of(torch.ones(192, 160))._in_blocks(x)
    assert not layer_of(staircase(24, 16, 4))._in_blocks(torch.zeros(LEAST_ROWS, 16))
    shuffled = MASKS["down"][torch.randperm(192, generator=torch.Generator().manual_seed(0))]
    assert not layer_of(shuffled)._in_blocks(x)
    assert layer_of(torch.ones(3, 0))(torch.zeros(2, 0)).shape == (2, 3)


def test_autocast_and_tracing_take_the_whole_product():
    layer = layer_of(MASKS["down"])
    x = torch.randn(LEAST_ROWS, 160)
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(x).dtype == torch.bfloat16
    jacobian = torch.func.vmap(torch.func.jacrev(layer))(x)
    torch.testing.assert_close(jacobian[0], layer.weight * layer.mask)
    nn.init.constant_(layer.bias, 1.0)
    exported = torch.export.export(layer, (x,)).module()
    torch.testing.assert_close(exported(x), layer(x))
