"""`diffeo distill`: of a table and of sounds, and what it refuses."""

import json
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from diffeo import SoundModel, load
from diffeo.cli import main
from diffeo.data import read_sounds, write_sound
from tests.cli.conftest import QUICK

pytest.importorskip("soundfile")

STUDENT = ("--transforms", 1, "--hidden", 8, "--max-steps", 6, "--rows", 200, "--judge", 40)
SOUND = (
    *("--transforms", 1, "--layers", 2, "--residual", 4, "--segment", 40, "--rows", 6),
    *("--max-steps", 3, "--judge", 4, "--reverse", 2, "--threads", 1),
)
TRAINING = ("--layers", 2, "--residual", 4, "--skip", 4, "--segment", 60, "--max-steps", 2)


def words(*parts: object) -> list[str]:
    return [str(part) for part in parts]


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("sounds") / "clips"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for i in range(8):
        write_sound(folder / f"{i}_{'ab'[i % 2]}.wav", rng.normal(0, 0.1, 150), 8000)
    return folder


@pytest.fixture(scope="module")
def teachers(clips, tmp_path_factory) -> Path:
    """Hardly trained: "plain", given "speaker" or "mel", and of μ-law "codes"."""
    folder = tmp_path_factory.mktemp("runs")
    forms = {
        "plain": (),
        "speaker": ("--context", "speaker", "--speakers", "_(.)"),
        "mel": ("--context", "mel", "--mels", 4, "--hop", 20, "--window", 40),
        "codes": ("--head", "mu-law"),
    }
    for name, more in forms.items():
        call = words("train", "wavenet", clips, "--out", folder / name, "--quiet", *TRAINING, *more)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("diffeo.cli.train_sounds.OfSounds.draw", lambda *arguments: None)
            assert main([*call, "--samples-every", "0"]) == 0
    return folder


def test_a_table_model_is_distilled(diffeo, trained, empty):
    outcome = diffeo("distill", trained, "--student", "iaf", "--out", "s", *STUDENT)
    assert outcome.status == 0, outcome.err
    for said in ("KL(student ‖ teacher):", "nats a row", "times as fast", "of the 40|of 40 draws",
                 "next: diffeo sample s -n 1000"):  # fmt: skip
        assert any(each in outcome.out for each in said.split("|")), outcome.out
    found = {path.name for path in Path("s").iterdir()}
    assert {"config.json", "curve.png", "history.csv", "settings.json"} <= found
    assert "unfinished" not in found
    assert diffeo("sample", "s", "-n", 3, "--out", "s.csv").status == 0
    assert Path("s.csv").read_text().startswith("temperature,air pressure,power")
    info = diffeo("info", "s")
    assert "distilled from" in info.out and "KL(student ‖ teacher)" in info.out


def test_a_distilled_table_model_is_nearer_than_it_was(diffeo, trained, empty):
    far, near = (
        json.loads(
            diffeo(
                *("distill", trained, "--out", f"s{steps}", "--json", "--transforms", 1),
                *("--hidden", 8, "--rows", 500, "--max-steps", steps, "--judge", 500),
            ).out
        )
        for steps in (1, 60)
    )
    assert near["kl"][0] < far["kl"][0]
    assert near["samples"] == near["teacher_samples"] == 500 and near["dimensions"] == 3


def test_a_conditioned_table_model_needs_its_conditions(diffeo, tables, empty):
    quick = [*QUICK, "--context", "power"]
    assert diffeo("train", "maf", tables / "train.csv", "--out", "m", *quick).status == 0
    assert "--data TABLE" in diffeo("distill", "m", "--out", "s", *STUDENT).mistake
    table = tables / "held out.csv"
    outcome = diffeo("distill", "m", "--data", table, "--out", "s", *STUDENT)
    assert outcome.status == 0, outcome.err
    assert diffeo("sample", "s", "-n", 2, "--given", "power=0.1", "--out", "s.csv").status == 0
    check_next(diffeo, outcome)


def check_next(diffeo, outcome) -> None:
    """What is said to come next works as it is typed."""
    line = next(line for line in outcome.out.splitlines() if line.startswith("next: "))
    name, *words = shlex.split(line.removeprefix("next: "))
    found = diffeo(*words)
    assert name == "diffeo" and found.status == 0, found.err


@pytest.mark.parametrize("form", ["plain", "speaker", "mel"])
def test_a_model_of_sounds_is_distilled(diffeo, teachers, clips, empty, form):
    data = ("--data", clips) if form == "mel" else ()
    outcome = diffeo("distill", teachers / form, "--out", "s", *data, *SOUND)
    assert outcome.status == 0, outcome.err
    assert "sounds of 40 samples" in outcome.err and "times as fast" in outcome.out
    assert "on cpu, the teacher" in outcome.out
    assert "KL(student ‖ teacher) is of 4 samples only" in outcome.err
    check_next(diffeo, outcome)
    student = load("s")
    assert isinstance(student, SoundModel)
    assert student.config["name"] == "iaf" and student.segment == 40
    assert student.context == {"plain": (), "speaker": ("speaker",), "mel": ("mel",)}[form]
    assert diffeo("evaluate", "s", clips).status == 0  # who speaks is told as to the teacher
    assert diffeo("evaluate", "s", clips / "0_a.wav", *given(form)).status == 0
    if form == "mel":
        assert diffeo("vocode", "s", clips / "0_a.wav", "--out", "v.wav").status == 0
        assert read_sounds(Path("v.wav")).lengths == (150,)
    else:
        words = ("--seconds", 0.01, "--out", "v.wav", *given(form))
        assert diffeo("sample", "s", *words).status == 0


def test_a_student_of_groups_gets_whole_groups(diffeo, teachers, empty):
    sizes = ("--flows", 2, "--layers", 1, "--residual", 4, "--skip", 4)
    budget = ("--max-steps", 1, "--rows", 8, "--judge", 4, "--reverse", 0)
    words = ("--student", "waveglow", "--segment", 36, "--out", "s", *sizes, *budget)
    outcome = diffeo("distill", teachers / "plain", *words)
    assert outcome.status == 0, outcome.err
    assert "sounds of 40 samples" in outcome.err


def given(form: str) -> tuple[str, ...]:
    return ("--given", "speaker=a") if form == "speaker" else ()


def test_a_student_that_replaces_a_model_leaves_nothing_of_it(diffeo, teachers, trained, empty):
    shutil.copytree(teachers / "plain", "s")
    for name in ("samples.wav", "waveforms.png", "report.html", "report-curve.png", "notes.txt"):
        Path("s", name).write_bytes(b"of the old one")
    words = ("distill", trained, "--out", "s", *STUDENT)
    assert diffeo(*words, "--overwrite").status == 0
    found = {path.name for path in Path("s").iterdir()}
    assert "config.json" in found and "notes.txt" in found  # what nobody here wrote stays
    assert not found & {"samples.wav", "waveforms.png", "report.html", "report-curve.png"}
    assert Path("s/curve.png").stat().st_size > 100


def test_some_rows_of_recordings_are_of_all_of_them(diffeo, teachers, clips, empty, monkeypatch):
    """Of 8 clips by two speakers in turn, all given; and the same seed takes the same."""
    seen = []

    def stop(command, console, material, *_):
        seen.append(material)
        raise ZeroDivisionError

    monkeypatch.setattr("diffeo.cli.distill._fit", stop)
    for seed in (0, 0, 1):
        with pytest.raises(ZeroDivisionError):
            diffeo(
                *("distill", teachers / "mel", "--data", clips, "--out", f"s{len(seen)}"),
                *(*SOUND, "--seed", seed),
            )
    first, again, other = (material.options["reference"] for material in seen)
    assert len(first) == 6 and torch.equal(first, again) and not torch.equal(first, other)
    learned = {clip.tobytes() for clip in (read_sounds(clips).clips)}
    begun = [row.numpy().tobytes() for row in first[:, 0]]
    of = {i for row in begun for i, clip in enumerate(sorted(learned)) if clip.find(row) >= 0}
    assert len(of) > 2
    assert all(len(part) == 6 for part in seen[0].options["context"].values())


def test_a_run_goes_on(diffeo, trained, empty, monkeypatch):
    whole = ("distill", trained, *STUDENT, "--threads", 1, "--out")
    assert diffeo(*whole, "a").status == 0

    def stop(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("diffeo.cli.distill._judge", stop)
        assert diffeo(*whole, "b").status == 130
    assert "holds an unfinished run" in diffeo(*whole, "b").mistake
    assert "--rows" in diffeo(*whole, "b", "--resume", "--rows", 100).mistake
    assert diffeo(*whole, "b", "--resume").status == 0
    assert Path("a/model.safetensors").read_bytes() == Path("b/model.safetensors").read_bytes()


MISTAKES = {
    "distill CODES --out s": ["is discrete", "--head logistic"],
    "distill MEL --out s": ["conditioned on mel", "--data SOUNDS"],
    "distill PLAIN --out s --data CLIPS": ["not conditioned on anything"],
    "distill PLAIN --out PLAIN --overwrite": ["whose files are read", "elsewhere"],
    "distill PLAIN --out s --contrastive 0.5": ["this teacher has none"],
    "distill PLAIN --out s --student maf": ["samples one position after another", "iaf"],
    "distill PLAIN --out s --student nsf": ["nsf"],
    "distill PLAIN --out s --contrastive 2": ["contrastive must be below 1"],
    "distill PLAIN --out s --rows 1": ["--rows must be at least 2"],
    "distill PLAIN --out s --segment long": ["--segment", "no length"],
    "distill PLAIN --out s --estimator best": ["--estimator"],
    "distill PLAIN --out s --hidden 3": ["no option is called --hidden"],
    "distill TABLE --out s --student maf": ["samples one position after another"],
    "distill TABLE --out s --segment 9": ["--segment is for sounds"],
    "distill TABLE --out s --data CLIPS": ["not conditioned on anything"],
    "distill PHOTOS --out s": ["is a model of images"],
    "distill MISSING --out s": ["MISSING", "does not exist"],
    "distill TABLE": ["--out"],
    "distill TABLE --out s --student ia": ["'ia'", "did you mean 'iaf'"],
}


@pytest.mark.parametrize("line", MISTAKES)
def test_a_mistake_gets_one_line(diffeo, teachers, clips, trained, of_classes, empty, line):
    places = {
        **{name.upper(): teachers / name for name in ("plain", "mel", "codes")},
        "TABLE": trained,
        "PHOTOS": of_classes,
        "CLIPS": clips,
    }
    mistake = diffeo(*(places.get(word, word) for word in line.split())).mistake
    for part in MISTAKES[line]:
        assert part in mistake
    assert not list(Path().iterdir())
