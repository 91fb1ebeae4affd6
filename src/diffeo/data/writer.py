"""Tables written piece by piece: the file is there when the last piece is, or not at all."""

import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from diffeo.data.errors import DataError
from diffeo.data.tables import suffix_of
from diffeo.extras import require

if TYPE_CHECKING:
    import pandas

Write = Callable[["pandas.DataFrame"], None]


def write_table(frame: "pandas.DataFrame", path: str | os.PathLike[str]) -> None:
    """Writes a table, in the form that the file's name says (`SUFFIXES`), whole or not at all.

    A file that is there is replaced.

    Raises:
        DataError: if the name's ending is unknown, the folder does not exist, the file can't be
            written, or an .npy file is to hold something else than numbers.
    """
    with written(path) as write:
        write(frame)


@contextmanager
def written(path: str | os.PathLike[str]) -> Iterator[Write]:
    """A function that adds rows to a table, which becomes the file when the block ends.

    The form is that of the file's name. CSV and Parquet go to disk as they come; an .npy file is
    held in memory until the end. If the block fails nothing is left, and a file that was there
    stays.

    Args:
        path: of the table; a file that is there is replaced.

    Raises:
        DataError: as `write_table`.
    """
    path = Path(path)
    suffix = suffix_of(path)
    if not path.absolute().parent.is_dir():
        raise DataError(f"{path}: the folder {path.parent} does not exist; make it first")
    temporary = path.absolute().parent / f".{path.name}.{uuid.uuid4().hex[:8]}.tmp"
    opened = {".parquet": _parquet, ".npy": _npy}.get(suffix, _text)
    try:
        with opened(temporary, path) as write:
            yield write
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise DataError(f"{path}: can't be written: {error.strerror or error}") from None
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def _text(temporary: Path, path: Path) -> Iterator[Write]:
    import gzip

    suffix = suffix_of(path)
    separator = "\t" if suffix.startswith(".tsv") else ","
    first = True
    with (
        temporary.open("wb") as raw,
        gzip.GzipFile("", "wb", fileobj=raw, mtime=1) if suffix.endswith(".gz") else raw as file,
    ):

        def write(frame: "pandas.DataFrame") -> None:
            nonlocal first
            text = frame.to_csv(index=False, sep=separator, header=first)
            file.write(text.encode())
            first = False

        yield write


@contextmanager
def _parquet(temporary: Path, path: Path) -> Iterator[Write]:
    pyarrow = require("pyarrow", "diffeo.data")
    from pyarrow import parquet

    writer: Any = None

    def write(frame: "pandas.DataFrame") -> None:
        nonlocal writer
        table = pyarrow.Table.from_pandas(
            frame, schema=None if writer is None else writer.schema, preserve_index=False
        )
        writer = parquet.ParquetWriter(temporary, table.schema) if writer is None else writer
        writer.write_table(table)

    try:
        yield write
    finally:
        if writer is not None:
            writer.close()


@contextmanager
def _npy(temporary: Path, path: Path) -> Iterator[Write]:
    arrays: list[np.ndarray] = []

    def write(frame: "pandas.DataFrame") -> None:
        array = frame.to_numpy()
        if array.dtype.kind not in "fiu":
            raise DataError(
                f"{path}: .npy holds only numbers, and the table has text too; write .csv or "
                ".parquet"
            )
        arrays.append(array)

    yield write
    with temporary.open("wb") as file:
        np.save(file, np.concatenate(arrays), allow_pickle=False)
