"""The autoregressive flows: MAF, IAF, neural spline, neural and sum-of-squares flows."""

from collections.abc import Sequence

from diffeo.autoregressive import AutoregressiveDensity, GaussianMixtureHead
from diffeo.bijections.autoregressive import Autoregressive
from diffeo.bijections.base import Bijection
from diffeo.bijections.chain import Chain, Inverse
from diffeo.contexts import ContextArgument
from diffeo.density import Density, Flow
from diffeo.models.coupling import DURKAN_2019
from diffeo.models.parts import (
    BASES,
    at_least,
    base_named,
    features_of,
    linear_named,
    normalization_named,
    one_of,
    random_order,
    scalar_named,
    spline_of,
    vector_context,
)
from diffeo.models.registry import register
from diffeo.nets.made import MADE
from diffeo.scalars import DeepSigmoid, ScalarMap, SumOfSquares

PAPAMAKARIOS_2017 = (
    "Papamakarios, Pavlakou & Murray, 2017, Masked autoregressive flow for density estimation, "
    "arXiv:1705.07057"
)
KINGMA_2016 = (
    "Kingma, Salimans, Jozefowicz et al., 2016, Improving variational inference with inverse "
    "autoregressive flow, arXiv:1606.04934"
)
HUANG_2018 = (
    "Huang, Krueger, Lacoste & Courville, 2018, Neural autoregressive flows, arXiv:1804.00779"
)
JAINI_2019 = "Jaini, Selby & Yu, 2019, Sum-of-squares polynomial flow, arXiv:1905.02325"

ORDERS = ("reverse", "random", "same")


def order_of(name: str, order: str, features: int, index: int) -> str | list[int]:
    """The order of variables of step `index`; random ones are drawn from `index`."""
    one_of(name, "order", order, ORDERS)
    if order == "random":
        return random_order(features, index)
    return "reverse" if order == "reverse" and index % 2 else "forward"


MAF_TABLES = {
    "power": {"hidden": (100, 100)},
    "gas": {"hidden": (100, 100)},
    "hepmass": {"hidden": (512, 512)},
    "miniboone": {"hidden": (512, 512)},
    "bsds300": {"hidden": (1024, 1024)},
    "mnist": {"hidden": (1024,)},
}


@register(
    "maf",
    reference=PAPAMAKARIOS_2017,
    presets={
        name: {
            "transforms": 10,
            "normalization": "batch",
            "activation": "relu",
            "base": "normal",
            **options,
        }
        for name, options in MAF_TABLES.items()
    },
)
def maf(
    shape: Sequence[int],
    context: ContextArgument = None,
    *,
    transforms: int = 5,
    hidden: Sequence[int] = (128, 128),
    scalar: str = "affine",
    order: str = "reverse",
    normalization: str = "none",
    components: int = 10,
    bins: int = 8,
    bound: float = 3.0,
    base: str = "learned_student_t",
    activation: str = "tanh",
    residual: bool = False,
    dropout: float = 0.0,
) -> Flow:
    """Masked autoregressive flow: scoring in one pass, sampling in a few.

    Args:
        shape: (D,).
        context: what to condition on.
        transforms: number of autoregressive steps.
        hidden: widths of each MADE.
        scalar: one of `diffeo.models.parts.SCALARS`.
        order: of the variables: "reverse" at every other step (the paper's), "random", or "same".
        normalization: "none", "actnorm" or "batch" (the paper's), after each step.
        components: of the mixtures, with base="mixture" or scalar="logistic_mixture".
        bins: of the splines, with scalar="spline".
        bound: of the splines.
        base: one of `diffeo.models.parts.BASES`; the tails of the base become the flow's, so by
            default they are learned (the paper's is normal). Or "mixture": a MADE with
            Gaussian-mixture conditionals (MAF-MoG).
        activation: of the networks; a bounded one, so that rows far from all others don't get
            extreme scales.
        residual: residual MADEs.
        dropout: rate in the networks.
    """
    features = features_of("maf", shape)
    at_least("maf", 1, transforms=transforms, components=components, bins=bins)
    width, declared, join = vector_context(context)
    nets = {"activation": activation, "residual": residual, "dropout": dropout}
    parts: list[Bijection] = []
    for i in range(transforms):
        tau = scalar_named("maf", scalar, bins=bins, bound=bound, components=components)
        variables = order_of("maf", order, features, i)
        net = MADE(features, tau.num_params, hidden, width, variables, apart=tau.apart, **nets)
        parts.append(Autoregressive(tau, net))
        parts += normalization_named("maf", normalization, features)
    one_of("maf", "base", base, (*BASES, "mixture"))
    latent: Density
    if base == "mixture":
        head = GaussianMixtureHead(components)
        last = order_of("maf", order, features, transforms)
        latent = AutoregressiveDensity(
            MADE(features, head.num_params, hidden, width, last, **nets), head
        )
    else:
        latent = base_named("maf", base, features, width)
    return Flow(latent, Chain(*parts), context=declared, context_net=join)


@register(
    "iaf",
    reference=KINGMA_2016,
    presets={
        "mnist": {"transforms": 4, "hidden": (320, 320), "activation": "elu", "base": "normal"}
    },
)
def iaf(
    shape: Sequence[int],
    context: ContextArgument = None,
    *,
    transforms: int = 5,
    hidden: Sequence[int] = (128, 128),
    scalar: str = "affine",
    order: str = "reverse",
    components: int = 10,
    bins: int = 8,
    bound: float = 3.0,
    base: str = "learned_student_t",
    activation: str = "tanh",
    residual: bool = False,
    dropout: float = 0.0,
) -> Flow:
    """Inverse autoregressive flow: sampling and its density in one pass, scoring in a few.

    The preset is the posterior of a variational autoencoder of MNIST in a comparison of flows, van
    den Berg et al., 2018, arXiv:1803.05649 (github.com/riannevdberg/sylvester-flows).

    Args:
        shape: (D,).
        context: what to condition on.
        transforms: number of autoregressive steps.
        hidden: widths of each MADE.
        scalar: one of `diffeo.models.parts.SCALARS`.
        order: of the variables: "reverse" at every other step, "random", or "same".
        components: of the mixtures, with scalar="logistic_mixture".
        bins: of the splines, with scalar="spline".
        bound: of the splines.
        base: one of `diffeo.models.parts.BASES`. Its tails become the flow's, so by
            default they are learned; the papers' is normal.
        activation: of the networks; a bounded one, so that rows far from all others don't get
            extreme scales.
        residual: residual MADEs.
        dropout: rate in the networks.
    """
    features = features_of("iaf", shape)
    at_least("iaf", 1, transforms=transforms, components=components, bins=bins)
    width, declared, join = vector_context(context)
    parts: list[Bijection] = []
    for i in range(transforms):
        tau = scalar_named("iaf", scalar, bins=bins, bound=bound, components=components)
        variables = order_of("iaf", order, features, i)
        net = MADE(
            features,
            tau.num_params,
            hidden,
            width,
            variables,
            activation,
            residual,
            dropout,
            apart=tau.apart,
        )
        parts.append(Inverse(Autoregressive(tau, net)))
    return Flow(
        base_named("iaf", base, features, width), Chain(*parts), context=declared, context_net=join
    )


NSF_TABLES = {
    "power": {"hidden": (256, 256)},
    "gas": {"hidden": (256, 256), "dropout": 0.1},
    "hepmass": {"hidden": (256, 256), "dropout": 0.2},
    "miniboone": {"hidden": (64,), "bins": 4, "dropout": 0.2},
    "bsds300": {"hidden": (512, 512), "dropout": 0.2},
}


@register(
    "nsf",
    reference=DURKAN_2019,
    presets={
        name: {"transforms": 10, "affine": False, "base": "normal", **options}
        for name, options in NSF_TABLES.items()
    },
)
def nsf(
    shape: Sequence[int],
    context: ContextArgument = None,
    *,
    transforms: int = 5,
    hidden: Sequence[int] = (128, 128),
    bins: int = 8,
    bound: float = 3.0,
    affine: bool = True,
    linear: str = "lu",
    base: str = "learned_student_t",
    activation: str = "relu",
    residual: bool = True,
    dropout: float = 0.0,
) -> Flow:
    """Rational-quadratic splines, autoregressive, with linear maps between them (RQ-NSF, AR).

    Args:
        shape: (D,).
        context: what to condition on.
        transforms: number of steps, each a linear map and an autoregressive spline; one more linear
            map ends the flow.
        hidden: width of each residual block (of each layer, with residual=False).
        bins: K of the splines.
        bound: the splines act on [−bound, bound]; outside they are the identity.
        affine: whether each spline follows an affine map, which brings the values into its
            interval. The paper's have none; heavy tails, and a spread that depends on the other
            columns, want one.
        linear: one of `diffeo.models.parts.LINEARS`.
        base: one of `diffeo.models.parts.BASES`. Its tails become the flow's, so by
            default they are learned; the papers' is normal.
        activation: of the networks.
        residual: residual MADEs, as in the paper.
        dropout: rate in the networks.
    """
    features = features_of("nsf", shape)
    at_least("nsf", 1, transforms=transforms, bins=bins)
    width, declared, join = vector_context(context)
    parts: list[Bijection] = []
    for i in range(transforms):
        parts += linear_named("nsf", linear, features, i)
        tau = spline_of(bins, bound, affine)
        net = MADE(
            features,
            tau.num_params,
            hidden,
            width,
            "forward",
            activation,
            residual,
            dropout,
            apart=tau.apart,
        )
        parts.append(Autoregressive(tau, net))
    parts += linear_named("nsf", linear, features, transforms)
    return Flow(
        base_named("nsf", base, features, width), Chain(*parts), context=declared, context_net=join
    )


def _monotone_flow(
    name: str,
    tau: ScalarMap,
    shape: Sequence[int],
    context: ContextArgument,
    transforms: int,
    hidden: Sequence[int],
    order: str,
    normalization: str,
    base: str,
    activation: str,
) -> Flow:
    """Autoregressive steps that share the options of one scalar map (which holds no weights)."""
    features = features_of(name, shape)
    at_least(name, 1, transforms=transforms)
    width, declared, join = vector_context(context)
    parts: list[Bijection] = []
    for i in range(transforms):
        variables = order_of(name, order, features, i)
        net = MADE(features, tau.num_params, hidden, width, variables, activation)
        parts.append(Autoregressive(tau, net))
        parts += normalization_named(name, normalization, features)
    return Flow(
        base_named(name, base, features, width), Chain(*parts), context=declared, context_net=join
    )


@register(
    "naf",
    reference=HUANG_2018,
    presets={
        "authors": {
            "transforms": 5,
            "hidden": (100,),
            "units": 16,
            "layers": 1,
            "activation": "elu",
            "base": "normal",
        }
    },
)
def naf(
    shape: Sequence[int],
    context: ContextArgument = None,
    *,
    transforms: int = 3,
    hidden: Sequence[int] = (128, 128),
    units: int = 8,
    layers: int = 1,
    order: str = "reverse",
    normalization: str = "none",
    base: str = "learned_student_t",
    activation: str = "elu",
) -> Flow:
    """Neural autoregressive flow: each variable through a small monotone network.

    The deep sigmoidal flow (DSF) with one layer, the dense deep one (DDSF) with more. The preset is
    what the authors' code (github.com/CW-Huang/NAF) does unless told.

    Args:
        shape: (D,).
        context: what to condition on.
        transforms: number of autoregressive steps.
        hidden: widths of each MADE.
        units: width of the monotone network.
        layers: hidden layers of the monotone network.
        order: of the variables: "reverse" at every other step, "random", or "same".
        normalization: "none", "actnorm" or "batch", after each step.
        base: one of `diffeo.models.parts.BASES`. Its tails become the flow's, so by
            default they are learned; the papers' is normal.
        activation: of the MADEs.
    """
    at_least("naf", 1, units=units, layers=layers)
    tau = DeepSigmoid(units=units, layers=layers)
    return _monotone_flow(
        "naf", tau, shape, context, transforms, hidden, order, normalization, base, activation
    )


SOS_TABLES = {"power": 100, "gas": 100, "hepmass": 512, "miniboone": 512, "bsds300": 512}


@register(
    "sos",
    reference=JAINI_2019,
    presets={
        name: {
            "transforms": 5,
            "hidden": (width, width),
            "degree": 2,
            "polynomials": 5,
            "normalization": "batch",
            "activation": "relu",
            "base": "normal",
        }
        for name, width in SOS_TABLES.items()
    },
)
def sos(
    shape: Sequence[int],
    context: ContextArgument = None,
    *,
    transforms: int = 5,
    hidden: Sequence[int] = (128, 128),
    degree: int = 4,
    polynomials: int = 5,
    order: str = "reverse",
    normalization: str = "none",
    base: str = "learned_student_t",
    activation: str = "tanh",
) -> Flow:
    """Sum-of-squares polynomial flow: each variable through an increasing polynomial.

    The presets are the settings of the code that came with the paper's submission
    (github.com/anonymouspapersub/sosflows).

    Args:
        shape: (D,).
        context: what to condition on.
        transforms: number of autoregressive steps.
        hidden: widths of each MADE.
        degree: r of the squared polynomials; the map has degree 2r + 1.
        polynomials: how many squares are summed.
        order: of the variables: "reverse" at every other step, "random", or "same".
        normalization: "none", "actnorm" or "batch", after each step.
        base: one of `diffeo.models.parts.BASES`. Its tails become the flow's, so by
            default they are learned; the papers' is normal.
        activation: of the networks. A bounded one: for rows far from all others a network of
            rectifiers asks for extreme coefficients, and polynomials of polynomials explode.
    """
    at_least("sos", 1, degree=degree, polynomials=polynomials)
    tau = SumOfSquares(degree=degree, polynomials=polynomials)
    return _monotone_flow(
        "sos", tau, shape, context, transforms, hidden, order, normalization, base, activation
    )
