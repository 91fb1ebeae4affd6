"""Folders of files: which files there are, in which order, and parts for training and testing."""

import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from diffeo.data.errors import DataError, NoPart
from diffeo.data.messages import listed

_PARTS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}


def in_order(name: str) -> tuple[Any, ...]:
    """What to sort names by: as one counts, so that "2.png" comes before "10.png"."""
    words = re.split(r"(\d+)", name)
    return [int(word) if i % 2 else word for i, word in enumerate(words)], name


def part_of(folder: Path, part: str | None, suffixes: tuple[str, ...]) -> tuple[str, list[str]]:
    """The subfolder of a part of the data, "" if there are no parts, and what to say of it.

    Subfolders that are all named as parts are ("train", "test", "val" and longer forms) are parts:
    `part` or, if that is None, train.

    Args:
        folder: where to look.
        part: "train", "test", "val" or None.
        suffixes: of the data's files: one beside the subfolders makes these no parts.

    Raises:
        NoPart: if there is no such part.
        DataError: if the folder can't be read.
    """
    names = [name for name in listing(folder) if is_seen(name)]
    parts = {_PARTS[name.lower()]: name for name in names if name.lower() in _PARTS}
    parts = {key: name for key, name in parts.items() if (folder / name).is_dir()}
    if part is not None:
        if part not in parts:
            raise NoPart(
                f"{folder}: has no subfolder of the part {part!r}; make one, or leave the part out"
            )
        return parts[part], []
    # Any other folder, and any file of data beside them, makes them classes like others.
    if not parts or any(
        (folder / name).is_dir() or name.lower().endswith(suffixes)
        for name in names
        if name not in parts.values()
    ):
        return "", []
    found = [word for word in dict.fromkeys(_PARTS.values()) if word in parts]
    return parts[found[0]], [f"the parts are {listed(found)}: {found[0]} is read"]


def walk(root: Path) -> Iterator[str]:
    """The files below a folder, also those in linked folders; those that are hidden are not.

    Raises:
        DataError: if a folder can't be read.
    """

    def refuse(error: OSError) -> None:
        raise DataError(f"{error.filename}: can't be read: {error.strerror}")

    seen: set[tuple[int, int]] = set()
    for folder, inside, files in os.walk(root, onerror=refuse, followlinks=True):
        status = os.stat(folder)
        if (status.st_dev, status.st_ino) in seen:  # a link that leads back
            inside.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        inside[:] = sorted(name for name in inside if is_seen(name))
        for name in files:
            path = Path(folder, name)
            if is_seen(name) and not stat.S_ISFIFO(path.lstat().st_mode):
                yield path.relative_to(root).as_posix()


def listing(folder: Path) -> list[str]:
    """The names in a folder.

    Raises:
        DataError: if it can't be read.
    """
    try:
        return os.listdir(folder)
    except OSError as error:
        raise DataError(f"{folder}: can't be read: {error.strerror}") from None


def is_seen(name: str) -> bool:
    """Whether a name is one of data: not hidden, and no leavings of an archive."""
    return not name.startswith(".") and name != "__MACOSX"
