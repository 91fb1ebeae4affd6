"""Public sets of images, fetched as their authors publish them, and checked."""

import gzip
import hashlib
import http.client
import os
import shutil
import tarfile
import urllib.request
import uuid
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from diffeo.data.digits import digit_files, wrong_digit_files
from diffeo.data.errors import DataError
from diffeo.data.image_sets import SETS, Remote, find_set
from diffeo.data.images import write_array
from diffeo.data.messages import listed, shown
from diffeo.data.text import one_line

SUMS = "MD5SUMS"
"""The file with the checksums of what was unpacked; `md5sum -c MD5SUMS` reads it too."""

Progress = Callable[[int, int], None]
"""Is told how many bytes are fetched, and of how many."""

_AT_ONCE = 2**20


def fetch(
    name: str,
    to: str | os.PathLike[str],
    *,
    force: bool = False,
    progress: Progress | None = None,
    timeout: float = 30.0,
) -> Path:
    """Fetches a public set of images into a folder, unless it is there.

    Every file is checked by its published checksum before it gets its name, and what is there is
    checked too and kept. Without a net, files fetched by hand can be put into the folder: also the
    archive of CIFAR-10, which is then unpacked from there.

    Args:
        name: "mnist", "fashion-mnist" or "cifar10"; or "digits", which scikit-learn ships.
        to: the folder; it is made if it does not exist.
        force: replaces files that are there and wrong.
        progress: is told of the bytes, if there is anything to fetch.
        timeout: seconds to wait for an answer, or for more bytes.

    Returns:
        The folder for `read_images`.

    Raises:
        ValueError: if there is no such set of data.
        DataError: if a file can't be fetched or written, or one that is there is wrong.
    """
    remotes, folder = find_set(name).files, Path(to)
    if not remotes:
        _write_digits(folder, force)
        return folder
    found = [(remote, _problems(remote, folder)) for remote in remotes]
    bad = [line for _, wrong in found for line, there in wrong if there]
    if bad and not force:
        raise DataError(
            f"{bad[0]}{f' (and {len(bad) - 1} more)' if len(bad) > 1 else ''}; remove what is "
            "wrong, or fetch again with --force to replace it"
        )
    missing = [remote for remote, wrong in found if wrong]
    if missing:
        with _folder(folder):
            done, total = 0, sum(remote.size for remote in missing)
            for remote in missing:
                start = done

                def tell(got: int, start: int = start) -> None:
                    if progress is not None:
                        progress(min(start + got, total), total)

                _get(name, remote, folder, force, tell, timeout)
                done += remote.size
    return place_of(name, folder)


def check(name: str, folder: str | os.PathLike[str]) -> list[str]:
    """What is wrong with a set of data in a folder: a line for each file that is missing or other.

    Of CIFAR-10, whose archive alone has a published checksum, the unpacked files are compared with
    the checksums that `fetch` noted (`MD5SUMS`); without that file only their sizes are.

    Raises:
        ValueError: if there is no such set of data.
        DataError: if a file can't be read.
    """
    files = find_set(name).files
    if not files:
        wrong = wrong_digit_files(Path(folder))
        return [f"{Path(folder) / file}: {problem}" for file, problem in wrong.items()]
    return [line for remote in files for line, _ in _problems(remote, Path(folder))]


def place_of(name: str, folder: str | os.PathLike[str]) -> Path:
    """The folder for `read_images` of a set of data that is fetched to a folder.

    Raises:
        ValueError: if there is no such set of data.
    """
    members = [member for remote in find_set(name).files for member in remote.members]
    return _place(Path(folder), members[0]).parent if members else Path(folder)


def _write_digits(folder: Path, force: bool) -> None:
    wrong = wrong_digit_files(folder)
    other = [name for name, problem in wrong.items() if problem != "is missing"]
    if other and not force:
        raise DataError(
            f"{folder / other[0]}: holds something else; remove it, or write it again with --force"
        )
    if wrong:
        with _folder(folder):
            for name in wrong:
                write_array(folder / name, digit_files()[name])


def _problems(remote: Remote, folder: Path) -> list[tuple[str, bool]]:
    """What is wrong with a file, or those unpacked from it, and whether they are there at all."""
    if remote.members:
        return _problems_of_members(remote, folder)
    packed = folder / remote.name
    files = [packed, *([packed.with_suffix("")] if remote.unpacked else [])]
    there = [path for path in files if _exists(path)]
    if not there:
        return [(f"{packed}: is missing", False)]
    # Also of two of which one is right: the other could be read.
    return [(line, True) for path in there if (line := _wrong(remote, path)) is not None]


def _wrong(remote: Remote, path: Path) -> str | None:
    """What is wrong with a file; nothing if it, or what it holds, is as published."""
    packed = path.name == remote.name
    expected = remote.md5 if packed else remote.unpacked
    with _reading(path):
        found = _md5(path)
        if found == expected:
            return None
        inside = _md5_of_packed(path) if packed else found
    if inside is not None and inside == remote.unpacked:
        return None
    for name, other in SETS.items():
        for file in other.files:
            if inside is not None and inside == file.unpacked:
                return f"{path}: is of {name} (every set of data needs a folder of its own)"
    return f"{path}: has the md5 checksum {found}, expected {expected}"


def _problems_of_members(remote: Remote, folder: Path) -> list[tuple[str, bool]]:
    lines = []
    sums: dict[str, dict[str, str]] = {}
    for member, size in remote.members.items():
        path = _place(folder, member)
        if not _exists(path):
            lines.append((f"{path}: is missing", False))
            continue
        with _reading(path):
            noted = sums.setdefault(str(path.parent), _noted(path.parent)).get(path.name)
            found = path.stat().st_size
            if size is not None and found != size:
                lines.append((f"{path}: has {found:,} bytes, expected {size:,}", True))
            elif noted is not None and (md5 := _md5(path)) != noted:
                line = f"{path}: has the md5 checksum {md5}, expected {noted} ({SUMS})"
                lines.append((line, True))
    return lines


def _place(folder: Path, member: str) -> Path:
    """Where a member is: the folder can be the one that was fetched to, or the one inside."""
    inside, _, name = member.rpartition("/")
    return folder / name if folder.name == inside else folder / member


def _noted(folder: Path) -> dict[str, str]:
    """The checksums in a folder, by the names of files."""
    path = folder / SUMS
    if not path.exists():
        return {}
    lines = [line.split(maxsplit=1) for line in path.read_text("utf-8", "replace").splitlines()]
    return {line[1].strip(): line[0] for line in lines if len(line) == 2}


def _exists(path: Path) -> bool:
    with _reading(path):
        return path.exists()


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DataError(f"{path}: can't be read: {error.strerror or one_line(error)}") from None


def _sum(file: Any) -> str:
    """The checksum of an open file."""
    made = hashlib.md5(usedforsecurity=False)
    while some := file.read(_AT_ONCE):
        made.update(some)
    return made.hexdigest()


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return _sum(file)


def _md5_of_packed(path: Path) -> str | None:
    """The checksum of what a .gz file holds; None if it is not one."""
    try:
        with gzip.open(path, "rb") as file:
            return _sum(file)
    except (gzip.BadGzipFile, EOFError, zlib.error):
        return None


@contextmanager
def _folder(folder: Path) -> Iterator[None]:
    """Makes a folder; if the block fails it is removed again, where nothing came into it."""
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        why = "is a file, not a folder" if folder.is_file() else error.strerror
        raise DataError(f"{folder}: can't be made: {why}") from None
    try:
        yield
    except BaseException:
        with suppress(OSError):  # there is something in it
            for path in made:
                path.rmdir()
        raise


def _get(
    name: str,
    remote: Remote,
    folder: Path,
    force: bool,
    tell: Callable[[int], None],
    timeout: float,
) -> None:
    """Puts a file, or what is in it, into the folder."""
    target = folder / remote.name
    temporary = folder / f".{remote.name}.{uuid.uuid4().hex[:8]}.tmp"
    try:
        if remote.members and target.exists():
            found = _md5(target)
            if found == remote.md5:
                _unpack(remote, target, folder)
                return
            if not force:
                raise DataError(
                    f"{target}: has the md5 checksum {found}, expected {remote.md5}; remove it, or "
                    "fetch again with --force to replace it"
                )
        _download(name, remote, temporary, tell, timeout)
        if remote.members:
            _unpack(remote, temporary, folder)
            target.unlink(missing_ok=True)  # a wrong one
        else:
            temporary.replace(target)
            if remote.unpacked:
                target.with_suffix("").unlink(missing_ok=True)  # one of the two was wrong
    except OSError as error:
        reason = error.strerror or one_line(error)
        raise DataError(f"{target}: can't be written: {reason}") from None
    finally:
        temporary.unlink(missing_ok=True)


def _download(
    name: str, remote: Remote, temporary: Path, tell: Callable[[int], None], timeout: float
) -> None:
    """Fetches a file from the first place that has it as it should be."""
    tell(0)
    failures = []
    for url in remote.urls:
        failure = _download_from(url, remote, temporary, tell, timeout)
        if failure is None:
            return
        failures.append(f"{url}: {failure}")
    raise DataError(
        f"{name}: {remote.name} can't be fetched ({'; '.join(failures)}); fetch {remote.urls[0]} "
        f"by hand, put it into {temporary.parent}, and do this again"
    )


def _download_from(
    url: str, remote: Remote, temporary: Path, tell: Callable[[int], None], timeout: float
) -> str | None:
    """Fetches a file; what failed, or None. A file that can't be written is an OSError."""
    request = urllib.request.Request(url, headers={"User-Agent": "diffeo"})
    made = hashlib.md5(usedforsecurity=False)
    got = 0
    with temporary.open("wb") as file:
        try:
            response: Any = urllib.request.urlopen(request, timeout=timeout)
        except (OSError, http.client.HTTPException) as error:
            return _reason(error)
        with response:
            while True:
                try:
                    some = response.read(_AT_ONCE)
                except (OSError, http.client.HTTPException) as error:
                    return _reason(error)
                if not some:
                    break
                file.write(some)
                made.update(some)
                got += len(some)
                if got > remote.size:
                    return f"sent more than the expected {remote.size:,} bytes"
                tell(got)
        file.flush()
        os.fsync(file.fileno())
    if got < remote.size:
        return f"sent {got:,} bytes, expected {remote.size:,}"
    if made.hexdigest() != remote.md5:
        return f"sent a file with the md5 checksum {made.hexdigest()}, expected {remote.md5}"
    return None


def _reason(error: BaseException) -> str:
    """What went wrong with a connection, in words; HTTPError already says its number."""
    reason = getattr(error, "reason", None)
    if isinstance(reason, BaseException):
        error = reason
    return getattr(error, "strerror", None) or one_line(error) or type(error).__name__


def _unpack(remote: Remote, archive: Path, folder: Path) -> None:
    """Takes the members that are wanted out of an archive, each whole or not at all."""
    temporary = folder / f".{remote.name}.{uuid.uuid4().hex[:8]}.tmp.d"
    wanted, sums = dict(remote.members), {}
    named = folder / remote.name
    try:
        temporary.mkdir()
        with tarfile.open(archive, "r:gz") as packed:
            for info in packed:
                name = info.name.removeprefix("./")
                if name not in wanted or not info.isreg():
                    continue
                size = wanted.pop(name)
                source = packed.extractfile(info)
                if source is None or info.size != (info.size if size is None else size):
                    raise DataError(
                        f"{named}: {shown(name)} in it has {info.size:,} bytes, expected {size:,}"
                    )
                path = temporary / name.replace("/", "_")
                with source, path.open("wb") as file:
                    shutil.copyfileobj(source, file, _AT_ONCE)
                sums[name] = _md5(path)
        if wanted:
            raise DataError(f"{named}: lacks {listed(list(wanted))}; remove it and get it again")
        # The checksums go first: with files that are not the archive's they don't agree.
        inside = _place(folder, next(iter(sums))).parent
        inside.mkdir(exist_ok=True)
        lines = [f"{md5}  {Path(name).name}\n" for name, md5 in sums.items()]
        (temporary / SUMS).write_text("".join(lines), encoding="utf-8")
        (temporary / SUMS).replace(inside / SUMS)
        for name in sums:
            (temporary / name.replace("/", "_")).replace(_place(folder, name))
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(
            f"{named}: can't be unpacked ({one_line(error)}); remove it and get it again"
        ) from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
