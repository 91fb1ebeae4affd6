"""Small examples of every base distribution, composite density and named model, of any D."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

import diffeo
from diffeo import bases
from diffeo import bijections as bj
from diffeo import scalars as sc
from diffeo.autoregressive import AutoregressiveDensity, GaussianMixtureHead
from diffeo.density import Density, Flow
from diffeo.mixture import Mixture
from diffeo.models import IMAGE_MODELS as IMAGE_REGISTRY
from diffeo.models import MODELS as REGISTRY
from diffeo.models import SOUND_MODELS as SOUND_REGISTRY
from diffeo.nets.made import MADE
from tests.catalogue import BOTH, CONTEXT, autoregressive, conditioner, coupling
from tests.properties.draws import SCALE, context_for, points, redraw


@dataclass(frozen=True)
class DensityCase:
    """An example of a density.

    Args:
        name: how tests call it.
        build: makes it, given D and the number of context features (0 for none).
        contexts: numbers of context features it can be built with.
        model: the named model that it is, if any.
    """

    name: str
    build: Callable[[int, int], Density]
    contexts: tuple[int, ...] = (0,)
    model: str | None = None

    def make(
        self,
        context: int = 0,
        dtype: torch.dtype = torch.float64,
        scale: float = SCALE,
        features: int = 3,
    ) -> Density:
        """The example in evaluation mode, its weights drawn anew."""
        with torch.random.fork_rng():
            torch.manual_seed(1)
            density = self.build(features, context)
        return redraw(density, scale).to(dtype).eval()  # type: ignore[return-value]

    def inputs(
        self, density: Density, n: int = 6, dtype: torch.dtype = torch.float64
    ) -> tuple[Tensor, Any]:
        """n points of the support, and a context for each."""
        x = points(density.support, (n, *density.event_shape), dtype)  # type: ignore[misc]
        return x, context_for(density.context_shape, (n,), dtype)


def base(name: str, build: Callable[[int], Density]) -> DensityCase:
    """An example of a base distribution."""
    return DensityCase(name, lambda features, context: build(features))


def mixture_of_flows(features: int, context: int) -> Density:
    """Two flows of different kinds and unequal weights."""
    one = Flow(bases.Normal(features), autoregressive(sc.Affine(), context, features))
    other = Flow(bases.Logistic(features), coupling(bj.Halves(features), sc.Affine(), context))
    return Mixture([one, other], weights=(0.3, 0.7))


def on_the_half_line(features: int, context: int) -> Density:
    """A flow of positive data."""
    return Flow(
        bases.Normal(features), bj.Chain(bj.Log(), autoregressive(sc.Affine(), context, features))
    )


def on_an_interval(features: int, context: int) -> Density:
    """A flow of data in [−1, 3], bounded splines over a beta distribution."""
    unit = sc.RationalQuadraticSpline(bins=4, tails="bounded", lower=0.0, upper=1.0)
    chain = bj.Chain(bj.Rescale(-1.0, 3.0), autoregressive(unit, context, features))
    return Flow(bases.Beta(features, 2.0, 3.0), chain)


def on_the_circle(features: int, context: int) -> Density:
    """A flow of angles."""
    circular = sc.RationalQuadraticSpline(bins=4, tails="circular")
    base_ = bases.Uniform(features, circular.lower, circular.upper)
    return Flow(base_, autoregressive(circular, context, features))


def with_conditional_base(features: int, context: int) -> Density:
    """A flow whose base depends on the context too."""
    base_ = bases.ConditionalNormal(features, conditioner((features, 2), context))
    return Flow(base_, autoregressive(sc.Affine(), context, features))


def made_of_mixtures(features: int, context: int) -> Density:
    """MADE-MoG."""
    head = GaussianMixtureHead(3)
    net = MADE(features, head.num_params, (8, 8), context, activation="tanh")
    return AutoregressiveDensity(net, head)


DENSITIES = [
    base("Normal", lambda features: bases.Normal(features)),
    base("Normal/learned", lambda features: bases.Normal(features, learned=True)),
    base("Logistic", lambda features: bases.Logistic(features)),
    base("Uniform", lambda features: bases.Uniform(features, -1.0, 2.0)),
    base("Beta", lambda features: bases.Beta(features, 2.0, 0.7)),
    base("Beta/learned", lambda features: bases.Beta(features, 1.5, 3.0, learned=True)),
    base("StudentT", lambda features: bases.StudentT(features)),
    base("StudentT/learned", lambda features: bases.StudentT(features, 3.0, learned=True)),
    base("GaussianMixture", lambda features: bases.GaussianMixture(features, 3)),
    base(
        "GaussianMixture/fixed", lambda features: bases.GaussianMixture(features, 3, learned=False)
    ),
    DensityCase(
        "ConditionalNormal",
        lambda features, context: bases.ConditionalNormal(
            features, conditioner((features, 2), context)
        ),
        (CONTEXT,),
    ),
    DensityCase("AutoregressiveDensity", made_of_mixtures, BOTH),
    DensityCase("Mixture", mixture_of_flows, BOTH),
    DensityCase("Flow/half-line", on_the_half_line, BOTH),
    DensityCase("Flow/interval", on_an_interval, BOTH),
    DensityCase("Flow/circle", on_the_circle, BOTH),
    DensityCase("Flow/conditional-base", with_conditional_base, (CONTEXT,)),
]

SMALL: dict[str, Any] = {
    "transforms": 2,
    "hidden": (8, 8),
    "bins": 4,
    "components": 3,
    "units": 4,
    "degree": 2,
    "polynomials": 2,
    "activation": "tanh",
}
"""Options that make a model small, those of them that it has."""


@dataclass(frozen=True)
class Variant:
    """A named model with options other than its defaults."""

    model: str
    label: str
    options: dict[str, Any] = field(default_factory=dict)


VARIANTS = [
    Variant("maf", "mixture", {"base": "mixture"}),
    Variant("maf", "logistic-mixture", {"scalar": "logistic_mixture"}),
    Variant("maf", "batch-norm", {"normalization": "batch", "residual": True, "order": "random"}),
    Variant("maf", "fronts", {"standardize": True, "marginals": 2}),
    Variant("nsf", "plain", {"linear": "none", "residual": False}),
    Variant(
        "nsf_coupling",
        "permuted",
        {"linear": "permutation", "partition": "halves", "base": "student_t"},
    ),
    Variant("iaf", "spline", {"scalar": "spline"}),
    Variant("glow1d", "qr", {"linear": "qr", "normalization": "batch"}),
    Variant("realnvp", "actnorm", {"normalization": "actnorm", "base": "gaussian_mixture"}),
]


def named(model: str, label: str = "", options: dict[str, Any] | None = None) -> DensityCase:
    """An example of a named model."""
    own = REGISTRY[model].options
    chosen = {
        **{option: value for option, value in SMALL.items() if option in own},
        **(options or {}),
    }
    return DensityCase(
        f"{model}/{label}" if label else model,
        lambda features, context: diffeo.create(
            model, features=features, context=context or None, **chosen
        ),
        BOTH,
        model,
    )


def with_several_contexts(features: int, context: int) -> Density:
    """A model with a context of two parts, given by name."""
    parts = {"place": (2,), "picture": (2, 2)}
    return diffeo.create("maf", features=features, context=parts, transforms=2, hidden=(8, 8))


def of_mixed_columns(features: int, context: int) -> Density:
    """Elements on different sets, some of them whole numbers."""
    kinds = [{"lower": 0, "upper": 2, "integer": True}, {}, {"lower": 0.0, "upper": 3.0}]
    model = diffeo.create(
        "maf",
        features=features,
        context=context or None,
        supports=[kinds[i % 3] for i in range(features)],
        transforms=2,
        hidden=(8, 8),
        activation="tanh",
    )
    x = points(model.support, (50, features), torch.float32)
    model.initialize(x, context_for(model.context_shape, (50,), torch.float32))
    return model


def of_whole_columns(features: int, context: int) -> Density:
    """Whole numbers, of different levels."""
    kinds = [{"lower": 0, "upper": 1, "integer": True}, {"lower": -1, "upper": 1, "integer": True}]
    supports = [kinds[i % 2] for i in range(features)]
    return diffeo.create(
        "maf",
        features=features,
        context=context or None,
        supports=supports,
        transforms=2,
        hidden=(8, 8),
        activation="tanh",
    )


MODELS = [
    *(named(model) for model in REGISTRY),
    DensityCase("maf/several-contexts", with_several_contexts, (CONTEXT,), "maf"),
    *(named(variant.model, variant.label, variant.options) for variant in VARIANTS),
]

DISCRETE = [
    DensityCase(
        f"{model}/levels",
        lambda features, context, model=model: diffeo.create(
            model, features=features, context=context or None, levels=3, transforms=2, hidden=(8, 8)
        ),
        BOTH,
        model,
    )
    for model in ("maf", "realnvp")
]
DISCRETE.append(DensityCase("maf/whole-columns", of_whole_columns, BOTH, "maf"))

SMALL_IMAGES: dict[str, Any] = {
    "transforms": 2,
    "hidden": (8, 8),
    "scales": 2,
    "steps": 1,
    "filters": 4,
    "blocks": 1,
    "components": 3,
    "heads": 2,
    "couplings": (1, 1, 1),
    "activation": "tanh",
}
"""Options that make a model of images small, those of them that it has."""


def image_model(
    model: str, label: str = "", shape: tuple[int, ...] = (1, 4, 4), **options: Any
) -> DensityCase:
    """An example of a named model of images; D is that of the shape, whatever is asked for."""
    own = IMAGE_REGISTRY[model].options
    chosen = {key: value for key, value in SMALL_IMAGES.items() if key in own} | options
    return DensityCase(
        f"{model}/{label}" if label else f"{model}/image",
        lambda features, context: diffeo.create(
            model, shape=shape, context=context or None, **chosen
        ),
        BOTH,
        model,
    )


IMAGES = [
    *(image_model(model) for model in IMAGE_REGISTRY),
    image_model("glow", "signal", (2, 4), scalar="additive", linear="lu", base="logistic"),
    image_model("glow", "volume", (1, 2, 4, 2), scales=1, linear="reverse", normalization="none"),
    image_model("glow", "spline", scalar="spline", bins=4, linear="qr", normalization="batch"),
    image_model("realnvp", "plain", scalar="additive", normalization="actnorm", scales=1),
    image_model(
        "flowpp",
        "lattice",
        attention=False,
        partition="lattice",
        couplings=(3, 0, 0),
        scalar="affine",
    ),
    image_model("flowpp", "affine", attention=False, scalar="affine", base="student_t"),
]

DISCRETE_IMAGES = [
    image_model("glow", "image-levels", levels=3),
    image_model("realnvp", "image-levels", levels=3),
    image_model(
        "flowpp",
        "image-levels",
        levels=3,
        dequantization="variational",
        noise={"filters": 4, "blocks": 1, "components": 2, "couplings": 2},
    ),
]

SMALL_SOUNDS: dict[str, Any] = {
    "transforms": 2,
    "layers": 3,
    "cycle": 2,
    "residual": 6,
    "components": 3,
    "hop": 2,
}
"""Options that make a model of sounds small, those of them that it has."""

SMALL_WAVEGLOW: dict[str, Any] = {
    "group": 4,
    "flows": 2,
    "early_every": 1,
    "skip": 6,
    "overlap": 2,
}
"""The same of WaveGlow, two of whose channels leave after the first flow."""


def sound_model(
    model: str,
    label: str = "",
    shape: tuple[int, ...] = (1, 6),
    local: tuple[int, int] | None = None,
    **options: Any,
) -> DensityCase:
    """An example of a named model of sounds; its context is a vector, and local features if any."""
    own = SOUND_REGISTRY[model].options
    chosen = {key: value for key, value in SMALL_SOUNDS.items() if key in own} | options

    def build(features: int, context: int) -> Density:
        parts = {"mel": local, "speaker": (context,)} if local else context or None
        return diffeo.create(model, shape=shape, context=parts, **chosen)

    return DensityCase(f"{model}/{label or 'sound'}", build, (CONTEXT,) if local else BOTH, model)


SOUNDS = [
    sound_model("wavenet"),
    sound_model("wavenet", "gaussian", head="gaussian", skip=None, bits=8, local=(2, 3)),
    sound_model("wavenet", "predicts", prediction=3),
    sound_model("wavenet", "mu-law", head="mu-law", bits=3, width=3),
    sound_model("maf"),
    sound_model("maf", "local", local=(2, 4), width=3, normalization="none", base="normal"),
    sound_model("iaf"),
    sound_model("iaf", "layers", layers=(1, 2), skip=4, scalar="sigmoid_affine", weight_norm=True),
    sound_model("waveglow", shape=(1, 8), **SMALL_WAVEGLOW),
    sound_model("waveglow", "local", shape=(1, 8), local=(2, 4), **SMALL_WAVEGLOW),
]

MIXED = [DensityCase("maf/mixed-columns", of_mixed_columns, BOTH, "maf")]
"""Some elements have a density, others a probability: no grid sums over both."""

ALL = [*DENSITIES, *MODELS]
