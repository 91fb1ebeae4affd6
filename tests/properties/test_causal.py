"""Every causal network of the catalogue, in parallel and step by step."""

import pytest
import torch

from tests.catalogue import CAUSAL
from tests.properties import causality
from tests.properties.draws import context_for
from tests.properties.matrix import cells
from tests.tolerances import tolerance

every = pytest.mark.parametrize(("case", "context", "dtype"), cells(CAUSAL))
every_float64 = pytest.mark.parametrize(
    ("case", "context", "dtype"), cells(CAUSAL, (torch.float64,))
)
every_conditional = pytest.mark.parametrize(
    ("case", "context", "dtype"), cells(CAUSAL, (torch.float64,), context_only=True)
)


def drawn(case, context, dtype, batch):
    net = case.make(context, dtype)
    generator = torch.Generator().manual_seed(8)
    x = torch.randn(*batch, *net.event_shape, generator=generator, dtype=torch.float64).to(dtype)
    return net, x, context_for(net.context_shape, batch, dtype)


@every_float64
def test_causal(case, context, dtype):
    causality.check_causal(*drawn(case, context, dtype, ()))


@every_conditional
def test_context_reaches_every_position(case, context, dtype):
    causality.check_context_reaches_every_position(*drawn(case, context, dtype, ()))


@every
@pytest.mark.parametrize("batch", [(4,), (), (2, 3), (0,)], ids=str)
@pytest.mark.parametrize("gradients", [True, False], ids=["recorded", "unrecorded"])
def test_stepping(case, context, dtype, batch, gradients):
    """With caches that grow for autograd's sake, and with those filled in place."""
    bound = tolerance("same_numbers", case.name, dtype)
    with torch.set_grad_enabled(gradients):
        causality.check_stepping(*drawn(case, context, dtype, batch), bound=bound)


@every_float64
def test_stepping_with_one_context(case, context, dtype):
    net, x, _ = drawn(case, context, dtype, (4,))
    one = context_for(net.context_shape, (), dtype)
    causality.check_stepping(net, x, one, bound=tolerance("same_numbers", case.name, dtype))


@every_float64
def test_positions(case, context, dtype):
    causality.check_positions(*drawn(case, context, dtype, (2, 3))[:2])
