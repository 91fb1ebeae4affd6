"""Runs that were stopped and go on."""

import errno
import json
import math
import os
import signal
import warnings

import pandas as pd
import pytest
import torch
from safetensors import safe_open

import diffeo.train.checkpoint as checkpoint_file
from diffeo.models import create
from diffeo.train import CheckpointError, TrainingInterrupted, fit
from diffeo.train.checkpoint import read_checkpoint, write_checkpoint
from tests.train.resumable import STEPS, Stateful, data, plain, train


class StopError(Exception):
    pass


def stopping(at, how):
    """An objective that ends the run in a step, and otherwise is the usual one."""
    calls = {"n": 0}

    def objective(model, x, context, weights):
        calls["n"] += model.training
        if model.training and calls["n"] == at:
            if how == "error":
                raise StopError
            signal.raise_signal(getattr(signal, how))
        return -(weights * model(x, context)).sum() / weights.sum()

    return objective


def usual(model, x, context, weights):
    return -(weights * model(x, context)).sum() / weights.sum()


def make(seed=0):
    torch.manual_seed(seed)
    return Stateful()


def equal(model, other):
    state = other.state_dict()
    return all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


@pytest.fixture(scope="module")
def unbroken():
    model = make()
    return model, train(model, objective=usual)


@pytest.mark.parametrize("how", ["error", "SIGINT"])
@pytest.mark.parametrize("at", [2, 11, 21])
def test_a_resumed_run_ends_as_an_unbroken_one(tmp_path, unbroken, at, how):
    path = tmp_path / "run.safetensors"
    with pytest.raises((StopError, TrainingInterrupted)) as caught:
        train(make(), path, objective=stopping(at, how))
    if how == "SIGINT":
        assert caught.value.checkpoint == path
    torch.rand(7)  # the global state does not matter
    model = make(seed=1)  # nor do the weights that are replaced
    history = train(model, path, objective=usual, resume=True)
    assert equal(model, unbroken[0])
    assert plain(history) == plain(unbroken[1])
    assert list(tmp_path.iterdir()) == [path]


def test_a_run_can_be_resumed_again_and_again(tmp_path, unbroken):
    path = tmp_path / "run.safetensors"
    model, history, parts = make(), None, 0
    while history is None:
        parts += 1
        try:
            history = train(model, path, objective=stopping(6, "error"), resume=path.exists())
        except StopError:
            model = make()
    assert parts == 5  # five steps each, the last four
    assert plain(history) == plain(unbroken[1])
    assert equal(model, unbroken[0])


def test_models_of_the_library_resume_too(tmp_path):
    def flow():
        torch.manual_seed(0)
        supports = [{"lower": 0, "upper": 3, "integer": True}, {"lower": 0.0}]
        return create("maf", features=2, transforms=2, hidden=(8,), supports=supports)

    x = torch.stack([torch.arange(200) % 4, torch.linspace(0.1, 3, 200)], -1)
    options = {"max_steps": 12, "evaluate_every": 4, "batch_size": 50, "progress": False}
    whole, part = flow(), flow()
    history = fit(whole, x, **options)
    path = tmp_path / "run.safetensors"
    with pytest.raises(StopError):
        calls = {"n": 0}

        def stop(model, x, context):
            calls["n"] += model.training
            if calls["n"] == 7:
                raise StopError
            return -model(x, context).mean()

        fit(part, x, **options, objective=stop, checkpoint=path, checkpoint_seconds=0)
    resumed = flow()
    assert plain(fit(resumed, x, **options, checkpoint=path, resume=True)) == plain(history)
    assert equal(resumed, whole)


def test_sigterm_writes_a_checkpoint(tmp_path):
    path = tmp_path / "run.safetensors"

    def handle(number, frame):
        raise InterruptedError

    before = signal.signal(signal.SIGTERM, handle)
    try:
        with pytest.raises(InterruptedError):
            train(make(), path, objective=stopping(7, "SIGTERM"), checkpoint_seconds=1e6)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert read_checkpoint(path)[1]["tally"]["steps"] == 7


def test_a_run_that_ended_is_not_trained_further(tmp_path):
    path, model, calls = tmp_path / "run.safetensors", make(), {"n": 0}

    def once_infinite(model, x, context, weights):
        calls["n"] += model.training
        return usual(model, x, context, weights) * (math.inf if calls["n"] == 3 else 1)

    with pytest.warns(UserWarning, match="1 of 24 batches were skipped"):
        history = train(model, path, objective=once_infinite, checkpoint_seconds=1e6)
    again = make(seed=1)
    with pytest.warns(UserWarning, match="1 of 24 batches were skipped"):
        resumed = train(again, path, objective=stopping(1, "error"), resume=True)
    assert resumed.skipped == 1
    assert plain(resumed) == plain(history)
    assert resumed.stopped == history.stopped != ""
    assert equal(again, model)


def test_time_is_counted_over_all_parts(tmp_path):
    path = tmp_path / "run.safetensors"
    options = {"max_time": 1000.0, "max_steps": 10**6, "patience": 10**6}
    with pytest.raises(TrainingInterrupted):
        train(make(), path, objective=stopping(3, "SIGINT"), **options)
    tensors, note = read_checkpoint(path)
    note["tally"]["seconds"] += 999.9 - note["tally"]["seconds"]
    write_checkpoint(path, tensors, note)
    history = train(make(), path, objective=usual, resume=True, **options)
    assert history.stopped == "max_time"
    assert history.steps[-1] > 3
    assert 1000 <= history.seconds[-1] < 1005
    assert history.seconds == sorted(history.seconds)


def test_without_a_checkpoint_a_run_starts_from_the_beginning(tmp_path, unbroken):
    model = make()
    with pytest.warns(UserWarning, match=r"no checkpoint '.*run.safetensors' to resume from"):
        history = train(model, tmp_path / "run.safetensors", objective=usual, resume=True)
    assert plain(history) == plain(unbroken[1])


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    path = tmp_path_factory.mktemp("run") / "run.safetensors"
    with pytest.raises(StopError):
        train(make(), path, objective=stopping(4, "error"))
    return path


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"seed": 1}, r"seed was 0, and is 1 now|the training data differs"),
        ({"batch_size": 10}, "batch_size was 20, and is 10 now"),
        ({"max_steps": 30}, "max_steps was 24, and is 30 now"),
        ({"schedule": "constant"}, "schedule was cosine, and is constant now"),
        ({"average": None}, r"average was 0\.999, and is None now"),
        ({"weights": None}, r"the training data differs \(and 1 more\)"),
        ({"validation": data(7) * 2}, r"rows was 90, and is 100 now"),
    ],
)
def test_a_checkpoint_of_another_run_is_refused(checkpoint, options, says):
    with pytest.raises(CheckpointError, match="of another run: (" + says + ").*start anew"):
        train(make(), checkpoint, resume=True, **options)


def test_a_checkpoint_of_another_model_is_refused(checkpoint):
    with pytest.raises(CheckpointError, match="of another run: the model differs"):
        train(Stateful(ballast=3), checkpoint, resume=True)
    with pytest.raises(CheckpointError, match="of another run: the model differs"):
        train(make().double(), checkpoint, resume=True)


@pytest.mark.parametrize("damage", ["cut", "bit", "header", "empty", "text", "other"])
def test_a_damaged_checkpoint_is_refused(checkpoint, tmp_path, damage):
    whole = checkpoint.read_bytes()
    flipped = bytearray(whole)
    flipped[-9 if damage == "bit" else 500] ^= 4
    path = tmp_path / "run.safetensors"
    if damage == "other":
        from safetensors.torch import save_file

        save_file({"a": torch.zeros(2)}, path)
    else:
        left = {"cut": whole[:-100], "empty": b"", "text": b"x,y\n1,2\n"}
        path.write_bytes(left.get(damage, bytes(flipped)))
    with pytest.raises(CheckpointError, match=r"run\.safetensors: (is|can't)") as caught:
        train(make(), path, resume=True)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"resume": True}, "resume needs the checkpoint"),
        ({"path": "nowhere/run.safetensors"}, "in a folder that does not exist"),
        ({"path": "."}, "is a folder"),
        ({"checkpoint_seconds": -1}, "checkpoint_seconds must be 0 or more"),
    ],
)
def test_what_is_refused(options, says):
    with pytest.raises(ValueError, match=says):
        train(make(), options.pop("path", None), **options)


def test_the_file_is_plain_safetensors(checkpoint):
    with safe_open(checkpoint, "pt") as file:
        names = set(file.keys())
        note = json.loads(file.metadata()["diffeo.training"])
    assert {"model.loc", "best.norm.running_mean", "average.0", "adam.0.exp_avg"} <= names
    assert note["tally"]["steps"] == 3
    assert note["history"]["steps"] == [0]


def test_tensors_of_every_kind_come_back(tmp_path):
    tensors = {
        "scalar": torch.tensor(3.5, dtype=torch.float64),
        "none": torch.zeros(0, 4),
        "odd": torch.tensor([True, False, True]),
        "half": torch.randn(3).bfloat16(),
        "across": torch.randn(4, 5).T,
        "whole": torch.arange(7),
    }
    path = tmp_path / "file with ünicode [1].safetensors"
    write_checkpoint(path, tensors, {"a": float("-inf")})
    found, note = read_checkpoint(path)
    assert note == {"format": 1, "a": float("-inf")}
    for name, tensor in tensors.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor)


def test_left_overs_of_killed_writers_go(tmp_path):
    path = tmp_path / "run.safetensors"
    (tmp_path / ".run.safetensors.0123abcd.tmp").write_bytes(b"half")
    (tmp_path / ".other.safetensors.0123abcd.tmp").write_bytes(b"not mine")
    train(make(), path, max_steps=1)
    left = {p.name for p in tmp_path.iterdir()}
    assert left == {"run.safetensors", ".other.safetensors.0123abcd.tmp"}


def test_on_a_full_disk_training_goes_on_and_the_old_checkpoint_stays(
    tmp_path, unbroken, monkeypatch
):
    path = tmp_path / "run.safetensors"
    writes = {"n": 0}
    real = checkpoint_file._write

    def fill(file, tensors, note):
        writes["n"] += 1
        if writes["n"] <= 5:
            return real(file, tensors, note)
        file.write(b"x" * 5000)
        file.flush()
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(checkpoint_file, "_write", fill)
    model = make()
    with pytest.warns(UserWarning, match="No space left on device.*the one before is kept"):
        history = train(model, path, objective=usual)
    assert writes["n"] == STEPS
    assert plain(history) == plain(unbroken[1])
    assert list(tmp_path.iterdir()) == [path]
    monkeypatch.undo()
    resumed = make()
    assert read_checkpoint(path)[1]["tally"]["steps"] == 5
    assert plain(train(resumed, path, objective=usual, resume=True)) == plain(unbroken[1])
    assert equal(resumed, unbroken[0])


def test_checkpoints_change_nothing_and_warn_of_nothing(tmp_path, unbroken):
    model = make()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        history = train(model, tmp_path / "run.safetensors", objective=usual)
    assert plain(history) == plain(unbroken[1])
    assert equal(model, unbroken[0])


def test_logs_go_on(tmp_path):
    logs, path = tmp_path / "logs", tmp_path / "run.safetensors"
    options = {"log_dir": logs, "evaluate_every": 3, "patience": 100}
    with pytest.raises(StopError):
        # The last checkpoint is of step 1: what comes after it is done, and logged, again.
        train(make(), path, objective=stopping(2, "error"), **options)
    keep = path.read_bytes()
    with pytest.raises(StopError):
        train(make(), path, objective=stopping(10, "error"), resume=True, **options)
    path.write_bytes(keep)
    train(make(), path, objective=usual, resume=True, **options)
    table = pd.read_csv(logs / "metrics.csv")
    assert list(table["step"]) == [0, 3, 6, 9, 12, 15, 18, 21, 24]
    assert table["validation_nats"].notna().all()
    assert sum(p.name.startswith("events.out.tfevents") for p in logs.iterdir()) == 3
