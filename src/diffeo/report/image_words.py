"""Figures and numbers of things in words, for a report of a model of images."""

import math

from diffeo.quantities import counted
from diffeo.report.comparison import Mean, number


def bits_of(mean: Mean, per: float) -> str:
    """A mean of nats an image, as bits/dim: with −`per` a gain in nats becomes one in bits."""
    return plus_minus(-mean.value / per, mean.error / abs(per))


def plus_minus(value: float, error: float) -> str:
    """A figure in bits and its standard error, where it has one."""
    if not math.isfinite(value):
        return number(value)
    text = f"{value:.3f}".replace("-", "−")
    return text if math.isnan(error) else f"{text} ± {error:.3f}"


def part_of(n: int, of: int, noun: str) -> str:
    """How many things were looked at, and of how many."""
    return counted(n, noun) if n == of else f"{n:,} of {of:,} {noun}s, drawn at random"


def rate(value: float) -> str:
    """Things a second."""
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


def distance(value: float) -> str:
    """A distance between images."""
    return f"{value:,.0f}" if value >= 1000 else f"{value:.1f}"
