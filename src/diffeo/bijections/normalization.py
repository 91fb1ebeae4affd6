"""Shifts and scales taken from data: standardisation, actnorm, batch normalisation.

Where an extent of the event shape is None, statistics and parameters are shared along it:
`ActNorm((3, None, None))` has one scale a channel, for images of any size.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from diffeo.bijections.base import Bijection, Recompute
from diffeo.bijections.memory import WrittenOut
from diffeo.contexts import Context, Shape, as_shape
from diffeo.numerics import widen
from diffeo.scalars.affine import from_soft_bound, soft_bound


class Standardize(Bijection):
    """Zero mean and unit variance: z = (x − m) / d; log|det| = −Σ log d_i. Inverse: x = m + d z.

    m and d are the mean and standard deviation that `initialize` finds, in the units of x; before,
    0 and 1. They are never trained. Where x is constant d is 1.

    Args:
        shape: event shape, or a number of features; None in it for a shared extent.
    Shapes: x, z: (*batch, *shape); ladj: (*batch,).

    Raises:
        TypeError: if the shape is not of whole numbers or None.
        ValueError: if an extent is not positive.

    Example:
        >>> import torch
        >>> from diffeo.bijections import Standardize
        >>> Standardize(1).initialize(torch.tensor([[10.0], [30.0]])).tolist()
        [[-1.0], [1.0]]
    """

    recompute = "invert"
    mean: Tensor
    std: Tensor

    def __init__(self, shape: int | Sequence[int | None]) -> None:
        super().__init__()
        self.event_shape, self._shared = _event_and_shared(type(self).__name__, shape)
        self.event_dim = len(self.event_shape)
        self.register_buffer("mean", torch.zeros(_shared_shape(self.event_shape)))
        self.register_buffer("std", torch.ones(_shared_shape(self.event_shape)))

    def _forward(self, x: Tensor, context: Context) -> tuple[Tensor, Tensor]:
        return (x - self.mean) / self.std, -_sum(self.std.log(), x, self.event_dim)

    def _inverse(self, z: Tensor, context: Context) -> tuple[Tensor, Tensor]:
        return self.mean + self.std * z, _sum(self.std.log(), z, self.event_dim)

    def initialize(self, x: Tensor, context: Context = None) -> Tensor:
        """Takes mean and standard deviation from x, over its batch dimensions.

        Raises:
            ValueError: if x holds no row; so do the other maps here.
        """
        with torch.no_grad():
            mean, var = _moments_of_data(self._name, x, self.event_dim, self._shared)
            self.mean.copy_(mean)
            self.std.copy_(_scale(var))
        return super().initialize(x, context)


class ActNorm(WrittenOut):
    """A learned shift and scale that start from data: z = eˢ (x − m); log|det| = Σ s_i.

    Inverse: x = m + e⁻ˢ z. s = a / (1 + |a| / B) lies in (−B, B). The first call of `initialize`
    sets m and s so that z has zero mean and unit variance, as far as 0.9 B allows (s = 0 where x is
    constant); later calls change nothing, so that what was learned stays. Before it the map is the
    identity: it never looks at the data it is applied to.

    Args:
        shape: event shape, or a number of features; None in it for a shared extent.
        log_scale_bound: B; log 1000 unless told.
    Shapes: x, z: (*batch, *shape); ladj: (*batch,).

    Raises:
        TypeError: if the shape is not of whole numbers or None.
        ValueError: if an extent or B is not positive.
    Reference: Kingma & Dhariwal, 2018, Glow, arXiv:1807.03039, section 3.1.

    Example:
        >>> import torch
        >>> from diffeo.bijections import ActNorm
        >>> actnorm = ActNorm(2)
        >>> z = actnorm.initialize(100 + 7 * torch.randn(500, 2))
        >>> bool(z.mean().abs() < 1e-3), bool(actnorm.initialized)
        (True, True)
    """

    recompute = "invert"
    initialized: Tensor

    def __init__(
        self, shape: int | Sequence[int | None], log_scale_bound: float = math.log(1000.0)
    ) -> None:
        super().__init__()
        self.event_shape, self._shared = _event_and_shared(type(self).__name__, shape)
        self.event_dim = len(self.event_shape)
        self.log_scale_bound = _check_bound(type(self).__name__, log_scale_bound)
        self.loc = nn.Parameter(torch.zeros(_shared_shape(self.event_shape)))
        self.raw_log_scale = nn.Parameter(torch.zeros(_shared_shape(self.event_shape)))
        self.register_buffer("initialized", torch.tensor(False))

    def _forward(self, x: Tensor, context: Context) -> tuple[Tensor, Tensor]:
        log_scale = soft_bound(self.raw_log_scale, self.log_scale_bound)
        return (x - self.loc) * log_scale.exp(), _sum(log_scale, x, self.event_dim)

    def _inverse(self, z: Tensor, context: Context) -> tuple[Tensor, Tensor]:
        log_scale = soft_bound(self.raw_log_scale, self.log_scale_bound)
        return self.loc + z / log_scale.exp(), -_sum(log_scale, z, self.event_dim)

    def go_back(
        self, z: Tensor, of_z: Tensor, of_ladj: Tensor
    ) -> tuple[Tensor, Tensor, list[Tensor]]:
        """∂x = eˢ ∂z; ∂m = −Σ ∂x; ∂s = Σ z ∂z + N Σ ∂ladj, N elements sharing each s."""
        scale = soft_bound(self.raw_log_scale, self.log_scale_bound).exp()
        slope = (1 + self.raw_log_scale.abs() / self.log_scale_bound) ** -2
        shared, repeats = self.loc.shape, _repeats(self.loc, z, self.event_dim)
        of_x = of_z * scale
        of_log_scale = (z * of_z).sum_to_size(shared) + repeats * of_ladj.sum()
        return self.loc + z / scale, of_x, [-of_x.sum_to_size(shared), slope * of_log_scale]

    def initialize(self, x: Tensor, context: Context = None) -> Tensor:
        """Sets shift and scale from x, over its batch dimensions, unless that was done before."""
        if not self.initialized:
            with torch.no_grad():
                mean, var = _moments_of_data(self._name, x, self.event_dim, self._shared)
                limit = 0.9 * self.log_scale_bound
                log_scale = (-_scale(var).log()).clamp(-limit, limit)
                self.loc.copy_(mean)
                self.raw_log_scale.copy_(from_soft_bound(log_scale, self.log_scale_bound))
                self.initialized.fill_(True)
        return super().initialize(x, context)

    def extra_repr(self) -> str:
        """The bound."""
        return f"log_scale_bound={self.log_scale_bound:.4g}"


class BatchNorm(Bijection):
    """Batch normalisation: z = e^γ (x − μ) / √(v + ε) + β; log|det| = Σ (γ_i − ½ log(v_i + ε)).

    Inverse: x = μ + (z − β) e^−γ √(v + ε). Forward in training, μ and v are the mean and variance
    of the batch, with gradients through both, and are averaged into running statistics. In
    evaluation, and in the inverse always, they are the running ones: so in training the inverse
    does not undo forward, and in evaluation it does.

    Args:
        shape: event shape, or a number of features; None in it for a shared extent.
        momentum: ρ, the weight of a new batch in the running statistics, in (0, 1].
        eps: ε > 0; it bounds the scale by 1/√ε.
        affine: whether γ = a / (1 + |a| / B), in (−B, B), and β are learned; otherwise 0.
        lagged: train with ρ × the batch's statistics + (1 − ρ) × the running ones, with gradients
            through the batch's; for small batches.
        log_scale_bound: B; log 1000 unless told.
    Shapes: x, z: (*batch, *shape); ladj: (*batch,).

    Raises:
        TypeError: if the shape is not of whole numbers or None.
        ValueError: if an extent, ε or B is not positive, or ρ lies outside (0, 1]; in training, if
            there is only one value to take a variance of.
    Reference: Dinh, Sohl-Dickstein & Bengio, 2016, RealNVP, arXiv:1605.08803, section 3.7 and
        appendix E.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(
        self,
        shape: int | Sequence[int | None],
        momentum: float = 0.1,
        eps: float = 1e-5,
        affine: bool = True,
        lagged: bool = False,
        log_scale_bound: float = math.log(1000.0),
    ) -> None:
        super().__init__()
        self.event_shape, self._shared = _event_and_shared(type(self).__name__, shape)
        self.event_dim = len(self.event_shape)
        if not 0 < momentum <= 1:
            raise ValueError(f"BatchNorm: momentum must lie in (0, 1], got {momentum}")
        if not 0 < eps < math.inf:
            raise ValueError(f"BatchNorm: eps must be positive and finite, got {eps}")
        self.momentum, self.eps, self.lagged = momentum, eps, lagged
        self.log_scale_bound = _check_bound(type(self).__name__, log_scale_bound)
        shared = _shared_shape(self.event_shape)
        self.raw_log_gain = nn.Parameter(torch.zeros(shared)) if affine else None
        self.shift = nn.Parameter(torch.zeros(shared)) if affine else None
        self.register_buffer("running_mean", torch.zeros(shared))
        self.register_buffer("running_var", torch.ones(shared))

    @property
    def recompute(self) -> Recompute:  # type: ignore[override]
        """Stored in training, where a pass changes the statistics, and its inverse is not it."""
        return "store" if self.training else "invert"

    def _forward(self, x: Tensor, context: Context) -> tuple[Tensor, Tensor]:
        if self.training:
            return self._normalize(x, *self._batch_statistics(x))
        return self._normalize(x, self.running_mean, self.running_var)

    def _inverse(self, z: Tensor, context: Context) -> tuple[Tensor, Tensor]:
        log_scale = self._log_scale(self.running_var)
        centred = z if self.shift is None else z - self.shift
        return self.running_mean + centred * (-log_scale).exp(), -_sum(log_scale, z, self.event_dim)

    def initialize(self, x: Tensor, context: Context = None) -> Tensor:
        """Sets the running statistics to those of x, over its batch dimensions."""
        with torch.no_grad():
            mean, var = _moments_of_data(self._name, x, self.event_dim, self._shared)
            self.running_mean.copy_(mean)
            self.running_var.copy_(var)
            return self._normalize(x, self.running_mean, self.running_var)[0]

    def _batch_statistics(self, x: Tensor) -> tuple[Tensor, Tensor]:
        if x.numel() <= self.running_mean.numel():
            raise ValueError(
                f"{self._name}: training needs more than one value a feature, got {tuple(x.shape)}"
            )
        mean, var = _moments(x, self.event_dim, self._shared)
        with torch.no_grad():
            new_mean = self.running_mean.lerp(mean, self.momentum)
            new_var = self.running_var.lerp(var, self.momentum)
            self.running_mean.copy_(new_mean)
            self.running_var.copy_(new_var)
        if self.lagged:
            # The new running statistics, with the gradients of the batch's share in them.
            mean = new_mean + self.momentum * (mean - mean.detach())
            var = new_var + self.momentum * (var - var.detach())
        return mean, var

    def _normalize(self, x: Tensor, mean: Tensor, var: Tensor) -> tuple[Tensor, Tensor]:
        log_scale = self._log_scale(var)
        z = (x - mean) * log_scale.exp()
        return z if self.shift is None else z + self.shift, _sum(log_scale, x, self.event_dim)

    def _log_scale(self, var: Tensor) -> Tensor:
        log_scale = -0.5 * (var + self.eps).log()
        if self.raw_log_gain is None:
            return log_scale
        return log_scale + soft_bound(self.raw_log_gain, self.log_scale_bound)

    def extra_repr(self) -> str:
        """Momentum and ε."""
        return f"momentum={self.momentum:g}, eps={self.eps:g}, lagged={self.lagged}"


def _moments(x: Tensor, event_dim: int, shared: list[int]) -> tuple[Tensor, Tensor]:
    """Mean and variance (divided by the number of values) over batch and shared dimensions."""
    events = x.reshape(-1, *x.shape[x.dim() - event_dim :])
    # Around a value of the data itself: a large offset would cost precision.
    pivot = events[:1]
    for dim in shared:
        pivot = pivot.narrow(dim, 0, 1)
    pivot = pivot.detach()
    var, mean = torch.var_mean(events - pivot, dim=[0, *shared], correction=0, keepdim=True)
    return (mean + pivot).squeeze(0), var.squeeze(0)


def _moments_of_data(
    owner: str, x: Tensor, event_dim: int, shared: list[int]
) -> tuple[Tensor, Tensor]:
    if x.numel() == 0:
        raise ValueError(f"{owner}: initialize needs data, got shape {tuple(x.shape)}")
    # In single precision the variance of numbers around 1e-25 vanishes, and around 1e20 overflows.
    return _moments(widen(x), event_dim, shared)


def _scale(var: Tensor) -> Tensor:
    """The standard deviation, or 1 where there is no variation."""
    return torch.where(var > 0, var, torch.ones_like(var)).sqrt()


def _sum(values: Tensor, x: Tensor, event_dim: int) -> Tensor:
    """The sum over the event of what is shared along some of it, for every element of the batch."""
    return (values.sum() * _repeats(values, x, event_dim)).expand(x.shape[: x.dim() - event_dim])


def _repeats(values: Tensor, x: Tensor, event_dim: int) -> int:
    """How many elements of the event share each of the values."""
    return math.prod(x.shape[x.dim() - event_dim :]) // values.numel()


def _shared_shape(shape: Shape) -> tuple[int, ...]:
    return tuple(1 if extent is None else extent for extent in shape)


def _event_and_shared(owner: str, shape: int | Sequence[int | None]) -> tuple[Shape, list[int]]:
    """The event shape, and which dimensions of a flat batch of events are shared."""
    known = as_shape(owner, shape)
    return known, [i + 1 for i, extent in enumerate(known) if extent is None]


def _check_bound(owner: str, bound: float) -> float:
    if not 0 < bound < math.inf:
        raise ValueError(f"{owner}: log_scale_bound must be positive and finite, got {bound}")
    return bound
