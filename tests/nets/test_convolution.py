"""The pieces of convolutional conditioners, against what their formulas say written out slowly."""

import itertools
import math
import pickle

import pytest
import torch
from torch import nn

from diffeo.nets.convolution import (
    ChannelAffine,
    ChannelNorm,
    ContextMap,
    WeightNormConv,
    ZeroConv,
    as_batch,
    as_one_batch,
    convolution,
    resize,
    zero_convolution,
)

EXTENTS = {1: (5,), 2: (4, 3), 3: (3, 2, 4)}


def redraw(module):
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.3)
    return module


def slow_convolution(x, weight):
    """Σ over channels and offsets, what lies outside being zero."""
    middle = weight.shape[-1] // 2
    out = x.new_zeros(x.shape[0], weight.shape[0], *x.shape[2:])
    for at in itertools.product(*(range(n) for n in x.shape[2:])):
        for offset in itertools.product(range(weight.shape[-1]), repeat=x.dim() - 2):
            place = tuple(a + o - middle for a, o in zip(at, offset, strict=True))
            if all(0 <= p < n for p, n in zip(place, x.shape[2:], strict=True)):
                out[(..., *at)] += x[(..., *place)] @ weight[(..., *offset)].T
    return out


def weight_of(layer):
    return layer.weight


def column(values, dims):
    return values.view(-1, *(1,) * dims)


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_zero_conv(dims):
    layer = ZeroConv(dims, 3, 2).double()
    x = torch.randn(2, 3, *EXTENTS[dims], dtype=torch.float64)
    assert layer(x).abs().max() == 0
    redraw(layer)
    raw, bound = 3 * layer.log_scale, math.log(1000)
    scale = (raw / (1 + raw.abs() / bound)).exp()
    plain = slow_convolution(x, layer.weight) + column(layer.bias, dims)
    torch.testing.assert_close(layer(x), plain * column(scale, dims))


def test_the_scale_of_zero_conv_is_bounded():
    layer = redraw(ZeroConv(1, 1, 1))
    x, outs = torch.randn(2, 1, 4), []
    for s in (0.0, 1e6, -1e6):
        nn.init.constant_(layer.log_scale, s)
        outs.append(layer(x))
    torch.testing.assert_close(outs[1], 1000 * outs[0], rtol=1e-3, atol=0)
    torch.testing.assert_close(outs[2], outs[0] / 1000, rtol=1e-3, atol=0)


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("scale", [True, False])
def test_weight_norm_conv(dims, scale):
    layer = redraw(WeightNormConv(dims, 3, 2, gain=1.5, scale=scale).double())
    x = torch.randn(2, 3, *EXTENTS[dims], dtype=torch.float64)
    g = torch.full((2,), 1.5) if layer.g is None else layer.g
    assert (layer.g is not None) == scale
    weight = torch.stack([g[i] * layer.v[i] / layer.v[i].norm() for i in range(2)])
    torch.testing.assert_close(layer(x), slow_convolution(x, weight) + column(layer.bias, dims))


def test_weight_norm_conv_starts_at_its_gain_and_survives_zeros():
    layer = WeightNormConv(2, 8, 64, gain=2.0)
    inside = layer(torch.randn(64, 8, 5, 5))[..., 1:-1, 1:-1]
    assert inside.std().item() == pytest.approx(2.0, rel=0.05)
    nn.init.zeros_(layer.v)
    (gradient,) = torch.autograd.grad(layer(torch.randn(1, 8, 5, 5)).sum(), layer.v)
    assert gradient.isfinite().all()
    assert pickle.loads(pickle.dumps(layer)).gain == 2.0


def test_channel_affine_and_norm():
    x = torch.randn(2, 3, 4, 5)
    affine, norm = ChannelAffine(3, 2), ChannelNorm(3)
    torch.testing.assert_close(affine(x), x)
    affine, norm = redraw(affine), redraw(norm)
    torch.testing.assert_close(affine(x)[:, 1], x[:, 1] * affine.scale[1] + affine.shift[1])
    centred = x - x.mean(1, keepdim=True)
    normal = centred / (centred.square().mean(1, keepdim=True) + 1e-5).sqrt()
    expected = normal * column(norm.norm.weight, 2) + column(norm.norm.bias, 2)
    torch.testing.assert_close(norm(x), expected)


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("width", [1, 3])
def test_convolutions_keep_the_extents(dims, width):
    x = torch.randn(2, 3, *EXTENTS[dims])
    assert convolution(dims, 3, 4, width)(x).shape == (2, 4, *EXTENTS[dims])
    out = zero_convolution(dims, 3, 4, width)(x)
    assert out.shape == (2, 4, *EXTENTS[dims]) and out.abs().max() == 0


def test_resize():
    x = torch.arange(8.0).reshape(1, 1, 2, 4)
    torch.testing.assert_close(resize(x, (1, 2)), torch.tensor([[[[2.5, 4.5]]]]))
    twice = x.repeat_interleave(2, 2).repeat_interleave(2, 3)
    torch.testing.assert_close(resize(x, (4, 8)), twice)
    mixed = torch.tensor([[0.5, 2.5], [4.5, 6.5]]).repeat_interleave(2, 0)[None, None]
    torch.testing.assert_close(resize(x, (4, 2)), mixed)
    assert resize(x, (2, 4)) is x


@pytest.mark.parametrize("batch", [(), (2,), (2, 3), (2, 0)])
def test_batches(batch):
    x = torch.randn(*batch, 4, 5)
    one = as_one_batch(x, len(batch))
    assert one.shape == (math.prod(batch), 4, 5)
    assert torch.equal(as_batch(one, batch), x)


class TestContextMap:
    def test_vectors(self):
        map_ = redraw(ContextMap({"number": (), "vector": 3}, 4, 2))
        context = {"number": torch.randn(5), "vector": torch.randn(5, 3)}
        joined = torch.cat([context["number"][:, None], context["vector"]], -1)
        out = map_(context, (5,), (8, 8))
        torch.testing.assert_close(out, (joined @ weight_of(map_.vector).T)[..., None, None])

    @pytest.mark.parametrize("dims", [1, 2, 3])
    def test_spatial(self, dims):
        map_ = redraw(ContextMap((3, *(None,) * dims), 4, dims))
        wide = torch.randn(2, 3, *(2 * n for n in EXTENTS[dims]))
        out = map_(wide, (2,), EXTENTS[dims])
        pooled = resize(wide, EXTENTS[dims])
        torch.testing.assert_close(out, slow_convolution(pooled, weight_of(map_.spatial)))

    def test_parts_of_both_kinds_and_other_batches(self):
        map_ = redraw(ContextMap({"a": (2, 4, 4), "b": (1, None, None), "c": 3}, 5, 2))
        context = {"a": torch.randn(2, 1, 2, 4, 4), "b": torch.randn(1, 8, 2), "c": torch.eye(3)}
        out = map_(context, (2, 3), (4, 4))
        assert out.shape == (6, 5, 4, 4)
        one = {"a": context["a"][1, 0], "b": context["b"], "c": context["c"][2]}
        torch.testing.assert_close(out[5:], map_(one, (), (4, 4)))

    def test_one_context_for_all_stays_one(self):
        assert ContextMap(3, 4, 2)(torch.randn(3), (7, 2), (5, 5)).shape == (1, 4, 1, 1)

    def test_whole_numbers(self):
        map_ = ContextMap({"class": 3, "image": (1, 2)}, 4, 1)
        context = {"class": torch.eye(3).long(), "image": torch.ones(3, 1, 2, dtype=torch.bool)}
        floats = {name: part.float() for name, part in context.items()}
        torch.testing.assert_close(map_(context, (3,), (4,)), map_(floats, (3,), (4,)))

    @pytest.mark.parametrize(
        ("context", "words"),
        [
            (None, "no context"),
            ((3, 4), "must be a vector"),
            ({"speech": (80, None)}, "speech must be a vector"),
            ((3, 4, 4, 4), "must be a vector"),
            ((None,), "known number of features"),
            ((None, 4, 4), "known number of channels"),
        ],
    )
    def test_mistakes(self, context, words):
        with pytest.raises(ValueError, match=words):
            ContextMap(context, 4, 2)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((4, 1, 1), "dims must be 1, 2 or 3"),
        ((2, 0, 1), "in_channels must be a positive"),
        ((2, 1, 0), "out_channels must be a positive"),
        ((2, 1, 1, 2), "width must be odd"),
    ],
)
@pytest.mark.parametrize("build", [ZeroConv, WeightNormConv, convolution])
def test_mistakes(build, arguments, words):
    with pytest.raises(ValueError, match=words):
        build(*arguments)
