"""Images that commands read: which data are images, of which part, size and class."""

import dataclasses
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from diffeo.cli.console import Console
from diffeo.cli.errors import CommandError
from diffeo.cli.files import check_data
from diffeo.cli.progress import EVERY
from diffeo.cli.split import OnlyOne, split_images

if TYPE_CHECKING:
    from diffeo.data.images import Images
    from diffeo.image_model import ImageModel

T = TypeVar("T")
PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff")
"""What the names of pictures end with."""


def holds_images(path: Path) -> bool:
    """Whether what is there is images rather than a table; never raises.

    A folder is; of files, pictures and arrays of three or more dimensions, and those of MNIST and
    CIFAR-10.
    """
    name = path.name.lower()
    if ".npz:" in name or path.is_dir():
        return True
    if name.endswith(".npy"):
        return _dimensions(path) > 2
    if name.endswith((".npz", ".npy.xz")):
        return True
    if "-ubyte" in name or (name.endswith(".bin") and "batch" in name):
        return True
    return name.endswith(PICTURES)


def holds_pictures(folder: Path) -> bool:
    """Whether a folder, or one below it, holds a picture or an array."""
    ends = (*PICTURES, ".npy", ".npz", ".npy.xz")
    return any(
        name.lower().endswith(ends) or "-ubyte" in name or name.endswith(".bin")
        for _, _, names in os.walk(folder)
        for name in names
    )


def _dimensions(path: Path) -> int:
    """Of the array of a .npy file, by its first bytes; 0 where it can't be read."""
    from numpy.lib import format as npy

    try:
        with path.open("rb") as file:
            version = npy.read_magic(file)
            read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
            return len(read(file)[0])
    except (OSError, ValueError):
        return 0


def read(
    path: Path,
    console: Console,
    *,
    size: int | tuple[int, int] | None = None,
    color: str | None = None,
    bits: int = 8,
    part: str | None = None,
    prefer: str | None = None,
) -> "Images":
    """The images of a file or a folder; what was converted is told.

    Args:
        path: of the file or folder.
        console: to tell on.
        size: as in `read_images`.
        color: "grey" or "rgb", its `mode`.
        bits: as there.
        part: as there.
        prefer: "val" or "test", the part to read where data have parts and none is asked for; the
            other of the two where only that is there, never train.

    Raises:
        CommandError: if there is only the part train, or it is a trained model's folder.
    """
    from diffeo.data.images import read_images

    check_data(path)
    told = Counted(path, console)
    how: dict[str, Any] = {"size": size, "mode": color, "bits": bits, "progress": told}
    images = in_part(partial(read_images, path, **how), path, part, prefer)
    for note in images.notes:
        console.note(f"{path}: {note}")
    return images


def in_part(reader: Callable[..., T], path: Path, part: str | None, prefer: str | None) -> T:
    """What a reader gives of a part of the data, or of the preferred where none is asked for.

    Args:
        reader: called as reader(part=…).
        path: of the data, for what is told.
        part: as in `read`.
        prefer: as in `read`.

    Raises:
        CommandError: if there is only the part train.
    """
    from diffeo.data.errors import NoPart

    if part is None and prefer is not None:
        for wanted in (prefer, "test" if prefer == "val" else "val"):
            with suppress(NoPart):
                return reader(part=wanted)
        with suppress(NoPart):
            reader(part="train")
            raise CommandError(f"{path}: has only the part train; read it with --part train")
    return reader(part=part)


def learned_and_judged(
    reader: Callable[..., Any],
    data: Path,
    validation: Path | None,
    part: str | None,
    seed: int,
    parted: "Callable[[Any, int], tuple[Any, Any]]" = split_images,
    noun: str = "image",
) -> "tuple[Any, Any, str]":
    """The images to train on, those to judge by, and where the latter are from.

    They are those of `validation`; else the part val of the data, where there is one and no part is
    asked for; else a tenth.

    Args:
        reader: called as reader(path, part=…, prefer=…).
        data: the images.
        validation: images to judge by.
        part: of the data.
        seed: of what is held out.
        parted: makes the two of all images and a seed; raises `OnlyOne` where there is but one.
        noun: what one is called.

    Raises:
        CommandError: if there is only one image.
    """
    from diffeo.data.errors import NoPart

    images = reader(data, part=part)
    if validation is not None:
        return images, reader(validation, prefer="val"), f"of {validation} to judge by"
    if part is None:
        with suppress(NoPart):
            return images, reader(data, part="val"), "of the part val to judge by"
    try:
        return *parted(images, seed), "held out to judge by"
    except OnlyOne:
        raise CommandError(
            f"{data}: has one {noun}; one to learn from and one to judge by are the least"
        ) from None


class Counted:
    """Tells now and then how many images, or files of what else, are read."""

    def __init__(self, path: Path, console: Console, noun: str = "image") -> None:
        self.path, self.console, self.last = path, console, time.monotonic()
        self.noun = noun

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        if now - self.last > EVERY:
            self.last = now
            self.console.note(f"{self.path}: {done:,} of {total:,} {self.noun}s read")


def read_for(
    model: "ImageModel",
    config: dict[str, Any],
    path: Path,
    console: Console,
    *,
    part: str | None = None,
    prefer: str | None = None,
    given: str | None = None,
) -> "Images":
    """Images as the model was trained on them: of its size, colours and bits; changes are told.

    Args:
        model: the model.
        config: of its folder.
        path: of the images.
        console: to tell on.
        part: which part to read.
        prefer: as in `read`.
        given: the class of all of them, for a conditioned model; None for those they have.

    Raises:
        CommandError: as `read`; if the model is conditioned on classes, and the images have none
            and none is given, or have some and one is given.
        DataError: as `read_images`.
    """
    import numpy as np

    from diffeo.data.images import from_full_range

    color = {1: "grey", 3: "rgb"}.get(model.shape[0])
    with _settled():
        images = read(
            path,
            console,
            size=(model.shape[1], model.shape[2]) if len(model.shape) == 3 else None,
            color=color,
            bits=8 if _is_of_levels(path, model.levels) else bits_of(config),
            part=part,
            prefer=prefer,
        )
    if int(images.pixels.max()) >= model.levels and _are_pictures(images):
        console.note(
            f"{path}: 256 levels of a picture are read as the {model.levels} of the model, the "
            "darkest as the first and the brightest as the last"
        )
        pixels = from_full_range(images.pixels, model.levels)
        images = dataclasses.replace(images, pixels=pixels)
    if model.classes and images.labels is None and given is None:
        raise CommandError(
            f"{path}: has no classes, and the model is conditioned on one; write --given "
            f"class=NAME for all images, one of {', '.join(model.classes)}, or put them in a "
            "folder for each class"
        )
    if given is None:
        return images
    if images.labels is not None:
        raise CommandError(
            f"{path}: has classes of its own ({_first(images.classes)}), and --given class={given} "
            "would be that of all its images; leave it out, or name the folder of one class"
        )
    labels = np.zeros(len(images.pixels), np.int64)
    return dataclasses.replace(images, labels=labels, classes=(given,))


def bits_of(config: dict[str, Any]) -> int:
    """The bits of a channel that a model was trained on, by the configuration of its folder."""
    return ((config.get("training") or {}).get("images") or {}).get("bits", 8)


@contextmanager
def _settled() -> "Iterator[None]":
    """Leaves out of messages the options of training that say how to read: here that is settled."""
    from diffeo.data.errors import DataError, NoPart

    try:
        yield
    except NoPart:
        raise
    except DataError as error:
        raise DataError(error.problem) from None


def _are_pictures(images: "Images") -> bool:
    """Whether they come from files of pictures, whose values are brightness, and not levels."""
    return all(name.lower().endswith(PICTURES) for name in images.names)


def _first(names: tuple[str, ...]) -> str:
    return ", ".join(names[:8]) + (", …" if len(names) > 8 else "")


def _is_of_levels(path: Path, levels: int) -> bool:
    """Whether a .npy file holds a model's levels already, as `sample` and `decode` write them."""
    import numpy as np

    if path.suffix.lower() != ".npy" or not path.is_file() or levels >= 256:
        return False
    try:
        values = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return False  # which reading it will tell
    return bool(values.size) and int(values.max()) < levels


def class_of(model: "ImageModel", given: tuple[str, ...], *, required: bool = True) -> str | None:
    """The class of --given class=NAME; None where none is given.

    Args:
        model: the model.
        given: what was given.
        required: whether a model of classes needs one.

    Raises:
        CommandError: if it is missing or says something else, or the model knows no classes, or not
            this one.
    """
    if not given:
        if model.classes and required:
            raise CommandError(
                "the model is conditioned on a class; write --given class=NAME, one of "
                f"{', '.join(model.classes)}"
            )
        return None
    if not model.classes:
        raise CommandError(
            "the model is not conditioned on anything, so --given has no meaning; train with "
            "--context class"
        )
    key, sign, name = given[0].partition("=")
    if len(given) > 1 or key.strip() != "class" or not sign:
        raise CommandError(
            f"--given {' '.join(given)}: of images write --given class=NAME, once; the classes are "
            f"{', '.join(model.classes)}"
        )
    if name.strip() not in model.classes:
        import difflib

        near = difflib.get_close_matches(name, model.classes, n=1)
        hint = f"did you mean {near[0]}? There are" if near else "there are"
        raise CommandError(
            f"--given class={name}: the model was not trained on that class; {hint} "
            f"{', '.join(model.classes)}"
        )
    return name.strip()
