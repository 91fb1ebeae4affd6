"""Where a map or a density lives: the line, a half-line, an interval, the circle, integers.

`Support` is one set for every element of an event, `Product` a set for each element of a vector.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import constraints


@dataclass(frozen=True)
class Support:
    """The set {x : lower ≤ x ≤ upper} that every element of an event lies in.

    Args:
        lower: the lower end; −∞ where there is none.
        upper: the upper end; +∞ where there is none.
        closed: whether finite ends belong to the set. Infinity never does.
        integer: whether only whole numbers belong to the set.
        circular: whether `lower` and `upper` are the same point.

    Raises:
        ValueError: if `lower` is not below `upper`.
    """

    lower: float = -math.inf
    upper: float = math.inf
    closed: bool = False
    integer: bool = False
    circular: bool = False

    def __post_init__(self) -> None:
        if not self.lower < self.upper:
            raise ValueError(f"a support needs lower < upper, got {self.lower} and {self.upper}")

    def outside(self, x: Tensor) -> Tensor:
        """Which elements of x lie outside. A NaN is not called outside: it stays a NaN."""
        if self.closed:
            out = (x < self.lower) | (x > self.upper) | x.isinf()
        else:
            out = (x <= self.lower) | (x >= self.upper)
        return out | (x != x.round()) & ~x.isnan() if self.integer else out

    def replace_outside(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x with the elements outside moved to a point inside, and which those were."""
        outside = self.outside(x)
        return torch.where(outside, torch.full_like(x, self.interior), x), outside

    @property
    def interior(self) -> float:
        """A point inside, away from the ends."""
        if math.isfinite(self.lower) and math.isfinite(self.upper):
            middle = self.lower + (self.upper - self.lower) / 2
            return float(math.floor(middle)) if self.integer else middle
        if math.isfinite(self.lower):
            return self.lower + 1
        return self.upper - 1 if math.isfinite(self.upper) else 0.0

    def same_set(self, other: "Support | Product") -> bool:
        """Whether both are the same set, end points (a set of measure zero) aside."""
        if isinstance(other, Product):
            return other.same_set(self)
        mine = (self.lower, self.upper, self.integer)
        return mine == (other.lower, other.upper, other.integer)

    @property
    def constraint(self) -> constraints.Constraint:
        """The same set in the words of `torch.distributions`, for one element."""
        if self.integer:
            if math.isfinite(self.upper) and math.isfinite(self.lower):
                return constraints.integer_interval(int(self.lower), int(self.upper))
            # Of half-lines torch has only the whole numbers from 0.
            return constraints.nonnegative_integer if self.lower == 0 else constraints.real
        if math.isfinite(self.lower) and math.isfinite(self.upper):
            return constraints.interval(self.lower, self.upper)
        if math.isfinite(self.lower):
            return constraints.greater_than(self.lower)
        if math.isfinite(self.upper):
            return constraints.less_than(self.upper)
        return constraints.real

    def __str__(self) -> str:
        if self.circular:
            return f"the circle [{self.lower:g}, {self.upper:g})"
        if self.integer:
            if self.lower == -math.inf and self.upper == math.inf:
                return "the whole numbers"
            return f"the whole numbers {self.lower:g} … {self.upper:g}"
        if self == LINE:
            return "the real line"
        left, right = "[]" if self.closed else "()"
        return f"{left}{self.lower:g}, {self.upper:g}{right}"


@dataclass(frozen=True)
class Product:
    """A set for each element of a vector: {x : x_i in S_i}, along the last dimension.

    Args:
        supports: S_i, in order.

    Raises:
        ValueError: if there is none.
    """

    supports: tuple[Support, ...]

    def __post_init__(self) -> None:
        if not self.supports:
            raise ValueError("a product of supports needs at least one")

    @property
    def integer(self) -> bool:
        """Whether every element is a whole number."""
        return all(support.integer for support in self.supports)

    def outside(self, x: Tensor) -> Tensor:
        """Which elements of x lie outside theirs. A NaN is not called outside: it stays a NaN."""
        lower = x.new_tensor([support.lower for support in self.supports])
        upper = x.new_tensor([support.upper for support in self.supports])
        closed = self._flags(x, [support.closed for support in self.supports])
        whole = self._flags(x, [support.integer for support in self.supports])
        beyond = (x < lower) | (x > upper) | x.isinf()
        on_end = ~closed & ((x == lower) | (x == upper))
        return beyond | on_end | whole & (x != x.round()) & ~x.isnan()

    def replace_outside(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x with the elements outside moved to a point inside, and which those were."""
        outside = self.outside(x)
        inside = x.new_tensor([support.interior for support in self.supports])
        return torch.where(outside, inside, x), outside

    def same_set(self, other: "Support | Product") -> bool:
        """Whether both are the same set, end points (a set of measure zero) aside."""
        if isinstance(other, Support):
            return all(support.same_set(other) for support in self.supports)
        pairs = zip(self.supports, other.supports, strict=False)
        return len(self.supports) == len(other.supports) and all(a.same_set(b) for a, b in pairs)

    @property
    def constraint(self) -> constraints.Constraint:
        """The same set in the words of `torch.distributions`, for a vector."""
        return _Within(self)

    @staticmethod
    def _flags(x: Tensor, flags: Sequence[bool]) -> Tensor:
        return torch.tensor(flags, dtype=torch.bool, device=x.device)

    def __str__(self) -> str:
        shown = [str(support) for support in self.supports[:4]]
        more = f", … ({len(self.supports)} in all)" if len(self.supports) > 4 else ""
        return f"the product of {', '.join(shown)}{more}"


class _Within(constraints.Constraint):
    """Vectors with each element in its own set."""

    event_dim = 1

    def __init__(self, product: Product) -> None:
        self.is_discrete = product.integer
        self._product = product

    def check(self, value: Tensor) -> Tensor:
        return ~self._product.outside(value).any(-1)


def product(supports: Sequence[Support]) -> Support | Product:
    """The set of vectors with those elements: one `Support` where all are the same."""
    first = supports[0] if supports else LINE
    return first if all(other == first for other in supports) else Product(tuple(supports))


def each(support: Support | Product, features: int) -> tuple[Support, ...]:
    """The support of every element of a vector."""
    return support.supports if isinstance(support, Product) else (support,) * features


LINE = Support()
POSITIVE = Support(lower=0.0)
UNIT = Support(lower=0.0, upper=1.0, closed=True)
