"""Convolutional conditioners: shapes, the zero start, contexts, and everything they must run in."""

import copy
import pickle

import pytest
import torch
from torch import nn

from diffeo.bijections.coupling import Coupling
from diffeo.bijections.partition import Partition
from diffeo.nets.gated_attention import GatedAttentionNet, _attention, attention
from diffeo.nets.glow import GlowNet
from diffeo.nets.resnet import ConvResNet
from diffeo.scalars.affine import Affine

EXTENTS = {1: (6,), 2: (4, 3), 3: (2, 3, 2)}


def build(name, dims=2, context=None, **options):
    shared = {"in_channels": 2, "out_channels": 3, "num_params": 2, "dims": dims}
    if name.startswith("glow"):
        form = "affine" if name == "glow affine" else "none"
        return GlowNet(**shared, context=context, filters=8, normalization=form, **options)
    if name.startswith("resnet"):
        form = "none" if name == "resnet plain" else "batch"
        return ConvResNet(
            **shared, context=context, filters=8, blocks=2, normalization=form, **options
        )
    form = {"attention": False} if name == "gated" else {"heads": 2, "spatial": EXTENTS[dims]}
    return GatedAttentionNet(**shared, context=context, filters=8, blocks=2, **form, **options)


NAMES = ["glow", "glow affine", "resnet", "resnet plain", "gated", "gated attention"]
nets = pytest.mark.parametrize("name", NAMES)


def redrawn(name, dims=2, context=None, **options):
    """In evaluation, with weights of N(0, 0.3²) and the statistics of some data."""
    net = build(name, dims, context, **options).eval()
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.3)
    for key, statistic in net.named_buffers():
        if key.endswith("running_mean"):
            nn.init.normal_(statistic, std=0.3)
        elif key.endswith("running_var"):
            nn.init.uniform_(statistic, 0.5, 2.0)
    return net


@nets
@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("batch", [(), (2,), (2, 3), (2, 0)])
def test_shapes_and_zero_start(name, dims, batch):
    net = build(name, dims).eval()
    out = net(torch.randn(*batch, 2, *EXTENTS[dims]))
    assert out.shape == (*batch, 3, *EXTENTS[dims], 2)
    assert not out.any() and out._is_view()
    assert net.context_shape is None and net.repeatable


@nets
def test_zero_start_in_training(name):
    out = build(name)(torch.randn(4, 2, 4, 3))
    assert out.abs().max() == 0


@nets
def test_extents_are_free(name):
    net, x = redrawn(name), torch.randn(2, 2, 5, 2)
    if name == "gated attention":
        with pytest.raises(ValueError, match=r"made for spatial extents \(4, 3\), got \(5, 2\)"):
            net(x)
    else:
        assert net(x).shape == (2, 3, 5, 2, 2)


@nets
@pytest.mark.parametrize("dims", [1, 2, 3])
def test_rows_do_not_see_each_other(name, dims):
    net, x = redrawn(name, dims).double(), torch.randn(2, 3, 2, *EXTENTS[dims]).double()
    out = net(x)
    assert out.dtype == torch.float64
    torch.testing.assert_close(out[1, 2], net(x[1, 2]))
    changed = x.clone()
    changed[0, 0] += 1
    torch.testing.assert_close(net(changed)[1], out[1], rtol=0, atol=0)
    assert not torch.allclose(net(changed)[0, 0], out[0, 0])


def test_parameters_are_where_their_channels_are():
    net, x = redrawn("glow"), torch.randn(5, 2, 4, 3)
    first, second, last = (getattr(net, name) for name in ("first", "second", "exit"))
    raw = last(torch.relu(second(torch.relu(first(x)))))
    torch.testing.assert_close(net(x)[:, 1, ..., 0], raw[:, 2])  # output 2 c + p
    torch.testing.assert_close(net(x)[:, 1, ..., 1], raw[:, 3])


CONTEXTS = {
    "vector": (3, lambda batch: torch.randn(*batch, 3)),
    "larger image": ((2, None, None), lambda batch: torch.randn(*batch, 2, 8, 9)),
    "smaller image": ((2, 2, 2), lambda batch: torch.randn(*batch, 2, 2, 2)),
    "dict": (
        {"class": (3,), "number": (), "image": (1, 4, 6)},
        lambda batch: {
            "class": torch.randn(*batch, 3),
            "number": torch.randn(batch),
            "image": torch.randn(*batch, 1, 4, 6),
        },
    ),
}


@nets
@pytest.mark.parametrize("kind", CONTEXTS)
def test_context_matters(name, kind):
    declared, draw = CONTEXTS[kind]
    net, x = redrawn(name, context=declared), torch.randn(5, 2, 4, 3)
    context, other = draw((5,)), draw((5,))
    out = net(x, context)
    assert out.shape == (5, 3, 4, 3, 2)
    assert not torch.allclose(out, net(x, other))
    if kind == "dict":
        assert net.context_shape == {"class": (3,), "number": (), "image": (1, 4, 6)}
        for part in context:
            assert not torch.allclose(out, net(x, {**context, part: other[part]}))
    # A row's context is its own, and one context serves all rows as well.
    row = {k: v[2] for k, v in context.items()} if kind == "dict" else context[2]
    torch.testing.assert_close(net(x, row)[2], out[2], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(net(x[2], context)[2], out[2], rtol=1e-4, atol=1e-5)


@nets
def test_every_block_of_gated_nets_sees_the_context(name):
    net = redrawn(name, context=3)
    blocks = 3 if "gated" in name else 1
    weight = net.get_parameter("context_map.vector.weight")
    assert weight.shape == (blocks * 8, 3)
    out = net(torch.randn(2, 2, 4, 3), torch.randn(2, 3))
    (gradient,) = torch.autograd.grad(out.square().sum(), weight)
    assert all(part.any() for part in gradient.chunk(blocks))


@nets
@pytest.mark.parametrize("context", [(3, 4), (1, 4, 4, 4), {"a": 2, "b": (3, 4)}, (None, 4, 4)])
def test_bad_contexts_are_refused(name, context):
    with pytest.raises(ValueError, match="ContextMap"):
        build(name, context=context)


@nets
def test_bad_inputs_are_refused(name):
    net = build(name, context=3)
    with pytest.raises(ValueError, match=r"expected shape \(\*batch, 2, \?, \?\), got \(5, 3, 4\)"):
        net(torch.randn(5, 3, 4), torch.randn(3))
    with pytest.raises(TypeError, match="needs a context"):
        net(torch.randn(5, 2, 4, 3))
    with pytest.raises(ValueError, match="context must have shape"):
        net(torch.randn(5, 2, 4, 3), torch.randn(5, 4))
    with pytest.raises(ValueError, match="do not broadcast"):
        net(torch.randn(5, 2, 4, 3), torch.randn(4, 3))


@nets
@pytest.mark.parametrize("dims", [1, 2, 3])
def test_gradients_reach_every_parameter(name, dims):
    net = redrawn(name, dims, context={"a": 3, "b": (1, *(None,) * dims)})
    context = {"a": torch.randn(4, 3), "b": torch.randn(4, 1, *(3,) * dims)}
    net(torch.randn(4, 2, *EXTENTS[dims]), context).square().sum().backward()
    unused = [k for k, p in net.named_parameters() if p.grad is None or not p.grad.any()]
    assert not unused


@nets
def test_second_derivatives(name):
    net = redrawn(name).double()
    x = torch.randn(1, 2, 4, 3, dtype=torch.float64)
    weights = torch.randn(1, 3, 4, 3, 2, dtype=torch.float64)

    def slope(x, along):
        out = (net(x).sin() * weights).sum()
        return (torch.autograd.grad(out, x, create_graph=True)[0] * along).sum()

    one, other = torch.randn_like(x), torch.randn_like(x)
    leaf = x.clone().requires_grad_()
    exact = (torch.autograd.grad(slope(leaf, one), leaf)[0] * other).sum()
    step = 1e-6
    ahead, behind = ((x + sign * step * other).requires_grad_() for sign in (1, -1))
    found = (slope(ahead, one) - slope(behind, one)) / (2 * step)
    torch.testing.assert_close(exact, found.detach(), rtol=1e-4, atol=1e-5)


def test_attention():
    q, k, v = torch.randn(3, 2, 2, 7, 4, dtype=torch.float64).requires_grad_().unbind(0)
    torch.testing.assert_close(attention(q, k, v), _attention(q, k, v))
    weights = torch.randn(2, 2, 7, 4, dtype=torch.float64)
    found, expected = (
        torch.autograd.grad((form(q, k, v) * weights).sum(), (q, k, v))
        for form in (attention, _attention)
    )
    torch.testing.assert_close(found, expected)


def conv(ins, outs, width):
    return ins * outs * width**2 + outs


def test_parameter_counts():
    def count(net):
        return sum(parameter.numel() for parameter in net.parameters())

    glow = GlowNet(6, 6, 2, context=10)
    assert count(glow) == conv(6, 512, 3) + conv(512, 512, 1) + conv(512, 12, 3) + 12 + 5120

    resnet = ConvResNet(3, 3, 2)
    block = 64 * 64 * 9 + conv(64, 64, 3) + 64 + 2 * 128
    skips = 9 * (64 * 64 + 64) + 64
    entry = 2 * 3 + conv(6, 64, 3) + 64
    assert count(resnet) == entry + 8 * block + skips + 128 + conv(64, 6, 1)
    assert sum(g.numel() for g in resnet.weight_norm_scales()) == 64 * (1 + 8 + 9)

    # What the published code's first CIFAR-10 coupling has, and the lengths of its weights.
    gated = GatedAttentionNet(3, 3, 2 + 3 * 32, spatial=(32, 16))
    block = conv(192, 96, 3) + conv(192, 192, 1) + conv(96, 288, 1) + conv(96, 192, 1) + 4 * 96
    published = 96 * 32 * 16 + conv(3, 96, 3) + 10 * block + conv(96, 3 * 98, 3)
    assert published == 2_805_990
    assert count(gated) == published + 96 + 10 * (96 + 192 + 288 + 192)
    activated = GatedAttentionNet(3, 3, 2 + 3 * 32, spatial=(32, 16), exit_activation=True)
    assert count(activated) - count(gated) == 96 * 3 * 98 * 9


def test_realnvp_sees_what_is_kept_at_one_scale():
    """In training; of either sign."""
    x = torch.randn(6, 2, 4, 3)
    net = redrawn("resnet").train()
    torch.testing.assert_close(net(30 * x - 7), net(x), atol=1e-2, rtol=1e-2)
    plain = redrawn("resnet plain")
    assert (plain(-x.abs()) != plain(-2 * x.abs())).all()


def test_weight_norm_scales():
    net = ConvResNet(2, 3, 2, filters=4, blocks=2)
    scales = net.weight_norm_scales()
    assert all(any(g is p for p in net.parameters()) for g in scales)
    # first convolution, second of each block, every skip; the first of a block when not normalised
    assert len(scales) == 1 + 2 + 3
    plain = ConvResNet(2, 3, 2, filters=4, blocks=2, normalization="none")
    assert len(plain.weight_norm_scales()) == 1 + 4 + 3


@pytest.mark.traced
@pytest.mark.parametrize("name", ["glow", "resnet", "gated attention"])
def test_compiled_and_vmapped(name):
    net = redrawn(name, context={"a": 3, "b": (1, 8, 8)})
    x, context = torch.randn(5, 2, 4, 3), {"a": torch.randn(5, 3), "b": torch.randn(5, 1, 8, 8)}
    expected = net(x, context)
    torch._dynamo.reset()
    compiled = torch.compile(net, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(x, context), expected)
    mapped = torch.func.vmap(net)
    torch.testing.assert_close(mapped(x, context), expected, rtol=1e-4, atol=1e-5)
    groups = x[None], {k: v[None] for k, v in context.items()}
    torch.testing.assert_close(mapped(*groups)[0], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["glow", "resnet", "gated attention"])
def test_function_transforms(name):
    net, x = redrawn(name).double(), torch.randn(2, 4, 3, dtype=torch.float64)
    forward = torch.func.jacfwd(net)(x)
    torch.testing.assert_close(forward, torch.func.jacrev(net)(x))
    torch.testing.assert_close(forward, torch.autograd.functional.jacobian(net, x))


@nets
def test_autocast(name):
    net = redrawn(name, context=3)
    x, c = torch.randn(4, 2, 4, 3), torch.randn(4, 3)
    with torch.autocast("cpu", torch.bfloat16):
        out = net(x, c)
    assert out.dtype == torch.bfloat16
    out.float().square().sum().backward()
    exact = net(x, c)
    assert (out - exact).norm() < 0.05 * exact.norm()


@nets
def test_state_copies_and_pickles(name):
    net, other = redrawn(name, context=3), build(name, context=3).eval()
    x, c = torch.randn(4, 2, 4, 3), torch.randn(4, 3)
    expected = net(x, c)
    other.load_state_dict(net.state_dict())
    for twin in (other, pickle.loads(pickle.dumps(net)), copy.deepcopy(net)):
        assert torch.equal(twin(x, c), expected)
    assert torch.equal(net(x, c), expected)


def test_repeatable():
    assert build("glow").repeatable and build("resnet plain").repeatable
    assert not build("resnet").repeatable and build("resnet").eval().repeatable
    drops = build("gated attention", dropout=0.5)
    assert build("gated").repeatable and not drops.repeatable and drops.eval().repeatable


def test_dropout():
    net, x = redrawn("gated attention", dropout=0.5), torch.randn(4, 2, 4, 3)
    assert torch.equal(net(x), net(x))
    net.train()
    assert not torch.allclose(net(x), net(x))


def test_batch_statistics_are_of_events_and_positions():
    net = redrawn("resnet").train()
    x = torch.randn(2, 3, 2, 4, 3)
    torch.testing.assert_close(net(x).flatten(0, 1), net(x.flatten(0, 1)))
    assert net.get_buffer("norm.num_batches_tracked").item() == 2


@pytest.mark.parametrize(
    ("net", "options", "words"),
    [
        (GlowNet, {"dims": 4}, "dims must be 1, 2 or 3"),
        (GlowNet, {"in_channels": 0}, "in_channels must be a positive"),
        (GlowNet, {"filters": 0}, "filters must be a positive"),
        (GlowNet, {"normalization": "batch"}, "'none' or 'affine'"),
        (ConvResNet, {"blocks": 0}, "blocks must be a positive"),
        (ConvResNet, {"normalization": "layer"}, "'batch' or 'none'"),
        (GatedAttentionNet, {}, r"needs their extents, spatial=\(\?, \?\), got None"),
        (GatedAttentionNet, {"spatial": (4,)}, "needs their extents"),
        (GatedAttentionNet, {"spatial": (4, 0)}, "spatial must be a positive"),
        (GatedAttentionNet, {"spatial": (4, 4), "heads": 5}, "heads must divide filters"),
        (GatedAttentionNet, {"attention": False, "dropout": 1.0}, "dropout must be"),
    ],
)
def test_mistakes(net, options, words):
    with pytest.raises(ValueError, match=words):
        net(**{"in_channels": 2, "out_channels": 2, "num_params": 2, **options})


def test_a_coupling_takes_them():
    class Channels(Partition):
        event_shape, kept_shape, changed_shape = (5, 4, 3), (2, 4, 3), (3, 4, 3)

        def split(self, x):
            return x[..., :2, :, :], x[..., 2:, :, :]

        def merge(self, kept, changed):
            return torch.cat([kept, changed], -3)

    coupling = Coupling(Channels(), Affine(), redrawn("gated attention", context=3))
    x, c = torch.randn(2, 4, 5, 4, 3), torch.randn(4, 3)
    z, ladj = coupling(x, c)
    back, inverse = coupling.inverse(z, c)
    torch.testing.assert_close(back, x, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(inverse, -ladj)
