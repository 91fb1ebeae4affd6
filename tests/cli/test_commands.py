"""The whole path: train, evaluate, sample, score, and what the folder tells."""

import json
import shutil
import stat

import numpy as np
import pandas as pd
import pytest
import torch

import diffeo as library
from diffeo.cli.split import split
from diffeo.models import IMAGE_MODELS, MODELS, SOUND_MODELS
from tests.cli.conftest import QUICK, make_table

FILES = {
    "config.json",
    "curve.png",
    "history.csv",
    "logs",
    "model.safetensors",
    "pairs.png",
    "reference.safetensors",
    "samples.png",
    "settings.json",
}


def figures(text: str) -> dict[str, float]:
    """The figures of a result by their names."""
    rows = [line.strip().rsplit("  ", 1) for line in text.splitlines() if line.startswith("  ")]
    return {name.strip(): float(value.split(" ")[0]) for name, value in rows}


def test_train_writes_a_folder_and_judges(diffeo, tables, empty, pictures):
    outcome = diffeo(
        *("train", "maf", tables / "train.csv", "--out", "runs/a", "--seed", 7, *QUICK)
    )
    assert outcome.status == 0
    assert {path.name for path in (empty / "runs/a").iterdir()} == FILES
    assert [path.name for path in (empty / "runs").iterdir()] == ["a"]
    assert stat.S_IMODE((empty / "runs/a").stat().st_mode) & 0o500 == 0o500
    assert "300 rows, 3 columns; 30 rows of them held out" in outcome.err
    assert "  air pressure: real\n" in outcome.err
    assert "device: " in outcome.err
    shown = figures(outcome.out)
    assert set(shown) == {"maf", "full-covariance Gaussian", "independent columns"}
    assert "nats a row" in outcome.out
    config = json.loads((empty / "runs/a/config.json").read_text())
    assert config["name"] == "maf"
    assert config["arguments"]["transforms"] == 1
    assert config["arguments"]["standardize"] is True
    assert [column["name"] for column in config["columns"]] == list(make_table(1).columns)
    assert config["training"]["validation"]["log_likelihood"] == pytest.approx(
        shown["maf"], abs=1e-3
    )
    settings = json.loads((empty / "runs/a/settings.json").read_text())
    assert settings["seed"] == 7 and settings["options"]["hidden"] == [8]
    history = pd.read_csv(empty / "runs/a/history.csv")
    assert list(history) == ["step", "train_nats", "validation_nats", "seconds"]
    assert history["step"].iloc[-1] == 20


def test_the_same_seed_trains_the_same_model(diffeo, tables, empty):
    for out, seed in (("a", 1), ("b", 1), ("c", 2)):
        words = ("train", "maf", tables / "train.csv", "--out", out, "--seed", seed, *QUICK)
        assert diffeo(*words).status == 0
    a, b, c = (library.load(out).density.state_dict() for out in "abc")
    assert all(torch.equal(a[key], b[key]) for key in a)
    assert not all(torch.equal(a[key], c[key]) for key in a)


def test_a_given_validation_table_is_judged_by(diffeo, tables, empty):
    words = ("train", "maf", tables / "train.csv", "--validation", tables / "held out.csv")
    outcome = diffeo(*words, "--out", "a", *QUICK)
    assert "50 held-out rows" in outcome.out
    training = json.loads((empty / "a/config.json").read_text())["training"]
    assert (training["rows"], training["validation_rows"]) == (300, 50)
    again = diffeo("evaluate", "a", tables / "held out.csv")
    assert figures(again.out) == figures(outcome.out)


WORSE = "diffeo: worse than a simple model, full-covariance Gaussian ("
"""The warning that a model of so short a training deserves."""


def test_quiet_says_only_the_result(diffeo, tables, empty):
    outcome = diffeo("train", "maf", tables / "train.csv", "--out", "a", "--quiet", *QUICK)
    assert outcome.err.startswith(f"{WORSE}") and outcome.err.count("\n") == 1
    assert "log-likelihood" in outcome.out
    words = ("evaluate", "a", tables / "held out.csv", "--quiet")
    assert diffeo(*words).err.startswith(WORSE)


@pytest.mark.parametrize("suffix", [".parquet", ".npy", ".csv.gz"])
def test_every_kind_of_table_trains(diffeo, empty, suffix):
    from diffeo.data import write_table

    write_table(make_table(40), f"t{suffix}")
    assert diffeo("train", "gaussian", f"t{suffix}", "--out", "a", "--max-steps", 2).status == 0
    outcome = diffeo("sample", "a", "-n", 3, "--out", f"s{suffix}")
    assert outcome.status == 0 and "3 rows, 3 columns" in outcome.out


@pytest.mark.parametrize("columns", [1, 2])
def test_narrow_and_constant_columns_train(diffeo, empty, columns):
    table = make_table(60).iloc[:, :columns].assign(constant=7.0).iloc[:, :columns]
    table.iloc[:, -1] = 7.0 if columns > 1 else table.iloc[:, -1]
    table.to_csv("t.csv", index=False)
    outcome = diffeo("train", "maf", "t.csv", "--out", "a", *QUICK)
    assert outcome.status == 0, outcome.err
    assert np.isfinite(list(figures(outcome.out).values())).all()


def test_few_rows_train_with_a_warning(diffeo, empty):
    make_table(10).to_csv("t.csv", index=False)
    outcome = diffeo("train", "maf", "t.csv", "--out", "a", *QUICK)
    assert outcome.status == 0
    assert "diffeo: only 9 rows to learn from" in outcome.err


def test_whole_numbers_are_probabilities(diffeo, empty):
    rng = np.random.default_rng(0)
    table = pd.DataFrame(rng.binomial(4, [0.2, 0.5], size=(200, 2)), columns=["a", "b"])
    table.to_csv("t.csv", index=False)
    bounds = ("--bounds", "a=0:4", "--bounds", "b=0:4")
    outcome = diffeo("train", "maf", "t.csv", *bounds, "--marginals", 3, "--out", "m", *QUICK)
    assert outcome.status == 0, outcome.err
    assert "nats a row, a lower bound" in outcome.out
    assert all(value < 0 for value in figures(outcome.out).values())
    assert "bits/dim, lower is better, an upper bound: " in diffeo("evaluate", "m", "t.csv").out
    assert diffeo("sample", "m", "-n", 20, "--out", "s.csv").status == 0
    drawn = pd.read_csv("s.csv")
    assert drawn.isin(range(5)).all(axis=None)
    table.replace(0, 9).to_csv("outside.csv", index=False)
    told = diffeo("score", "m", "outside.csv", "--out", "o.csv").err
    assert "impossible under the model" in told
    assert "outside.csv, line " in told and "'9' is out of range" in told
    told = diffeo("evaluate", "m", "outside.csv").err
    assert "'9' is out of range" in told and "simple model" not in told
    assert (pd.read_csv("o.csv")["log_likelihood"] == -np.inf).any()


def test_evaluate_prints_the_models_figure(diffeo, trained, tables):
    outcome = diffeo("evaluate", trained, tables / "held out.csv")
    assert outcome.status == 0
    assert outcome.err.startswith(f"device: cpu\n{WORSE}")
    assert "held out.csv: 50 rows, 3 columns" in outcome.out
    x = torch.tensor(make_table(50, seed=1).to_numpy(), dtype=torch.float32)
    log_prob = library.load(trained).density.log_prob(x).detach()
    shown = figures(outcome.out)
    assert shown["maf"] == pytest.approx(float(log_prob.mean()), abs=1e-3)
    error = outcome.out.split(" ± ")[1].split("\n")[0]
    assert float(error) == pytest.approx(float(log_prob.std()) / 50**0.5, abs=1e-3)


def test_evaluate_knows_the_baselines_without_the_training_table(diffeo, trained, tables, empty):
    from diffeo.data import Columns, read_table
    from diffeo.train import baselines

    outcome = diffeo("evaluate", trained, tables / "held out.csv")
    train, held_out = read_table(tables / "train.csv"), read_table(tables / "held out.csv")
    columns = Columns.infer(train)
    rows = columns.encode(split(train, 0)[0]).x
    expected = baselines(rows, columns.encode(held_out).x)
    shown = figures(outcome.out)
    assert shown["full-covariance Gaussian"] == pytest.approx(expected["gaussian"], abs=2e-3)
    assert shown["independent columns"] == pytest.approx(expected["independent"], abs=2e-3)
    shutil.copytree(trained, "bare")
    (empty / "bare/reference.safetensors").unlink()
    outcome = diffeo("evaluate", "bare", tables / "held out.csv")
    assert set(figures(outcome.out)) == {"maf"}
    assert "no baselines" in outcome.err
    assert (
        "no scores of what was held out"
        in diffeo(
            *("score", "bare", tables / "held out.csv", "--out", "s.csv", "--threshold", 0.1)
        ).mistake
    )


def test_sample_has_the_tables_columns_and_units(diffeo, trained, empty):
    outcome = diffeo("sample", trained, "-n", 400, "--out", "s.csv", "--seed", 3)
    assert outcome.out == "s.csv: 400 rows, 3 columns\n"
    drawn, given = pd.read_csv("s.csv"), make_table(300)
    assert list(drawn) == list(given)
    # Twenty steps learn little, but standardisation alone puts samples where the data is.
    assert ((drawn.mean() - given.mean()).abs() < given.std()).all()


def test_samples_are_a_function_of_the_seed(diffeo, trained, empty):
    for out, seed in (("a.csv", 3), ("b.csv", 3), ("c.csv", 4)):
        diffeo("sample", trained, "-n", 5, "--out", out, "--seed", seed)
    a, b, c = (pd.read_csv(f"{name}.csv") for name in "abc")
    assert a.equals(b) and not a.equals(c)
    told = diffeo("sample", trained, "-n", 5, "--out", "d.csv").out
    seed = told.partition("--seed ")[2].rstrip(")\n")
    diffeo("sample", trained, "-n", 5, "--out", "e.csv", "--seed", seed)
    assert pd.read_csv("d.csv").equals(pd.read_csv("e.csv"))


def test_temperature_narrows_samples(diffeo, trained, empty):
    for out, temperature in (("warm.csv", 1), ("cold.csv", 0.1)):
        words = ("sample", trained, "-n", 200, "--out", out, "--seed", 0)
        assert diffeo(*words, "--temperature", temperature).status == 0
    assert (pd.read_csv("cold.csv").std() < 0.5 * pd.read_csv("warm.csv").std()).all()


def test_no_samples_are_a_table_of_no_rows(diffeo, trained, empty):
    assert diffeo("sample", trained, "-n", 0, "--out", "s.csv").status == 0
    assert (empty / "s.csv").read_text().strip() == ",".join(make_table(1).columns)


def test_many_samples_are_drawn_in_pieces(diffeo, trained, empty, monkeypatch):
    monkeypatch.setattr("diffeo.table.AT_ONCE", 7)
    diffeo("sample", trained, "-n", 20, "--out", "s.csv", "--seed", 0)
    drawn = pd.read_csv("s.csv")
    assert len(drawn) == 20 and not drawn.duplicated().any()


def test_score_is_of_every_row_in_order(diffeo, trained, tables, empty):
    table = make_table(50, seed=1)
    table.iloc[17] = [400.0, 900.0, 30.0]
    table[["power", "temperature", "air pressure"]].to_csv("new.csv", index=False)
    outcome = diffeo("score", trained, "new.csv", "--out", "scores.csv")
    assert outcome.status == 0
    scores = pd.read_csv("scores.csv")
    assert list(scores) == ["row", "log_likelihood", "percentile"]
    assert list(scores["row"]) == list(range(1, 51))
    x = torch.tensor(table.to_numpy(), dtype=torch.float32)
    expected = library.load(trained).density.log_prob(x).detach().numpy()
    np.testing.assert_allclose(scores["log_likelihood"], expected, rtol=1e-3)
    assert "strangest: row 18 (" in outcome.out


def test_info_of_a_trained_model(diffeo, trained):
    outcome = diffeo("info", trained)
    assert outcome.status == 0
    parameters = sum(p.numel() for p in library.load(trained).density.parameters())
    for part in (f"{parameters:,}", "air pressure", "--transforms", "270 rows: 20 steps", "torch"):
        assert part in outcome.out
    assert "--standardize / --no-standardize on" in " ".join(outcome.out.split())
    assert set(figures(outcome.out.partition("held-out rows")[2])) == {
        "the model",
        "full-covariance Gaussian",
        "independent columns",
    }


@pytest.mark.parametrize("name", MODELS)
def test_info_of_a_model_has_its_options_and_its_paper(diffeo, name):
    outcome = diffeo("info", name)
    text = " ".join(outcome.out.split())
    assert outcome.status == 0
    assert " ".join(MODELS[name].reference.split()) in text
    for option, parameter in MODELS[name].options.items():
        flag = option.replace("_", "-")
        on = f"--{flag} / --no-{flag} on " if parameter.default is True else f"--{flag} "
        assert on in text
    assert "diffeo." not in text.partition("In Python")[0], "a reference was not spelled out"


@pytest.mark.parametrize("name", IMAGE_MODELS)
def test_info_of_a_model_of_images(diffeo, name):
    outcome = diffeo("info", name)
    assert outcome.status == 0
    assert "images" in outcome.out
    told = library.describe_models(name)
    assert all(f"  {option} = " in told for option in IMAGE_MODELS[name].options)


def test_info_of_a_trained_model_of_images(diffeo, empty):
    library.save(library.create("glow", shape=(1, 4, 4), steps=1, filters=4), "m")
    outcome = diffeo("info", "m")
    assert outcome.status == 0
    assert "m: glow" in outcome.out and "1 4 4" in outcome.out


def test_models_lists_all(diffeo):
    vectors, _, images, _, sounds, _ = diffeo("models").out.split("\n\n")
    for part, known in ((vectors, MODELS), (images, IMAGE_MODELS), (sounds, SOUND_MODELS)):
        lines = [line for line in part.splitlines() if not line.startswith(" ")]
        assert [line.split(" ")[0] for line in lines] == list(known)


def test_info_works_on_a_model_saved_from_python(diffeo, empty):
    library.save(library.create("maf", features=2, transforms=1, hidden=(4,)), "m")
    outcome = diffeo("info", "m")
    assert outcome.status == 0 and "event shape" in outcome.out
    mistake = diffeo("sample", "m", "-n", 1, "--out", "s.csv").mistake
    assert "trained on no table, images or sounds" in mistake


def test_demo_runs_and_runs_again(diffeo, empty):
    outcome = diffeo("demo", "--max-steps", 3, "--threads", 1, "--json")
    assert json.loads(outcome.out)["test"]["rows"] == 447
    outcome = diffeo("demo", "--max-steps", 3, "--threads", 1)
    assert outcome.status == 0, outcome.err
    expected = {
        "curve.png",
        "images",
        "model",
        "samples.csv",
        "samples.png",
        "scores.csv",
        "scores.png",
    }
    assert {path.name for path in (empty / "demo").iterdir()} == expected | {"strangest.png"}
    assert "one-sample bound, mean of 10 noise draws" in outcome.out
    assert "bits/dim)" in outcome.err
    assert "independent categorical pixels  2.400" in outcome.out
    assert "full-covariance Gaussian        2.96" in outcome.out
    samples = pd.read_csv("demo/samples.csv")
    assert samples.shape == (500, 64)
    assert samples.isin(range(17)).all(axis=None)
    assert len(pd.read_csv("demo/scores.csv")) == 447
    assert diffeo("sample", "demo/model", "-n", 2, "--out", "more.csv").status == 0
    assert diffeo("info", "demo/model").status == 0
    words = ("decode", "demo/images/model", "demo/images/latents.npy", "--out", "again.npy")
    assert diffeo(*words).status == 0
    assert np.array_equal(np.load("again.npy"), np.load("demo/images/digits.npy"))


def test_columns_that_can_not_be_learned_are_named(diffeo, empty):
    table = make_table(200).assign(same=7.5, twice=2 * make_table(200)["power"] + 1)
    table.to_csv("t.csv", index=False)
    told = diffeo("train", "maf", "t.csv", "--type", "same=real", "--out", "a", *QUICK, "--quiet")
    assert told.status == 0
    assert "column 'same': every value is 7.5: its density has no limit; drop it" in told.err
    assert "column 'twice': follows from column 'power'" in told.err
