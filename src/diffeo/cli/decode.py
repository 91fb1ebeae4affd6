"""`diffeo decode`: the images of latents."""

from pathlib import Path
from typing import TYPE_CHECKING

from diffeo.cli.commands import Decode
from diffeo.cli.compute import load_images, prepare
from diffeo.cli.console import Console, count
from diffeo.cli.errors import CommandError
from diffeo.cli.images import check_out_images, class_of, write_pictures

if TYPE_CHECKING:
    import numpy as np


def run(command: Decode, console: Console) -> None:
    """Writes the images of an array of latents."""
    check_out_images(command.out, overwrite=command.overwrite, sources=(command.latents,))
    latents = _read(command.latents)
    device = prepare(command, console)
    model, _ = load_images(command.model, device)
    given = class_of(model, command.given)
    pixels = model.decode(latents, given)
    # One image is written as it is, so that it is the image that was encoded.
    write_pictures(command.out, model, pixels, scale=1 if len(pixels) == 1 else None)
    console.say(
        f"{command.out}: {count(len(pixels), 'image')} of {'×'.join(map(str, model.shape))}"
    )
    console.result = {
        "out": str(command.out),
        "images": len(pixels),
        "device": device,
        "seed": command.seed,
    }


def _read(path: Path) -> "np.ndarray":
    """An array of numbers, (N, D), finite."""
    import numpy as np

    if path.suffix.lower() != ".npy" or not path.is_file():
        what = "is no .npy file" if path.is_file() else "no such file"
        raise CommandError(f"{path}: {what}; give the latents that diffeo encode wrote")
    try:
        latents = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
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
    return latents
