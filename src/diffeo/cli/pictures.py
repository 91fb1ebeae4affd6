"""Images that commands write: as a picture, a folder of pictures, or an array."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from diffeo.cli.console import Console
from diffeo.cli.errors import CommandError, mistakes

if TYPE_CHECKING:
    import numpy as np

    from diffeo.image_model import ImageModel

COLOURS = (1, 3)
"""Channels that a picture can have."""


def tiles(model: "ImageModel", pixels: "np.ndarray") -> "np.ndarray":
    """Pixels to look at: 0 … 255 whatever the levels, grey or of three colours."""
    from diffeo.data.images import full_range

    shown = pixels if pixels.shape[1] in COLOURS else pixels[:, :1]
    return full_range(shown, model.levels)


def about_tiles(model: "ImageModel") -> list[str]:
    """What pictures of such images don't show, a line each."""
    lines = []
    if len(model.shape) == 4:
        lines.append("of a volume the middle slices along its three axes are shown, side by side")
    if model.shape[0] not in COLOURS:
        lines.append(f"of {model.shape[0]} channels the first is shown")
    return lines


def check_out_images(path: Path, *, overwrite: bool, sources: Sequence[Path] = ()) -> None:
    """Refuses a place where images could not be written later: a picture, an array, or a folder.

    Args:
        path: the place.
        overwrite: whether a file that is there may be replaced.
        sources: files that are read.

    Raises:
        CommandError: if it exists (without `overwrite`) or is a source, or its folder does not
            exist.
    """
    if path.exists() and any(source.exists() and path.samefile(source) for source in sources):
        raise CommandError(f"--out {path}: is the file that is read; give another name")
    if path.is_dir():
        if any(path.iterdir()):
            raise CommandError(f"--out {path}: the folder is not empty; name a new one")
        return
    if path.suffix.lower() not in ("", ".png", ".npy"):
        raise CommandError(f"--out {path}: images are written as .png, as .npy, or into a folder")
    if path.exists() and not overwrite:
        raise CommandError(f"--out {path}: exists; give another name, or --overwrite")
    if not path.absolute().parent.is_dir():
        raise CommandError(f"--out {path}: there is no folder {path.parent}; make it first")


def check_grid(
    path: Path,
    model: "ImageModel",
    n: int,
    *,
    columns: int | None = None,
    scale: int | None = None,
) -> None:
    """Refuses a grid that is too large for a picture, before its images are drawn.

    Args:
        path: where `check_out_images` found a place.
        model: whose images they are.
        n: how many.
        columns: of the grid.
        scale: of the grid.

    Raises:
        CommandError: if it is.
    """
    from diffeo.data.images import check_grid as check

    if path.suffix.lower() != ".png" or path.is_dir():
        return
    try:
        check(n, model.shape, columns, scale)
    except ValueError as error:
        told = str(error).removeprefix("write_images: ")
        raise CommandError(f"--out {path}: {told}") from None


def write_pictures(
    path: Path,
    model: "ImageModel",
    pixels: "np.ndarray",
    console: Console,
    *,
    columns: int | None = None,
    scale: int | None = None,
) -> None:
    """Writes images where `check_out_images` found a place: levels as they are into an array.

    Args:
        path: of the picture, array or folder.
        model: whose images they are.
        pixels: (N, channels, *space), levels.
        console: to tell what pictures don't show.
        columns: of a grid.
        scale: of a grid.
    """
    from diffeo.data.images import write_images

    whole = path.suffix.lower() == ".npy" and not path.is_dir()
    with mistakes():
        shown = pixels if whole else tiles(model, pixels)
        write_images(path, shown, columns=columns, scale=scale)
    for line in () if whole else about_tiles(model):
        console.note(f"{path}: {line}; name a .npy for all of it")
