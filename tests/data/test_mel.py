"""Mel spectrograms: librosa's numbers, frames and pieces, and what settings there can't be.

`librosa_mel.npz` was made by librosa 0.11.0, from `signal(rate)` below in float64, as

    mel = librosa.feature.melspectrogram(
        y=signal(sr), sr=sr, n_fft=…, hop_length=…, win_length=…, n_mels=…, fmin=…, fmax=…,
        window="hann", center=True, pad_mode="reflect", power=1.0, norm="slaney", htk=False,
        dtype=np.float64,
    )
    np.log(np.maximum(mel, 1e-5)).astype(np.float32)

with the settings in `CASES`; NAME_filters is librosa.filters.mel(…).sum(0), of the same settings.
"""

from pathlib import Path

import numpy as np
import pytest
import torch

from diffeo.data import MelSettings, mel_spectrogram
from diffeo.data.mel import check_mel, mel_filters

CASES = {
    "waveglow": MelSettings(),
    "digits": MelSettings(rate=8000, n_fft=512, hop=100, win=400, n_mels=40, fmin=50.0),
}
SETTINGS = CASES["digits"]


def signal(rate: int, seconds: float = 0.4) -> torch.Tensor:
    """A chirp that fades, and something like noise in its second half."""
    t = np.arange(int(rate * seconds)) / rate
    chirp = np.sin(2 * np.pi * (100 * t + 0.5 * (0.45 * rate - 100) / seconds * t**2))
    noise = np.sin(np.arange(len(t)) ** 2 * 0.7312)
    return torch.from_numpy(0.5 * chirp * np.exp(-3 * t) + 0.01 * noise * (t > 0.2))


@pytest.fixture(scope="module")
def librosa() -> dict[str, torch.Tensor]:
    with np.load(Path(__file__).parent / "librosa_mel.npz") as file:
        return {name: torch.from_numpy(file[name]) for name in file.files}


@pytest.mark.parametrize("name", CASES)
# In float32 a transform's magnitudes are off by some 1e-7 of the loudest: much of the floor, 1e-5.
@pytest.mark.parametrize(("dtype", "off"), [(torch.float64, 2e-6), (torch.float32, 5e-3)])
def test_the_numbers_are_librosas(librosa, name, dtype, off):
    settings = CASES[name]
    mel = mel_spectrogram(signal(settings.rate).to(dtype), settings)
    assert mel.dtype == dtype
    torch.testing.assert_close(mel.float(), librosa[name], atol=off, rtol=0)
    filters = mel_filters(settings).sum(0).float()
    torch.testing.assert_close(filters, librosa[f"{name}_filters"], atol=1e-7, rtol=1e-5)


@pytest.mark.parametrize("samples", [1, 2, 99, 100, 101, 256, 257, 799, 800])
def test_a_clip_has_a_frame_for_each_hop_and_one_more(samples):
    x = signal(8000)[:samples].float()
    mel = mel_spectrogram(x, SETTINGS)
    assert mel.shape == (40, 1 + samples // 100)
    assert SETTINGS.frames(samples) == 1 + samples // 100
    # Frames of hop samples each, as many as a model needs, are always there.
    assert (SETTINGS.columns(samples) - 1) * 100 < samples <= SETTINGS.columns(samples) * 100
    assert SETTINGS.columns(samples) <= SETTINGS.frames(samples)


def test_the_frames_of_a_piece_are_those_of_the_clip():
    x = signal(8000).float()
    whole = mel_spectrogram(x, SETTINGS)
    piece = mel_spectrogram(x, SETTINGS, start=700, frames=5)
    torch.testing.assert_close(piece, whole[:, 7:12], atol=1e-5, rtol=0)
    # The mel of the piece alone sees reflections at its ends: the frames there are others.
    alone = mel_spectrogram(x[700:1200], SETTINGS)
    assert (alone[:, 0] - whole[:, 7]).abs().max() > 0.1
    # Between the clip's own frames: as if the clip began a little later.
    between = mel_spectrogram(x, SETTINGS, start=730, frames=5)
    later = mel_spectrogram(x[30:], SETTINGS)[:, 7:12]
    torch.testing.assert_close(between, later, atol=1e-5, rtol=0)


def test_short_clips_are_reflected_again_and_again():
    x = signal(8000)[:50]
    padded = np.pad(x.numpy(), 256, mode="reflect")  # NumPy reflects as often as it takes
    window = torch.zeros(512, dtype=x.dtype)
    window[56:456] = torch.hann_window(400, dtype=x.dtype)
    spectrum = torch.fft.rfft(torch.from_numpy(padded[:512]) * window).abs()
    expected = (mel_filters(SETTINGS) @ spectrum).clamp_min(1e-5).log()
    torch.testing.assert_close(mel_spectrogram(x, SETTINGS)[:, 0], expected)


def test_any_batch_and_gradients():
    x = torch.stack([signal(8000), -0.5 * signal(8000)])[:, None].requires_grad_()
    mel = mel_spectrogram(x, SETTINGS)
    assert mel.shape == (2, 1, 40, 33)
    torch.testing.assert_close(mel[1, 0], mel_spectrogram(x[1, 0], SETTINGS))
    (gradient,) = torch.autograd.grad(mel.sum(), x)
    assert gradient.isfinite().all() and gradient.abs().sum() > 0
    silence = torch.zeros(300, requires_grad=True)
    quiet = mel_spectrogram(silence, SETTINGS)
    assert (quiet == torch.tensor(1e-5).log()).all()
    (gradient,) = torch.autograd.grad(quiet.sum(), silence)
    assert gradient.isfinite().all()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"fmax": 4001.0}, "fmax ≤ 4000"),
        ({"fmin": 4000.0}, "fmin < fmax"),
        ({"win": 600}, "win no larger"),
        ({"n_fft": 511, "win": 400}, "even"),
        ({"hop": 0}, "hop must be a positive"),
        ({"n_mels": True}, "n_mels must be a positive"),
        ({"n_mels": 400}, "bands are narrower .* fewer n_mels, or a larger n_fft than 512"),
    ],
)
def test_settings_that_there_can_not_be(options, words):
    with pytest.raises(ValueError, match=words):
        MelSettings(**{"rate": 8000, "n_fft": 512, "win": 400, **options})


def test_what_is_no_waveform_is_refused():
    with pytest.raises(TypeError, match="divide 16-bit samples by 32768"):
        mel_spectrogram(torch.zeros(1000, dtype=torch.int16), SETTINGS)
    with pytest.raises(ValueError, match="no samples"):
        mel_spectrogram(torch.zeros(1, 0), SETTINGS)
    with pytest.raises(ValueError, match="5 frames from sample 700 on do not lie in 1000"):
        mel_spectrogram(torch.zeros(1000), SETTINGS, start=700, frames=5)


def test_settings_are_told_as_plain_values():
    assert MelSettings(**SETTINGS.to_json()) == SETTINGS
    assert MelSettings(rate=8000).fmax == 4000 and MelSettings().fmax == 8000


def test_a_mel_that_was_made_otherwise_is_refused():
    mel = mel_spectrogram(signal(8000), SETTINGS)
    check_mel(mel, SETTINGS)
    check_mel(mel_spectrogram(torch.ones(1000), SETTINGS), SETTINGS)
    check_mel(mel_spectrogram(torch.zeros(1000), SETTINGS), SETTINGS)
    with pytest.raises(ValueError, match=r"shape \(40, 33\).*\(…, 80, frames\)"):
        check_mel(mel, MelSettings())
    for other in (mel / np.log(10) * 20, mel.exp() * 1000, mel.exp().square().log(), mel * np.nan):
        with pytest.raises(ValueError, match="made in another way"):
            check_mel(other, SETTINGS)
