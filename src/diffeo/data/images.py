"""Images from files, and images to look at: pixels, names, labels, and what was converted."""

import math
import os
import re
import shutil
import uuid
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from diffeo.data.errors import DataError, NoPart
from diffeo.data.image_archives import open_archive
from diffeo.data.image_arrays import ARRAYS
from diffeo.data.image_files import (
    SUFFIXES,
    Pictures,
    Progress,
    allocated,
    find_pictures,
    read_pictures,
    resized,
)
from diffeo.data.image_pieces import PARTS, Archive
from diffeo.data.messages import shown
from diffeo.extras import require

if TYPE_CHECKING:
    import PIL.Image

_GAP = 2
"""Pixels between the tiles of a grid."""
_TILE = 64
"""Pixels that a tile has at least, where nothing else is asked for."""
_MOST_PIXELS = 2**28
_AT_ONCE = 4096
"""Images that are converted at once, so that what is needed on the way stays small."""
_PACKED = (".gz", ".tgz", ".tar", ".zip", ".xz")


@dataclass(frozen=True, eq=False)
class Images:
    """Images that were read.

    Args:
        pixels: (N, C, H, W) uint8, of volumes (N, C, D, H, W).
        names: one an image: its path in the folder, or "train-images-idx3-ubyte.gz[17]".
        labels: (N,) int64, positions in `classes`, or None.
        classes: the names of the classes; none where there are no labels.
        notes: what was converted or decided, each once: "12 images: alpha laid over white".
    """

    pixels: np.ndarray
    names: tuple[str, ...]
    labels: np.ndarray | None
    classes: tuple[str, ...]
    notes: tuple[str, ...]

    def at(self, index: np.ndarray) -> "Images":
        """The images at these places, in this order."""
        labels = None if self.labels is None else self.labels[index]
        names = tuple(self.names[i] for i in index)
        return Images(self.pixels[index], names, labels, self.classes, self.notes)

    def __repr__(self) -> str:
        shape = "×".join(str(n) for n in self.pixels.shape[1:])
        classes = f", {len(self.classes)} classes" if self.labels is not None else ""
        return f"Images({len(self.pixels)} of {shape}{classes})"


def read_images(
    path: str | os.PathLike[str],
    *,
    size: int | tuple[int, int] | None = None,
    mode: str | None = None,
    part: str | None = None,
    bits: int = 8,
    progress: Progress | None = None,
) -> Images:
    """Reads images: a folder of pictures, one picture, arrays, MNIST's and CIFAR-10's own files.

    - Pictures (PNG, JPEG, BMP, GIF, WebP, TIFF), with those in subfolders. If all lie in immediate
      subfolders, those are the classes. Of a moving picture the first frame is taken; alpha is laid
      over white; 16 bits become 8; what EXIF says is turned upright. Each is noted.
    - `.npy`, `.npz`, `.npy.xz`: uint8 arrays (N, H, W), (N, C, H, W) or (N, H, W, C) with C 1 or
      3, and volumes (N, D, H, W) or (N, C, D, H, W). An array of rank 4 whose second and last
      extents are neither 1 nor 3 is read as volumes of one channel. "file.npz:name" names an array
      of several. Labels are in "x_labels.npy" beside "x.npy"; in an .npz file in an array
      "x_labels", "y_train" beside "x_train", "labels" or "y". Of a folder the files are put
      together in the order of their names.
    - idx files (MNIST and its like, packed or not), with the labels beside them.
    - CIFAR-10's binary files ("data_batch_1.bin"). Its pickles are refused.

    Nothing that is read can run code.

    Args:
        path: of the folder or file.
        size: to resize to, (height, width) or one number for both: bicubic, after a cut around the
            centre where the form differs. If None, all images must have one size.
        mode: "grey" or "rgb"; if None, grey where all images are.
        part: "train", "test" or "val", where the data are parted: by the beginnings of names, or
            in subfolders of these names. If None, the first there is, in this order: train, val,
            test.
        bits: of a channel, 1 … 8: the highest are kept, and values are 0 … 2**bits − 1.
        progress: is told how many images are read, and of how many.

    Raises:
        ValueError, TypeError: if an argument is not one of these.
        DataError: if there is nothing to read, something can't be read, the images have several
            sizes, or the labels are not as many; `NoPart` if there is no such part.
        ImportError: if Pillow is needed and not installed.

    Example:
        >>> images = read_images("photos", size=64, bits=5)  # doctest: +SKIP
        >>> images.pixels.shape  # doctest: +SKIP
        (212, 3, 64, 64)
    """
    extent = _checked(size, mode, part, bits)
    where, member = _split(path)
    counts: Counter[str] = Counter()
    archive = None if _is_picture(where) else open_archive(where, part, member)
    if archive is None:
        found = _pictures(where, part)
        pixels = read_pictures(found.files, counts, size=extent, mode=mode, progress=progress)
        names, labels, classes, notes = found.names, found.labels, found.classes, found.notes
    else:
        pixels, names = _filled(archive, progress)
        pixels = _in_mode(where, pixels, mode, counts)
        pixels = _in_size(where, pixels, extent, counts)
        labels, classes, notes = archive.labels, archive.classes, archive.notes
    if bits < 8:
        np.right_shift(pixels, 8 - bits, out=pixels)
        counts[f": the highest {bits} of 8 bits kept, 0 … {2**bits - 1}"] = len(pixels)
    noun = "image" if pixels.ndim == 4 else "volume"
    told = tuple(f"{n:,} {noun}{'' if n == 1 else 's'}{text}" for text, n in counts.items())
    return Images(pixels, names, labels, classes, notes + told)


def _checked(size: Any, mode: Any, part: Any, bits: Any) -> tuple[int, int] | None:
    """The size as (height, width), once all arguments are found to be possible."""
    if mode not in (None, "grey", "rgb"):
        raise ValueError(f'read_images: mode must be "grey" or "rgb", got {mode!r}')
    if part is not None and part not in PARTS:
        raise ValueError(f'read_images: part must be "train", "test" or "val", got {part!r}')
    if isinstance(bits, bool) or not isinstance(bits, int) or not 1 <= bits <= 8:
        raise ValueError(f"read_images: bits must be 1 … 8, got {bits!r}")
    if size is None:
        return None
    extent = (size, size) if isinstance(size, int) else tuple(size)
    if len(extent) != 2 or any(isinstance(n, bool) or not isinstance(n, int) for n in extent):
        raise TypeError(
            f"read_images: size must be a whole number or (height, width), got {size!r}"
        )
    if min(extent) < 1:
        raise ValueError(f"read_images: size must be positive, got {size!r}")
    return extent


def _split(path: str | os.PathLike[str]) -> tuple[Path, str | None]:
    """The path, and the array of an .npz file that it names; the path exists."""
    where, member = Path(path), None
    text = os.fspath(path)
    try:
        if not where.exists() and ".npz:" in text.lower():
            end = text.lower().index(".npz:") + 4
            where, member = Path(text[:end]), text[end + 1 :]
        if not where.exists():
            raise DataError(f"{where}: no such file or folder")
    except OSError as error:
        raise DataError(f"{where}: can't be read: {error.strerror}") from None
    return where, member


def _is_picture(path: Path) -> bool:
    return path.name.lower().endswith(SUFFIXES) and not path.is_dir()


def _pictures(path: Path, part: str | None) -> Pictures:
    if path.is_dir():
        return find_pictures(path, part)
    if not _is_picture(path):
        what = f"unknown kind of file {path.suffix!r}" if path.suffix else "the name has no ending"
        hint = ""
        if "labels" in path.name and "idx1" in path.name:
            what, hint = "holds labels", "; name the file of the images"
        elif path.name.lower().endswith(_PACKED):
            hint = "; unpack it first"
        raise DataError(
            f"{path}: {what}{hint}; images are {', '.join((*SUFFIXES, *ARRAYS))}, idx files "
            "(train-images-idx3-ubyte.gz) and CIFAR-10's data_batch_1.bin"
        )
    if part is not None:
        raise NoPart(f"{path}: is one picture and has no part {part!r}; leave the part out")
    return Pictures((path,), (path.name,))


def _filled(archive: Archive, progress: Progress | None) -> tuple[np.ndarray, tuple[str, ...]]:
    """The pixels of all pieces in one array, and the names of the images."""
    total = sum(piece.shape[0] for piece in archive.pieces)
    pixels = allocated((total, *archive.pieces[0].shape[1:]))
    names: list[str] = []
    for piece in archive.pieces:
        piece.fill(pixels[len(names) : len(names) + piece.shape[0]])
        names += [f"{piece.name}[{i}]" for i in range(piece.shape[0])]
        if progress is not None:
            progress(len(names), total)
    return pixels, tuple(names)


def _in_mode(path: Path, pixels: np.ndarray, mode: str | None, counts: Counter[str]) -> np.ndarray:
    channels = pixels.shape[1]
    wanted = {None: channels, "grey": 1, "rgb": 3}[mode]
    if channels == wanted:
        return pixels
    if channels not in (1, 3):
        raise DataError(f"{path}: has {channels} channels; they can't be read as {mode}")
    counts[": rgb to grey" if wanted == 1 else ": grey to rgb"] = len(pixels)
    converted = allocated((len(pixels), wanted, *pixels.shape[2:]))
    for i in range(0, len(pixels), _AT_ONCE):
        some = pixels[i : i + _AT_ONCE]
        if wanted == 1:  # ITU-R 601-2, rounded as Pillow does for pictures
            red, green, blue = (some[:, c].astype(np.uint32) for c in range(3))
            some = (19595 * red + 38470 * green + 7471 * blue + 0x8000 >> 16)[:, None]
        converted[i : i + _AT_ONCE] = some
    return converted


def _in_size(
    path: Path, pixels: np.ndarray, size: tuple[int, int] | None, counts: Counter[str]
) -> np.ndarray:
    if size is None or pixels.shape[-2:] == size:
        return pixels
    if pixels.ndim == 5:
        raise DataError(
            f"{path}: holds volumes of {'×'.join(map(str, pixels.shape[2:]))}, and volumes are not "
            "resized",
            "; leave --image-size out",
        )
    require("PIL.Image", "diffeo.data.images")
    result = allocated((*pixels.shape[:2], *size))
    for i in range(len(pixels)):
        array = np.asarray(resized(_image(pixels[i]), size, counts))
        result[i] = array if array.ndim == 2 else array.transpose(2, 0, 1)
    return result


def _image(pixels: np.ndarray) -> "PIL.Image.Image":
    """The picture of pixels (C, H, W)."""
    from PIL import Image

    array = pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0)
    return Image.fromarray(np.ascontiguousarray(array))


def full_range(pixels: np.ndarray, levels: int) -> np.ndarray:
    """Levels 0 … K − 1 stretched to 0 … 255, uint8, for looking; those of 256 as they are."""
    if levels == 256:
        return pixels.astype(np.uint8)
    return (pixels.astype(np.float32) * (255 / (levels - 1))).round().astype(np.uint8)


def from_full_range(pixels: np.ndarray, levels: int) -> np.ndarray:
    """Undoes `full_range`; what lies between two levels goes to the nearest."""
    return (pixels.astype(np.float32) * ((levels - 1) / 255)).round().astype(np.uint8)


def write_images(
    path: str | os.PathLike[str],
    pixels: np.ndarray,
    names: Sequence[str] | None = None,
    columns: int | None = None,
    scale: int | None = None,
) -> None:
    """Writes images: as one picture, a grid; as a folder of pictures; or as an array.

    What the path ends with decides: `.png` a grid, row after row, `.npy` an array, and anything
    else a folder. A volume is shown by the middle slices along its three axes, side by side.
    Nothing is left half-written. A file is replaced; a folder must be new or empty.

    Args:
        path: of the file or folder.
        pixels: (N, C, H, W) or (N, C, D, H, W) uint8, C 1 or 3 (of an array any number).
        names: of the files of a folder, such as "cat/7"; numbers if None. An ending of pictures is
            replaced by .png, and characters that some systems refuse by "_".
        columns: of the grid; if None it is about square.
        scale: whole factor by which pixels are enlarged; if None that with which tiles of a grid
            have 64 pixels at least, and 1 in a folder.

    Raises:
        ValueError, TypeError: if an argument is not one of these.
        DataError: if the file or the folder can't be written.
        ImportError: if Pillow is needed and not installed.
    """
    target, pixels = Path(path), np.asarray(pixels)
    _check_pixels(pixels, names, columns, scale)
    end = target.suffix.lower()
    if end in ({*SUFFIXES, ".npz", ".xz"} - {".png"}) and not target.is_dir():
        raise DataError(f"{target}: images are written as .png, as .npy, or into a folder")
    if end != ".npy" and pixels.shape[1] not in (1, 3):
        raise ValueError(f"write_images: pictures have 1 or 3 channels, got {pixels.shape[1]}")
    if end == ".npy" and not target.is_dir():
        _whole(target, lambda to: _write_array(to, pixels))
        return
    require("PIL.Image", "diffeo.data.images")
    if end == ".png" and not target.is_dir():
        grid = tiled(pixels, columns, scale)
        _whole(target, lambda to: _image(grid).save(to, format="PNG"))
    else:
        files = _file_names(names, len(pixels))
        _whole(target, lambda to: _write_folder(to, pixels, files, scale or 1))


def write_array(path: str | os.PathLike[str], values: np.ndarray) -> None:
    """Writes any array as .npy, whole or not at all.

    Raises:
        DataError: if the file can't be written.
    """
    _whole(Path(path), lambda to: _write_array(to, values))


def write_arrays(path: str | os.PathLike[str], arrays: Mapping[str, np.ndarray]) -> None:
    """Writes arrays by their names as .npz, whole or not at all.

    Raises:
        DataError: if the file can't be written.
    """
    named: dict[str, Any] = dict(arrays)

    def write(to: Path) -> None:
        with to.open("wb") as file:
            np.savez(file, **named)

    _whole(Path(path), write)


def _write_array(path: Path, pixels: np.ndarray) -> None:
    with path.open("wb") as file:
        np.save(file, pixels, allow_pickle=False)


def _write_folder(path: Path, pixels: np.ndarray, files: Sequence[str], scale: int) -> None:
    path.mkdir()
    for name, image in zip(files, pixels, strict=True):
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        _image(_tile(image, scale)).save(path / name, format="PNG")


def _whole(path: Path, write: Callable[[Path], object]) -> None:
    """Writes a file or a folder under another name first, so that it is there whole or not."""
    parent = path.absolute().parent
    if not parent.is_dir():
        raise DataError(f"{path}: the folder {path.parent} does not exist; make it first")
    temporary = parent / f".{path.name}.{uuid.uuid4().hex[:8]}.tmp"
    try:
        if path.is_dir() and any(path.iterdir()):
            raise DataError(f"{path}: the folder is not empty; name a new one, or empty it")
        write(temporary)
        if temporary.is_dir():
            if path.is_dir():
                path.rmdir()
        else:
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise DataError(f"{path}: can't be written: {error.strerror or error}") from None
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary, ignore_errors=True)
        else:
            temporary.unlink(missing_ok=True)


def _check_pixels(
    pixels: np.ndarray, names: Sequence[str] | None, columns: int | None, scale: int | None
) -> None:
    if pixels.dtype != np.uint8:
        raise TypeError(f"write_images: pixels must be uint8, 0 … 255, got {pixels.dtype}")
    if pixels.ndim not in (4, 5) or 0 in pixels.shape:
        raise ValueError(
            "write_images: pixels must have shape (N, C, H, W) or (N, C, D, H, W), got "
            f"{pixels.shape}"
        )
    if names is not None and len(names) != len(pixels):
        raise ValueError(f"write_images: {len(names)} names for {len(pixels)} images")
    for word, value in (("columns", columns), ("scale", scale)):
        if value is not None and value < 1:
            raise ValueError(f"write_images: {word} must be positive, got {value}")


def _tile(image: np.ndarray, scale: int) -> np.ndarray:
    """An image enlarged, (C, H, W); of a volume (C, D, H, W) its middle slices side by side."""
    if image.ndim == 4:
        middle = [image.take(n // 2, axis=i + 1) for i, n in enumerate(image.shape[1:])]
        return _beside([_tile(part, scale) for part in middle], len(middle))
    return image.repeat(scale, axis=1).repeat(scale, axis=2)


def check_grid(
    n: int, shape: Sequence[int], columns: int | None = None, scale: int | None = None
) -> None:
    """Refuses a grid that `write_images` would refuse as too large, before there are its images.

    Args:
        n: how many images.
        shape: of one, (C, H, W) or (C, D, H, W).
        columns: as in `write_images`.
        scale: as there.

    Raises:
        ValueError: if it is too large for a picture.
    """
    columns, scale = _layout(n, shape, columns, scale)
    tile = _tile(np.zeros(shape, np.uint8), scale).shape
    height, width = math.ceil(n / columns) * (tile[1] + _GAP), columns * (tile[2] + _GAP)
    if height * width > _MOST_PIXELS:
        raise ValueError(
            f"write_images: a grid of {n:,} images has {height:,}×{width:,} pixels; write fewer of "
            "them, a folder or .npy"
        )


def tiled(pixels: np.ndarray, columns: int | None = None, scale: int | None = None) -> np.ndarray:
    """The picture (C, H, W) of images in a grid, as `write_images` draws it."""
    n, *shape = pixels.shape
    check_grid(n, shape, columns, scale)
    columns, scale = _layout(n, shape, columns, scale)
    return _beside([_tile(image, scale) for image in pixels], columns)


def _layout(
    n: int, shape: Sequence[int], columns: int | None, scale: int | None
) -> tuple[int, int]:
    """The columns of a grid, and by how much pixels are enlarged."""
    columns = min(columns or math.ceil(math.sqrt(n)), n)
    return columns, scale or max(1, math.ceil(_TILE / min(shape[1:])))


def _beside(tiles: Sequence[np.ndarray], columns: int) -> np.ndarray:
    """Pictures (C, H, W) in rows, with white gaps between them; smaller ones stand top left."""
    height = max(tile.shape[1] for tile in tiles)
    widths = [
        max(tile.shape[2] for tile in tiles[i::columns]) for i in range(min(columns, len(tiles)))
    ]
    rows = math.ceil(len(tiles) / columns)
    shape = (len(tiles[0]), rows * (height + _GAP) - _GAP, sum(widths) + _GAP * (len(widths) - 1))
    grid = np.full(shape, 255, np.uint8)
    for i, tile in enumerate(tiles):
        row, column = divmod(i, columns)
        top, left = row * (height + _GAP), sum(widths[:column]) + column * _GAP
        grid[:, top : top + tile.shape[1], left : left + tile.shape[2]] = tile
    return grid


def _file_names(names: Sequence[str] | None, n: int) -> list[str]:
    if names is None:
        return [f"{i:0{len(str(n - 1))}d}.png" for i in range(n)]
    files = []
    for name in names:
        if name.lower().endswith(SUFFIXES):
            name = name[: name.rindex(".")]
        parts = [re.sub(r'[<>:"|?*\\\x00-\x1f]', "_", part) for part in name.split("/")]
        if any(part in ("", ".", "..") for part in parts):
            raise ValueError(f"write_images: {shown(name)} is not a name of a file in a folder")
        files.append("/".join(parts) + ".png")
    double = next((name for name, count in Counter(files).items() if count > 1), None)
    if double is not None:
        raise ValueError(f"write_images: two images are named {shown(double)}; rename one")
    return files
