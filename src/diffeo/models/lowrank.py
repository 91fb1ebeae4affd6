"""Flows that bend space a few directions at a time: planar, radial, Sylvester."""

from collections.abc import Sequence

from diffeo.bijections.base import Bijection
from diffeo.bijections.chain import Chain, Inverse
from diffeo.bijections.lowrank import Planar, Radial, Sylvester
from diffeo.contexts import ContextArgument
from diffeo.density import Flow
from diffeo.models.parts import (
    at_least,
    base_named,
    features_of,
    linear_named,
    one_of,
    vector_context,
)
from diffeo.models.registry import register
from diffeo.nets.mlp import MLP

REZENDE_2015 = (
    "Rezende & Mohamed, 2015, Variational inference with normalizing flows, arXiv:1505.05770"
)
VAN_DEN_BERG_2018 = (
    "van den Berg, Hasenclever, Tomczak & Welling, 2018, Sylvester normalizing flows, "
    "arXiv:1803.05649"
)

FAST = ("density", "sampling")


def _turned(name: str, fast: str, part: Bijection) -> Bijection:
    """The closed form in the direction that has to be fast."""
    return Inverse(part) if one_of(name, "fast", fast, FAST) == "sampling" else part


def _net(shape: tuple[int], hidden: Sequence[int], context: int) -> MLP | None:
    return MLP(0, shape, hidden, context) if context else None


@register(
    "planar",
    reference=REZENDE_2015,
    presets={f"k{k}": {"transforms": k, "fast": "sampling", "linear": "none"} for k in (2, 8, 32)},
)
def planar(
    shape: Sequence[int],
    context: ContextArgument = None,
    *,
    transforms: int = 8,
    hidden: Sequence[int] = (64, 64),
    fast: str = "density",
    linear: str = "lu",
    base: str = "normal",
) -> Flow:
    """Planar flow: each step moves points along one direction.

    The presets are the paper's flow lengths, K = 2, 8 and 32.

    Args:
        shape: (D,).
        context: what to condition on.
        transforms: number of steps (the paper's flow length).
        hidden: widths of the networks from the context; unused without one.
        fast: the direction with the closed form: "density" to fit data, "sampling" for variational
            inference. The other is solved numerically.
        linear: a map of the whole vector before the steps, as in `sylvester`.
        base: one of `diffeo.models.parts.BASES`.
    """
    features = features_of("planar", shape)
    at_least("planar", 1, transforms=transforms)
    width, declared, join = vector_context(context)
    parts = linear_named("planar", linear, features, 0)
    parts += [
        _turned("planar", fast, Planar(features, _net(Planar.param_shape(features), hidden, width)))
        for _ in range(transforms)
    ]
    return Flow(
        base_named("planar", base, features, width),
        Chain(*parts),
        context=declared,
        context_net=join,
    )


@register(
    "radial",
    reference=REZENDE_2015,
    presets={f"k{k}": {"transforms": k, "fast": "sampling", "linear": "none"} for k in (2, 8, 32)},
)
def radial(
    shape: Sequence[int],
    context: ContextArgument = None,
    *,
    transforms: int = 8,
    hidden: Sequence[int] = (64, 64),
    fast: str = "density",
    linear: str = "lu",
    base: str = "normal",
) -> Flow:
    """Radial flow: each step pushes points from, or pulls them to, a centre.

    The presets are the paper's flow lengths, K = 2, 8 and 32.

    Args:
        shape: (D,).
        context: what to condition on.
        transforms: number of steps (the paper's flow length).
        hidden: widths of the networks from the context; unused without one.
        fast: "density" or "sampling": the direction that is the paper's formula; the other is
            closed, too.
        linear: a map of the whole vector before the steps, as in `sylvester`.
        base: one of `diffeo.models.parts.BASES`.
    """
    features = features_of("radial", shape)
    at_least("radial", 1, transforms=transforms)
    width, declared, join = vector_context(context)
    parts = linear_named("radial", linear, features, 0)
    parts += [
        _turned("radial", fast, Radial(features, _net(Radial.param_shape(features), hidden, width)))
        for _ in range(transforms)
    ]
    return Flow(
        base_named("radial", base, features, width),
        Chain(*parts),
        context=declared,
        context_net=join,
    )


@register(
    "sylvester",
    reference=VAN_DEN_BERG_2018,
    presets={"mnist": {"transforms": 4, "rank": 8, "fast": "sampling", "linear": "none"}},
)
def sylvester(
    shape: Sequence[int],
    context: ContextArgument = None,
    *,
    transforms: int = 4,
    rank: int | None = None,
    hidden: Sequence[int] = (64, 64),
    fast: str = "density",
    linear: str = "lu",
    base: str = "normal",
) -> Flow:
    """Sylvester flow: each step moves points along several orthogonal directions at once.

    The preset is the example of the authors' code (github.com/riannevdberg/sylvester-flows): 4
    flows of 8 directions, the posterior of a variational autoencoder of MNIST.

    Args:
        shape: (D,).
        context: what to condition on.
        transforms: number of steps.
        rank: M, the number of directions; min(D, 8) unless told.
        hidden: widths of the networks from the context; unused without one.
        fast: the direction with the closed form: "density" to fit data, "sampling" for variational
            inference. The other is solved numerically, one direction after another.
        linear: a map of the whole vector before the steps, which alone reach few directions: one of
            `diffeo.models.parts.LINEARS`. The paper's flow, of a posterior, has none.
        base: one of `diffeo.models.parts.BASES`.
    """
    features = features_of("sylvester", shape)
    rank = min(features, 8) if rank is None else rank
    at_least("sylvester", 1, transforms=transforms, rank=rank)
    width, declared, join = vector_context(context)
    parts = linear_named("sylvester", linear, features, 0)
    for _ in range(transforms):
        net = _net(Sylvester.param_shape(features, rank), hidden, width)
        parts.append(_turned("sylvester", fast, Sylvester(features, rank, net=net)))
    return Flow(
        base_named("sylvester", base, features, width),
        Chain(*parts),
        context=declared,
        context_net=join,
    )
