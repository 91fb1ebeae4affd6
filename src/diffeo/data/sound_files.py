"""Sounds as WAV and FLAC, in files of their own or in memory: reading one and writing one."""

import io
import os
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from diffeo.data.errors import DataError
from diffeo.data.text import one_line
from diffeo.extras import require

SUFFIXES = (".wav", ".flac")
"""The kinds of sound files, by the end of their names."""
OTHERS = (".mp3", ".ogg", ".opus", ".m4a", ".aac", ".aif", ".aiff", ".wma", ".au", ".sph")
"""Sound files that are not read: of most, samples are not what was recorded."""
LOUDEST = 2.0
"""Beyond this, numbers in files of floating-point numbers are not meant for full scale at 1."""
LONGEST = 2**30
"""Samples of all channels, more than which are refused: 4 GiB as they are read."""
_UNKNOWN_SIZE = (0, 2**32 - 1)
"""What programs that write to pipes put where they don't know yet how much there will be."""


@dataclass(frozen=True)
class Stored:
    """A sound as it is stored.

    Args:
        name: as messages tell it.
        content: the file it is, or its bytes out of an archive.
    """

    name: str
    content: Path | bytes

    @classmethod
    def file(cls, path: Path) -> "Stored":
        """The sound in a file of its own."""
        return cls(str(path), path)

    @property
    def size(self) -> int:
        """Bytes."""
        return len(self.content) if isinstance(self.content, bytes) else self.content.stat().st_size

    def opened(self) -> io.BufferedIOBase:
        """The bytes, to read from the first on."""
        return (
            io.BytesIO(self.content) if isinstance(self.content, bytes) else self.content.open("rb")
        )

    @property
    def source(self) -> "Path | io.BufferedIOBase":
        """What soundfile reads: it is faster at files than at what Python opened."""
        return io.BytesIO(self.content) if isinstance(self.content, bytes) else self.content


@dataclass(frozen=True)
class Header:
    """What a sound file says of itself."""

    rate: int
    channels: int
    samples: int
    bits: str
    """libsndfile's word for how a sample is stored: PCM_16, PCM_24, FLOAT, …"""


def read_header(sound: Stored) -> Header:
    """The header of a sound, without its samples.

    Raises:
        DataError: if it is not WAV or FLAC, is damaged, cut short or empty, holds no samples, or
            more than `LONGEST`.
        ImportError: if soundfile is not installed.
    """
    soundfile = require("soundfile", "diffeo.data.read_sounds", "audio")
    try:
        if not sound.size:
            raise DataError(f"{sound.name}: the file is empty; remove it, or make it again")
        with sound.opened() as file:
            _check_whole(sound, file)
        with soundfile.SoundFile(sound.source) as opened:
            form = opened.format
            header = Header(opened.samplerate, opened.channels, len(opened), opened.subtype)
    except OSError as error:
        raise DataError(f"{sound.name}: can't be read: {error.strerror}") from None
    except soundfile.LibsndfileError as error:
        raise _damaged(sound, error) from None
    if form not in ("WAV", "WAVEX", "RF64", "FLAC"):
        raise DataError(f"{sound.name}: is a file of {form}; save it as WAV or FLAC")
    if not header.samples:
        raise DataError(f"{sound.name}: has no samples; remove it, or record it again")
    if header.samples * header.channels > LONGEST:
        raise DataError(
            f"{sound.name}: has {header.samples:,} samples of {header.channels} channels, and "
            f"{LONGEST:,} in all are the most; cut it into pieces"
        )
    return header


def read_samples(sound: Stored, header: Header) -> np.ndarray:
    """The samples of a sound, full scale being ±1: whole numbers of b bits over 2^(b−1).

    Raises:
        DataError: if it is damaged or cut short, or samples are not finite.
        ImportError: if soundfile is not installed.

    Shapes: out: (samples, channels), float32.
    """
    soundfile = require("soundfile", "diffeo.data.read_sounds", "audio")
    try:
        x, _ = soundfile.read(sound.source, dtype="float32", always_2d=True)
    except (soundfile.LibsndfileError, OSError) as error:
        raise _damaged(sound, error) from None
    if len(x) != header.samples:
        raise DataError(
            f"{sound.name}: is cut short: {len(x):,} of {header.samples:,} samples are there; copy "
            "it again, or remove it"
        )
    check_finite(sound.name, x)
    if (peak := float(np.abs(x).max())) > LOUDEST:
        raise DataError(
            f"{sound.name}: holds numbers up to {peak:,.6g}, and full scale is 1; divide them by "
            "what full scale is there, 32768 for 16 bits, and save it again"
        )
    return x


def check_finite(name: str, x: np.ndarray) -> None:
    """Refuses samples that are no numbers.

    Raises:
        DataError: naming the first.
    """
    finite = np.isfinite(x)
    if not finite.all():
        first = int(np.argwhere(~finite)[0][0])
        value = x[first].flat[0] if x.ndim == 1 else x[first][~finite[first]][0]
        count = int((~finite).sum())
        more = f" ({count:,} such in all)" if count > 1 else ""
        raise DataError(
            f"{name}: sample {first:,} is {value}, not a number{more}; repair the file, or remove "
            "it"
        )


def write_sound(path: str | os.PathLike[str], waveform: Any, rate: int, *, bits: int = 16) -> int:
    """Writes a sound as WAV or FLAC, as the path ends, whole or not at all.

    Samples of b bits are round(x·2^(b−1)): what `read_sounds` reads of such a file is written as it
    was. A file that is there is replaced.

    Args:
        path: of the file, ending in .wav or .flac.
        waveform: an array or tensor, full scale being ±1; what is beyond is cut to it. Shape (T,)
            or (1, T).
        rate: samples a second.
        bits: 16 or 24; for WAV also 32, floating-point numbers, which are not cut.

    Returns:
        How many samples were beyond full scale and cut.

    Raises:
        ValueError, TypeError: if an argument is not one of these.
        DataError: if samples are not finite, or the file can't be written.
        ImportError: if soundfile is not installed.

    Example:
        >>> import tempfile, pathlib
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "tone.wav"
        >>> write_sound(path, np.sin(np.arange(8000) * 0.3), rate=8000)
        0
    """
    soundfile = require("soundfile", "diffeo.data.write_sound", "audio")
    path, x = Path(path), _as_waveform(waveform)
    form = path.suffix.lower()
    if form not in SUFFIXES:
        raise DataError(f"{path}: sounds are written as .wav or .flac")
    if isinstance(rate, bool) or not isinstance(rate, (int, np.integer)) or rate < 1:
        raise ValueError(f"write_sound: rate must be a positive whole number, got {rate!r}")
    allowed = (16, 24, 32) if form == ".wav" else (16, 24)
    if bits not in allowed:
        raise ValueError(
            f"write_sound: bits of {form} must be one of {', '.join(map(str, allowed))}, got "
            f"{bits!r}"
        )
    check_finite(f"{path}: the waveform", x)
    cut, samples, subtype = 0, x.astype(np.float32), "FLOAT"
    if bits < 32:
        # By ourselves: libsndfile takes 2^(b−1) − 1 for full scale where it writes.
        scale = 2 ** (bits - 1)
        levels = np.round(x.astype(np.float64) * scale)
        cut = int((np.abs(x) > 1).sum())
        levels = np.clip(levels, -scale, scale - 1)
        samples, subtype = levels.astype(np.int16), "PCM_16"
        if bits == 24:  # the highest bits of 32
            samples, subtype = (levels.astype(np.int32) << 8), "PCM_24"
    parent = path.absolute().parent
    if not parent.is_dir():
        raise DataError(f"{path}: the folder {path.parent} does not exist; make it first")
    if path.is_dir():
        raise DataError(f"{path}: is a folder; name a file")
    temporary = parent / f".{path.name}.{uuid.uuid4().hex[:8]}.tmp"
    try:
        soundfile.write(temporary, samples, int(rate), subtype=subtype, format=form[1:].upper())
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except (soundfile.LibsndfileError, OSError) as error:
        reason = getattr(error, "strerror", None) or one_line(error)
        raise DataError(f"{path}: can't be written: {reason}") from None
    finally:
        temporary.unlink(missing_ok=True)
    return cut


def _as_waveform(waveform: Any) -> np.ndarray:
    if hasattr(waveform, "detach"):  # a tensor
        waveform = waveform.detach().cpu().double().numpy()
    x = np.asarray(waveform)
    if x.dtype.kind != "f":
        raise TypeError(
            f"write_sound: needs a waveform in [-1, 1], got {x.dtype}; divide 16-bit samples by "
            "32768"
        )
    if x.ndim == 2 and x.shape[0] == 1:
        x = x[0]
    if x.ndim != 1 or not x.size:
        raise ValueError(
            f"write_sound: the waveform must have shape (T,) or (1, T), T ≥ 1, got {x.shape}"
        )
    return x


def _check_whole(sound: Stored, file: io.BufferedIOBase) -> None:
    """Refuses WAV whose end is missing: libsndfile would read the rest, and say nothing."""
    start = file.read(12)
    if start[:4] != b"RIFF" or start[8:] != b"WAVE":
        return
    while len(chunk := file.read(8)) == 8:
        length = int.from_bytes(chunk[4:], "little")
        if chunk[:4] == b"data":
            there = sound.size - file.tell()
            if length not in _UNKNOWN_SIZE and length > there:
                raise DataError(
                    f"{sound.name}: is cut short: {there:,} of {length:,} bytes of samples are "
                    "there; copy it again, or remove it"
                )
            return
        file.seek(length + length % 2, os.SEEK_CUR)


def _damaged(sound: Stored, error: Exception) -> DataError:
    reason = one_line(error).rpartition(": ")[2].rstrip(".")  # behind what libsndfile calls it
    return DataError(
        f"{sound.name}: is damaged or no sound file ({reason}); remove it, or save it again as WAV "
        "or FLAC"
    )
