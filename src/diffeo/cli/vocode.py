"""`diffeo vocode`: sounds made anew from their mel spectrograms."""

import secrets

from diffeo.cli.commands import Vocode
from diffeo.cli.compute import load_sounds, prepare
from diffeo.cli.console import Console
from diffeo.cli.errors import CommandError, mistakes
from diffeo.cli.progress import drawing
from diffeo.cli.sample import again, check_temperature
from diffeo.cli.sample_sounds import quick_device, warn_if_silent
from diffeo.cli.sounds import check_out_sounds, read_for, speaker_of, write
from diffeo.quantities import counted, duration


def run(command: Vocode, console: Console) -> None:
    """Takes the mel spectrogram of each sound and draws a sound that has it."""
    from diffeo.data.sound_archives import is_archive

    check_temperature(command.temperature)
    many = command.data.is_dir() or is_archive(command.data.name)
    check_out_sounds(command.out, many=many, overwrite=command.overwrite, source=command.data)
    device = prepare(command, console)
    model, config = load_sounds(command.model, device)
    if model.mel is None:
        raise CommandError(
            f"{command.model}: is not conditioned on a mel spectrogram, so there is nothing to "
            "vocode; train a model with --context mel"
        )
    given = speaker_of(model, command.given, required=False)
    sounds = read_for(model, config, command.data, console, part=command.part, given=given)
    seed = secrets.randbits(31) if command.seed is None else command.seed
    device = quick_device(command, console, model, device)
    with mistakes(), drawing(console, "samples made") as progress:
        made = model.vocode(sounds, temperature=command.temperature, seed=seed, progress=progress)
    write(command.out, made, made.names if many else None)
    told = f"{counted(len(made), 'sound')}, {duration(made.seconds)}"
    console.say(f"{command.out}: {told} at {made.rate:,} Hz{again(command.seed, seed)}")
    warn_if_silent(console, command.out, made.clips)  # type: ignore[arg-type]
    console.result = {
        "out": str(command.out),
        "sounds": len(made),
        "seconds": made.seconds,
        "rate": made.rate,
        "speaker": given,
        "temperature": command.temperature,
        "device": device,
        "seed": seed,
    }
