"""Resampling: the same sound at another number of samples a second."""

import math

import numpy as np

from diffeo.extras import require


def resample(x: np.ndarray, rate: int, to: int) -> np.ndarray:
    """A waveform at another rate: ⌈T·to / rate⌉ samples of T.

    By a polyphase filter (`scipy.signal.resample_poly`: linear phase, a Kaiser window with β = 5)
    that keeps what is below half of the lower rate. What rings beyond full scale at that is cut
    to it.

    Args:
        x: waveform, full scale being ±1. Shape (T,).
        rate: its samples a second.
        to: those of the result.

    Raises:
        ValueError: if a rate is not a positive whole number.
        ImportError: if SciPy is not installed.

    Shapes: out: (⌈T·to / rate⌉,), float32.
    """
    for value in (rate, to):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(f"resample: rates must be positive whole numbers, got {value!r}")
    x = np.asarray(x, dtype=np.float32)
    if rate == to or not x.size:
        return x
    signal = require("scipy.signal", "diffeo.data.resample", "audio")
    common = math.gcd(rate, to)
    y = signal.resample_poly(x.astype(np.float64), to // common, rate // common)
    return np.clip(y, -1, 1).astype(np.float32)
