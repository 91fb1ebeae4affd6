"""Sounds to look at: waveforms over time, and how loud they are at each frequency."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from diffeo.report.style import DATA, MODEL, figure, styled

POINTS = 1500
"""A waveform is drawn as the extremes of so many stretches."""
FRAMES = 600
"""Columns of a spectrogram at most."""
RANGE = 80.0
"""Decibels below the loudest that are shown."""
WINDOW_SECONDS = 0.025
"""Of a spectrogram."""


def waveforms(
    columns: Sequence[tuple[str, Sequence[tuple[str, np.ndarray]]]], rate: int, *, title: str = ""
) -> Figure:
    """Sounds in columns, each as its waveform over its spectrogram.

    Spectrograms are of squared magnitudes in decibels below the loudest of all; silence is what is
    `RANGE` below that.

    Args:
        columns: a heading, and named waveforms (samples,), full scale being ±1. The first column is
            drawn as data, the others as what a model made.
        rate: samples a second.
        title: above the picture.

    Raises:
        ValueError: if there is no sound.

    Example:
        >>> tone = np.sin(np.arange(8000) * 0.3)
        >>> drawn = waveforms([("recorded", [("a", tone)]), ("drawn", [("1", tone / 2)])], 8000)
        >>> len(drawn.axes)
        4
    """
    count = max((len(sounds) for _, sounds in columns), default=0)
    if not count:
        raise ValueError("waveforms: there is no sound")
    spectra = [[_spectrum(x, rate) for _, x in sounds] for _, sounds in columns]
    loudest = max(float(s.max()) for column in spectra for s in column)
    with styled():
        drawn = figure(5.2 * len(columns), 2.6 * count + 0.4)
        heights = [0.45, 1.0] * count
        grid = drawn.add_gridspec(2 * count, len(columns), height_ratios=heights)
        for j, (heading, sounds) in enumerate(columns):
            for i, (name, x) in enumerate(sounds):
                above, below = (drawn.add_subplot(grid[2 * i + k, j]) for k in range(2))
                seconds = len(x) / rate
                _wave(above, x, seconds, DATA if j == 0 else MODEL)
                above.set_title(f"{heading}: {name}" if name else heading)
                image = _decibels(spectra[j][i], loudest)
                _picture(below, image, seconds, rate)
                below.set_ylabel("kHz" if j == 0 else "")
                below.set_xlabel("seconds" if i == len(sounds) - 1 else "")
        drawn.suptitle(title)
    return drawn


def _wave(axes: Axes, x: np.ndarray, seconds: float, colour: str) -> None:
    parts = np.array_split(x, min(POINTS, len(x)))
    low, high = ([float(f(part)) for part in parts] for f in (np.min, np.max))
    times = np.linspace(0, seconds, len(parts))
    axes.fill_between(times, low, high, color=colour, lw=0.6)
    most = max(0.05, 1.05 * float(np.abs(x).max()))
    axes.set(xlim=(0, seconds), ylim=(-most, most))
    axes.tick_params(labelbottom=False)


def _picture(axes: Axes, image: np.ndarray, seconds: float, rate: int) -> None:
    axes.imshow(
        image,
        origin="lower",
        aspect="auto",
        cmap="magma",
        vmin=-RANGE,
        vmax=0,
        extent=(0, seconds, 0, rate / 2000),
        interpolation="nearest",
    )
    axes.grid(False)


def _spectrum(x: np.ndarray, rate: int) -> np.ndarray:
    """Squared magnitudes, (frequencies, frames)."""
    size = 2 ** round(np.log2(max(16, WINDOW_SECONDS * rate)))
    padded = np.pad(x.astype(np.float64), (size // 2, size // 2))
    starts = np.linspace(0, len(padded) - size, min(FRAMES, max(1, len(x) // 8))).astype(int)
    frames = padded[starts[:, None] + np.arange(size)] * np.hanning(size)
    return np.square(np.abs(np.fft.rfft(frames))).T


def _decibels(spectrum: np.ndarray, loudest: float) -> np.ndarray:
    least = max(loudest, 1e-12) * 10 ** (-RANGE / 10)
    return 10 * np.log10(np.maximum(spectrum, least) / max(loudest, 1e-12))
