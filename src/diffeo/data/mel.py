"""Mel spectrograms: how loud a sound is, moment by moment, in bands as wide as the ear's."""

import math
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

FLOOR = 1e-5
"""The least magnitude that is told apart: what is below counts as this."""
_LINEAR = 200 / 3
"""Hertz a mel below `_BREAK`, on Slaney's scale."""
_BREAK = 1000.0
_STEP = math.log(6.4) / 27
"""What the logarithm of a frequency grows by, each mel above `_BREAK`."""


@dataclass(frozen=True)
class MelSettings:
    """How mel spectrograms are made. The defaults are those of WaveGlow's published models.

    Args:
        rate: samples a second, Hz.
        n_fft: samples of a Fourier transform; even.
        hop: samples from a frame to the next.
        win: samples of the window, `n_fft` at most; in the middle of the transform.
        n_mels: number of bands.
        fmin: lowest frequency, Hz.
        fmax: highest frequency, Hz, half the rate at most; None for 8,000, or half the rate where
            that is less.

    Raises:
        ValueError: if one is out of range, or a band is so narrow that no frequency of the
            transform lies in it.

    Example:
        >>> MelSettings(rate=8000).fmax
        4000.0
    """

    rate: int = 22050
    n_fft: int = 1024
    hop: int = 256
    win: int = 1024
    n_mels: int = 80
    fmin: float = 0.0
    fmax: float | None = None

    def __post_init__(self) -> None:
        for name in ("rate", "n_fft", "hop", "win", "n_mels"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"MelSettings: {name} must be a positive number, got {value!r}")
        if self.n_fft % 2 or self.win > self.n_fft:
            raise ValueError(
                "MelSettings: n_fft must be even and win no larger, got "
                f"n_fft={self.n_fft}, win={self.win}"
            )
        if self.fmax is None:
            object.__setattr__(self, "fmax", min(8000.0, self.rate / 2))
        if not 0 <= self.fmin < self.highest <= self.rate / 2:
            raise ValueError(
                f"MelSettings: frequencies must be 0 ≤ fmin < fmax ≤ {self.rate / 2:g}, half the "
                f"rate; got fmin={self.fmin:g}, fmax={self.fmax:g}"
            )
        if empty := int((mel_filters(self).sum(-1) == 0).sum()):
            raise ValueError(
                f"MelSettings: {empty} of {self.n_mels} bands are narrower than the transform's "
                f"frequencies lie apart, {self.rate / self.n_fft:.1f} Hz; give fewer n_mels, or a "
                f"larger n_fft than {self.n_fft}"
            )

    @property
    def highest(self) -> float:
        """`fmax`, a number."""
        return math.inf if self.fmax is None else self.fmax

    def frames(self, samples: int) -> int:
        """Frames of a clip of so many samples: 1 + ⌊samples / hop⌋, frame j around sample j·hop."""
        return 1 + samples // self.hop

    def columns(self, samples: int) -> int:
        """The frames that so many samples need, hop samples each: ⌈samples / hop⌉.

        One fewer than `frames` gives where hop divides the samples; else as many.
        """
        return -(-samples // self.hop)

    def to_json(self) -> dict[str, Any]:
        """The settings as plain values: MelSettings(**values) is the same."""
        return asdict(self)


def mel_spectrogram(
    x: Tensor, settings: MelSettings, *, start: int = 0, frames: int | None = None
) -> Tensor:
    """The log-mel spectrogram of waveforms, as WaveGlow and Tacotron 2 have it.

    M = ln max(F |STFT(x)|, 10⁻⁵): magnitudes, not powers, of transforms with a periodic Hann window
    around samples start + j·hop, x continued at both ends by reflection; F has triangles on
    Slaney's mel scale, each of area 1 over hertz. Differentiable.

    A clip of T samples has 1 + ⌊T / hop⌋ frames. Frame j depends on the n_fft samples around j·hop;
    so the frames start/hop, start/hop + 1, … of a whole clip's mel are those of the piece that
    begins at `start`, and not the mel of that piece alone, whose first and last frames see
    reflections instead of what lies beside it. `start` and `frames` give them, also where hop does
    not divide `start`.

    Args:
        x: waveforms, full scale being ±1.
        settings: how it is made.
        start: the sample that the first frame is around.
        frames: how many; None for all that are around samples of x or its end.
    Shapes: x: (*batch, T), T ≥ 1; out: (*batch, n_mels, frames).

    Raises:
        TypeError: if x is not of floating-point numbers.
        ValueError: if x has no samples, or a frame lies outside of it.
    Reference: Prenger, Valle & Catanzaro, 2018, WaveGlow: A Flow-based Generative Network for
        Speech Synthesis, arXiv:1811.00002; the mel scale: Slaney, 1998, Auditory Toolbox.

    Example:
        >>> mel_spectrogram(torch.zeros(1, 16000), MelSettings()).shape
        torch.Size([1, 80, 63])
    """
    if not x.is_floating_point():
        raise TypeError(
            f"mel_spectrogram: needs a waveform in [-1, 1], got {x.dtype}; divide 16-bit samples "
            "by 32768"
        )
    samples = x.shape[-1] if x.dim() else 0
    if not samples:
        raise ValueError(f"mel_spectrogram: the waveform has no samples; its shape {(*x.shape,)}")
    most = settings.frames(samples - start)
    frames = most if frames is None else frames
    if not (0 <= start <= samples and 0 < frames <= most):
        raise ValueError(
            f"mel_spectrogram: {frames} frames from sample {start} on do not lie in {samples} "
            "samples"
        )
    # Narrower numbers would lose what is quiet beside what is loud.
    x = x.to(torch.promote_types(x.dtype, torch.float32))
    length = (frames - 1) * settings.hop + settings.n_fft
    index = torch.arange(length, device=x.device) + (start - settings.n_fft // 2)
    pieces = x[..., _reflected(index, samples)].unfold(-1, settings.n_fft, settings.hop)
    window = torch.hann_window(settings.win, dtype=x.dtype, device=x.device)
    before = (settings.n_fft - settings.win) // 2
    window = torch.nn.functional.pad(window, (before, settings.n_fft - settings.win - before))
    magnitudes = torch.fft.rfft(pieces * window).abs()
    filters = mel_filters(settings).to(x)
    return (magnitudes @ filters.mT).clamp_min(FLOOR).log().mT


def check_mel(mel: Tensor, settings: MelSettings) -> None:
    """Refuses what can't be a log-mel spectrogram of these settings.

    Raises:
        ValueError: if it has another number of bands, or values that no waveform in [−1, 1] has, as
            spectrograms in decibels, of powers, or shifted and scaled ones do.

    Shapes: mel: (*batch, n_mels, frames).
    """
    if mel.dim() < 2 or mel.shape[-2] != settings.n_mels or not mel.shape[-1]:
        raise ValueError(
            f"the mel spectrogram has shape {(*mel.shape,)}, and must have (…, {settings.n_mels}, "
            f"frames); make it with mel_spectrogram and the model's settings, {settings}"
        )
    low, high = float(mel.min()), float(mel.max())
    largest = float(mel_filters(settings).sum(-1).max()) * settings.win / 2
    # Half a unit for the rounding of files and the small mistakes of models that predict mels.
    least, most = math.log(FLOOR) - 0.5, math.log(largest) + 0.5
    if not (least <= low and high <= most):
        raise ValueError(
            f"the mel spectrogram has values {low:.4g} … {high:.4g}, and natural logarithms of "
            f"magnitudes lie in {least:.1f} … {most:.1f}; it was made in another way: make it with "
            f"mel_spectrogram and the model's settings, {settings}"
        )


@lru_cache(maxsize=16)
def mel_filters(settings: MelSettings) -> Tensor:
    """F: triangles over the transform's frequencies, on Slaney's scale, of area 1 over hertz.

    Shapes: out: (n_mels, n_fft / 2 + 1), float64.
    """
    ends = torch.tensor([settings.fmin, settings.highest], dtype=torch.float64)
    low, high = _mel(ends).tolist()
    mels = torch.linspace(low, high, settings.n_mels + 2, dtype=torch.float64)
    corners = _hertz(mels)
    frequencies = torch.linspace(0, settings.rate / 2, settings.n_fft // 2 + 1, dtype=torch.float64)
    left, middle, right = (corners[i : settings.n_mels + i, None] for i in range(3))
    rising = (frequencies - left) / (middle - left)
    falling = (right - frequencies) / (right - middle)
    return torch.minimum(rising, falling).clamp_min(0) * (2 / (right - left))


def _mel(hertz: Tensor) -> Tensor:
    above = _BREAK / _LINEAR + (hertz.clamp_min(_BREAK) / _BREAK).log() / _STEP
    return torch.where(hertz < _BREAK, hertz / _LINEAR, above)


def _hertz(mels: Tensor) -> Tensor:
    above = _BREAK * (_STEP * (mels - _BREAK / _LINEAR)).exp()
    return torch.where(mels < _BREAK / _LINEAR, mels * _LINEAR, above)


def _reflected(index: Tensor, samples: int) -> Tensor:
    """Positions in a signal that goes on forth and back beyond its ends."""
    if samples == 1:
        return torch.zeros_like(index)
    period = 2 * (samples - 1)
    index = index.remainder(period)
    return torch.minimum(index, period - index)
