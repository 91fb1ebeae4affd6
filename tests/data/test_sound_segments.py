"""Segments of sounds with their mel columns, and padded batches."""

import numpy as np
import pytest
import torch

from diffeo.data import DataError, MelSettings, Sounds, mel_spectrogram, padded, segments
from diffeo.data.sound_segments import clip_mel

MEL = MelSettings(rate=8000, n_fft=256, hop=100, win=200, n_mels=12)
LENGTHS = (2500, 300, 1000, 2000, 1001)


@pytest.fixture
def sounds() -> Sounds:
    draw = np.random.default_rng(0)
    names = [f"{i}.wav" for i in range(len(LENGTHS))]
    return Sounds([draw.uniform(-0.5, 0.5, n) for n in LENGTHS], 8000, names)


def test_every_sample_is_in_a_piece_and_none_is_made_up(sounds):
    pieces = segments(sounds, 1000, short="drop")
    assert pieces.clip.tolist() == [0, 0, 0, 2, 3, 3, 4, 4]
    assert pieces.start.tolist() == [0, 1000, 1500, 0, 0, 1000, 0, 1]
    assert pieces.mel is None and len(pieces) == 8
    for x, clip, start in zip(pieces.x, pieces.clip, pieces.start, strict=True):
        assert np.array_equal(x[0], sounds.clips[clip][start : start + 1000])
    assert pieces.notes == ("1 clip shorter than a segment, 1,000 samples: left out ('1.wav')",)


def test_short_clips_are_padded_at_the_end(sounds):
    pieces = segments(sounds, 1000, mel=MEL)
    at = pieces.clip.tolist().index(1)
    assert np.array_equal(pieces.x[at, 0, :300], sounds.clips[1])
    assert not pieces.x[at, 0, 300:].any()
    torch.testing.assert_close(pieces.mel[at], mel_spectrogram(pieces.x[at, 0], MEL)[:, :10])
    assert "padded with silence at the end ('1.wav')" in pieces.notes[0]
    assert segments(sounds, 300).notes == ()


def test_a_piece_has_the_mel_columns_of_its_place(sounds):
    pieces = segments(sounds, 1000, mel=MEL)
    assert pieces.mel.shape == (len(pieces), 12, 10)
    for mel, clip, start in zip(pieces.mel, pieces.clip, pieces.start.tolist(), strict=True):
        if clip == 1:
            continue
        x = torch.from_numpy(sounds.clips[clip])
        if start % 100 == 0:  # columns of the whole clip's
            whole = mel_spectrogram(x, MEL)[:, start // 100 : start // 100 + 10]
            torch.testing.assert_close(mel, whole)
        else:  # between them: around the same samples
            torch.testing.assert_close(mel, mel_spectrogram(x, MEL, start=start, frames=10))


def test_random_pieces_are_those_of_their_seed(sounds):
    first, again, other = (segments(sounds, 700, mel=MEL, seed=seed) for seed in (1, 1, 2))
    assert first.start.equal(again.start) and not first.start.equal(other.start)
    assert first.mel.equal(again.mel)
    assert first.clip.equal(segments(sounds, 700).clip)  # as many of each clip
    for x, clip, start in zip(first.x, first.clip, first.start, strict=True):
        length = min(700, sounds.lengths[clip])
        assert np.array_equal(x[0, :length], sounds.clips[clip][start : start + 700])
    starts = torch.cat([segments(sounds, 700, seed=s).start for s in range(200)])
    assert starts.min() == 0 and starts.max() >= 1790  # up to 2500 − 700


def test_what_is_refused(sounds):
    with pytest.raises(DataError, match=r"1.wav: has 300 samples, fewer .* 1,000 \(1 clip"):
        segments(sounds, 1000, short="refuse")
    with pytest.raises(DataError, match=r"all 5 clips are shorter .* 0.wav, has 2,500"):
        segments(sounds, 3000, short="drop")
    with pytest.raises(ValueError, match="length must be a positive"):
        segments(sounds, 0)
    with pytest.raises(ValueError, match="short must be"):
        segments(sounds, 10, short="cut")
    with pytest.raises(ValueError, match="sounds at 8000 Hz, mel settings for 22050"):
        segments(sounds, 1000, mel=MelSettings())


def test_padded_batches(sounds):
    x, lengths = padded(sounds.clips)
    assert x.shape == (5, 1, 2500) and lengths.tolist() == list(LENGTHS)
    for row, clip in zip(x[:, 0], sounds.clips, strict=True):
        assert np.array_equal(row[: len(clip)], clip) and not row[len(clip) :].any()
    with pytest.raises(ValueError, match="no clip"):
        padded([])


def test_the_mel_of_a_clip_covers_it_once(sounds):
    assert clip_mel(sounds.clips[2], MEL).shape == (12, 10)  # of 1,000 samples, hop 100
    assert clip_mel(sounds.clips[4], MEL).shape == (12, 11)  # one sample more
    part = clip_mel(sounds.clips[4], MEL, samples=1000)
    torch.testing.assert_close(part, clip_mel(sounds.clips[4], MEL)[:, :10])
