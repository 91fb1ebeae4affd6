"""Which rows, images or sounds are held out, by the seed, so that they are found again."""

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy
    import pandas

    from diffeo.data.images import Images
    from diffeo.data.sounds import Sounds

MOST_HELD_OUT = 10_000


def split(frame: "pandas.DataFrame", seed: int) -> "tuple[pandas.DataFrame, pandas.DataFrame]":
    """Rows to learn from, and a tenth of all, from one to `MOST_HELD_OUT`, to judge by.

    Both are in a random order.
    """
    learned, judged = _parts(len(frame), seed)
    return frame.iloc[learned], frame.iloc[judged]


class OnlyOne(ValueError):
    """There is one thing, of which nothing can be held out."""


def split_images(images: "Images", seed: int) -> "tuple[Images, Images]":
    """The same of images.

    Raises:
        OnlyOne: if there is but one.
    """
    learned, judged = _parts(len(images.pixels), seed)
    return images.at(learned), images.at(judged)


def split_sounds(sounds: "Sounds", seed: int) -> "tuple[Sounds, Sounds]":
    """The same of sounds, clip by clip.

    Raises:
        OnlyOne: if there is but one clip.
    """
    learned, judged = _parts(len(sounds), seed)
    return sounds.at(learned), sounds.at(judged)


def _parts(total: int, seed: int) -> "tuple[numpy.ndarray, numpy.ndarray]":
    import torch

    if total < 2:
        raise OnlyOne

    count = min(MOST_HELD_OUT, max(1, total // 10))
    order = torch.randperm(total, generator=torch.Generator().manual_seed(seed)).numpy()
    return order[count:], order[:count]


def fingerprint(path: Path) -> dict[str, Any]:
    """What tells later whether a file, or all that a folder holds, is still the same."""
    if path.is_file():
        return {"path": str(path.absolute()), "sha256": _digest(path)}
    digest = hashlib.sha256()
    for file in sorted(each for each in path.rglob("*") if each.is_file()):
        digest.update(f"{file.relative_to(path).as_posix()}\0{_digest(file)}\n".encode())
    return {"path": str(path.absolute()), "sha256": digest.hexdigest()}


def unchanged(recorded: dict[str, Any]) -> Path | None:
    """The file or folder of a fingerprint, if it is still there and the same."""
    path = Path(recorded["path"])
    file = file_of(path)
    same = file.exists() and fingerprint(file)["sha256"] == recorded.get("sha256")
    return path if same else None


def file_of(path: Path) -> Path:
    """The file of a path; of "x.npz:name", an array in a file, that file."""
    end = path.name.lower().find(".npz:")
    return path if end < 0 else path.with_name(path.name[: end + 4])


def _digest(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
