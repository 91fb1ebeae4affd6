"""Runs that are stopped and go on: the checkpoint, the command that resumes, what is refused."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import diffeo as library
from tests.cli.conftest import make_table
from tests.cli.test_mistakes import left_in


def train(*more: object, steps: int = 12, out: str = "a") -> tuple:
    """A short training of batches so small that there are several epochs."""
    words = ("train", "maf", "t.csv", "--out", out, "--transforms", 1, "--hidden", 8)
    return (*words, "--max-steps", steps, "--batch-size", 64, *more)


@pytest.fixture
def stopped(empty, diffeo, monkeypatch):
    """A run in the folder "a" that was stopped by Ctrl-C at step 5, and the tables it needs."""
    make_table(200).to_csv("t.csv", index=False)
    from diffeo.train.module import Training

    step, calls = Training.training_step, []

    def interrupting(self, batch, index):
        step(self, batch, index)
        calls.append(index)
        if len(calls) == 5:
            signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(Training, "training_step", interrupting)
        return diffeo(*train())


def test_ctrl_c_keeps_a_checkpoint_and_says_how_to_go_on(stopped, empty):
    assert stopped.status == 130
    assert stopped.out == ""
    words = " ".join(map(str, train("--resume")))
    assert stopped.err.splitlines()[-1] == (
        f"diffeo: interrupted; the checkpoint is kept; go on with: diffeo {words}"
    )
    assert {path.name for path in Path("a").iterdir()} == {"unfinished", "logs"}


def test_a_resumed_run_ends_as_an_unbroken_one(stopped, diffeo, empty):
    outcome = diffeo(*train("--resume"))
    assert outcome.status == 0 and "a: going on from step 5\n" in outcome.err
    assert diffeo(*train(out="b")).status == 0
    for name in ("model.safetensors", "reference.safetensors"):
        one, other = load_file(Path("a", name)), load_file(Path("b", name))
        assert all(torch.equal(one[key], other[key]) for key in one), name
    assert not Path("a/unfinished").exists()
    columns = ["step", "train_nats", "validation_nats"]
    a, b = (library.data.read_table(Path(out, "history.csv"))[columns] for out in "ab")
    assert a.equals(b)


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ((), "holds an unfinished run; go on with --resume, or start anew with --overwrite"),
        (("--resume", "--seed", 3), "started with --seed 0, not 3"),
        (("--resume", "--hidden", 9), "started with --hidden 8, not 9"),
        (("--resume", "--drop", "power"), "started with --drop (nothing), not power"),
        (("--resume", "--overwrite"), "not both"),
    ],
)
def test_other_settings_are_refused(stopped, diffeo, empty, more, expected):
    before = left_in(empty)
    assert expected in diffeo(*train(*more)).mistake
    assert left_in(empty) == before


def test_another_table_is_refused(stopped, diffeo, empty):
    make_table(201).to_csv("t.csv", index=False)
    assert "t.csv holds other data" in diffeo(*train("--resume")).mistake


def test_a_damaged_checkpoint_is_refused(stopped, diffeo, empty):
    path = Path("a/unfinished/checkpoint.safetensors")
    path.write_bytes(path.read_bytes()[:200])
    assert "checkpoint" in diffeo(*train("--resume")).mistake
    assert path.exists()


def test_overwriting_starts_anew(stopped, diffeo, empty):
    outcome = diffeo(*train("--overwrite"))
    assert outcome.status == 0 and "trained 12 steps" in outcome.out
    assert not Path("a/unfinished").exists()


def test_a_finished_run_is_not_begun_again(diffeo, empty):
    """A command that is repeated until it succeeds may be repeated once more."""
    make_table(200).to_csv("t.csv", index=False)
    assert diffeo(*train()).status == 0
    before = {path: path.read_bytes() for path in empty.rglob("*") if path.is_file()}
    outcome = diffeo(*train("--resume"))
    assert outcome.status == 0 and "a: is finished" in outcome.out
    assert json.loads(diffeo(*train("--resume", "--json")).out)["folder"] == "a"
    assert "--max-steps 12, not 20" in diffeo(*train("--resume", steps=20)).mistake
    assert {path: path.read_bytes() for path in empty.rglob("*") if path.is_file()} == before


def test_with_nothing_to_resume_a_run_begins(diffeo, empty):
    """So that a command that is repeated until it succeeds may always say --resume."""
    make_table(200).to_csv("t.csv", index=False)
    outcome = diffeo(*train("--resume", "--json"))
    assert outcome.status == 0
    assert any("to resume from" in line for line in json.loads(outcome.out)["warnings"])
    assert "is a file" in diffeo(*train("--resume", out="t.csv")).mistake


def test_what_a_killed_run_left_is_no_hindrance(diffeo, empty):
    make_table(200).to_csv("t.csv", index=False)
    Path("a/unfinished").mkdir(parents=True)  # killed before it wrote its settings
    Path(".a.0123abcd.partial").mkdir()  # killed while it wrote its results
    assert diffeo(*train()).status == 0
    assert {path.name for path in empty.iterdir()} == {"a", "t.csv"}


@pytest.mark.parametrize(
    ("what", "error", "status"),
    [
        ("diffeo.table.save", library.io.ModelFileError("a: can't be written: disk full"), 2),
        ("diffeo.cli.train_table.OfTable.draw", RuntimeError("a fault of the program"), None),
    ],
)
def test_a_failure_after_the_training_keeps_it(diffeo, empty, monkeypatch, what, error, status):
    make_table(200).to_csv("t.csv", index=False)

    def fail(*arguments, **options):
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(what, fail)
        if status is None:
            with pytest.raises(RuntimeError, match="a fault"):
                diffeo(*train())
        else:
            assert "the checkpoint is kept; go on with" in diffeo(*train()).mistake
    assert diffeo(*train("--resume")).status == 0
    assert Path("a/model.safetensors").exists()


def test_a_moved_table_is_still_the_same(stopped, diffeo, empty):
    Path("t.csv").rename("moved.csv")
    words = ["moved.csv" if word == "t.csv" else word for word in train("--resume")]
    assert diffeo(*words).status == 0


def test_a_folder_of_the_persons_own_is_not_taken_for_a_run(diffeo, empty):
    make_table(200).to_csv("t.csv", index=False)
    Path("a/unfinished").mkdir(parents=True)
    Path("a/unfinished/novel.txt").write_text("mine")
    Path("b").mkdir()
    Path("b/config.json").write_text('{"theme": "dark"}')
    for out in "ab":
        for more in ((), ("--overwrite",)):
            assert "was not made by this command" in diffeo(*train(*more, out=out)).mistake
    assert Path("a/unfinished/novel.txt").read_text() == "mine"


def test_two_processes_resume_one_run(stopped, empty):
    words = [str(word) for word in train("--resume", "--json")]
    code = f"import sys; from diffeo.cli import main; sys.exit(main({words!r}))"
    Path("train.py").write_text(code)
    launch = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone", "train.py"]
    environment = os.environ | {
        "PYTHONPATH": str(Path(library.__file__).parents[1]),
        "OMP_NUM_THREADS": "1",
    }
    done = subprocess.run(
        [sys.executable, *launch], capture_output=True, text=True, env=environment, timeout=180
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["steps"] == 12
    assert {"config.json", "model.safetensors"} <= {path.name for path in Path("a").iterdir()}
    assert not Path("a/unfinished").exists()
