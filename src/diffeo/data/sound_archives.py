"""Sounds in archives, tar and zip: which there are, and their bytes, with nothing unpacked."""

import re
import stat
import struct
import tarfile
import zipfile
from collections.abc import Callable, Container, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

from diffeo.data.errors import DataError
from diffeo.data.folders import is_seen
from diffeo.data.image_pieces import file_errors
from diffeo.data.messages import shown
from diffeo.data.sound_files import SUFFIXES
from diffeo.data.text import one_line

ARCHIVES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".zip")
"""The kinds of archives, by the end of their names."""
LARGEST = 2**30
"""Bytes of a sound in an archive, which is read as a whole; more are refused."""
_LONGEST_NAME = 255
"""Bytes of the name of a file or folder: what most file systems take."""
_LINK = "is a link; pack the file itself"
_NO_FILE = "is no plain file; leave it out, and pack again"
_BLOCK = 512
"""Bytes of a block of tar, as the POSIX standard has it; one of zeros stands at the end."""


@dataclass(frozen=True)
class _Member:
    """A file in an archive.

    Args:
        name: its path.
        size: bytes, as the archive tells.
        trouble: why it can't be read, and what to do; "" if it can.
        read: its bytes; before the next member is asked for.
    """

    name: str
    size: int
    trouble: str
    read: Callable[[], bytes]


def is_archive(name: str) -> bool:
    """Whether a name is that of an archive that is read."""
    return name.lower().endswith(ARCHIVES)


def has_sounds(path: Path) -> bool:
    """Whether an archive holds a sound; looks no farther than to the first; never raises."""
    with suppress(DataError):
        return path.is_file() and any(
            member.name.lower().endswith(SUFFIXES) for member in _members(path)
        )
    return False


def files_in(path: Path) -> tuple[str, ...]:
    """The files in an archive: their paths, in its order; hidden ones are left out.

    Raises:
        DataError: naming the archive and the member: if it is damaged or cut short, a path leads
            out of it, is there twice or can be none of a file, or a sound is encrypted, a link, no
            plain file, or larger than `LARGEST`.
    """
    with file_errors(path):
        found = path.stat()
    if not stat.S_ISREG(found.st_mode):  # to read from a pipe may take forever
        raise DataError(f"{path}: is no plain file; save it as one")
    return _files_in(path, found.st_mtime_ns, found.st_size)


def contents(path: Path, wanted: Container[str]) -> Iterator[tuple[str, bytes]]:
    """The wanted files of an archive, one after another in its order: paths and bytes.

    Raises:
        DataError: as `files_in`.
    """
    for member in _members(path):
        if member.name in wanted:
            with _damage(path):
                content = member.read()
            yield member.name, content


@lru_cache(maxsize=8)  # commands ask for one part after another, and packed ones are slow to list
def _files_in(path: Path, changed: int, size: int) -> tuple[str, ...]:
    names: dict[str, None] = {}
    for member in _members(path):
        if member.name in names:
            raise DataError(f"{path}: holds {shown(member.name)} twice; keep one, and pack again")
        if member.name.lower().endswith(SUFFIXES):
            _check(path, member)
        names[member.name] = None
    folders = (str(folder) for name in names for folder in PurePosixPath(name).parents)
    if both := next((name for name in folders if name in names), None):
        raise DataError(
            f"{path}: holds {shown(both)} as a file and as a folder; rename one, and pack again"
        )
    return tuple(names)


def _check(path: Path, member: _Member) -> None:
    """Refuses a sound that can't be read, or is larger than memory may hold."""
    trouble = member.trouble
    if member.size > LARGEST:
        trouble = (
            f"has {member.size:,} bytes, and {LARGEST:,} are the most of a sound in an archive; "
            "cut it into pieces"
        )
    if trouble:
        raise DataError(f"{path}: {shown(member.name)} {trouble}")


def _members(path: Path) -> Iterator[_Member]:
    """The files in an archive, their names as a folder has them: "./b//a.wav" is "b/a.wav"."""
    members = _of_zip if path.name.lower().endswith(".zip") else _of_tar
    with _damage(path):
        for member in members(path):
            parts = re.split(r"[/\\]", member.name)
            drives = any(re.match("[A-Za-z]:", part) for part in parts)
            if ".." in parts or not parts[0] or drives:
                raise DataError(
                    f"{path}: holds {shown(member.name)}, a path that leads out of the archive; "
                    "pack it again with paths inside one folder"
                )
            plain = [part for part in parts if part not in ("", ".")]
            if not plain or not all(map(is_seen, plain)):
                continue
            if any("\0" in part or _bytes(part) > _LONGEST_NAME for part in plain):
                raise DataError(
                    f"{path}: holds {shown(member.name)}, and no file can be named so (at most "
                    f"{_LONGEST_NAME} bytes, none of them zero); rename it, and pack again"
                )
            yield _Member("/".join(plain), member.size, member.trouble, member.read)


@contextmanager
def _damage(path: Path) -> Iterator[None]:
    """A block in which an archive is read, whose troubles are errors that name it."""
    try:
        with file_errors(path):
            yield
    except DataError:
        raise
    # tarfile and zipfile stumble with the others, which are theirs, over damaged headers.
    except (tarfile.TarError, ValueError, IndexError, OverflowError, struct.error) as error:
        reason = one_line(error).partition(":")[0]
        raise DataError(
            f"{path}: is damaged, or no archive ({reason}); remove it and get it again"
        ) from None


def _bytes(name: str) -> int:
    return len(name.encode("utf-8", "replace"))


def _of_zip(path: Path) -> Iterator[_Member]:
    with zipfile.ZipFile(path) as packed:
        for info in packed.infolist():
            if info.is_dir():
                continue
            trouble, kind = "", stat.S_IFMT(info.external_attr >> 16)
            if info.flag_bits & 1:
                trouble = "is encrypted; unpack it with its password, and name the folder"
            elif kind not in (0, stat.S_IFREG):  # 0: whoever packed it tells no kind
                trouble = _LINK if kind == stat.S_IFLNK else _NO_FILE

            def read(info: zipfile.ZipInfo = info) -> bytes:
                return packed.read(info)

            yield _Member(info.filename, info.file_size, trouble, read)


def _of_tar(path: Path) -> Iterator[_Member]:
    with tarfile.open(path, "r:*") as packed:
        for info in packed:
            if info.isdir():
                continue

            def read(info: tarfile.TarInfo = info) -> bytes:
                file = packed.extractfile(info)
                return b"" if file is None else file.read()

            link = info.issym() or info.islnk()
            trouble = "" if info.isfile() else _LINK if link else _NO_FILE
            yield _Member(info.name, info.size, trouble, read)
        _check_end(path, packed)


def _check_end(path: Path, packed: tarfile.TarFile) -> None:
    """Refuses an archive that ends early: tarfile takes a damaged header for its end."""
    file: Any = packed.fileobj
    file.seek(packed.offset)
    if (end := file.read(_BLOCK)) != bytes(_BLOCK):
        what = f"has a damaged header at byte {packed.offset:,}" if end else "is cut short"
        raise DataError(f"{path}: {what}; remove it and get it again")
