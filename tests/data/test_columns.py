"""The schema of a table: numbers for a model and back, names, roles, contexts, and as JSON."""

import json
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from diffeo.data import Column, Columns, DataError, drop_missing, read_table, write_table
from diffeo.supports import Support

FRAME = pd.DataFrame({"a": [1, 2], "b": [0.5, -3.0], "c": [7, 8]})
COLUMNS = Columns.infer(FRAME, types={"*": "real"})

RNG = np.random.default_rng(0)
ROWS = 300
MIXED = pd.DataFrame(
    {
        "age": RNG.integers(0, 100, ROWS),
        "children": RNG.poisson(2, ROWS),
        "income": RNG.integers(0, 3_000_000, ROWS),
        "price": np.round(RNG.gamma(2, 3, ROWS), 1),
        "quarter": RNG.integers(-8, 8, ROWS) * 0.25,
        "site": RNG.choice(["B", "A", "C"], ROWS),
        "code": RNG.choice([10, 20, 30], ROWS),
        "level": RNG.choice([0.5, 1.5], ROWS),
        "flag": RNG.random(ROWS) < 0.3,
        "height": RNG.normal(size=ROWS).astype("float32"),
        "seconds": 1.7e9 + np.round(RNG.normal(size=ROWS), 2),
        "day": pd.Timestamp("2024-05-17") + pd.to_timedelta(RNG.integers(0, 9, ROWS), "D"),
        "instant": pd.Timestamp("2024-05-17 08:30", tz="Europe/Berlin")
        + pd.to_timedelta(RNG.integers(0, 900, ROWS), "s"),
    }
)
TYPES = {"code": "category", "level": "category", "quarter": "step:0.25", "seconds": "real"}
KINDS = Columns.infer(MIXED, types=TYPES)


def error(act, *args, **kwargs):
    with pytest.raises(DataError) as caught:
        act(*args, **kwargs)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# Numbers and back


@pytest.mark.parametrize("name", list(MIXED.columns))
def test_every_kind_comes_back_in_its_type(name):
    back = KINDS.decode(KINDS.encode(MIXED).x)[name]
    if name == "seconds":
        assert back.dtype == np.float64
        assert np.abs(back - MIXED[name]).max() < 1e-6
    elif name == "height":  # as float32 is written: 0.1 and not 0.10000000149
        assert back.dtype == np.float64
        assert (back.astype(np.float32) == MIXED[name]).all()
        assert back.astype(str).str.len().max() <= 13
    else:
        pd.testing.assert_series_equal(back, MIXED[name], check_freq=False)


def test_codes_lie_in_the_supports():
    x = KINDS.encode(MIXED).x
    assert x.dtype == torch.float32
    for i, support in enumerate(KINDS.supports):
        assert not Support(**support, closed=True).outside(x[:, i]).any(), KINDS.names[i]


@pytest.mark.parametrize("name", ["age", "children", "price", "quarter", "site", "day", "flag"])
def test_whatever_a_model_gives_decodes_to_the_type(name):
    wild = torch.tensor([-1e30, -5.4, 0.3, 2.6, 1e30])[:, None].expand(5, len(KINDS))
    back = KINDS.decode(wild)[name]
    assert back.dtype == MIXED[name].dtype
    again = KINDS.encode(KINDS.decode(wild)).x[:, KINDS.names.index(name)]
    assert torch.equal(again, again.round())


def test_rows_that_are_no_numbers_are_not_decoded():
    x = KINDS.encode(MIXED).x[:1].clone()
    x[0, 0] = torch.nan
    with pytest.raises(ValueError, match="column 'age': codes can't be NaN"):
        KINDS.decode(x)


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.integers(-(2**17), 2**17), min_size=1, max_size=30),
    st.integers(-(10**12), 10**12),
    st.sampled_from(["integer", "step:1", "step:0.01", "step:0.25"]),
)
def test_whole_steps_come_back(steps, offset, kind):
    unit = 1.0 if kind == "integer" else float(kind[5:])
    values = np.array([step + offset for step in steps])
    frame = pd.DataFrame({"a": values if kind == "integer" else values * unit})
    columns = Columns.infer(frame, types={"a": kind})
    back = columns.decode(columns.encode(frame).x)["a"]
    np.testing.assert_allclose(back, frame["a"], rtol=1e-15, atol=0)


def test_values_on_a_bound_move_inside():
    frame = pd.DataFrame({"a": [0.0, 0.5, 1.0, 1e-30]})
    columns = Columns.infer(frame, bounds={"a": (0, 1)}, types={"a": "real"})
    margin = 1e-4 * frame["a"].std(ddof=0)
    x = columns.encode(frame).x[:, 0]
    assert x.tolist() == pytest.approx([margin, 0.5, 1 - margin, 1e-30], rel=1e-5)
    assert columns.decode(torch.tensor([[-5.0], [7.0]]))["a"].tolist() == [0, 1]
    outside = columns.encode(pd.DataFrame({"a": [-1e-9, 2.0]})).x[:, 0]
    assert Support(0.0, 1.0, closed=True).outside(outside).all()


def test_decoded_values_lie_within_bounds_that_float32_can_not_hold():
    columns = Columns.infer(pd.DataFrame({"a": [0.15, 0.2]}), bounds={"a": (0.1, 0.7)})
    back = columns.decode(torch.tensor([[-9.0], [9.0]]))["a"].astype(float)
    assert back.min() >= 0.1
    assert back.max() <= 0.7


def test_large_means_are_subtracted():
    frame = pd.DataFrame({"a": 1.7e9 + RNG.normal(size=100), "b": 5 + RNG.normal(size=100)})
    columns = Columns.infer(frame)
    assert [column.offset for column in columns.features] == [1.7e9, 0]
    assert np.abs(columns.encode(frame).x[:, 0].numpy() - (frame["a"] - 1.7e9)).max() < 1e-6
    assert columns.supports is None


def test_values_beyond_what_was_seen_have_codes_outside():
    frame = pd.DataFrame({"n": [0, 3] * 50, "s": ["A", "B"] * 50})
    columns = Columns.infer(frame, bounds={"n": (0, 5)})
    x = columns.encode(pd.DataFrame({"n": [6, -1], "s": ["C", "A"]})).x
    assert x.tolist() == [[6, -1], [-1, 0]]


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("age", 2.5, "row 2, column 'age': 2.5 is no integer, which the column is taken to hold"),
        ("price", 0.123, "row 2, column 'price': 0.123 is no multiple of 0.1"),
        ("day", pd.Timestamp("2024-05-17 08:30"), "2024-05-17T08:30:00.000000 is no whole day"),
        ("day", "soon", "row 2, column 'day': 'soon' is not a date or time"),
        ("day", pd.Timestamp("2024-05-17", tz="UTC"), "'day' has a time zone, but the model was"),
        ("instant", "2024-05-17", "'instant' has no time zone, but the model was trained on"),
        ("height", "tall", "row 2, column 'height': 'tall' is not a number"),
        ("height", np.inf, "row 2, column 'height': the value is infinite"),
        ("site", None, "row 2, column 'site': a value is missing"),
        ("day", None, "row 2, column 'day': a value is missing"),
    ],
)
def test_values_of_another_type_are_refused(name, value, says):
    second = [value] * 2 if "zone" in says else [MIXED[name].iloc[0], value]
    frame = MIXED[:2].assign(**{name: pd.Series(second, dtype=object)})
    said = error(KINDS.encode, frame)
    assert says in said
    assert "correct it, or --type" not in said  # what columns hold is settled by now


@pytest.mark.parametrize(
    ("trained", "scored", "codes"),
    [
        ([1, 2, 10, 1], [1.0, "2", "10", "01", 3, "x"], [0, 1, 2, 0, -1, -1]),
        ([True, False, True], ["True", "false", True], [1, 0, 1]),
        (["True", "x", "x"], [True, "x", "true"], [0, 1, 0]),
        (["01", "1", "01"], ["01", "1", 1, "1.0", "001"], [0, 1, 1, 0, 0]),
        ([0.5, 1.0, 0.5], ["0.5", 1, "1"], [0, 1, 1]),
        (pd.Categorical(["lo", "hi", "lo"], ["lo", "hi"], ordered=True), ["hi", "lo"], [1, 0]),
    ],
)
def test_categories_are_known_as_text(trained, scored, codes):
    columns = Columns.infer(pd.DataFrame({"a": trained}), types={"a": "category"})
    for value, code in zip(scored, codes, strict=True):
        found = columns.encode(pd.DataFrame({"a": pd.Series([value], dtype=object)})).x
        assert found.item() == code, value
    assert columns.text_columns == (() if not isinstance(trained[0], str) else ("a",))


# Names and roles


def test_columns_are_matched_by_name():
    x = COLUMNS.encode(FRAME[["c", "a", "b"]]).x
    assert x.tolist() == [[1, 0.5, 7], [2, -3, 8]]


def test_decode_checks_the_shape():
    with pytest.raises(ValueError, match=r"expected shape \(rows, 3\), got \(1, 2\)"):
        COLUMNS.decode(torch.zeros(1, 2))


def test_other_columns_are_refused_by_name():
    says = error(COLUMNS.encode, FRAME[["a", "c"]])
    assert says == "lacks the column 'b'; the columns must be 'a', 'b', 'c'"
    assert "has the unknown columns 'd', 'e'" in error(COLUMNS.encode, FRAME.assign(d=1, e=2))
    says = error(COLUMNS.encode, FRAME.rename(columns={"a": "A"}))
    assert "lacks the column 'a' and has the unknown column 'A'" in says
    twice = FRAME.set_axis(["a", "b", "b"], axis=1)
    assert "has two columns named 'b'; rename one" in error(Columns.infer, twice)
    assert "has no rows" in error(Columns.infer, FRAME[:0])


def test_files_without_names_are_taken_in_order(tmp_path):
    path = tmp_path / "x.npy"
    write_table(FRAME, path)
    assert torch.equal(COLUMNS.encode(read_table(path)).x, COLUMNS.encode(FRAME).x)
    columns = Columns.infer(FRAME, types={"*": "real"}, drop="b")
    assert columns.encode(read_table(path)).x.tolist() == [[1, 7], [2, 8]]
    write_table(FRAME[["a", "c"]], path)
    assert columns.encode(read_table(path)).x.tolist() == [[1, 7], [2, 8]]
    assert "x.npy: lacks the columns 'a', 'b', 'c'" in error(COLUMNS.encode, read_table(path))


def test_columns_numbered_by_pandas():
    frame = pd.DataFrame(np.arange(4.0).reshape(2, 2))
    columns = Columns.infer(frame)
    assert columns.names == ("0", "1")
    assert len(columns) == 2


def test_roles():
    columns = Columns.infer(
        MIXED.assign(w=2), types=TYPES, drop=["income", "*nt"], context=["site"], weight="w"
    )
    roles = {column.name: column.role for column in columns.columns}
    assert {name for name, role in roles.items() if role == "dropped"} == {"income", "instant"}
    assert [column.name for column in columns.given] == ["site"]
    assert columns.weight == "w"
    assert "site" not in columns.names
    assert "w" not in columns.names
    encoded = columns.encode(MIXED.assign(w=2))
    assert encoded.x.shape == (ROWS, len(columns))
    assert encoded.context.shape == (ROWS, columns.context_features) == (ROWS, 3)
    assert encoded.weights.tolist() == [2.0] * ROWS
    assert columns.encode(MIXED.drop(columns="income")).weights is None
    only = Columns.infer(FRAME, only=["a"], context=["c"])
    assert [column.role for column in only.columns] == ["feature", "dropped", "context"]


def test_exact_names_win_over_patterns():
    columns = Columns.infer(FRAME, types={"a": "integer", "*": "real", "c*": "category"})
    assert [column.kind for column in columns.features] == ["integer", "real", "category"]
    columns = Columns.infer(FRAME, only="*", drop="b", bounds={"*": (-9, 9), "a": (0, None)})
    assert columns.names == ("a", "c")
    assert "lower" in columns.supports[0]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"drop": ["bb"]}, "there is no column 'bb' (named in --drop); did you mean 'b'?"),
        ({"types": {"weight": "real"}}, "(named in --type); the columns are 'a', 'b', 'c'"),
        ({"types": {"z*": "real"}}, "no column matches 'z*' (named in --type)"),
        ({"bounds": {"A": (0, 1)}}, "there is no column 'A' (named in --bounds)"),
        ({"only": ["d"]}, "(named in --columns)"),
        ({"context": ["d"]}, "(named in --context)"),
        ({"weight": "d"}, "(named in --weight)"),
        ({"drop": ["a"], "context": ["a"]}, "column 'a' can't be in both --drop and --context"),
        ({"only": ["a"], "drop": ["a"]}, "column 'a' can't be in both --drop and --columns"),
        ({"context": ["a", "b", "c"]}, "no columns to model"),
        ({"context": ["a"], "bounds": {"a": (0, 9)}}, "column 'a' is context, and bounds are for"),
        ({"weight": "b"}, "row 2, column 'b': -3 can't be a weight; weights are numbers from 0"),
    ],
)
def test_options_that_do_not_fit(options, says):
    assert says in error(Columns.infer, FRAME, **options)


def test_weights_that_are_all_zero():
    assert "column 'a': every weight is 0" in error(Columns.infer, FRAME.assign(a=0), weight="a")


def test_other_things_than_frames_are_refused():
    class Frame:  # beartype, where it checks, is before
        columns = ("a",)

    with pytest.raises(Exception, match="DataFrame"):
        Columns.infer(Frame())


# Contexts


def test_contexts_are_standardized_and_one_hot():
    columns = Columns.infer(MIXED, types=TYPES, context=["site", "age", "instant", "flag"])
    context = columns.encode_context(MIXED[["flag", "age", "site", "instant"]])
    assert context.shape == (ROWS, columns.context_features) == (ROWS, 7)
    age, site, flag, instant = context[:, 0], context[:, 1:4], context[:, 4:6], context[:, 6]
    for numbers in (age, instant):
        assert numbers.mean().abs() < 1e-5
        assert numbers.std(correction=0).item() == pytest.approx(1, abs=1e-5)
    assert site.argmax(-1).tolist() == ["ABC".index(s) for s in MIXED["site"]]
    assert torch.equal(flag.sum(-1), torch.ones(ROWS))
    between = columns.encode_context(MIXED[:1].assign(age=20.5))
    assert between.shape == (1, 7)
    assert columns.encode_context(pd.DataFrame({**MIXED.iloc[0], "age": ["20"]})).shape == (1, 7)


@pytest.mark.parametrize(
    ("values", "given", "says"),
    [
        ([14.0, 20.0, 34.0], "400", "'400' lies beyond 14 … 34, the contexts of training;"),
        ([14.0, 20.0, 34.0], "11.9", "'11.9' lies beyond"),
        ([14.0, 20.0, 34.0], "12.1", None),
        ([1e9, 1e9, 1e9], "1000000000", None),
        ([1e9, 1e9, 1e9], "1000200000", "beyond 1e+09 … 1e+09,"),
        ([3, 5, 4], "6", "'6' lies beyond 3 … 5,"),
        (["2024-01-01", "2024-03-01"], "2025-01-01", "2024-01-01 00:00:00 … 2024-03-01 00:00:00,"),
    ],
)
def test_contexts_far_from_those_of_training_are_warned_of(values, given, says):
    types = {"c": "integer" if values == [3, 5, 4] else "datetime" if len(values) == 2 else "real"}
    frame = pd.DataFrame({"x": np.arange(len(values)) / 7, "c": values})
    columns = Columns.from_json(Columns.infer(frame, types=types, context=["c"]).to_json())
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        columns.encode_context(pd.DataFrame({"c": [str(values[0]), given]}))
    told = [str(each.message) for each in caught]
    assert len(told) == (says is not None)
    if says is not None:
        assert says in told[0] and told[0].startswith("row 2, column 'c'")


def test_contexts_that_do_not_fit(tmp_path):
    columns = Columns.infer(MIXED, types=TYPES, context=["site", "age"])
    assert "lacks the context column 'site'" in error(columns.encode_context, MIXED[["age"]])
    assert "lacks the context columns 'age', 'site'" in error(columns.encode, MIXED[["day"]])
    path = tmp_path / "c.csv"
    path.write_text("site,age\nA,1\n\nD,2\n")
    assert error(columns.encode_context, read_table(path)) == (
        f"{path}, line 4, column 'site': the category 'D' is unknown; the model was trained on "
        "'A', 'B', 'C'"
    )
    many = pd.DataFrame({"a": np.arange(1001).astype(str), "b": 1.5})
    says = error(Columns.infer, many, types={"a": "category"}, context=["a"])
    assert "has 1,001 categories, too many for a context (at most 1,000)" in says
    with pytest.raises(ValueError, match="no context columns"):
        COLUMNS.encode_context(FRAME)


# Gaps


def test_rows_with_gaps_can_be_left_out(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("a,b,c\n1,x,5\n,y,5\n3,,5\n4,z,\n5,w,oops\n")
    frame = read_table(path)
    assert "line 3, column 'a': a value is missing; fill it in, or leave" in error(
        Columns.infer, frame, drop="c"
    )
    kept, dropped = drop_missing(frame, drop="c")
    assert (list(kept.index), dropped) == ([0, 3, 4], 2)
    columns = Columns.infer(kept, drop="c", types={"b": "category"})
    assert columns.encode(columns.complete(frame)[0]).x.shape == (3, 2)
    kept, dropped = drop_missing(frame, drop="b")
    assert dropped == 2
    assert "line 6, column 'c': 'oops' is not a number" in error(Columns.infer, kept, drop="b")
    whole, none = COLUMNS.complete(FRAME)
    assert whole is FRAME
    assert none == 0
    gone = pd.DataFrame({"a": [1, None], "b": [None, 1.0]})
    assert "every row has a missing value" in error(drop_missing, gone)


# Words and JSON


def test_columns_are_described():
    columns = Columns.infer(
        MIXED.assign(w=1.0), types=TYPES, context=["level"], weight="w", drop="flag",
        bounds={"age": (0, 120), "height": (-10, None)},
    )  # fmt: skip
    assert dict(columns.describe()) == {
        "age": "integer 0 … 120",
        "children": "integer 0 … 19" if KINDS.features[1].upper else "integer 0 … (counts)",
        "income": "integer 0 … (counts), modelled as real",
        "price": "multiples of 0.1 from 0",
        "quarter": "multiples of 0.25",
        "site": "category of 3: A, B, C",
        "code": "category of 3: 10, 20, 30",
        "level": "category of 2: 0.5, 1.5 (context)",
        "flag": "left out",
        "height": "real from -10",
        "seconds": "real",
        "day": "date, in days, 2024-05-07 to 2024-06-04",
        "instant": "date and time, in seconds (Europe/Berlin)",
        "w": "weight of the row",
    }


def test_categories_are_described_on_one_line():
    columns = Columns.infer(pd.DataFrame({"a": ["x\ny", "z"] * 5}))
    assert columns.describe() == [("a", r"category of 2: 'x\ny', z")]


def test_impossible_values_are_named_column_by_column():
    frame = pd.DataFrame({"a": ["x", "y"] * 50, "k": [0, 4] * 50, "h": np.linspace(0, 1, 100)})
    columns = Columns.infer(frame)
    assert columns.why_impossible(frame) == []
    later = pd.DataFrame({"a": ["x", "q", "r"], "k": [3, 4, 99], "h": [0.0, 7.0, 9.0]})
    assert columns.why_impossible(later) == [
        "row 2, column 'a': 'q' is an unknown category (and 1 more in this column); the column is "
        "category of 2: x, y in the table to learn from",
        "row 3, column 'k': '99' is out of range; the column is integer 0 … 14 in the table to "
        "learn from",
    ]


def test_names_of_several_levels_are_refused():
    frame = pd.DataFrame([[1, 2]], columns=pd.MultiIndex.from_tuples([("a", "1"), ("a", "2")]))
    assert "names of several levels; join each to one" in error(Columns.infer, frame)


def test_the_schema_is_plain_values():
    assert COLUMNS.to_json() == [{"name": n, "kind": "real"} for n in "abc"]
    assert Columns.from_json([{"name": n} for n in "abc"]) == COLUMNS
    columns = Columns.infer(
        MIXED.assign(w=1.0), types=TYPES, context=["level", "day"], weight="w", drop="flag",
        bounds={"age": (0, 120), "height": (-10, 10)},
    )  # fmt: skip
    text = json.dumps(columns.to_json(), allow_nan=False)
    assert Columns.from_json(json.loads(text)) == columns


@pytest.mark.parametrize(
    ("damaged", "says"),
    [
        ([{"kind": "real"}], "column 1 of the schema has no name"),
        ({"name": "a"}, "the schema is no list of columns"),
        ([{"name": "a", "kind": "image"}], "column 'a': unknown kind 'image'"),
        ([{"name": "a", "kind": "real", "colour": 2}], "unknown entry 'colour'"),
        ([{"name": "a", "kind": "real", "step": 2}], "'a' of the schema: step can't be 2"),
        ([{"name": "a", "kind": "step", "step": -1.0}], "step can't be -1.0"),
        ([{"name": "a", "kind": "step"}], "step can't be None"),
        ([{"name": "a", "kind": "datetime", "step": "week"}], "step can't be 'week'"),
        ([{"name": "a", "kind": "category"}], r"values can't be \(\)"),
        ([{"name": "a", "kind": "category", "values": ["x", "x"]}], "values can't be"),
        ([{"name": "a", "kind": "category", "values": [["x"]]}], "values can't be"),
        ([{"name": "a", "kind": "category", "values": 3}], "can't be"),
        ([{"name": "a", "offset": "x"}], "offset can't be 'x'"),
        ([{"name": "a", "offset": float("nan")}], "offset can't be nan"),
        ([{"name": "a", "kind": "integer", "lower": 0.5}], "lower can't be 0.5"),
        ([{"name": "a", "lower": 2, "upper": 1}], "upper can't be 1"),
        ([{"name": "a", "std": 0}], "std can't be 0"),
        ([{"name": "a", "role": "target"}], "role can't be 'target'"),
        ([{"name": "a", "role": ["x"]}], "role can't be"),
        ([], "no columns"),
        ([{"name": "a"}, {"name": "a"}], "two columns are named 'a'"),
        ([{"name": "a", "role": "context"}], "no columns to model"),
        ([{"name": "a"}, {"name": "b", "role": "weight"}, {"name": "c", "role": "weight"}], "one"),
    ],
)
def test_damaged_schemas_are_refused(damaged, says):
    with pytest.raises(DataError, match=says):
        Columns.from_json(damaged)


def test_a_column_checks_itself():
    with pytest.raises(DataError, match="unknown kind"):
        Column("a", "imaginary")


def test_large_integers_come_back_as_large():
    values = RNG.integers(2**60, 2**62, 200)
    columns = Columns.infer(frame := pd.DataFrame({"n": values}))
    back = columns.decode(columns.encode(frame).x)["n"]
    assert (np.abs(back / values - 1) < 1e-6).all()
    far = columns.decode(torch.tensor([[3e38], [-3e38]]))["n"]
    assert far[0] > 2**62 and far.dtype == np.int64


def test_numbers_with_leading_zeros_are_codes(tmp_path):
    codes = RNG.choice(["01069", "10115", "99999"], 60)
    frame = pd.DataFrame({"zip": codes, "x": RNG.normal(size=60)})
    assert Columns.infer(frame).features[0].values == ("01069", "10115", "99999")
    write_table(frame, tmp_path / "t.csv")
    assert Columns.infer(read_table(tmp_path / "t.csv")).features[0].kind == "category"
    plain = pd.DataFrame({"n": ["0", "10", "25"] * 20})
    assert Columns.infer(plain).features[0].kind == "integer"
