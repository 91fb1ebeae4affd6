"""Planar, radial and Sylvester flows: maps that change a vector along a few directions.

Their forward direction is a formula. Radial flows have one for the inverse too; planar and
Sylvester flows are inverted by solving increasing functions of one variable, with exact gradients.

Each declares `param_shape`, what a network has to give for parameters that depend on a context:

    net = MLP(0, Planar.param_shape(features), hidden, context)
    flow = Planar(features, net)
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from diffeo.bijections.base import Bijection
from diffeo.bijections.householder import householder_product
from diffeo.bijections.linear import without_autocast
from diffeo.contexts import Context, ContextShape
from diffeo.scalars.affine import soft_bound
from diffeo.solvers import solve_increasing

MIN_SLOPE = 1e-3
"""The least slope of these maps in any direction they act on, so that float32 can invert them."""

_LOG_RADIUS_BOUND = math.log(1000.0)


class Planar(Bijection):
    """Planar flow: moves points along one direction, by how far they lie along another.

    f(x) = x + û tanh(wᵀx + b); log|det| = log(1 + wᵀû tanh′(wᵀx + b)).
    Inverse: x = z − û tanh(α), α the root of α + wᵀû tanh α = wᵀz + b.

    û = u + (m(wᵀu) − wᵀu) w / ‖w‖², with m(a) = a for a ≥ 0 and (1 − δ)(eᵃ − 1) for a < 0, so that
    wᵀû = m(wᵀu) > −1 + δ: the slope along w is at least δ = 0.001. (The paper's m(a) is
    −1 + log(1 + eᵃ), which is not 0 at 0: û would grow without limit as w → 0.)

    Starts within about 0.01 of the identity, with a random w.

    Args:
        features: D.
        net: from the context to what is added to the parameters (w, u, b).
    Shapes: x, z: (*batch, D); ladj: (*batch,).

    Raises:
        ValueError: if D is not positive, or the net gives another shape.
    Reference: Rezende & Mohamed, 2015, Variational Inference with Normalizing Flows,
        arXiv:1505.05770, section 4.1 and appendix A.1.

    Example:
        >>> import torch
        >>> from diffeo.bijections import Planar
        >>> from diffeo.nets.mlp import MLP
        >>> planar = Planar(3, MLP(0, Planar.param_shape(3), (16,), context=2))
        >>> z, ladj = planar(torch.randn(5, 3), torch.randn(5, 2))
        >>> x, _ = planar.inverse(z, torch.zeros(2))
        >>> x.shape
        torch.Size([5, 3])
    """

    def __init__(self, features: int, net: nn.Module | None = None) -> None:
        super().__init__()
        self.event_shape, self.event_dim = (_positive("Planar: features", features),), 1
        direction = torch.randn(features) / math.sqrt(features)
        start = torch.cat([direction, 0.01 * torch.randn(features), torch.zeros(1)])
        self.params = _Parameters("Planar", start, net)
        self.context_shape = self.params.context_shape

    @staticmethod
    def param_shape(features: int) -> tuple[int]:
        """Shape of the parameters (w, u, b)."""
        return (2 * features + 1,)

    def _unpack(self, x: Tensor, context: Context) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """w, û, b and 1 + wᵀû."""
        features = x.shape[-1]
        w, u, b = self.params(x, context).split([features, features, 1], dim=-1)
        along = (w * u).sum(-1, keepdim=True)
        negative = along.clamp(max=0.0)
        change = (1 - MIN_SLOPE) * torch.expm1(negative) - negative
        norm = torch.linalg.vector_norm(w, dim=-1, keepdim=True)
        norm = norm.clamp(min=torch.finfo(x.dtype).tiny)
        u_hat = u + change / norm * (w / norm)
        slope = torch.where(along < 0, MIN_SLOPE + (1 - MIN_SLOPE) * negative.exp(), 1 + along)
        return w, u_hat, b[..., 0], slope[..., 0]

    def _forward(self, x: Tensor, context: Context) -> tuple[Tensor, Tensor]:
        w, u_hat, b, slope = self._unpack(x, context)
        alpha = (w * x).sum(-1) + b
        return x + u_hat * torch.tanh(alpha)[..., None], _log_slope(alpha, slope)

    def _inverse(self, z: Tensor, context: Context) -> tuple[Tensor, Tensor]:
        w, u_hat, b, slope = self._unpack(z, context)
        gain = slope - 1

        def along_w(alpha: Tensor) -> tuple[Tensor, Tensor]:
            return alpha + gain * torch.tanh(alpha), _log_slope(alpha, slope)

        target = (w * z).sum(-1) + b
        alpha = solve_increasing(along_w, target, target - gain.abs(), target + gain.abs())
        return z - u_hat * torch.tanh(alpha)[..., None], -_log_slope(alpha, slope)


class Radial(Bijection):
    """Radial flow: pushes points away from, or pulls them toward, a centre.

    f(x) = x + β h(r) (x − μ), r = ‖x − μ‖₂, h(r) = 1 / (α + r).
    log|det| = (D − 1) log(1 + βh) + log(1 + βh + βh′r).
    Inverse: r is the positive root of r² + (α + β − R) r − αR = 0, R = ‖z − μ‖₂, and
    x = μ + (z − μ) / (1 + βh).

    log α = a / (1 + |a| / B) with B = log 1000; β = α m(c), with m as in `Planar`, so that
    β > −α (1 − δ): the slope at the centre is at least δ = 0.001. Starts at the identity, with a
    random centre.

    Args:
        features: D.
        net: from the context to what is added to the parameters (μ, a, c).
    Shapes: x, z: (*batch, D); ladj: (*batch,).

    Raises:
        ValueError: if D is not positive, or the net gives another shape.
    Reference: Rezende & Mohamed, 2015, Variational Inference with Normalizing Flows,
        arXiv:1505.05770, section 4.1 and appendix A.2.
    """

    def __init__(self, features: int, net: nn.Module | None = None) -> None:
        super().__init__()
        self.event_shape, self.event_dim = (_positive("Radial: features", features),), 1
        start = torch.cat([torch.randn(features), torch.zeros(2)])
        self.params = _Parameters("Radial", start, net)
        self.context_shape = self.params.context_shape

    @staticmethod
    def param_shape(features: int) -> tuple[int]:
        """Shape of the parameters (μ, a, c)."""
        return (features + 2,)

    def _unpack(self, x: Tensor, context: Context) -> tuple[Tensor, Tensor, Tensor]:
        """μ, α and the slope at the centre, 1 + β/α."""
        centre, a, c = self.params(x, context).split([x.shape[-1], 1, 1], dim=-1)
        alpha = soft_bound(a[..., 0], _LOG_RADIUS_BOUND).exp()
        c = c[..., 0]
        inward = MIN_SLOPE + (1 - MIN_SLOPE) * c.clamp(max=0.0).exp()
        return centre, alpha, torch.where(c < 0, inward, 1 + c)

    def _forward(self, x: Tensor, context: Context) -> tuple[Tensor, Tensor]:
        centre, alpha, slope = self._unpack(x, context)
        away = x - centre
        stretch, ladj = _radial(torch.linalg.vector_norm(away, dim=-1), alpha, slope, x.shape[-1])
        return centre + away * stretch[..., None], ladj

    def _inverse(self, z: Tensor, context: Context) -> tuple[Tensor, Tensor]:
        centre, alpha, slope = self._unpack(z, context)
        away = z - centre
        radius = _radius(torch.linalg.vector_norm(away, dim=-1), alpha, slope)
        stretch, ladj = _radial(radius, alpha, slope, z.shape[-1])
        return centre + away / stretch[..., None], -ladj


class Sylvester(Bijection):
    """Sylvester flow: a planar flow with M directions at once.

    f(x) = x + Q R tanh(R̃ Qᵀx + b); log|det| = Σ_i log(1 + r_ii r̃_ii tanh′(R̃ Qᵀx + b)_i).
    Inverse: x = z − Q R tanh(R̃y + b), where y = Qᵀx solves y + R tanh(R̃y + b) = Qᵀz, one increasing
    equation a coordinate, from the last to the first: M solves, one after another.

    Q (D × M) has orthonormal columns, the first M of a product of Householder reflections. R and R̃
    are upper triangular, with r_ii = κ tanh a_i and r̃_ii = κ tanh ã_i, κ² = 1 − δ, so that every
    slope 1 + r_ii r̃_ii tanh′ is at least δ = 0.001.

    Starts within about 0.01 of the identity, with random Q and R̃.

    Args:
        features: D.
        rank: M, at most D.
        reflections: how many Householder reflections; M unless told.
        net: from the context to what is added to the parameters (vectors of the reflections; the
            part of R above its diagonal, that of R̃ as the transposed part below, and a; ã; b).
    Shapes: x, z: (*batch, D); ladj: (*batch,).

    Raises:
        ValueError: if a number is not positive, M > D, or the net gives another shape.
    Reference: van den Berg, Hasenclever, Tomczak & Welling, 2018, Sylvester Normalizing Flows for
        Variational Inference, arXiv:1803.05649.
    """

    def __init__(
        self,
        features: int,
        rank: int,
        reflections: int | None = None,
        net: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.event_shape, self.event_dim = (_positive("Sylvester: features", features),), 1
        self.features, self.rank = features, _positive("Sylvester: rank", rank)
        if rank > features:
            raise ValueError(f"Sylvester: rank must be at most features={features}, got {rank}")
        reflections = rank if reflections is None else reflections
        self.reflections = _positive("Sylvester: reflections", reflections)
        above = 0.01 * torch.randn(rank, rank)
        below = torch.randn(rank, rank) / math.sqrt(rank)
        start = [
            torch.randn(reflections * features),
            (above.triu() + below.tril(-1)).flatten(),
            torch.randn(rank),
            torch.zeros(rank),
        ]
        self.params = _Parameters("Sylvester", torch.cat(start), net)
        self.context_shape = self.params.context_shape

    @staticmethod
    def param_shape(features: int, rank: int, reflections: int | None = None) -> tuple[int]:
        """Shape of the parameters."""
        reflections = rank if reflections is None else reflections
        return (reflections * features + rank * rank + 2 * rank,)

    def _unpack(self, params: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Q, R, R̃ and b."""
        rank, features = self.rank, self.features
        sizes = [self.reflections * features, rank * rank, rank, rank]
        vectors, entries, diagonal, b = params.split(sizes, dim=-1)
        q = householder_product(vectors.unflatten(-1, (self.reflections, features)), rank)
        entries = entries.unflatten(-1, (rank, rank))
        bound = math.sqrt(1 - MIN_SLOPE)
        outer = bound * torch.tanh(entries.diagonal(dim1=-2, dim2=-1))
        inner = bound * torch.tanh(diagonal)
        r = entries.triu(1) + torch.diag_embed(outer)
        r_tilde = entries.tril(-1).mT + torch.diag_embed(inner)
        return q, r, r_tilde, b

    def _forward(self, x: Tensor, context: Context) -> tuple[Tensor, Tensor]:
        params = self.params(x, context)
        with without_autocast(x):
            q, r, r_tilde, b = self._unpack(params)
            y = _times(q.mT, x)
            inner = _times(r_tilde, y) + b
            z = x + _times(q, _times(r, torch.tanh(inner)))
            return z, _log_slope(inner, 1 + _diagonal(r) * _diagonal(r_tilde)).sum(-1)

    def _inverse(self, z: Tensor, context: Context) -> tuple[Tensor, Tensor]:
        params = self.params(z, context)
        with without_autocast(z):
            q, r, r_tilde, b = self._unpack(params)
            inner = self._solve(_times(q.mT, z), r, r_tilde, b)
            x = z - _times(q, _times(r, torch.tanh(inner)))
            return x, -_log_slope(inner, 1 + _diagonal(r) * _diagonal(r_tilde)).sum(-1)

    def _solve(self, target: Tensor, r: Tensor, r_tilde: Tensor, b: Tensor) -> Tensor:
        """R̃y + b, where y + R tanh(R̃y + b) = target."""
        coordinates: list[Tensor] = []
        inner: list[Tensor] = []
        for i in reversed(range(self.rank)):
            known, shift = target[..., i], b[..., i]
            for j, (y_j, inner_j) in enumerate(zip(coordinates, inner, strict=True), start=i + 1):
                known = known - r[..., i, j] * torch.tanh(inner_j)
                shift = shift + r_tilde[..., i, j] * y_j
            y_i = _solve_coordinate(known, r[..., i, i], r_tilde[..., i, i], shift)
            coordinates.insert(0, y_i)
            inner.insert(0, r_tilde[..., i, i] * y_i + shift)
        return torch.stack(inner, dim=-1)


def _solve_coordinate(target: Tensor, outer: Tensor, weight: Tensor, shift: Tensor) -> Tensor:
    """The y with y + outer · tanh(weight · y + shift) = target."""

    def along(y: Tensor) -> tuple[Tensor, Tensor]:
        inner = weight * y + shift
        return y + outer * torch.tanh(inner), _log_slope(inner, 1 + outer * weight)

    return solve_increasing(along, target, target - outer.abs(), target + outer.abs())


class _Parameters(nn.Module):
    """Learned parameters, plus what a network makes of the context."""

    def __init__(self, owner: str, start: Tensor, net: nn.Module | None) -> None:
        super().__init__()
        given = getattr(net, "out_shape", start.shape)
        if tuple(given) != tuple(start.shape):
            raise ValueError(
                f"{owner}: the net must give parameters of shape {tuple(start.shape)} "
                f"(see {owner}.param_shape), got {tuple(given)}"
            )
        self.start = nn.Parameter(start)
        self.net = net
        self.context_shape: ContextShape = getattr(net, "context_shape", None)

    def forward(self, x: Tensor, context: Context) -> Tensor:
        if self.net is None:
            return self.start
        return self.start + self.net(context=context).to(x.dtype)


def _log_slope(at: Tensor, slope: Tensor) -> Tensor:
    """log(1 + c tanh′(at)) for slope = 1 + c > 0, as tanh² + slope · tanh′: no difference."""
    bend = torch.exp(math.log(4) + F.logsigmoid(2 * at) + F.logsigmoid(-2 * at))
    return (torch.tanh(at).square() + slope * bend).log()


def _radial(radius: Tensor, alpha: Tensor, slope: Tensor, features: int) -> tuple[Tensor, Tensor]:
    """1 + βh(r) and log|det|, with slope = 1 + β/α, as sums of positive numbers."""
    near, far = alpha / (alpha + radius), radius / (alpha + radius)
    stretch = far + slope * near
    along = far * (1 + near) + slope * near.square()
    return stretch, (features - 1) * stretch.log() + along.log()


def _radius(image: Tensor, alpha: Tensor, slope: Tensor) -> Tensor:
    """The r with r (1 + βh(r)) = R, the root of r² + (α slope − R) r − αR = 0 without a difference.

    In units of R + α slope, so that no square overflows.
    """
    unit = image + alpha * slope
    half = 0.5 * (image - alpha * slope) / unit
    product = (alpha / unit) * (image / unit)
    root = (half.square() + product).sqrt()
    larger = root + torch.where(half > 0, half, -half)
    return unit * torch.where(half > 0, larger, product / larger)


def _times(matrix: Tensor, vector: Tensor) -> Tensor:
    return torch.einsum("...ij,...j->...i", matrix, vector)


def _diagonal(matrix: Tensor) -> Tensor:
    return matrix.diagonal(dim1=-2, dim2=-1)


def _positive(what: str, number: int) -> int:
    if isinstance(number, bool) or not isinstance(number, int) or number < 1:
        raise ValueError(f"{what} must be a positive whole number, got {number!r}")
    return number
