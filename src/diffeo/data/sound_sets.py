"""Public sets of sounds, known by the names of their files: parts, and who speaks."""

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from diffeo.data.errors import DataError
from diffeo.data.folders import in_order
from diffeo.data.image_pieces import PARTS, file_errors, no_part, stream
from diffeo.data.messages import listed, shown

FSDD_RATE = 8000
"""Samples a second of the spoken digits, which their arrays do not tell."""
ARRAYS = ("samples_i16.npy.xz", "index.npz")
"""The spoken digits as two arrays: all samples end to end; names and lengths."""
# Short, and of one file: the names of an index become those of files that are written.
_FSDD = re.compile(r"\d_([^/\\\0\n\ud800-\udfff]{1,50})_(\d{1,9})\.wav")
_TEST_TAKES = 5
_LJSPEECH = re.compile(r"LJ\d{3}-\d{4}\.wav")


@dataclass(frozen=True)
class SoundSet:
    """What is known of sounds by their names.

    Args:
        title: of the set.
        parts: which of the sounds are of which part, by their places; no part is empty.
        how: how they are parted, in words.
        speakers: who speaks, one a sound; None where that is not known, or it is one person.
    """

    title: str
    parts: Mapping[str, Sequence[int]]
    how: str
    speakers: tuple[str, ...] | None

    def of_part(self, path: Path, part: str | None) -> tuple[Sequence[int], str]:
        """The places of a part's sounds, and what to say of it.

        Args:
            path: of the data, for messages.
            part: "train", "test" or "val"; None for the first there is.

        Raises:
            NoPart: if there is no such part.
        """
        found = [word for word in PARTS if word in self.parts]
        asked = part or found[0]
        if asked not in found:
            raise no_part(path, asked, found)
        choose = "" if part or len(found) == 1 else "; --part (part=) chooses"
        return self.parts[asked], f"{self.title}: {self.how}; {asked} is read{choose}"


def known_set(names: Sequence[str], others: Sequence[str] = ()) -> SoundSet | None:
    """The public set that sounds are of; None where the names tell of none.

    The Free Spoken Digit Dataset (FSDD): every name is DIGIT_NAME_NUMBER.wav. Its authors' part
    "test" is takes 0 to 4 of each digit and speaker, "train" the rest. LJSpeech, which has no parts
    of its own: every name is LJ###-####.wav, and metadata.csv is there; "test" is the last tenth of
    the clips in the order of names, rounded up. Sounds in a folder named as a part are of neither.

    Args:
        names: paths of the sounds.
        others: of the other files.

    References:
        Jackson et al., 2018, Free Spoken Digit Dataset, doi:10.5281/zenodo.1342401.
        Ito & Johnson, 2017, The LJ Speech Dataset.
    """
    if any("/" in name and name.partition("/")[0].lower() in PARTS for name in names):
        return None
    plain = [name.rpartition("/")[2] for name in names]
    digits = [_FSDD.fullmatch(name) for name in plain]
    if plain and all(digits):
        found = [match for match in digits if match]
        test = [int(match[2]) < _TEST_TAKES for match in found]
        return SoundSet(
            "the Free Spoken Digit Dataset",
            _parted(test),
            "takes 0 to 4 are the part test, the others train",
            tuple(match[1] for match in found),
        )
    has_texts = any(name.rpartition("/")[2] == "metadata.csv" for name in others)
    if len(plain) > 1 and has_texts and all(map(_LJSPEECH.fullmatch, plain)):
        count = math.ceil(len(plain) / 10)
        last = set(sorted(range(len(plain)), key=lambda i: in_order(plain[i]))[-count:])
        how = f"the last {count:,} of {len(plain):,} clips are the part test, the others train"
        return SoundSet("LJSpeech", _parted([i in last for i in range(len(plain))]), how, None)
    return None


def _parted(test: Sequence[bool]) -> dict[str, list[int]]:
    parts = {
        "train": [i for i, of_test in enumerate(test) if not of_test],
        "test": [i for i, of_test in enumerate(test) if of_test],
    }
    return {word: places for word, places in parts.items() if places}


def is_digit_arrays(folder: Path) -> bool:
    """Whether a folder holds the spoken digits as two arrays."""
    return all((folder / name).is_file() for name in ARRAYS)


def digit_arrays(
    folder: Path,
) -> tuple[list[str], Callable[[Sequence[str]], Iterator[np.ndarray]]]:
    """The names of the spoken digits in two arrays, and what reads those of some names, int16.

    Raises:
        DataError: naming the file: if it is damaged, lengths don't add up to the samples, or a name
            is not one of the set.
    """
    samples, index = (folder / name for name in ARRAYS)
    names, lengths = _index(index)

    def read(wanted: Sequence[str]) -> Iterator[np.ndarray]:
        every = _samples(samples)
        ends = np.cumsum(lengths)
        if ends[-1] != len(every):
            raise DataError(
                f"{samples}: holds {len(every):,} samples, and the lengths in {index} add up to "
                f"{ends[-1]:,}; remove both and get them again"
            )
        place = {name: i for i, name in enumerate(names)}
        for name in wanted:
            i = place[name]
            yield every[ends[i] - lengths[i] : ends[i]]

    return names, read


def _index(path: Path) -> tuple[list[str], np.ndarray]:
    with file_errors(path):
        try:
            with np.load(path, allow_pickle=False) as arrays:
                found = {key: arrays[key] for key in ("name", "length") if key in arrays}
        except ValueError:  # objects, or no such file
            raise DataError(
                f"{path}: is no index of plain arrays, name and length; remove it and get it again"
            ) from None
    for key in ("name", "length"):
        if key not in found:
            raise DataError(f"{path}: lacks the array {key!r}; remove it and get it again")
    names, lengths = found["name"], found["length"]
    if names.ndim != 1 or names.dtype.kind != "U" or lengths.shape != names.shape or not names.size:
        raise DataError(
            f"{path}: must hold as many names, text, as lengths, got name {names.dtype} "
            f"{names.shape} and length {lengths.dtype} {lengths.shape}"
        )
    if lengths.dtype.kind not in "iu" or lengths.min() < 1:
        raise DataError(f"{path}: lengths must be whole numbers of 1 or more")
    told = [str(name) for name in names]
    if wrong := [name for name in told if not _FSDD.fullmatch(name)]:
        raise DataError(
            f"{path}: holds the name {shown(wrong[0])}; those of the spoken digits are "
            "DIGIT_NAME_NUMBER.wav, and only their rate is known"
        )
    if len(set(told)) < len(told):
        twice = [name for name in dict.fromkeys(told) if told.count(name) > 1]
        raise DataError(f"{path}: holds names twice: {listed(twice, 3)}")
    return told, lengths.astype(np.int64)


def _samples(path: Path) -> np.ndarray:
    with stream(path) as file:
        try:
            samples = np.lib.format.read_array(file, allow_pickle=False)
            more = bool(file.read(1))
        except (ValueError, MemoryError):
            samples, more = np.zeros(0), False
    if samples.ndim != 1 or samples.dtype != np.int16 or more:
        raise DataError(
            f"{path}: is not a whole array of samples, int16 (samples,); remove it and get it again"
        )
    return samples
