"""The coupling flows for vectors: NICE, RealNVP, Glow and neural spline coupling flows."""

from collections.abc import Sequence

from diffeo.bijections.base import Bijection
from diffeo.bijections.chain import Chain
from diffeo.bijections.coupling import Coupling
from diffeo.bijections.elementwise import Elementwise
from diffeo.bijections.partition import Alternate, Halves, Partition, RandomHalf
from diffeo.contexts import ContextArgument
from diffeo.density import Flow
from diffeo.models.parts import (
    at_least,
    base_named,
    features_of,
    linear_named,
    normalization_named,
    one_of,
    scalar_named,
    spline_of,
    vector_context,
)
from diffeo.models.registry import register
from diffeo.nets.mlp import MLP
from diffeo.scalars import ScalarMap, Scaling

DINH_2014 = (
    "Dinh, Krueger & Bengio, 2014, NICE: non-linear independent components estimation, "
    "arXiv:1410.8516"
)
DINH_2016 = (
    "Dinh, Sohl-Dickstein & Bengio, 2016, Density estimation using Real NVP, arXiv:1605.08803"
)
KINGMA_2018 = (
    "Kingma & Dhariwal, 2018, Glow: generative flow with invertible 1x1 convolutions, "
    "arXiv:1807.03039"
)
DURKAN_2019 = "Durkan, Bekasov, Murray & Papamakarios, 2019, Neural spline flows, arXiv:1906.04032"


PARTITIONS = ("alternate", "halves", "random")


def partition_named(partition: str, features: int, index: int) -> Partition:
    """The partition of step `index`: odd steps change what the step before them kept."""
    flip = index % 2 == 1
    if partition == "random":
        return RandomHalf(features, seed=index // 2, flip=flip)
    return Halves(features, flip) if partition == "halves" else Alternate(features, flip)


def coupling_step(
    features: int,
    partition: str,
    index: int,
    scalar: ScalarMap,
    hidden: Sequence[int],
    context: int,
    activation: str = "relu",
    residual: bool = False,
    dropout: float = 0.0,
) -> Coupling:
    """The coupling of step `index`, which changes what the step before it kept."""
    part = partition_named(partition, features, index)
    out_shape = (*part.changed_shape, scalar.num_params)
    kept = part.kept_shape[0]
    net = MLP(kept, out_shape, hidden, context, activation, residual, dropout, scalar.apart)
    return Coupling(part, scalar, net)


@register("nice", reference=DINH_2014, presets={"mnist": {"transforms": 4, "hidden": (1000,) * 5}})
def nice(
    shape: Sequence[int],
    context: ContextArgument = None,
    *,
    transforms: int = 4,
    hidden: Sequence[int] = (128, 128, 128),
    partition: str = "alternate",
    base: str = "logistic",
    activation: str = "relu",
) -> Flow:
    """Additive couplings, then a learned scale for each element (NICE).

    z = e^s ⊙ (f₄ ∘ f₃ ∘ f₂ ∘ f₁)(x), each f_i adding to one half of the vector what a network makes
    of the other. The scales start where each element of the data has unit variance.

    Args:
        shape: (D,).
        context: what to condition on.
        transforms: number of couplings.
        hidden: widths of each coupling's network.
        partition: "alternate" (odd and even, the paper's), "halves" or "random".
        base: one of `diffeo.models.parts.BASES`; the paper's is logistic.
        activation: of the networks.
    """
    features = features_of("nice", shape)
    at_least("nice", 1, transforms=transforms)
    one_of("nice", "partition", partition, PARTITIONS)
    width, declared, join = vector_context(context)
    parts: list[Bijection] = [
        coupling_step(
            features, partition, i, scalar_named("nice", "additive"), hidden, width, activation
        )
        for i in range(transforms)
    ]
    parts.append(Elementwise(Scaling(), (features,)))
    return Flow(
        base_named("nice", base, features, width), Chain(*parts), context=declared, context_net=join
    )


REALNVP_TABLES = {"power": 100, "gas": 100, "hepmass": 512, "miniboone": 512, "bsds300": 512}


@register(
    "realnvp",
    reference=DINH_2016,
    presets={
        name: {
            "transforms": 10,
            "hidden": (width, width),
            "normalization": "batch",
            "activation": "relu",
            "base": "normal",
        }
        for name, width in REALNVP_TABLES.items()
    },
)
def realnvp(
    shape: Sequence[int],
    context: ContextArgument = None,
    *,
    transforms: int = 8,
    hidden: Sequence[int] = (128, 128),
    partition: str = "alternate",
    scalar: str = "affine",
    normalization: str = "none",
    components: int = 8,
    base: str = "learned_student_t",
    activation: str = "tanh",
    residual: bool = False,
    dropout: float = 0.0,
) -> Flow:
    """Affine couplings over alternating elements (RealNVP for vectors).

    The presets are the tables' settings of Papamakarios et al., 2017, arXiv:1705.07057.

    Args:
        shape: (D,).
        context: what to condition on.
        transforms: number of couplings.
        hidden: widths of each coupling's network.
        partition: "alternate", "halves", or "random" (new halves at every other step).
        scalar: one of `diffeo.models.parts.SCALARS`.
        normalization: "none", "actnorm" or "batch", after each coupling.
        components: of a logistic mixture, where that is the scalar.
        base: one of `diffeo.models.parts.BASES`. Its tails become the flow's, so by
            default they are learned; the papers' is normal.
        activation: of the networks; a bounded one, so that rows far from all others don't get
            extreme scales.
        residual: residual networks.
        dropout: rate in the networks.
    """
    features = features_of("realnvp", shape)
    at_least("realnvp", 1, transforms=transforms, components=components)
    one_of("realnvp", "partition", partition, PARTITIONS)
    width, declared, join = vector_context(context)
    parts: list[Bijection] = []
    for i in range(transforms):
        tau = scalar_named("realnvp", scalar, components=components)
        parts.append(
            coupling_step(features, partition, i, tau, hidden, width, activation, residual, dropout)
        )
        parts += normalization_named("realnvp", normalization, features)
    return Flow(
        base_named("realnvp", base, features, width),
        Chain(*parts),
        context=declared,
        context_net=join,
    )


NSF_COUPLING_TABLES = {
    "power": {"hidden": (256, 256)},
    "gas": {"hidden": (256, 256), "dropout": 0.1},
    "hepmass": {"hidden": (128, 128), "dropout": 0.2},
    "miniboone": {"hidden": (32, 32), "bins": 4, "dropout": 0.2},
    "bsds300": {"hidden": (128, 128), "dropout": 0.2},
}


@register(
    "glow1d",
    reference=KINGMA_2018,
    presets={
        name: {
            "transforms": 10,
            "hidden": options["hidden"],
            "residual": True,
            "activation": "relu",
            "base": "normal",
            "dropout": options.get("dropout", 0.0),
        }
        for name, options in NSF_COUPLING_TABLES.items()
    },
)
def glow1d(
    shape: Sequence[int],
    context: ContextArgument = None,
    *,
    transforms: int = 8,
    hidden: Sequence[int] = (128, 128),
    scalar: str = "affine",
    linear: str = "lu",
    normalization: str = "actnorm",
    components: int = 8,
    base: str = "learned_student_t",
    activation: str = "tanh",
    residual: bool = False,
    dropout: float = 0.0,
) -> Flow:
    """Glow's step for vectors: actnorm, an invertible linear map, a coupling of halves.

    The presets are the tables' settings of Durkan et al., 2019, arXiv:1906.04032, who ran Glow on
    them beside their own couplings.

    Args:
        shape: (D,).
        context: what to condition on.
        transforms: number of steps.
        hidden: widths of each coupling's network.
        scalar: one of `diffeo.models.parts.SCALARS`.
        linear: one of `diffeo.models.parts.LINEARS`.
        normalization: "actnorm", "batch" or "none".
        components: of a logistic mixture, where that is the scalar.
        base: one of `diffeo.models.parts.BASES`. Its tails become the flow's, so by
            default they are learned; the papers' is normal.
        activation: of the networks; a bounded one, so that rows far from all others don't get
            extreme scales.
        residual: residual networks.
        dropout: rate in the networks.
    """
    features = features_of("glow1d", shape)
    at_least("glow1d", 1, transforms=transforms, components=components)
    width, declared, join = vector_context(context)
    parts: list[Bijection] = []
    for i in range(transforms):
        parts += normalization_named("glow1d", normalization, features)
        parts += linear_named("glow1d", linear, features, i)
        tau = scalar_named("glow1d", scalar, components=components)
        parts.append(
            coupling_step(features, "halves", i, tau, hidden, width, activation, residual, dropout)
        )
    return Flow(
        base_named("glow1d", base, features, width),
        Chain(*parts),
        context=declared,
        context_net=join,
    )


@register(
    "nsf_coupling",
    reference=DURKAN_2019,
    presets={
        name: {"transforms": 10, "affine": False, "base": "normal", **options}
        for name, options in NSF_COUPLING_TABLES.items()
    },
)
def nsf_coupling(
    shape: Sequence[int],
    context: ContextArgument = None,
    *,
    transforms: int = 5,
    hidden: Sequence[int] = (128, 128),
    bins: int = 8,
    bound: float = 3.0,
    affine: bool = True,
    linear: str = "lu",
    partition: str = "alternate",
    base: str = "learned_student_t",
    activation: str = "relu",
    residual: bool = True,
    dropout: float = 0.0,
) -> Flow:
    """Rational-quadratic spline couplings with linear maps between them (RQ-NSF, coupling).

    Args:
        shape: (D,).
        context: what to condition on.
        transforms: number of steps, each a linear map and a coupling; one more linear map ends the
            flow.
        hidden: width of each residual block (of each layer, with residual=False).
        bins: K of the splines.
        bound: the splines act on [−bound, bound]; outside they are the identity.
        affine: whether each spline follows an affine map, as in `nsf`; the paper's have none.
        linear: one of `diffeo.models.parts.LINEARS`.
        partition: "alternate", "halves", or "random" (new halves at every other step).
        base: one of `diffeo.models.parts.BASES`. Its tails become the flow's, so by
            default they are learned; the papers' is normal.
        activation: of the networks.
        residual: residual networks, as in the paper.
        dropout: rate in the networks.
    """
    features = features_of("nsf_coupling", shape)
    at_least("nsf_coupling", 1, transforms=transforms, bins=bins)
    one_of("nsf_coupling", "partition", partition, PARTITIONS)
    width, declared, join = vector_context(context)
    parts: list[Bijection] = []
    for i in range(transforms):
        parts += linear_named("nsf_coupling", linear, features, i)
        tau = spline_of(bins, bound, affine)
        parts.append(
            coupling_step(features, partition, i, tau, hidden, width, activation, residual, dropout)
        )
    parts += linear_named("nsf_coupling", linear, features, transforms)
    return Flow(
        base_named("nsf_coupling", base, features, width),
        Chain(*parts),
        context=declared,
        context_net=join,
    )
