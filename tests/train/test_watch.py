"""What looks at the model during training."""

import pandas as pd
import pytest
import torch

from tests.conftest import TYPECHECK
from tests.train.resumable import STEPS, Stateful, plain, train
from tests.train.simple import Bell


def state(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def equal(one, other):
    return all(torch.equal(value, other[name]) for name, value in one.items())


def make():
    return Stateful()


@pytest.mark.parametrize("precision", ["32", "bf16-mixed"])
def test_watching_changes_nothing(precision):
    def watch(model, history):
        assert not any(module.training for module in model.modules())
        assert not torch.is_grad_enabled()
        assert not torch.is_autocast_enabled("cpu")
        assert model.sample(5).dtype == torch.float32
        torch.manual_seed(len(history.steps))
        torch.rand(3)
        model.log_prob(torch.zeros(4, 2))

    plainly, watched = make(), make()
    options = {"precision": precision}
    histories = train(plainly, **options), train(watched, watch=watch, **options)
    assert plain(histories[0]) == plain(histories[1])
    assert equal(state(plainly), state(watched))
    assert True in watched.modes


def test_it_sees_what_was_evaluated():
    seen = []

    def watch(model, history):
        seen.append((history.steps[-1], history.validation[-1], state(model)))

    model = make()
    history = train(model, watch=watch)
    assert [step for step, *_ in seen] == history.steps == [0, 5, 10, 15, 20, STEPS]
    assert [value for _, value, _ in seen] == history.validation
    best = next(weights for step, _, weights in seen if step == history.best_step)
    assert equal(state(model), best)


def test_without_held_out_rows_it_is_called_too():
    steps, weights = [], []

    def watch(model, history):
        steps.append(history.steps[-1])
        weights.append(state(model))

    model = make()
    history = train(model, watch=watch, validation=0, evaluate_every=10)
    assert steps == history.steps == [0, 10, 20, STEPS]
    assert equal(state(model), weights[-1])


def test_a_resumed_run_is_watched_from_where_it_goes_on(tmp_path):
    path, steps = tmp_path / "run.safetensors", []

    def watch(model, history):
        steps.append(history.steps[-1])
        if len(steps) == 4:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        train(make(), path, watch=watch)
    train(make(), path, watch=watch, resume=True)
    assert steps == [0, 5, 10, 15, 15, 20, STEPS]
    train(make(), path, watch=watch, resume=True)  # it had ended
    assert len(steps) == 7


def test_an_error_in_it_ends_training_with_the_best_weights():
    seen = []

    def watch(model, history):
        seen.append(state(model))
        if len(seen) == 3:
            raise ZeroDivisionError("mine")

    model = make()
    with pytest.raises(ZeroDivisionError, match="mine"):
        train(model, watch=watch)
    assert not model.training
    assert any(equal(state(model), weights) for weights in seen)


def test_pictures_go_to_a_log(tmp_path):
    from torch.utils.tensorboard import SummaryWriter

    def watch(model, history):
        with SummaryWriter(str(tmp_path)) as log:
            log.add_histogram("samples", model.sample(10), history.steps[-1])

    train(Bell(2), watch=watch, log_dir=tmp_path, max_steps=5)
    assert list(pd.read_csv(tmp_path / "metrics.csv")["step"]) == [0, 5]


@pytest.mark.skipif(TYPECHECK, reason="gives an argument of a wrong type")
def test_what_is_refused():
    with pytest.raises(TypeError, match="watch must be a function or None, got 3"):
        train(Bell(2), watch=3)
