"""Where a map or a density lives: the line, a half-line, an interval, the circle, integers."""

import math
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

    def same_set(self, other: "Support") -> bool:
        """Whether both are the same set, end points (a set of measure zero) aside."""
        mine = (self.lower, self.upper, self.integer)
        return mine == (other.lower, other.upper, other.integer)

    @property
    def constraint(self) -> constraints.Constraint:
        """The same set in the words of `torch.distributions`, for one element."""
        if self.integer:
            if math.isfinite(self.upper) and math.isfinite(self.lower):
                return constraints.integer_interval(int(self.lower), int(self.upper))
            return constraints.nonnegative_integer
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
            return f"the whole numbers {self.lower:g} … {self.upper:g}"
        if self == LINE:
            return "the real line"
        left, right = "[]" if self.closed else "()"
        return f"{left}{self.lower:g}, {self.upper:g}{right}"


LINE = Support()
POSITIVE = Support(lower=0.0)
UNIT = Support(lower=0.0, upper=1.0, closed=True)
