"""MADE's steps in C against those in PyTorch's operations."""

import pytest
import torch
from torch import nn

from diffeo.nets import MADE, made, made_kernel
from diffeo.nets.made import MADEStepper, StepperInC
from diffeo.nets.mlp import ACTIVATIONS


@pytest.fixture(autouse=True)
def kernel():
    """Without the kernel there would be nothing to compare."""
    if made_kernel._kernel() is None:
        pytest.skip("there is no C compiler")


def example(**options) -> MADE:
    net = MADE(**{"features": 11, "num_params": 5, "hidden": (40, 40), **options})
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.3)
    return net


def in_operations(net: MADE, batch: tuple[int, ...], context=None) -> MADEStepper:
    shared = made._Shared(net, batch, context)
    return MADEStepper(shared, shared.empty_caches())


def assert_same_steps(net: MADE, batch: tuple[int, ...], context=None, values=None) -> None:
    found, expected = net.stepper(batch, context), in_operations(net, batch, context)
    assert isinstance(found, StepperInC)
    values = torch.randn(net.features, *batch, 1) if values is None else values
    before = None
    for i in range(net.features):
        params, found = found.step(before)
        wanted, expected = expected.step(before)
        assert params.shape == wanted.shape == (*batch, 1, net.num_params)
        torch.testing.assert_close(params, wanted, rtol=2e-5, atol=2e-5, equal_nan=True)
        before = values[i]


@pytest.mark.parametrize("context", [0, 3])
@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("activation", ACTIVATIONS)
@torch.no_grad()
def test_steps_are_those_in_operations(activation, residual, context):
    net = example(activation=activation, residual=residual, context=context, order="reverse")
    given = torch.randn(3, 1, context) if context else None
    assert_same_steps(net, (3, 15), given)


@pytest.mark.parametrize("batch", [(), (1,), (31,), (32,), (33,), (2, 0, 3), (2, 3, 50)])
@torch.no_grad()
def test_any_batch(batch):
    net = example(order=[3, 0, 4, 1, 2, 10, 9, 8, 7, 6, 5])
    if 0 in batch:
        assert net.stepper(batch).step(None)[0].shape == (*batch, 1, 5)
    else:
        assert_same_steps(net, batch)


@pytest.mark.parametrize("residual", [False, True])
@torch.no_grad()
def test_fewer_units_than_variables_and_more_parameters_than_are_taken_together(residual):
    assert_same_steps(example(features=30, num_params=23, hidden=(7, 7), residual=residual), (5,))
    assert_same_steps(example(features=1, hidden=(7, 7), residual=residual), (5,))


@torch.no_grad()
def test_several_threads():
    net, before = example(features=20, hidden=(300, 300)), torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        assert_same_steps(net, (257,))
    finally:
        torch.set_num_threads(before)


@torch.no_grad()
def test_values_however_they_lie_and_weights_too():
    net = example()
    net.exit.weight = nn.Parameter(net.exit.weight.t().contiguous().t())
    assert_same_steps(net, (6,), values=torch.randn(11, 6, 1, dtype=torch.float64))
    assert_same_steps(net, (6,), values=torch.randn(11, 12, 1)[:, ::2])
    assert_same_steps(net, (6,), values=torch.randn(11, 1, 1).expand(11, 6, 1))
    assert_same_steps(net, (6,), values=torch.randn(11, 6, 1, dtype=torch.cfloat).conj().imag)
    with pytest.raises(RuntimeError, match="invalid for input of size"):
        net.stepper((6,)).step(None)[1].step(torch.zeros(5, 1))


@torch.no_grad()
def test_memory_is_on_the_cpu_whatever_the_default_device():
    net, values = example(), torch.randn(11, 6, 1)
    with torch.device("meta"):
        assert_same_steps(net, (6,), values=values)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@torch.no_grad()
def test_what_is_not_finite_stays_in_its_row(activation):
    values = torch.randn(11, 6, 1)
    values[2, 1], values[4, 3], values[5, 4] = float("nan"), 1e30, -1e30
    net = example(activation=activation, hidden=(40,))
    assert_same_steps(net, (6,), values=values)
    state, before, last = net.stepper((6,)), None, torch.empty(0)
    for i in range(11):
        last, state = state.step(before)
        before = values[i]
    assert last.isfinite().all((-1, -2)).tolist() == [True, False, True, True, True, True]


@pytest.mark.parametrize("activation", ACTIVATIONS)
@torch.no_grad()
def test_infinite_values(activation):
    values = torch.randn(3, 2, 1)
    values[0, 0], values[0, 1] = float("inf"), -float("inf")
    assert_same_steps(example(features=3, activation=activation, hidden=(9,)), (2,), values=values)


def test_only_where_it_can_be():
    net = example()
    assert isinstance(net.stepper((3,)), MADEStepper)  # somebody may want gradients
    with torch.no_grad():
        assert isinstance(net.stepper((3,)), StepperInC)
        assert isinstance(net.double().stepper((3,)), MADEStepper)
        net.float()
        with torch.autocast("cpu"):
            assert isinstance(net.stepper((3,)), MADEStepper)
    with torch.inference_mode():
        assert isinstance(net.stepper((3,)), StepperInC)


@torch.no_grad()
@torch.no_grad()
def test_weights_may_get_other_memory_between_steps():
    """A stepper goes on with those that it was made with."""
    net = example()
    state = net.stepper(()).step(None)[1]
    value = torch.zeros(1)
    expected = in_operations(net, ()).step(None)[1].step(value)[0]
    for parameter in net.parameters():
        parameter.data = torch.full_like(parameter, float("nan"))
    torch.testing.assert_close(state.step(value)[0], expected)


@torch.no_grad()
def test_steps_that_there_are_not_are_refused():
    net, value = example(features=2), torch.zeros(1)
    with pytest.raises(ValueError, match="takes no values"):
        net.stepper(()).step(value)
    state = net.stepper(()).step(None)[1]
    with pytest.raises(ValueError, match="takes no values"):
        state.step(None)
    state = state.step(value)[1]
    with pytest.raises(IndexError, match="2 positions"):
        state.step(value)


@torch.no_grad()
def test_weights_of_another_size_are_refused():
    net = example()
    net.exit.weight.data = torch.empty(0, 0)
    with pytest.raises(ValueError, match="weights of shape"):
        net.stepper(())


def test_without_a_compiler(monkeypatch):
    monkeypatch.setattr(made_kernel, "_kernel", lambda: None)
    assert isinstance(example().stepper((3,)), MADEStepper)


def test_has_every_activation():
    assert set(made_kernel.ACTIVATIONS) == {"none", *ACTIVATIONS}
