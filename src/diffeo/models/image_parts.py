"""What the models of images share: couplings of images, scales, and the noise that is learned."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from diffeo.bijections.base import Bijection
from diffeo.bijections.chain import Chain, Inverse
from diffeo.bijections.coupling import Coupling
from diffeo.bijections.elementwise import Elementwise
from diffeo.bijections.fixed import Logit
from diffeo.bijections.normalization import ActNorm, BatchNorm
from diffeo.bijections.partition import Channels, Checkerboard, Partition
from diffeo.bijections.variational import VariationalDequantize
from diffeo.contexts import ContextArgument, ContextShape, Shape, known_shape
from diffeo.models.parts import NORMALIZATIONS, one_of
from diffeo.nets.gated_attention import GatedAttentionNet
from diffeo.nets.mlp import MLP
from diffeo.nets.prior import ConvPrior
from diffeo.scalars import Affine, LogisticMixture, ScalarMap
from diffeo.supports import Support

MakeNet = Callable[..., nn.Module]
"""Called as make(in_channels, out_channels, num_params, spatial=…)."""


def image_shape(name: str, shape: Shape) -> tuple[int, ...]:
    """(channels, *space), every extent known.

    Raises:
        ValueError: if it isn't of rank 2, 3 or 4, or an extent is None.
    """
    if not 2 <= len(shape) <= 4:
        raise ValueError(
            f"{name}: models images, shape=(channels, height, width), signals (channels, length) "
            f"and volumes (channels, depth, height, width); got {tuple(shape)}"
        )
    return known_shape(name, shape)


def squeezes_of(name: str, shape: Sequence[int], wanted: int | None, most: int) -> int:
    """How often space is squeezed: as wanted, or as often as it can be, `most` times at most.

    Raises:
        ValueError: if it can't be squeezed as often as wanted.
    """
    space = tuple(shape[1:])
    possible = 0
    while possible < most or (wanted is not None and possible < wanted):
        if any(extent % 2 ** (possible + 1) for extent in space):
            break
        possible += 1
    if wanted is None or wanted <= possible:
        return possible if wanted is None else wanted
    step = 2**wanted
    padded = (shape[0], *(-(-extent // step) * step for extent in space))
    times = "" if wanted == 1 else f" {wanted} times"
    raise ValueError(
        f"{name}: shape {tuple(shape)} can't be squeezed{times}; every extent but the first "
        f"must be a multiple of {step}; resize (--image-size) or pad to {padded}"
    )


def image_coupling(partition: Partition, scalar: ScalarMap, make: MakeNet) -> Coupling:
    """A coupling over a partition of an image, with a convolutional conditioner."""
    inside, *space = partition.kept_shape
    net = make(inside, partition.changed_shape[0], scalar.num_params, spatial=tuple(space))
    return Coupling(partition, scalar, net)


def convolutional(net: Callable[..., nn.Module], dims: int, **options: Any) -> MakeNet:
    """How `image_coupling` makes a conditioner that works at any extents of space."""

    def make(inside: int, outside: int, num_params: int, spatial: tuple[int, ...]) -> nn.Module:
        return net(inside, outside, num_params, dims=dims, **options)

    return make


def attentive(dims: int, **options: Any) -> MakeNet:
    """How `image_coupling` makes Flow++'s conditioner."""
    return partial(GatedAttentionNet, dims=dims, **options)


def prior_given_rest(shape: Sequence[int], context: ContextArgument) -> Coupling:
    """The prior of the channels that leave a scale, given those that stay: (z − μ)/σ."""
    make = convolutional(ConvPrior, len(shape) - 1, context=context)
    return image_coupling(Channels(shape), Affine(), make)


def last_prior(shape: Sequence[int], context: ContextShape, hidden: int) -> Elementwise:
    """The prior of what is left at the end: learned means and scales, which a vector shifts."""
    net = None
    if isinstance(context, tuple) and len(context) == 1 and context[0] is not None:
        net = MLP(0, (*shape, 2), (hidden,), context=context[0])
    return Elementwise(Affine(), tuple(shape), net)


def image_normalization(name: str, normalization: str, shape: Sequence[int]) -> list[Bijection]:
    """The normalisation of that name, of every channel."""
    one_of(name, "normalization", normalization, NORMALIZATIONS)
    if normalization == "none":
        return []
    shared = (shape[0], *[None] * (len(shape) - 1))
    return [BatchNorm(shared) if normalization == "batch" else ActNorm(shared)]


class NoiseOptions(NamedTuple):
    """Options of the noise of variational dequantization.

    Args:
        couplings: how many, over a checkerboard.
        filters: channels of the couplings' networks.
        blocks: of each of these networks.
        components: of the couplings' logistic mixtures.
        attention: whether the couplings' networks have self-attention.
        dropout: rate in the networks, the encoder's too.
        exit_activation: whether the last layer of those sees elu([h, −h]) rather than h.
        encoder_blocks: of the network that encodes the image for the couplings.
        encoder_attention: whether that network has self-attention.
    """

    couplings: int = 4
    filters: int = 32
    blocks: int = 2
    components: int = 8
    attention: bool = False
    dropout: float = 0.0
    exit_activation: bool = False
    encoder_blocks: int = 3
    encoder_attention: bool = False


def variational(
    levels: int, shape: tuple[int, ...], domain: Support, options: NoiseOptions
) -> VariationalDequantize:
    """Flow++'s dequantization: noise from a flow that sees the image.

    Couplings of logistic mixtures over a checkerboard, behind a logit, run so that making noise is
    their direct way. What they see of the image is its two halves, encoded by gated convolutions.
    """
    if shape[-1] % 2:
        raise ValueError(f"variational dequantization needs an even last extent, got {shape}")
    dims, halves = len(shape) - 1, (shape[0], *shape[1:-1], shape[-1] // 2)
    make = attentive(
        dims,
        context=(_ENCODED, *halves[1:]),
        filters=options.filters,
        blocks=options.blocks,
        attention=options.attention,
        dropout=options.dropout,
        exit_activation=options.exit_activation,
    )
    parts: list[Bijection] = [Logit()]
    for i in range(options.couplings):
        board = Checkerboard(shape, flip=i % 2 == 1)
        parts.append(Inverse(image_coupling(board, LogisticMixture(options.components), make)))
    encoder = HalvesEncoder(
        shape, options.encoder_blocks, options.encoder_attention, options.dropout
    )
    return VariationalDequantize(levels, shape, Chain(*parts), encoder, domain)


_ENCODED = 32


class HalvesEncoder(nn.Module):
    """What the noise's couplings see of an image: its halves of a checkerboard, as channels.

    Args:
        shape: (C, *space) of the image.
        blocks: of the network that makes the channels.
        attention: whether it has self-attention.
        dropout: rate in it.
    Shapes: x: (*batch, C, …, W); out: (*batch, 32, …, W/2).

    Reference: Ho, Chen, Srinivas, Duan & Abbeel, 2019, Flow++, arXiv:1902.00275 (published code).
    """

    def __init__(
        self,
        shape: Sequence[int],
        blocks: int = 3,
        attention: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.board = Checkerboard(shape)
        channels, *space = self.board.kept_shape
        self.net = GatedAttentionNet(
            2 * channels,
            _ENCODED,
            1,
            len(space),
            filters=_ENCODED,
            blocks=blocks,
            attention=attention,
            dropout=dropout,
            spatial=space,
        )

    def forward(self, x: Tensor) -> Tensor:
        """The channels."""
        return self.net(torch.cat(self.board.split(x), dim=-self.net.dims - 1))[..., 0]
