"""`diffeo compare`: the paired difference, and what can't be compared."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

import diffeo as library
from diffeo.data import Sounds, read_sounds, read_table, write_sound
from tests.cli.conftest import QUICK, make_table
from tests.cli.test_sounds import RATE, WAVEGLOW, WAVENET, make_clip


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


@pytest.fixture
def two_of_sounds(diffeo, empty):
    """Two models of the same clips, one trained longer; "other" are clips that neither saw."""
    for i in range(24):
        folder = Path("clips" if i < 16 else "other")
        folder.mkdir(exist_ok=True)
        write_sound(folder / f"{i}.wav", make_clip(203 + 8 * i, 0.3, i), RATE)
    for out, steps in (("a", 30), ("b", 1)):
        words = ("train", "wavenet", "clips", "--out", out, *WAVENET, "--max-steps", steps)
        assert diffeo(*words).status == 0


def of_clips(folder, sounds):
    """Bits of each clip."""
    return -library.load(folder).log_prob(sounds) / math.log(2)


def test_the_difference_is_taken_clip_by_clip(diffeo, two_of_sounds):
    outcome = diffeo("compare", "a", "b", "other")
    assert outcome.status == 0, outcome.err
    sounds = read_sounds("other")
    lengths = np.array(sounds.lengths)
    off = of_clips("a", sounds) - of_clips("b", sounds)
    told = json.loads(diffeo("compare", "a", "b", "other", "--json").out)
    mean = off.sum() / lengths.sum()
    error = math.sqrt(np.square(off - mean * lengths).sum() * 8 / 7) / lengths.sum()
    assert told["difference"] == pytest.approx(mean, abs=1e-5) and mean < -2 * error
    assert told["standard_error"] == pytest.approx(error, rel=1e-3)
    assert told["rows"] == 8 and told["unit"] == "bits a sample"
    assert "a finds these clips likelier, by" in outcome.out
    assert "a finds" in diffeo("compare", "b", "a", "other").out
    for model in told["models"]:
        evaluated = json.loads(diffeo("evaluate", model["folder"], "other", "--json").out)
        assert model["bits_per_sample"] == pytest.approx(evaluated["bits_per_sample"])
        assert model["standard_error"] == pytest.approx(evaluated["standard_error"])


def test_clips_that_both_held_out_are_found_again(diffeo, two_of_sounds):
    outcome = diffeo("compare", "a", "b", "clips", "--json")
    assert "the 1 clip that both held out" in outcome.err
    told = json.loads(outcome.out)
    for model in told["models"]:
        training = json.loads(Path(model["folder"], "config.json").read_text())["training"]
        assert model["bits_per_sample"] == pytest.approx(
            training["validation"]["bits_per_sample"], rel=1e-5
        )
    words = ("train", "wavenet", "clips", "--out", "c", *WAVENET, "--max-steps", 1)
    assert diffeo(*words, "--seed", 1).status == 0
    assert "give sounds that neither was trained" in diffeo("compare", "a", "c", "clips").mistake


def test_models_of_other_sounds_can_not_be_compared(diffeo, two_of_sounds):
    for out, more in (
        ("rate", ("--rate", 4000)),
        ("codes", ("--head", "mu-law")),
        ("mel", ("--context", "mel", "--mels", 8, "--hop", 16, "--window", 64)),
    ):
        words = ("train", "wavenet", "clips", "--out", out, *WAVENET, "--max-steps", 1, *more)
        assert diffeo(*words).status == 0
    assert "8,000 Hz and 4,000 Hz" in diffeo("compare", "a", "rate", "other").mistake
    assert "65,536 levels and 256 μ-law codes" in diffeo("compare", "a", "codes", "other").mistake
    assert "given nothing and mel" in diffeo("compare", "a", "mel", "other").mistake
    assert "--drop-missing is not" in diffeo("compare", "a", "b", "other", "--drop-missing").mistake


def test_a_density_is_compared_with_levels_on_the_same_samples(diffeo, two_of_sounds):
    """WaveGlow takes groups of 8 samples: what it leaves out of a clip, the other does too."""
    words = ("train", "waveglow", "clips", "--out", "v", *WAVEGLOW, "--max-steps", 1)
    assert diffeo(*words).status == 0
    told = json.loads(diffeo("compare", "a", "v", "other", "--json").out)
    whole = read_sounds("other")
    clips = [clip[: len(clip) // 8 * 8] for clip in whole.clips]
    sounds = Sounds(clips, RATE)
    samples = sum(sounds.lengths)
    assert samples < sum(whole.lengths)
    found = [of_clips(name, sounds).sum() / samples for name in ("a", "v")]
    expected = [found[0], found[1] + 15]
    assert [m["bits_per_sample"] for m in told["models"]] == pytest.approx(expected, abs=1e-4)
    assert told["difference"] == pytest.approx(expected[0] - expected[1], abs=1e-4)
    assert [m["of"] for m in told["models"]] == ["levels", "density"]
