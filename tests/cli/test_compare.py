"""`diffeo compare`: the paired difference, and what can't be compared."""

import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import diffeo as library
from diffeo.cli.compare import _same_samples
from diffeo.cli.errors import CommandError
from diffeo.cli.learned import files_of, trained_on
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
    assert "both models were trained on clips of it" in outcome.err
    assert "the 1 clip that neither was trained on" in outcome.err
    told = json.loads(outcome.out)
    for model in told["models"]:
        training = json.loads(Path(model["folder"], "config.json").read_text())["training"]
        assert model["bits_per_sample"] == pytest.approx(
            training["validation"]["bits_per_sample"], rel=1e-5
        )
    words = ("train", "wavenet", "clips", "--out", "c", *WAVENET, "--max-steps", 1)
    assert diffeo(*words, "--seed", 1).status == 0
    assert "give sounds that neither was trained" in diffeo("compare", "a", "c", "clips").mistake


def one_step(diffeo, data, out, *more):
    outcome = diffeo("train", "wavenet", data, "--out", out, *WAVENET, "--max-steps", 1, *more)
    assert outcome.status == 0, outcome.err


def test_training_clips_are_known_by_whatever_path(diffeo, two_of_sounds):
    """A link, a subfolder, a file, a folder above: what was trained on is no ground to compare."""
    held_out = json.loads(diffeo("compare", "a", "b", "clips", "--json").out)
    Path("link").symlink_to("clips")
    assert json.loads(diffeo("compare", "a", "b", "link", "--json").out) == held_out
    Path("links").mkdir()
    for i in (5, 3):
        Path("links", f"{9 - i}.wav").symlink_to(Path("clips", f"{i}.wav").absolute())
    one = [
        each
        for each in (f"clips/{i}.wav" for i in range(16))
        if "give sounds" not in diffeo("compare", "a", "b", each).err
    ]
    assert len(one) == 1  # the one that was held out
    assert "give sounds that neither was trained" in diffeo("compare", "a", "b", "links").mistake
    Path("all").mkdir()
    for name in ("clips", "other"):
        Path(name).rename(Path("all", name))
        Path(name).symlink_to(Path("all", name))
    told = diffeo("compare", "a", "b", "all")
    assert "the 9 clips that neither was trained on" in told.err


def test_what_was_held_out_must_be_known(diffeo, two_of_sounds):
    words = ("compare", "a", "v", "clips")
    one_step(diffeo, "clips", "v", "--validation", "other")
    assert "give sounds that neither was trained" in diffeo(*words).mistake
    for i, part in ((0, "train"), (1, "train"), (2, "train"), (3, "val")):
        Path("parts", part).mkdir(parents=True, exist_ok=True)
        write_sound(Path("parts", part, f"{i}.wav"), make_clip(203 + 8 * i, 0.3, 40 + i), RATE)
    one_step(diffeo, "parts", "p")
    assert diffeo("compare", "p", "p", "parts").status == 0  # the part val
    train = diffeo("compare", "p", "p", "parts", "--part", "train")
    assert "give sounds that neither was trained" in train.mistake
    write_sound(Path("clips", "16.wav"), make_clip(300, 0.3, 50), RATE)
    assert "give sounds that neither was trained" in diffeo("compare", "a", "b", "clips").mistake


def test_students_know_the_clips_of_their_teachers(diffeo, two_of_sounds):
    settings = Path("b", "settings.json")
    course = json.loads(settings.read_text())
    settings.write_text(json.dumps({**course, "data": None}))
    config = json.loads(Path("b", "config.json").read_text())
    assert trained_on(Path("b"), [Path("clips", "1.wav").resolve()]) == (set(), False)
    config["training"]["distilled_from"] = str(Path("a").absolute())
    Path("b", "config.json").write_text(json.dumps(config))
    seen, known = trained_on(Path("b"), list(files_of(Path("clips")).values()))
    assert known and len(seen) == 15


def test_clips_are_cut_to_the_groups_of_both():
    models: Any = [SimpleNamespace(multiple=multiple) for multiple in (8, 12)]
    assert _same_samples(Sounds([np.ones(50)], RATE), models).lengths == (48,)
    with pytest.raises(CommandError, match="need 24 at least"):
        _same_samples(Sounds([np.ones(23)], RATE), models)


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
    mel = ("--context", "mel", "--mels", 8, "--hop", 8, "--window", 64)
    one_step(diffeo, "clips", "mel2", *mel)
    said = diffeo("compare", "mel", "mel2", "other").mistake
    assert "mel spectrograms of other settings (hop 16 and 8)" in said
    for out, who in (("who", "ann"), ("who2", "carl")):
        for i in range(6):
            name = f"{i}_{'ben' if i % 2 else who}_0.wav"
            Path("said", out).mkdir(parents=True, exist_ok=True)
            write_sound(Path("said", out, name), make_clip(220, 0.2, i), RATE)
        more = ("--context", "speaker", "--speakers", "_(.+)_")
        one_step(diffeo, Path("said", out), out, *more)
    said = diffeo("compare", "who", "who2", "other").mistake
    assert "of other speakers (only one knows 'ann', 'carl')" in said
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
