"""`diffeo decode`: the images of latents."""

from diffeo.cli.commands import Decode
from diffeo.cli.compute import load_images, prepare
from diffeo.cli.console import Console
from diffeo.cli.errors import CommandError
from diffeo.cli.images import class_of
from diffeo.cli.latents import read_latents
from diffeo.cli.pictures import check_grid, check_out_images, write_pictures
from diffeo.quantities import counted


def run(command: Decode, console: Console) -> None:
    """Writes the images of an array of latents."""
    check_out_images(command.out, overwrite=command.overwrite, sources=(command.latents,))
    latents, classes = read_latents(command.latents)
    device = prepare(command, console)
    model, _ = load_images(command.model, device)
    given = class_of(model, command.given, required=classes is None)
    if classes is not None and not model.classes:
        raise CommandError(
            f"{command.latents}: holds classes, and the model is not conditioned on any; these are "
            "latents of another model"
        )
    # One image is written as it is, so that it is the image that was encoded.
    scale = 1 if len(latents) == 1 else None
    check_grid(command.out, model, len(latents), scale=scale)
    pixels = model.decode(latents, classes if given is None else given)
    write_pictures(command.out, model, pixels, console, scale=scale)
    console.say(
        f"{command.out}: {counted(len(pixels), 'image')} of {'×'.join(map(str, model.shape))}"
    )
    console.result = {
        "out": str(command.out),
        "images": len(pixels),
        "device": device,
        "seed": command.seed,
    }
