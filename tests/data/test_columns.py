"""The schema of a table."""

import numpy as np
import pandas as pd
import pytest
import torch

from diffeo.data import Column, Columns, DataError, read_table, write_table

FRAME = pd.DataFrame({"a": [1, 2], "b": [0.5, -3.0], "c": [7, 8]})
COLUMNS = Columns.infer(FRAME)


def test_columns_are_matched_by_name():
    x = COLUMNS.to_tensor(FRAME[["c", "a", "b"]])
    assert x.dtype == torch.float32
    assert x.tolist() == [[1, 0.5, 7], [2, -3, 8]]
    assert COLUMNS.to_tensor(FRAME, torch.float64).dtype == torch.float64


def test_tables_come_back_with_their_names():
    x = torch.tensor([[0.1, 2, 3e10]])
    frame = COLUMNS.to_frame(x)
    assert list(frame.columns) == ["a", "b", "c"]
    assert torch.equal(COLUMNS.to_tensor(frame), x)
    with pytest.raises(ValueError, match=r"expected shape \(rows, 3\), got \(1, 2\)"):
        COLUMNS.to_frame(x[:, :2])


def test_other_columns_are_refused_by_name():
    with pytest.raises(
        DataError, match=r"^lacks the column 'b'; the columns must be 'a', 'b', 'c'$"
    ):
        COLUMNS.to_tensor(FRAME[["a", "c"]])
    with pytest.raises(DataError, match=r"has the unknown columns 'd', 'e'"):
        COLUMNS.to_tensor(FRAME.assign(d=1, e=2))
    with pytest.raises(DataError, match=r"lacks the column 'a' and has the unknown column 'A'"):
        COLUMNS.to_tensor(FRAME.rename(columns={"a": "A"}))


def test_files_without_names_are_taken_in_order(tmp_path):
    write_table(FRAME, tmp_path / "x.npy")
    assert torch.equal(COLUMNS.to_tensor(read_table(tmp_path / "x.npy")), COLUMNS.to_tensor(FRAME))
    write_table(FRAME[["a", "b"]], tmp_path / "x.npy")
    with pytest.raises(DataError, match=r"x\.npy: lacks the columns 'a', 'b', 'c'"):
        COLUMNS.to_tensor(read_table(tmp_path / "x.npy"))


def test_frames_of_one_s_own_name_the_row():
    frame = FRAME.astype(float)
    frame.loc[1, "b"] = np.nan
    with pytest.raises(DataError, match=r"^row 2, column 'b': a value is missing"):
        Columns.infer(frame)


def test_columns_numbered_by_pandas():
    frame = pd.DataFrame(np.arange(4.0).reshape(2, 2))
    columns = Columns.infer(frame)
    assert columns.names == ("0", "1")
    assert columns.to_tensor(frame).tolist() == [[0, 1], [2, 3]]


def test_nullable_and_object_columns_of_numbers():
    frame = pd.DataFrame(
        {"a": pd.array([1, 2], dtype="Int64"), "b": pd.Series([1, 2.5], dtype=object)}
    )
    assert Columns.infer(frame).to_tensor(frame).tolist() == [[1, 1], [2, 2.5]]
    frame.loc[0, "a"] = pd.NA
    with pytest.raises(DataError, match=r"row 1, column 'a': a value is missing"):
        Columns.infer(frame)


def test_the_schema_is_plain_values():
    assert COLUMNS.to_json() == [{"name": n, "kind": "real"} for n in "abc"]
    assert Columns.from_json(COLUMNS.to_json()) == COLUMNS
    for damaged, says in [
        ([{"kind": "real"}], "column 1 of the schema has no name"),
        ([{"name": "a", "kind": "datetime"}], "column 'a': unknown kind 'datetime'"),
        ([{"name": "a", "kind": "real", "step": 2}], "unknown entry 'step'"),
        ([], "no columns"),
        ([{"name": "a"}, {"name": "a"}], "two columns are named 'a'"),
    ]:
        with pytest.raises(DataError, match=says):
            Columns.from_json(damaged)
    with pytest.raises(DataError, match="unknown kind"):
        Column("a", "imaginary")


def test_columns_that_float32_can_not_hold_are_named():
    steps = np.arange(400)
    frame = pd.DataFrame(
        {
            "seconds": 1.7e9 + steps,
            "counter": 10**18 + steps,
            "two clusters": np.where(steps % 2, 1e9, -1e9) + steps,
            "tiny": 1e-50 * steps,
            "fine": 1e4 + 0.37 * steps,
            "heavy tails": np.tan(1.57079632 * (steps - 200) / 200),
            "exact": 16777000.0 + steps % 200,
            "constant": 0.1,
        }
    )
    lines = Columns.infer(frame).lost_precision(frame)
    named = ["seconds", "counter", "two clusters", "tiny"]
    assert [line.split("'")[1] for line in lines] == named
    assert "its 400 different values become 4 in torch.float32" in lines[0]
    assert ["subtract an offset" in line for line in lines] == [True, True, True, False]
    assert Columns.infer(frame).lost_precision(frame[:1]) == []
    assert len(Columns.infer(frame).lost_precision(frame, torch.float64)) == 1  # the counter


def test_columns_without_a_density_are_named():
    x = np.random.default_rng(0).normal(size=(50, 2))
    frame = pd.DataFrame({"a": x[:, 0], "b": 7, "c": x[:, 1], "d": 32 + 1.8 * x[:, 0]})
    constant, dependent = Columns.infer(frame).degenerate(frame)
    assert constant == "column 'b': every value is 7: its density has no limit; drop it"
    assert dependent.startswith("column 'd': follows from column 'a'")
    almost = frame[["a", "c"]].assign(d=x[:, 0] + 1e-5 * x[:, 1], e=1e9 + np.arange(50))
    assert Columns.infer(almost).degenerate(almost) == []


def test_values_that_are_no_levels_are_named(tmp_path):
    (tmp_path / "a.csv").write_text("n,m\n0,4\n\n1,2.5\n")
    frame = read_table(tmp_path / "a.csv")
    columns = Columns.infer(frame)
    columns.check_levels(frame[["n", "m"]][:1], 5)
    for levels, says in [(5, "line 4, column 'm': 2.5 is outside"), (3, "line 2, column 'm': 4 ")]:
        with pytest.raises(DataError, match=says):
            columns.check_levels(frame, levels)
