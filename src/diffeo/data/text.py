"""Tables as text: CSV and TSV, whole or in pieces."""

import csv
import gzip
import itertools
import warnings
from collections.abc import Callable, Collection, Iterator
from fnmatch import fnmatchcase
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diffeo.data.errors import DataError
from diffeo.quantities import counted

if TYPE_CHECKING:
    import os

    import pandas

TEXT_SUFFIXES = (".csv", ".csv.gz", ".tsv", ".tsv.gz")
"""The kinds of text files, by the end of their names."""

LOOKED_AT = 10_000
"""Rows that are looked at to see whether a column is of codes, which only look like numbers."""
MANY_LINES = 5
"""A row of more lines than these, and of another length than the header, begins with a mistake."""
_MAGIC = {
    b"\x1f\x8b": "is compressed with gzip: name it .csv.gz",
    b"PAR1": "is a Parquet file: name it .parquet",
    b"\x93NUMPY": "is a NumPy file: name it .npy",
    b"PK\x03\x04": "is a zip file or a spreadsheet: save it as CSV",
}


def read_text(
    path: Path, rows: int | None = None, text: Collection[str] = ()
) -> "Iterator[pandas.DataFrame]":
    """The table of a text file, whole, or in pieces of so many rows, numbered from 0 on.

    Args:
        path: of the file.
        rows: of a piece; the whole table if None.
        text: names, or patterns of names, of columns that are not to be read as numbers. Where the
            whole table is read, so are columns in whose first rows a number begins with a zero that
            is not needed: 01069 is a code.

    Raises:
        DataError: if it is no text, has no names, or has rows of other lengths than the header.
    """
    import pandas as pd

    _check_text(path)
    separator = _separator(path)
    names = _header(path, separator)
    kept = {name: str for name in names if any(fnmatchcase(name, kind) for kind in text)}
    kept.update({name: str for name in names if name in text})
    if rows is None:
        kept.update(dict.fromkeys(_codes_among(path, separator, names), str))
    regular = False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            read: Any = pd.read_csv(
                path,
                sep=separator,
                header=0,
                names=names,
                index_col=False,
                skipinitialspace=True,
                low_memory=False,
                encoding="utf-8-sig",
                dtype=kept or None,  # type: ignore[arg-type]
                chunksize=rows,
            )
        for piece in [read] if rows is None else _pieces(read):
            # A row that is too short looks like one with gaps.
            if not regular and bool(piece.isna().any(axis=None)):
                _check_ragged(path, separator, names)
                regular = True
            yield piece
    except (pd.errors.ParserError, pd.errors.ParserWarning) as error:
        _check_ragged(path, separator, names)
        raise DataError(f"{path}: is not a CSV file that can be read ({one_line(error)})") from None


def _pieces(reader: Any) -> "Iterator[pandas.DataFrame]":
    import pandas as pd

    with reader:
        while True:
            # Not around the yield of a piece: who uses it may want to be warned of other things.
            with warnings.catch_warnings():
                warnings.simplefilter("error", pd.errors.ParserWarning)
                piece = next(reader, None)
            if piece is None:
                return
            yield piece


def line_of(path: "str | os.PathLike[str]", row: int) -> int | None:
    """The line, from 1, on which a row, from 0, ends in a text file; None for other files."""
    path = Path(path)
    if not path.name.lower().endswith(TEXT_SUFFIXES) or not path.is_file():
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
    if path.name.lower().endswith((".tsv", ".tsv.gz")):
        return "\t"
    with open_text(path) as file:
        first = next((line for line in file if line.strip()), "")
    return next((mark for mark in (",", ";", "\t") if mark in first), ",")


def _header(path: Path, separator: str) -> list[str]:
    with open_text(path) as file:
        line, fields = next(_records(file, separator))
    _check_separated(path, separator)
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


def _check_separated(path: Path, separator: str) -> None:
    """Refuses a table whose fields are parted by blanks."""
    with open_text(path) as file:
        rows = list(itertools.islice(_records(file, separator), 3))
    parted = [fields[0].split() for _, fields in rows if len(fields) == 1]
    alike = len(parted) == len(rows) > 1 and len({len(words) for words in parted}) == 1
    if alike and len(parted[-1]) > 1 and all(_is_number(word) for word in parted[-1]):
        raise DataError(
            f"{path}, line {rows[0][0]}: blanks stand between the fields; put commas there"
        )


def _codes_among(path: Path, separator: str, names: list[str]) -> set[str]:
    """The columns with a number such as 01069 in the first rows."""
    with open_text(path) as file:
        rows = [fields for _, fields in itertools.islice(_records(file, separator), LOOKED_AT)]
    return {
        name
        for i, name in enumerate(names)
        if any(len(row) > i and is_code(row[i]) for row in rows[1:])
    }


def is_code(text: str) -> bool:
    """Whether digits begin with a zero that a number would not have."""
    digits = text.strip()
    return len(digits) > 1 and digits[0] == "0" and digits.isdigit()


def _check_ragged(path: Path, separator: str, names: list[str]) -> None:
    before = 0
    with open_text(path) as file:
        for line, fields in _records(file, separator):
            if len(fields) != len(names):
                if line - before > MANY_LINES:
                    raise DataError(
                        f"{path}, line {before + 1}: from here to line {line} is one row, with "
                        f"{counted(len(fields), 'field')}: a quotation mark opens that is not "
                        "closed; close it, or double it where it is meant as such"
                    )
                found, named = counted(len(fields), "field"), counted(len(names), "column")
                raise DataError(
                    f"{path}, line {line}: has {found}, but the header names {named}; "
                    "make them equal"
                )
            before = line


def _records(file: TextIOWrapper, separator: str) -> Iterator[tuple[int, list[str]]]:
    """The lines that hold something, with their numbers from 1; pandas skips the others too."""
    reader = csv.reader(file, delimiter=separator, skipinitialspace=True)
    for fields in reader:
        if fields and (len(fields) > 1 or fields[0].strip()):
            yield reader.line_num, fields


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return text.lower().lstrip("+-") not in ("nan", "inf", "infinity")


def one_line(error: BaseException) -> str:
    """An error's text, on one line of at most 200 characters."""
    text = " ".join(str(error).split())
    return text if len(text) <= 200 else text[:197] + "…"
