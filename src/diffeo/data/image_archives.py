"""Images in archives: the idx files of MNIST, the binary files of CIFAR-10, and arrays."""

import re
import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from diffeo.data.errors import DataError
from diffeo.data.folders import in_order, listing
from diffeo.data.image_arrays import is_array, open_arrays
from diffeo.data.image_files import SUFFIXES as PICTURES
from diffeo.data.image_pieces import (
    PARTS,
    Archive,
    File,
    Piece,
    file_errors,
    no_part,
    read_into,
    stream,
    together,
)
from diffeo.data.messages import listed, shown

CIFAR10 = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)
"""The classes of CIFAR-10."""

_IDX = re.compile(r"(.*-)?(train|t10k|test)-images[.-]idx3-ubyte(\.gz)?")
_BATCH = re.compile(r"(data_batch_\d+|test_batch)\.bin")
_PICKLED = re.compile(r"data_batch_\d+|test_batch|batches\.meta")
_RECORD = 1 + 3 * 32 * 32
_IDX_IMAGES, _IDX_LABELS = 0x803, 0x801


def open_archive(path: Path, part: str | None, member: str | None) -> Archive | None:
    """What a file or a folder holds of images in arrays; None for a folder without arrays.

    Args:
        path: of the file or the folder.
        part: which part of the data; if None, train where there are parts.
        member: the array of an .npz file.

    Raises:
        DataError: if something can't be read, or it is not clear what to read.
    """
    folder = path.is_dir()
    names = sorted(listing(path), key=in_order) if folder else [path.name]
    place = path if folder else path.parent
    idx = [name for name in names if _IDX.fullmatch(name)]
    batches = [name for name in names if _BATCH.fullmatch(name)]
    if not (idx or batches):
        _refuse_pickles(path, names)
    if idx:
        # Of a file that is there twice the one that is unpacked.
        idx = [name for name in idx if not (name.endswith(".gz") and name[:-3] in idx)]
        chosen, notes = _of_part(path, idx, part)
        if len(chosen) > 1:
            raise DataError(f"{path}: holds several idx files, {listed(chosen)}; name one of them")
        return together(path, [_idx_piece(place / chosen[0])], tuple("0123456789"), notes)
    if batches:
        chosen, notes = _of_part(path, batches, part)
        pieces = [_batch_piece(place / name) for name in chosen]
        return together(path, pieces, _cifar_classes(place), notes)
    if folder and "cifar-10-batches-bin" in names:
        return open_archive(path / "cifar-10-batches-bin", part, member)
    arrays = [name for name in names if is_array(name)]
    if not arrays:
        return None
    if pictures := [name for name in names if name.lower().endswith(PICTURES)]:
        raise DataError(
            f"{path}: holds pictures ({shown(pictures[0])}) and arrays ({shown(arrays[0])}); name "
            "the file that is meant, or keep one kind in the folder"
        )
    return open_arrays(path, place, arrays, part, member)


def _part_of_official(name: str) -> str:
    return "test" if "t10k-" in name or "test" in name else "train"


def _of_part(
    path: Path, names: Sequence[str], part: str | None
) -> tuple[list[str], tuple[str, ...]]:
    """The files of a part of MNIST or CIFAR-10."""
    parts = {name: _part_of_official(name) for name in names}
    found = [word for word in PARTS if word in parts.values()]
    asked = part or found[0]
    if asked not in found:
        raise no_part(path, asked, found)
    note = f"the parts are {listed(found)}: {asked} is read"
    notes = (note,) if part is None and len(found) > 1 else ()
    return [name for name in names if parts[name] == asked], notes


def _refuse_pickles(path: Path, names: Sequence[str]) -> None:
    pickled = [name for name in names if _PICKLED.fullmatch(name)]
    if not path.is_dir() and path.name.lower().endswith((".pkl", ".pickle")):
        pickled = [path.name]
    if pickled or path.name == "cifar-10-batches-py" or names == ["cifar-10-batches-py"]:
        what = f" ({shown(pickled[0])})" if pickled else ""
        raise DataError(
            f"{path}: is pickled{what}, and pickles can run code; of CIFAR-10 get the binary "
            "version (cifar-10-binary.tar.gz), of other data save arrays with numpy.save"
        )


# idx


def _idx_piece(path: Path) -> Piece:
    with stream(path) as file:
        n, height, width = _idx_header(path, file, _IDX_IMAGES, 3)
    if not n * height * width:
        raise DataError(f"{path}: holds no images (shape {(n, height, width)})")

    def fill(out: np.ndarray) -> None:
        with stream(path) as file:
            file.read(16)
            read_into(path, file, out, before=16)

    unpacked = path.name.removesuffix(".gz").replace("-images", "-labels").replace("idx3", "idx1")
    beside = [path.with_name(unpacked), path.with_name(unpacked + ".gz")]
    labels = next((_idx_labels(other, n, path) for other in beside if other.exists()), None)
    return Piece(path.name, (n, 1, height, width), fill, labels, _part_of_official(path.name))


def _idx_labels(path: Path, n: int, images: Path) -> np.ndarray:
    with stream(path) as file:
        (found,) = _idx_header(path, file, _IDX_LABELS, 1)
        if found != n:
            raise DataError(f"{path}: holds {found:,} labels, but {images} has {n:,} images")
        labels = np.empty(n, np.uint8)
        read_into(path, file, labels, before=8)
    return labels


def _idx_header(path: Path, file: File, magic: int, rank: int) -> tuple[int, ...]:
    """The extents in the header of an idx file."""
    header = file.read(4 + 4 * rank)
    if len(header) >= 4 and header[:4] != struct.pack(">I", magic):
        hint = "; it is packed: name it .gz" if header[:2] == b"\x1f\x8b" else ""
        kind = "images" if magic == _IDX_IMAGES else "labels"
        raise DataError(
            f"{path}: begins with 0x{header[:4].hex()}, not with 0x{magic:08x} as idx files of "
            f"{kind} do{hint or '; remove it and get it again'}"
        )
    if len(header) < 4 + 4 * rank:
        raise DataError(
            f"{path}: is cut short: expected a header of {4 + 4 * rank} bytes, found "
            f"{len(header)}; remove it and get it again"
        )
    return struct.unpack(f">{rank}I", header[4:])


# CIFAR-10


def _batch_piece(path: Path) -> Piece:
    with file_errors(path):
        size = path.stat().st_size
        if not size or size % _RECORD:
            whole = -(-size // _RECORD) or 10_000
            raise DataError(
                f"{path}: is cut short: expected {whole * _RECORD:,} bytes ({whole:,} images of "
                f"{_RECORD:,} bytes, {size // _RECORD:,} of them whole), found {size:,}; remove it "
                "and get it again"
            )
        labels = np.array(_records(path)[:, 0])
    if labels.max() >= len(CIFAR10):
        wrong = int(np.argmax(labels >= len(CIFAR10)))
        raise DataError(
            f"{path}: image {wrong} has the label {labels[wrong]}, but those of CIFAR-10 are "
            "0 … 9; CIFAR-100 is not read"
        )

    def fill(out: np.ndarray) -> None:
        with file_errors(path):
            out[...] = _records(path)[:, 1:].reshape(out.shape)

    part = _part_of_official(path.name)
    return Piece(path.name, (len(labels), 3, 32, 32), fill, labels, part)


def _records(path: Path) -> np.ndarray:
    return np.memmap(path, np.uint8, "r").reshape(-1, _RECORD)


def _cifar_classes(folder: Path) -> tuple[str, ...]:
    path = folder / "batches.meta.txt"
    if not path.exists():
        return CIFAR10
    with file_errors(path):
        classes = tuple(path.read_text("utf-8", errors="replace").split())
    if len(classes) != len(CIFAR10):
        raise DataError(
            f"{path}: names {len(classes)} classes, not 10; remove it (the usual names are known)"
        )
    return classes
