"""What stands beside models of sounds: samples that know nothing of each other, and files."""

import io
import wave
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from diffeo.mu_law import mu_law_encode

if TYPE_CHECKING:
    import diffeo.data.sounds

WIDTHS = (0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
"""Half-widths of the means over neighbouring levels, among which the data choose."""
MOST_BITS = 16
"""Histograms are of so many bits at most; the rest of a level's bits count as even."""


class IndependentSamples:
    """Every sample of a sound on its own: the frequency of each level, smoothed.

    p(k) = (1 − ε) (2h + 1)⁻¹ Σ_{|j−k| ≤ h} c_j / N + ε / K, with c_j of N samples at level j of K,
    normalised where the sum is cut at an end; ε = 1 / (N + 1). The half-width h is the one of
    `WIDTHS` under which samples that are left out of their own mean are likeliest.

    Args:
        log_frequency: log p of the levels. Shape (K,).
        mu_law: whether levels are μ-law codes, and not even steps.

    Raises:
        ValueError: if there are fewer than 2 levels.

    Example:
        >>> from diffeo.data import Sounds
        >>> sounds = Sounds([np.sin(np.arange(4000) / 9)], rate=8000)
        >>> simple = IndependentSamples.fit(sounds, bits=8)
        >>> simple.log_frequency.exp().sum().round(decimals=4)
        tensor(1.)
    """

    def __init__(self, log_frequency: Tensor, mu_law: bool = False) -> None:
        if log_frequency.dim() != 1 or len(log_frequency) < 2:
            shape = tuple(log_frequency.shape)
            raise ValueError(f"IndependentSamples: needs levels, (K,), K ≥ 2; got {shape}")
        self.log_frequency, self.mu_law = log_frequency, mu_law

    @classmethod
    def fit(
        cls, sounds: "diffeo.data.sounds.Sounds", bits: int = 16, mu_law: bool = False
    ) -> "IndependentSamples":
        """The frequencies of the levels of `bits` bits in sounds.

        Args:
            sounds: clips.
            bits: K = 2^bits, of 16 bits at most: finer levels count as even inside those.
            mu_law: whether levels are μ-law codes.
        """
        levels = 2 ** min(bits, MOST_BITS)
        counts = np.zeros(levels)
        for clip in sounds.clips:
            counts += np.bincount(_levels(clip, levels, mu_law), minlength=levels)
        p = max((_smoothed(counts, width) for width in WIDTHS), key=lambda found: found[1])[0]
        total = counts.sum()
        p = (total * p + 1 / levels) / (total + 1)
        log_frequency = np.log(p / p.sum()) - np.log(2) * (bits - min(bits, MOST_BITS))
        return cls(torch.from_numpy(log_frequency).float(), mu_law)

    def log_prob(self, clips: Sequence[np.ndarray]) -> np.ndarray:
        """log P of clips, nats: (samples,) each → (clips,)."""
        table = self.log_frequency.double().numpy()
        return np.array([table[_levels(x, len(table), self.mu_law)].sum() for x in clips])

    def state(self) -> dict[str, Tensor]:
        """What `from_state` makes the same of."""
        return {"log_frequency": self.log_frequency, "mu_law": torch.tensor(self.mu_law)}

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor]) -> "IndependentSamples":
        """Undoes `state`.

        Raises:
            KeyError: if something is missing.
        """
        return cls(state["log_frequency"], bool(state["mu_law"]))


def flac_bytes(clips: Sequence[np.ndarray], rate: int) -> int | None:
    """The size of clips as one FLAC file of 16 bits, end to end, so that a header counts once.

    At libsndfile's highest level of compression, where soundfile can choose it. None where
    soundfile is not installed or can't write FLAC of that rate.

    Args:
        clips: waveforms (samples,), full scale being ±1.
        rate: samples a second.
    """
    try:
        import soundfile
    except (ImportError, OSError):  # the library behind it may be what is missing
        return None
    samples = _of_16_bits(np.concatenate(list(clips)))
    best: dict[str, Any] = {"compression_level": 1.0}
    for more in (best, {}):
        file = io.BytesIO()
        try:
            soundfile.write(file, samples, rate, format="FLAC", subtype="PCM_16", **more)
        except (TypeError, ValueError, soundfile.LibsndfileError):
            continue
        return len(file.getvalue())
    return None


def wav_bytes(x: np.ndarray, rate: int) -> bytes:
    """A clip as a WAV file of 16 bits; what is beyond full scale is cut to it.

    Args:
        x: waveform (samples,), full scale being ±1.
        rate: samples a second.

    Example:
        >>> len(wav_bytes(np.zeros(100), rate=8000))  # a header of 44 bytes, and two a sample
        244
    """
    file = io.BytesIO()
    with wave.open(file, "wb") as written:
        written.setnchannels(1)
        written.setsampwidth(2)
        written.setframerate(rate)
        written.writeframes(_of_16_bits(x).astype("<i2").tobytes())
    return file.getvalue()


def _of_16_bits(x: np.ndarray) -> np.ndarray:
    """Levels −2¹⁵ … 2¹⁵ − 1."""
    return (_levels(x, 2**16, False) - 2**15).astype(np.int16)


def _levels(x: np.ndarray, levels: int, mu_law: bool) -> np.ndarray:
    """The level of each sample, 0 … levels − 1."""
    if mu_law:
        return mu_law_encode(torch.from_numpy(x), levels).numpy()
    half = levels // 2
    return np.clip(np.round(x.astype(np.float64) * half), -half, half - 1).astype(np.int64) + half


def _smoothed(counts: np.ndarray, width: int) -> tuple[np.ndarray, float]:
    """Means over neighbours, and the mean log-probability of samples left out of theirs."""
    levels = np.arange(len(counts))
    low, high = np.maximum(levels - width, 0), np.minimum(levels + width + 1, len(counts))
    sums = np.concatenate([[0.0], counts.cumsum()])
    spread = 1.0 / (high - low)
    total = counts.sum()
    inside = (sums[high] - sums[low]) * spread
    seen = counts > 0
    others = np.maximum(inside[seen] - spread[seen], 0.0)
    left_out = (others + 1 / len(counts)) / total
    return inside / inside.sum(), float((counts[seen] * np.log(left_out)).sum() / total)
