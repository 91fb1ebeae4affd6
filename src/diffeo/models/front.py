"""What stands in front of a flow: from where the data lives onto the line, at a common scale."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from diffeo.bijections.base import Bijection
from diffeo.bijections.chain import Chain
from diffeo.bijections.columnwise import Columnwise
from diffeo.bijections.dequantize import Dequantize, DequantizeRange
from diffeo.bijections.elementwise import Elementwise
from diffeo.bijections.fixed import FixedAffine, Logit
from diffeo.bijections.frequencies import FrequencyDequantize
from diffeo.bijections.halfline import SoftLog
from diffeo.bijections.normalization import Standardize
from diffeo.bijections.unheap import Unheap
from diffeo.contexts import Shape, known_shape
from diffeo.models.image_parts import NoiseOptions, variational
from diffeo.models.parts import at_least, features_of, one_of
from diffeo.scalars import LogisticMixture
from diffeo.supports import Support

MOST_FREQUENCIES = 1024
"""Whole numbers of up to so many levels are dequantized by their frequencies, others evenly."""

DEQUANTIZATIONS = ("uniform", "variational")

Supports = Sequence[Mapping[str, Any]]
"""Where each element lies, in plain values: lower, upper, integer, each where it is needed."""


class Quantized(NamedTuple):
    """How whole numbers become continuous."""

    levels: int | None = None
    dequantization: str = "uniform"
    logit: float | bool = 0.0
    noise: Mapping[str, Any] = {}

    def told(self, usual_logit: float | bool) -> dict[str, Any]:
        """What is to be kept of it, to make the same again: what is not as where nothing is said.

        Nothing where there are no whole numbers. A logit is kept wherever models differ in theirs.
        """
        usual = Quantized._field_defaults
        found = {key: value for key, value in self._asdict().items() if value != usual[key]}
        # False == 0.0, which is another thing here.
        if self.logit is False or usual_logit is False or usual_logit != usual["logit"]:
            found["logit"] = self.logit
        return found if self.levels is not None else {}


def front(
    name: str,
    shape: Shape,
    quantized: Quantized,
    *,
    supports: Supports | None,
    standardize: bool,
    marginals: int | None,
) -> list[Bijection]:
    """The maps that `create` puts in front of a flow, in the order in which data meets them.

    Raises:
        TypeError: if an entry of `supports` is not one.
        ValueError: if a value is out of range, or both levels and supports are given.
    """
    if quantized.levels is not None and supports is not None:
        raise ValueError(f"{name}: give either levels or supports")
    if quantized.levels is None and supports is None and not standardize and marginals is None:
        return []
    known = known_shape(name, shape)
    parts = continuous(name, known, quantized)
    if supports is not None and (onto := onto_line(name, features_of(name, shape), supports)):
        parts.append(onto)
    if standardize:
        parts.append(Standardize(known))
    if marginals is not None:
        at_least(name, 1, marginals=marginals)
        parts.append(Elementwise(LogisticMixture(marginals), known))
    return parts


def continuous(name: str, shape: tuple[int, ...], quantized: Quantized) -> list[Bijection]:
    """Whole numbers onto the line: noise, and a logit or a change of scale; nothing for others."""
    levels, dequantization, logit, noise = quantized
    if levels is None:
        return []
    at_least(name, 2, levels=levels)
    one_of(name, "dequantization", dequantization, DEQUANTIZATIONS)
    if logit is True:
        raise ValueError(f"{name}: logit must be a number or False, got True")
    scale = FixedAffine(1 / levels, -0.5) if logit is False else Logit(0.0, float(levels), logit)
    domain: Support = scale.domain  # type: ignore[assignment]
    if dequantization == "uniform":
        return [Dequantize(levels, shape, domain), scale]
    if len(shape) < 2:
        raise ValueError(f"{name}: variational dequantization is for images; use uniform")
    if unknown := set(noise) - set(NoiseOptions._fields):
        known = ", ".join(NoiseOptions._fields)
        raise TypeError(f"{name}: noise has no option {min(unknown)!r}. There are: {known}")
    return [variational(levels, shape, domain, NoiseOptions(**noise)), scale]


def onto_line(name: str, features: int, supports: Supports) -> Columnwise | None:
    """A vector whose elements live on different sets, onto the line; None if all live there."""
    if len(supports) != features:
        raise ValueError(f"{name}: supports must be {features} entries, got {len(supports)}")
    groups: dict[tuple, list[int]] = {}
    for i, support in enumerate(supports):
        groups.setdefault(_group(name, i, support), []).append(i)
    groups.pop((-math.inf, math.inf, False), None)
    counted = [i for group in groups if group == () for i in groups[group]]
    parts: list[tuple[list[int], Bijection]] = []
    if counted:
        ends = [(int(supports[i]["lower"]), int(supports[i]["upper"])) for i in counted]
        by_frequency = FrequencyDequantize([u - a + 1 for a, u in ends], [a for a, _ in ends])
        parts.append((counted, Chain(by_frequency, Logit())))
    parts += [
        (positions, _onto_line(len(positions), *group))
        for group, positions in groups.items()
        if group
    ]
    return Columnwise(features, *parts) if parts else None


def _group(name: str, position: int, support: Mapping[str, Any]) -> tuple:
    """What elements must have in common to share a map; () for few levels, of any number."""
    where = f"{name}: supports[{position}]"
    if not isinstance(support, Mapping) or set(support) - {"lower", "upper", "integer"}:
        raise TypeError(f"{where} must be a dict of lower, upper and integer, got {support!r}")
    lower, upper = support.get("lower", -math.inf), support.get("upper", math.inf)
    integer = support.get("integer", False)
    numbers = all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in (lower, upper))
    if not numbers or not isinstance(integer, bool):
        raise TypeError(f"{where}: lower and upper must be numbers, integer a bool; got {support}")
    if not lower < upper:
        raise ValueError(f"{where}: lower must be below upper, got {lower} and {upper}")
    finite = math.isfinite(lower) and math.isfinite(upper)
    if integer and finite and upper - lower < MOST_FREQUENCIES:
        return ()
    return (float(lower), float(upper), integer)


def _onto_line(n: int, lower: float, upper: float, integer: bool) -> Bijection:
    """n elements of one set onto the line."""
    parts: list[Bijection] = []
    if integer:
        parts.append(DequantizeRange(n, lower, upper))
        upper += 1
        parts.append(Unheap(n, lower, upper))
    if math.isfinite(lower) and math.isfinite(upper):
        parts.append(Logit(lower, upper))
    elif math.isfinite(lower):
        parts.append(SoftLog(n, lower=lower))
    elif math.isfinite(upper):
        parts.append(SoftLog(n, upper=upper))
    return Chain(*parts)
