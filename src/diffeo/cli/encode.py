"""`diffeo encode`: the latents of images."""

from diffeo.cli.commands import Encode
from diffeo.cli.compute import load_images, prepare
from diffeo.cli.console import Console
from diffeo.cli.errors import CommandError
from diffeo.cli.files import check_place
from diffeo.cli.images import class_of, read_for
from diffeo.cli.latents import check_form, write_latents
from diffeo.quantities import counted


def run(command: Encode, console: Console) -> None:
    """Writes an array of latents, a row for each image, and their classes where there are some."""
    if command.out.suffix.lower() not in (".npy", ".npz"):
        raise CommandError(
            f"--out {command.out}: latents are written as .npy, or with their classes as .npz"
        )
    check_place(command.out, overwrite=command.overwrite, source=command.data)
    device = prepare(command, console)
    model, config = load_images(command.model, device)
    given = class_of(model, command.given, required=False)
    check_form(command.out, model, given)
    images = read_for(model, config, command.data, console, part=command.part, given=given)
    latents = model.encode(images)
    labels = () if images.labels is None else images.labels
    write_latents(command.out, latents, [images.classes[label] for label in labels])
    console.say(
        f"{command.out}: latents of {counted(len(latents), 'image')}, {latents.shape[1]:,} numbers "
        "each"
    )
    console.result = {
        "out": str(command.out),
        "images": len(latents),
        "features": latents.shape[1],
        "device": device,
        "seed": command.seed,
    }
