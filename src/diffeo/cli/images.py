"""What the commands share that are about images: which data are images, and how they are read."""

import dataclasses
import math
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diffeo.cli.console import Console, count, estimate, number
from diffeo.cli.errors import CommandError, mistakes
from diffeo.cli.split import split_images

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from diffeo.data.images import Images
    from diffeo.image_model import ImageModel
    from diffeo.train import Evaluation

AT_ONCE = 1_000
"""Images that are scored before it is told how many there were."""
TOLD_EVERY = 10.0
"""Seconds."""
DRAWS = 10_000
"""Draws of noise that are enough for a mean over images."""
MOST_DRAWS = 10
"""Draws of noise that are enough for one image."""
PIXELS = {"gaussian": "full-covariance Gaussian", "independent": "independent pixels"}
"""What the simple models of `diffeo.train.baselines` are called beside a model of images."""


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
    return name.endswith((".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff"))


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
        CommandError: if there is only the part train.
    """
    from diffeo.data.errors import NoPart
    from diffeo.data.images import read_images

    told = _Counted(path, console)
    how: dict[str, Any] = {"size": size, "mode": color, "bits": bits, "progress": told}
    images = None
    if part is None and prefer is not None:
        for wanted in (prefer, "test" if prefer == "val" else "val"):
            with suppress(NoPart):
                images = read_images(path, part=wanted, **how)
                break
        else:
            with suppress(NoPart):
                read_images(path, part="train", **how)
                raise CommandError(f"{path}: has only the part train; read it with --part train")
    if images is None:
        images = read_images(path, part=part, **how)
    for note in images.notes:
        console.note(f"{path}: {note}")
    return images


def learned_and_judged(
    reader: "Callable[..., Images]",
    data: Path,
    validation: Path | None,
    part: str | None,
    seed: int,
) -> "tuple[Images, Images, str]":
    """The images to train on, those to judge by, and where the latter are from.

    They are those of `validation`; else the part val of the data, where there is one and no part is
    asked for; else a tenth.

    Args:
        reader: called as reader(path, part=…, prefer=…).
        data: the images.
        validation: images to judge by.
        part: of the data.
        seed: of what is held out.

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
    if len(images.pixels) < 2:
        raise CommandError(
            f"{data}: has one image; one to learn from and one to judge by are the least"
        )
    return *split_images(images, seed), "held out to judge by"


class _Counted:
    """Tells now and then how many images are read."""

    def __init__(self, path: Path, console: Console) -> None:
        self.path, self.console, self.last = path, console, time.monotonic()

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        if now - self.last > TOLD_EVERY:
            self.last = now
            self.console.note(f"{self.path}: {done:,} of {total:,} images read")


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
        DataError: as `read_images`.
    """
    import numpy as np

    known = (config.get("training") or {}).get("images") or {}
    color = {1: "grey", 3: "rgb"}.get(model.shape[0])
    images = read(
        path,
        console,
        size=(model.shape[1], model.shape[2]) if len(model.shape) == 3 else None,
        color=color,
        bits=8 if _is_of_levels(path, model.levels) else known.get("bits", 8),
        part=part,
        prefer=prefer,
    )
    if given is None:
        return images
    labels = np.zeros(len(images.pixels), np.int64)
    return dataclasses.replace(images, labels=labels, classes=(given,))


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


def scores_of(
    model: "ImageModel",
    images: "Images",
    console: Console,
    *,
    samples: int = 1,
    draws: int = MOST_DRAWS,
    shared_noise: bool,
    seed: int = 0,
) -> "Tensor":
    """Log-likelihoods of images, in portions, so that it can be told how many are done."""
    import numpy as np
    import torch

    from diffeo.train import score
    from diffeo.train.reference import AT_ONCE as NUMBERS

    rows, found = model.rows(images), []
    last, total = time.monotonic(), len(images.pixels)
    for i, index in enumerate(np.array_split(np.arange(total), math.ceil(total / AT_ONCE))):
        part = slice(int(index[0]), int(index[-1]) + 1)
        found.append(
            score(
                model.density,
                rows.x[part],
                None if rows.context is None else rows.context[part],
                samples=samples,
                noise_draws=draws,
                batch_size=max(1, min(256, NUMBERS // math.prod(model.shape))),
                seed=seed if shared_noise else seed + i,
                shared_noise=shared_noise,
            ).double()
        )
        if time.monotonic() - last > TOLD_EVERY:
            last = time.monotonic()
            console.note(f"{part.stop:,} of {total:,} images scored ({console.elapsed})")
    return torch.cat(found)


def evaluated(
    model: "ImageModel",
    images: "Images",
    console: Console,
    *,
    samples: int = 1,
    draws: int | None = None,
    seed: int = 0,
) -> "Evaluation":
    """The figures of images: the mean of their scores, each with noise of its own.

    Args:
        model: the model.
        images: to score.
        console: to tell on how far it is.
        samples: draws inside the logarithm.
        draws: of noise that are averaged for an image; None: as many as make `DRAWS` in all, from 1
            to `MOST_DRAWS`.
        seed: of the draws.
    """
    from diffeo.train.evaluate import baselines_of, summarize

    scores = scores_of(
        model,
        images,
        console,
        samples=samples,
        draws=draws or draws_for(len(images.pixels)),
        shared_noise=False,
        seed=seed,
    )
    rows, simple = model.rows(images), baselines_of(model)
    compared = {} if simple is None else simple.log_prob(rows.x, rows.context)
    return summarize(
        scores, math.prod(model.shape), bound=not model.density.exact, baselines=compared
    )


def draws_for(images: int) -> int:
    """Draws of noise for an image, of so many."""
    return min(MOST_DRAWS, max(1, math.ceil(DRAWS / images)))


def tell_bits(console: Console, name: str, evaluation: "Evaluation") -> None:
    """A line for the model's bits/dim ± standard error, and one for each simple model's."""
    from diffeo.train import bits_per_dim

    dimensions = evaluation.dimensions
    error = evaluation.standard_error / (dimensions * math.log(2))
    simple = {
        PIXELS[key]: bits_per_dim(value, dimensions) for key, value in evaluation.baselines.items()
    }
    console.rows(
        [[name, estimate(evaluation.bits_per_dim, error)]]
        + [[key, number(value)] for key, value in simple.items()]
    )


def bound_in_words(model: "ImageModel", samples: int, draws: int) -> str:
    """What the figure is: exact, or which bound."""
    if model.density.exact:
        return "exact"
    which = "one-sample" if samples == 1 else f"{samples}-sample"
    return f"upper bound: {which}, {count(draws, 'noise draw')} an image"


def tiles(model: "ImageModel", pixels: "np.ndarray") -> "np.ndarray":
    """Pixels to look at: 0 … 255 whatever the levels."""
    from diffeo.data.images import full_range

    return full_range(pixels, model.levels)


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


def write_pictures(
    path: Path,
    model: "ImageModel",
    pixels: "np.ndarray",
    *,
    columns: int | None = None,
    scale: int | None = None,
) -> None:
    """Writes images where `check_out_images` found a place: levels as they are into an array.

    Args:
        path: of the picture, array or folder.
        model: whose images they are.
        pixels: (N, channels, *space), levels.
        columns: of a grid.
        scale: of a grid.
    """
    from diffeo.data.images import write_images

    shown = pixels if path.suffix.lower() == ".npy" else tiles(model, pixels)
    with mistakes():
        write_images(path, shown, columns=columns, scale=scale)
