"""`diffeo encode`: the latents of images."""

from diffeo.cli.commands import Encode
from diffeo.cli.compute import load_images, prepare
from diffeo.cli.console import Console, count
from diffeo.cli.errors import CommandError
from diffeo.cli.files import check_out_file
from diffeo.cli.images import class_of, read_for


def run(command: Encode, console: Console) -> None:
    """Writes an array of latents, a row for each image."""
    if command.out.suffix.lower() != ".npy":
        raise CommandError(f"--out {command.out}: latents are written as .npy")
    check_out_file(command.out, overwrite=command.overwrite, source=command.data)
    device = prepare(command, console)
    model, config = load_images(command.model, device)
    given = class_of(model, command.given, required=False)
    images = read_for(model, config, command.data, console, part=command.part, given=given)
    if images.labels is None:
        class_of(model, command.given)
    latents = model.encode(images)
    from diffeo.data.images import write_array

    write_array(command.out, latents)
    console.say(
        f"{command.out}: latents of {count(len(latents), 'image')}, {latents.shape[1]:,} numbers "
        "each"
    )
    console.result = {
        "out": str(command.out),
        "images": len(latents),
        "features": latents.shape[1],
        "device": device,
        "seed": command.seed,
    }
