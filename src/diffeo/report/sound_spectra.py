"""Recordings and draws at every frequency and level: mean spectra, and how loud samples are."""

import math
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from matplotlib.figure import Figure

from diffeo.data.sounds import Sounds
from diffeo.quantities import counted, duration
from diffeo.report.comparison import CLEAR
from diffeo.report.page import Grid, Picture, Section
from diffeo.report.sound_material import SoundMaterial
from diffeo.report.style import DATA, MODEL, figure, png, styled
from diffeo.report.waveforms import spectrum, window_of

BANDS = 8
"""Of equal width, from 0 to half the rate."""
FLOOR = 1e-12
"""Power that counts as silence, −120 dB."""
LOUD = (-60.0, -40.0, -20.0)
"""Decibels between which samples are counted, full scale being 0."""


@dataclass(frozen=True)
class Band:
    """The mean power of sounds in a band, in decibels, and its standard error over clips."""

    low: float
    """kHz."""
    high: float
    power: float
    parts: np.ndarray = field(repr=False, compare=False)
    """What each clip adds to how far the mean is off, decibels."""

    @property
    def error(self) -> float:
        """The standard error; NaN of a single clip."""
        return _error(self.parts)

    def beside(self, other: "Band", paired: bool) -> tuple[float, float]:
        """How many decibels less power this has than the other, and the standard error of that.

        Args:
            other: the same band of other sounds.
            paired: whether each of those was made after the clip of the same place, so that both
                are loud or quiet together: the error is then that of the difference clip by clip.
        """
        off = other.power - self.power
        if paired:
            return off, _error(other.parts - self.parts)
        return off, math.hypot(self.error, other.error)


def spectra_section(material: SoundMaterial) -> Section | None:
    """Mean spectra and levels of recordings and draws; None where nothing was drawn."""
    if material.drawn is None:
        return None
    recorded, made = material.drawn.recorded, material.drawn.made
    ours, theirs, paired = bands(recorded), bands(made), material.model.mel is not None
    rows = tuple(
        (_range(one), _decibels(one.power), _decibels(other.power), _plus_minus(one, other, paired))
        for one, other in zip(ours, theirs, strict=True)
    )
    header = ("kHz", "recordings, dB", "draws, dB", "draws minus recordings")
    clips = counted(len(recorded), "clip")
    words = (
        f"Of {clips}, {duration(recorded.seconds)} of recordings and {duration(made.seconds)} of "
        "draws; power in decibels, a sine of full scale being 0, ± standard errors over clips"
    )
    words += ", those of the differences clip by clip." if paired else "."
    caption = (
        "Left: mean power at each frequency. Right: how frequent samples of each value are, on a "
        "logarithmic axis."
    )
    levels = [loudness(sounds) for sounds in (recorded, made)]
    return Section(
        "Spectra and levels",
        (
            in_words(ours, theirs, paired),
            Picture("spectra", png(_picture(recorded, made)), caption),
            words,
            Grid(header, rows, frozenset({1, 2, 3})),
            levels_in_words(*levels),
            Grid(("", "recordings", "draws"), tuple(_level_rows(*levels)), frozenset({1, 2})),
        ),
    )


def bands(sounds: Sounds) -> list[Band]:
    """The mean power of sounds in bands, of a sine of full scale 0 dB; clips count by length."""
    window, samples = window_of(sounds.rate), np.array(sounds.lengths)
    each = np.array([spectrum(x, sounds.rate).mean(1) for x in sounds.clips])
    each *= 4 / (len(window) * np.square(window).sum())
    edges = np.linspace(0, sounds.rate / 2000, BANDS + 1)
    khz = np.linspace(0, sounds.rate / 2000, each.shape[1])
    place = np.minimum(np.searchsorted(edges, khz, "right") - 1, BANDS - 1)
    found = []
    for i in range(BANDS):
        own = each[:, place == i].sum(1)
        mean = float(np.average(own, weights=samples))
        power = max(mean, FLOOR)
        parts = 10 / math.log(10) * (own - mean) * samples / (samples.sum() * power)
        found.append(Band(float(edges[i]), float(edges[i + 1]), _db(power), parts))
    return found


def in_words(ours: list[Band], theirs: list[Band], paired: bool = False) -> str:
    """In which band draws differ most from recordings, if any clearly does.

    Args:
        ours: of recordings.
        theirs: of draws.
        paired: as of `Band.beside`.
    """
    pairs = list(zip(ours, theirs, strict=True))
    found = [one.beside(other, paired) for one, other in pairs]
    if any(math.isnan(error) for _, error in found):
        return (
            "One clip has no standard error: nothing here tells whether draws differ from "
            "recordings by more than chance."
        )
    clear = [
        pair for pair, (off, error) in zip(pairs, found, strict=True) if abs(off) > CLEAR * error
    ]
    if not clear:
        return f"In no band draws differ from recordings by more than {CLEAR:.0f} standard errors."
    one, other = max(clear, key=lambda pair: abs(pair[1].power - pair[0].power))
    less = other.power < one.power
    return (
        f"Draws differ most from recordings at {_range(one)} kHz, where they have "
        f"{_plus_minus(one, other, paired).lstrip('−+')} dB {'less' if less else 'more'} power. "
        f"They differ by more than {CLEAR:.0f} standard errors in {len(clear)} of {len(pairs)} "
        "bands."
    )


def loudness(sounds: Sounds) -> dict[str, float]:
    """Root mean square and greatest magnitude in decibels, and parts of samples between `LOUD`."""
    x = np.abs(np.concatenate(list(sounds.clips)).astype(np.float64))
    edges = [0.0, *(10 ** (db / 20) for db in LOUD), math.inf]
    names = [f"below {_decibels(LOUD[0], 0)} dB"]
    names += [f"{_decibels(a, 0)} to {_decibels(b, 0)} dB" for a, b in pairwise(LOUD)]
    names += [f"{_decibels(LOUD[-1], 0)} dB and above"]
    found = {
        "root mean square": _db(max(float(np.square(x).mean()), FLOOR)),
        "loudest sample": _db(max(float(x.max()) ** 2, FLOOR)),
    }
    for name, low, high in zip(names, edges[:-1], edges[1:], strict=True):
        found[name] = float(((x >= low) & (x < high)).mean())
    return found


def levels_in_words(ours: dict[str, float], theirs: dict[str, float]) -> str:
    """How loud draws are beside recordings, and of which samples they have too many or too few."""
    off = theirs["root mean square"] - ours["root mean square"]
    beside = f"{abs(off):.1f} dB {'louder' if off > 0 else 'quieter'} than"
    if f"{abs(off):.1f}" == "0.0":
        beside = "as loud, to 0.1 dB, as"
    words = f"Draws are {beside} recordings (root mean square, full scale being 0 dB)."
    parts = list(ours)[2:]
    name = max(parts, key=lambda part: abs(theirs[part] - ours[part]))
    return (
        f"{words} Levels differ most {name if name.startswith('below') else 'at ' + name}: "
        f"{ours[name]:.1%} of recorded samples, {theirs[name]:.1%} of drawn ones."
    )


def _level_rows(ours: dict[str, float], theirs: dict[str, float]) -> list[tuple[str, str, str]]:
    rows = []
    for i, name in enumerate(ours):
        if i < 2:
            rows.append((name, f"{_decibels(ours[name])} dB", f"{_decibels(theirs[name])} dB"))
        else:
            rows.append((f"samples {name}", f"{ours[name]:.1%}", f"{theirs[name]:.1%}"))
    return rows


def _picture(recorded: Sounds, made: Sounds) -> Figure:
    rate, window = recorded.rate, window_of(recorded.rate)
    most = max(1e-3, max(float(np.abs(x).max()) for x in (*recorded.clips, *made.clips)))
    edges = np.linspace(-most, most, 102)
    with styled():
        drawn = figure(10.4, 3.6)
        left, right = drawn.subplots(1, 2)
        for sounds, colour, name in ((recorded, DATA, "recordings"), (made, MODEL, "draws")):
            each = np.array([spectrum(x, rate).mean(1) for x in sounds.clips])
            power = np.average(each, 0, weights=sounds.lengths) * (4 / window.sum() ** 2)
            khz = np.linspace(0, rate / 2000, len(power))
            left.plot(khz, 10 * np.log10(np.maximum(power, FLOOR)), color=colour, label=name)
            values = np.concatenate(list(sounds.clips))
            right.hist(values, edges, density=True, histtype="step", color=colour, label=name)
        wide = rate / 2 / (len(window) // 2)
        left.set(xlabel="kHz", ylabel=f"dB, full scale being 0, in steps of {wide:.0f} Hz")
        left.set(xlim=(0, rate / 2000), title="Mean power spectrum")
        right.set(xlabel="sample, full scale being ±1", ylabel="density", yscale="log")
        right.set(xlim=(-most, most), title="Values of samples")
        right.yaxis.set_major_formatter(lambda value, _: f"{value:g}")  # powers would be formulas
        left.legend()
        right.legend()
    return drawn


def _range(band: Band) -> str:
    return f"{band.low:.4g}–{band.high:.4g}"


def _error(parts: np.ndarray) -> float:
    """The standard error of a mean to which clips add this; NaN of a single clip."""
    n = len(parts)
    return math.nan if n < 2 else math.sqrt(float(np.square(parts).sum()) * n / (n - 1))


def _plus_minus(one: Band, other: Band, paired: bool) -> str:
    off, error = one.beside(other, paired)
    text = f"{off:+.1f}".replace("-", "−")
    return text if math.isnan(error) else f"{text} ± {error:.1f}"


def _db(power: float) -> float:
    return 10 * math.log10(power)


def _decibels(value: float, digits: int = 1) -> str:
    return f"{value:.{digits}f}".replace("-", "−")
