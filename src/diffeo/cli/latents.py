"""Files of latents: an array (.npy), or one with the class of each (.npz)."""

import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from diffeo.cli.errors import CommandError

if TYPE_CHECKING:
    import numpy as np

    from diffeo.image_model import ImageModel

LATENTS, CLASSES = "z", "class"
"""The arrays of an .npz file: (N, D), and the name of the class of each, (N,)."""


def check_form(path: Path, model: "ImageModel", given: str | None) -> None:
    """Refuses a kind of file that does not hold what `diffeo decode` needs.

    Args:
        path: the file to write.
        model: whose latents they are.
        given: the class of all of them, if it was given.

    Raises:
        CommandError: if the model has classes that a plain array would lose, or none to keep.
    """
    suffix = path.suffix.lower()
    if suffix == ".npz" and not model.classes:
        raise CommandError(
            f"--out {path}: the model has no classes to keep beside latents; write them as .npy"
        )
    if suffix == ".npy" and model.classes and given is None:
        raise CommandError(
            f"--out {path}: .npy has no place for the class of each image, which decode needs; "
            "write .npz, or latents of one class with --given class=NAME"
        )


def write_latents(path: Path, latents: "np.ndarray", classes: Sequence[str]) -> None:
    """Writes latents, into an .npz file with their classes.

    Args:
        path: of the file, .npy or .npz.
        latents: (N, D).
        classes: the name of each one's.

    Raises:
        DataError: if the file can't be written.
    """
    import numpy as np

    from diffeo.data.images import write_array, write_arrays

    if path.suffix.lower() == ".npz":
        write_arrays(path, {LATENTS: latents, CLASSES: np.array(classes, dtype=str)})
    else:
        write_array(path, latents)


def read_latents(path: Path) -> "tuple[np.ndarray, list[str] | None]":
    """Latents (N, D), finite, and the class of each, where the file holds those.

    Raises:
        CommandError: if it is no such file.
    """
    import numpy as np

    if path.suffix.lower() not in (".npy", ".npz") or not path.is_file():
        what = "is no .npy or .npz file" if path.is_file() else "no such file"
        raise CommandError(f"{path}: {what}; give the latents that diffeo encode wrote")
    classes = None
    try:
        latents = np.load(path, allow_pickle=False)
        if isinstance(latents, np.lib.npyio.NpzFile):
            with latents as held:
                latents, classes = held[LATENTS], [str(name) for name in np.ravel(held[CLASSES])]
    except KeyError:
        raise CommandError(
            f"{path}: lacks {LATENTS!r} or {CLASSES!r}; give the latents that diffeo encode wrote"
        ) from None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise CommandError(f"{path}: can't be read as an array ({error})") from None
    if latents.ndim == 1:
        latents = latents[None]
    if not np.issubdtype(latents.dtype, np.floating) or latents.ndim != 2 or not len(latents):
        raise CommandError(
            f"{path}: holds {latents.dtype} of shape {latents.shape}; latents are real numbers "
            "(N, D), as diffeo encode writes them"
        )
    if not np.isfinite(latents).all():
        raise CommandError(f"{path}: holds values that are not finite")
    if classes is not None and len(classes) != len(latents):
        raise CommandError(f"{path}: holds {len(latents)} latents and {len(classes)} classes")
    return latents, classes
