"""What is special to MADE: orders, degrees, and what stepping costs.

Causality and stepping = parallel are properties of every causal network (tests/properties).
"""

import pytest
import torch
from torch import nn

from diffeo.nets import MADE
from diffeo.nets.made import MaskedLinear


def redrawn(net: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.3)
    return net


@pytest.mark.parametrize("residual", [False, True])
def test_stepping_multiplies_every_used_weight_once(monkeypatch, residual):
    net = redrawn(MADE(40, 2, (64, 64), residual=residual).double())
    multiplied = 0
    product = torch.addmm

    def counted(bias, weight, x):
        nonlocal multiplied
        multiplied += weight.numel()
        return product(bias, weight, x)

    state, values = net.stepper((3,)), None
    monkeypatch.setattr(torch, "addmm", counted)
    with torch.no_grad():
        for _ in range(net.positions):
            _, state = state.step(values)
            values = torch.randn(3, 1, dtype=torch.double)
    masks = [getattr(part, "mask", None) for part in net.modules()]
    used = sum(int(mask.sum()) for mask in masks if mask is not None)
    assert multiplied == used


def test_starts_at_zero_and_sees_all_that_it_may():
    assert MADE(4, 3)(torch.randn(2, 4)).abs().max() == 0
    net = redrawn(MADE(5, 1, (32,), order=[3, 0, 4, 1, 2]))
    seen = torch.func.jacrev(net)(torch.randn(5))[:, 0] != 0
    place = torch.tensor([net.order.index(i) for i in range(5)])
    assert torch.equal(seen, place[:, None] > place[None, :])


def test_fewer_units_than_variables_are_spread_over_the_degrees():
    net = MADE(100, 1, (10,))
    sizes = net.entry.mask.sum(1)
    assert sizes.min() >= 1 and sizes.max() > 80
    assert torch.equal(sizes, sizes.sort().values)


def test_one_variable_depends_on_the_context_alone():
    net = redrawn(MADE(1, 2, (8,), context=3))
    context = torch.randn(4, 3)
    assert torch.equal(net(torch.zeros(4, 1), context), net(torch.ones(4, 1), context))
    assert not torch.allclose(net(torch.zeros(4, 1), context), net(torch.zeros(4, 1), -context))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"features": 0}, "must be positive"),
        ({"order": [0, 0, 1]}, "permutation of 0 … 2"),
        ({"order": "sideways"}, "sideways"),
        ({"hidden": ()}, "at least one hidden layer"),
        ({"hidden": (8, 16), "residual": True}, "equal widths"),
        ({"activation": "sine"}, "must be one of"),
    ],
)
def test_mistakes(options, words):
    with pytest.raises(ValueError, match=words):
        MADE(**{"features": 3, "num_params": 1, **options})


@pytest.mark.parametrize("residual", [False, True])
def test_layers_are_called(residual):
    """By who hooks into modules: sharding, normalising, pruning, counting."""
    net = MADE(5, 2, (8, 8), context=2, residual=residual)
    layers = [module for module in net.modules() if isinstance(module, MaskedLinear)]
    called = []
    for layer in layers:
        layer.register_forward_hook(lambda module, *_: called.append(module))
    x, c = torch.randn(3, 5), torch.randn(3, 2)
    expected = net(x, c)
    assert set(called) == set(layers)
    torch.testing.assert_close(net.given(c)(x), expected, rtol=0.0, atol=0.0)
