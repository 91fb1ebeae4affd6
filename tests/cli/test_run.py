"""Recipes: read, run, recorded; those that come with the program are all good."""

import json
import re
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from diffeo.cli.commands import TrainImages
from diffeo.cli.words import parse
from diffeo.data.errors import DataError
from diffeo.recipes import Recipe, add_measured, find_data, find_recipe, read_recipe, shipped
from tests.cli.conftest import make_images

RECIPE = """title: Glow on halves
reference: "Nobody, 2026"
published: 1.5
unit: bits/dim
set: halves
model: glow
options:
  steps: 1
  filters: 4
  scales: 1
  max-steps: 4
  batch-size: 16
"""


@pytest.fixture
def recipe(empty) -> Path:
    """A recipe, and its set of data in `sets`."""
    folder = empty / "sets/halves"
    folder.mkdir(parents=True)
    np.save(folder / "train.npy", make_images(120)[:, 0])
    np.save(folder / "test.npy", make_images(30, seed=1)[:, 0])
    path = empty / "glow-halves.yaml"
    path.write_text(RECIPE)
    return path


@pytest.mark.parametrize("name", shipped())
def test_recipes_that_come_along_can_be_run(name, tmp_path):
    """Each is read, and its options are understood for its model and its data."""
    recipe = read_recipe(find_recipe(name))
    folder = tmp_path / recipe.set
    folder.mkdir()
    command = parse(["train", recipe.model, str(folder), "--out", "x", *recipe.words()])
    assert isinstance(command, TrainImages) and command.model == recipe.model


def test_a_run_stands_beside_the_published_number(diffeo, recipe, empty):
    outcome = diffeo("run", recipe, "--data", "sets", "--threads", 1)
    assert outcome.status == 0, outcome.err
    assert "published  1.500" in outcome.out and "here" in outcome.out
    assert Path("runs/glow-halves/config.json").exists()
    assert recipe.read_text() == RECIPE


def test_a_run_is_recorded_and_the_rest_stays(diffeo, recipe, empty, monkeypatch):
    monkeypatch.setenv("DIFFEO_DATA", str(empty / "sets"))
    words = ("run", recipe, "--out", "r", "--record", "--json", "--max-steps", 2)
    result = json.loads(diffeo(*words).out)
    again = json.loads(diffeo(*words, "--overwrite").out)
    assert recipe.read_text().startswith(RECIPE + "measured:\n  - date: ")
    first, second = read_recipe(recipe).measured
    assert first["value"] == round(result["value"], 4) and second["steps"] == 2
    assert first["value"] == second["value"] == round(again["value"], 4)
    assert first["test_images"] == 30 and first["training_images"] == 108
    for name, kept in (("samples.png", "samples"), ("curve.png", "curve")):
        assert Path(f"pictures/glow-halves-{kept}.png").read_bytes() == Path("r", name).read_bytes()


def test_a_tighter_bound_is_named(diffeo, recipe, empty):
    recipe.write_text(RECIPE.replace("set: halves", "samples: 4\nset: halves"))
    outcome = diffeo("run", recipe, "--data", "sets", "--record", "--max-steps", 2)
    assert outcome.status == 0, outcome.err
    assert "bits/dim of the test part, lower is better (4-sample bound)" in outcome.out
    assert read_recipe(recipe).measured[0]["samples"] == 4


def test_a_figure_in_nats_of_pixels_in_the_unit_interval(recipe):
    text = RECIPE.replace("unit: bits/dim", 'unit: "nats of pixels in [0, 1]"')
    recipe.write_text(text)
    # A uniform density over 256 levels: log P = −D log 256, and 0 nats on the unit interval.
    figure = read_recipe(recipe).figure(-64 * np.log(256), 64, 256)
    assert abs(figure) < 1e-9


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("unit: bits/dim", "unit: bits", "unit must be one of"),
        ("model: glow", "modle: glow", "'model'"),
        ("published: 1.5", "publishd: 1.5", "unknown key 'publishd'"),
        ("unit: bits/dim", "unit: bits/dim\nsamples: 0", "samples must be 1 or more"),
        ("options:", "options: 3\nx:", "options is 3"),
        ("title: Glow", "title: [", "can't be read"),
        ("  steps: 1", "  out: elsewhere", "out is not for a recipe"),
    ],
)
def test_a_recipe_with_a_mistake_is_refused(recipe, before, after, said):
    recipe.write_text(RECIPE.replace(before, after))
    with pytest.raises(DataError, match=said):
        read_recipe(recipe)


def test_the_format_is_documented(recipe):
    """The example is a recipe, and the table has every key."""
    page = (Path(__file__).parents[2] / "docs/images.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    recipe.write_text(example)
    found = read_recipe(recipe)
    words = ["train", found.model, "sets/halves", "--out", "x", *found.words()]
    assert parse(words).options.steps == 4
    documented = set(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE))
    assert documented == {each.name for each in fields(Recipe)} - {"path"}


def test_an_option_that_does_not_exist_is_named(diffeo, recipe, empty):
    recipe.write_text(RECIPE.replace("filters: 4", "filtres: 4"))
    assert "--filtres" in diffeo("run", recipe, "--data", "sets").mistake


def test_missing_data_say_how_to_get_them(diffeo, empty, monkeypatch):
    monkeypatch.delenv("DIFFEO_DATA", raising=False)
    assert "diffeo data mnist --to" in diffeo("run", "mnist-glow", "--data", empty).mistake
    assert "DIFFEO_DATA" in diffeo("run", "recipes/mnist-glow.yaml").mistake
    assert "did you mean mnist-glow" in diffeo("run", "mnist-glwo", "--data", empty).mistake


def test_data_are_found_under_their_names(tmp_path):
    (tmp_path / "fashion_mnist").mkdir()
    assert find_data("fashion-mnist", tmp_path) == tmp_path / "fashion_mnist"
    assert find_data("fashion-mnist", tmp_path / "fashion_mnist") == tmp_path / "fashion_mnist"


def test_recipes_are_listed(diffeo):
    outcome = diffeo("run")
    assert outcome.status == 0 and "mnist-glow" in outcome.out


def test_measured_must_stand_at_the_end(recipe):
    recipe.write_text("measured: []\n" + RECIPE)
    with pytest.raises(DataError, match="last key"):
        add_measured(recipe, {"value": 1})
