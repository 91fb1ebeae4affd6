"""The classifier two-sample test: blind where there is nothing to see, and not elsewhere."""

import numpy as np
import pandas as pd
import pytest

from diffeo.report import two_sample_test


def table(rows, seed, shift=0.0, together=True):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=rows)
    other = x if together else rng.normal(size=rows)
    return pd.DataFrame(
        {
            "size": x,
            "kind": np.where(other > 0, "a", "b"),
            "when": pd.Timestamp("2020-01-01")
            + pd.to_timedelta(rng.integers(0, 900, rows), unit="D"),
            "count": rng.poisson(3, rows) + int(shift),
            "member": rng.random(rows) < 0.5,
        }
    )


def test_rows_of_one_source_look_alike():
    found = two_sample_test(table(800, 0), table(900, 1))
    # Four standard errors: one false alarm in 15,000 seeds.
    assert abs(found.accuracy - 0.5) < 4 * found.standard_error
    assert abs(found.auc - 0.5) < 0.1
    assert found.rows == 800 and "can't tell" in found.in_words


def test_the_column_that_is_off_is_named():
    found = two_sample_test(table(400, 0), table(400, 1, shift=3))
    assert found.accuracy > 0.75 and found.auc > found.accuracy
    assert found.columns[0][0] == "count" and found.columns[0][1] > 0.1
    assert "most of all by count" in found.in_words
    assert {name for name, _ in found.columns} == {"size", "kind", "when", "count", "member"}


def test_columns_that_belong_together_must_be_drawn_together():
    found = two_sample_test(table(600, 0), table(600, 1, together=False))
    assert found.accuracy > 0.65
    assert {name for name, _ in found.columns[:2]} == {"size", "kind"}


def test_rows_that_share_a_context_stay_together():
    """A perfect conditional model: contexts that no two rows share but a real one and its twin."""
    right = rows = 0
    for seed in range(16):
        rng = np.random.default_rng(seed)
        context = rng.normal(size=600)
        real, drawn = (
            pd.DataFrame({"context": context, "x": context + rng.normal(size=600)})
            for _ in range(2)
        )
        found = two_sample_test(real, drawn, seed, paired=True)
        right, rows = right + found.accuracy * found.rows, rows + found.rows
    # Four standard errors; not paired, with half of the twins parted, 0.475: five of them below.
    assert abs(right / rows - 0.5) < 4 * 0.5 / np.sqrt(rows)


def test_the_seed_decides():
    real, drawn = table(200, 0), table(200, 1)
    assert two_sample_test(real, drawn, seed=3) == two_sample_test(real, drawn, seed=3)
    assert two_sample_test(real, drawn, seed=3) != two_sample_test(real, drawn, seed=4)


def test_many_categories_and_gaps_are_no_obstacle():
    rng = np.random.default_rng(0)

    def many(rows):
        made = pd.DataFrame(
            {"id": rng.integers(0, 5000, rows).astype(str), "x": rng.normal(size=rows)}
        )
        made.loc[::7, "id"] = None
        return made

    assert 0.35 < two_sample_test(many(400), many(400)).accuracy < 0.65


def test_what_is_refused():
    with pytest.raises(ValueError, match="at least 20 real and drawn rows, got 19 and 50"):
        two_sample_test(table(19, 0), table(50, 1))
    with pytest.raises(ValueError, match="only one of the tables has the column 'size'"):
        two_sample_test(table(50, 0), table(50, 1).drop(columns="size"))
    with pytest.raises(ValueError, match="as many drawn rows as real ones, got 60 and 50"):
        two_sample_test(table(50, 0), table(60, 1), paired=True)
