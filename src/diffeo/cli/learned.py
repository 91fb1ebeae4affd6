"""Which sounds a model was trained on, by what its folder records, and which it held out."""

import json
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from diffeo.cli.errors import CommandError
from diffeo.cli.images import in_part
from diffeo.cli.split import split_sounds, unchanged


def files_of(data: Path, part: str | None = None, prefer: str | None = None) -> dict[str, Path]:
    """The files of sounds by the names that `read` gives these, in that order, behind all links.

    What is in an archive has a path as if the archive were a folder.

    Args:
        data: a folder, file or archive.
        part: of the data, as in `diffeo.cli.sounds.read`.
        prefer: as there.

    Raises:
        DataError: if there are no sounds.
        CommandError: if there is only the part train.
    """
    from diffeo.data.sound_sources import find_sounds

    found = in_part(partial(find_sounds, data), data, part, prefer)
    place = found.place.resolve()
    if place.is_dir():
        return {found.prefix + name: (place / name).resolve() for name in found.names}
    return {name: place / name for name in (found.prefix + name for name in found.names)}


def trained_on(folder: Path, files: Sequence[Path]) -> tuple[set[Path], bool]:
    """Those of the files (`files_of`) that a model was trained on, and whether that is known.

    So were students of it: they know what their teachers do. What training held out counts as not
    trained on where it is found again by the seed. It is not known where settings.json is missing
    or the sounds of training have moved or changed; what lies in their place then counts as all of
    them.

    Args:
        folder: of the model.
        files: of the sounds.
    """
    folders = [folder]
    while (teacher := _teacher_of(folders[-1])) is not None and teacher not in folders:
        folders.append(teacher)
    seen: set[Path] = set()
    known = True
    for i, each in enumerate(folders):
        recorded = (course := settings_of(each)).get("data")
        if not isinstance(recorded, dict):
            known = known and recorded is None and i + 1 < len(folders)  # a student needs no data
            continue
        same = unchanged(recorded) is not None
        try:
            learned = _learned(course, same)
        except (ValueError, OSError, CommandError):  # sounds that are no longer there
            learned, same = set(), False
        seen |= learned & set(files)
        known = known and same
    return seen, known


def _learned(course: dict[str, Any], same: bool) -> set[Path]:
    """The files that training learned from; with those it held out where these are not known."""
    import numpy as np

    from diffeo.data.sounds import Sounds

    data, part = Path(course["data"]["path"]), course.get("part")
    files = list(files_of(data, part).values())
    apart = course.get("validation") is not None or (part is None and part_val(data))
    if not same or apart or len(files) < 2:
        return set(files)
    # What is held out goes by the number of clips alone; a sample of silence stands for each.
    silent = Sounds([np.zeros(1)] * len(files), 1)
    return {files[int(name)] for name in split_sounds(silent, course["seed"])[0].names}


def part_val(data: Path) -> dict[str, Path]:
    """The files of the part val, as `files_of` gives them; none where there is no such part."""
    from diffeo.data.errors import NoPart

    with suppress(NoPart):
        return files_of(data, "val")
    return {}


def _teacher_of(folder: Path) -> Path | None:
    """The folder of the model that one was distilled from; None of others."""
    teacher = (_read(folder / "config.json").get("training") or {}).get("distilled_from")
    return Path(teacher) if isinstance(teacher, str) else None


def settings_of(folder: Path) -> dict[str, Any]:
    """What the training was told; nothing where that is not recorded."""
    return _read(folder / "settings.json")


def _read(file: Path) -> dict[str, Any]:
    """What is in a file of JSON; nothing where it can't be read."""
    try:
        return dict(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return {}
