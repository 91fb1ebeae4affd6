"""Linear maps of a vector: permutations, and matrices whose determinant and inverse are cheap."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from diffeo.bijections.base import Bijection, zero_ladj
from diffeo.bijections.householder import householder_product
from diffeo.contexts import Context
from diffeo.reorder import reorder
from diffeo.scalars.affine import soft_bound


class Permutation(Bijection):
    """A fixed reordering: z_i = x_π(i); log|det| = 0. Inverse: x_π(i) = z_i.

    Args:
        features: D.
        order: π as a sequence, or "reverse", or "random".
        seed: of the random order; None draws it from torch's global generator.
    Shapes: x, z: (*batch, D); ladj: (*batch,).

    Raises:
        ValueError: if D is not positive, or the order is not one of 0 … D − 1.

    Example:
        >>> import torch
        >>> from diffeo.bijections.linear import Permutation
        >>> Permutation(3, [2, 0, 1])(torch.tensor([10.0, 11.0, 12.0]))[0]
        tensor([12., 10., 11.])
    """

    domain = None
    codomain = None
    recompute = "invert"
    order: Tensor
    back: Tensor

    def __init__(
        self, features: int, order: str | Sequence[int] = "reverse", seed: int | None = None
    ) -> None:
        super().__init__()
        self.event_shape, self.event_dim = _vector(type(self).__name__, features), 1
        indices = _as_order(features, order, seed)
        self.register_buffer("order", indices)
        self.register_buffer("back", indices.argsort())

    def _forward(self, x: Tensor, context: Context) -> tuple[Tensor, Tensor]:
        return reorder(x, self.order, self.back), zero_ladj(x, x.dim() - 1)

    def _inverse(self, z: Tensor, context: Context) -> tuple[Tensor, Tensor]:
        return reorder(z, self.back, self.order), zero_ladj(z, z.dim() - 1)

    def extra_repr(self) -> str:
        """The number of features."""
        return f"features={self.back.numel()}"


class LULinear(Bijection):
    """A matrix in triangular factors: z = P L U x + b; log|det| = Σ s_i.

    Inverse: x = U⁻¹ L⁻¹ Pᵀ (z − b).

    P is a fixed permutation, L lower triangular with a diagonal of ones, U upper triangular with
    the diagonal exp(s_i), s_i = a_i / (1 + |a_i| / B) in (−B, B). Starts at P. Both directions cost
    O(D²) for each x, the log-determinant O(D).

    Args:
        features: D.
        order: P, as for `Permutation`; "identity" for none.
        bias: whether there is b.
        seed: of a random P.
        log_scale_bound: B; log 1000 unless told.
    Shapes: x, z: (*batch, D); ladj: (*batch,).

    Raises:
        ValueError: if D or B is not positive, or the order is not a permutation.
    Reference: Kingma & Dhariwal, 2018, Glow, arXiv:1807.03039; Oliva et al., 2018, Transformation
        Autoregressive Networks, arXiv:1801.09819; Durkan et al., 2019, Neural Spline Flows,
        arXiv:1906.04032.

    Example:
        >>> import torch
        >>> from diffeo.bijections import LULinear
        >>> z, ladj = LULinear(3)(torch.randn(5, 2, 3))
        >>> z.shape, ladj.shape
        (torch.Size([5, 2, 3]), torch.Size([5, 2]))
    """

    recompute = "invert"

    def __init__(
        self,
        features: int,
        order: str | Sequence[int] = "random",
        bias: bool = True,
        seed: int | None = None,
        log_scale_bound: float = math.log(1000.0),
    ) -> None:
        super().__init__()
        self.event_shape, self.event_dim = _vector(type(self).__name__, features), 1
        self.log_scale_bound = _positive(type(self).__name__, log_scale_bound)
        self.permutation = Permutation(features, order, seed)
        # One matrix: L below the diagonal, U above it, the a_i on it.
        self.entries = nn.Parameter(torch.zeros(features, features))
        self.bias = nn.Parameter(torch.zeros(features)) if bias else None

    def _forward(self, x: Tensor, context: Context) -> tuple[Tensor, Tensor]:
        with without_autocast(x):
            upper, log_diagonal = _upper_factor(self.entries, self.log_scale_bound)
            z = F.linear(x, upper)
            z = z + F.linear(z, self.entries.tril(-1))
            z = _add(self.permutation(z)[0], self.bias)
        return z, _expand_ladj(log_diagonal.sum(), x)

    def _inverse(self, z: Tensor, context: Context) -> tuple[Tensor, Tensor]:
        with without_autocast(z):
            upper, log_diagonal = _upper_factor(self.entries, self.log_scale_bound)
            x = self.permutation.inverse(_subtract(z, self.bias))[0]
            x = _solve_triangular(self.entries.tril(-1), x, upper=False, ones=True)
            x = _solve_triangular(upper, x, upper=True)
        return x, _expand_ladj(-log_diagonal.sum(), z)

    def extra_repr(self) -> str:
        """The bound."""
        return f"log_scale_bound={self.log_scale_bound:.4g}"


class QRLinear(Bijection):
    """A matrix as a rotation of a triangular one: z = Q R x + b; log|det| = Σ s_i.

    Inverse: x = R⁻¹ Qᵀ (z − b). Q is a product of Householder reflections, R upper triangular with
    the diagonal exp(s_i), s_i = a_i / (1 + |a_i| / B) in (−B, B). The reflections start in equal
    pairs, which undo each other: the map starts at the identity.

    Args:
        features: D.
        reflections: how many; even, so that Q is a rotation. D unless told, or D + 1 if D is odd,
            with which Q can be any rotation.
        bias: whether there is b.
        log_scale_bound: B; log 1000 unless told.
    Shapes: x, z: (*batch, D); ladj: (*batch,).

    Raises:
        ValueError: if D or B is not positive, or `reflections` is not a positive even number.
    Reference: Tomczak & Welling, 2016, Improving Variational Auto-Encoders using Householder Flow,
        arXiv:1611.09630; Hoogeboom, van den Berg & Welling, 2019, Emerging Convolutions for
        Generative Normalizing Flows, arXiv:1901.11137.
    """

    recompute = "invert"

    def __init__(
        self,
        features: int,
        reflections: int | None = None,
        bias: bool = True,
        log_scale_bound: float = math.log(1000.0),
    ) -> None:
        super().__init__()
        self.event_shape, self.event_dim = _vector(type(self).__name__, features), 1
        self.log_scale_bound = _positive(type(self).__name__, log_scale_bound)
        reflections = features + features % 2 if reflections is None else reflections
        if not isinstance(reflections, int) or reflections < 2 or reflections % 2:
            raise ValueError(
                f"QRLinear: reflections must be a positive even number, got {reflections!r}"
            )
        pairs = torch.randn(reflections // 2, features).repeat_interleave(2, dim=0)
        self.vectors = nn.Parameter(pairs)
        # R, with the a_i on the diagonal; what is below the diagonal is not used.
        self.entries = nn.Parameter(torch.zeros(features, features))
        self.bias = nn.Parameter(torch.zeros(features)) if bias else None

    def _forward(self, x: Tensor, context: Context) -> tuple[Tensor, Tensor]:
        with without_autocast(x):
            upper, log_diagonal = _upper_factor(self.entries, self.log_scale_bound)
            z = F.linear(F.linear(x, upper), householder_product(self.vectors))
            z = _add(z, self.bias)
        return z, _expand_ladj(log_diagonal.sum(), x)

    def _inverse(self, z: Tensor, context: Context) -> tuple[Tensor, Tensor]:
        with without_autocast(z):
            upper, log_diagonal = _upper_factor(self.entries, self.log_scale_bound)
            x = F.linear(_subtract(z, self.bias), householder_product(self.vectors).mT)
            x = _solve_triangular(upper, x, upper=True)
        return x, _expand_ladj(-log_diagonal.sum(), z)

    def extra_repr(self) -> str:
        """The number of reflections and the bound."""
        return f"reflections={self.vectors.shape[0]}, log_scale_bound={self.log_scale_bound:.4g}"


class FullLinear(Bijection):
    """Any matrix: z = W x + b; log|det| = log|det W|. Inverse: x = W⁻¹ (z − b).

    The log-determinant costs O(D³) a call, the inverse as much, whatever the batch. Nothing keeps
    W from becoming singular; the log-determinant then tends to −∞, which a likelihood avoids.

    Args:
        features: D.
        start: "rotation" (random, as in Glow, log|det| = 0) or "identity".
        bias: whether there is b.
    Shapes: x, z: (*batch, D); ladj: (*batch,).

    Raises:
        ValueError: if D is not positive, or `start` is something else.
    Reference: Kingma & Dhariwal, 2018, Glow, arXiv:1807.03039.
    """

    recompute = "invert"

    def __init__(self, features: int, start: str = "rotation", bias: bool = True) -> None:
        super().__init__()
        self.event_shape, self.event_dim = _vector(type(self).__name__, features), 1
        if start not in ("rotation", "identity"):
            raise ValueError(f"FullLinear: start must be 'rotation' or 'identity', got {start!r}")
        weight = torch.eye(features) if start == "identity" else _random_rotation(features)
        self.weight = nn.Parameter(weight)
        self.bias = nn.Parameter(torch.zeros(features)) if bias else None

    def _forward(self, x: Tensor, context: Context) -> tuple[Tensor, Tensor]:
        with without_autocast(x):
            z = _add(F.linear(x, self.weight), self.bias)
            ladj = torch.linalg.slogdet(self.weight).logabsdet
        return z, _expand_ladj(ladj, x)

    def _inverse(self, z: Tensor, context: Context) -> tuple[Tensor, Tensor]:
        with without_autocast(z):
            rows = _subtract(z, self.bias).reshape(-1, z.shape[-1])
            # The form that does not raise where W is singular.
            x = torch.linalg.solve_ex(self.weight.mT, rows, left=False).result.reshape(z.shape)
            ladj = torch.linalg.slogdet(self.weight).logabsdet
        return x, _expand_ladj(-ladj, z)


def without_autocast(x: Tensor) -> torch.autocast:
    """A context in which products of the event with matrices keep their precision."""
    return torch.autocast(x.device.type, enabled=False)


def _upper_factor(entries: Tensor, bound: float) -> tuple[Tensor, Tensor]:
    log_diagonal = soft_bound(entries.diagonal(), bound)
    return entries.triu(1) + torch.diag(log_diagonal.exp()), log_diagonal


def _solve_triangular(matrix: Tensor, x: Tensor, upper: bool, ones: bool = False) -> Tensor:
    """The y with `matrix` y = x for every row x; `ones`: the diagonal counts as ones."""
    rows = x.reshape(-1, x.shape[-1])
    solved = torch.linalg.solve_triangular(
        matrix.mT, rows, upper=not upper, left=False, unitriangular=ones
    )
    return solved.reshape(x.shape)


def _add(x: Tensor, bias: Tensor | None) -> Tensor:
    return x if bias is None else x + bias


def _subtract(x: Tensor, bias: Tensor | None) -> Tensor:
    return x if bias is None else x - bias


def _expand_ladj(ladj: Tensor, x: Tensor) -> Tensor:
    return ladj.expand(x.shape[:-1])


def _random_rotation(features: int) -> Tensor:
    rotation = torch.linalg.qr(torch.randn(features, features)).Q
    # A reflection becomes a rotation with one column turned round.
    sign = torch.linalg.slogdet(rotation).sign
    return torch.cat([rotation[:, :1] * sign, rotation[:, 1:]], dim=1).contiguous()


def _as_order(features: int, order: str | Sequence[int], seed: int | None) -> Tensor:
    if isinstance(order, str):
        if order == "random":
            generator = None if seed is None else torch.Generator().manual_seed(seed)
            return torch.randperm(features, generator=generator)
        if order not in ("reverse", "identity"):
            raise ValueError(
                "Permutation: order must be a sequence, 'reverse', 'random' or 'identity', "
                f"got {order!r}"
            )
        return torch.arange(features) if order == "identity" else torch.arange(features).flip(0)
    indices = [int(index) for index in order]
    if sorted(indices) != list(range(features)):
        raise ValueError(
            f"Permutation: order must hold each of 0 … {features - 1} once, got {indices}"
        )
    return torch.tensor(indices)


def _vector(owner: str, features: int) -> tuple[int]:
    if isinstance(features, bool) or not isinstance(features, int) or features < 1:
        raise ValueError(f"{owner}: features must be a positive whole number, got {features!r}")
    return (features,)


def _positive(owner: str, bound: float) -> float:
    if not 0 < bound < math.inf:
        raise ValueError(f"{owner}: log_scale_bound must be positive and finite, got {bound}")
    return bound
