"""Tables read in pieces: the same table, the same lines in messages, the same refusals."""

import gzip

import numpy as np
import pandas as pd
import pytest
import torch

from diffeo.data import Columns, DataError, read_pieces, read_table, write_table

RNG = np.random.default_rng(0)
FRAME = pd.DataFrame(
    {
        "x": RNG.normal(size=23),
        "n": RNG.integers(0, 5, 23),
        "s": RNG.choice(["a", "b"], 23),
        "t": pd.Timestamp("2024-05-17") + pd.to_timedelta(RNG.integers(0, 90, 23), "D"),
    }
)


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".tsv", ".parquet"])
@pytest.mark.parametrize("rows", [1, 7, 23, 100])
def test_the_pieces_are_the_table(tmp_path, suffix, rows):
    path = tmp_path / f"a{suffix}"
    write_table(FRAME, path)
    pieces = list(read_pieces(path, rows))
    whole = read_table(path)
    assert [len(piece) for piece in pieces[:-1]] == [rows] * (len(pieces) - 1)
    assert all(piece.attrs == {"source": str(path)} for piece in pieces)
    pd.testing.assert_frame_equal(pd.concat(pieces), whole)
    columns = Columns.infer(whole)
    x = torch.cat([columns.encode(piece).x for piece in pieces])
    assert torch.equal(x, columns.encode(whole).x)


@pytest.mark.parametrize("order", ["C", "F"])
def test_pieces_of_arrays(tmp_path, order):
    array = np.asarray(RNG.normal(size=(11, 3)), order=order)
    np.save(tmp_path / "a.npy", array)
    pieces = list(read_pieces(tmp_path / "a.npy", 4))
    assert [list(piece.index) for piece in pieces] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10]]
    assert all(piece.attrs["unnamed"] for piece in pieces)
    np.testing.assert_array_equal(np.concatenate([piece.to_numpy() for piece in pieces]), array)


def test_pieces_of_a_parquet_file_with_an_index(tmp_path):
    FRAME.set_index("n").to_parquet(tmp_path / "a.parquet")
    whole = read_table(tmp_path / "a.parquet")
    pd.testing.assert_frame_equal(pd.concat(read_pieces(tmp_path / "a.parquet", 5)), whole)


def test_types_that_change_between_pieces(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("kind,x\n1,1\n2,2\nA,1.5\n01,3\ntrue,4\n")
    columns = Columns.infer(read_table(path), types={"kind": "category", "x": "real"})
    assert [c.values for c in columns.features] == [("01", "1", "2", "A", "true"), ()]
    x = torch.cat([columns.encode(piece).x for piece in read_pieces(path, 2)])
    assert x.tolist() == [[1, 1], [2, 2], [3, 1.5], [0, 3], [4, 4]]


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.csv", "", "the file is empty"),
        ("a.csv", "a,b\n", "the table has names of columns but no rows"),
        ("a.csv", "a,b\n1,2\n1,2\n3\n", "FILE, line 4: has 1 field, but the header names 2"),
        ("a.csv", "a,b\n1,2\n1,2\n\n3,4,5\n", "FILE, line 5: has 3 fields, but the header"),
        ("a.csv", "a,b\n1,2,3\n4,5,6\n", "FILE, line 2: has 3 fields, but the header names 2"),
        ("a.csv", "1.5,2\n3,4\n", "FILE, line 1: holds numbers (1.5, 2) where the names"),
        ("a.csv", bytes(range(256)), "is a binary file"),
        ("a.csv", b"a,b\n1,2\n1,2\n" + "1,é\n".encode("latin-1"), "is not text in UTF-8"),
        ("a.csv", 'a,b\n1,"2\n', "is not a CSV file that can be read"),
        ("a.csv.gz", gzip.compress(b"a,b\n1,2\n", mtime=0)[:-9], "is not a whole gzip file"),
        ("a.parquet", b"nonsense", "is not a Parquet file"),
        ("a.npy", b"\x93NUMPY\x01\x00", "is not a .npy file that can be read"),
        ("a.xlsx", b"PK\x03\x04", "unknown kind of file '.xlsx'"),
    ],
)
def test_malformed_files_are_refused(tmp_path, name, content, says):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError) as caught:
        list(read_pieces(path, 2))
    assert says in str(caught.value).replace(str(path), "FILE")


def test_empty_tables_and_objects_are_refused(tmp_path):
    for name, array, says in [
        ("a", np.zeros((0, 2)), "the table has no rows"),
        ("b", np.array([[None]], dtype=object), "holds Python objects"),
        ("c", np.zeros(3), "should have shape"),
    ]:
        np.save(tmp_path / f"{name}.npy", array, allow_pickle=True)
        with pytest.raises(DataError, match=says):
            list(read_pieces(tmp_path / f"{name}.npy"))
    FRAME[:0].to_parquet(tmp_path / "a.parquet")
    with pytest.raises(DataError, match="no rows"):
        list(read_pieces(tmp_path / "a.parquet"))
    with pytest.raises(ValueError, match="rows must be positive, got 0"):
        read_pieces(tmp_path / "a.parquet", 0)


def test_messages_name_the_line_of_the_file(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("a,b\n1,2\n\n3,4\n5,6\n7,oops\n")
    columns = Columns.infer(read_table(path)[:2].astype({"b": float}), types={"*": "real"})
    with pytest.raises(DataError, match=r"a\.csv, line 6, column 'b': 'oops' is not a number"):
        [columns.encode(piece) for piece in read_pieces(path, 3)]
