"""The report of a model: everything in one file, for tables and for tensors."""

import numpy as np
import pandas as pd
import pytest
import torch

import diffeo
from diffeo.data import Columns
from diffeo.report import gather, material, report
from diffeo.report.page import Grid, Picture
from diffeo.table import Table
from diffeo.train import History, score
from diffeo.train.baselines import Baselines

EVIL = "<b>size</b> & $^"


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Pairs of many columns take seconds to lay out, and have tests of their own."""
    monkeypatch.setattr("diffeo.report.tables.MOST_PAIRS", 2)
    torch.manual_seed(0)


def frame(rows, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=rows)
    day = pd.to_timedelta(rng.integers(0, 700, rows), unit="D")
    return pd.DataFrame(
        {
            EVIL: x,
            "site": np.where(x + rng.normal(size=rows) > 0, "<i>north</i>", "south"),
            "visits": rng.poisson(np.exp(0.5 * x)),
            "share": 1 / (1 + np.exp(-x - rng.normal(size=rows))),
            "day": pd.Timestamp("2021-01-01") + day,
        }
    )


def table(**options):
    made = Table.create(
        "maf", frame(200), bounds={"share": (0.0, 1.0)}, transforms=1, hidden=(8,), **options
    )
    encoded = made.columns.encode(frame(200))
    made.density.initialize(encoded.x, encoded.context)
    return made


def history():
    return History(
        steps=[0, 5, 10],
        train=[float("nan"), -9.0, -8.0],
        validation=[-10.0, -9.0, -8.5],
        seconds=[0.0, 1.0, 2.0],
        best_step=10,
        best_validation=-8.5,
        rows=200,
        validation_rows=20,
        stopped="max_steps",
    )


def section(page, start):
    return next(part for part in page.sections if part.title.startswith(start))


def grid(page, start):
    return next(block for block in section(page, start).blocks if isinstance(block, Grid))


def test_a_report_of_a_table_is_one_file_and_its_pictures(tmp_path):
    path = report(
        table(),
        frame(80, seed=1),
        path=tmp_path / "new" / "a run.html",
        train=frame(200),
        history=history(),
        settings={"seed": 3, "options": {"batch_size": 64}},
        warnings=["half of it is <zero>"],
    )
    assert path == tmp_path / "new" / "a run.html"
    parts = ("curve", "latent", "pairs", "samples", "scores")
    assert {p.name for p in path.parent.iterdir()} == {path.name} | {
        f"a run-{part}.png" for part in parts
    }
    html = path.read_text(encoding="utf-8")
    assert html.count("data:image/png;base64,") == len(parts)
    assert "<script" not in html and "<b>" not in html and "<i>" not in html
    for text in ("half of it is &lt;zero&gt;", "&lt;b&gt;size&lt;/b&gt; &amp; $^", "batch_size"):
        assert text in html
    titles = [
        "Warnings", "Log-likelihood", "Learning curve", "Data and samples",
        "Can a classifier tell the samples from the data?", "Latent space", "Strangest rows",
        "Columns", "Settings",
    ]  # fmt: skip
    places = [html.index(f"<h2>{title}</h2>") for title in titles]
    assert places == sorted(places)


def test_figures_are_those_of_scores_and_baselines():
    model, held_out = table(), frame(60, seed=1)
    encoded = model.columns.encode(frame(200))
    simple = Baselines.fit(encoded.x, model.density.support)
    page = gather(model, held_out, baselines=simple)
    x = model.columns.encode(held_out).x
    mine = score(model.density, x, shared_noise=False).double()
    rows = grid(page, "Log-likelihood").rows
    assert [row[0] for row in rows] == [
        "this model", "the full-covariance Gaussian", "independent columns",
    ]  # fmt: skip
    means = [mine, *simple.log_prob(x).values()]
    for row, values in zip(rows, means, strict=True):
        assert row[1].startswith(f"{float(values.mean()):.3f}".replace("-", "−"))
    strangest = grid(page, "Strangest").rows
    assert len(strangest) == 10
    assert strangest[0][0] == str(int(mine.argmin()) + 1)
    assert page.verdict == gather(model, held_out, train=frame(200)).verdict
    # Nothing was recorded of the training, so nothing is shown of it.
    assert not any(part.title == "Learning curve" for part in page.sections)


def test_a_conditioned_table_is_compared_given_the_same():
    model = table(context=["site", "visits"])
    held_out = frame(40, seed=1)
    page = gather(model, held_out, train=frame(100), seed=1)
    assert "given site, visits" in page.subtitle
    assert "drawn given site, visits" in str(section(page, "Data and samples").blocks[0])
    assert len(grid(page, "Columns").rows) == 5
    real, drawn = material.of_table(model, held_out, None, 1, seed=1).to_compare()
    assert len(real) == len(drawn) == 40
    assert (real[["site", "visits"]].to_numpy() == drawn[["site", "visits"]].to_numpy()).all()
    with pytest.raises(TypeError, match="among the columns of data; leave it out"):
        gather(model, held_out, context=torch.zeros(40, 1))


def test_impossible_rows_are_explained():
    held_out = frame(60, seed=1)
    held_out["site"] = held_out["site"].astype(object)
    held_out.loc[3, "site"] = "nowhere"
    page = gather(table(), held_out, train=frame(200))
    assert "'nowhere' is an unknown category" in str(section(page, "Warnings").blocks)


def test_weighted_rows_count_by_their_weight():
    held_out = frame(40, seed=1)[["share"]]
    held_out["w"] = np.r_[np.ones(20), np.zeros(20)]
    model = Table.create("maf", held_out, weight="w", transforms=1, hidden=(8,))
    half = gather(model, held_out)
    alone = gather(model, held_out.iloc[:20])
    assert grid(half, "Log").rows[0][1].split(" ")[0] == grid(alone, "Log").rows[0][1].split(" ")[0]


def test_a_density_of_tensors():
    model = diffeo.create("maf", features=2, context=1, transforms=1, hidden=(8,))
    x, c = torch.randn(50, 2), torch.randn(50, 1)
    page = gather(model, x, context=c, train=x, train_context=c, samples=30)
    assert [row[0] for row in grid(page, "Columns").rows] == ["x0", "x1"]
    assert len(grid(page, "Log").rows) == 3
    names = [
        block.name for part in page.sections for block in part.blocks if isinstance(block, Picture)
    ]
    assert names == ["scores", "samples", "pairs", "latent"]
    assert "Only 50 held-out rows" in str(section(page, "Warnings").blocks)


def test_whole_numbers_have_bits_per_dim():
    model = diffeo.create("realnvp", features=3, levels=4, transforms=1, hidden=(8,))
    x = torch.randint(4, (40, 3), generator=torch.Generator().manual_seed(0)).float()
    rows = grid(gather(model, x, train=x), "Log")
    assert rows.header[-1] == "bits/dim" and float(rows.rows[2][3]) == pytest.approx(2.0, abs=0.2)


def test_awkward_models_and_rows_are_reported():
    one = gather(diffeo.bases.Normal(1), torch.zeros(1, 1))
    assert "Not asked" in str(section(one, "Can a").blocks)
    uniform = diffeo.bases.Uniform(2, 0.0, 1.0)
    outside = gather(uniform, torch.linspace(-1, 1, 60).reshape(30, 2))
    assert "no probability at all to 15 of 30" in outside.verdict
    assert "15 of 30 held-out rows have no finite score" in str(section(outside, "Warnings").blocks)
    samples = torch.rand(40, 2)
    images = gather(diffeo.bases.Normal((1, 2, 2)), torch.randn(30, 1, 2, 2), samples=25)
    assert len(grid(images, "Columns").rows) == 4
    given = gather(uniform, samples, samples=samples, title="mine")
    assert given.title == "mine" and "can't tell" in str(section(given, "Can a").blocks)


def test_random_states_and_modes_stay_as_they_were():
    model = diffeo.create("realnvp", features=2, levels=4, transforms=1, hidden=(8,)).train()
    x = torch.randint(4, (30, 2)).float()
    before = torch.random.get_rng_state()
    first = gather(model, x)
    assert model.training and torch.equal(before, torch.random.get_rng_state())
    assert first == gather(model, x)


def test_no_rows_are_refused():
    with pytest.raises(ValueError, match="no rows"):
        gather(table(), frame(20).iloc[:0])
    with pytest.raises(ValueError, match="no rows"):
        gather(diffeo.bases.Normal(2), torch.zeros(0, 2))


def test_schemas_still_describe_columns():
    """The report's table of columns is what the schema says, in its order."""
    columns = Columns.infer(frame(50))
    assert [name for name, _ in columns.describe()] == list(frame(1).columns)
