"""Tables in files: they come back, and what can't be used is refused in a line that says where."""

import gzip
import io

import numpy as np
import pandas as pd
import pytest

from diffeo.data import Columns, DataError, read_table, write_table

FRAME = pd.DataFrame({"höhe, m": [1.5, -2.25, 1e-30], "n": [3, 4, 5]})


def saved(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


NPY = saved(np.zeros((3, 2)))


def put(folder, name, content):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def refusal(path, act=read_table):
    with pytest.raises(DataError) as caught:
        act(path)
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message
    return message.replace(str(path), "FILE")


def use(path):
    Columns.infer(read_table(path))


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".tsv", ".tsv.gz", ".parquet"])
def test_written_tables_come_back(tmp_path, suffix):
    path = tmp_path / f"spaces and ünïcode{suffix}"
    write_table(FRAME, path)
    pd.testing.assert_frame_equal(read_table(path), FRAME)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_npy_comes_back_with_counted_names(tmp_path):
    write_table(FRAME, tmp_path / "a.npy")
    frame = read_table(tmp_path / "a.npy")
    assert list(frame.columns) == ["0", "1"]
    np.testing.assert_array_equal(frame.to_numpy(), FRAME.to_numpy())


@pytest.mark.parametrize(
    "content",
    [
        "a,b\n1,2\n3,4\n",
        "a;b\n1;2\n3;4\n",
        "a\tb\r\n1\t2\r\n\r\n3\t4\r\n",
        "\ufeffa, b \n1, 2\n3, 4",
        '"a","b"\n"1",2\n3,4\n\n',
    ],
)
def test_csv_of_every_style(tmp_path, content):
    frame = read_table(put(tmp_path, "a.csv", content))
    pd.testing.assert_frame_equal(frame, pd.DataFrame({"a": [1, 3], "b": [2, 4]}))


def test_a_header_may_count_the_columns(tmp_path):
    assert list(read_table(put(tmp_path, "a.csv", "0,1\n5,6\n")).columns) == ["0", "1"]
    assert list(read_table(put(tmp_path, "a.csv", "1,2\n5,6\n")).columns) == ["1", "2"]


def test_a_named_index_of_parquet_becomes_a_column(tmp_path):
    FRAME.set_index("n").to_parquet(tmp_path / "a.parquet")
    assert set(read_table(tmp_path / "a.parquet").columns) == {"höhe, m", "n"}


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.csv", "", "the file is empty"),
        ("a.csv", " \n\n", "the file is empty"),
        ("a.csv", "a,b\n", "no rows"),
        ("a.csv", "a,b\n1,2\n3\n", "FILE, line 3: has 1 field, but the header names 2"),
        ("a.csv", "a,b\n1,2\n\n3,4,5\n", "FILE, line 4: has 3 fields, but the header names 2"),
        ("a.csv", "a,b\n1,2,3\n4,5,6\n", "FILE, line 2: has 3 fields, but the header names 2"),
        ("a.csv", "1.5,2\n3,4\n", "FILE, line 1: holds numbers (1.5, 2) where the names"),
        ("a.csv", ",b\n0,4\n", "FILE, line 1: column 1 has no name (an index?"),
        ("a.csv", "b,b\n0,4\n", "FILE, line 1: two columns are named 'b'"),
        ("a.csv", bytes(range(256)), "is a binary file"),
        ("a.csv", "a,b\n1,é\n".encode("latin-1"), "is not text in UTF-8"),
        ("a.csv", gzip.compress(b"a,b\n1,2\n", mtime=0), "name it .csv.gz"),
        ("a.csv", b"PAR1....", "name it .parquet"),
        ("a.csv", 'a,b\n1,"2\n', "is not a CSV file that can be read"),
        (
            "a.csv",
            'a,b\n1,2\n3,"4\n' + "5,6\n" * 9 + '"7,8\n',
            "FILE, line 3: from here to line 13 is one row, with 3 fields",
        ),
        ("a.csv", "3.4 5 6\n1 2 3\n4 5 6\n", "FILE, line 1: blanks stand between the fields"),
        ("a.csv", "a b c\n1 2 3\n4 5 6\n", "FILE, line 1: blanks stand between the fields"),
        ("a.csv.gz", b"a,b\n1,2\n", "is not a whole gzip file"),
        ("a.csv.gz", gzip.compress(b"a,b\n1,2\n", mtime=0)[:-9], "is not a whole gzip file"),
        ("a.parquet", b"nonsense", "is not a Parquet file"),
        ("a.npy", b"nonsense", "is not a .npy file"),
        ("a.npy", b"\x93NUMPY\x01\x00", "is not a .npy file that can be read"),
        ("a.npy", NPY.replace(b"(3, 2)", b"(3, (2"), "is not a .npy file that can be read"),
        ("a.npy", NPY.replace(b"False", b"'alse"), "is not a .npy file that can be read"),
        ("a.npy", NPY.replace(b"'descr'", b"[],[] :"), "is not a .npy file that can be read"),
        ("a.npy", NPY.replace(b"(3, 2)", b"(9, 9)"), "is not a .npy file that can be read"),
        ("a.xlsx", b"PK\x03\x04", "unknown kind of file '.xlsx'; tables are .csv,"),
        ("table", "a\n1\n", "the name has no ending"),
    ],
)
def test_malformed_files_are_refused(tmp_path, name, content, says):
    assert says in refusal(put(tmp_path, name, content))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("a,b\n1,2\n\n3,hello\n", "FILE, line 4, column 'b': 'hello' is not a number"),
        ("a;b\n1,5;2\n", "FILE, line 2, column 'a': '1,5' is not a number (write a decimal point"),
        (
            'a\n"1,000"\n',
            "(if the comma separates thousands, write 1000; if decimals, write 1.000)",
        ),
        ('a\n"1,234,567.5"\n', "(remove the commas between thousands: 1234567.5)"),
        ("a,b\n1,2\n3,\n", "FILE, line 3, column 'b': a value is missing"),
        ("a,b\n1,NA\n3,nan\n4,5\n", "FILE, line 2, column 'b': a value is missing (and 1 more"),
        (
            "a,b\n1,NA\n3,nan\n",
            "column 'b': every value is missing; leave the column out (--drop b)",
        ),
        ("a,b\n1,2\n-inf,2\n", "FILE, line 3, column 'a': the value is infinite"),
        ("a,b\n1e60,2\n", "FILE, line 2, column 'a': 1e+60 is too large for torch.float32"),
        ('a,b\n1,"2"\n"3\n",x\n', "FILE, line 4, column 'b': 'x' is not a number"),
        ("a,b\n2020-01-01,2\nx,3\n", "FILE, line 3, column 'a': 'x' is not a date or time"),
    ],
)
def test_values_that_are_not_finite_numbers_are_refused(tmp_path, content, says):
    assert says in refusal(put(tmp_path, "a b.csv", content), use)


@pytest.mark.parametrize(
    ("array", "says"),
    [
        (np.zeros(3), "should have shape (rows, columns), found (3,); use array.reshape(-1, 1)"),
        (np.zeros((2, 3, 4)), "should have shape (rows, columns), found (2, 3, 4)"),
        (np.array([[None]], dtype=object), "holds Python objects"),
        (np.zeros((2, 2), complex), "holds complex128, not real numbers"),
        (np.zeros((0, 2)), "FILE: the table has no rows"),
        (np.zeros((2, 0)), "no columns"),
        (np.array([[1.0, 2.0], [3.0, np.nan]]), "FILE, row 2, column '1': a value is missing"),
    ],
)
def test_arrays_that_are_not_tables_are_refused(tmp_path, array, says):
    np.save(tmp_path / "a.npy", array, allow_pickle=True)
    assert says in refusal(tmp_path / "a.npy", use)


def test_columns_kept_as_text(tmp_path):
    path = put(tmp_path, "a.csv", "zip,b_code,n\n01234,007,1\nK1A,8,2\n")
    frame = read_table(path, text=("zip", "*_code", "absent"))
    assert frame.to_dict("list") == {"zip": ["01234", "K1A"], "b_code": ["007", "8"], "n": [1, 2]}


def test_durations_in_parquet_are_refused(tmp_path):
    pd.DataFrame({"t": pd.to_timedelta([1, 2], "s")}).to_parquet(tmp_path / "a.parquet")
    assert "column 't' holds durations" in refusal(tmp_path / "a.parquet", use)


def test_files_that_are_not_there(tmp_path):
    assert "no such file" in refusal(tmp_path / "a.csv")
    (tmp_path / "b.csv").mkdir()
    assert "is not a file" in refusal(tmp_path / "b.csv")


def test_writing_fails_whole(tmp_path):
    def write(frame):
        return lambda path: write_table(frame, path)

    assert "the folder" in refusal(tmp_path / "no" / "a.csv", write(FRAME))
    assert "unknown kind of file '.txt'" in refusal(tmp_path / "a.txt", write(FRAME))
    text = pd.DataFrame({"a": ["x"]})
    assert "holds only numbers" in refusal(tmp_path / "a.npy", write(text))
    assert list(tmp_path.iterdir()) == []


def test_writing_that_breaks_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "a.csv"
    write_table(FRAME, path)

    def half(self, *_, **__):
        assert len(list(tmp_path.iterdir())) == 2
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pd.DataFrame, "to_csv", half)
    assert "can't be written: No space left on device" in refusal(
        path, lambda path: write_table(FRAME * 2, path)
    )
    pd.testing.assert_frame_equal(read_table(path), FRAME)
    assert [p.name for p in tmp_path.iterdir()] == ["a.csv"]
