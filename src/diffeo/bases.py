"""Base distributions: densities of independent elements, as modules that move with the model."""

import math
from abc import abstractmethod
from collections.abc import Sequence

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from diffeo.base_parameters import (
    LOG_SCALE_BOUND,
    Position,
    PositiveShape,
    positive,
    unbound,
)
from diffeo.bijections.elementwise import sum_event
from diffeo.contexts import (
    Context,
    ContextArgument,
    JoinContext,
    as_context_shape,
    as_shape,
    known_shape,
)
from diffeo.density import Density
from diffeo.draws import Noise
from diffeo.gaussian_mixture import draw_mixture, mixture_log_density
from diffeo.nets.mlp import MLP
from diffeo.scalars.affine import soft_bound
from diffeo.supports import UNIT, Support

_HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)


class Base(Density):
    """A density whose elements are independent: log p(x|c) = Σ_i log p_i(x_i|c).

    It computes in float32 at least. A subclass writes the two methods below, for one element.

    Args:
        shape: event shape, or the number of features.

    Raises:
        TypeError: if the shape is not made of whole numbers (or None).
        ValueError: if an extent is not positive.
    """

    origin: Tensor

    def __init__(self, shape: int | Sequence[int | None]) -> None:
        super().__init__()
        self.event_shape = as_shape(self._name, shape)
        # A base may hold no numbers of its own; this one says where and in which dtype it samples.
        self.register_buffer("origin", torch.zeros(()), persistent=False)

    @abstractmethod
    def _log_density(self, x: Tensor, context: Context) -> Tensor:
        """log p_i(x_i|context), element by element."""

    @abstractmethod
    def _draw(self, noise: Noise, context: Context, temperature: float) -> Tensor:
        """Samples of the noise's size."""

    def _log_prob(self, x: Tensor, context: Context) -> Tensor:
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        return sum_event(self._log_density(wide, context), len(self.event_shape))

    def _sample(
        self,
        batch: tuple[int, ...],
        shape: tuple[int, ...],
        context: Context,
        temperature: float,
        generator: Generator | None,
    ) -> Tensor:
        dtype = self.origin.dtype
        wide = torch.promote_types(dtype, torch.float32)
        noise = Noise((*batch, *shape), wide, self.origin.device, generator)
        return self._draw(noise, context, temperature).to(dtype)


class Normal(Base):
    """Independent Gaussians: log p(x) = Σ_i −½ ((x_i − μ_i)/σ_i)² − log σ_i − ½ log 2π.

    μ = 0 and σ = 1, fixed or where learning starts; a learned σ stays in (10⁻⁶, 10⁶).

    Args:
        shape: event shape, or the number of features; None for extents given at sampling.
        learned: whether μ and σ are parameters.
    Shapes: x: (*batch, *shape).

    Raises:
        ValueError: if it is learned and an extent is None.

    Example:
        >>> import torch
        >>> round(Normal(2).log_prob(torch.zeros(2)).item(), 4)  # −log 2π
        -1.8379
    """

    def __init__(self, shape: int | Sequence[int | None], learned: bool = False) -> None:
        super().__init__(shape)
        self.position = Position(self._name, self.event_shape, learned)

    def _log_density(self, x: Tensor, context: Context) -> Tensor:
        z, log_scale = self.position.standardize(x)
        return -0.5 * z.square() - (_HALF_LOG_2PI + log_scale)

    def _draw(self, noise: Noise, context: Context, temperature: float) -> Tensor:
        return self.position.place(temperature * noise.normal())

    def initialize(self, x: Tensor, context: Context = None) -> None:
        """Sets a learned μ and σ to the mean and standard deviation of x."""
        rows = _rows(x, len(self.event_shape))
        self.position.fit(rows.mean(0), rows.std(0, correction=0))


class ConditionalNormal(Base):
    """Independent Gaussians whose means and scales depend on the context.

    μ, a = net(c); log σ = a / (1 + |a|/B) with B = log 10⁶. At the start μ = 0 and σ = 1.

    Args:
        shape: event shape, or the number of features.
        net: network called as net(context=c), which gives (*batch, *shape, 2) and says its
            `context_shape`. None: an MLP of the flattened context.
        context: shape, or shapes by name, of the context of that MLP.
        hidden: widths of its hidden layers.
    Shapes: x: (*batch, *shape).

    Raises:
        TypeError: if neither or both of net and context are given, or the net declares no context.
        ValueError: if an extent is None.
    """

    def __init__(
        self,
        shape: int | Sequence[int],
        net: nn.Module | None = None,
        *,
        context: ContextArgument = None,
        hidden: Sequence[int] = (64, 64),
    ) -> None:
        super().__init__(shape)
        known = known_shape(self._name, self.event_shape)
        declared = as_context_shape(context)
        if (net is None) == (declared is None):
            raise TypeError("ConditionalNormal: give either net=… or context=…")
        self.join: nn.Module | None = None
        if net is None:
            self.join = JoinContext(declared)
            net = MLP(0, (*known, 2), hidden, context=self.join.features)
        else:
            declared = getattr(net, "context_shape", None)
        if declared is None:
            raise TypeError(f"ConditionalNormal: {type(net).__name__} declares no context_shape")
        self.net = net
        self.context_shape = declared

    def _log_density(self, x: Tensor, context: Context) -> Tensor:
        loc, log_scale = self._position(context, x.dtype)
        z = (x - loc) * (-log_scale).exp()
        return -0.5 * z.square() - log_scale - _HALF_LOG_2PI

    def _draw(self, noise: Noise, context: Context, temperature: float) -> Tensor:
        loc, log_scale = self._position(context, noise.dtype)
        return loc + temperature * log_scale.exp() * noise.normal()

    def _position(self, context: Context, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        joined = context if self.join is None else self.join(context)
        loc, raw = self.net(context=joined).to(dtype).unbind(-1)
        return loc, soft_bound(raw, LOG_SCALE_BOUND)


class Logistic(Base):
    """Independent standard logistics: log p(x) = Σ_i log σ(x_i) + log σ(−x_i), σ the sigmoid.

    Args:
        shape: event shape, or the number of features; None for extents given at sampling.
    Shapes: x: (*batch, *shape).
    Reference: the prior of Dinh, Krueger & Bengio, 2014, NICE, arXiv:1410.8516.
    """

    def _log_density(self, x: Tensor, context: Context) -> Tensor:
        return F.logsigmoid(x) + F.logsigmoid(-x)

    def _draw(self, noise: Noise, context: Context, temperature: float) -> Tensor:
        u = noise.uniform()
        return temperature * (u.log() - (-u).log1p())


class Uniform(Base):
    """Independent uniforms on [lower, upper]: log p(x) = −D log(upper − lower).

    It has no scale for a temperature to multiply.

    Args:
        shape: event shape, or the number of features; None for extents given at sampling.
        lower: the lower end.
        upper: the upper end.
    Shapes: x: (*batch, *shape).

    Raises:
        ValueError: if the ends are not finite, or lower is not below upper.
    """

    scalable = False

    def __init__(
        self, shape: int | Sequence[int | None], lower: float = 0.0, upper: float = 1.0
    ) -> None:
        super().__init__(shape)
        if not (math.isfinite(lower) and math.isfinite(upper)):
            raise ValueError(f"Uniform: the ends must be finite, got {lower} and {upper}")
        self.lower, self.upper = float(lower), float(upper)
        self.support = Support(self.lower, self.upper, closed=True)

    def _log_density(self, x: Tensor, context: Context) -> Tensor:
        constant = -math.log(self.upper - self.lower)
        # Constant, except that a NaN must stay one.
        return torch.where(x.isnan(), x, torch.full_like(x, constant))

    def _draw(self, noise: Noise, context: Context, temperature: float) -> Tensor:
        drawn = self.lower + (self.upper - self.lower) * noise.uniform()
        return drawn.clamp(min=self.lower, max=self.upper)


class Beta(Base):
    """Independent betas on [0, 1]: log p(x) = Σ_i (a−1) log x_i + (b−1) log(1−x_i) − log B(a, b).

    At 0 and 1, where the density may be 0 or infinite, it gives its value at the nearest number
    inside. It has no scale for a temperature to multiply.

    Args:
        shape: event shape, or the number of features; None for extents given at sampling.
        a: the exponent at 0, or where its learning starts; learned, it stays in (a/10, 10 a).
        b: the same at 1.
        learned: whether a and b are parameters, a pair for every element.
    Shapes: x: (*batch, *shape).

    Raises:
        ValueError: if a or b is not positive and finite, or it is learned and an extent is None.
    """

    support = UNIT
    scalable = False

    def __init__(
        self, shape: int | Sequence[int | None], a: float, b: float, learned: bool = False
    ) -> None:
        super().__init__(shape)
        self.a = PositiveShape(self._name, "a", self.event_shape, a, learned)
        self.b = PositiveShape(self._name, "b", self.event_shape, b, learned)

    def _log_density(self, x: Tensor, context: Context) -> Tensor:
        a, b = self.a(x.dtype), self.b(x.dtype)
        x = self._inside(x)
        normalizer = _lgamma(a) + _lgamma(b) - _lgamma(a + b)
        return (a - 1) * x.log() + (b - 1) * (-x).log1p() - normalizer

    def _draw(self, noise: Noise, context: Context, temperature: float) -> Tensor:
        one, other = noise.gamma(self.a(noise.dtype)), noise.gamma(self.b(noise.dtype))
        return self._inside(one / (one + other))

    @staticmethod
    def _inside(x: Tensor) -> Tensor:
        info = torch.finfo(x.dtype)
        return x.clamp(min=info.tiny, max=1 - info.eps / 2)


class StudentT(Base):
    """Independent Student's t: heavy tails that fall off as |x|^−(ν+1).

    log p(x) = Σ_i log Γ((ν+1)/2) − log Γ(ν/2) − ½ log πν − log σ_i − (ν+1)/2 log(1 + z_i²/ν),
    where z = (x − μ)/σ; μ = 0 and σ = 1, fixed or where learning starts. A sample is
    z = n √(ν / 2g) with n ~ N(0, 1) and g ~ Gamma(ν/2).

    Args:
        shape: event shape, or the number of features; None for extents given at sampling.
        df: ν, or where its learning starts; learned, it stays in (ν/10, 10 ν).
        learned: whether μ, σ and ν are parameters, for every element.
    Shapes: x: (*batch, *shape).

    Raises:
        ValueError: if df is not positive and finite, or it is learned and an extent is None.
    Reference: Alexanderson & Henter, 2020, Robust model training and generalisation with
        Studentising flows, arXiv:2006.06599.
    """

    def __init__(
        self, shape: int | Sequence[int | None], df: float = 5.0, learned: bool = False
    ) -> None:
        super().__init__(shape)
        self.df = PositiveShape(self._name, "df", self.event_shape, df, learned)
        self.position = Position(self._name, self.event_shape, learned)

    def _log_density(self, x: Tensor, context: Context) -> Tensor:
        df = self.df(x.dtype)
        z, log_scale = self.position.standardize(x)
        # log(1 + t²) = log(1 + r²) + 2 log max(t, 1) with r = min(t, 1/t): t² would overflow.
        t = z.abs() * df**-0.5
        large = t.clamp(min=1.0)
        r = torch.where(t > 1, large.reciprocal(), t)
        log_kernel = r.square().log1p() + 2 * large.log()
        constant = _log_gamma_step(df / 2) - 0.5 * _log(df) - 0.5 * math.log(math.pi)
        return constant - log_scale - (df + 1) / 2 * log_kernel

    def _draw(self, noise: Noise, context: Context, temperature: float) -> Tensor:
        half = self.df(noise.dtype) / 2
        z = noise.normal() * (noise.gamma(half) / half).rsqrt()
        return self.position.place(temperature * z)

    def initialize(self, x: Tensor, context: Context = None) -> None:
        """Sets a learned μ to the median of x, and σ so that the median of |x − μ| is right.

        Right for a normal, whose quartile is 0.6745; a t's with ν ≥ 2 is at most 0.82.
        """
        rows = _rows(x, len(self.event_shape))
        median = rows.median(0).values
        self.position.fit(median, (rows - median).abs().median(0).values / 0.6745)


class GaussianMixture(Base):
    """Independent mixtures of K Gaussians, one mixture for every element.

    log p(x) = Σ_i log Σ_k π_ik N(x_i; μ_ik, σ_ik²). At the start every mixture resembles N(0, 1),
    with its mean and variance: equal weights, means at the quantiles (k + ½)/K of N(0, 1).

    The temperature multiplies the σs; a sample still picks its components by the weights, so it
    has no gradients. A mixture of densities of the whole event is `diffeo.mixture.Mixture`.

    Args:
        shape: event shape, or the number of features.
        components: K.
        learned: whether π, μ and σ (in (10⁻⁶, 10⁶)) are parameters.
    Shapes: x: (*batch, *shape).

    Raises:
        ValueError: if components is not positive, or an extent is None.
    """

    reparameterized = False
    logits: Tensor
    means: Tensor
    raw_log_scales: Tensor

    def __init__(
        self, shape: int | Sequence[int], components: int = 10, learned: bool = True
    ) -> None:
        super().__init__(shape)
        known = known_shape(self._name, self.event_shape)
        if components < 1:
            raise ValueError(f"GaussianMixture: components must be 1 or more, got {components}")
        self.components = components
        middles = (torch.arange(components) + 0.5) / components
        means = torch.special.ndtri(middles)
        # What the means' spread leaves of a variance of 1.
        self._share = math.sqrt(1 - float(means.square().mean()))
        raw = float(unbound(torch.tensor(math.log(self._share))))
        start = {
            "logits": torch.zeros(*known, components),
            "means": means.expand(*known, components).clone(),
            "raw_log_scales": torch.full((*known, components), raw),
        }
        for name, value in start.items():
            if learned:
                self.register_parameter(name, nn.Parameter(value))
            else:
                self.register_buffer(name, value)
        self.learned = learned

    def _log_density(self, x: Tensor, context: Context) -> Tensor:
        return mixture_log_density(x, *self._components(x.dtype))

    def _draw(self, noise: Noise, context: Context, temperature: float) -> Tensor:
        return draw_mixture(*self._components(noise.dtype), noise, temperature)

    def _components(self, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
        log_weights = self.logits.to(dtype).log_softmax(-1)
        log_scales = soft_bound(self.raw_log_scales.to(dtype), LOG_SCALE_BOUND)
        return log_weights, self.means.to(dtype), log_scales

    def initialize(self, x: Tensor, context: Context = None) -> None:
        """Sets learned means to quantiles of x, and the σs to their share of its spread."""
        if not self.learned:
            return
        with torch.no_grad():
            rows = _rows(x, len(self.event_shape)).sort(0).values
            k = torch.arange(self.components, device=rows.device)
            middles = ((2 * k + 1) * len(rows)).div(2 * self.components, rounding_mode="floor")
            self.means.copy_(rows[middles].movedim(0, -1))
            log_scale = (positive(rows.std(0, correction=0)) * self._share).log()
            self.raw_log_scales.copy_(unbound(log_scale).unsqueeze(-1))
            self.logits.zero_()


def _rows(x: Tensor, event_dim: int) -> Tensor:
    return x.reshape(-1, *x.shape[x.dim() - event_dim :])


def _log(value: Tensor | float) -> Tensor | float:
    return value.log() if isinstance(value, Tensor) else math.log(value)


def _lgamma(value: Tensor | float) -> Tensor | float:
    return value.lgamma() if isinstance(value, Tensor) else math.lgamma(value)


def _log_gamma_step(a: Tensor | float) -> Tensor | float:
    """log Γ(a + ½) − log Γ(a).

    For a tensor's large a by Stirling's series, ½ log a − 1/8a + 1/192a³ − 1/640a⁵ + …, since the
    difference of two large numbers would lose most of float32's digits.
    """
    if not isinstance(a, Tensor):
        return math.lgamma(a + 0.5) - math.lgamma(a)
    large = a > 20
    small = torch.where(large, torch.ones_like(a), a)
    far = torch.where(large, a, torch.full_like(a, 20.0))
    inverse = far.reciprocal()
    square = inverse.square()
    series = 0.5 * far.log() - inverse * (1 / 8 - square * (1 / 192 - square / 640))
    return torch.where(large, series, torch.lgamma(small + 0.5) - torch.lgamma(small))
