"""Chains that forget: the gradients of chains that store, with less to keep."""

import copy

import pytest
import torch

import diffeo
from diffeo.bijections import (
    ActNorm,
    Autoregressive,
    BatchNorm,
    Chain,
    Coupling,
    Dequantize,
    Inverse,
    InvertibleConv,
    Logit,
    LULinear,
    Permutation,
)
from diffeo.bijections.partition import Alternate
from diffeo.nets import MADE, MLP
from diffeo.noise import fixed_noise
from diffeo.scalars import Affine
from tests.properties.draws import redraw

FEATURES, ROWS = 4, 24


def coupling(i=0, hidden=(16,), **options):
    partition = Alternate(FEATURES, flip=i % 2 == 1)
    net = MLP(partition.kept_shape[0], (*partition.changed_shape, 2), hidden=hidden, **options)
    return Coupling(partition, Affine(), net)


def mixed(**options):
    """Parts of every kind, some of them in chains of their own."""
    made = MADE(FEATURES, 2, hidden=(16,), **options)
    return [
        coupling(0, **options),
        Chain(LULinear(FEATURES), ActNorm(FEATURES)),
        Autoregressive(Affine(), made),
        Permutation(FEATURES),
        Inverse(coupling(1, **options)),
        Chain(coupling(2, **options), Chain(coupling(3, **options))),
    ]


def gradients(chain, x, context=None, memory="store", seed=0):
    """Of the input, the context and every parameter, and the outputs."""
    chain.memory = memory
    chain.zero_grad()
    x = x.clone().requires_grad_()
    context = None if context is None else context.clone().requires_grad_()
    torch.manual_seed(seed)
    z, ladj = chain(x, context)
    ((z**3).sum() + (ladj * torch.arange(len(ladj))).sum()).backward()
    found = [x, *([] if context is None else [context]), *chain.parameters()]
    return z.detach(), ladj.detach(), [tensor.grad for tensor in found]


def agree(chain, x, context=None, bound=1e-12, **options):
    z, ladj, stored = gradients(chain, x, context, **options)
    for memory in ("checkpoint", "invert"):
        other_z, other_ladj, found = gradients(chain, x, context, memory, **options)
        assert torch.equal(z, other_z)
        torch.testing.assert_close(ladj, other_ladj, rtol=1e-6, atol=1e-6)
        assert [g is None for g in found] == [g is None for g in stored]
        one, other = (
            torch.cat([g.flatten() for g in every if g is not None]) for every in (found, stored)
        )
        assert float((one - other).norm() / other.norm()) < bound


def rows(dtype=torch.float64):
    return torch.randn(ROWS, FEATURES, generator=torch.Generator().manual_seed(1), dtype=dtype)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("context", [0, 3])
def test_gradients_are_those_of_storing(dtype, context):
    chain = redraw(Chain(*mixed(context=context)), 0.3).to(dtype)
    given = torch.linspace(-1, 1, 3 * ROWS, dtype=dtype).reshape(ROWS, 3) if context else None
    agree(chain, rows(dtype), given, bound=1e-12 if dtype == torch.float64 else 1e-5)
    assert 0 < chain.inversion_error < (1e-12 if dtype == torch.float64 else 1e-4)


@pytest.mark.parametrize("name", diffeo.models.MODELS)
def test_named_models_train_with_less(name):
    torch.manual_seed(0)
    model = diffeo.create(name, features=3, context=2, standardize=True, memory="invert").double()
    assert model.bijection.memory == model.config["arguments"]["memory"] == "invert"
    redraw(model, 0.1)
    plain = copy.deepcopy(model)
    plain.bijection.memory = "store"
    x, c = rows()[:, :3], rows()[:, :2].clone().requires_grad_()
    losses = [-m.log_prob(x, c).mean() for m in (plain, model)]
    assert torch.equal(*losses)
    for loss in losses:
        loss.backward()
    for one, other in zip(plain.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(other.grad, one.grad, rtol=1e-7, atol=1e-9)


WRITTEN_OUT = {
    "actnorm of channels": lambda: ActNorm((3, None, None)),
    "actnorm of everything": lambda: ActNorm((3, 4, 2)),
    "1×1 convolution": lambda: InvertibleConv(3),
}


@pytest.mark.parametrize("batch", [(), (5,), (2, 5)])
@pytest.mark.parametrize("name", WRITTEN_OUT)
def test_gradients_that_are_written_out_are_autograds(name, batch):
    part = redraw(WRITTEN_OUT[name](), 0.3).double()
    draws = torch.randn(3, *batch, 3, 4, 2, dtype=torch.float64)
    z, of_z, of_ladj = draws[0], draws[1], draws[2].sum((-3, -2, -1))
    x, again, ladj = part.invert_with_grad(z)
    expected = torch.autograd.grad((again, ladj), [x, *part.parameters()], (of_z, of_ladj))
    with torch.no_grad():
        found_x, of_x, found = part.go_back(z, of_z, of_ladj)
    for one, other in zip((found_x, of_x, *found), (x, *expected), strict=True):
        assert one.shape == other.shape
        torch.testing.assert_close(one, other, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("linear", ["full", "lu", "qr", "reverse"])
def test_steps_of_glow(linear):
    options = {"scales": 2, "steps": 2, "filters": 8, "linear": linear}
    model = redraw(diffeo.create("glow", shape=(3, 8, 4), **options), 0.1).double()
    model.bijection.scales[0].parts[1].loc.requires_grad_(False)
    found = []
    for memory in ("store", "invert"):
        for scale in model.bijection.scales:
            scale.memory = memory
        model.zero_grad()
        x = torch.linspace(-1, 1, 192, dtype=torch.float64).reshape(2, 3, 8, 4).requires_grad_()
        model.log_prob(x).sum().backward()
        found.append([x.grad, *(p.grad for p in model.parameters())])
    for one, other in zip(*found, strict=True):
        assert (one is None) == (other is None)
        if one is not None:
            torch.testing.assert_close(other, one, rtol=1e-8, atol=1e-9)


def test_a_part_that_occurs_twice_gets_both_gradients():
    part = redraw(coupling(), 0.3).double()
    agree(Chain(part, Permutation(FEATURES), part), rows())


def test_frozen_parameters_stay_without_gradients():
    chain = redraw(Chain(coupling(0), coupling(1), coupling(2)), 0.3).double()
    chain.parts[1].requires_grad_(False)
    agree(chain, rows())
    assert all(p.grad is None for p in chain.parts[1].parameters())


def test_random_draws_are_replayed():
    chain = redraw(Chain(coupling(0), coupling(1, dropout=0.5), coupling(2, dropout=0.5)), 0.3)
    agree(chain.double().train(), rows())
    gradients(chain, rows(), memory="store")
    after = torch.get_rng_state()
    gradients(chain, rows(), memory="invert")
    assert torch.equal(torch.get_rng_state(), after)


@pytest.mark.parametrize("fixed", [False, True])
def test_noise_is_replayed(fixed):
    x = torch.randint(0, 4, (ROWS, FEATURES)).double()
    parts = [Dequantize(4, (FEATURES,)), Logit(0.0, 4.0), coupling(0), coupling(1)]
    chain = redraw(Chain(*parts), 0.3).double()
    if fixed:
        found = []
        for memory in ("store", "invert"):
            with fixed_noise(3):
                found.append(gradients(chain, x, memory=memory)[2])
        for one, other in zip(*found, strict=True):
            torch.testing.assert_close(one, other)
    else:
        agree(chain, x)


def test_batch_norm_counts_a_batch_once():
    chain = redraw(Chain(coupling(0), BatchNorm(FEATURES), coupling(1)), 0.3).double().train()
    twin = copy.deepcopy(chain)
    gradients(chain, rows(), memory="invert")
    gradients(twin, rows())
    assert torch.equal(chain.parts[1].running_var, twin.parts[1].running_var)
    start = copy.deepcopy(chain.state_dict())
    _, _, stored = gradients(chain, rows())
    chain.load_state_dict(start)
    _, _, found = gradients(chain, rows(), memory="invert")
    for one, other in zip(found, stored, strict=True):
        torch.testing.assert_close(one, other)


def test_autocast_is_that_of_the_forward_pass():
    chain = redraw(Chain(*(coupling(i, hidden=(64,)) for i in range(6))), 0.1)
    found = []
    for memory in ("store", "invert"):
        chain.memory = memory
        chain.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            z, ladj = chain(rows(torch.float32))
        assert z.dtype == ladj.dtype == torch.float32
        (z.square().sum() - ladj.sum()).backward()
        found.append(torch.cat([p.grad.flatten() for p in chain.parameters()]))
    assert float((found[1] - found[0]).norm() / found[0].norm()) < 1e-2


def saved(chain, x):
    """Bytes that the forward pass keeps for the backward pass, without the parameters."""
    kept, parameters = {}, {p.data_ptr() for p in chain.parameters()}

    def keep(tensor):
        if tensor.data_ptr() not in parameters:
            kept[tensor.data_ptr()] = tensor.numel() * tensor.element_size()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        z, ladj = chain(x)
    del z, ladj
    return sum(kept.values())


def peak(chain, x):
    """The largest running sum of allocations in forward and backward, without the gradients."""
    chain.zero_grad()
    with torch.profiler.profile(
        activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True
    ) as profile:
        z, ladj = chain(x)
        (z.square().sum() - ladj.sum()).backward()
    events = [
        event for event in profile.profiler.kineto_results.events() if event.name() == "[memory]"
    ]
    total = most = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        total += event.nbytes()
        most = max(most, total)
    return most - sum(p.numel() * p.element_size() for p in chain.parameters())


def deep(depth, memory):
    torch.manual_seed(0)
    return redraw(Chain(*(coupling(i, hidden=(32, 32)) for i in range(depth)), memory=memory), 0.05)


def test_memory_is_flat():
    x = torch.randn(512, FEATURES)
    shallow, low = (saved(deep(depth, "store"), x) for depth in (4, 16)), {}
    few, many = shallow
    assert many > 3.5 * few
    for memory in ("checkpoint", "invert"):
        low[memory] = [saved(deep(depth, memory), x) for depth in (4, 16)]
    assert low["invert"][0] == low["invert"][1] == 2 * x.numel() * x.element_size()
    assert low["checkpoint"][1] < many / 10
    assert peak(deep(16, "store"), x) > 3 * peak(deep(4, "store"), x)
    assert peak(deep(16, "invert"), x) < 1.05 * peak(deep(4, "invert"), x)


def test_second_derivatives_are_refused():
    chain = redraw(Chain(coupling(0), coupling(1), memory="invert"), 0.3)
    x = rows(torch.float32).requires_grad_()
    with pytest.raises(RuntimeError, match='first derivatives; use memory="store"'):
        torch.autograd.grad(chain(x)[0].sum(), x, create_graph=True)


def test_what_stores_anyway():
    chain = redraw(Chain(coupling(0), coupling(1), memory="invert"), 0.3)
    x = rows(torch.float32)
    torch.func.jacrev(lambda row: chain(row)[0])(x[0])
    with torch.no_grad():
        chain(x)
    chain.inverse(x)[0].sum().backward()
    assert chain.inversion_error is None
    chain(x)[0].sum().backward()
    assert chain.inversion_error < 1e-5


def test_unknown_ways_are_refused():
    with pytest.raises(ValueError, match="memory must be one of store, checkpoint, invert"):
        Chain(memory="less")
    with pytest.raises(ValueError, match="memory must be one of"):
        diffeo.create("realnvp", features=2, memory="less")


def test_chains_within_other_maps_say_what_they_can():
    assert Chain(coupling(0)).recompute == "invert"
    assert (
        Chain(coupling(0), Inverse(Autoregressive(Affine(), MADE(4, 2)))).recompute == "checkpoint"
    )
    assert Chain(coupling(0), BatchNorm(4)).train().recompute == "store"
    assert Chain(coupling(0), BatchNorm(4)).eval().recompute == "invert"


def test_contexts_of_several_parts():
    context = {"a": torch.randn(ROWS, 2), "b": torch.randn(ROWS)}
    model = redraw(
        diffeo.create("realnvp", features=4, context={"a": 2, "b": ()}, hidden=(8,)), 0.2
    )
    found = []
    for memory in ("store", "invert"):
        model.bijection.memory = memory
        given = {name: value.clone().requires_grad_() for name, value in context.items()}
        model.log_prob(rows(torch.float32), given).sum().backward()
        found.append([given["a"].grad, given["b"].grad])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


def test_gradients_of_a_part_are_let_go_before_the_next():
    chain = deep(6, "invert")
    seen = []
    for i, part in enumerate(chain.parts):
        last = list(part.parameters())[-1]
        last.register_post_accumulate_grad_hook(lambda _, i=i: seen.append(i))
    chain(torch.randn(8, FEATURES))[0].sum().backward()
    done = list(dict.fromkeys(seen))
    first_of_each = [seen.index(i) for i in range(6)]
    assert done == [5, 4, 3, 2, 1, 0] and first_of_each == sorted(first_of_each, reverse=True)


def test_inversion_that_is_far_off_is_said():
    torch.manual_seed(0)
    options = {"features": 6, "transforms": 4, "hidden": (32, 32), "memory": "invert"}
    flow = diffeo.create("nsf_coupling", **options)
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter += 0.3 * torch.randn_like(parameter)
    with pytest.warns(UserWarning, match="off by over 1% of their size"):
        flow.log_prob(5 * torch.randn(50, 6)).sum().backward()
    assert flow.bijection.inversion_error > 0.01
