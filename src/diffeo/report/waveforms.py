"""Sounds to look at: waveforms over time, and how loud they are at each frequency."""

from collections.abc import Iterable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

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
    columns: Sequence[tuple[str, Sequence[tuple[str, np.ndarray]]]],
    rate: int,
    *,
    title: str = "",
    loudest: float | None = None,
    made: bool = True,
    width: float = 5.2,
) -> Figure:
    """Sounds in columns, each as its waveform over its spectrogram; rows have one scale.

    Spectrograms are of squared magnitudes in decibels below the loudest of all; silence is what is
    `RANGE` below that.

    Args:
        columns: a heading, and named waveforms (samples,), full scale being ±1. The first column is
            drawn as data, the others as what a model made.
        rate: samples a second.
        title: above the picture.
        loudest: the squared magnitude that is 0 dB (`loudest_of`), for several pictures of one
            scale; None for that of these sounds.
        made: whether the columns after the first are what a model made.
        width: inches of a column.

    Raises:
        ValueError: if there is no sound.

    Example:
        >>> tone = np.sin(np.arange(8000) * 0.3)
        >>> drawn = waveforms([("recorded", [("a", tone)]), ("drawn", [("1", tone / 2)])], 8000)
        >>> len(drawn.axes)  # two sounds, and the bar of the colours
        5
    """
    count = max((len(sounds) for _, sounds in columns), default=0)
    if not count:
        raise ValueError("waveforms: there is no sound")
    spectra = [[spectrum(x, rate) for _, x in sounds] for _, sounds in columns]
    top = max(float(s.max()) for column in spectra for s in column) if loudest is None else loudest
    with styled():
        drawn = figure(width * len(columns) + 0.6, 2.6 * count + 0.4)
        heights = [0.45, 1.0] * count
        grid = drawn.add_gridspec(2 * count, len(columns), height_ratios=heights)
        pictures, image = [], None
        for i in range(count):
            row = [sounds[i][1] for _, sounds in columns if i < len(sounds)]
            seconds = max(map(len, row)) / rate
            most = max(0.05, *(1.05 * float(np.abs(x).max()) for x in row))
            for j, (heading, sounds) in enumerate(columns):
                if i >= len(sounds):
                    continue
                name, x = sounds[i]
                above, below = (drawn.add_subplot(grid[2 * i + k, j]) for k in range(2))
                _wave(above, x, rate, MODEL if j and made else DATA)
                above.set(xlim=(0, seconds), ylim=(-most, most))
                above.set_title(f"{heading}: {name}" if name and heading else heading or name)
                image = _picture(below, _decibels(spectra[j][i], top), len(x) / rate, rate)
                below.set_xlim(0, seconds)
                below.set_ylabel("kHz" if j == 0 else "")
                below.set_xlabel("seconds" if i == count - 1 else "")
                pictures.append(below)
        if image is not None:
            drawn.colorbar(image, ax=pictures, label="dB, the loudest being 0", pad=0.01, aspect=30)
        if title:
            drawn.suptitle(title)
    return drawn


def loudest_of(sounds: Iterable[np.ndarray], rate: int) -> float:
    """The largest squared magnitude of any, as `waveforms` takes it."""
    return max(float(spectrum(x, rate).max()) for x in sounds)


def _wave(axes: Axes, x: np.ndarray, rate: int, colour: str) -> None:
    parts = np.array_split(x, min(POINTS, len(x)))
    low, high = ([float(f(part)) for part in parts] for f in (np.min, np.max))
    times = np.linspace(0, len(x) / rate, len(parts))
    axes.fill_between(times, low, high, color=colour, lw=0.6)
    axes.tick_params(labelbottom=False)


def _picture(axes: Axes, image: np.ndarray, seconds: float, rate: int) -> AxesImage:
    shown = axes.imshow(
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
    return shown


def window_of(rate: int) -> np.ndarray:
    """The window of a spectrogram's frames, Hann's, a power of two long."""
    return np.hanning(2 ** round(np.log2(max(16, WINDOW_SECONDS * rate))))


def spectrum(x: np.ndarray, rate: int) -> np.ndarray:
    """Squared magnitudes of a waveform's frames, (frequencies, frames); `FRAMES` at most."""
    window = window_of(rate)
    size = len(window)
    padded = np.pad(x.astype(np.float64), (size // 2, size // 2))
    starts = np.linspace(0, len(padded) - size, min(FRAMES, max(1, len(x) // 8))).astype(int)
    frames = padded[starts[:, None] + np.arange(size)] * window
    return np.square(np.abs(np.fft.rfft(frames))).T


def _decibels(spectrum: np.ndarray, loudest: float) -> np.ndarray:
    least = max(loudest, 1e-12) * 10 ** (-RANGE / 10)
    return 10 * np.log10(np.maximum(spectrum, least) / max(loudest, 1e-12))
