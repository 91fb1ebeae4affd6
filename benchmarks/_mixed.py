"""Tables of mixed columns to measure on: categories, counts, dates, bounds, rounded numbers."""

import io
import lzma
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd


@dataclass(frozen=True)
class Mixed:
    """A table, its rows in random order, and what is to be said of it."""

    rows: pd.DataFrame
    bounds: dict[str, tuple[float, float]]
    decimals: dict[str, int]
    """Of columns of rounded numbers."""


def spoken_digits(folder: Path) -> Mixed:
    """3000 recordings of spoken digits (fsdd), a row each.

    Who speaks and which digit: categories. The take and the length in milliseconds: counts. A day
    of the week in which a take is said to be recorded, a week a take: a date. Loudness (root mean
    square) and zero crossings (a part of all samples): numbers between 0 and 1. Whether a sample is
    at the end of its range: a truth value. The peak: rounded to 0.01.
    """
    packed = (folder / "fsdd" / "samples_i16.npy.xz").read_bytes()
    samples = np.load(io.BytesIO(lzma.decompress(packed)))
    with np.load(folder / "fsdd" / "index.npz") as index:
        names, lengths = index["name"], index["length"]
    rng = np.random.default_rng(0)
    rows = []
    for name, clip in zip(names, np.split(samples, np.cumsum(lengths)[:-1]), strict=True):
        digit, speaker, take = str(name).removesuffix(".wav").split("_")
        x = clip.astype(np.float64) / 32768
        day = 7 * int(take) + int(rng.integers(7))
        rows.append(
            {
                "speaker": speaker,
                "digit": f"digit {digit}",
                "take": int(take),
                "recorded": pd.Timestamp("2017-01-02") + pd.Timedelta(days=day),
                "milliseconds": round(len(clip) / 8),
                "loudness": float(np.sqrt((x**2).mean())),
                "crossings": float((np.diff(np.sign(x)) != 0).mean()),
                "clipped": bool((np.abs(clip.astype(int)) >= 32767).any()),
                "peak": round(float(np.abs(x).max()), 2),
            }
        )
    bounds = {"loudness": (0.0, 1.0), "crossings": (0.0, 1.0)}
    return Mixed(_shuffled(pd.DataFrame(rows)), bounds, {"peak": 2})


def red_wines(folder: Path) -> Mixed:
    """1599 red wines (uci), as measured and rounded, and their quality, a whole number of 0 … 10.

    Alcohol, of which some are means of others, is rounded to 0.01.
    """
    names = [
        *("fixed acidity", "volatile acidity", "citric acid", "residual sugar", "chlorides"),
        *("free sulfur dioxide", "total sulfur dioxide", "density", "pH", "sulphates", "alcohol"),
        "quality",
    ]
    rows = pd.DataFrame(np.loadtxt(folder / "uci" / "wine-quality-red.txt"), columns=names)
    rows["quality"] = rows["quality"].astype(int)
    rows["alcohol"] = rows["alcohol"].round(2)
    return Mixed(
        _shuffled(rows),
        {"quality": (0, 10), "citric acid": (0.0, 1.0)},
        {"pH": 2, "alcohol": 2},
    )


def _shuffled(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.sample(frac=1, random_state=0).reset_index(drop=True)


MIXED = {"spoken-digits": spoken_digits, "red-wines": red_wines}
"""Makers of the tables by name, each of the folder of the data."""
