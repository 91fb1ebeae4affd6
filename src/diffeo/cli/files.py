"""Files and folders that commands write: checked before the work, put in place whole after it."""

import contextlib
import glob
import json
import shutil
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from diffeo.cli.errors import CommandError

RESULTS = (
    "reference.safetensors",
    "history.csv",
    "settings.json",
    "curve.png",
    "samples.png",
    "samples.wav",
    "pairs.png",
    "waveforms.png",
    "report.html",
    "report-*.png",
)
"""What commands write into a model's folder beside the model: of another model it says nothing."""


def check_out_file(path: Path, *, overwrite: bool, source: Path | None = None) -> None:
    """Refuses a table that could not be written later, or would replace what it is made from.

    Args:
        path: the table to write.
        overwrite: whether one that is there may be replaced.
        source: a table that is read.

    Raises:
        CommandError: if it exists (without `overwrite`) or is the source, is a folder, or its
            folder does not exist.
        DataError: if its name ends in no known kind.
    """
    from diffeo.data.tables import suffix_of

    if not path.is_dir():
        suffix_of(path)
    check_place(path, overwrite=overwrite, source=source)


def check_place(path: Path, *, overwrite: bool, source: Path | None = None) -> None:
    """Refuses a place where no file of any kind could be written later, as `check_out_file`."""
    if path.is_dir():
        raise CommandError(f"--out {path}: is a folder; give the name of a file")
    if source is not None and path.exists() and source.exists() and path.samefile(source):
        raise CommandError(f"--out {path}: is the file that is read; give another name")
    if path.exists() and not overwrite:
        raise CommandError(f"--out {path}: exists; give another name, or --overwrite")
    if not path.absolute().parent.is_dir():
        raise CommandError(f"--out {path}: there is no folder {path.parent}; make it first")
    try:
        tempfile.TemporaryFile(dir=path.absolute().parent).close()  # better now than after the work
    except OSError as error:
        raise CommandError(f"--out {path}: can't be written ({error.strerror})") from None


def check_out_folder(path: Path, *, overwrite: bool, mark: str = "config.json") -> None:
    """Refuses a folder that could not be filled later.

    Args:
        path: the folder.
        overwrite: whether results that are there may be replaced.
        mark: the file by which a folder is known as one that this command made.

    Raises:
        CommandError: if it is a file, holds something else than earlier results, or holds those
            and `overwrite` is not set.
    """
    if path.exists() and not path.is_dir():
        raise CommandError(f"--out {path}: is a file; give a folder")
    if not path.is_dir() or not any(path.iterdir()):
        return
    if not _is_config(path / mark):
        raise CommandError(
            f"--out {path}: exists and was not made by this command; give a new folder"
        )
    if not overwrite:
        raise CommandError(f"--out {path}: exists; give another folder, or --overwrite")


@contextmanager
def staged(out: Path, *, last: Sequence[str] = ()) -> Iterator[Path]:
    """A folder to fill, which becomes `out` when the block ends, and vanishes if it fails.

    It stands beside `out`, so that the last step is a rename. Where `out` is a folder that holds
    something, its files are replaced one by one and others stay; but where a model is replaced,
    what was written of the one before (`RESULTS`) goes.

    Args:
        out: the folder; made with its parents.
        last: names of files to replace last, those that make the folder valid.
    """
    named, out = out, out.absolute()
    made = [each for each in out.parents if not each.exists()]
    beside = out.parent / f".{out.name}.{uuid.uuid4().hex[:8]}.partial"
    done = False
    try:
        try:
            beside.mkdir(parents=True)
        except OSError as error:
            raise CommandError(f"--out {named}: can't be made ({error.strerror})") from None
        yield beside
        if out.is_dir() and any(out.iterdir()):
            _replace_into(beside, out, last)
        else:
            if out.is_dir():
                out.rmdir()  # empty: not every system renames onto a folder
            beside.rename(out)
        done = True
    finally:
        shutil.rmtree(beside, ignore_errors=True)
        for folder in () if done else made:
            with contextlib.suppress(OSError):  # it was never made, or holds something by now
                folder.rmdir()


def check_data(path: Path) -> None:
    """Refuses a folder that training wrote where data are wanted: its pictures would be read.

    Raises:
        CommandError: if it is one.
    """
    if _is_config(path / "config.json") or (path / "unfinished" / "settings.json").exists():
        raise CommandError(
            f"{path}: is a folder that diffeo train wrote, not data; name a table, or images"
        )


def _is_config(path: Path) -> bool:
    """Whether a file is the configuration of a model, and not another program's."""
    try:
        return "format" in json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError):
        return False


def remove_partial(out: Path) -> None:
    """Removes what `staged` left of a folder when its process was killed."""
    out = out.absolute()
    mark = "[0-9a-f]" * 8
    for beside in out.parent.glob(f".{glob.escape(out.name)}.{mark}.partial"):
        shutil.rmtree(beside, ignore_errors=True)


def _replace_into(source: Path, target: Path, last: Sequence[str]) -> None:
    paths = [path for path in source.rglob("*") if path.is_file()]
    if (source / "config.json").exists() and _is_config(target / "config.json"):
        for path in [path for pattern in RESULTS for path in target.glob(pattern)]:
            if path.is_file() and not (source / path.name).exists():
                path.unlink()
    for path in sorted(paths, key=lambda path: (path.name in last, str(path))):
        place = target / path.relative_to(source)
        place.parent.mkdir(parents=True, exist_ok=True)
        path.replace(place)
