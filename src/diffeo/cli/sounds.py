"""Sounds that commands read and write: which data are sounds, who speaks, and where they go."""

import os
import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path, PureWindowsPath
from typing import TYPE_CHECKING, Any

from diffeo.cli.console import Console
from diffeo.cli.errors import CommandError, mistakes
from diffeo.cli.files import check_data, check_place, staged
from diffeo.cli.images import PICTURES, Counted, holds_pictures, in_part

if TYPE_CHECKING:
    from diffeo.data.sounds import Sounds
    from diffeo.sound_model import SoundModel

WRITTEN = (".wav", ".flac")
"""What the names of sounds end with that can be read and written."""
HEARD = (*WRITTEN, ".mp3", ".ogg", ".opus", ".m4a", ".aac", ".aif", ".aiff", ".wma", ".au", ".sph")
"""And of those that reading refuses, with what to do."""


def holds_sounds(path: Path) -> bool:
    """Whether what is there is sounds; never raises.

    They are a file of sound, an archive with one, a folder of some and no pictures, or one that
    holds such an archive and no other data, or the arrays of a public set.
    """
    from diffeo.data.sound_archives import has_sounds, is_archive
    from diffeo.data.sound_sets import is_digit_arrays

    if not path.is_dir():
        return path.name.lower().endswith(HEARD) or (is_archive(path.name) and has_sounds(path))
    found, packed = False, list[Path]()
    for folder, _, names in os.walk(path, followlinks=True):
        for name in names:
            if name.lower().endswith(PICTURES):
                return False
            found = found or name.lower().endswith(HEARD)
            packed += [Path(folder, name)] if is_archive(name) else []
    if found or is_digit_arrays(path):
        return True
    return len(packed) == 1 and not holds_pictures(path) and has_sounds(packed[0])


def read(
    path: Path,
    console: Console,
    *,
    rate: int | None = None,
    speakers: str | None = None,
    part: str | None = None,
    prefer: str | None = None,
) -> "Sounds":
    """The sounds of a file, an archive or a folder; what was converted is told.

    Args:
        path: of the file, archive or folder.
        console: to tell on.
        rate: samples a second, to which they are brought; None for the files' own.
        speakers: how names tell who speaks, as in `read_sounds`.
        part: of the data, as there.
        prefer: "val" or "test", as in `diffeo.cli.images.read`.

    Raises:
        CommandError: if there is only the part train, or it is a trained model's folder.
        DataError: as `read_sounds`.
    """
    from diffeo.data.sounds import read_sounds

    check_data(path)
    told = Counted(path, console, "sound")
    reader = partial(read_sounds, path, rate=rate, speakers=speakers, progress=told)
    sounds = in_part(reader, path, part, prefer)
    for note in sounds.notes:
        console.note(f"{path}: {note}")
    return sounds


def read_for(
    model: "SoundModel",
    config: dict[str, Any],
    path: Path,
    console: Console,
    *,
    part: str | None = None,
    prefer: str | None = None,
    given: str | None = None,
) -> "Sounds":
    """Sounds as the model was trained on them: of its rate, speakers named alike.

    Args:
        model: the model.
        config: of its folder.
        path: of the sounds.
        console: to tell on.
        part: which part to read.
        prefer: as in `read`.
        given: who speaks in all of them; None for what folders or names say.

    Raises:
        CommandError: as `read`; if the model is conditioned on speakers, and it is not known who
            speaks.
        DataError: as `read_sounds`.
    """
    from diffeo.data.errors import DataError
    from diffeo.data.sounds import Sounds

    pattern = ((config.get("training") or {}).get("sounds") or {}).get("speakers")
    wanted = bool(model.speakers) and given is None
    how: dict[str, Any] = {"rate": model.rate, "part": part, "prefer": prefer}
    try:
        sounds = read(path, console, speakers=pattern if wanted else None, **how)
    except DataError as error:
        if "finds no speaker" not in str(error):
            raise
        known = ", ".join(model.speakers)
        raise CommandError(f"{error}, or write --given speaker=NAME, one of {known}") from None
    if wanted and sounds.speakers is None:
        raise CommandError(
            f"{path}: does not tell who speaks, and the model is conditioned on that; write "
            f"--given speaker=NAME, one of {', '.join(model.speakers)}, or put the sounds in a "
            "folder for each speaker"
        )
    if given is None:
        return sounds
    return Sounds(sounds.clips, sounds.rate, sounds.names, [given] * len(sounds), sounds.notes)


def speaker_of(model: "SoundModel", given: tuple[str, ...], *, required: bool = True) -> str | None:
    """The speaker of --given speaker=NAME; None where none is given.

    Args:
        model: the model.
        given: what was given.
        required: whether a model of speakers needs one.

    Raises:
        CommandError: if it is missing or says something else, or the model knows no speakers, or
            not this one.
    """
    known = ", ".join(model.speakers)
    if not given:
        if model.speakers and required:
            raise CommandError(
                f"the model is conditioned on a speaker; write --given speaker=NAME, one of {known}"
            )
        return None
    if not model.speakers:
        raise CommandError(
            "the model is not conditioned on speakers, so --given has no meaning; train with "
            "--context speaker"
        )
    key, sign, name = given[0].partition("=")
    if len(given) > 1 or key.strip() != "speaker" or not sign:
        raise CommandError(
            f"--given {' '.join(given)}: of sounds write --given speaker=NAME, once; the speakers "
            f"are {known}"
        )
    if name.strip() not in model.speakers:
        raise CommandError(
            f"--given speaker={name}: the model was not trained on that speaker; it knows {known}"
        )
    return name.strip()


def samples_of(text: str, rate: int, flag: str = "--segment") -> int:
    """A length in samples, of 8000, 0.5s or 250ms.

    Raises:
        CommandError: if it is none, or less than a sample.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(s|ms)?", text.strip())
    if found:
        value = float(found[1])
        factor = {"s": float(rate), "ms": rate / 1000, None: 1.0}[found[2]]
        whole = found[2] is not None or value.is_integer()
        if whole and (samples := round(value * factor)) >= 1:
            return samples
    raise CommandError(
        f"{flag}: {text!r} is no length; write samples, as 8000, or a time, as 0.5s or 250ms"
    )


def check_out_sounds(
    path: Path, *, many: bool, overwrite: bool, source: Path | None = None
) -> None:
    """Refuses a place where sounds could not be written later.

    Args:
        path: a file (.wav, .flac), or, of several sounds, a new folder.
        many: whether there are several.
        overwrite: whether a file that is there may be replaced.
        source: what is read; of an archive there are several.

    Raises:
        CommandError: if it exists (without `overwrite`), is the source, has another ending, or its
            folder does not exist.
    """
    from diffeo.data.sound_archives import is_archive
    from diffeo.extras import require

    require("soundfile", "writing sounds", "audio")
    suffix = path.suffix.lower()
    if not (many or (source is not None and is_archive(source.name))):
        if not path.is_dir() and suffix not in WRITTEN:
            raise CommandError(f"--out {path}: sounds are written as .wav or .flac")
        check_place(path, overwrite=overwrite, source=source)
        return
    if suffix in WRITTEN or (path.exists() and not path.is_dir()):
        raise CommandError(f"--out {path}: several sounds go into a new folder; name one")
    if path.is_dir() and any(path.iterdir()):
        raise CommandError(f"--out {path}: the folder is not empty; name a new one")
    if not path.absolute().parent.is_dir():
        raise CommandError(f"--out {path}: there is no folder {path.parent}; make it first")


def write(path: Path, sounds: "Sounds", names: Sequence[str] | None = None) -> None:
    """Writes sounds where `check_out_sounds` found a place, of 16 bits.

    Args:
        path: of the file, or of the folder.
        sounds: to write; one for a file.
        names: of the files in a folder, with or without an ending; 1, 2, … if None.

    Raises:
        CommandError: if a name leads out of the folder, or none of a file can be so.
        DataError: as `write_sound`.
    """
    from diffeo.data.sound_files import write_sound

    with mistakes():
        if path.suffix.lower() in WRITTEN:
            write_sound(path, sounds.clips[0], sounds.rate)
            return
        width = len(str(len(sounds)))
        names = names or [f"{i + 1:0{width}}.wav" for i in range(len(sounds))]
        for name in names:
            _check_inside(path, name)
        with staged(path) as folder:
            for name, clip in zip(names, sounds.clips, strict=True):
                file = folder / name
                if file.suffix.lower() not in WRITTEN:
                    file = file.with_name(file.name + ".wav")
                file.parent.mkdir(parents=True, exist_ok=True)
                write_sound(file, clip, sounds.rate)


def _check_inside(folder: Path, name: str) -> None:
    """Refuses a name that leads out of the folder here or on Windows, which knows more ways."""
    parts = PureWindowsPath(name).parts
    drives = any(re.match("[A-Za-z]:", part) for part in parts)
    if not parts or name[0] in "/\\" or ".." in parts or drives or "\0" in name:
        raise CommandError(
            f"--out {folder}: {name!r} would not be a file in the folder; rename that sound"
        )
