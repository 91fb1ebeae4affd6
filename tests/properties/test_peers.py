"""With weights copied over, log-densities equal those of zuko's and nflows' models.

Both peers spread the degrees of hidden units cyclically (1, 2, 3, 1, 2, …); here units are sorted
by degree. Copying sorts the peer's units, so that the widths are multiples of the number of
degrees: as many units of each on both sides.
"""

import math

import pytest
import torch
import zuko
from nflows.distributions import StandardNormal
from nflows.flows import Flow as PeerFlow
from nflows.transforms import (
    CompositeTransform,
    LULinear,
    MaskedPiecewiseRationalQuadraticAutoregressiveTransform,
    Permutation,
)
from torch import Tensor, nn

import diffeo
from diffeo.nets.made import MADE
from diffeo.scalars.spline import MIN_DERIVATIVE
from tests.properties.checks import close
from tests.properties.draws import context_for, points, redraw
from tests.tolerances import tolerance

D, C = 4, 3
DTYPES = [torch.float64, torch.float32]


def degrees_of(masks: list[Tensor]) -> list[Tensor]:
    """How many of the D variables the units of each layer see, by the masks of the layers."""
    seen, degrees = None, []
    for mask in masks:
        seen = mask.bool() if seen is None else (mask.double() @ seen.double()) > 0
        degrees.append(seen[:, :D].sum(1))
    return degrees


@torch.no_grad()
def copy_layers(
    net: MADE, layers: list[nn.Module], ours: list[nn.Module], *, context: int = 0
) -> None:
    """Weights of a peer's masked layers, first to last, into ours, units sorted by degree.

    Asserts that the masks, sorted so, are ours: else the networks would differ as functions.
    """
    orders = [
        degree.argsort(stable=True) for degree in degrees_of([layer.mask for layer in layers[:-1]])
    ]
    outputs = [*orders, torch.arange(layers[-1].weight.shape[0])]
    inputs: list[Tensor | None] = [None, *orders]
    for layer, own, rows, columns in zip(layers, ours, outputs, inputs, strict=True):
        weight, mask = layer.weight[rows], layer.mask[rows]
        if columns is None:
            if context:
                net.context_entry.weight.copy_(weight[:, D:])
            weight, mask = weight[:, :D], mask[:, :D]
        else:
            weight, mask = weight[:, columns], mask[:, columns]
        assert torch.equal(mask.bool(), own.mask.bool()), "the masks differ"
        own.weight.copy_(weight)
        own.bias.copy_(layer.bias[rows])


def agree(ours: Tensor, expected: Tensor, bound: float) -> None:
    """Log-densities differ by no more than bound · (1 + |log p|), and are of different sizes."""
    assert expected.std() > 1, "the densities say nothing"
    close(ours, expected, bound, "log_prob against the peer's")


def zuko_maf(context: int) -> tuple[nn.Module, diffeo.Density]:
    """zuko's MAF with weights drawn anew, and ours with the same."""
    width = 2 * D * (D - 1)
    peer = redraw(
        zuko.flows.MAF(D, context, transforms=3, hidden_features=(width, 2 * width)), seed=2
    )
    ours = diffeo.create(
        "maf",
        features=D,
        context=context or None,
        transforms=3,
        hidden=(width, 2 * width),
        activation="relu",
        base="normal",
    )
    for step, part in zip(peer.transform.transforms, ours.bijection.parts, strict=True):
        layers = [layer for layer in step.hyper if hasattr(layer, "mask")]
        copy_layers(
            part.net, layers, [part.net.entry, *part.net.layers, part.net.exit], context=context
        )
    return peer, ours


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("context", [0, C])
def test_maf_is_zukos(context, dtype):
    peer, ours = zuko_maf(context)
    peer, ours = peer.to(dtype), ours.to(dtype)
    x = points(None, (200, D), dtype, spread=3.0)
    c = context_for((context,) if context else None, (200,), dtype)
    expected = (peer() if c is None else peer(c)).log_prob(x)
    bound = tolerance("peer", "maf", dtype)
    agree(ours.log_prob(x, c), expected, bound)


def nflows_nsf(residual: bool, bins: int = 5) -> tuple[nn.Module, diffeo.Density]:
    """nflows' autoregressive splines with linear maps between, and ours with the same weights."""
    width, steps = 2 * (D - 1), 2
    ours = diffeo.create(
        "nsf",
        features=D,
        transforms=steps,
        hidden=(width,) * (2 if residual else 3),
        bins=bins,
        affine=False,
        residual=residual,
        base="normal",
    ).double()  # bounds are converted in copying, which float32 would round
    linears, splines = ours.bijection.parts[::2], ours.bijection.parts[1::2]
    transforms: list[nn.Module] = []
    for linear, spline in zip(linears[:-1], splines, strict=True):
        transforms += nflows_linear(linear)
        peer = MaskedPiecewiseRationalQuadraticAutoregressiveTransform(
            D,
            width,
            num_bins=bins,
            tails="linear",
            tail_bound=3.0,
            num_blocks=2,
            use_residual_blocks=residual,
        )
        redraw(peer.double(), seed=len(transforms))
        copy_spline(peer.autoregressive_net, spline.net, residual, bins)
        transforms.append(peer)
    transforms += nflows_linear(linears[-1])
    return PeerFlow(CompositeTransform(transforms), StandardNormal([D])), ours


@torch.no_grad()
def nflows_linear(ours: nn.Module) -> list[nn.Module]:
    """nflows' L U x + b and then its permutation, and their numbers into ours, P (L U x + b)."""
    peer = redraw(LULinear(D, identity_init=False).double(), seed=7)
    lower, upper = peer._create_lower_upper()
    log_scale = upper.diagonal().log()
    ours.entries.copy_(lower.tril(-1) + upper.triu(1))
    ours.entries.diagonal().copy_(log_scale / (1 - log_scale.abs() / ours.log_scale_bound))
    order = ours.permutation.order
    ours.bias.copy_(peer.bias[order])
    return [peer, Permutation(order)]


@torch.no_grad()
def copy_spline(peer: nn.Module, net: MADE, residual: bool, bins: int) -> None:
    """A network of nflows into ours, whose derivatives are 1 and not softplus(0) at 0."""
    if residual:
        inner = [layer for block in peer.blocks for layer in block.linear_layers]
        own = [layer for pair in net.layers for layer in pair]
    else:
        inner, own = [block.linear for block in peer.blocks], list(net.layers)
    copy_layers(net, [peer.initial_layer, *inner, peer.final_layer], [net.entry, *own, net.exit])
    offset = math.log(math.expm1(1 - MIN_DERIVATIVE))
    net.exit.bias.view(D, -1)[:, 2 * bins :] -= offset


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("residual", [True, False], ids=["residual", "plain"])
def test_nsf_is_nflows(residual, dtype):
    peer, ours = nflows_nsf(residual)
    peer, ours = peer.to(dtype), ours.to(dtype)
    x = points(None, (200, D), dtype, spread=1.5)
    expected = peer.log_prob(x)
    bound = tolerance("peer", "nsf", dtype)
    agree(ours.log_prob(x), expected, bound)


def test_samples_of_ours_are_likely_under_the_peer():
    """The same density of our samples: the inverse, too, is the peer's."""
    peer, ours = zuko_maf(0)
    x, log_prob = ours.double().sample_and_log_prob(100)
    expected = peer.double()().log_prob(x)
    agree(log_prob, expected, tolerance("peer", "maf", torch.float64))
