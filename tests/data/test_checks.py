"""What a table is warned of."""

import numpy as np
import pandas as pd

from diffeo.data import Columns


def warned(frame, **options):
    return Columns.infer(frame, types={"*": "real"}, **options).warnings(frame)


def test_columns_that_float32_can_not_hold_are_named():
    steps = np.arange(400)
    frame = pd.DataFrame(
        {
            "seconds": 1.7e9 + steps,
            "counter": 10**18 + steps**2,
            "two clusters": np.where(steps % 2, 1e9, -1e9) + steps,
            "tiny": 1e-50 * np.sin(steps),
            "fine": 1e4 + 0.37 * np.cos(steps),
            "heavy tails": np.tan(1.57079632 * (steps - 200) / 200),
        }
    )
    lines = warned(frame)
    assert [line.split("'")[1] for line in lines] == ["two clusters", "tiny"]
    assert "different values become" in lines[0]
    assert "and its steps are lost; subtract an offset from it" in lines[0]
    assert "multiply it by a large number" in lines[1]


def test_columns_without_a_density_are_named():
    x = np.random.default_rng(0).normal(size=(50, 2))
    frame = pd.DataFrame({"a": x[:, 0], "b": 7, "c": x[:, 1], "d": 32 + 1.8 * x[:, 0]})
    constant, dependent = warned(frame)
    assert constant == "column 'b': every value is 7: its density has no limit; drop it (--drop b)"
    assert dependent.startswith("column 'd': follows from column 'a'")
    almost = frame[["a", "c"]].assign(d=x[:, 0] + 1e-5 * x[:, 1], e=1e9 + np.arange(50))
    assert warned(almost) == []


def test_copies_are_looked_for_in_every_row_and_kind():
    n = np.random.default_rng(0).integers(0, 99, 3000)
    half = 0.5 * n
    frame = pd.DataFrame({"n": n, "half": half, "m": n + 1})
    columns = Columns.infer(frame, types={"half": "real"})
    (line,) = columns.warnings(frame)
    assert line.startswith("column 'half': follows from column 'n'")
    # A pair that differs in one row alone is none.
    half[np.setdiff1d(np.arange(3000), np.linspace(0, 2999, 1000).astype(int))[0]] += 1
    assert columns.warnings(frame.assign(half=half)) == []


def test_atoms_are_named():
    rng = np.random.default_rng(0)
    rain = np.where(rng.random(1000) < 0.3, 0.0, rng.gamma(2.0, size=1000))
    frame = pd.DataFrame({"rain": rain, "n": rng.poisson(2, 1000), "x": rng.normal(size=1000)})
    columns = Columns.infer(frame)
    assert columns.features[0].kind == "real"
    (line,) = columns.warnings(frame)
    assert line == (
        f"column 'rain': the value 0 is in {100 * (rain == 0).mean():.0f} % of the rows, and a "
        "density diverges there; declare what the column is: --type rain=integer, step:… or "
        "category"
    )


def test_small_tables_are_not_warned_of():
    assert warned(pd.DataFrame({"a": [1.5], "b": [2.5]})) == [
        "column 'a': every value is 1.5: its density has no limit; drop it (--drop a)",
        "column 'b': every value is 2.5: its density has no limit; drop it (--drop b)",
    ]
    assert warned(pd.DataFrame({"a": [1.5, 1.5, 2.0], "b": [2.5, 0.5, 0.25]})) == []
