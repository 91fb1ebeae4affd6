"""Tables of every kind of column, from the file to the samples: types, bounds, contexts, gaps."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from diffeo.cli.columns import values
from tests.cli.conftest import QUICK
from tests.frames import mixed_frame

BOUNDS = ("--bounds", "share=0:1")


@pytest.fixture(scope="session")
def mixed(tmp_path_factory) -> Path:
    """A folder with a table of every kind of column, "all.csv", and another, "more.csv"."""
    folder = tmp_path_factory.mktemp("mixed tables ü")
    mixed_frame(300).to_csv(folder / "all.csv", index=False)
    mixed_frame(60, seed=1).to_csv(folder / "more.csv", index=False)
    return folder


def test_the_whole_path(diffeo, mixed, empty):
    words = ("train", "maf", mixed / "all.csv", "--out", "runs/a b", *BOUNDS, "--drop", "level")
    outcome = diffeo(*words, "--type", "wet=category", "--type", "depth=step:0.1", *QUICK)
    assert outcome.status == 0, outcome.err
    for line in (
        "site: category of 3: north, south, west",
        "wet: category of 2: False, True",
        "share: real 0 to 1",
        "level: left out",
        "day: date, in days",
        "depth: multiples of 0.1",
    ):
        assert f"  {line}" in outcome.err
    assert "nats a row, a lower bound" in outcome.out
    told = json.loads(diffeo("evaluate", "runs/a b", mixed / "more.csv", "--json").out)
    assert (told["unit"], told["bound"], told["rows"], told["dimensions"]) == ("nats", True, 60, 6)
    assert set(told["baselines"]) == {"gaussian", "independent"}
    assert diffeo("sample", "runs/a b", "-n", 500, "--out", "drawn.csv", "--seed", 1).status == 0
    drawn, given = pd.read_csv("drawn.csv"), pd.read_csv(mixed / "all.csv")
    assert list(drawn) == [name for name in given if name != "level"]
    assert all(drawn[name].dtype.kind == given[name].dtype.kind for name in drawn)
    assert set(drawn["site"]) <= {"north", "south", "west"}
    assert drawn["share"].between(0, 1).all() and (drawn["visits"] >= 0).all()
    assert pd.to_datetime(drawn["day"], format="%Y-%m-%d").notna().all()
    words = ("score", "runs/a b", mixed / "more.csv", "--out", "scores.parquet")
    outcome = diffeo(*words, "--threshold", 0.2)
    scores = pd.read_parquet("scores.parquet")
    assert list(scores) == ["row", "log_likelihood", "percentile", "flagged"]
    assert scores["percentile"].between(0, 1).all()
    assert (scores["flagged"] == (scores["percentile"] < 0.2)).all()
    assert f"flagged: {scores['flagged'].sum()} row" in outcome.out


def test_a_conditional_model(diffeo, mixed, empty):
    words = ("train", "maf", mixed / "all.csv", "--out", "c", *BOUNDS, "--context", "site,level")
    outcome = diffeo(*words, *QUICK)
    assert outcome.status == 0, outcome.err
    assert "site: category of 3: north, south, west (context)" in outcome.err
    words = ("sample", "c", "-n", 4, "--given", "site=west,level=-2.5", "--out", "drawn.csv")
    assert diffeo(*words).status == 0
    drawn = pd.read_csv("drawn.csv")
    assert set(drawn["site"]) == {"west"} and set(drawn["level"]) == {-2.5}
    Path("wanted.csv").write_text("level,site\n1.5,north\n2.5,south\n")
    words = ("sample", "c", "-n", 2, "--context-file", "wanted.csv", "--out", "drawn.tsv")
    assert diffeo(*words).status == 0
    drawn = pd.read_csv("drawn.tsv", sep="\t")
    assert list(drawn["site"]) == ["north", "north", "south", "south"]
    far = diffeo("sample", "c", "-n", 1, "--given", "site=west,level=1e6", "--quiet")
    assert far.status == 0 and "column 'level': '1e6' lies beyond" in far.err
    Path("gap.csv").write_text("level,site\n1.5,north\n,south\n")
    gap = diffeo("sample", "c", "-n", 1, "--context-file", "gap.csv", "--out", "x.csv").mistake
    assert "gap.csv, line 3, column 'level': a value is missing" in gap and "--drop" not in gap
    printed = diffeo("sample", "c", "-n", 1, "--given", "site=west,level=0")
    assert printed.out.splitlines()[0] == ",".join(mixed_frame(1))
    for more, expected in {
        (): "no value is given for site, level",
        ("--given", "site=west"): "no value is given for level",
        ("--given", "site=east,level=1"): "'east'",
        ("--given", "site=west,level=high"): "--given, row 1, column 'level': 'high'",
        ("--given", "size=3"): "--given",
        ("--context-file", "gone.csv"): "gone.csv: no such file",
        ("--given", "site=west", "--context-file", "wanted.csv"): "not both",
        ("--given", "site=we=st,level=1"): "'we=st'",
    }.items():
        assert expected in diffeo("sample", "c", "-n", 1, "--out", "x.csv", *more).mistake
    mixed_frame(5).drop(columns="site").to_csv("t.csv", index=False)
    assert "lacks the context column 'site'" in diffeo("evaluate", "c", "t.csv").mistake
    mixed_frame(5).assign(site="east").to_csv("t.csv", index=False)
    assert (
        "line 2, column 'site': the category 'east' is unknown"
        in diffeo("evaluate", "c", "t.csv").mistake
    )


def test_given_values_and_names_may_hold_commas():
    known = ["my x, (m/s)", "site", "level"]
    assert values(["my x, (m/s)=1.5,site=a,b", "level=3"], known) == {
        "my x, (m/s)": "1.5", "site": "a,b", "level": "3",
    }  # fmt: skip


def test_rows_with_gaps(diffeo, mixed, empty):
    table = pd.read_csv(mixed / "all.csv")
    table.loc[[3, 7], "share"] = np.nan
    table.loc[9, "site"] = None
    table.to_csv("t.csv", index=False)
    words = ("train", "maf", "t.csv", "--out", "a", *BOUNDS, *QUICK)
    mistake = diffeo(*words).mistake
    assert "t.csv, line 11, column 'site'" in mistake and "--drop-missing" in mistake
    outcome = diffeo(*words, "--drop-missing")
    assert outcome.status == 0 and "3 rows left out, since a value is missing" in outcome.err
    assert "--drop-missing" in diffeo("score", "a", "t.csv", "--out", "s.csv").mistake
    outcome = diffeo("score", "a", "t.csv", "--out", "s.csv", "--drop-missing")
    rows = pd.read_csv("s.csv")["row"]
    assert len(rows) == 297 and not rows.isin([4, 8, 10]).any()
    assert "297 rows" in diffeo("evaluate", "a", "t.csv", "--drop-missing").out


def test_names_and_free_text_are_refused(diffeo, mixed, empty):
    table = mixed_frame(60).assign(name=[f"person {i}" for i in range(60)])
    table.to_csv("people.csv", index=False)
    words = ("train", "maf", "people.csv", "--out", "a", *BOUNDS, *QUICK)
    assert "--drop name" in diffeo(*words).mistake
    assert diffeo(*words, "--drop", "name").status == 0
    assert diffeo("score", "a", "people.csv", "--out", "s.csv").status == 0


def test_text_that_looks_like_numbers_stays_text(diffeo, empty):
    codes = np.random.default_rng(0).choice(["01234", "99999", "00100"], 200)
    table = pd.DataFrame({"zip": codes, "x": np.random.default_rng(1).normal(size=200)})
    table.to_csv("t.csv", index=False)
    words = ("train", "maf", "t.csv", "--type", "zip=category", "--out", "a", *QUICK)
    assert diffeo(*words).status == 0
    diffeo("sample", "a", "-n", 50, "--out", "s.csv")
    assert set(pd.read_csv("s.csv", dtype={"zip": str})["zip"]) <= set(codes)
    assert diffeo("score", "a", "t.csv", "--out", "o.csv").status == 0
    assert np.isfinite(pd.read_csv("o.csv")["log_likelihood"]).all()


def test_weights(diffeo, mixed, empty):
    table = mixed_frame(200)[["site", "level"]]
    table["w"] = np.where(table["site"] == "north", 1.0, 0.0)
    table.to_csv("t.csv", index=False)
    words = ("train", "maf", "t.csv", "--weight", "w", "--out", "a", *QUICK)
    outcome = diffeo(*words, "--max-steps", 300, "--learning-rate", 0.01)
    assert outcome.status == 0 and "w: weight of the row" in outcome.err
    drawn = diffeo("sample", "a", "-n", 200, "--out", "drawn.csv")
    assert drawn.status == 0
    drawn = pd.read_csv("drawn.csv")
    assert list(drawn) == ["site", "level"]
    assert (drawn["site"] == "north").mean() > 0.9  # 60 % of the rows, but all of the weight
    table[table["w"] == 0].to_csv("rest.csv", index=False)
    assert diffeo("score", "a", "rest.csv", "--out", "s.csv").status == 0
    assert "positive weight" in diffeo("evaluate", "a", "rest.csv").mistake


def test_held_out_rows_that_training_finds_impossible_are_named(diffeo, mixed, empty):
    mixed_frame(40).assign(site="east").to_csv("v.csv", index=False)
    words = ("train", "maf", mixed / "all.csv", "--validation", "v.csv", "--out", "a", *BOUNDS)
    mistake = diffeo(*words, *QUICK).mistake
    assert "v.csv" in mistake and "column 'site'" in mistake and "'east'" in mistake


def test_many_categories_work(diffeo, empty):
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"code": rng.integers(0, 500, 3000), "x": rng.normal(size=3000)})
    table["code"] = "c" + table["code"].astype(str)
    table.to_csv("t.csv", index=False)
    outcome = diffeo("train", "maf", "t.csv", "--out", "a", *QUICK)
    assert outcome.status == 0, outcome.err
    assert diffeo("sample", "a", "-n", 20, "--out", "s.csv").status == 0


def test_many_columns_that_are_alike_share_a_line(diffeo, empty):
    x = np.random.default_rng(0).normal(size=(80, 30))
    table = pd.DataFrame(x, columns=[f"x{i}" for i in range(30)]).assign(site=["A", "B"] * 40)
    table.to_csv("t.csv", index=False)
    outcome = diffeo("train", "gaussian", "t.csv", "--out", "a", "--max-steps", 2)
    assert "  x0, x1, x2, … (30 columns): real\n" in outcome.err
    assert "  site: category of 2: A, B\n" in outcome.err
