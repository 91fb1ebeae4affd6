"""Sounds from files: waveforms, rate, names, speakers, and what was converted."""

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from diffeo.data.errors import DataError
from diffeo.data.folders import in_order
from diffeo.data.messages import listed
from diffeo.data.resample import resample
from diffeo.data.sound_files import check_finite
from diffeo.data.sound_sources import find_sounds
from diffeo.quantities import counted, duration

Progress = Callable[[int, int], None]
"""Is told how many there are done, and of how many."""

Speakers = str | Callable[[str], str]
"""A regular expression with one group, which is the speaker; or a function from name to speaker."""

_CLIPPED = 3
"""Samples on end at full scale that make a clip count as clipped."""


@dataclass(frozen=True, eq=False)
class Sounds:
    """Sounds: clips of one channel, of one rate, each of its own length.

    Args:
        clips: waveforms (samples,), full scale being ±1, kept as float32; whole numbers of 16 bits
            are divided by 32768.
        rate: samples a second.
        names: one a clip: its path in the folder; "0", "1", … if there are none.
        speakers: who speaks, one a clip; None where that is not known.
        notes: what was converted or decided, each once: "3 clips: the mean of 2 channels taken".

    Raises:
        DataError: if there is no clip, or one is empty, not of one channel, or not finite.
        TypeError, ValueError: if names or speakers are not as many, or the rate is none.

    Example:
        >>> sounds = Sounds([np.zeros(8000), np.ones(4000, np.int16)], rate=8000)
        >>> sounds
        Sounds(2 clips, 1.5 s at 8000 Hz)
        >>> sounds.lengths
        (8000, 4000)
    """

    clips: tuple[np.ndarray, ...] | list[np.ndarray]
    rate: int
    names: Sequence[str] = ()
    speakers: Sequence[str] | None = None
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if isinstance(self.rate, bool) or not isinstance(self.rate, (int, np.integer)):
            raise TypeError(f"Sounds: rate must be a whole number, got {self.rate!r}")
        if self.rate < 1:
            raise ValueError(f"Sounds: rate must be positive, got {self.rate}")
        if not len(self.clips):
            raise DataError("Sounds: there is no clip")
        names = tuple(map(str, self.names or range(len(self.clips))))
        speakers = None if self.speakers is None else tuple(map(str, self.speakers))
        for what, values in {"names": names, "speakers": speakers}.items():
            if values is not None and len(values) != len(self.clips):
                raise ValueError(f"Sounds: {len(values)} {what}, but {len(self.clips)} clips")
        clips = tuple(_clip(name, x) for name, x in zip(names, self.clips, strict=True))
        for field, value in {"clips": clips, "names": names, "speakers": speakers}.items():
            object.__setattr__(self, field, value)
        object.__setattr__(self, "rate", int(self.rate))

    @classmethod
    def joined(
        cls,
        samples: np.ndarray,
        lengths: Sequence[int] | np.ndarray,
        rate: int,
        *,
        names: Sequence[str] | np.ndarray = (),
        speakers: Sequence[str] | np.ndarray | None = None,
    ) -> "Sounds":
        """Sounds out of one array of all their samples, one clip after another.

        Args:
            samples: as a clip's. Shape (sum of lengths,).
            lengths: samples of each clip.
            rate: samples a second.
            names: as of `Sounds`.
            speakers: as of `Sounds`.

        Raises:
            DataError: if the lengths do not add up to the samples; or as `Sounds`.
        """
        ends = np.cumsum(lengths)
        if not len(ends) or ends[-1] != len(samples):
            total = int(ends[-1]) if len(ends) else 0
            raise DataError(f"Sounds: lengths add up to {total:,}, of {len(samples):,} samples")
        who = None if speakers is None else list(speakers)
        return cls(np.split(samples, ends[:-1]), rate, list(names), who)

    @property
    def lengths(self) -> tuple[int, ...]:
        """Samples of each clip."""
        return tuple(len(clip) for clip in self.clips)

    @property
    def seconds(self) -> float:
        """How long all clips are together."""
        return sum(self.lengths) / self.rate

    @property
    def speaker_names(self) -> tuple[str, ...]:
        """Who speaks in them, each once, in order; none where that is not known."""
        return tuple(sorted(set(self.speakers or ()), key=in_order))

    def at(self, index: "Sequence[int] | np.ndarray") -> "Sounds":
        """The clips at these places, in this order."""
        clips, names = [self.clips[i] for i in index], [self.names[i] for i in index]
        speakers = None if self.speakers is None else [self.speakers[i] for i in index]
        return Sounds(clips, self.rate, names, speakers, self.notes)

    def resampled(self, rate: int) -> "Sounds":
        """The same sounds at another rate; see `diffeo.data.resample`.

        Raises:
            ImportError: if SciPy is not installed.
        """
        if rate == self.rate:
            return self
        note = f"{counted(len(self), 'clip')}: resampled from {self.rate:,} to {rate:,} Hz"
        clips = [resample(clip, self.rate, rate) for clip in self.clips]
        return replace(self, clips=clips, rate=rate, notes=(*self.notes, note))

    def __len__(self) -> int:
        return len(self.clips)

    def __repr__(self) -> str:
        speakers = counted(len(self.speaker_names), "speaker")
        who = f", {speakers}" if self.speakers is not None else ""
        length = duration(self.seconds)
        return f"Sounds({counted(len(self), 'clip')}, {length} at {self.rate} Hz{who})"


def read_sounds(
    path: str | os.PathLike[str],
    *,
    rate: int | None = None,
    speakers: Speakers | None = None,
    part: str | None = None,
    progress: Progress | None = None,
) -> Sounds:
    """Reads sounds: a folder of WAV and FLAC files, with those in its subfolders, or one file.

    An archive (.tar, .tar.gz, .tgz, .tar.bz2, .tar.xz, .zip), or a folder that holds one and no
    sounds, is read as the folder that was packed, which its names may begin with; nothing is
    unpacked to disk. Public sets are known by their names (`diffeo.data.sound_sets`): the Free
    Spoken Digit Dataset has its authors' parts and speakers, also as two arrays
    (samples_i16.npy.xz, index.npz), and of LJSpeech the last tenth of the clips is the part "test".

    Samples of 8, 16, 24 and 32 bits, and floating-point ones, become float32 with full scale at ±1:
    those of b bits are divided by 2^(b−1), and of 32 bits the highest 24 are kept. If all files lie
    in immediate subfolders, these are the speakers.

    What is converted is said in the `notes` of what it gives: of several channels the mean is
    taken; files of another rate are resampled where `rate` is given; samples beyond full scale, up
    to twice as loud, are cut to it. The notes also name clips that are clipped (three samples on
    end or more at full scale) and those that are silence, zeros throughout.

    Args:
        path: of the folder, archive or file.
        rate: samples a second to have; None for those of the files, which must then all be the
            same.
        speakers: how a name tells who speaks: a regular expression with one group, which is
            searched in the path inside the folder ("_(.+)_" for 7_jackson_32.wav), or a function of
            that path. None: subfolders, or as a public set names them.
        part: "train", "test" or "val", where the data are in subfolders of these names, or of a
            public set. If None, the first there is, in this order: train, val, test.
        progress: is told how many files are read, and of how many.

    Raises:
        ValueError, TypeError: if an argument is not one of these.
        DataError: naming the file and the remedy: if there are no sound files, one can't be read,
            is damaged, cut short or empty, samples are no numbers or far beyond full scale, rates
            differ, all are silence, or a name tells no speaker; `NoPart` if there is no such part.
        ImportError: if soundfile is not installed, or SciPy where there is something to resample.

    Example:
        >>> sounds = read_sounds("wavs", rate=16000)  # doctest: +SKIP
        >>> sounds.seconds, sounds.speaker_names  # doctest: +SKIP
        (86.2, ('anna', 'ben'))
    """
    if rate is not None and (isinstance(rate, bool) or not isinstance(rate, int) or rate < 1):
        raise ValueError(f"read_sounds: rate must be a positive whole number, got {rate!r}")
    if part not in (None, "train", "test", "val"):
        raise ValueError(f'read_sounds: part must be "train", "test" or "val", got {part!r}')
    pattern = _checked_pattern(speakers)
    found = find_sounds(Path(path), part)
    who = found.speakers if pattern is None else _speakers(found.place, found.names, pattern)
    names = [found.prefix + name for name in found.names]
    tally = _Tally(names)
    read: dict[int, np.ndarray] = {}
    common = rate or 0
    for i, own, x in found.read(found.names, rate):
        common = common or own  # all have one, where none is asked for
        clip = tally.look(i, x)
        if own != common:
            clip = resample(clip, own, common)
            tally.add(i, f"resampled from {own:,} to {common:,} Hz")
        read[i] = clip
        if progress is not None:
            progress(len(read), len(names))
    if missing := [name for i, name in enumerate(names) if i not in read]:
        raise DataError(f"{path}: changed while it was read: {listed(missing, 3)} gone; read again")
    clips = [read[i] for i in range(len(names))]
    if len(tally.silent) == len(clips):
        where = f"{path}: holds" if len(clips) == 1 else f"{path}: all {len(clips)} clips hold"
        raise DataError(f"{where} nothing but silence, zeros; record it again")
    return Sounds(clips, common, names, who, (*found.notes, *tally.notes()))


class _Tally:
    """What was converted, and in which clips."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names, self.silent = names, list[int]()
        self.converted: dict[str, list[int]] = {}
        self.clipped: dict[int, int] = {}
        self.beyond: dict[int, int] = {}

    def add(self, clip: int, what: str) -> None:
        self.converted.setdefault(what, []).append(clip)

    def look(self, clip: int, x: np.ndarray) -> np.ndarray:
        """One channel within full scale, (samples,), of samples (samples, channels)."""
        if (beyond := int((np.abs(x) > 1).sum())) > 0:
            self.beyond[clip] = beyond
            x = np.clip(x, -1, 1)
        if (clipped := max(_clipped(channel) for channel in x.T)) > 0:
            self.clipped[clip] = clipped
        if x.shape[1] > 1:
            self.add(clip, f"the mean of {x.shape[1]} channels taken")
        mean = x[:, 0] if x.shape[1] == 1 else x.mean(1, dtype=np.float32)
        if not mean.any():  # also where channels cancel
            self.silent.append(clip)
        return mean

    def notes(self) -> list[str]:
        notes = [f"{counted(len(of), 'clip')}: {what}" for what, of in self.converted.items()]
        if self.beyond:
            notes.append(
                f"{self._some(self.beyond)} beyond full scale: "
                f"{counted(sum(self.beyond.values()), 'sample')} cut to it"
            )
        if self.clipped:
            notes.append(
                f"{self._some(self.clipped)} clipped: "
                f"{counted(sum(self.clipped.values()), 'sample')} stand at full scale, "
                f"{_CLIPPED} or more on end; a model learns that too, so record lower"
            )
        if self.silent:
            notes.append(f"{self._some(self.silent)} silence, zeros throughout; leave out what is")
        return notes

    def _some(self, clips: "Sequence[int] | dict[int, int]") -> str:
        verb = "is" if len(clips) == 1 else "are"
        names = [self.names[i] for i in sorted(clips)]  # archives have an order of their own
        return f"{counted(len(clips), 'clip')} ({listed(names, 3)}) {verb}"


def _clipped(x: np.ndarray) -> int:
    """Samples that stand at full scale, at least so many on end."""
    at_full = np.concatenate([[False], (x >= 1 - 2.0**-15) | (x <= -1 + 2.0**-15), [False]])
    edges = np.flatnonzero(np.diff(at_full))
    runs = edges[1::2] - edges[::2]
    return int(runs[runs >= _CLIPPED].sum())


def _clip(name: str, x: object) -> np.ndarray:
    array = np.asarray(x)
    if array.dtype == np.int16:
        array = array / np.float32(32768)
    if array.dtype.kind != "f":
        raise TypeError(
            f"Sounds: clip {name} must be floating-point numbers, full scale being ±1, or int16, "
            f"got {array.dtype}"
        )
    if array.ndim == 2 and array.shape[0] == 1:
        array = array[0]
    if array.ndim != 1 or not array.size:
        raise DataError(f"Sounds: clip {name} must have shape (samples,), got {array.shape}")
    check_finite(name, array)
    return np.ascontiguousarray(array, dtype=np.float32)


def _checked_pattern(speakers: Speakers | None) -> "re.Pattern[str] | Callable[[str], str] | None":
    if speakers is None or callable(speakers):
        return speakers
    try:
        pattern = re.compile(speakers)
    except re.error as error:
        raise ValueError(
            f"read_sounds: speakers must be a regular expression, got {speakers!r}: {error}"
        ) from None
    if pattern.groups != 1:
        raise ValueError(
            f"read_sounds: speakers must have one group (…), the speaker, got {speakers!r} with "
            f'{pattern.groups}; "_(.+)_" is for 7_jackson_32.wav'
        )
    return pattern


def _speakers(
    path: Path, names: Sequence[str], how: "re.Pattern[str] | Callable[[str], str]"
) -> list[str]:
    if not isinstance(how, re.Pattern):
        return [str(how(name)) for name in names]
    found: list[str] = []
    for name in names:
        match = how.search(name)
        if match is None or not match[1]:
            raise DataError(
                f"{path}: {how.pattern!r} finds no speaker in the name {name!r}; give another "
                "pattern, or rename the file"
            )
        found.append(match[1])
    return found
