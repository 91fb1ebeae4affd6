"""Batches that are computed in parts."""

import math

import pytest
import torch

from diffeo.models import create
from diffeo.train import CheckpointError, fit
from diffeo.train.batches import Batch
from diffeo.train.checkpoint import read_checkpoint, write_checkpoint
from tests.conftest import TYPECHECK
from tests.train.resumable import Stateful, train
from tests.train.simple import Bell

untyped = pytest.mark.skipif(TYPECHECK, reason="gives arguments of wrong types")
X = torch.randn(100, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
WEIGHTS = torch.rand(100, generator=torch.Generator().manual_seed(1)) ** 3


def trained(accumulate, *, memory="store", dtype=torch.float64, **options):
    torch.manual_seed(0)
    model = create(
        "realnvp", features=2, context=1, transforms=2, hidden=(8,), memory=memory, base="normal"
    ).to(dtype)
    chosen = {"max_steps": 8, "batch_size": 10, "evaluate_every": 4, "progress": False}
    chosen |= {"context": X[:, :1], "accumulate": accumulate, "learning_rate": 0.01}
    history = fit(model, X, **chosen | options)
    return model, history


def close(one, other, **tolerance):
    pairs = zip(one[0].parameters(), other[0].parameters(), strict=True)
    for found, expected in pairs:
        torch.testing.assert_close(found, expected, **tolerance)
    assert one[1].steps == other[1].steps
    assert one[1].train[1:] == pytest.approx(other[1].train[1:], abs=1e-5)


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["", "weighted"])
@pytest.mark.parametrize("memory", ["store", "invert"])
@pytest.mark.parametrize("accumulate", [4, 10])  # 2, 3, 2 and 3 rows; one each
def test_a_step_in_parts_is_the_step_on_the_batch(accumulate, memory, weights):
    options = {"memory": memory, "weights": weights}
    # Adam divides by the gradient's size: where that is small, roundings grow.
    close(trained(accumulate, **options), trained(1, **options), atol=1e-9, rtol=1e-9)


def test_in_single_and_mixed_precision():
    whole = trained(1, dtype=torch.float32)
    close(trained(4, dtype=torch.float32), whole, atol=1e-4, rtol=1e-4)
    options = {"dtype": torch.float32, "precision": "bf16-mixed"}
    model, history = trained(4, **options)
    assert history.skipped == 0
    # A step of Adam is at most the rate, 0.01, in each weight.
    for found, expected in zip(model.parameters(), whole[0].parameters(), strict=True):
        assert (found - expected).abs().max() < 0.05


def test_only_a_part_is_computed_at_a_time():
    sizes = {True: [], False: []}

    def objective(model, x, context):
        sizes[model.training].append(len(x))
        return -model(x, context).mean()

    trained(4, objective=objective, max_steps=3)
    assert sizes[True] == [2, 3, 2, 3] * 3
    assert sizes[False] == [5, 5] * 2


def test_a_part_that_is_not_finite_skips_the_batch():
    calls = {"n": 0}

    def objective(model, x, context):
        calls["n"] += model.training
        loss = -model(x, context).mean()
        return loss * math.inf if model.training and calls["n"] == 6 else loss

    with pytest.warns(UserWarning, match="1 of 8 batches were skipped"):
        history = trained(4, objective=objective)[1]
    assert history.skipped == 1
    assert history.steps[-1] == 8


@pytest.mark.parametrize("weights", [None, torch.arange(1.0, 11.0)])
def test_parts_of_a_batch(weights):
    x = torch.arange(10.0).unsqueeze(-1)
    batch = Batch(x, {"a": 2 * x, "b": x[:, 0]}, weights, 0.5)
    parts = batch.parts(4)
    assert [len(part.x) for part in parts] == [2, 3, 2, 3]
    assert torch.equal(torch.cat([part.x for part in parts]), x)
    counts = torch.ones(10) if weights is None else weights
    for part in parts:
        assert torch.equal(part.context["a"], 2 * part.x)
        own = counts[part.x[:, 0].long()]
        assert weights is None or torch.equal(part.weights, own)
        assert part.share == pytest.approx(0.5 * float(own.sum() / counts.sum()))
    assert batch.parts(1) == [batch]


def test_a_run_in_other_parts_is_not_resumed_but_one_of_before_there_were_is(tmp_path):
    path = tmp_path / "run.safetensors"
    train(Stateful(), path, max_steps=2)
    with pytest.raises(CheckpointError, match="accumulate was 1, and is 2 now"):
        train(Stateful(), path, max_steps=2, accumulate=2, resume=True)
    tensors, note = read_checkpoint(path)
    del note["run"]["accumulate"], note["run"]["augment"]
    write_checkpoint(path, tensors, note)
    assert train(Stateful(), path, max_steps=2, resume=True).steps[-1] == 2


@pytest.mark.parametrize(
    ("accumulate", "says"),
    [
        (0, "accumulate must be a whole number of at least 1, got 0"),
        pytest.param(2.0, r"must be a whole number of at least 1, got 2\.0", marks=untyped),
        pytest.param(None, "must be a whole number of at least 1, got None", marks=untyped),
        (11, "a batch, 10 rows, can't be computed in 11 parts; give a smaller accumulate"),
    ],
)
def test_what_is_refused(accumulate, says):
    with pytest.raises(ValueError, match=says):
        fit(Bell(2), X, batch_size=10, accumulate=accumulate, progress=False)
