"""`diffeo interpolate`: the surface of images that goes through four."""

import dataclasses

from diffeo.cli.commands import Interpolate
from diffeo.cli.compute import load_images, prepare
from diffeo.cli.console import Console
from diffeo.cli.errors import CommandError
from diffeo.cli.images import class_of, read_for
from diffeo.cli.pictures import check_grid, check_out_images, write_pictures


def run(command: Interpolate, console: Console) -> None:
    """Writes a grid of images whose latents mix those of four."""
    if command.ticks < 1:
        raise CommandError(f"--ticks must be at least 1, got {command.ticks}")
    check_out_images(command.out, overwrite=command.overwrite, sources=command.images)
    device = prepare(command, console)
    model, config = load_images(command.model, device)
    check_grid(command.out, model, command.ticks**2, columns=command.ticks)
    given = class_of(model, command.given)
    import numpy as np

    four = [read_for(model, config, path, console, given=given) for path in command.images]
    for path, images in zip(command.images, four, strict=True):
        if len(images.pixels) != 1:
            raise CommandError(f"{path}: holds {len(images.pixels)} images; name four pictures")
    together = dataclasses.replace(
        four[0],
        pixels=np.concatenate([images.pixels for images in four]),
        names=tuple(images.names[0] for images in four),
        labels=None if four[0].labels is None else np.zeros(4, np.int64),
    )
    surface = model.interpolate(together, command.ticks, given)
    pixels = surface.reshape(-1, *model.shape)
    write_pictures(command.out, model, pixels, console, columns=command.ticks)
    console.say(f"{command.out}: {command.ticks}×{command.ticks} images between the four")
    console.result = {
        "out": str(command.out),
        "ticks": command.ticks,
        "device": device,
        "seed": command.seed,
    }
