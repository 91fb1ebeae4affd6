"""Tables in files: CSV, Parquet and .npy, read whole or in pieces, and written whole."""

import csv
import gzip
import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from diffeo.data.errors import DataError
from diffeo.data.text import TEXT_SUFFIXES, one_line, read_text
from diffeo.extras import require

if TYPE_CHECKING:
    import pandas

SUFFIXES = (*TEXT_SUFFIXES, ".parquet", ".npy")
"""The kinds of files, by the end of their names."""

ROWS = 2**14
"""Rows of a piece: few, since two pieces and what is made of them are in memory at once."""


def read_table(path: str | os.PathLike[str], text: Collection[str] = ()) -> "pandas.DataFrame":
    """Reads a table, checking its form: one row of names, and as many fields in every row.

    - `.csv`, `.tsv` (and `.gz` of them): UTF-8; fields between commas, or, where the first line has
      none, semicolons or tabs. The first line names the columns. A first line of numbers is taken
      for a missing header and refused, unless it counts the columns 0, 1, 2, … or 1, 2, 3, … as
      unnamed columns are written.
    - `.parquet`: a named index becomes a column.
    - `.npy`: an array (rows, columns) of numbers; its columns are named "0", "1", ….

    What the columns hold is for `Columns` to check. The frame's `attrs` tell it the file, for its
    messages ("source"), and whether the file had names ("unnamed").

    Args:
        path: of the file.
        text: names, or patterns such as "*_code", of the columns of a text file that are to stay
            as they are written, such as postal codes that begin with 0. Of a name that is not
            there nothing is said.

    Raises:
        DataError: if the file is missing, empty, without rows, ragged, not text, or not of the kind
            its name says.
        ImportError: if pandas is not installed.
    """
    return next(_read(Path(path), None, text))


def read_pieces(
    path: str | os.PathLike[str], rows: int = ROWS, text: Collection[str] = ()
) -> "Iterator[pandas.DataFrame]":
    """Reads a table in pieces, so that memory does not grow with the file.

    The pieces one after the other are the table that `read_table` gives, and their rows are
    numbered on, so that messages name the right lines. A column of a text file can be of numbers in
    one piece and of text in the next; `Columns.encode` takes both.

    Args:
        path: of the file.
        rows: of a piece; the last one can be shorter.
        text: as of `read_table`.

    Raises:
        ValueError: if `rows` is not positive.
        DataError: as `read_table` does; for a row in the file's middle when its piece is reached.
        ImportError: if pandas is not installed.
    """
    if rows < 1:
        raise ValueError(f"read_pieces: rows must be positive, got {rows}")
    return _read(Path(path), rows, text)


def _read(path: Path, rows: int | None, text: Collection[str]) -> "Iterator[pandas.DataFrame]":
    suffix = suffix_of(path)
    if not path.exists():
        raise DataError(f"{path}: no such file")
    if not path.is_file():
        raise DataError(f"{path}: is not a file")
    require("pandas", "diffeo.data")
    with _read_errors(path):
        if path.stat().st_size == 0:
            raise DataError(f"{path}: the file is empty")
        if suffix in TEXT_SUFFIXES:
            pieces = read_text(path, rows, text)
        elif suffix == ".parquet":
            pieces = _read_parquet(path, rows)
        else:
            pieces = _read_npy(path, rows)
        begin = 0
        for piece in pieces:
            if piece.shape[1] == 0:
                raise DataError(f"{path}: the table has no columns")
            if len(piece):
                piece.attrs["source"] = str(path)
                yield piece
                begin += len(piece)
        if not begin:
            names = "" if suffix == ".npy" else "names of columns but "
            raise DataError(f"{path}: the table has {names}no rows")


def suffix_of(path: str | os.PathLike[str]) -> str:
    """Which of `SUFFIXES` a name ends with.

    Raises:
        DataError: if none.
    """
    name = Path(path).name.lower()
    for suffix in SUFFIXES:
        if name.endswith(suffix):
            return suffix
    found = Path(path).suffix
    what = f"unknown kind of file {found!r}" if found else "the name has no ending"
    raise DataError(f"{path}: {what}; tables are {', '.join(SUFFIXES)}")


@contextmanager
def _read_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except UnicodeDecodeError:
        raise DataError(f"{path}: is not text in UTF-8; save it as CSV in UTF-8") from None
    except (gzip.BadGzipFile, EOFError) as error:
        raise DataError(f"{path}: is not a whole gzip file ({one_line(error)})") from None
    except OSError as error:
        raise DataError(f"{path}: can't be read: {error.strerror or one_line(error)}") from None
    except csv.Error as error:
        raise DataError(f"{path}: is not a CSV file ({one_line(error)})") from None


def _read_parquet(path: Path, rows: int | None) -> "Iterator[pandas.DataFrame]":
    import pandas as pd

    pyarrow = require("pyarrow", "diffeo.data")
    parquet = require("pyarrow.parquet", "diffeo.data")
    try:
        if rows is None:
            yield _with_plain_index(pd.read_parquet(path, engine="pyarrow"), 0)
            return
        begin = 0
        # With a small buffer the file is read bit by bit, however large its groups of rows are;
        # several threads would each hold more of it.
        with parquet.ParquetFile(path, buffer_size=2**16, pre_buffer=False) as file:
            for batch in file.iter_batches(batch_size=rows, use_threads=False):
                piece: Any = pyarrow.Table.from_batches([batch]).to_pandas()
                yield _with_plain_index(piece, begin)
                begin += len(piece)
            if not begin:
                yield _with_plain_index(file.schema_arrow.empty_table().to_pandas(), 0)
    except (pyarrow.ArrowException, ValueError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(
            f"{path}: is not a Parquet file that can be read ({one_line(error)})"
        ) from None


def _with_plain_index(frame: "pandas.DataFrame", begin: int) -> "pandas.DataFrame":
    import pandas as pd

    frame = frame.reset_index(drop=all(name is None for name in frame.index.names))
    frame.columns = [str(name) for name in frame.columns]
    frame.index = pd.RangeIndex(begin, begin + len(frame))
    return frame


def _read_npy(path: Path, rows: int | None) -> "Iterator[pandas.DataFrame]":
    import pandas as pd

    array = _open_npy(path)
    names = [str(i) for i in range(array.shape[1])]
    step = max(len(array), 1) if rows is None else rows
    for begin in range(0, max(len(array), 1), step):
        # Opened anew for every piece: what was read of a file that is mapped stays in memory.
        array = np.array(_open_npy(path)[begin : begin + step])
        frame = pd.DataFrame(array, columns=names)
        frame.index = pd.RangeIndex(begin, begin + len(frame))
        frame.attrs["unnamed"] = True
        yield frame


def _open_npy(path: Path) -> np.ndarray:
    with path.open("rb") as file:
        if file.read(6) != b"\x93NUMPY":
            raise DataError(f"{path}: is not a .npy file; write it with numpy.save")
    try:
        with path.open("rb") as file:
            version = np.lib.format.read_magic(file)
            read = np.lib.format.read_array_header_1_0
            shape, _, dtype = (read if version == (1, 0) else np.lib.format.read_array_header_2_0)(
                file
            )
        # An empty array can't be mapped.
        mode = "r" if dtype.kind in "fiu" and 0 not in shape else None
        array = np.load(path, mmap_mode=mode, allow_pickle=False)
    except OSError:
        raise
    except Exception as error:  # the header is Python, which can be wrong in many ways
        if "allow_pickle" in str(error):
            raise DataError(
                f"{path}: holds Python objects, not numbers; save a plain array of numbers"
            ) from None
        raise DataError(
            f"{path}: is not a .npy file that can be read ({one_line(error)})"
        ) from None
    if array.dtype.kind not in "fiu":
        raise DataError(
            f"{path}: holds {array.dtype}, not real numbers; save a plain array of numbers"
        )
    if array.ndim != 2:
        hint = "; use array.reshape(-1, 1) for one column" if array.ndim == 1 else ""
        raise DataError(f"{path}: should have shape (rows, columns), found {array.shape}{hint}")
    return array
