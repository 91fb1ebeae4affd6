"""`diffeo compare`: the paired difference, and what can't be compared."""

import json

import pytest

import diffeo as library
from diffeo.data import read_table
from tests.cli.conftest import QUICK, make_table


@pytest.fixture
def two(diffeo, tables, empty):
    """Two models of the same table, one trained longer."""
    for out, steps in (("a", 60), ("b", 2)):
        words = ("train", "maf", tables / "train.csv", "--out", out, *QUICK, "--max-steps", steps)
        assert diffeo(*words).status == 0
    return tables / "held out.csv"


def test_the_difference_is_taken_row_by_row(diffeo, two):
    outcome = diffeo("compare", "a", "b", two)
    assert outcome.status == 0
    frame = read_table(two)
    difference = library.load("a").log_prob(frame) - library.load("b").log_prob(frame)
    told = json.loads(diffeo("compare", "a", "b", two, "--json").out)
    assert told["difference"] == pytest.approx(difference.mean(), abs=1e-4)
    assert told["standard_error"] == pytest.approx(difference.std() / 50**0.5, rel=1e-4)
    assert told["difference"] > 2 * told["standard_error"] > 0
    assert "a finds these rows likelier, by" in outcome.out
    assert "b" in diffeo("compare", "b", "a", two).out
    same = diffeo("compare", "a", "a", two)
    assert "no clear difference" in same.out


def test_models_of_other_columns_can_not_be_compared(diffeo, two, tables):
    words = ("train", "maf", tables / "train.csv", "--out", "c", *QUICK, "--max-steps", 2)
    assert diffeo(*words, "--drop", "power").status == 0
    assert "model different columns (power)" in diffeo("compare", "a", "c", two).mistake
    words = ("train", "maf", tables / "train.csv", "--out", "d", *QUICK, "--max-steps", 2)
    assert diffeo(*words, "--context", "power").status == 0
    assert "different columns (power)" in diffeo("compare", "a", "d", two).mistake
    table = make_table(300).round(0)
    table.to_csv("whole.csv", index=False)
    words = ("train", "maf", "whole.csv", "--out", "e", *QUICK, "--max-steps", 2)
    assert diffeo(*words).status == 0
    assert (
        "a density and a probability can't be compared"
        in diffeo("compare", "a", "e", "whole.csv").mistake
    )
