"""How columns of every kind are shown: bars, histograms, dates."""

import numpy as np
import pandas as pd
import pytest

from diffeo.report import marginals, pairs
from diffeo.report.views import OTHER, views


def frame(rows=200, seed=0):
    rng = np.random.default_rng(seed)
    span = pd.to_timedelta(rng.integers(0, 700, rows), unit="D")
    return pd.DataFrame(
        {
            "size": rng.normal(size=rows),
            "kind": rng.choice(["b", "a", "$c_{"], rows, p=[0.6, 0.3, 0.1]),
            "visits": rng.poisson(2, rows),
            "income": rng.integers(10, 90, rows) * 10,
            "price": rng.integers(0, 9, rows) / 4,
            "day": pd.Timestamp("2021-03-01", tz="Europe/Berlin") + span,
            "waited": pd.to_timedelta(rng.integers(1, 5000, rows), unit="s"),
            "member": rng.random(rows) < 0.3,
            "grade": pd.Categorical(
                rng.choice(["low", "high"], rows), ["low", "mid", "high"], ordered=True
            ),
        }
    )


def of(name, data=None, samples=None, **options):
    data = frame() if data is None else data
    samples = frame(seed=1) if samples is None else samples
    return next(view for view in views(data, samples, **options) if view.name == name)


def test_kinds_are_told_by_the_column():
    kinds = {view.name: view.kind for view in views(frame(), frame(seed=1))}
    assert kinds == {
        "size": "line", "kind": "categories", "visits": "bars", "income": "line", "price": "bars",
        "day": "datetime", "waited": "line", "member": "categories", "grade": "categories",
    }  # fmt: skip
    steps = {view.name: view.step for view in views(frame(), frame(seed=1))}
    assert (steps["visits"], steps["income"], steps["price"], steps["size"]) == (1, 10, 0.25, 0)


def test_categories_stand_by_frequency_unless_they_have_an_order():
    assert of("kind").labels == ("b", "a", "$c_{")
    assert of("grade").labels == ("low", "high")
    assert of("member").labels == ("False", "True")


def test_rare_and_unknown_categories_share_a_place():
    many = pd.DataFrame({"id": np.repeat([f"i{i}" for i in range(30)], range(1, 31))})
    drawn = pd.DataFrame({"id": ["i29", "i0", "never seen", None]})
    view = of("id", many, drawn)
    assert view.labels[0] == "i29" and view.labels[-1] == OTHER and len(view.labels) == 21
    np.testing.assert_equal(view.samples, [0, 20, 20, np.nan])
    assert of("id", many[many["id"] > "i25"], drawn[:1]).labels[-1] != OTHER


def test_bins_do_not_cut_steps_unevenly():
    """Whole numbers in bins of 1.3 would make a comb of any distribution."""
    view = of("income", frame(5000))
    edges = view.edges(5000)
    widths = np.diff(edges)
    assert np.allclose(widths, widths[0]) and widths[0] % 10 == 0
    assert np.allclose((edges - 5) % 10, 0)
    assert edges[0] <= view.limits[0] and edges[-1] >= view.limits[1]


def test_samples_off_the_steps_are_a_histogram():
    data, drawn = frame(), frame(seed=1)
    drawn["visits"] = drawn["visits"] + 0.37
    assert of("visits", data, drawn).kind == "line"


def test_bars_are_frequencies_of_all_rows():
    data = pd.DataFrame({"n": [0, 0, 1, 1, 1, 3]})
    drawn = pd.DataFrame({"n": [0, 1, 9, 3]})
    (axes,) = [axes for axes in marginals(data, drawn).axes if axes.axison]
    heights = [bar.get_height() for bar in axes.patches]
    np.testing.assert_allclose(heights, [2 / 6, 3 / 6, 0, 1 / 6, 1 / 4, 1 / 4, 0, 1 / 4])


def test_every_kind_is_drawn_and_named(tmp_path):
    for draw, panels in ((marginals, 9), (pairs, 36)):
        figure = draw(frame(), frame(seed=1), title="people")
        figure.draw_without_rendering()
        assert len([axes for axes in figure.axes if axes.axison]) == panels
    figure = marginals(frame(), frame(seed=1))
    figure.draw_without_rendering()
    titles = {axes.get_title(loc="left"): axes for axes in figure.axes}
    texts = {
        name: [label.get_text() for label in axes.get_xticklabels()]
        for name, axes in titles.items()
    }
    assert texts["kind"] == ["b", "a", "$c_{"]
    assert any("2022" in text for text in texts["day"])


@pytest.mark.parametrize("unit", ["s", "min", "h", "D", "W", "36525h"])
def test_dates_of_every_span_have_few_ticks(unit, recwarn):
    times = pd.Timestamp("2001-01-01 12:00") + np.arange(60) * pd.Timedelta(
        unit if unit[0] == "3" else f"1{unit}"
    )
    data = pd.DataFrame({"when": times})
    figure = marginals(data, data)
    figure.draw_without_rendering()
    (axes,) = [axes for axes in figure.axes if axes.axison]
    low, high = axes.get_xlim()
    assert 2 <= sum(low <= tick <= high for tick in axes.get_xticks()) <= 5
    assert not [w for w in recwarn if "interval" in str(w.message)]


def test_awkward_columns_are_drawn():
    rows = 30
    data = pd.DataFrame(
        {
            "empty": np.full(rows, np.nan),
            "constant": np.full(rows, 3),
            "none": [None] * rows,
            "one": ["a"] * rows,
            "gaps": pd.array([1, None, 2] * 10, dtype="Int64"),
            "same day": pd.Timestamp("2020-01-01"),
        }
    )
    marginals(data, data).draw_without_rendering()
    marginals(data[:1], data[:0]).draw_without_rendering()
    for part in (["empty", "constant", "none"], ["one", "gaps", "same day"]):
        pairs(data[part], data[part]).draw_without_rendering()


def test_arrays_need_names_and_tables_the_same_columns():
    x = np.zeros((3, 2))
    with pytest.raises(ValueError, match="need the names"):
        marginals(x, x)
    with pytest.raises(ValueError, match="must have the column 'kind'"):
        pairs(frame(), frame().drop(columns="kind"))
