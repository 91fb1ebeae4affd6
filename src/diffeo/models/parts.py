"""What the named models share: reading their arguments, and choosing parts by name."""

from collections.abc import Sequence

import torch
from torch import nn

from diffeo.bases import ConditionalNormal, GaussianMixture, Logistic, Normal, StudentT
from diffeo.bijections.base import Bijection
from diffeo.bijections.linear import FullLinear, LULinear, Permutation, QRLinear
from diffeo.bijections.normalization import ActNorm, BatchNorm
from diffeo.contexts import ContextArgument, ContextShape, JoinContext, as_context_shape
from diffeo.density import Density
from diffeo.scalars import (
    Additive,
    Affine,
    Composed,
    DeepSigmoid,
    LogisticMixture,
    RationalQuadraticSpline,
    ScalarMap,
    SigmoidAffine,
    SumOfSquares,
)

BASES = (
    "normal",
    "learned_normal",
    "conditional_normal",
    "logistic",
    "student_t",
    "learned_student_t",
    "gaussian_mixture",
)
LEARNED_DF = 10.0
"""Where learned degrees of freedom start; they stay between a tenth and ten times that."""
SCALARS = (
    "additive",
    "affine",
    "sigmoid_affine",
    "spline",
    "logistic_mixture",
    "sos",
    "deep_sigmoid",
)
LINEARS = ("none", "reverse", "permutation", "lu", "qr", "full")
NORMALIZATIONS = ("none", "actnorm", "batch")


def features_of(name: str, shape: Sequence[int | None]) -> int:
    """D of the event shape (D,).

    Raises:
        ValueError: if the shape has another rank, or D is None.
    """
    if len(shape) != 1 or shape[0] is None:
        raise ValueError(
            f"{name}: models vectors, shape=(D,) or features=D; got shape {tuple(shape)}"
        )
    return shape[0]


def vector_context(context: ContextArgument) -> tuple[int, ContextShape, nn.Module | None]:
    """Length of the context vector, what is declared at the door, what makes one of the other."""
    declared = as_context_shape(context)
    if declared is None:
        return 0, None, None
    if isinstance(declared, tuple) and len(declared) == 1 and declared[0] is not None:
        return declared[0], declared, None
    join = JoinContext(declared)
    return join.features, declared, join


def at_least(name: str, least: int, **values: int) -> None:
    """Refuses whole numbers that are too small."""
    for option, value in values.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ValueError(
                f"{name}: {option} must be a whole number of at least {least}, got {value!r}"
            )


def one_of(name: str, option: str, value: str, choices: Sequence[str]) -> str:
    """Refuses a word that is not among the choices."""
    if value not in choices:
        raise ValueError(f"{name}: {option} must be one of {', '.join(choices)}; got {value!r}")
    return value


def base_named(name: str, base: str, features: int, context: int) -> Density:
    """The base distribution of that name."""
    one_of(name, "base", base, BASES)
    shape = (features,)
    if base == "conditional_normal":
        if not context:
            raise ValueError(f"{name}: base='conditional_normal' needs a context")
        return ConditionalNormal(shape, context=context)
    if base == "learned_normal":
        return Normal(shape, learned=True)
    if base == "learned_student_t":
        return StudentT(shape, df=LEARNED_DF, learned=True)
    if base == "gaussian_mixture":
        return GaussianMixture(shape)
    return {"normal": Normal, "logistic": Logistic, "student_t": StudentT}[base](shape)


def scalar_named(
    name: str, scalar: str, *, bins: int = 8, bound: float = 3.0, components: int = 8
) -> ScalarMap:
    """The scalar map of that name, with those of the options that it has."""
    one_of(name, "scalar", scalar, SCALARS)
    if scalar == "spline":
        return RationalQuadraticSpline(bins=bins, bound=bound)
    if scalar == "logistic_mixture":
        return LogisticMixture(components)
    return {
        "additive": Additive,
        "affine": Affine,
        "sigmoid_affine": SigmoidAffine,
        "sos": SumOfSquares,
        "deep_sigmoid": DeepSigmoid,
    }[scalar]()


def spline_of(bins: int, bound: float, affine: bool) -> ScalarMap:
    """A spline, behind an affine map or alone."""
    spline = RationalQuadraticSpline(bins=bins, bound=bound)
    return Composed(Affine(), spline) if affine else spline


def linear_named(name: str, linear: str, features: int, index: int) -> list[Bijection]:
    """The linear map of that name before step `index`; random ones are drawn from `index`."""
    one_of(name, "linear", linear, LINEARS)
    if linear == "none":
        return []
    if linear == "reverse":
        return [Permutation(features, "reverse")] if index else []
    if linear == "permutation":
        return [Permutation(features, random_order(features, index))]
    if linear == "lu":
        return [LULinear(features, random_order(features, index))]
    return [QRLinear(features) if linear == "qr" else FullLinear(features)]


def normalization_named(name: str, normalization: str, features: int) -> list[Bijection]:
    """The normalisation of that name, if any."""
    one_of(name, "normalization", normalization, NORMALIZATIONS)
    if normalization == "none":
        return []
    return [BatchNorm(features) if normalization == "batch" else ActNorm((features,))]


def random_order(features: int, seed: int) -> list[int]:
    """A permutation drawn from a seed of its own, whatever the global generator's state."""
    return torch.randperm(features, generator=torch.Generator().manual_seed(seed)).tolist()
