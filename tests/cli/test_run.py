"""Recipes: read, run, recorded; those that come with the program are all good."""

import json
import re
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from benchmarks import recipes as page
from diffeo.cli.commands import TrainImages, TrainSounds
from diffeo.cli.words import parse
from diffeo.data import read_sounds, write_sound
from diffeo.data.errors import DataError
from diffeo.recipes import Recipe, add_measured, find_data, find_recipe, keep, read_recipe, shipped
from diffeo.sound_model import SoundModel
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
OF_SOUNDS = """title: WaveNet on digits
reference: "Nobody, 2026"
unit: bits/sample
note: A few steps.
set: tones
model: wavenet
options:
  layers: 2
  residual: 4
  skip: 4
  components: 2
  context: speaker
  segment: 100
  batch-size: 4
  max-steps: 2
  samples-every: 0
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


@pytest.fixture
def of_sounds(empty) -> Path:
    """A recipe of sounds, and its set: three takes of digits for training, two for testing."""
    pytest.importorskip("soundfile")
    folder = empty / "sets/tones"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for who in ("ann", "ben"):
        for take in (0, 1, 5, 6, 7):
            tone = 0.3 * np.sin(np.arange(200 + take) * 0.2) + rng.normal(0, 0.02, 200 + take)
            write_sound(folder / f"3_{who}_{take}.wav", tone, 8000)
    path = empty / "tones.yaml"
    path.write_text(OF_SOUNDS)
    return path


@pytest.mark.parametrize("name", shipped())
def test_recipes_that_come_along_can_be_run(name, tmp_path):
    """Each is read, and its options are understood for its model and its data."""
    recipe = read_recipe(find_recipe(name))
    folder = tmp_path / recipe.set
    folder.mkdir()
    command = parse(["train", recipe.model, str(folder), "--out", "x", *recipe.words()])
    assert isinstance(command, TrainSounds if recipe.of_sounds else TrainImages)
    assert command.model == recipe.model


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
    assert not Path("sounds").exists() and not Path("pictures/glow-halves-waveforms.png").exists()


def test_a_recipe_of_sounds_is_run_and_recorded(diffeo, of_sounds, empty, pictures):
    words = ("run", of_sounds, "--data", "sets", "--out", "r", "--threads", 1)
    outcome = diffeo(*words, "--record")
    assert outcome.status == 0, outcome.err
    assert "bits/sample of the test part, lower is better" in outcome.out
    for said in ("here", "published  ", "independent samples", "FLAC", "A few steps."):
        assert said in outcome.out
    (found,) = read_recipe(of_sounds).measured
    evaluated = json.loads(diffeo("evaluate", "r", "sets/tones", "--json").out)
    assert found["value"] == round(evaluated["bits_per_sample"], 4)
    assert found["standard_error"] == round(evaluated["standard_error"], 4)
    for key in ("flac", "independent"):
        assert found[key] == round(evaluated["baselines"][key], 4)
    # Takes 0 and 1 of two people; of the other six clips one is held out.
    assert (found["test_clips"], found["training_clips"]) == (4, 5) and found["steps"] == 2
    assert "test_images" not in found and "samples" not in found
    pictured = ["tones-curve.png", "tones-waveforms.png"]
    for name in pictured:
        kept, made = Path("pictures", name), Path("r", name.removeprefix("tones-"))
        assert kept.read_bytes() == made.read_bytes()
    drawn, kept = read_sounds("r/samples.wav"), read_sounds("sounds/tones-samples.flac")
    assert kept.rate == drawn.rate and np.array_equal(kept.clips[0], drawn.clips[0])
    Path("r/samples.wav").unlink()
    assert keep(of_sounds, Path("r")) == [of_sounds.parent / "pictures" / name for name in pictured]
    assert not Path("sounds/tones-samples.flac").exists()


def test_the_page_has_images_and_sounds(diffeo, recipe, of_sounds, empty, pictures, monkeypatch):
    for each in (recipe, of_sounds):
        words = ("run", each, "--data", "sets", "--record", "--threads", 1, "--max-steps", 2)
        assert diffeo(*words).status == 0
    monkeypatch.setattr(page, "FOLDER", empty)
    text = page.results()
    tables = [line for line in text.splitlines() if line.startswith("| ")]
    assert len(tables) == 6  # a head, a rule and a row of each
    for head, rule, row in (tables[:3], tables[3:]):
        assert head.count("|") == rule.count("|") == row.count("|")
    assert tables[2].startswith("| glow-halves | bits/dim, lower is better | ")
    assert "4, 0.8 s" not in tables[2] and " images, seed 0 |" in tables[2]
    found = read_recipe(of_sounds).measured[0]
    cells = [cell.strip() for cell in tables[5].split("|")[1:-1]]
    assert cells[0] == "tones" and cells[1].startswith(f"{found['value']:g} ± ")
    assert cells[2:5] == [f"{found['flac']:g}", f"{found['independent']:g}", "4, 0.1 s"]
    assert "5 clips, seed 0" in cells[7]
    assert "![tones: waveforms](pictures/tones-waveforms.png)" in text
    assert "\n[tones: samples](sounds/tones-samples.flac)" in text


def test_a_single_test_clip_has_no_standard_error(diffeo, of_sounds, empty, monkeypatch):
    for name in ("3_ann_1", "3_ben_0", "3_ben_1"):
        Path(f"sets/tones/{name}.wav").unlink()
    assert diffeo("run", of_sounds, "--data", "sets", "--record", "--threads", 1).status == 0
    (found,) = read_recipe(of_sounds).measured
    assert found["test_clips"] == 1 and found["standard_error"] is None
    monkeypatch.setattr(page, "FOLDER", empty)
    assert f"| tones | {found['value']:g} | " in page.results()


def test_an_infinite_figure_is_not_recorded(diffeo, of_sounds, empty, monkeypatch):
    monkeypatch.setattr(
        SoundModel, "log_prob", lambda self, sounds, **_: np.full(len(sounds), -np.inf)
    )
    outcome = diffeo("run", of_sounds, "--data", "sets", "--record", "--threads", 1)
    assert outcome.status == 0 and "nothing is recorded" in outcome.err
    assert of_sounds.read_text() == OF_SOUNDS


def test_a_unit_of_other_data_is_refused(diffeo, recipe, of_sounds, empty):
    recipe.write_text(RECIPE.replace("bits/dim", "bits/sample"))
    mistake = diffeo("run", recipe, "--data", "sets").mistake
    assert "unit is bits/sample, and sets/halves holds images; write bits/dim or nats" in mistake
    of_sounds.write_text(OF_SOUNDS.replace("bits/sample", "bits/dim"))
    mistake = diffeo("run", of_sounds, "--data", "sets").mistake
    assert "unit is bits/dim, and sets/tones holds sounds; write bits/sample" in mistake
    assert not Path("runs").exists()


def test_a_set_without_a_test_part_is_said(diffeo, of_sounds, empty):
    for path in Path("sets/tones").glob("*.wav"):
        path.rename(path.with_name("x" + path.name))
    of_sounds.write_text(OF_SOUNDS.replace("context: speaker", "speakers: _(.+)_"))
    assert "no subfolder of the part 'test'" in diffeo("run", of_sounds, "--data", "sets").mistake


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
        ("bits/dim", "bits/sample\nsamples: 4", "samples is of images, and the unit bits/sample"),
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
