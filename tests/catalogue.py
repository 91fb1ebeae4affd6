"""Small examples of every public bijection, scalar map and causal network.

The property tests run over these lists, and over those of `tests/densities.py`. A public class
without an example fails `tests/properties/test_registry.py`, so that a new class is tested by
being entered here.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from diffeo import bijections as bj
from diffeo import scalars as sc
from diffeo.bijections.autoregressive import Solver
from diffeo.nets.causal import CausalNetwork
from diffeo.nets.glow import GlowNet
from diffeo.nets.made import MADE
from diffeo.nets.mlp import MLP
from diffeo.nets.wavenet import WaveNet
from diffeo.supports import Support
from tests.properties.draws import SCALE, context_for, points, redraw

CONTEXT = 2
BOTH = (0, CONTEXT)
HIDDEN = (8, 8)


@dataclass(frozen=True)
class BijectionCase:
    """An example of a bijection.

    Args:
        name: how tests call it.
        build: makes it, given the number of context features (0 for none).
        event: shape of the event it is tested on.
        contexts: numbers of context features it can be built with.
        highest: the largest x, where elements of the event differ in it.
    """

    name: str
    build: Callable[[int], bj.Bijection]
    event: tuple[int, ...] = (3,)
    contexts: tuple[int, ...] = (0,)
    highest: tuple[float, ...] | None = None

    def make(
        self, context: int = 0, dtype: torch.dtype = torch.float64, scale: float = SCALE
    ) -> bj.Bijection:
        """The example in evaluation mode, its weights drawn anew."""
        with torch.random.fork_rng():
            torch.manual_seed(1)
            bijection = self.build(context)
        return redraw(bijection, scale).to(dtype).eval()  # type: ignore[return-value]

    def inputs(
        self, bijection: bj.Bijection, n: int = 6, dtype: torch.dtype = torch.float64
    ) -> tuple[Tensor, object]:
        """n points of the domain, and a context for each."""
        x = points(bijection.domain, (n, *self.event), dtype)
        if self.highest is not None:
            x = torch.minimum(x, torch.tensor(self.highest, dtype=dtype))
        return x, context_for(bijection.context_shape, (n,), dtype)

    def latents(
        self, bijection: bj.Bijection, n: int = 6, dtype: torch.dtype = torch.float64
    ) -> tuple[Tensor, object]:
        """n points of the codomain, and a context for each."""
        codomain = bijection.domain if bijection.codomain is None else bijection.codomain
        shape = (n, *bijection.output_shape(self.event))
        z = points(codomain, shape, dtype, seed=1)  # type: ignore[arg-type]
        return z, context_for(bijection.context_shape, (n,), dtype)


@dataclass(frozen=True)
class ScalarCase:
    """An example of a scalar map."""

    name: str
    build: Callable[[], sc.ScalarMap]


@dataclass(frozen=True)
class CausalCase:
    """An example of a causal network: how it is made, given the number of context features."""

    name: str
    build: Callable[[int], CausalNetwork]
    contexts: tuple[int, ...] = BOTH

    def make(
        self, context: int = 0, dtype: torch.dtype = torch.float64, scale: float = SCALE
    ) -> CausalNetwork:
        """The example in evaluation mode, its weights drawn anew."""
        return redraw(self.build(context), scale).to(dtype).eval()  # type: ignore[return-value]


def spline(tails: str, bins: int = 4, **options) -> sc.RationalQuadraticSpline:
    """A small spline."""
    return sc.RationalQuadraticSpline(bins=bins, tails=tails, **options)


SCALARS = [
    ScalarCase("Additive", lambda: sc.Additive()),
    ScalarCase("Scaling", lambda: sc.Scaling()),
    ScalarCase("Affine", lambda: sc.Affine()),
    ScalarCase("Affine/tight", lambda: sc.Affine(0.5)),
    ScalarCase("SigmoidAffine", lambda: sc.SigmoidAffine()),
    ScalarCase("RationalQuadraticSpline", lambda: spline("linear")),
    ScalarCase("RationalQuadraticSpline/bounded", lambda: spline("bounded", lower=0.0, upper=1.0)),
    ScalarCase(
        "RationalQuadraticSpline/one-bin", lambda: spline("bounded", 1, lower=-2.0, upper=1.0)
    ),
    ScalarCase("RationalQuadraticSpline/circular", lambda: spline("circular")),
    ScalarCase("LogisticMixture", lambda: sc.LogisticMixture(3)),
    ScalarCase("LogisticMixture/one", lambda: sc.LogisticMixture(1)),
    ScalarCase("SumOfSquares", lambda: sc.SumOfSquares(degree=2, polynomials=2)),
    ScalarCase("SumOfSquares/line", lambda: sc.SumOfSquares(degree=0, polynomials=1)),
    ScalarCase("DeepSigmoid", lambda: sc.DeepSigmoid(units=4)),
    ScalarCase("DeepSigmoid/deep", lambda: sc.DeepSigmoid(units=3, layers=2)),
    ScalarCase("Composed", lambda: sc.Composed(sc.Affine(), spline("linear"))),
]


def conditioner(out_shape: tuple[int, ...], context: int, features: int = 0) -> MLP:
    """A small smooth network."""
    return MLP(features, out_shape, HIDDEN, context=context, activation="tanh")


def from_context(out_shape: tuple[int, ...], context: int) -> nn.Module | None:
    """A small network of the context alone; None where there is none."""
    return conditioner(out_shape, context) if context else None


def elementwise(scalar: sc.ScalarMap, shape: tuple[int, ...], context: int) -> bj.Bijection:
    """The scalar map on every element, conditioned on the context where there is one."""
    return bj.Elementwise(scalar, shape, from_context((*shape, scalar.num_params), context))


def coupling(partition: bj.Partition, scalar: sc.ScalarMap, context: int) -> bj.Bijection:
    """A coupling with a small network."""
    out_shape = (*partition.changed_shape, scalar.num_params)
    return bj.Coupling(partition, scalar, conditioner(out_shape, context, partition.kept_shape[0]))


def autoregressive(
    scalar: sc.ScalarMap,
    context: int,
    features: int = 3,
    unroll: int = 64,
    solver: Solver = "auto",
    **options,
) -> bj.Bijection:
    """An autoregressive map over a small MADE."""
    options = {"hidden": HIDDEN, "activation": "tanh", **options}
    net = MADE(features, scalar.num_params, context=context, **options)
    return bj.Autoregressive(scalar, net, unroll, solver)


def in_every_structure(case: ScalarCase) -> list[BijectionCase]:
    """A scalar map in every structure that can hold it."""

    def alone(context: int) -> bj.Bijection:
        return elementwise(case.build(), (2,), context)

    def coupled(context: int) -> bj.Bijection:
        return coupling(bj.Halves(3), case.build(), context)

    def sequential(context: int) -> bj.Bijection:
        return autoregressive(case.build(), context)

    cases = [BijectionCase(f"Elementwise({case.name})", alone, (2,), BOTH)]
    if case.build().domain.same_set(case.build().codomain):
        cases.append(BijectionCase(f"Coupling({case.name})", coupled, (3,), BOTH))
        cases.append(BijectionCase(f"Autoregressive({case.name})", sequential, (3,), BOTH))
    return cases


def fixed(
    name: str, build: Callable[[], bj.Bijection], event: tuple[int, ...] = (2,)
) -> BijectionCase:
    """An example that takes no context."""
    return BijectionCase(name, lambda context: build(), event)


def partitioned(
    name: str, build: Callable[[], bj.Partition], event: tuple[int, ...]
) -> BijectionCase:
    """A coupling over a partition."""
    return BijectionCase(
        f"Coupling/{name}", lambda context: coupling(build(), sc.Affine(), context), event, BOTH
    )


def image_coupling(partition: bj.Partition, scalar: sc.ScalarMap, context: int) -> bj.Bijection:
    """A coupling of images with a small convolutional network."""
    inside, *space = partition.kept_shape
    outside = partition.changed_shape[0]
    net = GlowNet(inside, outside, scalar.num_params, len(space), context or None, filters=4)
    return bj.Coupling(partition, scalar, net)


def image_partitioned(
    name: str, build: Callable[[], bj.Partition], event: tuple[int, ...]
) -> BijectionCase:
    """A coupling over a partition of images, signals or volumes."""
    return BijectionCase(
        f"Coupling/{name}",
        lambda context: image_coupling(build(), sc.Affine(), context),
        event,
        BOTH,
    )


def multiscale(context: int) -> bj.Bijection:
    """Two scales, the first with a prior of what leaves."""
    first = bj.Chain(bj.Squeeze(), image_coupling(bj.Channels((4, 2, 2)), sc.Affine(), context))
    return bj.MultiScale((1, 4, 4), first, bj.Chain(bj.Squeeze(), bj.ActNorm((8, None, None))))


def factored(context: int) -> bj.Bijection:
    """A channel that leaves, and a coupling of the other two."""
    return bj.FactorOut(1, image_coupling(bj.Channels((2, None)), sc.Affine(), context), dims=1)


def variational(shape: tuple[int, ...]) -> bj.Bijection:
    """Noise of a flow that sees the vector."""
    halves = bj.Halves(shape[0])
    noise = bj.Inverse(coupling(halves, sc.Affine(), shape[0]))
    return bj.VariationalDequantize(4, shape, bj.Chain(bj.Logit(), noise))


def standardize(shape: tuple[int, ...]) -> bj.Bijection:
    """A standardisation that has seen data."""
    bijection = bj.Standardize(shape)
    bijection.initialize(3 + 2 * torch.randn(50, *shape))
    return bijection


def by_frequency(levels: tuple[int, ...], lower: tuple[int, ...]) -> bj.Bijection:
    """A dequantization that has seen data."""
    bijection = bj.FrequencyDequantize(levels, lower)
    tops = torch.tensor(levels).float()
    seen = (tops * torch.rand(50, len(levels)).square()).floor() + torch.tensor(lower)
    bijection.initialize(seen)
    return bijection


def soft_log(**end: float) -> bj.Bijection:
    """A map of a half-line at a scale of its own."""
    bijection = bj.SoftLog((2,), **end)
    bijection.scale.copy_(torch.tensor([3.0, 0.5]))
    return bijection


def unheap(**ends: float) -> bj.Bijection:
    """A map that has seen heaped data."""
    bijection = bj.Unheap(2, **ends)
    seen = torch.arange(-1.0, 3.0).repeat_interleave(torch.tensor([5, 40, 3, 50]))
    bijection.initialize(torch.stack([seen, seen.flip(0).abs()], -1) + 0.5)
    return bijection


def columnwise(context: int) -> bj.Bijection:
    """Elements of four kinds, two of which see each other and the context."""
    pair = elementwise(sc.Affine(), (2,), context)
    return bj.Columnwise(5, ([3], bj.Log()), ([0, 4], pair), ([2], bj.Logit(-1.0, 2.0)))


def mixed_columns(context: int) -> bj.Bijection:
    """Whole numbers of three kinds, and a real one."""
    return bj.Columnwise(
        4,
        ([2], bj.Chain(by_frequency((3,), (1,)), bj.Logit())),
        ([0], bj.Chain(bj.DequantizeRange(1, lower=0.0), bj.SoftLog(1, lower=0.0))),
        ([3], bj.DequantizeRange(1)),
    )


def mixed_chain(context: int) -> bj.Bijection:
    """Parts of several kinds, some with a context and some without."""
    return bj.Chain(
        bj.ActNorm((3,)),
        autoregressive(spline("linear"), context),
        bj.Permutation(3, "reverse"),
        coupling(bj.Alternate(3), sc.Affine(), context),
        bj.LeakyReLU(0.5),
        bj.LULinear(3),
    )


def bounded_chain(context: int) -> bj.Bijection:
    """From an interval to the line."""
    return bj.Chain(bj.Logit(-1.0, 2.0), autoregressive(sc.Affine(), context))


def dequantized_chain(context: int) -> bj.Bijection:
    """From whole numbers to the line."""
    return bj.Chain(
        bj.Dequantize(4, (2,)), bj.Logit(0.0, 4.0), autoregressive(sc.Affine(), context, 2)
    )


def planar(context: int, features: int = 3) -> bj.Bijection:
    """A planar flow."""
    return bj.Planar(features, from_context(bj.Planar.param_shape(features), context))


def radial(context: int, features: int = 3) -> bj.Bijection:
    """A radial flow."""
    return bj.Radial(features, from_context(bj.Radial.param_shape(features), context))


def sylvester(
    context: int, features: int = 3, rank: int = 2, reflections: int | None = None
) -> bj.Bijection:
    """A Sylvester flow."""
    shape = bj.Sylvester.param_shape(features, rank, reflections)
    return bj.Sylvester(features, rank, reflections, from_context(shape, context))


MASK = [[True, False, False], [False, True, True]]

BIJECTIONS = [
    *(entry for case in SCALARS for entry in in_every_structure(case)),
    BijectionCase(
        "Elementwise/matrix",
        lambda context: elementwise(sc.Affine(), (2, 3), context),
        (2, 3),
        BOTH,
    ),
    partitioned("Halves-flip", lambda: bj.Halves(3, flip=True), (3,)),
    partitioned("Alternate", lambda: bj.Alternate(4), (4,)),
    partitioned("Mask", lambda: bj.Mask(MASK), (2, 3)),
    partitioned("RandomHalf", lambda: bj.RandomHalf(4), (4,)),
    partitioned("one-feature", lambda: bj.Halves(1), (1,)),
    image_partitioned("Channels", lambda: bj.Channels((3, 2, 2)), (3, 2, 2)),
    image_partitioned("Channels/signal", lambda: bj.Channels((2, 3), flip=True), (2, 3)),
    image_partitioned("Checkerboard", lambda: bj.Checkerboard((1, 3, 4)), (1, 3, 4)),
    image_partitioned(
        "Checkerboard/volume", lambda: bj.Checkerboard((1, 2, 1, 4), flip=True), (1, 2, 1, 4)
    ),
    image_partitioned("Lattice", lambda: bj.Lattice((1, 2, 4), (0, 1)), (1, 2, 4)),
    image_partitioned("Lattice/columns", lambda: bj.Lattice((2, 1, 4), (1,)), (2, 1, 4)),
    image_partitioned("Lattice/signal", lambda: bj.Lattice((1, 6), (0,), flip=True), (1, 6)),
    BijectionCase(
        "Autoregressive/permuted",
        lambda context: autoregressive(sc.Affine(), context, 4, order=(2, 0, 3, 1)),
        (4,),
        BOTH,
    ),
    BijectionCase(
        "Autoregressive/residual",
        lambda context: autoregressive(sc.Affine(), context, residual=True),
        (3,),
        BOTH,
    ),
    # The gradients of its inverse come from the implicit function theorem.
    BijectionCase(
        "Autoregressive/implicit",
        lambda context: autoregressive(sc.Affine(), context, unroll=0),
        (3,),
        BOTH,
    ),
    # As above, and the inverse itself is found at all positions at once.
    BijectionCase(
        "Autoregressive/jacobi",
        lambda context: autoregressive(spline("linear"), context, unroll=0, solver="jacobi"),
        (3,),
        BOTH,
    ),
    BijectionCase(
        "Autoregressive/one-feature",
        lambda context: autoregressive(sc.Affine(), context, 1),
        (1,),
        BOTH,
    ),
    fixed("Exp", lambda: bj.Exp()),
    fixed("Exp/lower", lambda: bj.Exp(-2.0)),
    fixed("Log", lambda: bj.Log()),
    fixed("Log/lower", lambda: bj.Log(3.0)),
    fixed("Softplus", lambda: bj.Softplus()),
    fixed("Sigmoid", lambda: bj.Sigmoid()),
    fixed("Sigmoid/interval", lambda: bj.Sigmoid(-1.0, 3.0)),
    fixed("Logit", lambda: bj.Logit()),
    fixed("Logit/squeezed", lambda: bj.Logit(0.0, 256.0, alpha=0.05)),
    fixed("Tanh", lambda: bj.Tanh()),
    fixed("LeakyReLU", lambda: bj.LeakyReLU(0.1)),
    fixed("FixedAffine", lambda: bj.FixedAffine(-2.0, 1.0)),
    fixed("FixedAffine/half-line", lambda: bj.FixedAffine(-0.5, 5.0, Support(upper=5.0))),
    fixed("Rescale", lambda: bj.Rescale(-3.0, 2.0)),
    fixed("Permutation", lambda: bj.Permutation(4, (2, 0, 3, 1)), (4,)),
    fixed("LULinear", lambda: bj.LULinear(3), (3,)),
    fixed("LULinear/one-feature", lambda: bj.LULinear(1), (1,)),
    fixed("QRLinear", lambda: bj.QRLinear(3), (3,)),
    fixed("QRLinear/one-feature", lambda: bj.QRLinear(1), (1,)),
    fixed("FullLinear", lambda: bj.FullLinear(3), (3,)),
    fixed("FullLinear/one-feature", lambda: bj.FullLinear(1), (1,)),
    fixed("InvertibleConv", lambda: bj.InvertibleConv(3), (3, 2, 2)),
    fixed("InvertibleConv/lu", lambda: bj.InvertibleConv(2, 1, "lu"), (2, 3)),
    fixed("InvertibleConv/qr", lambda: bj.InvertibleConv(2, 3, "qr"), (2, 1, 2, 2)),
    fixed("InvertibleConv/fixed", lambda: bj.InvertibleConv(3, 2, "permutation"), (3, 2, 2)),
    fixed("Squeeze", lambda: bj.Squeeze(), (2, 4, 2)),
    fixed("Squeeze/signal", lambda: bj.Squeeze(1, 3), (2, 6)),
    fixed("Squeeze/volume", lambda: bj.Squeeze(3), (1, 2, 2, 4)),
    fixed("Flatten", lambda: bj.Flatten((2, 3)), (2, 3)),
    BijectionCase("MultiScale", multiscale, (1, 4, 4), BOTH),
    BijectionCase("FactorOut", factored, (3, 3), BOTH),
    fixed("FactorOut/volume", lambda: bj.FactorOut(2, bj.InvertibleConv(2, 3), 3), (4, 1, 2, 2)),
    fixed("Standardize", lambda: standardize((3,)), (3,)),
    fixed("ActNorm", lambda: bj.ActNorm((3,)), (3,)),
    fixed("ActNorm/shared", lambda: bj.ActNorm((2, None)), (2, 3)),
    fixed("BatchNorm", lambda: bj.BatchNorm(3), (3,)),
    fixed("BatchNorm/not-affine", lambda: bj.BatchNorm(3, affine=False), (3,)),
    BijectionCase("Planar", planar, (3,), BOTH),
    BijectionCase("Planar/one-feature", lambda context: planar(context, 1), (1,), BOTH),
    BijectionCase("Radial", radial, (3,), BOTH),
    BijectionCase("Radial/one-feature", lambda context: radial(context, 1), (1,), BOTH),
    BijectionCase("Sylvester", sylvester, (3,), BOTH),
    BijectionCase("Sylvester/full", lambda context: sylvester(context, 2, 2, 4), (2,), BOTH),
    BijectionCase("Sylvester/one-feature", lambda context: sylvester(context, 1, 1), (1,), BOTH),
    fixed("Dequantize", lambda: bj.Dequantize(4, (2,))),
    BijectionCase(
        "Dequantize/uneven", lambda context: bj.Dequantize((3, 5), (2,)), (2,), highest=(2.0, 4.0)
    ),
    fixed("VariationalDequantize", lambda: variational((2,))),
    fixed("DequantizeRange", lambda: bj.DequantizeRange((2,), -2.0, 3.0)),
    fixed("DequantizeRange/line", lambda: bj.DequantizeRange((2,))),
    fixed("FrequencyDequantize", lambda: by_frequency((4, 2), (0, -1))),
    fixed("SoftLog", lambda: soft_log(lower=-1.0)),
    fixed("SoftLog/upper", lambda: soft_log(upper=2.0)),
    fixed("Unheap", unheap),
    fixed("Unheap/ends", lambda: unheap(lower=-2.0, upper=5.0)),
    BijectionCase("Columnwise", columnwise, (5,), BOTH),
    fixed("Columnwise/mixed", lambda: mixed_columns(0), (4,)),
    BijectionCase("Chain", mixed_chain, (3,), BOTH),
    BijectionCase("Chain/bounded", bounded_chain, (3,), BOTH),
    BijectionCase("Chain/dequantized", dequantized_chain, (2,), BOTH),
    fixed("Chain/empty", lambda: bj.Chain()),
    BijectionCase(
        "Inverse", lambda context: bj.Inverse(autoregressive(sc.Affine(), context)), (3,), BOTH
    ),
    BijectionCase("Inverse/chain", lambda context: bj.Inverse(mixed_chain(context)), (3,), BOTH),
]


def made(name: str, features: int, num_params: int, **options) -> CausalCase:
    """An example of a MADE."""
    options = {"hidden": (11, 9), "activation": "tanh", **options}
    return CausalCase(
        f"MADE/{name}", lambda context: MADE(features, num_params, context=context, **options)
    )


def sound_net(name: str, length: int = 6, **options) -> CausalCase:
    """An example of a WaveNet, its condition one for all samples."""
    options = {"layers": 4, "residual": 6, "local": False, **options}
    return CausalCase(
        f"WaveNet/{name}", lambda context: WaveNet(2, context=context, length=length, **options)
    )


CAUSAL = [
    made("forward", 4, 2),
    made("reverse", 4, 3, order="reverse"),
    made("permuted", 5, 2, order=(3, 0, 4, 2, 1)),
    made("residual", 4, 2, hidden=(10, 10), residual=True),
    made("one-layer", 3, 1, hidden=(7,)),
    made("one-feature", 1, 2),
    sound_net("plain", skip=4),
    sound_net("wide", width=3, exit="linear", weight_norm=True, gate=5),
    sound_net("short-cycle", skip=8, cycle=2, layers=6, gate=5),
    sound_net("one-sample", length=1),
]
