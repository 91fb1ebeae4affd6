"""Conditioners for vectors: shapes, the zero start, and what they refuse."""

import pytest
import torch
from torch import nn

from diffeo.nets import MLP


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize(("features", "context"), [(3, 0), (3, 2), (0, 2), (0, 0)])
def test_shapes_and_zero_start(features, context, residual):
    net = MLP(features, (2, 5), (8, 8), context, residual=residual)
    x = torch.randn(4, 6, features) if features else None
    c = torch.randn(6, context) if context else None
    out = net(x, c)
    expected = {(3, 0): (4, 6), (3, 2): (4, 6), (0, 2): (6,), (0, 0): ()}[features, context]
    assert out.shape == (*expected, 2, 5)
    assert out.abs().max() == 0


@pytest.mark.parametrize("residual", [False, True])
def test_context_and_input_matter_after_training(residual):
    torch.manual_seed(0)
    net = MLP(3, (2,), (8, 8), 2, residual=residual)
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.3)
    x, c = torch.randn(4, 3), torch.randn(4, 2)
    assert not torch.allclose(net(x, c), net(-x, c))
    assert not torch.allclose(net(x, c), net(x, -c))
    assert all(parameter.requires_grad for parameter in net.parameters())
    net(x, c).sum().backward()
    assert all(parameter.grad is not None for parameter in net.parameters())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"hidden": ()}, "at least one hidden layer"),
        ({"hidden": (0,)}, "positive whole numbers"),
        ({"hidden": (4, 8), "residual": True}, "equal widths"),
        ({"activation": "sine"}, "must be one of"),
    ],
)
def test_mistakes(options, words):
    with pytest.raises(ValueError, match=words):
        MLP(3, (2,), **options)
