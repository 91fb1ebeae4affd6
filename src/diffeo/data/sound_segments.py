"""Sounds as tensors: segments of one length for training, and padded batches of whole clips."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from diffeo.data.errors import DataError
from diffeo.data.mel import MelSettings, mel_spectrogram
from diffeo.data.messages import listed
from diffeo.data.sounds import Sounds
from diffeo.quantities import counted


@dataclass(frozen=True, eq=False)
class Segments:
    """Pieces of one length of sounds.

    Args:
        x: the pieces. Shape (N, 1, length).
        mel: the frames that belong to them, or None. Shape (N, n_mels, ⌈length / hop⌉).
        clip: which clip each is of. Shape (N,).
        start: the sample of the clip at which it begins. Shape (N,).
        notes: what was padded or left out.
    """

    x: Tensor
    mel: Tensor | None
    clip: Tensor
    start: Tensor
    notes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.x)


def segments(
    sounds: Sounds,
    length: int,
    *,
    mel: MelSettings | None = None,
    short: str = "pad",
    seed: int | None = None,
) -> Segments:
    """Cuts sounds into pieces of one length.

    A clip of T ≥ length samples gives ⌈T / length⌉ pieces: one after another, the last one at its
    end, where it overlaps the one before; so every sample is in one, and none is made up. With a
    seed they begin anywhere instead, each as likely.

    The mel of a piece is that part of the clip's which belongs to it: frame j is around sample
    start + j·hop of the clip, and sees what lies beside the piece (`mel_spectrogram`).

    Args:
        sounds: clips.
        length: samples of a piece.
        mel: how spectrograms are made; None for none.
        short: what becomes of clips that are shorter: "pad", with silence at their end; "drop", or
            "refuse".
        seed: of random beginnings; None for none.

    Raises:
        ValueError: if the length is not positive, `short` is none of these, or the settings are of
            another rate.
        DataError: if a clip is shorter, and that is refused; or all are, and dropped.

    Example:
        >>> sounds = Sounds([np.zeros(2500), np.zeros(300)], rate=8000)
        >>> pieces = segments(sounds, 1000, mel=MelSettings(rate=8000))
        >>> pieces.x.shape, pieces.mel.shape, pieces.start.tolist()
        (torch.Size([4, 1, 1000]), torch.Size([4, 80, 4]), [0, 1000, 1500, 0])
    """
    if isinstance(length, bool) or not isinstance(length, int) or length < 1:
        raise ValueError(f"segments: length must be a positive whole number, got {length!r}")
    if short not in ("pad", "drop", "refuse"):
        raise ValueError(f'segments: short must be "pad", "drop" or "refuse", got {short!r}')
    if mel is not None and mel.rate != sounds.rate:
        raise ValueError(f"segments: sounds at {sounds.rate} Hz, mel settings for {mel.rate} Hz")
    few = [i for i, samples in enumerate(sounds.lengths) if samples < length]
    if few and short == "refuse":
        first = few[0]
        raise DataError(
            f"{sounds.names[first]}: has {sounds.lengths[first]:,} samples, fewer than a segment's "
            f"{length:,} ({counted(len(few), 'clip')} in all); take a shorter segment, or leave "
            "it out"
        )
    if short == "drop" and len(few) == len(sounds):
        raise DataError(
            f"all {counted(len(sounds), 'clip')} are shorter than a segment, {length:,} samples; "
            f"the longest, {sounds.names[int(np.argmax(sounds.lengths))]}, has "
            f"{max(sounds.lengths):,}: take a shorter segment"
        )
    notes: tuple[str, ...] = ()
    if few:
        names = listed([sounds.names[i] for i in few], 3)
        done = "left out" if short == "drop" else "padded with silence at the end"
        notes = (
            f"{counted(len(few), 'clip')} shorter than a segment, {length:,} samples: {done} "
            f"({names})",
        )
    kept = [i for i in range(len(sounds)) if short != "drop" or sounds.lengths[i] >= length]
    generator = None if seed is None else torch.Generator().manual_seed(seed)
    places = [(i, start) for i in kept for start in _starts(sounds.lengths[i], length, generator)]
    x = torch.zeros(len(places), 1, length)
    mels = None if mel is None else torch.empty(len(places), mel.n_mels, mel.columns(length))
    for n, (i, start) in enumerate(places):
        clip = torch.from_numpy(sounds.clips[i])
        part = clip[start : start + length]
        x[n, 0, : len(part)] = part
        if mel is not None and mels is not None:
            whole = clip if len(clip) >= length else x[n, 0]
            mels[n] = mel_spectrogram(whole, mel, start=start, frames=mel.columns(length))
    clips, starts = torch.tensor(places, dtype=torch.long).reshape(-1, 2).unbind(1)
    return Segments(x, mels, clips, starts, notes)


def padded(clips: Sequence[np.ndarray]) -> tuple[Tensor, Tensor]:
    """Whole clips of different length in one batch, silence behind the shorter ones.

    Args:
        clips: waveforms (samples,).

    Returns:
        The batch, and the samples of each clip.

    Shapes: out: (N, 1, longest), float32, and (N,).

    Raises:
        ValueError: if there is no clip.

    Example:
        >>> x, lengths = padded([np.ones(3), np.ones(1)])
        >>> x[:, 0], lengths
        (tensor([[1., 1., 1.],
                [1., 0., 0.]]), tensor([3, 1]))
    """
    if not len(clips):
        raise ValueError("padded: there is no clip")
    lengths = torch.tensor([len(clip) for clip in clips])
    x = torch.zeros(len(clips), 1, int(lengths.max()))
    for row, clip in zip(x[:, 0], clips, strict=True):
        row[: len(clip)] = torch.as_tensor(clip)
    return x, lengths


def clip_mel(
    clip: np.ndarray | Tensor, settings: MelSettings, samples: int | None = None
) -> Tensor:
    """The frames of a clip that a model of it needs: ⌈samples / hop⌉ of its mel spectrogram's.

    Args:
        clip: a waveform (samples,).
        settings: how it is made.
        samples: of the clip that are wanted; None for all.
    Shapes: out: (n_mels, ⌈samples / hop⌉), float32.
    """
    x = torch.as_tensor(clip)
    frames = settings.columns(x.shape[-1] if samples is None else samples)
    return mel_spectrogram(x, settings, frames=frames)


def _starts(samples: int, length: int, generator: torch.Generator | None) -> list[int]:
    """Where the pieces of a clip begin."""
    if samples <= length:
        return [0]
    count = -(-samples // length)
    if generator is not None:
        return torch.randint(samples - length + 1, (count,), generator=generator).tolist()
    return [min(i * length, samples - length) for i in range(count)]
