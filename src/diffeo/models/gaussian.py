"""The full-covariance Gaussian, as a flow: what every other model should beat."""

from collections.abc import Sequence

from diffeo.bijections.base import Bijection
from diffeo.bijections.chain import Chain
from diffeo.bijections.elementwise import Elementwise
from diffeo.bijections.linear import LULinear
from diffeo.bijections.normalization import ActNorm
from diffeo.contexts import ContextArgument
from diffeo.density import Flow
from diffeo.models.parts import base_named, features_of, vector_context
from diffeo.models.registry import register
from diffeo.nets.mlp import MLP, check_hidden
from diffeo.scalars import Affine


@register(
    "gaussian",
    reference="Kobyzev, Prince & Brubaker, 2019, Normalizing flows: an introduction and review, "
    "arXiv:1908.09257",
)
def gaussian(
    shape: Sequence[int],
    context: ContextArgument = None,
    *,
    hidden: Sequence[int] = (64, 64),
    base: str = "normal",
) -> Flow:
    """A full-covariance Gaussian: an affine map of the whole vector.

    z = L(s ⊙ x + t), L = P·lower·upper. With a context, mean and scales depend on it, the
    correlations do not.

    Args:
        shape: (D,).
        context: what to condition on.
        hidden: widths of the network from the context; unused without one.
        base: one of `diffeo.models.parts.BASES`.
    """
    features = features_of("gaussian", shape)
    check_hidden("gaussian", hidden, residual=False)  # a mistake, even where it is unused
    width, declared, join = vector_context(context)
    parts: list[Bijection] = [ActNorm((features,))]
    if width:
        parts.append(Elementwise(Affine(), (features,), MLP(0, (features, 2), hidden, width)))
    parts.append(LULinear(features))
    return Flow(
        base_named("gaussian", base, features, width),
        Chain(*parts),
        context=declared,
        context_net=join,
    )
