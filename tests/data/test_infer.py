"""What a column is taken for, and what it is refused for."""

import datetime

import numpy as np
import pandas as pd
import pytest

from diffeo.data import Columns, DataError, parse_bounds, read_table

RNG = np.random.default_rng(0)
NORMAL = RNG.normal(size=200)


def column(values, **options):
    frame = pd.DataFrame({"a": values})
    return Columns.infer(frame, **options).features[0]


def refusal(values, **options):
    with pytest.raises(DataError) as caught:
        column(values, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("values", "kind", "step"),
    [
        ([True, False], "category", None),
        (pd.array([True, False], dtype="boolean"), "category", None),
        (np.array([True, False], dtype=object), "category", None),
        (["A", "B", "A"], "category", None),
        (["A"], "category", None),
        (pd.Categorical(["x", "y", "x"]), "category", None),
        ([f"k{i % 50}" for i in range(100)], "category", None),
        ([3, 1, 3], "integer", None),
        ([5], "integer", None),
        ([1.0, -2.0], "integer", None),
        (["1", "2"], "integer", None),
        (pd.array([1, 2], dtype="Int64"), "integer", None),
        (list(range(20)), "integer", None),
        ([*range(40), 5], "integer", None),
        ([2**63, 2**64 - 1], "real", None),
        ([1e20, 2e20], "real", None),
        ([0.5, 1.5], "real", None),
        (NORMAL, "real", None),
        (np.round(NORMAL, 1), "step", 0.1),
        (np.round(NORMAL, 1).astype("float32"), "step", 0.1),
        (np.round(NORMAL, 1)[:49], "real", None),
        (np.round(NORMAL, 3), "real", None),
        (np.repeat(np.round(NORMAL, 6), 2), "step", 1e-6),
        (np.repeat(NORMAL, 2), "real", None),
        (pd.to_datetime(["2024-05-17"]), "datetime", "day"),
        (["2024-05-17", "2024-05-18"], "datetime", "day"),
        (["2024-05-17 08:00", "2024-05-18 09:00"], "datetime", "hour"),
        (["2024-05-17T08:30Z", "2024-05-17T08:30:00+02:00"], "datetime", "minute"),
        (["2024-05-17T08:30:01"], "datetime", "second"),
        (["2024-05-17T08:30:01.5"], "datetime", "millisecond"),
        (["2024-05-17T08:30:01.000001"], "datetime", "microsecond"),
        (["2024-05-17T08:30:01.000000001"], "datetime", "nanosecond"),
        ([datetime.date(1066, 10, 14), datetime.date(9999, 12, 31)], "datetime", "day"),
        (pd.date_range("2024-05-17", periods=2, tz="Europe/Berlin"), "datetime", "hour"),
    ],
)
def test_kinds(values, kind, step):
    found = column(values)
    assert (found.kind, found.step) == (kind, step)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        (
            RNG.permutation(30) + 1,
            "column 'a' holds each of 1 … 30 once: it counts the rows; --drop a, or "
            "--type a=integer",
        ),
        (
            [f"person {i}" for i in range(60)],
            "column 'a' holds 60 different texts in 60 rows (such as 'person 0', 'person 1'): an "
            "identifier or free text; --drop a, or --type a=category",
        ),
        ([f"k{i % 51}" for i in range(100)], "holds 51 different texts in 100 rows"),
        ([f"k{i % 1001}" for i in range(5000)], "holds 1,001 different texts in 5,000 rows"),
        ([1, 2, "x"], "row 3, column 'a': 'x' is not a number; correct it, or --type a=category"),
        (["2024-05-17", "2024-05-18", "soon"], "row 3, column 'a': 'soon' is not a date or time"),
        (["2024-05-17T08:30Z", "2024-05-17"], "row 2, column 'a': '2024-05-17' has no time zone"),
        ([1, None, None], "row 2, column 'a': a value is missing (and 1 more in this column)"),
        (["A", " "], "row 2, column 'a': a value is missing; fill it in, or leave out"),
        ([1.5, np.inf], "row 2, column 'a': the value is infinite"),
        ([1.5, 1e60], "row 2, column 'a': 1e+60 is too large for torch.float32"),
        (
            ["$50,845.72", "$3.50", "-"],
            "row 1, column 'a': '$50,845.72' is text to a program; write",
        ),
        (
            ["12 %", "7.5%"] * 30,
            "write plain numbers, without signs of currency or percent, or --type",
        ),
        (
            ["31.12.2020", "01.02.2021"] * 30,
            "'31.12.2020' is text to a program; write dates as 2024",
        ),
        (["12/31/2020", "1/2/21"], "write dates as 2024-05-17, or --type a=category, or --drop a"),
        ([1j, 2], "holds complex numbers"),
        (pd.to_timedelta([1, 2]), "holds durations"),
        ([[1], [2]], "holds values of type list"),
    ],
)
def test_what_no_column_is_taken_for(values, says):
    assert says in refusal(values)


@pytest.mark.parametrize(
    ("values", "kind", "says"),
    [
        ([1, 2], "int", "--type a=int: unknown type; the types are real, integer,"),
        ([1, 2], "step:x", "--type a=step:x: the step must be a positive number"),
        ([1, 2], "step:0", "the step must be a positive number"),
        ([1, 2], "datetime", "row 1, column 'a': '1' is not a date or time (and 1 more"),
        ([1, 2.5, 3.5], "integer", "row 2, column 'a': 2.5 is no integer (and 1 more"),
        ([1, 2.25], "step:0.1", "row 2, column 'a': 2.25 is no multiple of 0.1"),
        (["A", "B"], "real", "row 1, column 'a': 'A' is not a number"),
        (pd.to_datetime(["2024-05-17"]), "real", "holds dates or times, not numbers"),
        ([2**63, 1.0], "integer", "holds whole numbers too large to count; --type a=real"),
    ],
)
def test_declared_types_that_do_not_fit(values, kind, says):
    assert says in refusal(values, types={"a": kind})


def test_declared_types():
    assert column(np.arange(50), types={"a": "integer"}).kind == "integer"
    assert column([f"p{i}" for i in range(2000)], types={"a": "category"}).support["upper"] == 1999
    assert column([1, 2], types={"a": "real"}).support == {}
    assert column([True, False], types={"a": "integer"}).kind == "integer"
    assert column([0.25, 0.5], types={"a": "step:0.25"}).step == 0.25


@pytest.mark.parametrize(
    ("values", "bounds", "support"),
    [
        # Few numbers among many rows: a range, widened, not below 0 where none is negative.
        (np.arange(400) % 5, None, {"lower": 0, "upper": 14, "integer": True}),
        (np.arange(400) % 20 + 100, None, {"lower": 0, "upper": 59, "integer": True}),
        (np.arange(400) % 5 - 2, None, {"lower": 0, "upper": 24, "integer": True}),
        (np.arange(400) % 5, (0, 5), {"lower": 0, "upper": 5, "integer": True}),
        (np.arange(400) % 5, (-3.5, None), {"lower": 0, "upper": 17, "integer": True}),
        ([7, 7], (7, 7.5), {"lower": 0, "upper": 1, "integer": True}),
        # Many numbers.
        ([0, 50], None, {"lower": 0, "integer": True}),
        ([-1, 50], None, {"integer": True}),
        ([1000, 1050], None, {"integer": True}),
        ([1000, 1050], (None, 2000), {"upper": 1000, "integer": True}),
        ([10, 50], (0, 120), {"lower": 0, "upper": 120, "integer": True}),
        # Too many for float32 to hold the noise.
        ([0, 10**6], None, {"lower": -0.5}),
        ([-1, 10**6], None, {}),
        ([1, 10**6], (1, 4 * 10**6), {"lower": -0.5, "upper": 4 * 10**6 - 1 + 4 - 1e-6}),
        ([0.5, 1.5], (0, 120), {"lower": 0.0, "upper": 120.0}),
        ([0.5, 1.5], (None, 120), {"upper": 120.0}),
        (["A", "B", "A"], None, {"lower": 0, "upper": 1, "integer": True}),
        (["A"], None, {"lower": 0, "upper": 1, "integer": True}),
        (["2024-05-17", "2024-08-18"], None, {"integer": True}),
        (["2024-05-17", "2024-08-18"], ("2024-01-01", None), {"lower": 0, "integer": True}),
    ],
)
def test_supports(values, bounds, support):
    found = column(values, bounds={} if bounds is None else {"a": bounds}).support
    assert found == pytest.approx(support)


@pytest.mark.parametrize(
    ("values", "bounds", "says"),
    [
        ([0.5, -1.5], (0, None), "row 2, column 'a': -1.5 is outside the bounds 0:; correct it"),
        ([5, 130], (0, 120), "row 2, column 'a': 130 is outside the bounds 0:120"),
        ([5, 13], (9, 2), "--bounds a=9:2: the lower bound must be below the upper one"),
        ([5, 13], (np.nan, 2), "a bound must be finite"),
        ([5, 13], ("x", 2), "--bounds a=x:2: a bound must be a number, got 'x'"),
        ([5, 6], (5.2, 5.8), "--bounds a=5.2:5.8: no integer lies between them"),
        (["A", "B", "A"], (0, 1), "column 'a' is of categories, which have no bounds"),
        (["2024-05-17"], ("2024-06-01", None), "row 1, column 'a': 2024-05-17 is outside"),
        (["2024-05-17"], (0, None), "--bounds a: 0 is not a date or time"),
        (["2024-05-17"], ("soon", None), "write it as 2024-05-17"),
        ([5, 6], 5, "the bounds of column 'a' must be a pair (lower, upper), not 5"),
        ([5, 6], "0:9", "must be a pair (lower, upper), not '0:9'"),
    ],
)
def test_bounds_that_do_not_fit(values, bounds, says):
    assert says in refusal(values, bounds={"a": bounds})


def test_bounds_as_typed():
    assert parse_bounds("0:120") == (0.0, 120.0)
    assert parse_bounds(":-2.5e3") == (None, -2500.0)
    assert parse_bounds("2024-05-17:") == ("2024-05-17", None)
    assert parse_bounds("2024-05-17T08:30:2024-05-18T09:15") == (
        "2024-05-17T08:30",
        "2024-05-18T09:15",
    )
    for wrong in ("5", "", ":", "1:2:3"):
        with pytest.raises(ValueError, match="bounds must be LOWER:UPPER"):
            parse_bounds(wrong)


def test_files_of_every_kind_agree(tmp_path):
    frame = pd.DataFrame({"a": np.round(NORMAL, 1), "b": RNG.integers(0, 9, 200)})
    np.save(tmp_path / "a.npy", frame.to_numpy())
    frame.to_csv(tmp_path / "a.csv", index=False)
    kinds = [
        [column.kind for column in Columns.infer(read_table(tmp_path / name)).features]
        for name in ("a.npy", "a.csv")
    ]
    assert kinds == [["step", "integer"]] * 2
