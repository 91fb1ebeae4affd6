"""Where sounds are read from: a file, a folder, an archive, or the arrays of a public set."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from diffeo.data.errors import DataError, NoPart
from diffeo.data.folders import in_order, part_of, walk
from diffeo.data.image_pieces import PARTS, no_part
from diffeo.data.messages import listed
from diffeo.data.sound_archives import ARCHIVES, contents, files_in, is_archive
from diffeo.data.sound_files import OTHERS, SUFFIXES, Stored, read_header, read_samples
from diffeo.data.sound_sets import (
    FSDD_RATE,
    digit_arrays,
    is_digit_arrays,
    known_set,
)
from diffeo.quantities import counted

Read = Callable[[Sequence[str], int | None], Iterator[tuple[int, int, np.ndarray]]]
"""Reads the sounds of some names, in any order: the place of each among them, its own rate, and its
samples (samples, channels), float32. Where no rate is asked for, several are refused."""


@dataclass(frozen=True)
class Source:
    """Sounds that can be read.

    Args:
        place: the folder, file or archive that they are in.
        names: of the sounds: paths inside it, in order.
        read: reads them.
        speakers: who speaks, one a sound, where that is known.
        prefix: what names are told with: the folder of their part, and "/".
        notes: what was decided.
    """

    place: Path
    names: list[str]
    read: Read
    speakers: list[str] | None = None
    prefix: str = ""
    notes: tuple[str, ...] = ()


def find_sounds(path: Path, part: str | None) -> Source:
    """The sounds of a file, a folder or an archive, of one part where there are parts.

    Args:
        path: of it.
        part: "train", "test" or "val"; None for the first there is.

    Raises:
        DataError: if there are none, or an archive can't be read; `NoPart` if there is no such
            part.
    """
    if not path.exists():
        raise DataError(f"{path}: no such file or folder")
    if path.is_dir():
        return _in_folder(path, part)
    if is_archive(path.name):
        return _in_archive(path, part)
    if part is not None:
        raise NoPart(f"{path}: is one file and has no part {part!r}; leave the part out")
    if not path.name.lower().endswith(SUFFIXES):
        raise DataError(
            f"{path}: sounds are read from .wav and .flac, and out of {', '.join(ARCHIVES)}; save "
            "it as one of these"
        )
    return _with_speakers(Source(path.parent, [path.name], _of_files(path.parent)))


def _in_folder(path: Path, part: str | None) -> Source:
    if is_digit_arrays(path):
        names, arrays = digit_arrays(path)

        def read(wanted: Sequence[str], rate: int | None) -> Iterator[tuple[int, int, np.ndarray]]:
            for i, samples in enumerate(arrays(wanted)):
                yield i, FSDD_RATE, (samples / np.float32(32768))[:, None]

        return _of_set(Source(path, names, read), part, (), None)
    missing: NoPart | None = None
    try:
        prefix, notes = part_of(path, part, SUFFIXES)
    except NoPart as error:
        if part_of(path, None, SUFFIXES)[0]:  # it has others
            raise
        prefix, notes, missing = "", [], error
    root = path / prefix
    names, others = _sorted(walk(root))
    packed = [name for name in others if is_archive(name)]
    if not names and not prefix and len(packed) == 1:
        beside = [name for name in others if name not in packed]
        return _in_archive(path / packed[0], part, beside)
    if not names:
        raise missing or _no_sounds(root, others, packed)
    found = Source(
        root,
        names,
        _of_files(root),
        _subfolders(names),
        f"{prefix}/" if prefix else "",
        (*notes, *_left_out(others)),
    )
    return _with_speakers(found) if prefix else _of_set(found, part, others, missing)


def _in_archive(path: Path, part: str | None, beside: Sequence[str] = ()) -> Source:
    """The sounds of an archive, beside which there are other files."""
    every = files_in(path)
    top = every[0].partition("/")[0] if every else ""
    # As unpacking makes a folder of it: all may be packed in one.
    inner = all(name.startswith(f"{top}/") for name in every) and top.lower() not in PARTS
    root = f"{top}/" if inner else ""
    names, others = _sorted(name.removeprefix(root) for name in every)
    if not names:
        raise _no_sounds(path, others, ())
    notes = _left_out([*others, *beside])
    tops = {name.partition("/")[0].lower() if "/" in name else "" for name in names}
    if not tops <= set(PARTS):
        found = Source(path, names, _of_archive(path, root), _subfolders(names), "", notes)
        missing = None if part is None else no_part(path, part, ())
        return _of_set(found, part, [*others, *beside], missing)
    _check_parts(path, names)
    parts = [word for word in PARTS if word in tops]
    if (asked := part or parts[0]) not in parts:
        raise no_part(path, asked, parts)
    if part is None and len(parts) > 1:
        notes = (f"the parts are {listed(parts)}: {asked} is read", *notes)
    chosen = [name for name in names if name.lower().startswith(f"{asked}/")]
    prefix = chosen[0][: len(asked) + 1]
    inside = [name[len(prefix) :] for name in chosen]
    read = _of_archive(path, root + prefix)
    return Source(path, inside, read, _subfolders(inside), prefix, notes)


def _check_parts(path: Path, names: Sequence[str]) -> None:
    """Refuses folders such as train and Train in one archive: which is meant is not clear."""
    folders = sorted({name.partition("/")[0] for name in names})
    for word in PARTS:
        if len(same := [folder for folder in folders if folder.lower() == word]) > 1:
            raise DataError(
                f"{path}: the folders {listed(same)} are one part; rename or join them, and pack "
                "again"
            )


def _with_speakers(found: Source) -> Source:
    """With the speakers that the names of a public set tell, where nothing else does."""
    known = known_set(found.names)
    if found.speakers is not None or known is None or known.speakers is None:
        return found
    return replace(found, speakers=list(known.speakers))


def _of_set(
    found: Source, part: str | None, others: Sequence[str], missing: NoPart | None
) -> Source:
    """The part of a public set that the names tell of; else all, if no part is asked for."""
    known = known_set(found.names, others)
    if known is None:
        if missing is not None:
            raise missing
        return found
    places, note = known.of_part(found.place, part)
    return replace(
        found,
        names=[found.names[i] for i in places],
        speakers=None if known.speakers is None else [known.speakers[i] for i in places],
        notes=(note, *found.notes),
    )


def _of_files(root: Path) -> Read:
    """Reads files in a folder; all headers first, so that what is wrong is soon found."""

    def read(names: Sequence[str], rate: int | None) -> Iterator[tuple[int, int, np.ndarray]]:
        sounds = [Stored.file(root / name) for name in names]
        headers = [read_header(sound) for sound in sounds]
        if rate is None:
            _one_rate(sounds, [header.rate for header in headers])
        for i, (sound, header) in enumerate(zip(sounds, headers, strict=True)):
            yield i, header.rate, read_samples(sound, header)

    return read


def _of_archive(path: Path, root: str) -> Read:
    """Reads files in an archive, as they come in it."""

    def read(names: Sequence[str], rate: int | None) -> Iterator[tuple[int, int, np.ndarray]]:
        place = {root + name: i for i, name in enumerate(names)}
        first: tuple[Stored, int] | None = None
        for member, content in contents(path, place):
            sound = Stored(f"{path}: {member}", content)
            header = read_header(sound)
            first = first or (sound, header.rate)
            if rate is None:
                _one_rate([first[0], sound], [first[1], header.rate])
            yield place[member], header.rate, read_samples(sound, header)

    return read


def _one_rate(sounds: Sequence[Stored], rates: Sequence[int]) -> None:
    common = max(sorted(set(rates)), key=rates.count)
    other = next((i for i, rate in enumerate(rates) if rate != common), None)
    if other is not None:
        raise DataError(
            f"{sounds[other].name}: is at {rates[other]:,} Hz, and "
            f"{sounds[rates.index(common)].name} at {common:,} Hz; sounds must have one rate",
            f"; give --rate (rate=), such as {common}, to resample them all",
        )


def _sorted(names: Iterator[str]) -> tuple[list[str], list[str]]:
    """The sounds and the other files, in order."""
    every = sorted(names, key=in_order)
    sounds = [name for name in every if name.lower().endswith(SUFFIXES)]
    return sounds, [name for name in every if not name.lower().endswith(SUFFIXES)]


def _subfolders(names: Sequence[str]) -> list[str] | None:
    """The immediate subfolders, where all sounds lie in such: the speakers."""
    inside = [name.split("/") for name in names]
    return [parts[0] for parts in inside] if {len(parts) for parts in inside} == {2} else None


def _left_out(others: Sequence[str]) -> tuple[str, ...]:
    if not others:
        return ()
    kinds = sorted({Path(name).suffix.lower() or "no ending" for name in others})
    return (f"{counted(len(others), 'other file')} left out ({', '.join(kinds[:5])})",)


def _no_sounds(path: Path, others: Sequence[str], packed: Sequence[str]) -> DataError:
    sounds = [name for name in others if name.lower().endswith(OTHERS)]
    instead = f"; it has {listed(sounds, 3)}: save them as one of these" if sounds else ""
    if packed:
        instead = f"; it has {listed(packed, 3)}: name the archive that is meant"
    return DataError(f"{path}: holds no sound files ({', '.join(SUFFIXES)}){instead}")
