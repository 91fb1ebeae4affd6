"""`diffeo data`: public sets of images, listed, fetched and checked."""

import json
import os
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from shlex import quote
from typing import Any

from diffeo.cli.commands import Fetch
from diffeo.cli.console import Console
from diffeo.cli.errors import CommandError, Terminated, mistakes
from diffeo.cli.progress import EVERY
from diffeo.data.home import HOME
from diffeo.extras import require
from diffeo.quantities import counted


def run(command: Fetch, console: Console) -> None:
    """Lists the sets; or fetches one, or checks what is there of it, and says what that is."""
    if command.name is None:
        _list(command, console)
        return
    from diffeo.data.fetch import SUMS, place_of
    from diffeo.data.image_sets import find_set

    with mistakes():
        chosen = find_set(command.name)
    if command.check and command.force:
        raise CommandError("give --check or --force, not both")
    folder = _folder(command, command.name)
    with _kept(command, folder):
        fetched = (_check if command.check else _fetch)(command, command.name, folder, console)
        place = place_of(command.name, folder)
        parts = _parts(place)
    if any(file.members for file in chosen.files) and not (place / SUMS).exists():
        console.warn(f"{place}: only sizes could be compared: {SUMS}, the checksums, is not there")
    elif not fetched:
        console.note("all files are there, and their checksums are right")
    files = _files(command.name, place)
    _tell(command.name, place, parts, files, console)
    console.result = {
        "name": command.name,
        "folder": str(place),
        "fetched_bytes": fetched,
        "parts": parts,
        "files": files,
    }


def _list(command: Fetch, console: Console) -> None:
    from diffeo.data.image_sets import SETS

    if command.to is not None or command.check or command.force:
        raise CommandError(f"data: name the set; there are {', '.join(SETS)}")
    console.rows(
        [
            [name, f"{_mb(each.size):>5} MB", each.summary, each.licence, each.authors]
            for name, each in SETS.items()
        ],
        indent=0,
    )
    console.say()
    console.say("diffeo data NAME --to FOLDER fetches one.")
    console.result = {
        "sets": [
            {
                "name": name,
                "bytes": each.size,
                "summary": each.summary,
                "licence": each.licence,
                "reference": f"{each.authors}, {each.title}",
            }
            for name, each in SETS.items()
        ]
    }


def _folder(command: Fetch, name: str) -> Path:
    """Where the set is, or is to be."""
    if command.to is not None:
        return command.to
    if home := os.environ.get(HOME):
        return Path(home).expanduser() / name
    raise CommandError(
        f"data: say where, --to FOLDER; or set {HOME} to a folder, for {name} in it to be used"
    )


def _fetch(command: Fetch, name: str, folder: Path, console: Console) -> int:
    """Fetches what is missing; how many bytes that was."""
    from diffeo.data.fetch import fetch

    with _Progress(console, name, folder) as progress:
        fetch(name, folder, force=command.force, progress=progress)
    return progress.total


def _check(command: Fetch, name: str, folder: Path, console: Console) -> int:
    """Refuses files that are missing or wrong, all in one line; nothing is written."""
    from diffeo.data.fetch import check

    words = f"diffeo data {name}" + (f" --to {quote(str(folder))}" if command.to else "")
    if not folder.is_dir():
        what = "is a file, not a folder" if folder.exists() else "there is no such folder"
        raise CommandError(f"{folder}: {what}; {words} fetches the files")
    found: dict[str, list[str]] = {}
    for line in check(name, folder):
        file, _, problem = line.removeprefix(f"{folder}{os.sep}").partition(": ")
        found.setdefault(problem, []).append(file)
    if found:
        told = "; ".join(
            f"{', '.join(files)}: {problem if len(files) == 1 else re.sub('^is ', 'are ', problem)}"
            for problem, files in found.items()
        )
        raise CommandError(
            f"{folder}: {told}; {words} fetches what is missing, with --force also what is wrong"
        )
    return 0


@contextmanager
def _kept(command: Fetch, folder: Path) -> Iterator[None]:
    """A block in which files are fetched: when it is stopped, those that are whole stay."""
    try:
        yield
    except (KeyboardInterrupt, Terminated) as error:
        if not command.check and folder.is_dir() and any(folder.iterdir()):
            words = "what is whole stays there, and the same command fetches the rest"
            error.kept = f"{folder}: {words}"  # type: ignore[union-attr]
        raise


class _Progress:
    """Tells of the bytes that are fetched: a bar in a terminal; elsewhere a line now and then.

    Args:
        console: which says whether at all.
        name: of the set.
        folder: that it is fetched into.
    """

    def __init__(self, console: Console, name: str, folder: Path) -> None:
        self.console, self.name, self.folder = console, name, folder
        self.total = 0
        self.last = time.monotonic()
        self.bar: Any = None

    def __enter__(self) -> "_Progress":
        return self

    def __exit__(self, *error: object) -> None:
        if self.bar is not None:
            self.bar.close()

    def __call__(self, done: int, total: int) -> None:
        if not self.total:
            self.total = total
            self.console.note(f"{self.name}: {_mb(total)} MB to fetch into {self.folder}")
            if not self.console.quiet and sys.stderr.isatty():
                self.bar = require("tqdm", "diffeo data").tqdm(
                    total=total, desc=self.name, unit="B", unit_scale=True, leave=False
                )
        if self.bar is not None:
            self.bar.update(done - self.bar.n)
        elif (now := time.monotonic()) - self.last >= EVERY:
            self.last = now
            self.console.note(f"{self.name}: {_mb(done)} of {_mb(total)} MB")


def _parts(place: Path) -> dict[str, dict[str, Any]]:
    """What the parts that there are hold."""
    from diffeo.data.errors import NoPart
    from diffeo.data.image_pieces import PARTS
    from diffeo.data.images import read_images

    parts = {}
    for part in PARTS:
        with suppress(NoPart):
            images = read_images(place, part=part)
            parts[part] = {
                "images": len(images.pixels),
                "shape": list(images.pixels.shape[1:]),
                "classes": len(images.classes),
            }
    return parts


def _files(name: str, place: Path) -> list[str]:
    """The files of the set that are there, those with checksums too."""
    from diffeo.data.digits import digit_files
    from diffeo.data.fetch import SUMS
    from diffeo.data.image_sets import find_set

    names = []
    for remote in find_set(name).files:
        inside = [Path(member).name for member in remote.members]
        names += [*inside, SUMS] if inside else [remote.name, Path(remote.name).stem]
    return [each for each in names or digit_files() if (place / each).exists()]


def _tell(
    name: str,
    place: Path,
    parts: dict[str, dict[str, Any]],
    files: list[str],
    console: Console,
) -> None:
    console.say(f"{name} is in {place}:")
    console.rows(
        [
            [
                part,
                counted(told["images"], "image"),
                f"{'×'.join(map(str, told['shape']))}, {told['classes']} classes",
            ]
            for part, told in parts.items()
        ]
    )
    console.rows([["files", ", ".join(files)]])
    console.say("in Python:")
    console.say("  from diffeo.data import read_images")
    where = json.dumps(str(place), ensure_ascii=False)
    console.say(f'  images = read_images({where}, part="train")  # images.pixels, images.labels')


def _mb(size: int) -> str:
    return f"{size / 1e6:.1f}"
