"""Which rows of a table are held out: a function of the seed, so that they are found again."""

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas

MOST_HELD_OUT = 10_000


def split(frame: "pandas.DataFrame", seed: int) -> "tuple[pandas.DataFrame, pandas.DataFrame]":
    """Rows to learn from, and a tenth of all, from one to `MOST_HELD_OUT`, to judge by.

    Both are in a random order.
    """
    import torch

    count = min(MOST_HELD_OUT, max(1, len(frame) // 10))
    order = torch.randperm(len(frame), generator=torch.Generator().manual_seed(seed)).numpy()
    return frame.iloc[order[count:]], frame.iloc[order[:count]]


def fingerprint(path: Path) -> dict[str, Any]:
    """What tells later whether a file is still the same."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"path": str(path.absolute()), "sha256": digest}


def unchanged(recorded: dict[str, Any]) -> Path | None:
    """The file of a fingerprint, if it is still there and the same."""
    path = Path(recorded["path"])
    return path if path.is_file() and fingerprint(path) == recorded else None
