"""Named models of images, signals and volumes: NICE, RealNVP, Glow and Flow++."""

from collections.abc import Callable, Sequence
from functools import partial

from torch import nn

from diffeo.bases import Logistic, Normal, StudentT
from diffeo.bijections.base import Bijection
from diffeo.bijections.chain import Chain
from diffeo.bijections.convolution import FORMS, InvertibleConv
from diffeo.bijections.multiscale import MultiScale
from diffeo.bijections.normalization import ActNorm
from diffeo.bijections.partition import Channels, Checkerboard, Lattice, Partition
from diffeo.bijections.squeeze import Flatten, Squeeze
from diffeo.contexts import ContextArgument, as_context_shape
from diffeo.density import Density, Flow
from diffeo.models.coupling import DINH_2014, DINH_2016, KINGMA_2018
from diffeo.models.coupling import nice as nice_of_vectors
from diffeo.models.image_parts import (
    MakeNet,
    attentive,
    convolutional,
    image_coupling,
    image_normalization,
    image_shape,
    last_prior,
    prior_given_rest,
    squeezes_of,
)
from diffeo.models.parts import at_least, one_of, scalar_named
from diffeo.models.registry import register
from diffeo.nets.bounded_scale import TanhScale
from diffeo.nets.glow import GlowNet
from diffeo.nets.resnet import ConvResNet

HO_2019 = (
    "Ho, Chen, Srinivas, Duan & Abbeel, 2019, Flow++: Improving Flow-Based Generative Models with "
    "Variational Dequantization and Architecture Design, arXiv:1902.00275"
)
IMAGE_BASES = ("normal", "logistic", "student_t")
BOARDS = ("checkerboard", "columns", "lattice")
LINEARS = ("none", *FORMS)


@register(
    "nice",
    images=True,
    logit=False,
    reference=DINH_2014,
    presets={
        "mnist": {"transforms": 4, "hidden": (1000,) * 5, "levels": 256},
        "cifar10": {"transforms": 4, "hidden": (2000,) * 4, "levels": 256},
    },
)
def nice(
    shape: Sequence[int],
    context: ContextArgument = None,
    *,
    transforms: int = 4,
    hidden: Sequence[int] = (256, 256, 256),
    partition: str = "alternate",
    base: str = "logistic",
    activation: str = "relu",
) -> Flow:
    """Additive couplings of all pixels, then a learned scale for each (NICE).

    The image is a vector to it; the options are those of its form for vectors, and the scales start
    where each pixel of the data has unit variance.

    Args:
        shape: (channels, *space).
        context: what to condition on.
        transforms: number of couplings.
        hidden: widths of each coupling's network.
        partition: "alternate" (odd and even, the paper's), "halves" or "random".
        base: one of `diffeo.models.parts.BASES`; the paper's is logistic.
        activation: of the networks.
    """
    flatten = Flatten(image_shape("nice", tuple(shape)))
    flow = nice_of_vectors(
        flatten.output_shape(tuple(shape)),  # type: ignore[arg-type]
        context,
        transforms=transforms,
        hidden=hidden,
        partition=partition,
        base=base,
        activation=activation,
    )
    bijection = Chain(flatten, *flow.bijection.parts)  # type: ignore[union-attr]
    return Flow(flow.base, bijection, context=flow.context_shape, context_net=flow.context_net)  # type: ignore[arg-type]


@register(
    "realnvp",
    images=True,
    logit=0.05,
    reference=DINH_2016,
    presets={
        "cifar10": {"scales": 2, "blocks": 8, "filters": 64, "levels": 256},
        "imagenet32": {"scales": 4, "blocks": 4, "filters": 32, "levels": 256},
        "imagenet64": {"scales": 5, "blocks": 2, "filters": 32, "levels": 256},
    },
)
def realnvp(
    shape: Sequence[int],
    context: ContextArgument = None,
    *,
    scales: int | None = None,
    filters: int = 32,
    blocks: int = 2,
    scalar: str = "affine",
    normalization: str = "batch",
    net_normalization: str = "batch",
    components: int = 8,
    base: str = "normal",
) -> Flow:
    """Affine couplings over checkerboards and channels, in several scales (RealNVP).

    Each scale but the last: 3 couplings over a checkerboard, a squeeze, 3 over channels, and half
    of the channels leave. The last: 4 couplings over a checkerboard. Each coupling's log-scales are
    γ tanh a, γ learned, and a normalisation follows it.

    Args:
        shape: (channels, *space).
        context: what to condition on: vectors, images (channels, *space), or a dict of those.
        scales: how many, the last included; None: one more than space can be squeezed, 3 at most.
            The paper's presets go down to 4×4 pixels, but for CIFAR-10.
        filters: channels of the first scale's networks; twice as many after every squeeze.
        blocks: residual blocks of each network.
        scalar: one of `diffeo.models.parts.SCALARS`.
        normalization: "batch" (the paper's), "actnorm" or "none", after each coupling.
        net_normalization: "batch" (the paper's) or "none", in the networks.
        components: of a logistic mixture, where that is the scalar.
        base: "normal", "logistic" or "student_t".
    """
    event = image_shape("realnvp", tuple(shape))
    at_least("realnvp", 1, filters=filters, blocks=blocks, components=components)
    if scales is not None:
        at_least("realnvp", 1, scales=scales)
    squeezes = squeezes_of("realnvp", event, None if scales is None else scales - 1, most=2)
    declared, dims = as_context_shape(context), len(event) - 1

    def coupling(board: bool, index: int, shape: Sequence[int], width: int) -> list[Bijection]:
        kind = Checkerboard if board else Channels
        tau = scalar_named("realnvp", scalar, components=components)
        options = {"filters": width, "blocks": blocks, "normalization": net_normalization}
        make = convolutional(ConvResNet, dims, context=declared, **options)
        made = make if scalar != "affine" else _bounded(make)
        return [
            image_coupling(kind(shape, flip=index % 2 == 1), tau, made),
            *image_normalization("realnvp", normalization, shape),
        ]

    chains: list[Bijection] = []
    inside: tuple[int, ...] = event
    width = filters
    for _ in range(squeezes):
        parts = [part for i in range(3) for part in coupling(True, i, inside, width)]
        squeezed: tuple[int, ...] = Squeeze(dims).output_shape(inside)  # type: ignore[assignment]
        width *= 2
        parts.append(Squeeze(dims))
        parts += [part for i in range(3) for part in coupling(False, i, squeezed, width)]
        chains.append(Chain(*parts))
        inside = (squeezed[0] // 2, *squeezed[1:])
    last = [part for i in range(4) for part in coupling(True, i, inside, width)]
    return _image_flow("realnvp", event, [*chains, Chain(*last)], base, context)


GLOW_PAPER = {"filters": 512, "levels": 256}


@register(
    "glow",
    images=True,
    logit=False,
    reference=KINGMA_2018,
    presets={
        "cifar10": {"steps": 32, "scales": 3, **GLOW_PAPER},
        "imagenet32": {"steps": 48, "scales": 3, **GLOW_PAPER},
        "imagenet64": {"steps": 48, "scales": 4, **GLOW_PAPER},
    },
)
def glow(
    shape: Sequence[int],
    context: ContextArgument = None,
    *,
    scales: int | None = None,
    steps: int = 8,
    filters: int = 128,
    scalar: str = "sigmoid_affine",
    linear: str = "full",
    normalization: str = "actnorm",
    net_normalization: str = "affine",
    components: int = 8,
    bins: int = 8,
    base: str = "normal",
) -> Flow:
    """Steps of actnorm, 1×1 convolution and coupling, in several scales (Glow).

    Each scale: a squeeze, the steps, and half of the channels leave, standardised by a prior that
    is one convolution of those that stay; at the end a learned mean and scale of every element,
    which a context vector shifts.

    Args:
        shape: (channels, *space); images, signals or volumes.
        context: what to condition on: vectors (a class as one-hot), images (channels, *space), or a
            dict of those.
        scales: L, how often space is squeezed; None: as often as it can be, at most 3.
        steps: K, in each scale.
        filters: channels of the couplings' networks.
        scalar: "sigmoid_affine" (the paper's code), "additive" (the paper's other), or another of
            `diffeo.models.parts.SCALARS`.
        linear: "full", "lu" (the paper's two), "qr", or what the paper compares with: "reverse" and
            "permutation", which are fixed, and "none".
        normalization: "actnorm", "batch" or "none", before each 1×1 convolution.
        net_normalization: "affine", a learned scale and shift in the couplings' networks where the
            paper's code has actnorm, or "none".
        components: of a logistic mixture, where that is the scalar.
        bins: of a spline, where that is the scalar.
        base: "normal", "logistic" or "student_t".
    """
    event = image_shape("glow", tuple(shape))
    at_least("glow", 1, steps=steps, filters=filters, components=components, bins=bins)
    at_least("glow", 1, scales=1 if scales is None else scales)
    one_of("glow", "linear", linear, LINEARS)
    count, declared, dims = (
        squeezes_of("glow", event, scales, most=3),
        as_context_shape(context),
        len(event) - 1,
    )
    if not count:
        squeezes_of("glow", event, 1, most=1)
    options = {"filters": filters, "normalization": net_normalization}
    make = convolutional(GlowNet, dims, context=declared, **options)
    chains: list[Bijection] = []
    inside: tuple[int, ...] = event
    for scale in range(count):
        inside = Squeeze(dims).output_shape(inside)  # type: ignore[assignment]
        parts: list[Bijection] = [Squeeze(dims)]
        for _ in range(steps):
            parts += image_normalization("glow", normalization, inside)
            parts += [] if linear == "none" else [InvertibleConv(inside[0], dims, linear)]
            tau = scalar_named("glow", scalar, components=components, bins=bins)
            parts.append(image_coupling(Channels(inside), tau, make))
        if scale + 1 < count:
            parts.append(prior_given_rest(inside, declared))
            inside = (inside[0] // 2, *inside[1:])
        else:
            parts.append(last_prior(inside, declared, filters))
        chains.append(Chain(*parts))
    return _image_flow("glow", event, chains, base, context)


@register(
    "flowpp",
    images=True,
    logit=0.05,
    reference=HO_2019,
    presets={
        "cifar10": {
            "filters": 96,
            "blocks": 10,
            "components": 32,
            "dropout": 0.2,
            "levels": 256,
            "dequantization": "variational",
            "noise": {"filters": 96, "blocks": 2, "components": 32, "attention": True},
        },
        "imagenet32": {
            "couplings": (7, 3, 3),
            "filters": 128,
            "blocks": 20,
            "components": 32,
            "exit_activation": True,
            "levels": 256,
            "dequantization": "variational",
            "noise": {
                "couplings": 8,
                "filters": 128,
                "blocks": 8,
                "components": 32,
                "attention": True,
                "exit_activation": True,
                "encoder_blocks": 8,
                "encoder_attention": True,
            },
        },
        "imagenet64": {
            "couplings": (0, 0, 4, 2, 2, 2, 2),
            "filters": 96,
            "blocks": 16,
            "components": 4,
            "exit_activation": True,
            "levels": 256,
            "dequantization": "variational",
            "noise": {
                "couplings": 4,
                "filters": 96,
                "blocks": 5,
                "components": 4,
                "exit_activation": True,
                "encoder_blocks": 5,
            },
        },
    },
)
def flowpp(
    shape: Sequence[int],
    context: ContextArgument = None,
    *,
    couplings: Sequence[int] = (4, 2, 3),
    partition: str = "checkerboard",
    filters: int = 32,
    blocks: int = 2,
    components: int = 8,
    attention: bool = True,
    heads: int = 4,
    dropout: float = 0.0,
    exit_activation: bool = False,
    scalar: str = "logistic_mixture",
    base: str = "normal",
) -> Flow:
    """Couplings of logistic mixtures with gated, attentive networks (Flow++).

    Couplings over a checkerboard, a squeeze, over channels, and over a checkerboard; before each an
    actnorm of every element and a 1×1 convolution. Nothing leaves on the way.

    Args:
        shape: (channels, *space), the extents of space multiples of 2 for each squeeze, the last
            of twice as much where couplings over a checkerboard follow.
        context: what to condition on: vectors, images (channels, *space), or a dict of those.
        couplings: how many over a checkerboard, over channels after a squeeze, and over a
            checkerboard then; two more numbers for each further squeeze.
        partition: what stands for a checkerboard: "checkerboard", as in the paper; "columns", every
            other column, as in the paper's code; or "lattice", a checkerboard, rows and columns in
            turn, laid out by blocks of 2 (`Lattice`), better where images are small.
        filters: channels of the networks.
        blocks: of each network.
        components: of the mixtures.
        attention: whether the networks have self-attention; the paper's do.
        heads: of attention.
        dropout: rate in the networks.
        exit_activation: whether the networks' last layer sees elu([h, −h]) rather than h.
        scalar: one of `diffeo.models.parts.SCALARS`.
        base: "normal", "logistic" or "student_t".
    """
    event = image_shape("flowpp", tuple(shape))
    at_least("flowpp", 1, filters=filters, blocks=blocks, components=components)
    if len(couplings) % 2 == 0 or any(not isinstance(n, int) or n < 0 for n in couplings):
        raise ValueError(
            "flowpp: couplings must be an odd number of whole numbers (over a checkerboard, then, "
            f"for each squeeze, over channels and over a checkerboard), got {tuple(couplings)}"
        )
    squeezes = len(couplings) // 2
    squeezes_of("flowpp", event, squeezes, most=squeezes)
    for done, count in enumerate(couplings[::2]):
        if count and event[-1] % 2 ** (done + 1):
            raise ValueError(
                f"flowpp: couplings over a checkerboard, {done} squeezes on, need a last extent "
                f"that is a multiple of {2 ** (done + 1)}; got shape {event}"
            )
    one_of("flowpp", "partition", partition, BOARDS)
    dims = len(event) - 1
    make = attentive(
        dims,
        context=as_context_shape(context),
        filters=filters,
        blocks=blocks,
        attention=attention,
        heads=heads,
        dropout=dropout,
        exit_activation=exit_activation,
    )

    def run(board: bool, count: int, shape: Sequence[int]) -> list[Bijection]:
        parts: list[Bijection] = []
        for i in range(count):
            tau = scalar_named("flowpp", scalar, components=components)
            kind = _board(partition, dims, i // 2) if board else Channels
            parts += [
                ActNorm(shape),  # type: ignore[arg-type]
                InvertibleConv(shape[0], dims, start="identity"),
                image_coupling(kind(shape, flip=i % 2 == 1), tau, make),
            ]
        return parts

    inside: tuple[int, ...] = event
    parts = run(True, couplings[0], inside)
    for over_channels, over_board in zip(couplings[1::2], couplings[2::2], strict=True):
        inside = Squeeze(dims).output_shape(inside)  # type: ignore[assignment]
        parts += [
            Squeeze(dims),
            *run(False, over_channels, inside),
            *run(True, over_board, inside),
        ]
    return _image_flow("flowpp", event, [Chain(*parts)], base, context)


def _board(partition: str, dims: int, turn: int) -> Callable[..., Partition]:
    """What stands for a checkerboard in a pair of couplings, the turn-th."""
    if partition == "checkerboard":
        return Checkerboard
    if partition == "columns":
        return partial(Lattice, along=(dims - 1,))
    along = [tuple(range(dims)), *((axis,) for axis in range(dims))] if dims > 1 else [(0,)]
    return partial(Lattice, along=along[turn % len(along)])


def _image_flow(
    name: str,
    event: tuple[int, ...],
    scales: Sequence[Bijection],
    base: str,
    context: ContextArgument,
) -> Flow:
    """The flow of those scales onto a standard base of vectors."""
    one_of(name, "base", base, IMAGE_BASES)
    bijection = MultiScale(event, *scales)
    latent = bijection.output_shape(event)
    made: Density = {"normal": Normal, "logistic": Logistic, "student_t": StudentT}[base](latent)  # type: ignore[arg-type]
    return Flow(made, bijection, context=as_context_shape(context))  # type: ignore[arg-type]


def _bounded(make: MakeNet) -> MakeNet:
    """The networks with RealNVP's bound on log-scales."""

    def bounded(inside: int, outside: int, num_params: int, spatial: tuple[int, ...]) -> nn.Module:
        return TanhScale(make(inside, outside, num_params, spatial=spatial), outside)

    return bounded
