"""What causal networks must do: look at earlier positions only, and the same in steps."""

import torch
from torch import Tensor

from diffeo.nets.causal import CausalNetwork
from tests.properties.checks import _leaves, close


def check_causal(net: CausalNetwork, x: Tensor, context=None) -> None:
    """The parameters' Jacobian in the values is zero where the value is not of an earlier position.

    And nowhere else: some parameter of each later position depends on every earlier value.

    Args:
        net: with weights that are not zero and a smooth activation, so that dependence shows.
        x: one event, (*event).
    """
    jacobian = torch.autograd.functional.jacobian(lambda values: net(values, context), x)
    # (*event, P, *event) → by position in order: (positions, values, P, positions, values).
    rank = x.dim()
    inputs_last = net.to_positions(jacobian)
    by_input = inputs_last.movedim((-2, -1), (0, 1))
    outputs_last = net.to_positions(by_input.movedim(2 + rank, 2))
    # (positions in, values in, P, positions out, values out) → a position against a position.
    strength = outputs_last.abs().amax(dim=(1, 2, 4)).transpose(0, 1)
    sees = strength > 0
    expected = torch.ones(net.positions, net.positions, dtype=torch.bool).tril(-1)
    assert not (sees & ~expected).any(), (
        f"a position sees itself or a later one: {(sees & ~expected).nonzero().tolist()[:5]}"
    )
    assert not (expected & ~sees).any(), (
        f"an earlier position is not seen: {(expected & ~sees).nonzero().tolist()[:5]}"
    )


def check_context_reaches_every_position(net: CausalNetwork, x: Tensor, context) -> None:
    """Every position's parameters depend on every number of the context."""
    for part in _leaves(context):
        assert part.shape[1:].numel() == 1, "one context of one dimension, or of one column"
        jacobian = torch.autograd.functional.jacobian(lambda value: net(x, value), part)
        seen = jacobian.abs().amax(dim=x.dim())
        assert (seen > 0).all(), "a position does not see the context"


def check_stepping(net: CausalNetwork, x: Tensor, context=None, *, bound: float) -> None:
    """`stepper` gives at every position what the parallel pass gives there."""
    batch = x.shape[: x.dim() - len(net.event_shape)]
    parallel = net(x, context)
    # Parameters by position: the last dimension is moved out of the way of `to_positions`.
    expected = net.to_positions(parallel.movedim(-1, 0)).movedim(0, -1)
    values = net.to_positions(x)
    assert values.shape[-2] == net.positions
    state = net.stepper(batch, context)
    before = None
    for i in range(net.positions):
        params, state = state.step(before)
        assert params.shape == expected[..., i, :, :].shape, (
            f"parameters of position {i} have shape {tuple(params.shape)}"
        )
        close(params, expected[..., i, :, :], bound, f"stepping at position {i}")
        before = values[..., i, :]


def check_positions(net: CausalNetwork, x: Tensor) -> None:
    """`from_positions` undoes `to_positions`."""
    assert torch.equal(net.from_positions(net.to_positions(x)), x)
