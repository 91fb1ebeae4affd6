"""Elementwise maps with nothing to learn: from where data lives to the line, and back.

Each acts on every element alone (`event_dim` 0), so its log-determinant has the shape of its input.

Where rounding would put a result on an end that an open set leaves out (σ(20) = 1 in float32), the
result is the nearest number inside. An input on such an end, or beyond it, is read as that nearest
number too: never a NaN or an infinity.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from diffeo.bijections.base import Bijection
from diffeo.contexts import Context
from diffeo.supports import LINE, POSITIVE, UNIT, Support

Pair = tuple[Tensor, Tensor]
DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)


class Exp(Bijection):
    """The exponential: z = l + eˣ, log dz/dx = x. Inverse: x = log(z − l).

    Args:
        lower: l, the end of the half-line that z lies on.
    Shapes: x, z, ladj: (*,).

    Raises:
        ValueError: if l is not finite.
    """

    def __init__(self, lower: float = 0.0) -> None:
        super().__init__()
        self.lower = float(lower)
        self.codomain = _half_line(type(self).__name__, lower)
        self._inside = Inside(self.codomain)

    def _forward(self, x: Tensor, context: Context) -> Pair:
        return _exp(x, self._inside)

    def _inverse(self, z: Tensor, context: Context) -> Pair:
        return _log(z, self._inside)

    def extra_repr(self) -> str:
        """The lower end."""
        return f"lower={self.lower:g}"


class Log(Bijection):
    """The logarithm: z = log(x − l), log dz/dx = −z. Inverse: x = l + eᶻ.

    Args:
        lower: l, the end of the half-line that x lies on.
    Shapes: x, z, ladj: (*,).

    Raises:
        ValueError: if l is not finite.
    """

    def __init__(self, lower: float = 0.0) -> None:
        super().__init__()
        self.lower = float(lower)
        self.domain = _half_line(type(self).__name__, lower)
        self._inside = Inside(self.domain)

    def _forward(self, x: Tensor, context: Context) -> Pair:
        return _log(x, self._inside)

    def _inverse(self, z: Tensor, context: Context) -> Pair:
        return _exp(z, self._inside)

    def extra_repr(self) -> str:
        """The lower end."""
        return f"lower={self.lower:g}"


class Softplus(Bijection):
    """The softplus: z = log(1 + eˣ), log dz/dx = log σ(x). Inverse: x = z + log(1 − e⁻ᶻ).

    Beside `Exp` it grows linearly, and so does its inverse: large values stay of the same size.

    Shapes: x, z, ladj: (*,).
    """

    codomain = POSITIVE

    def __init__(self) -> None:
        super().__init__()
        self._inside = Inside(POSITIVE)

    def _forward(self, x: Tensor, context: Context) -> Pair:
        # Not F.softplus, which returns x above a threshold: wrong by 2e-9 there.
        return self._inside(-F.logsigmoid(-x)), F.logsigmoid(x)

    def _inverse(self, z: Tensor, context: Context) -> Pair:
        z = self._inside(z)
        x = z + (-torch.expm1(-z)).log()
        return x, -F.logsigmoid(x)


class Sigmoid(Bijection):
    """The logistic function: z = l + (u − l) σ(x). Inverse: x = log(z − l) − log(u − z).

    log dz/dx = log(u − l) + log σ(x) + log σ(−x).

    Args:
        lower: l.
        upper: u.
    Shapes: x, z, ladj: (*,).

    Raises:
        ValueError: if l < u does not hold, or one is not finite.
    """

    def __init__(self, lower: float = 0.0, upper: float = 1.0) -> None:
        super().__init__()
        self.lower, self.upper = float(lower), float(upper)
        self.codomain = _interval(type(self).__name__, lower, upper)
        self._inside = Inside(self.codomain)

    def _forward(self, x: Tensor, context: Context) -> Pair:
        return _sigmoid(x, self._inside)

    def _inverse(self, z: Tensor, context: Context) -> Pair:
        return _logit(z, self._inside)

    def extra_repr(self) -> str:
        """The interval."""
        return f"lower={self.lower:g}, upper={self.upper:g}"


class Logit(Bijection):
    """The logit: z = log(x − l) − log(u − x). Inverse: x = l + (u − l) σ(z).

    log dz/dx = log(u − l) − log(x − l) − log(u − x).

    With α > 0 it is RealNVP's squeezed logit, z = logit(α + (1 − 2α)(x − l)/(u − l)), whose values
    for x in [l, u] stay within ±logit(1 − α). Only a wider interval is mapped onto the whole line,
    and that is the declared domain: (l − δ, u + δ), δ = α (u − l)/(1 − 2α). So a density on the
    line gives one that integrates to 1, some of it just outside [l, u].

    Args:
        lower: l.
        upper: u.
        alpha: α, in [0, ½); RealNVP takes 0.05.
    Shapes: x, z, ladj: (*,).

    Raises:
        ValueError: if l < u does not hold, one is not finite, or α lies outside [0, ½).
    Reference: Dinh, Sohl-Dickstein & Bengio, 2016, RealNVP, arXiv:1605.08803, section 4.1.

    Example:
        >>> import torch
        >>> from diffeo.bijections import Logit
        >>> Logit(0.0, 10.0)(torch.tensor([5.0, 9.0]))[0]
        tensor([-0.0000, 2.1972])
    """

    def __init__(self, lower: float = 0.0, upper: float = 1.0, alpha: float = 0.0) -> None:
        super().__init__()
        if not 0 <= alpha < 0.5:
            raise ValueError(f"Logit: alpha must lie in [0, 0.5), got {alpha}")
        _interval(type(self).__name__, lower, upper)
        self.lower, self.upper, self.alpha = float(lower), float(upper), float(alpha)
        margin = alpha * (upper - lower) / (1 - 2 * alpha)
        self.domain = _interval(type(self).__name__, lower - margin, upper + margin)
        self._inside = Inside(self.domain)

    def _forward(self, x: Tensor, context: Context) -> Pair:
        return _logit(x, self._inside)

    def _inverse(self, z: Tensor, context: Context) -> Pair:
        return _sigmoid(z, self._inside)

    def extra_repr(self) -> str:
        """The interval and α."""
        return f"lower={self.lower:g}, upper={self.upper:g}, alpha={self.alpha:g}"


class Tanh(Bijection):
    """The hyperbolic tangent: z = tanh x. Inverse: x = artanh z.

    log dz/dx = log 4 + log σ(2x) + log σ(−2x).

    Shapes: x, z, ladj: (*,).
    """

    def __init__(self) -> None:
        super().__init__()
        self.codomain = _interval(type(self).__name__, -1.0, 1.0)
        self._inside = Inside(self.codomain)

    def _forward(self, x: Tensor, context: Context) -> Pair:
        ladj = math.log(4) + F.logsigmoid(2 * x) + F.logsigmoid(-2 * x)
        return self._inside(torch.tanh(x)), ladj

    def _inverse(self, z: Tensor, context: Context) -> Pair:
        z = self._inside(z)
        above, below = torch.log1p(z), torch.log1p(-z)
        return 0.5 * (above - below), -(above + below)


class LeakyReLU(Bijection):
    """A line with a bend: z = x for x ≥ 0, a x below. Inverse: x = z for z ≥ 0, z / a below.

    log dz/dx = 0 for x ≥ 0, log a below.

    Args:
        slope: a > 0.
    Shapes: x, z, ladj: (*,).

    Raises:
        ValueError: if a is not positive and finite.
    """

    recompute = "invert"

    def __init__(self, slope: float = 0.01) -> None:
        super().__init__()
        if not 0 < slope < math.inf:
            raise ValueError(f"LeakyReLU: slope must be positive and finite, got {slope}")
        self.slope = float(slope)

    def _forward(self, x: Tensor, context: Context) -> Pair:
        zero = torch.zeros_like(x)
        return torch.where(x < 0, self.slope * x, x), torch.where(x < 0, math.log(self.slope), zero)

    def _inverse(self, z: Tensor, context: Context) -> Pair:
        zero = torch.zeros_like(z)
        return torch.where(z < 0, z / self.slope, z), torch.where(
            z < 0, -math.log(self.slope), zero
        )

    def extra_repr(self) -> str:
        """The slope."""
        return f"slope={self.slope:g}"


class FixedAffine(Bijection):
    """A given scale and shift: z = a x + b, log dz/dx = log|a|. Inverse: x = (z − b) / a.

    The codomain is the domain's image, so that it moves an interval or a half-line about:
    `FixedAffine(-1.0, 5.0, Support(upper=5.0))` takes what lies below 5 to the positive half-line.

    Args:
        scale: a, not 0.
        shift: b.
        domain: where x lies.
    Shapes: x, z, ladj: (*,).

    Raises:
        ValueError: if a is 0, a or b is not finite, or the domain is a circle or holds whole
            numbers.
    """

    recompute = "invert"

    def __init__(self, scale: float = 1.0, shift: float = 0.0, domain: Support = LINE) -> None:
        super().__init__()
        if scale == 0 or not math.isfinite(scale) or not math.isfinite(shift):
            raise ValueError(
                "FixedAffine: scale and shift must be finite, and scale not 0, "
                f"got {scale} and {shift}"
            )
        if domain.integer or domain.circular:
            raise ValueError(
                f"FixedAffine: domain must be an interval, a half-line or the line, got {domain}"
            )
        self.scale, self.shift, self.domain = float(scale), float(shift), domain
        ends = sorted((scale * domain.lower + shift, scale * domain.upper + shift))
        self.codomain = Support(*ends, closed=domain.closed)

    def _forward(self, x: Tensor, context: Context) -> Pair:
        z = self.scale * x + self.shift
        return z, torch.full_like(z, math.log(abs(self.scale)))

    def _inverse(self, z: Tensor, context: Context) -> Pair:
        x = (z - self.shift) / self.scale
        return x, torch.full_like(x, -math.log(abs(self.scale)))

    def extra_repr(self) -> str:
        """Scale and shift."""
        return f"scale={self.scale:g}, shift={self.shift:g}"


class Rescale(Bijection):
    """A closed interval to the unit interval: z = (x − l)/(u − l). Inverse: x = l + (u − l) z.

    log dz/dx = −log(u − l). Ends go to ends exactly, both ways.

    Args:
        lower: l.
        upper: u.
    Shapes: x, z, ladj: (*,).

    Raises:
        ValueError: if l < u does not hold, or one is not finite.
    """

    codomain = UNIT
    recompute = "invert"

    def __init__(self, lower: float, upper: float) -> None:
        super().__init__()
        _interval(type(self).__name__, lower, upper)
        self.lower, self.upper = float(lower), float(upper)
        self.domain = Support(self.lower, self.upper, closed=True)

    def _forward(self, x: Tensor, context: Context) -> Pair:
        width = self.upper - self.lower
        # From the nearer end, so that rounding can't carry an end past the other.
        z = torch.where(
            2 * (x - self.lower) < width, (x - self.lower) / width, 1 - (self.upper - x) / width
        )
        return z, torch.full_like(z, -math.log(width))

    def _inverse(self, z: Tensor, context: Context) -> Pair:
        width = self.upper - self.lower
        x = torch.where(z < 0.5, self.lower + width * z, self.upper - width * (1 - z))
        return x, torch.full_like(x, math.log(width))

    def extra_repr(self) -> str:
        """The interval."""
        return f"lower={self.lower:g}, upper={self.upper:g}"


class Inside:
    """Moves what lies on or beyond the ends of an open set to the nearest numbers inside it."""

    def __init__(self, support: Support) -> None:
        self.lower, self.upper = support.lower, support.upper
        # Found once: they are constants of the dtype when traced.
        self.bounds = {
            dtype: (_beside(self.lower, 1, dtype), _beside(self.upper, -1, dtype))
            for dtype in DTYPES
        }
        self.parts = {
            dtype: (_split(self.lower, dtype), _split(self.upper, dtype)) for dtype in DTYPES
        }

    def __call__(self, x: Tensor) -> Tensor:
        lower, upper = self.bounds[x.dtype]
        return x.clamp(min=lower, max=upper)

    def above(self, x: Tensor) -> Tensor:
        """x − l, beside l too where the dtype does not hold l."""
        near, rest = self.parts[x.dtype][0]
        return x - near - rest if rest else x - near

    def below(self, x: Tensor) -> Tensor:
        """u − x, likewise."""
        near, rest = self.parts[x.dtype][1]
        return near - x + rest if rest else near - x


def _beside(end: float, side: int, dtype: torch.dtype) -> float | None:
    """The dtype's number beside `end`, above (side 1) or below (−1); None for an infinite end."""
    if math.isinf(end):
        return None
    at = torch.tensor(end, dtype=dtype, device="cpu")
    return torch.nextafter(at, torch.full_like(at, side * math.inf)).item()


def _split(end: float, dtype: torch.dtype) -> tuple[float, float]:
    """The dtype's number nearest to `end`, and what it lacks."""
    if math.isinf(end):
        return end, 0.0
    near = torch.tensor(end, dtype=dtype, device="cpu").item()
    return near, end - near


def _exp(x: Tensor, inside: Inside) -> Pair:
    # Bounded by an exponent whose exponential is finite in the dtype.
    limit = torch.finfo(x.dtype)
    power = x.clamp(max=math.log(limit.max) * (1 - limit.eps)).exp()
    return inside(inside.lower + power), x


def _log(x: Tensor, inside: Inside) -> Pair:
    z = inside.above(inside(x)).log()
    return z, -z


def _sigmoid(x: Tensor, inside: Inside) -> Pair:
    width = inside.upper - inside.lower
    # The distance from the nearer end, w e⁻ˣ / (1 + e⁻ˣ), keeps its relative precision; halving
    # the exponent keeps it from vanishing before it has to.
    negative = torch.where(x < 0, x, -x)
    root = torch.exp(0.5 * negative)
    distance = width * root * root / (1 + root * root)
    z = inside(torch.where(x < 0, inside.lower + distance, inside.upper - distance))
    return z, math.log(width) + F.logsigmoid(x) + F.logsigmoid(-x)


def _logit(x: Tensor, inside: Inside) -> Pair:
    x = inside(x)
    above, below = inside.above(x), inside.below(x)
    log_above, log_below = above.log(), below.log()
    # In the middle of a wide interval the difference of logarithms would lose precision.
    # (Not minimum and maximum, whose gradients cancel where both ends are equally far.)
    low = above < below
    ratio = torch.where(low, above, below) / torch.where(low, below, above)
    middle = ratio.clamp(min=0.1).log()
    z = torch.where(ratio > 0.1, torch.where(low, middle, -middle), log_above - log_below)
    return z, math.log(inside.upper - inside.lower) - log_above - log_below


def _half_line(owner: str, lower: float) -> Support:
    if not math.isfinite(lower):
        raise ValueError(f"{owner}: lower must be finite, got {lower}")
    return Support(lower=float(lower))


def _interval(owner: str, lower: float, upper: float) -> Support:
    if not (math.isfinite(lower) and math.isfinite(upper) and lower < upper):
        raise ValueError(f"{owner}: needs finite lower < upper, got {lower} and {upper}")
    return Support(float(lower), float(upper))
