"""Images in NumPy's files: arrays of every layout, and the labels that belong to them."""

import lzma
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from diffeo.data.errors import DataError
from diffeo.data.folders import listing
from diffeo.data.image_files import allocated
from diffeo.data.image_pieces import (
    AT_ONCE,
    PARTS,
    Archive,
    File,
    Piece,
    by,
    file_errors,
    no_part,
    part_of,
    read_into,
    stream,
    together,
)
from diffeo.data.messages import listed

ARRAYS = (".npy", ".npz", ".npy.xz")
"""The kinds of NumPy's files, by the end of their names."""


def open_arrays(
    path: Path, place: Path, names: Sequence[str], part: str | None, member: str | None
) -> Archive:
    """The arrays of a folder, or of one file (with its labels beside it)."""
    single = not path.is_dir()
    beside = {_stem(name) for name in (listing(place) if single else names) if is_array(name)}
    images = [name for name in names if single or not _is_labels(name, beside, len(names))]
    parts = {name: part_of(_stem(name)) for name in images}
    found = [word for word in PARTS if word in parts.values()]
    notes: tuple[str, ...] = ()
    inner = part
    if found and not (single and part is None):
        asked = part or found[0]
        if asked not in found:
            raise no_part(path, asked, found)
        inner = None
        if part is None and len(set(parts.values())) > 1:
            notes = (f"the parts are {listed(found)}: {asked} is read",)
        chosen = [name for name in images if parts[name] == asked]
    else:
        chosen = images
        if part is not None and not any(name.lower().endswith(".npz") for name in images):
            raise no_part(path, part, ())
    alone = len(images) == 1
    pieces = [
        piece
        if piece.labels is not None
        else replace(piece, labels=_labels_beside(place / name, piece.shape[0], alone))
        for name in chosen
        for piece in [_array_piece(place / name, inner, member)]
    ]
    unread = [
        labels
        for name in images
        if name not in chosen and pieces[0].labels is not None
        for labels in [_labels_beside(place / name, None, alone)]
        if labels is not None and labels.dtype.kind == pieces[0].labels.dtype.kind
    ]
    return together(path, pieces, None, notes, unread)


def is_array(name: str) -> bool:
    """Whether a name is that of one of NumPy's files."""
    return name.lower().endswith(ARRAYS)


def _stem(name: str) -> str:
    return re.sub(r"(\.npy|\.npz|\.npy\.xz)$", "", name, flags=re.IGNORECASE)


def _is_labels(name: str, stems: set[str], files: int) -> bool:
    stem = _stem(name)
    before = stem.removesuffix("_labels")
    return (before != stem and before in stems) or (stem in ("labels", "y") and files == 2)


def _labels_beside(path: Path, n: int | None, alone: bool) -> np.ndarray | None:
    """The labels in the file of the same stem and "_labels", or of images alone "labels"."""
    for stem in (f"{_stem(path.name)}_labels", *(("labels", "y") if alone else ())):
        for suffix in (".npy", ".npy.xz"):
            other = path.with_name(stem + suffix)
            if other.exists() and other != path:
                with stream(other) as file:
                    return _labels(other, file, n, path)
    return None


def _labels(where: Path | str, file: File, n: int | None, images: Path | str) -> np.ndarray:
    """The labels in an array, checked; n is their number, if it is known."""
    shape, _, dtype = _header(where, file)
    if dtype.kind not in "iubUS":
        raise DataError(
            f"{where}: labels must be whole numbers or text, found {dtype}; convert them: "
            'labels.astype("int64")'
        )
    if len(shape) == 2 and shape[1] == 1:
        shape = shape[:1]
    if len(shape) != 1:
        hint = "; labels.argmax(1) gives one number each" if len(shape) == 2 else ""
        raise DataError(f"{where}: labels must have shape (N,), found {shape}{hint}")
    if n is not None and shape[0] != n:
        raise DataError(f"{where}: holds {shape[0]:,} labels, but {images} has {n:,} images")
    data = file.read()
    if len(data) != shape[0] * dtype.itemsize:
        raise DataError(
            f"{where}: is cut short: expected {shape[0] * dtype.itemsize:,} bytes of labels, found "
            f"{len(data):,}; save it again"
        )
    labels = np.frombuffer(data, dtype)
    return labels.astype(np.int64) if dtype.kind in "iub" else labels.astype(str)


def _array_piece(path: Path, part: str | None, member: str | None) -> Piece:
    if path.name.lower().endswith(".npz"):
        return _member_piece(path, part, member)

    def opened() -> Any:
        return stream(path)

    return _piece(path, path.name, opened, part_of(path.name))


def _piece(path: Path | str, name: str, opened: Callable[[], Any], part: str | None) -> Piece:
    """The images of an array, of which `opened` gives the file; `path` is for messages."""
    with opened() as file:
        shape, fortran, dtype = _header(path, file)
        if dtype != np.uint8:
            raise _wrong_dtype(path, file, dtype)
    layout, last = _layout(path, shape)

    def fill(out: np.ndarray) -> None:
        with opened() as file:
            _header(path, file)
            if not (fortran or last):
                read_into(Path(path), file, out)
                return
            stored = allocated(shape[::-1] if fortran else shape)
            read_into(Path(path), file, stored)
            stored = stored.T if fortran else stored
            out[...] = np.moveaxis(stored, -1, 1) if last else stored.reshape(out.shape)

    note = ""
    if len(layout) == 5 and len(shape) == 4:
        note = f"the array {shape} is read as {shape[0]:,} volumes of {by(shape[1:])}, one channel"
    return Piece(name, layout, fill, None, part, note)


def _header(
    path: Path | str, file: File, objects: bool = False
) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Shape, whether the first axis is the fastest, and type of an array, as its file tells.

    An array of Python objects is refused, if it is not that `objects` are only looked at.
    """
    read = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    try:
        header = read[np.lib.format.read_magic(file)](file)
    except (OSError, EOFError, lzma.LZMAError, zlib.error, zipfile.BadZipFile):
        raise
    except Exception:  # the header is Python, which can be wrong in many ways
        raise DataError(
            f"{path}: is not an array that can be read; save it with numpy.save"
        ) from None
    if header[2].hasobject and not objects:
        raise DataError(
            f"{path}: holds Python objects, and reading those can run code; save a plain array: "
            'numpy.stack(images).astype("uint8")'
        )
    return header


def _layout(path: Path | str, shape: tuple[int, ...]) -> tuple[tuple[int, ...], bool]:
    """The shape with channels after the images, and whether they are the last of the array."""
    if min(shape, default=1) < 1:
        raise DataError(f"{path}: holds no images (shape {shape})")
    colours = (1, 3)
    if len(shape) == 3 and shape[-1] not in colours:
        return (shape[0], 1, *shape[1:]), False
    if len(shape) in (4, 5):
        if shape[1] not in colours and shape[-1] in colours:
            return (shape[0], shape[-1], *shape[1:-1]), True
        if len(shape) == 5 or shape[1] in colours:
            return shape, False
        if shape[-1] != 4 or min(shape[1:3]) <= 4:
            return (shape[0], 1, *shape[1:]), False
    hint = ""
    if len(shape) == 2 or len(shape) == 3:
        hint = "; of one image save image[None]"
    elif len(shape) == 4:
        hint = "; of four channels save the colours, images[..., :3], of volumes volumes[:, None]"
    raise DataError(
        f"{path}: has shape {shape}; images have (N, H, W), (N, C, H, W) or (N, H, W, C) with C 1 "
        f"or 3, volumes (N, D, H, W) or (N, C, D, H, W){hint}"
    )


def _wrong_dtype(path: Path | str, file: File, dtype: np.dtype) -> DataError:
    """What the array holds instead of bytes, and how to convert that; reads the rest of it."""
    if dtype.kind not in "fiub":
        return DataError(f"{path}: holds {dtype}; images must be uint8, 0 … 255")
    low, high, finite = np.inf, -np.inf, True
    size = AT_ONCE * dtype.itemsize
    while some := file.read(size):
        values = np.frombuffer(some, dtype, len(some) // dtype.itemsize)
        good = np.isfinite(values)
        finite &= bool(good.all())
        if good.any():
            low, high = min(low, float(values[good].min())), max(high, float(values[good].max()))
    how = "scale it to 0 … 255 first, then"
    code = 'x.round().astype("uint8")' if dtype.kind == "f" else 'x.astype("uint8")'
    if dtype.kind == "b":
        how, code = "convert it:", 'x.astype("uint8") * 255'
    elif not finite:
        how = "replace what is not finite, scale it to 0 … 255, then"
    elif dtype.kind == "f" and low >= 0 and high <= 1:
        how, code = "convert it:", '(x * 255).round().astype("uint8")'
    elif dtype.kind == "f" and low >= -1 and high <= 1:
        how, code = "convert it:", '((x + 1) * 127.5).round().astype("uint8")'
    elif low >= 0 and high <= 255:
        how = "convert it:"
    found = f"{low:g} … {high:g}" if low <= high else "no number"
    return DataError(
        f"{path}: holds {dtype}, {found}{'' if finite else ' and NaN or infinity'}; images must be "
        f"uint8, 0 … 255; {how} {code}"
    )


def _member_piece(path: Path, part: str | None, member: str | None) -> Piece:
    """The images of an .npz file: the array that is named, or the only one of the part."""
    headers = _members(path)

    def where(name: str) -> str:
        return f"{path}:{name}"

    @contextmanager
    def opened(name: str) -> Iterator[File]:
        with file_errors(path), zipfile.ZipFile(path) as packed, packed.open(f"{name}.npy") as file:
            yield file

    if member is None:
        ranked = {
            name: array
            for name, array in headers.items()
            if len(array[0]) >= 3 or array[1].hasobject
        }
        images = {name: a for name, a in ranked.items() if a[1] == np.uint8} or ranked
        if part is not None:
            images = {name: array for name, array in images.items() if _is_of(name, part)}
        if len(images) != 1:
            what = "several arrays of images" if len(images) > 1 else "no array of images"
            what += f" of the part {part!r}" if part is not None else ""
            held = ", ".join(f"{name} {array[0]} {array[1]}" for name, array in headers.items())
            example = next(iter(images or ranked), None)
            how = f"; name one, as in {where(example)}" if example else ""
            raise DataError(f"{path}: holds {what}: {held}{how}")
        member = next(iter(images))
    elif member not in headers:
        raise DataError(f"{path}: holds no array {member!r}, only {listed(list(headers))}")
    name = member if len(headers) > 1 else ""
    piece = _piece(
        where(member), f"{path.name}:{name}" if name else path.name, lambda: opened(member), None
    )
    several = sum(len(shape) >= 3 for shape, _ in headers.values()) > 1
    label = _label_member(member, headers, piece.shape[0], several)
    if label is None:
        return replace(piece, part=part_of(path.name))
    with opened(label) as file:
        labels = _labels(where(label), file, piece.shape[0], where(member))
    return replace(piece, labels=labels, part=part_of(path.name))


def _members(path: Path) -> dict[str, tuple[tuple[int, ...], np.dtype]]:
    """Shapes and types of the arrays in an .npz file."""
    found = {}
    with file_errors(path), zipfile.ZipFile(path) as packed:
        for name in packed.namelist():
            if not name.endswith(".npy"):
                continue
            with packed.open(name) as file:
                shape, _, dtype = _header(f"{path}:{name[:-4]}", file, objects=True)
            found[name[:-4]] = (shape, dtype)
    if not found:
        raise DataError(f"{path}: holds no arrays; save them with numpy.savez")
    return found


def _is_of(name: str, part: str) -> bool:
    return part in {part_of(word) for word in re.split(r"[^a-z0-9]+", name.lower())}


def _label_member(
    name: str, headers: dict[str, tuple[tuple[int, ...], np.dtype]], n: int, several: bool
) -> str | None:
    """The array with the labels of another: x_labels, labels_x, y_train for x_train, labels, y."""
    own = (
        f"{name}_labels",
        f"labels_{name}",
        f"y_{name}",
        f"{name}_y",
        re.sub("images?", "labels", name),
        re.sub(r"(?i)(^|_)x(?=$|_)", r"\1y", name),
    )
    for other in own:
        if other != name and other in headers:
            return other
    for other in ("labels", "y"):
        if other != name and other in headers and (not several or headers[other][0][:1] == (n,)):
            return other
    return None
