"""Distributions of one sample of a sound, for autoregressive densities of waveforms in [−1, 1]."""

import copy
import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Generator, Tensor
from torch.distributions import Distribution, constraints
from torch.nn import functional as F

from diffeo.autoregressive import Head
from diffeo.draws import Noise, choose, unless_nan
from diffeo.mu_law import mu_law_decode, mu_law_encode
from diffeo.nets.wavenet_kernel import HeadInC
from diffeo.numerics import root_mean_square, widen
from diffeo.scalars.affine import soft_bound
from diffeo.supports import Support

FULL_SCALE = Support(-1.0, 1.0, closed=True)
"""Where waveforms lie."""
UNIT = 2.0**-4
"""What samples are measured in until data say: about how far those of speech are from zero."""
MIDDLE_SCALE = 0.25
"""The scale that a parameter of zero gives, in units."""
LOG_SCALE_BOUND = math.log(1e4)
"""Scales lie within this factor, e to its power, of the middle one: in the unit of speech from a
twentieth of a 16-bit level to 150 times full scale."""
FARTHEST = 100.0
"""Means farther from zero count as this far."""
SPREAD = 1.0
"""Means of mixtures start spread over as many units, on both sides of zero."""
MOST_BITS = 24

_HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)
_ROOT_HALF = math.sqrt(0.5)


class IntervalHead(Head):
    """A continuous distribution of which the mass of an interval around x counts.

    The levels are k δ, k = −2^(bits−1) … 2^(bits−1) − 1, with δ = 2^(1−bits), as in files of that
    many bits. log p(x) is the log-probability of [x − δ/2, x + δ/2], at every x and not only at
    levels. The first level's interval goes on to −∞ and the last one's to +∞, so that the
    probabilities of all levels sum to one.

    Subclasses give masses, densities and draws of the continuous distribution. Parameters are means
    and scales in a unit that training sets to the root mean square of the data (`initialize`), so
    that they are of the same size for loud and for quiet sounds.

    Args:
        bits: of the levels, 1 to 24.

    Raises:
        ValueError: if bits are out of range.
    """

    support = FULL_SCALE

    def __init__(self, bits: int = 16) -> None:
        super().__init__()
        if isinstance(bits, bool) or not isinstance(bits, int) or not 1 <= bits <= MOST_BITS:
            raise ValueError(
                f"{type(self).__name__}: bits must be a whole number from 1 to {MOST_BITS}, "
                f"got {bits!r}"
            )
        self.bits = bits
        self.unit: Tensor
        self.register_buffer("unit", torch.tensor(UNIT))

    @property
    def width(self) -> float:
        """δ, from level to level."""
        return 2.0 ** (1 - self.bits)

    @property
    def highest(self) -> float:
        """The last level."""
        return 1 - self.width

    def coarser(self, unused: int) -> "IntervalHead":
        """The same distribution, of which levels of so many bits less are weighed.

        Args:
            unused: bits, 0 to bits − 1.
        """
        head = copy.copy(self)
        head.bits = self.bits - unused
        return head

    def initialize(self, x: Tensor) -> None:
        """Takes the root mean square of samples for the unit."""
        self.unit.copy_(root_mean_square(x))

    @abstractmethod
    def log_density(self, x: Tensor, params: Tensor) -> Tensor:
        """log of the continuous density at x, nats per unit of x: (*,), (*, num_params) → (*,)."""

    @abstractmethod
    def _draw(self, params: Tensor, noise: Tensor, temperature: float) -> Tensor:
        """Draws of the continuous distribution, (*, num_params) and (*, numbers) → (*,)."""

    def sample(self, params: Tensor, temperature: float, generator: Generator | None) -> Tensor:
        """Draws of the continuous distribution, each at the nearest level."""
        source = Noise(tuple(params.shape[:-1]), params.dtype, params.device, generator)
        return self.place(params, self.noise(source), temperature)

    def place(self, params: Tensor, noise: Tensor, temperature: float) -> Tensor:
        """The same from noise."""
        return self.to_levels(self._draw(params, noise, temperature))

    def distribution(self, params: Tensor) -> Distribution:
        """Of samples at levels; log_prob is that of intervals."""
        return HeadDistribution(self, params)

    def to_levels(self, x: Tensor) -> Tensor:
        """The nearest levels."""
        return ((x / self.width).round() * self.width).clamp(-1.0, self.highest)

    def _scaling(self) -> tuple[float, float, float, float, float]:
        """What `HeadInC` wants to know of means, scales and levels."""
        unit = float(self.unit)
        middle = math.log(MIDDLE_SCALE * unit)
        return unit, middle, LOG_SCALE_BOUND, FARTHEST, self.width

    def _log_scale(self, raw: Tensor) -> Tensor:
        return soft_bound(raw, LOG_SCALE_BOUND) + (MIDDLE_SCALE * self.unit).log().to(raw.dtype)

    def _mean(self, raw: Tensor) -> Tensor:
        return (raw * self.unit.to(raw.dtype)).clamp(-FARTHEST, FARTHEST)

    def _is_end(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Whether an interval is the first one, and whether it is the last."""
        return x < -1 + self.width / 2, x > self.highest - self.width / 2

    def extra_repr(self) -> str:
        """The bits."""
        return f"bits={self.bits}"


class LogisticMixtureHead(IntervalHead):
    """A mixture of K logistics, discretized: p(x) = Σ π_k (σ(u_k) − σ(v_k)).

    With u = (x + δ/2 − μ)/s and v = (x − δ/2 − μ)/s the log-mass of an interval is computed as
    log σ(u) + log σ(−v) + log(1 − e^{v−u}), which has no cancellation however far the tail; the
    first interval's is log σ(u) and the last one's log σ(−v). Scales are bounded, see
    `LOG_SCALE_BOUND`; zero parameters give means spread over ±`SPREAD` units.

    Parameters: (π's logits, μ in units − spread, log s before its bound), K each.

    Args:
        components: K.
        bits: of the levels.

    Raises:
        ValueError: if there is no component, or bits are out of range.

    Example:
        >>> head = LogisticMixtureHead(components=3, bits=4)
        >>> levels = torch.arange(-8, 8) / 8
        >>> head.log_prob(levels, torch.zeros(16, 9)).exp().sum().round(decimals=5)
        tensor(1.)

    Reference: Salimans, Karpathy, Chen & Kingma, 2017, PixelCNN++, arXiv:1701.05517; van den Oord
        et al., 2017, Parallel WaveNet, arXiv:1711.10433.
    """

    numbers = 2

    def __init__(self, components: int = 10, bits: int = 16) -> None:
        super().__init__(bits)
        if isinstance(components, bool) or components < 1:
            raise ValueError(
                f"LogisticMixtureHead: components must be positive, got {components!r}"
            )
        self.components, self.num_params = components, 3 * components
        self.means = slice(components, 2 * components)
        spread = SPREAD * ((torch.arange(components) * 2 + 1) / components - 1)
        self.spread: Tensor
        self.register_buffer("spread", spread, persistent=False)

    def log_prob(self, x: Tensor, params: Tensor) -> Tensor:
        """Log-probability of the interval around x, nats."""
        log_weights, means, log_scales = self.unpack(params)
        first, last = (end.unsqueeze(-1) for end in self._is_end(x))
        centre = (x.unsqueeze(-1) - means) * (-log_scales).exp()
        half = 0.5 * self.width * (-log_scales).exp()
        below, above = F.logsigmoid(centre + half), F.logsigmoid(half - centre)
        inside = below + above + (-torch.expm1(-2 * half)).log()
        log_mass = torch.where(first, below, torch.where(last, above, inside))
        return torch.logsumexp(log_weights + log_mass, dim=-1)

    def log_density(self, x: Tensor, params: Tensor) -> Tensor:
        """log Σ π_k σ(z_k) σ(−z_k) / s_k, z_k = (x − μ_k)/s_k."""
        log_weights, means, log_scales = self.unpack(params)
        z = (x.unsqueeze(-1) - means) * (-log_scales).exp()
        log_each = F.logsigmoid(z) + F.logsigmoid(-z) - log_scales
        return torch.logsumexp(log_weights + log_each, dim=-1)

    def unpack(self, params: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """log π, μ and log s: (*, num_params) → (*, K) each."""
        logits, means, raw = params.unflatten(-1, (3, self.components)).unbind(-2)
        means = self._mean(means + self.spread.to(means.dtype))
        return logits.log_softmax(-1), means, self._log_scale(raw)

    def noise(self, source: Noise) -> Tensor:
        """A uniform number, which chooses a component, and a standard logistic one."""
        u = source.uniform()
        return torch.stack([source.uniform(), u.log() - (-u).log1p()], dim=-1)

    def in_c(self) -> HeadInC | None:
        """Logistics; not those of a class that derives from this one, which may be others."""
        if type(self) is not LogisticMixtureHead:
            return None
        return HeadInC("logistics", self.components, 2, self.spread, *self._scaling())

    def _draw(self, params: Tensor, noise: Tensor, temperature: float) -> Tensor:
        log_weights, means, log_scales = self.unpack(params)
        uniform, logistic = noise.unbind(-1)
        chosen = choose(log_weights, uniform).unsqueeze(-1)
        mean = means.gather(-1, chosen).squeeze(-1)
        log_scale = log_scales.gather(-1, chosen).squeeze(-1)
        return unless_nan(mean + temperature * log_scale.exp() * logistic, log_weights)

    def extra_repr(self) -> str:
        """Components and bits."""
        return f"components={self.components}, {super().extra_repr()}"


class GaussianHead(IntervalHead):
    """A Gaussian, discretized: p(x) = Φ((x + δ/2 − μ)/σ) − Φ((x − δ/2 − μ)/σ).

    Log-masses are computed in float64, and in the tail that has less of the mass: there
    log Φ(u) + log(1 − Φ(v)/Φ(u)) loses nothing however far it is. Scales are bounded, see
    `LOG_SCALE_BOUND`.

    Parameters: (μ in units, log σ before its bound).

    Args:
        bits: of the levels.

    Raises:
        ValueError: if bits are out of range.

    Reference: Ping, Peng & Chen, 2018, ClariNet, arXiv:1807.07281, where the Gaussian's density is
        taken, not its intervals.
    """

    num_params = 2
    numbers = 1
    means = slice(0, 1)

    def log_prob(self, x: Tensor, params: Tensor) -> Tensor:
        """Log-probability of the interval around x, nats."""
        mean, log_scale = self.gaussian(params)
        first, last = self._is_end(x)
        centre = widen(x - mean) * widen(-log_scale).exp()
        half = 0.5 * self.width * widen(-log_scale).exp()
        below = _log_cdf(centre + half)
        above = _log_cdf(half - centre)
        near = -centre.abs()  # the same interval mirrored into the lower tail
        most = _log_cdf(near + half)
        # log Φ is concave, with a slope of at least |z| at z < 0.
        drop = torch.maximum(most - _log_cdf(near - half), 2 * half * (-near - half).clamp(min=0))
        inside = most + (-torch.expm1(-drop)).log()
        log_mass = torch.where(first, below, torch.where(last, above, inside))
        return log_mass.to(x.dtype)

    def log_density(self, x: Tensor, params: Tensor) -> Tensor:
        """log N(x; μ, σ²)."""
        mean, log_scale = self.gaussian(params)
        z = (x - mean) * (-log_scale).exp()
        return -0.5 * z.square() - log_scale - _HALF_LOG_2PI

    def gaussian(self, params: Tensor) -> tuple[Tensor, Tensor]:
        """μ and log σ: (*, 2) → (*,) each."""
        mean, raw = params.unbind(-1)
        return self._mean(mean), self._log_scale(raw)

    def noise(self, source: Noise) -> Tensor:
        """A standard normal number."""
        return source.normal().unsqueeze(-1)

    def in_c(self) -> HeadInC | None:
        """A Gaussian; not that of a class that derives from this one."""
        if type(self) is not GaussianHead:
            return None
        return HeadInC("gaussian", 1, 1, None, *self._scaling())

    def _draw(self, params: Tensor, noise: Tensor, temperature: float) -> Tensor:
        mean, log_scale = self.gaussian(params)
        return mean + temperature * log_scale.exp() * noise.squeeze(-1)


class MuLawHead(Head):
    """A probability for each of the μ-law codes of a sample, whatever their neighbours have.

    log p(x) is that of x's code, so it does not change between the levels: it is discrete, and has
    no gradient in x. Samples are the codes' levels. Temperature divides the logits.

    Parameters: the logits.

    Args:
        levels: how many codes.

    Raises:
        ValueError: if there are fewer than 2.

    Reference: van den Oord et al., 2016, WaveNet, arXiv:1609.03499, section 2.2.
    """

    support = FULL_SCALE
    discrete = True
    numbers = 1

    def __init__(self, levels: int = 256) -> None:
        super().__init__()
        if isinstance(levels, bool) or levels < 2:
            raise ValueError(f"MuLawHead: levels must be 2 or more, got {levels!r}")
        self.levels = self.num_params = levels

    def log_prob(self, x: Tensor, params: Tensor) -> Tensor:
        """Log-probability of x's code, nats; NaN where x is."""
        codes = mu_law_encode(x, self.levels).unsqueeze(-1)
        log_prob = params.log_softmax(-1).gather(-1, codes).squeeze(-1)
        return torch.where(x.isnan(), x, log_prob)

    def sample(self, params: Tensor, temperature: float, generator: Generator | None) -> Tensor:
        """Levels of codes by their probabilities."""
        source = Noise(tuple(params.shape[:-1]), params.dtype, params.device, generator)
        return self.place(params, self.noise(source), temperature)

    def noise(self, source: Noise) -> Tensor:
        """A uniform number."""
        return source.uniform().unsqueeze(-1)

    def place(self, params: Tensor, noise: Tensor, temperature: float) -> Tensor:
        """The code whose stretch of the cumulative probabilities the number falls in."""
        weights = params
        if temperature == 0:
            codes = params.argmax(-1)
        else:
            logits = (params - params.amax(-1, keepdim=True)) / temperature
            weights = logits.log_softmax(-1)
            codes = choose(weights, noise.squeeze(-1))
        return unless_nan(mu_law_decode(codes, self.levels).to(params.dtype), weights)

    def in_c(self) -> HeadInC | None:
        """Codes; not those of a class that derives from this one."""
        if type(self) is not MuLawHead:
            return None
        samples = mu_law_decode(torch.arange(self.levels), self.levels)
        return HeadInC("codes", self.levels, 1, samples)

    def distribution(self, params: Tensor) -> Distribution:
        """Of samples at the codes' levels."""
        return HeadDistribution(self, params)

    def extra_repr(self) -> str:
        """The levels."""
        return f"levels={self.levels}"


class HeadDistribution(Distribution):
    """A head and its parameters with the interface of `torch.distributions`.

    Args:
        head: the family.
        params: (*batch_shape, num_params).
        validate_args: whether values outside the support raise; torch's default if None.
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {}  # type: ignore

    def __init__(self, head: Head, params: Tensor, validate_args: bool | None = None) -> None:
        self.head, self.params = head, params
        super().__init__(params.shape[:-1], validate_args=validate_args)

    @constraints.dependent_property
    def support(self) -> constraints.Constraint:  # type: ignore[override]
        """The head's."""
        return self.head.support.constraint

    def log_prob(self, value: Tensor) -> Tensor:
        """The head's log-probability, nats."""
        if self._validate_args and value.numel():
            self._validate_sample(value)
        shape = torch.broadcast_shapes(value.shape, self.batch_shape)
        return self.head.log_prob(value.expand(shape), self._expanded(shape))

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Samples without gradients."""
        with torch.no_grad():
            shape = (*sample_shape, *self.batch_shape)
            return self.head.sample(self._expanded(shape), 1.0, None)

    def expand(
        self, batch_shape: Sequence[int], _instance: Distribution | None = None
    ) -> "HeadDistribution":
        """The same for a larger batch."""
        return HeadDistribution(self.head, self._expanded(batch_shape), self._validate_args)

    def _expanded(self, shape: Sequence[int]) -> Tensor:
        return self.params.expand(*shape, self.params.shape[-1])


def unused_bits(x: Tensor, bits: int) -> int:
    """How many of the lowest bits no sample of a sound uses: 8 of 16 in one that had 8 bits once.

    The largest r for which all samples are multiples of 2^r levels; 0 where they are not at levels,
    bits − 1 in silence.

    Args:
        x: a sound, full scale being ±1, of any shape.
        bits: of the levels.
    """
    levels = x.double() * 2.0 ** (bits - 1)
    whole = levels.round()
    if not torch.equal(whole, levels):
        return 0
    unused = 0
    while unused < bits - 1 and not whole.remainder(2.0 ** (unused + 1)).any():
        unused += 1
    return unused


def _log_cdf(z: Tensor) -> Tensor:
    """log Φ(z), exact in both tails; PyTorch's log_ndtr has no rule for vmap."""
    low = z.clamp(max=0.0)
    lower = (0.5 * torch.special.erfcx(-_ROOT_HALF * low)).log() - 0.5 * low.square()
    upper = torch.log1p(-0.5 * torch.erfc(_ROOT_HALF * z.clamp(min=0.0)))
    return torch.where(z < 0, lower, upper)
