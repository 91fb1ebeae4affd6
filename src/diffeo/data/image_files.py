"""Pictures in files of their own, PNG, JPEG and their like: which there are, and their pixels."""

import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from diffeo.data.errors import DataError
from diffeo.data.folders import in_order, part_of, walk
from diffeo.data.text import one_line
from diffeo.extras import require
from diffeo.quantities import counted

if TYPE_CHECKING:
    import PIL.Image

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff")
"""The kinds of pictures, by the end of their names."""

Progress = Callable[[int, int], None]
"""Is told how many there are done, and of how many."""

_FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF")
_ORIENTATION = 0x0112  # the tag of EXIF
_UPRIGHT = {
    2: "FLIP_LEFT_RIGHT",
    3: "ROTATE_180",
    4: "FLIP_TOP_BOTTOM",
    5: "TRANSPOSE",
    6: "ROTATE_270",
    7: "TRANSVERSE",
    8: "ROTATE_90",
}
_SHOWN_SIZES = 5


@dataclass(frozen=True)
class Pictures:
    """The pictures of a folder: not yet read.

    Args:
        files: where they are, in the order of their names.
        names: their paths in the folder, with "/" between the parts.
        labels: (N,) int64, positions in `classes`, or None.
        classes: the names of the subfolders, or none.
        notes: what was decided on the way.
    """

    files: tuple[Path, ...]
    names: tuple[str, ...]
    labels: np.ndarray | None = None
    classes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def find_pictures(folder: Path, part: str | None = None) -> Pictures:
    """The pictures in a folder and its subfolders.

    If they all lie in immediate subfolders, those are the classes. Subfolders that are all named
    as parts are ("train", "test", "val" and longer forms) are no classes: one of them is read,
    `part` or, if that is None, train.

    Raises:
        DataError: if there are none, there is no such part, or a folder can't be read.
    """
    prefix, notes = part_of(folder, part, SUFFIXES)
    root = folder / prefix
    found = sorted(walk(root), key=in_order)
    pictures = [name for name in found if name.lower().endswith(SUFFIXES)]
    if not pictures:
        raise DataError(
            f"{root}: holds no pictures ({', '.join(SUFFIXES)}), no arrays (.npy, .npz, .npy.xz), "
            "no idx files (train-images-idx3-ubyte.gz) and no CIFAR-10 (data_batch_1.bin)"
        )
    if others := [name for name in found if not name.lower().endswith(SUFFIXES)]:
        kinds = sorted({Path(name).suffix.lower() or "no ending" for name in others})
        notes.append(f"{counted(len(others), 'other file')} left out ({', '.join(kinds[:5])})")
    labels, classes = None, ()
    depths = {name.count("/") for name in pictures}
    if depths == {1}:
        inside = [name.partition("/")[0] for name in pictures]
        classes = tuple(dict.fromkeys(inside))
        position = {name: i for i, name in enumerate(classes)}
        labels = np.array([position[name] for name in inside], np.int64)
    elif max(depths):
        notes.append(
            "no classes: the pictures do not all lie in immediate subfolders, one for a class"
        )
    names = tuple(f"{prefix}/{name}" if prefix else name for name in pictures)
    return Pictures(tuple(root / name for name in pictures), names, labels, classes, tuple(notes))


def read_pictures(
    files: Sequence[Path],
    counts: Counter[str],
    *,
    size: tuple[int, int] | None = None,
    mode: str | None = None,
    progress: Progress | None = None,
) -> np.ndarray:
    """The pixels of pictures, all of one size and either grey or of three colours.

    Args:
        files: where they are.
        counts: what was converted, in the words that follow "12 images", and how often; is added
            to.
        size: (height, width) to cut and resize them to; if None they must have the same.
        mode: "grey" or "rgb"; if None, rgb where any has colours.
        progress: is told of each picture that is read.

    Returns:
        (N, C, H, W) uint8.

    Raises:
        DataError: if one can't be read, or the sizes differ and none is asked for.
        ImportError: if Pillow is not installed.
    """
    require("PIL.Image", "diffeo.data.images")
    with warnings.catch_warnings():
        # About large pictures and damaged EXIF; what can't be read is an error here anyway.
        warnings.simplefilter("ignore")
        if size is None or mode is None:
            heads = [_head(path, mode is None) for path in files]
            mode = mode or ("grey" if all(grey for _, grey in heads) else "rgb")
            size = size or _only_size(files, [found for found, _ in heads])
        pixels = allocated((len(files), 1 if mode == "grey" else 3, *size))
        for i, path in enumerate(files):
            image = resized(_in_mode(_loaded(path, counts), mode, counts), size, counts)
            array = np.asarray(image)
            pixels[i] = array if mode == "grey" else array.transpose(2, 0, 1)
            if progress is not None:
                progress(i + 1, len(files))
    return pixels


def resized(
    image: "PIL.Image.Image", size: tuple[int, int], counts: Counter[str]
) -> "PIL.Image.Image":
    """A picture, cut around its centre to the form of `size` (height, width), and resized.

    Bicubic; what becomes smaller is smoothed first, as Pillow does.
    """
    from PIL import Image

    height, width = size
    if image.size == (width, height):
        return image
    # The part that is kept: as large as fits.
    kept_width = max(1, min(image.width, round(image.height * width / height)))
    kept_height = max(1, min(image.height, round(image.width * height / width)))
    left, top = (image.width - kept_width) // 2, (image.height - kept_height) // 2
    cut = (kept_width, kept_height) != image.size
    counts[f" resized to {height}×{width}" + (", centre-cropped" if cut else "")] += 1
    # Cut first: resizing by a box looks at what lies beside it too.
    image = image.crop((left, top, left + kept_width, top + kept_height))
    return image.resize((width, height), Image.Resampling.BICUBIC)


def allocated(shape: tuple[int, ...]) -> np.ndarray:
    """An array for pixels.

    Raises:
        DataError: if memory does not suffice.
    """
    try:
        return np.empty(shape, np.uint8)
    except (MemoryError, ValueError):
        amount = int(np.prod(np.array(shape, dtype=object))) / 2**30
        raise DataError(
            f"{shape[0]:,} images of {'×'.join(map(str, shape[1:]))} take {amount:,.1f} GiB of "
            "memory, more than there is",
            "; choose a smaller --image-size, or fewer images",
        ) from None


@contextmanager
def _opened(path: Path) -> Iterator["PIL.Image.Image"]:
    """A picture whose header is read. What is wrong with it is an error that names the file."""
    from PIL import Image

    try:
        # Not by its name: a TIFF that is to be turned is then mapped, and comes out garbled.
        with path.open("rb") as file, Image.open(file, formats=_FORMATS) as image:
            yield image
    except Image.DecompressionBombError:
        most = 2 * (Image.MAX_IMAGE_PIXELS or 0)
        raise DataError(
            f"{path}: has more pixels than are decoded ({most:,} at most, lest a small file fill "
            "the memory); make the picture smaller, or remove it"
        ) from None
    except (DataError, MemoryError):
        raise
    except Image.UnidentifiedImageError:
        raise DataError(
            f"{path}: is not a picture that can be read; remove it or save it again"
        ) from None
    except Exception as error:  # Pillow's decoders raise whatever a damaged file leads them to
        if isinstance(error, OSError) and error.errno is not None:
            raise DataError(f"{path}: can't be read: {error.strerror}") from None
        raise DataError(
            f"{path}: is damaged ({one_line(error) or type(error).__name__}); remove it or save "
            "it again"
        ) from None


def _head(path: Path, colour: bool) -> tuple[tuple[int, int], bool]:
    """Height and width of a picture as it is seen, and if `colour` is asked for whether it is grey.

    Only the header is read, except where that does not tell.
    """
    with _opened(path) as image:
        grey = colour and _is_grey(image)
        turned = _orientation(image) >= 5
        if turned and image.format == "TIFF":
            image.load()  # Pillow turns these by itself, and since when is up to its version.
            turned = False
        width, height = image.size
        return ((width, height) if turned else (height, width)), grey


def _is_grey(image: "PIL.Image.Image") -> bool:
    if image.mode in ("P", "PA"):
        palette = np.array(image.getpalette() or [0, 0, 0]).reshape(-1, 3)
        return bool((palette == palette[:, :1]).all())
    return image.mode in ("1", "L", "LA", "La", "F") or image.mode.startswith("I")


def _orientation(image: "PIL.Image.Image") -> int:
    """The orientation in EXIF, 1 … 8; 1 is upright."""
    if image.format == "PNG" and "exif" not in image.info:
        return 1  # Pillow would decode the picture to look behind its pixels.
    try:
        found = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # damaged EXIF; the picture need not be
        return 1
    return found if found in range(1, 9) else 1


def _only_size(files: Sequence[Path], sizes: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """The size that all pictures have."""
    often = Counter(sizes).most_common()
    if len(often) == 1:
        return often[0][0]
    shown = ", ".join(f"{h}×{w} ({n:,})" for (h, w), n in often[:_SHOWN_SIZES])
    common = often[0][0]
    other = next(i for i, size in enumerate(sizes) if size != common)
    raise DataError(
        f"{files[other]}: is {sizes[other][0]}×{sizes[other][1]}, but images must have one size, "
        f"and {counted(len(often), 'size')} were found (height × width): {shown}"
        f"{', …' if len(often) > _SHOWN_SIZES else ''}",
        f"; give --image-size, such as --image-size {min(common)}, to resize them all",
    )


def _loaded(path: Path, counts: Counter[str]) -> "PIL.Image.Image":
    """A picture, upright, of 8 bits, without alpha, in mode L or RGB."""
    from PIL import Image

    with _opened(path) as image:
        form, turned, deep = image.format, _orientation(image), _is_deep(image)
        if form != "MPO" and getattr(image, "is_animated", False):
            counts[": only the first frame taken"] += 1
        image.load()
        left = _orientation(image)  # PNG tells it late; TIFF is turned by loading it.
    if turned != 1 or left != 1:
        counts[": turned as their EXIF orientation says"] += 1
    if left != 1:
        image = image.transpose(getattr(Image.Transpose, _UPRIGHT[left]))
    grey = _is_grey(image)
    if image.mode.startswith("I") or image.mode == "F":
        if image.mode == "F" or (image.mode == "I" and form != "PNG"):
            raise _too_deep(path, image)
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if deep:
        counts[": 16 bits scaled to 8 (value >> 8)"] += 1
    if image.mode in ("CMYK", "YCbCr", "LAB", "HSV"):
        counts[f": {image.mode} to rgb"] += 1
    if image.has_transparency_data:
        image = _over_white(image, counts)
    return image.convert("L" if grey else "RGB")


def _is_deep(image: "PIL.Image.Image") -> bool:
    """Whether there are 16 bits a channel; of colours Pillow itself gives only the highest 8."""
    if image.format not in ("PNG", "TIFF"):
        return False
    tiles: Any = getattr(image, "tile", None)
    how = tiles[0][3] if tiles else ""
    return "16" in str(how if isinstance(how, str) else how[0]) or image.mode.startswith("I")


def _too_deep(path: Path, image: "PIL.Image.Image") -> DataError:
    kind = "floating-point numbers" if image.mode == "F" else "whole numbers of 32 bits"
    low, high = image.getextrema()
    return DataError(
        f"{path}: holds {kind}, {low:g} … {high:g}, not 8 or 16 bits; scale it to 0 … 255 and save "
        "it again"
    )


def _over_white(image: "PIL.Image.Image", counts: Counter[str]) -> "PIL.Image.Image":
    from PIL import Image

    layer = image.convert("RGBA")
    if layer.getchannel("A").getextrema() == (255, 255):
        return layer
    counts[": alpha laid over white"] += 1
    return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)


def _in_mode(image: "PIL.Image.Image", mode: str, counts: Counter[str]) -> "PIL.Image.Image":
    if image.mode == "RGB" and mode == "grey":
        counts[": rgb to grey"] += 1
        return image.convert("L")
    if image.mode == "L" and mode == "rgb":
        counts[": grey to rgb"] += 1
        return image.convert("RGB")
    return image
