"""How far results may be from what they should be: a number a property, and the exceptions.

A bound b on an error is meant relative to the size of what is compared, |error| ≤ b · (1 +
|value|), unless the property says otherwise.
"""

from dataclasses import dataclass

import torch

BOUNDS: dict[str, tuple[float, float]] = {
    # property: (float64, float32)
    "round_trip": (1e-9, 1e-4),
    # Against log|det| of the autograd Jacobian, taken in float64 also for the float32 map.
    "ladj": (1e-8, 1e-4),
    # First derivatives of a round trip, which the inverse function theorem says are 1 or 0.
    "inverse_gradient": (1e-7, 1e-3),
    # The same numbers in another order of summation: matrix products of other shapes.
    "same_numbers": (1e-12, 2e-5),
    # Traced maps run solvers for a fixed number of steps instead of until convergence.
    "traced": (1e-9, 1e-4),
    # Extreme parameters and inputs: see tests/properties/extremes.py for what it multiplies.
    "extreme_round_trip": (1e-12, 1e-5),
    # Conditioners that compute in bf16 (8 bits: 2⁻⁹ a product) against the same in float32.
    "autocast": (0.1, 0.1),
    # A density integrated over a grid, against 1.
    "integral": (1e-3, 1e-3),
    # Log-densities of other libraries' models with the same weights, absolute.
    "peer": (1e-10, 1e-5),
}


@dataclass(frozen=True)
class Exceptional:
    """A wider bound for one case, and why it needs it."""

    float64: float
    float32: float
    reason: str


_AMPLIFIED = (
    "each part meets the bound; here the next parts amplify what the ones before may err by"
)

EXCEPTIONS: dict[tuple[str, str], Exceptional] = {
    # (property, name in the catalogue): bounds and reason
    ("extreme_round_trip", "Chain"): Exceptional(1e-10, 1e-3, _AMPLIFIED),
    ("extreme_round_trip", "Inverse/chain"): Exceptional(1e-10, 1e-3, _AMPLIFIED),
}


def tolerance(property_: str, case: str, dtype: torch.dtype) -> float:
    """The bound on a property of one entry of the catalogue, by name, in one dtype."""
    exception = EXCEPTIONS.get((property_, case))
    if exception is not None:
        return exception.float32 if dtype == torch.float32 else exception.float64
    float64, float32 = BOUNDS[property_]
    return float32 if dtype == torch.float32 else float64
