"""`diffeo sample` of a model of sounds."""

from pathlib import Path
from typing import TYPE_CHECKING

from diffeo.cli.commands import Sample, Vocode
from diffeo.cli.console import Console
from diffeo.cli.errors import CommandError, mistakes
from diffeo.cli.progress import drawing
from diffeo.cli.sounds import check_out_sounds, speaker_of, write
from diffeo.quantities import counted, duration

if TYPE_CHECKING:
    import numpy as np

    from diffeo.sound_model import SoundModel


def draw_sounds(
    command: Sample, console: Console, model: "SoundModel", n: int, seed: int, device: str
) -> str:
    """Draws sounds and writes them; the device on which they were drawn."""
    from diffeo.cli.sample import again

    if command.out is None:
        raise CommandError("sample: sounds need --out: a file (.wav, .flac), or a new folder")
    if n == 0:
        raise CommandError("-n must be 1 or more for sounds, got 0")
    if command.seconds is not None and not 0 < command.seconds < float("inf"):
        raise CommandError(f"--seconds must be positive, got {command.seconds:g}")
    given = speaker_of(model, command.given)
    mel = None
    if command.context_file is not None:
        if model.mel is None:
            raise CommandError(
                f"{command.model}: is not conditioned on a mel spectrogram, so --context-file has "
                "no meaning; train with --context mel"
            )
        mel = _read_mel(command.context_file)
    elif model.mel is not None:
        raise CommandError(
            f"{command.model}: is conditioned on a mel spectrogram; take that of a sound with "
            f"diffeo vocode {command.model} IN.wav --out OUT.wav, or give one with --context-file "
            "MEL.npy"
        )
    check_out_sounds(
        command.out, many=n > 1, overwrite=command.overwrite, source=command.context_file
    )
    device = quick_device(command, console, model, device)
    with mistakes(), drawing(console, "samples drawn") as progress:
        sounds = model.sample(
            n,
            given,
            seconds=command.seconds,
            mel=mel,
            temperature=command.temperature,
            seed=seed,
            progress=progress,
        )
    write(command.out, sounds)
    told = f"{counted(n, 'sound')} of {duration(sounds.lengths[0] / sounds.rate)}"
    console.say(f"{command.out}: {told} at {sounds.rate:,} Hz{again(command.seed, seed)}")
    warn_if_silent(console, command.out, sounds.clips)
    console.result = {
        "out": str(command.out),
        "sounds": n,
        "samples": sounds.lengths[0],
        "rate": sounds.rate,
        "speaker": given,
    }
    return device


def quick_device(
    command: Sample | Vocode, console: Console, model: "SoundModel", device: str
) -> str:
    """Puts a model that goes sample by sample on the CPU, unless a device was asked for.

    Each sample is a few small operations: starting them takes a GPU longer than a CPU makes them.
    """
    from diffeo.steps import sequential

    if device == "cpu" or command.device != "auto" or sequential(model.density) is None:
        return device
    model.density.to("cpu")
    console.note("drawn on the CPU, which is quicker sample by sample (--device says otherwise)")
    return "cpu"


def warn_if_silent(console: Console, path: Path, clips: "tuple[np.ndarray, ...] | list") -> None:
    """Says so where there is nothing to hear."""
    if not any(bool(clip.any()) for clip in clips):
        console.warn(f"{path}: is silence, zeros throughout")


def _read_mel(path: Path) -> "np.ndarray":
    import numpy as np

    if path.suffix.lower() != ".npy" or not path.is_file():
        what = "is no .npy file" if path.exists() else "no such file"
        raise CommandError(f"{path}: {what}; give a mel spectrogram (n_mels, frames)")
    try:
        mel = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise CommandError(f"{path}: can't be read as an array ({error})") from None
    if mel.dtype.kind != "f" or not np.isfinite(mel).all():
        raise CommandError(f"{path}: a mel spectrogram holds real numbers that are finite")
    return mel
