"""Tables in files: CSV, Parquet and .npy, read and written whole."""

import csv
import gzip
import os
import uuid
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from diffeo.data.errors import DataError
from diffeo.extras import require

if TYPE_CHECKING:
    import pandas

SUFFIXES = (".csv", ".csv.gz", ".tsv", ".tsv.gz", ".parquet", ".npy")
"""The kinds of files, by the end of their names."""

_TEXT = (".csv", ".csv.gz", ".tsv", ".tsv.gz")
_MAGIC = {
    b"\x1f\x8b": "is compressed with gzip: name it .csv.gz",
    b"PAR1": "is a Parquet file: name it .parquet",
    b"\x93NUMPY": "is a NumPy file: name it .npy",
    b"PK\x03\x04": "is a zip file or a spreadsheet: save it as CSV",
}


def read_table(path: str | os.PathLike[str]) -> "pandas.DataFrame":
    """Reads a table, checking its form: one row of names, and as many fields in every row.

    - `.csv`, `.tsv` (and `.gz` of them): UTF-8; fields between commas, or, where the first line has
      none, semicolons or tabs. The first line names the columns. A first line of numbers is taken
      for a missing header and refused, unless it counts the columns 0, 1, 2, … or 1, 2, 3, … as
      unnamed columns are written.
    - `.parquet`: a named index becomes a column.
    - `.npy`: an array (rows, columns) of numbers; its columns are named "0", "1", ….

    What the columns hold is for `Columns` to check. The frame's `attrs` tell it the file, for its
    messages ("source"), and whether the file had names ("unnamed").

    Raises:
        DataError: if the file is missing, empty, without rows, ragged, not text, or not of the kind
            its name says.
        ImportError: if pandas is not installed.
    """
    path = Path(path)
    suffix = suffix_of(path)
    if not path.exists():
        raise DataError(f"{path}: no such file")
    if not path.is_file():
        raise DataError(f"{path}: is not a file")
    require("pandas", "diffeo.data")
    with _read_errors(path):
        if path.stat().st_size == 0:
            raise DataError(f"{path}: the file is empty")
        frame = _READERS[suffix.removesuffix(".gz")](path)
    if frame.shape[1] == 0:
        raise DataError(f"{path}: the table has no columns")
    if len(frame) == 0:
        names = "" if frame.attrs.get("unnamed") else "names of columns but "
        raise DataError(f"{path}: the table has {names}no rows")
    frame.attrs["source"] = str(path)
    return frame


def write_table(frame: "pandas.DataFrame", path: str | os.PathLike[str]) -> None:
    """Writes a table, in the form that the file's name says (`SUFFIXES`), whole or not at all.

    A file that is there is replaced.

    Raises:
        DataError: if the name's ending is unknown, the folder does not exist, the file can't be
            written, or an .npy file is to hold something else than numbers.
    """
    path = Path(path)
    suffix = suffix_of(path)
    if not path.absolute().parent.is_dir():
        raise DataError(f"{path}: the folder {path.parent} does not exist; make it first")
    temporary = path.absolute().parent / f".{path.name}.{uuid.uuid4().hex[:8]}.tmp"
    try:
        if suffix == ".parquet":
            frame.to_parquet(temporary, index=False)
        elif suffix == ".npy":
            _write_npy(frame, temporary, path)
        else:
            separator = "\t" if suffix.startswith(".tsv") else ","
            compression = {"method": "gzip", "mtime": 1} if suffix.endswith(".gz") else None
            frame.to_csv(
                temporary,
                index=False,
                sep=separator,
                compression=compression,  # type: ignore[arg-type]
            )
        temporary.replace(path)
    except OSError as error:
        raise DataError(f"{path}: can't be written: {error.strerror or error}") from None
    finally:
        temporary.unlink(missing_ok=True)


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


def line_of(path: str | os.PathLike[str], row: int) -> int | None:
    """The line, from 1, on which a row, from 0, ends in a text file; None for other files."""
    path = Path(path)
    if suffix_of(path) not in _TEXT or not path.is_file():
        return None
    with open_text(path) as file:
        records = _records(file, _separator(path))
        next(records)
        for i, (line, _) in enumerate(records):
            if i == row:
                return line
    return None


def open_text(path: Path) -> TextIOWrapper:
    """Opens a text file, decompressing it where its name ends in .gz."""
    if path.name.lower().endswith(".gz"):
        return gzip.open(path, "rt", encoding="utf-8-sig", newline="")  # type: ignore[return-value]
    return path.open(encoding="utf-8-sig", newline="")


@contextmanager
def _read_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except UnicodeDecodeError:
        raise DataError(f"{path}: is not text in UTF-8; save it as CSV in UTF-8") from None
    except (gzip.BadGzipFile, EOFError) as error:
        raise DataError(f"{path}: is not a whole gzip file ({_one_line(error)})") from None
    except OSError as error:
        raise DataError(f"{path}: can't be read: {error.strerror or _one_line(error)}") from None
    except csv.Error as error:
        raise DataError(f"{path}: is not a CSV file ({_one_line(error)})") from None


def _read_text(path: Path) -> "pandas.DataFrame":
    import pandas as pd

    _check_text(path)
    separator = _separator(path)
    names = _header(path, separator)
    with warnings.catch_warnings():
        warnings.simplefilter("error", pd.errors.ParserWarning)
        try:
            frame = pd.read_csv(
                path,
                sep=separator,
                header=0,
                names=names,
                index_col=False,
                skipinitialspace=True,
                low_memory=False,
                encoding="utf-8-sig",
            )
        except (pd.errors.ParserError, pd.errors.ParserWarning) as error:
            _check_ragged(path, separator, names)
            raise DataError(
                f"{path}: is not a CSV file that can be read ({_one_line(error)})"
            ) from None
    if frame.isna().to_numpy().any():  # a row that is too short looks like this
        _check_ragged(path, separator, names)
    return frame


def _check_text(path: Path) -> None:
    opener: Callable = gzip.open if path.name.lower().endswith(".gz") else open
    with opener(path, "rb") as file:
        start = file.read(8192)
    for magic, advice in _MAGIC.items():
        if start.startswith(magic):
            raise DataError(f"{path}: {advice}")
    if b"\x00" in start:
        raise DataError(f"{path}: is a binary file, not text; save it as CSV in UTF-8")
    if not start.strip():
        raise DataError(f"{path}: the file is empty")


def _separator(path: Path) -> str:
    if suffix_of(path).startswith(".tsv"):
        return "\t"
    with open_text(path) as file:
        first = next((line for line in file if line.strip()), "")
    return next((mark for mark in (",", ";", "\t") if mark in first), ",")


def _header(path: Path, separator: str) -> list[str]:
    with open_text(path) as file:
        line, fields = next(_records(file, separator))
    names = [name.strip() for name in fields]
    numbers = [_is_number(name) for name in names]
    counted = names in ([str(i + start) for i in range(len(names))] for start in (0, 1))
    if all(numbers) and not counted:
        shown = ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
        raise DataError(
            f"{path}, line {line}: holds numbers ({shown}) where the names of the columns should be"
            "; add a first line of names, such as a,b,c"
        )
    for i, name in enumerate(names):
        if not name:
            hint = " (an index? write the file without it)" if i == 0 else ""
            raise DataError(
                f"{path}, line {line}: column {i + 1} has no name{hint}; name it or remove it"
            )
        if name in names[:i]:
            raise DataError(f"{path}, line {line}: two columns are named {name!r}; rename one")
    return names


def _check_ragged(path: Path, separator: str, names: list[str]) -> None:
    with open_text(path) as file:
        for line, fields in _records(file, separator):
            if len(fields) != len(names):
                found, named = _counted(len(fields), "field"), _counted(len(names), "column")
                raise DataError(
                    f"{path}, line {line}: has {found}, but the header names {named}; "
                    "make them equal"
                )


def _counted(n: int, noun: str) -> str:
    return f"{n} {noun}" + ("" if n == 1 else "s")


def _records(file: TextIOWrapper, separator: str) -> Iterator[tuple[int, list[str]]]:
    """The lines that hold something, with their numbers from 1; pandas skips the others too."""
    reader = csv.reader(file, delimiter=separator, skipinitialspace=True)
    for fields in reader:
        if fields and (len(fields) > 1 or fields[0].strip()):
            yield reader.line_num, fields


def _read_parquet(path: Path) -> "pandas.DataFrame":
    import pandas as pd

    pyarrow = require("pyarrow", "diffeo.data")
    try:
        frame = pd.read_parquet(path, engine="pyarrow")
    except (pyarrow.ArrowException, ValueError) as error:
        raise DataError(
            f"{path}: is not a Parquet file that can be read ({_one_line(error)})"
        ) from None
    frame = frame.reset_index(drop=all(name is None for name in frame.index.names))
    frame.columns = [str(name) for name in frame.columns]
    return frame


def _read_npy(path: Path) -> "pandas.DataFrame":
    import pandas as pd

    with path.open("rb") as file:
        if file.read(6) != b"\x93NUMPY":
            raise DataError(f"{path}: is not a .npy file; write it with numpy.save")
    try:
        array = np.load(path, allow_pickle=False)
    except (ValueError, EOFError, SyntaxError) as error:
        if "allow_pickle" in str(error):
            raise DataError(
                f"{path}: holds Python objects, not numbers; save a plain array of numbers"
            ) from None
        raise DataError(
            f"{path}: is not a .npy file that can be read ({_one_line(error)})"
        ) from None
    if array.dtype.kind not in "fiu":
        raise DataError(
            f"{path}: holds {array.dtype}, not real numbers; save a plain array of numbers"
        )
    if array.ndim != 2:
        hint = "; use array.reshape(-1, 1) for one column" if array.ndim == 1 else ""
        raise DataError(f"{path}: should have shape (rows, columns), found {array.shape}{hint}")
    frame = pd.DataFrame(array, columns=[str(i) for i in range(array.shape[1])])
    frame.attrs["unnamed"] = True
    return frame


def _write_npy(frame: "pandas.DataFrame", temporary: Path, path: Path) -> None:
    array = frame.to_numpy()
    if array.dtype.kind not in "fiu":
        raise DataError(
            f"{path}: .npy holds only numbers, and the table has text too; write .csv or .parquet"
        )
    with temporary.open("wb") as file:
        np.save(file, array, allow_pickle=False)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return text.lower().lstrip("+-") not in ("nan", "inf", "infinity")


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= 200 else text[:197] + "…"


_READERS: dict[str, Callable[[Path], "pandas.DataFrame"]] = {
    ".csv": _read_text,
    ".tsv": _read_text,
    ".parquet": _read_parquet,
    ".npy": _read_npy,
}
