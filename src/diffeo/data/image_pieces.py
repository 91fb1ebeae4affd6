"""Images in arrays: what all kinds of their files have in common, and how files are read."""

import gzip
import lzma
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from diffeo.data.errors import DataError, NoPart
from diffeo.data.messages import listed
from diffeo.data.text import one_line

PARTS = ("train", "val", "test")
"""The parts of data; the first that there is is read where none is asked for."""

AT_ONCE = 2**20
"""Bytes read at a time."""

File = Any
"""A file of bytes; what gzip and lzma open is none of `typing`'s kinds."""

_MOST_CLASSES = 10_000


@dataclass(frozen=True)
class Piece:
    """The images of one array: where they are, and how to read them.

    Args:
        name: what the names of its images begin with.
        shape: (N, C, H, W) or (N, C, D, H, W).
        fill: reads the pixels into an array of this shape that lies in memory row after row.
        labels: as they are in the file, or None.
        part: "train", "test", "val" or None.
        note: how the array was understood, where that is not plain, or "".
    """

    name: str
    shape: tuple[int, ...]
    fill: Callable[[np.ndarray], None]
    labels: np.ndarray | None = None
    part: str | None = None
    note: str = ""


@dataclass(frozen=True)
class Archive:
    """Images in arrays: pieces of one shape, their labels (N,) int64 or None, the classes."""

    pieces: tuple[Piece, ...]
    labels: np.ndarray | None
    classes: tuple[str, ...]
    notes: tuple[str, ...]


def part_of(name: str) -> str | None:
    """The part of the data that a name begins with: "train", "test" (or "t10k"), "val"."""
    words = {"train": "train", "test": "test", "t10k": "test", "val": "val"}
    return next((part for word, part in words.items() if name.lower().startswith(word)), None)


def no_part(path: Path, part: str, found: Sequence[str]) -> NoPart:
    """The error of a part that there is not, and which there are."""
    what = f"only {listed(found)}" if found else "nor any other: no name begins with train or test"
    return NoPart(f"{path}: has no part {part!r}, {what}; choose another, or leave it out")


def together(
    path: Path,
    pieces: Sequence[Piece],
    classes: tuple[str, ...] | None,
    notes: tuple[str, ...],
    unread: Sequence[np.ndarray] = (),
) -> Archive:
    """The pieces together, once it is clear that they can be.

    Args:
        path: what the caller named.
        pieces: what is read.
        classes: known ones; None takes them from the labels.
        notes: to begin with.
        unread: labels of other parts, so that all parts have the same classes.
    """
    first = pieces[0]
    for piece in pieces[1:]:
        if piece.shape[1:] != first.shape[1:]:
            raise DataError(
                f"{path}: images must have one shape, but those of {first.name} have "
                f"{by(first.shape[1:])} and those of {piece.name} {by(piece.shape[1:])}; name "
                "one file"
            )
        if (piece.labels is None) != (first.labels is None):
            has, lacks = (first, piece) if piece.labels is None else (piece, first)
            raise DataError(f"{path}: {has.name} has labels and {lacks.name} has none; add them")
    notes += tuple(dict.fromkeys(piece.note for piece in pieces if piece.note))
    if first.labels is None:
        return Archive(tuple(pieces), None, (), notes)
    known = [piece.labels for piece in pieces if piece.labels is not None]
    labels = np.concatenate(known)
    every = np.concatenate([labels, *unread]) if unread else labels
    classes, positions = _positions(labels, every, classes)
    return Archive(tuple(pieces), positions, classes, notes)


def _positions(
    labels: np.ndarray, every: np.ndarray, classes: tuple[str, ...] | None
) -> tuple[tuple[str, ...], np.ndarray]:
    """The classes, and which of them each label is.

    Whole numbers from 0 on are positions already, and stay what they are; others, and text, are
    sorted.
    """
    if every.dtype.kind in "iu" and every.min() >= 0 and every.max() < _MOST_CLASSES:
        most = int(every.max()) + 1
        if classes is None or len(classes) < most:
            classes = tuple(str(i) for i in range(most))
        return classes, labels.astype(np.int64)
    values = np.unique(every)
    return tuple(str(value) for value in values), np.searchsorted(values, labels).astype(np.int64)


@contextmanager
def stream(path: Path) -> Iterator[File]:
    """A file, unpacked on the way if it is packed, whose troubles are errors that name it."""
    name = path.name.lower()
    opener: Any = gzip.open if name.endswith(".gz") else lzma.open if name.endswith(".xz") else open
    with file_errors(path), opener(path, "rb") as file:
        yield file


@contextmanager
def file_errors(path: Path) -> Iterator[None]:
    """A block in which a file is read, whose troubles are errors that name it."""
    try:
        yield
    except (
        gzip.BadGzipFile,
        lzma.LZMAError,
        zipfile.BadZipFile,
        zlib.error,
        EOFError,
        RuntimeError,  # of zip files: a password, a way of packing that Python does not know
    ) as error:
        kind = {".gz": "gzip", ".xz": "xz"}.get(path.suffix.lower(), path.suffix.lower())
        raise DataError(
            f"{path}: is not a whole {kind} file ({one_line(error) or 'it ends early'}); remove it "
            "and get it again"
        ) from None
    except OSError as error:
        raise DataError(f"{path}: can't be read: {error.strerror or one_line(error)}") from None


def read_into(path: Path, file: File, out: np.ndarray, before: int = 0) -> None:
    """Fills an array with the bytes of a file, which must be as many as the array's.

    Args:
        path: for the messages.
        file: from here on.
        out: lies in memory row after row.
        before: bytes of the header.
    """
    flat: Any = out.reshape(-1)
    view = memoryview(flat)
    # Unlike read, read1 gives what there is before it finds the file cut short
    done = 0
    try:
        while done < len(view) and (some := file.read1(min(AT_ONCE, len(view) - done))):
            view[done : done + len(some)] = some
            done += len(some)
    except EOFError:  # a packed file that is cut short
        pass
    if done < len(view):
        raise DataError(
            f"{path}: is cut short: expected {len(view) + before:,} bytes, found {done + before:,};"
            " remove it and get it again"
        )
    if file.read(1):
        raise DataError(
            f"{path}: holds more than the {len(view) + before:,} bytes that its header tells of; "
            "remove it and get it again"
        )


def by(shape: Sequence[int]) -> str:
    """A shape as one reads it: 3×32×32."""
    return "×".join(str(n) for n in shape)
