"""Tables: frames in and out, units, contexts, percentiles, folders."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import diffeo
from diffeo import Table
from diffeo.data import Columns, DataError
from diffeo.io import ModelFileError
from diffeo.train import evaluate, fit, score
from tests.frames import BOUNDS, mixed_frame

FIXTURES = Path(__file__).parent / "fixtures"
SMALL = {"transforms": 1, "hidden": (8,)}


@pytest.fixture(scope="module")
def frame():
    return mixed_frame(300)


@pytest.fixture(scope="module")
def table(frame):
    """A table that has seen its data."""
    torch.manual_seed(0)
    made = Table.create("maf", frame, bounds=BOUNDS, types={"depth": "step:0.1"}, **SMALL)
    fit(made, frame, max_steps=20, progress=False)
    return made


@pytest.fixture(scope="module")
def conditioned(frame):
    """A model of the other columns given two."""
    torch.manual_seed(0)
    made = Table.create("maf", frame, bounds=BOUNDS, context=["site", "level"], **SMALL)
    fit(made, frame, max_steps=20, progress=False)
    return made


def test_scores_keep_the_frames_index_and_are_those_of_the_encoded_rows(table, frame):
    some = frame.iloc[40:60]
    scores = table.log_prob(some)
    assert isinstance(scores, pd.Series) and list(scores.index) == list(some.index)
    assert np.isfinite(scores).all()
    expected = score(table.density, table.columns.encode(some).x)
    np.testing.assert_array_equal(scores, expected)


def test_a_rows_score_is_the_same_whatever_its_place_and_company(table, frame):
    whole = table.log_prob(frame)
    np.testing.assert_allclose(table.log_prob(frame.iloc[::-7]), whole.iloc[::-7], rtol=1e-5)
    np.testing.assert_allclose(table.log_prob(frame.iloc[[5]]), whole.iloc[[5]], rtol=1e-5)


def test_samples_have_every_type_and_bound(table, frame):
    drawn = table.sample(2000, seed=0)
    assert list(drawn.columns) == list(frame.columns)
    kinds = [[dtype.kind for dtype in each.dtypes] for each in (drawn, frame)]
    assert kinds[0] == kinds[1], drawn.dtypes
    assert set(drawn["site"]) <= set(frame["site"])
    assert (drawn["visits"] >= 0).all()
    assert drawn["share"].between(0, 1).all()
    assert np.allclose(drawn["depth"], drawn["depth"].round(1), atol=0)
    assert (drawn["day"] == drawn["day"].dt.normalize()).all()
    assert table.sample(20, seed=1).equals(table.sample(20, seed=1))
    assert not table.sample(20, seed=1).equals(table.sample(20, seed=2))
    assert table.sample(0).shape == (0, frame.shape[1])


def test_units(frame):
    """Grams instead of kilograms: a density falls by the factor, probabilities stay."""
    some = frame[["site", "level"]]
    scores = []
    for factor in (1.0, 1000.0):
        torch.manual_seed(0)
        scaled = some.assign(level=some["level"] * factor)
        made = Table.create("gaussian", scaled)
        rows = made.columns.encode(scaled)
        made.density.initialize(rows.x)
        scores.append(made.log_prob(scaled))
    np.testing.assert_allclose(scores[1] + np.log(1000.0), scores[0], rtol=1e-4, atol=1e-3)


def test_an_unknown_category_is_impossible(table, frame):
    scores = table.log_prob(frame.iloc[:3].assign(site=["north", "east", "west"]))
    assert list(np.isfinite(scores)) == [True, False, True]


def test_samples_follow_what_is_given(conditioned, frame):
    drawn = conditioned.sample(50, {"site": "west", "level": 4.0}, seed=0)
    assert list(drawn.columns) == list(frame.columns)
    assert (drawn["site"] == "west").all() and (drawn["level"] == 4.0).all()
    given = frame[["site", "level"]].iloc[:3]
    drawn = conditioned.sample(2, given, seed=0)
    expected = given.iloc[[0, 0, 1, 1, 2, 2]].reset_index(drop=True)
    pd.testing.assert_frame_equal(drawn[["site", "level"]], expected)


def test_samples_of_many_contexts_are_those_of_each(conditioned, frame, monkeypatch):
    """Rows of one context stand together, in pieces of any size."""
    given = pd.DataFrame({"site": ["north"] * 3, "level": [-30.0, 0.0, 30.0]})
    for at_once in (4, 1000):
        monkeypatch.setattr("diffeo.table.AT_ONCE", at_once)
        drawn = conditioned.sample(6, given, seed=0, temperature=0.0)
        assert list(drawn["level"]) == [-30.0] * 6 + [0.0] * 6 + [30.0] * 6
        depth = drawn["depth"].to_numpy().reshape(3, 6)
        assert depth.std(1).max() < 1e-4 < np.abs(np.diff(depth.mean(1))).min()


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (None, "conditioned on site, level"),
        ({"site": "west"}, "'level'"),
        ({"site": "east", "level": 1.0}, "'east'"),
        ({"site": "west", "level": "high"}, "'high'"),
        ({"site": "west", "level": 1.0, "depth": 3.0}, "'depth'"),
        ({"site": "west", "level": 1.0, "foo": 3.0}, "not conditioned on 'foo'; .* site, level"),
    ],
)
def test_a_wrong_context_is_refused(conditioned, given, expected):
    with pytest.raises(DataError, match=expected):
        conditioned.sample(3, given)


def test_a_context_that_is_not_wanted_is_refused(table):
    with pytest.raises(DataError, match="leave `given` out"):
        table.sample(3, {"site": "west"})


def test_percentiles_are_among_the_validation_rows(table):
    known = Table(table.density, table.columns, {"validation_scores": torch.tensor([-3.0, -2, -1])})
    assert known.percentile([-4.0, -3.0, -1.5, 0.0]).tolist() == [0, 1 / 3, 2 / 3, 1]
    with pytest.raises(ValueError, match="train it with"):
        Table(table.density, table.columns).percentile([0.0])


def test_a_folder_gives_the_table_back(table, frame, tmp_path):
    known = Table(table.density, table.columns, {"validation_scores": torch.tensor([-3.0, -2, -1])})
    diffeo.save(known, tmp_path / "m")
    again = diffeo.load(tmp_path / "m")
    assert isinstance(again, Table) and again.columns == table.columns
    assert again.log_prob(frame).equals(table.log_prob(frame))
    assert again.sample(9, seed=3).equals(table.sample(9, seed=3))
    assert again.percentile([-2.5]) == [1 / 3]
    (tmp_path / "m/reference.safetensors").write_bytes(b"cut short")
    with pytest.raises(ModelFileError, match=r"reference.safetensors: damaged"):
        diffeo.load(tmp_path / "m")


def test_overwriting_replaces_what_scores_were_compared_with(table, tmp_path):
    scores = {"validation_scores": torch.tensor([-3.0, -2.0])}
    diffeo.save(Table(table.density, table.columns, scores), tmp_path / "m")
    with pytest.raises(ModelFileError, match="exists"):
        diffeo.save(table, tmp_path / "m")
    other = {"validation_scores": torch.tensor([-9.0])}
    diffeo.save(Table(table.density, table.columns, other), tmp_path / "m", overwrite=True)
    assert diffeo.load(tmp_path / "m").percentile([-5.0]) == [1.0]
    kept = (tmp_path / "m/reference.safetensors").read_bytes()
    diffeo.save(Table(table.density, table.columns), tmp_path / "m", overwrite=True)
    assert diffeo.load(tmp_path / "m").reference == {}
    diffeo.save(Table(table.density, table.columns, scores), tmp_path / "m", overwrite=True)
    (tmp_path / "m/reference.safetensors").write_bytes(kept)
    with pytest.raises(ModelFileError, match="is not the file"):
        diffeo.load(tmp_path / "m")


def test_fit_and_evaluate_take_frames(table, frame):
    evaluation = evaluate(table, frame)
    assert (evaluation.rows, evaluation.dimensions, evaluation.bound) == (300, 7, True)
    assert abs(evaluation.log_likelihood - table.log_prob(frame).mean()) < 0.3
    with pytest.raises(TypeError, match="give neither"):
        evaluate(table, frame, context=frame)
    with pytest.raises(TypeError, match="a Density, a Table, an ImageModel or a SoundModel"):
        evaluate(frame, frame)


def test_weights_are_a_column(frame):
    """Rows of weight 0 count nothing; a row is scored whatever its weight."""
    some = frame[["level", "share"]]
    weighted = some.assign(w=np.where(frame["site"] == "north", 3.0, 0.0))
    made = Table.create("gaussian", weighted, bounds=BOUNDS, weight="w")
    fit(made, weighted, max_steps=5, progress=False)
    counted, rest = (weighted[kept] for kept in (weighted["w"] > 0, weighted["w"] == 0))
    whole, part = evaluate(made, weighted), evaluate(made, counted)
    assert whole.log_likelihood == pytest.approx(part.log_likelihood, abs=1e-5)
    assert whole.standard_error == pytest.approx(part.standard_error, rel=1e-5)
    assert whole.log_likelihood > evaluate(made, some).log_likelihood + 0.1
    assert np.isfinite(made.log_prob(rest)).all()
    with pytest.raises(ValueError, match="positive weight"):
        evaluate(made, rest)


def test_what_does_not_fit_is_refused(table):
    columns = Columns.infer(mixed_frame(60)[["level", "share"]])
    with pytest.raises(ValueError, match="columns of 2 features"):
        Table(table.density, columns)


def test_format_2_is_read_for_ever():
    """A folder that an earlier version wrote must load and give these scores in every later one."""
    table = diffeo.load(FIXTURES / "format2")
    frame = pd.read_csv(FIXTURES / "format2/rows.csv")
    expected = json.loads((FIXTURES / "format2/expected.json").read_text())["log_prob"]
    np.testing.assert_allclose(table.log_prob(frame), expected, rtol=1e-4)
    assert table.percentile([-15.0]) == [0.5]
    assert table.sample(2, {"site": "west", "level": 0.0}).shape == (2, 7)


def test_format_1_is_a_table_of_real_columns():
    table = diffeo.load(FIXTURES / "format1")
    expected = json.loads((FIXTURES / "format1/expected.json").read_text())
    frame = pd.DataFrame(expected["x"], columns=["height", "weight"])
    np.testing.assert_allclose(table.log_prob(frame), expected["log_prob"], rtol=1e-4)
