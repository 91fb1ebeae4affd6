"""Training, on densities whose optimum is known."""

import json
import math
import signal
import warnings

import numpy as np
import pandas as pd
import pytest
import torch

from diffeo.train import History, TrainingError, TrainingInterrupted, fit
from diffeo.train.plan import Plan
from tests.conftest import TYPECHECK
from tests.train.simple import Bell, exact_optimum


def data(rows=400, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rows, 2, generator=generator) * torch.tensor([0.5, 2.0]) + torch.tensor(
        [1.0, -1.0]
    )


def mean_score(model, x):
    return float(model.log_prob(x).mean().detach())


def quick(model, x, **options):
    return fit(model, x, **{"learning_rate": 0.02, "max_steps": 200, "progress": False, **options})


def test_training_reaches_the_optimum():
    x = data()
    model = Bell(2)
    history = quick(model, x, validation=data(300, seed=2))
    # Early stopping picks weights for other rows: the optimum on x to within their difference.
    assert exact_optimum(x) - 0.01 < mean_score(model, x) <= exact_optimum(x) + 1e-6
    assert history.best_validation == max(history.validation)
    assert history.steps[0] == 0
    assert history.validation[-1] > history.validation[0] + 0.1
    assert math.isnan(history.train[0])
    assert history.train[-1] == pytest.approx(exact_optimum(x), abs=0.05)
    assert history.rows == 400
    assert history.validation_rows == 300
    assert history.rows_per_second > 0
    assert (
        len(history.steps) == len(history.train) == len(history.validation) == len(history.seconds)
    )


def test_context_is_learned():
    c = torch.randn(400, 3)
    x = c @ torch.tensor([[1.0, 0.0], [0.0, -2.0], [0.0, 1.0]]) + 0.1 * torch.randn(400, 2)
    model = Bell(2, context=3)
    quick(model, x, context=c, max_steps=400)
    expected = torch.tensor([[1.0, 0.0, 0.0], [0.0, -2.0, 1.0]])
    torch.testing.assert_close(model.slope.detach(), expected, atol=0.1, rtol=0)


def test_the_same_seed_gives_the_same_model():
    states = []
    for seed in (0, 0, 1):
        model = Bell(2, noisy=True)
        torch.rand(5)  # the global state does not matter
        before = torch.random.get_rng_state()
        quick(model, data(), max_steps=30, seed=seed)
        assert torch.equal(before, torch.random.get_rng_state())
        states.append(model.loc.detach())
    assert torch.equal(states[0], states[1])
    assert not torch.equal(states[0], states[2])


def test_the_best_weights_are_kept():
    x = data()
    model = Bell(2)

    def turns_bad(model, x, context):
        # After step 100 the objective leads away; what is held out notices.
        sign = -1 if steps["n"] > 100 and model.training else 1
        steps["n"] += model.training
        return sign * -model(x, context).mean()

    steps = {"n": 0}
    history = quick(model, x, objective=turns_bad, evaluate_every=20, patience=3, average=None)
    assert history.stopped == "patience"
    assert 80 <= history.best_step <= 120
    assert history.steps[-1] == history.best_step + 3 * 20
    assert mean_score(model, x) > exact_optimum(x) - 0.1


def test_without_held_out_rows_the_last_average_is_kept():
    model = Bell(2)
    history = quick(model, data(), validation=0)
    assert history.validation_rows == 0
    assert history.best_step == history.steps[-1] == 200
    assert mean_score(model, data()) == pytest.approx(exact_optimum(data()), abs=0.01)


def test_what_is_held_out():
    histories = {v: quick(Bell(2), data(200), validation=v, max_steps=2) for v in (None, 0.25)}
    assert (histories[None].rows, histories[None].validation_rows) == (180, 20)
    assert (histories[0.25].rows, histories[0.25].validation_rows) == (150, 50)
    c = torch.randn(200, 1)
    history = quick(
        Bell(2, context=1), data(200), context=c, validation=(data(30), c[:30]), max_steps=2
    )
    assert (history.rows, history.validation_rows) == (200, 30)


def test_one_row_trains_and_nothing_judges():
    with pytest.warns(UserWarning, match="no row of 1 is left to hold out"):
        history = quick(Bell(2), data(1), max_steps=5)
    assert (history.steps[-1], history.validation_rows) == (5, 0)


@pytest.mark.parametrize("rows", [2, 10])
def test_a_few_rows_train(rows):
    history = quick(Bell(2), data(rows), max_steps=5)
    assert history.steps[-1] == 5


@pytest.mark.parametrize(
    "make", [np.asarray, pd.DataFrame, lambda x: x.double(), lambda x: x.tolist()]
)
def test_kinds_of_data(make):
    models = [Bell(2), Bell(2)]
    for model, x in zip(models, (data(), make(data())), strict=True):
        quick(model, x, max_steps=20)
    torch.testing.assert_close(models[0].loc, models[1].loc)


def test_data_frames_everywhere():
    x, c = data(), torch.linspace(-1, 1, 400)
    models = [Bell(2, context=1), Bell(2, context=1)]
    frame, given = pd.DataFrame(x.numpy(), columns=["a", "b"]), pd.DataFrame({"c": c.numpy()})
    quick(models[0], x, context=c, validation=(x[:30], c[:30]), max_steps=20)
    quick(models[1], frame, context=given, validation=(frame[:30], given[:30]), max_steps=20)
    assert torch.equal(models[0].slope, models[1].slope)


def test_one_dimension_and_whole_numbers():
    model = Bell(1)
    quick(model, np.arange(100, dtype=np.uint8), max_steps=20)
    assert model.loc.isfinite().all()


def test_data_is_not_changed():
    x = data()
    kept = x.clone()
    quick(Bell(2), x, max_steps=5)
    assert torch.equal(x, kept)


def test_models_in_double_precision():
    model = Bell(2).double()
    quick(model, data(), max_steps=20)
    assert model.loc.dtype == torch.float64


def test_mixed_precision():
    model = Bell(2)
    quick(model, data(), precision="bf16-mixed")
    assert mean_score(model, data()) > exact_optimum(data()) - 0.05


def test_initialisation_happens_once_on_training_rows():
    model = Bell(2)
    quick(model, data(), max_steps=2)
    assert int(model.initialized_on) == 360
    model.initialized_on.zero_()
    quick(model, data(), max_steps=2, initialize=False)
    assert int(model.initialized_on) == 0


def test_modes():
    model = Bell(2)
    quick(model, data(), max_steps=4, evaluate_every=4)
    # Two evaluations, one batch each, around four steps.
    assert model.modes == [False, True, True, True, True, False]
    assert not model.training


def test_limits_of_steps_epochs_and_time():
    assert quick(Bell(2), data(), max_steps=7).steps[-1] == 7
    assert quick(Bell(2), data(), max_steps=None, max_epochs=3, batch_size=90).steps[-1] == 12
    history = quick(Bell(2), data(), max_steps=10**6, max_time=0.3)
    assert history.stopped == "max_time"
    assert 0.3 <= history.seconds[-1] < 3


def test_the_rate_follows_the_schedule():
    def plan(warmup_steps=0, schedule="cosine", max_time=None):
        return Plan(
            batch_size=100,
            max_steps=100,
            max_time=max_time,
            evaluate_every=10,
            patience=10,
            warmup_steps=warmup_steps,
            learning_rate=1.0,
            schedule=schedule,
        )

    assert plan(warmup_steps=9).rate(0, 0) == pytest.approx(0.1)
    assert plan(warmup_steps=9).rate(50, 0) == pytest.approx(0.5)
    assert plan().rate(100, 0) == pytest.approx(0, abs=1e-9)
    timed = plan(max_time=10.0)
    assert timed.rate(50, 7.5) < timed.rate(50, 0) == pytest.approx(0.5)
    constant = plan(schedule="constant")
    assert constant.rate(0, 0) == constant.rate(99, 0) == 1


def test_gradients_are_clipped():
    def steep(model, x, context):
        return 1e6 * -model(x, context).mean()

    def change(**options):
        model = Bell(2)
        # Adam divides by the gradient's size, but for its epsilon of 1e-8: a tenth for 1e-9.
        quick(
            model,
            data(),
            max_steps=1,
            warmup_steps=0,
            validation=0,
            average=None,
            objective=steep,
            **options,
        )
        return float(model.loc.detach().abs().max())

    assert change(clip=1e-9) < 0.2 * change(clip=None)
    assert change(clip=None) == pytest.approx(0.02, rel=1e-3)


def test_batches_that_are_not_finite_are_skipped_counted_and_reported():
    calls = {"n": 0}

    def sometimes(model, x, context):
        loss = -model(x, context).mean()
        calls["n"] += model.training
        if model.training and calls["n"] % 10 == 0:
            return loss * math.inf
        # A finite loss whose gradient is not.
        return (
            loss + (model.loc * 0).sum().sqrt() if model.training and calls["n"] % 10 == 5 else loss
        )

    model = Bell(2)
    with pytest.warns(UserWarning, match="40 of 200 batches were skipped"):
        history = quick(model, data(), objective=sometimes)
    assert history.skipped == 40
    assert mean_score(model, data()) > exact_optimum(data()) - 0.02


def test_training_gives_up_when_nothing_is_finite():
    model = Bell(2)
    with pytest.raises(TrainingError, match="100 batches on end"):
        quick(model, data(), objective=lambda model, x, c: -model(x, c).mean() * math.nan)
    assert model.loc.abs().sum() == 0


def test_training_that_skips_most_batches_is_no_training():
    calls = {"n": 0}

    def rarely(model, x, context):
        calls["n"] += model.training
        return -model(x, context).mean() * (math.nan if model.training and calls["n"] % 20 else 1)

    with pytest.raises(TrainingError, match=r"57 of 60 batches; lower learning_rate \(--learning"):
        quick(Bell(2), data(), objective=rarely, max_steps=60)


@pytest.mark.parametrize("ever", [False, True])
def test_held_out_rows_that_are_not_finite_are_told(ever):
    calls = {"n": 0}

    def objective(model, x, context):
        calls["n"] += not model.training
        wrong = not model.training and calls["n"] > 1 and not (ever and calls["n"] % 2)
        return -model(x, context).mean() + (math.inf if wrong else 0)

    options = {"objective": objective, "max_steps": 20, "evaluate_every": 5}
    if ever:
        with pytest.warns(UserWarning, match=r"not finite \(-inf\) at 2 of 4 evaluations"):
            quick(Bell(2), data(), **options)
    else:
        with pytest.raises(TrainingError, match="held-out rows was -inf at the end"):
            quick(Bell(2), data(), **options)


@pytest.mark.parametrize("how", ["exception", "signal", "two signals"])
def test_ctrl_c_keeps_the_best_weights(how):
    calls = {"n": 0}

    def interrupted(model, x, context):
        calls["n"] += model.training
        if calls["n"] == 150 and model.training:
            if how == "exception":
                raise KeyboardInterrupt
            signal.raise_signal(signal.SIGINT)
            if how == "two signals":
                signal.raise_signal(signal.SIGINT)
                raise AssertionError("the second one interrupts at once")
        return -model(x, context).mean()

    before = signal.getsignal(signal.SIGINT)
    model = Bell(2)
    with pytest.raises(TrainingInterrupted) as caught:
        quick(model, data(), objective=interrupted, evaluate_every=50)
    assert signal.getsignal(signal.SIGINT) == before
    history = caught.value.history
    assert calls["n"] == 150
    assert caught.value.checkpoint is None
    assert history.stopped == "interrupted"
    # One signal lets the step end, and the evaluation that is due after it.
    assert history.best_step == history.steps[-1] == (150 if how == "signal" else 100)
    assert model.loc.abs().sum() > 0.1
    assert not model.training


def test_termination_reaches_who_waits_for_it():
    """Without a handler of theirs, the same signal ends the process as it always does."""
    received, steps = [], []

    def terminated(model, x, context):
        if model.training and not any(steps):
            signal.raise_signal(signal.SIGTERM)
            assert not received  # not before the end of the step
        steps.append(model.training)
        return -model(x, context).mean()

    def handle(number, frame):
        received.append(number)
        raise InterruptedError

    before = signal.signal(signal.SIGTERM, handle)
    try:
        with pytest.raises(InterruptedError):
            quick(Bell(2), data(), objective=terminated)
        assert signal.getsignal(signal.SIGTERM) is handle
    finally:
        signal.signal(signal.SIGTERM, before)
    assert received == [signal.SIGTERM]
    assert sum(steps) == 1


def test_signals_that_were_ignored_stay_so():
    def signals(model, x, context):
        if model.training:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGTERM)
        return -model(x, context).mean()

    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, signal.SIG_IGN) for number in numbers]
    try:
        assert quick(Bell(2), data(), objective=signals, max_steps=5).steps[-1] == 5
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def test_training_in_a_thread():
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(quick, Bell(2), data(), max_steps=5).result().steps[-1] == 5


def test_an_error_of_the_model_comes_through_and_leaves_the_best_weights():
    def broken(model, x, context):
        if model.training:
            raise ZeroDivisionError("mine")
        return -model(x, context).mean()

    model = Bell(2)
    with pytest.raises(ZeroDivisionError, match="mine"):
        quick(model, data(), objective=broken)
    assert not model.training


def test_averaged_weights_are_what_is_evaluated_and_kept():
    from diffeo.train.average import WeightAverage

    parameter = torch.nn.Parameter(torch.zeros(2))
    average = WeightAverage([parameter], 0.9)
    expected = torch.zeros(2)
    for step in range(200):
        parameter.data = torch.full((2,), float(step))
        average.update()
        decay = min(0.9, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * step
    with average.swapped():
        torch.testing.assert_close(parameter.detach(), expected)
    assert parameter[0] == 199


def test_quiet_and_tidy(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit(Bell(2), data(), max_steps=5)
    out, err = capfd.readouterr()
    assert out == err == ""  # stderr is not a terminal here: no bar either
    assert list(tmp_path.iterdir()) == []


def test_the_bar_is_shown_in_a_terminal(monkeypatch, capsys):
    import sys

    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    fit(Bell(2), data(), max_steps=50, evaluate_every=10)
    err = capsys.readouterr().err
    assert "training" in err
    assert "held-out=" in err
    assert "rows/s" in err


def test_logs(tmp_path):
    quick(Bell(2), data(), max_steps=40, evaluate_every=10, log_dir=tmp_path / "logs")
    table = pd.read_csv(tmp_path / "logs" / "metrics.csv")
    assert list(table["step"]) == [0, 10, 20, 30, 40]
    assert table["validation_nats"].notna().all()
    assert any(p.name.startswith("events.out.tfevents") for p in (tmp_path / "logs").iterdir())


def test_history_is_plain_and_can_be_drawn():
    history = quick(Bell(2), data(), max_steps=20, evaluate_every=5)
    assert History(**json.loads(json.dumps(history.to_dict()))).steps == history.steps
    assert len(history.plot().lines) == 3


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"x": data()[:, :1]}, ValueError, r"x must have shape \(rows, 2\), got \(400, 1\)"),
        ({"x": data()[:0]}, ValueError, "x has no rows"),
        (
            {"x": "data.csv"},
            TypeError,
            "x must be a tensor, an array or a data frame|x must hold numbers",
        ),
        ({"x": pd.DataFrame({"a": ["x"], "b": [1]})}, TypeError, "x must hold numbers"),
        (
            {"x": torch.tensor([[1.0, 2.0], [3.0, math.nan]])},
            ValueError,
            r"x\[1, 1\] is nan, which is not finite",
        ),
        ({"context": data()}, TypeError, "takes no context"),
        ({"validation": 1.5}, ValueError, "fraction"),
        ({"validation": data()[:, :1]}, ValueError, r"fit: validation: x must have shape"),
        ({"max_steps": 0}, ValueError, "max_steps must be a whole number of at least 1, got 0"),
        ({"batch_size": 0}, ValueError, "batch_size must be a whole number"),
        pytest.param(
            *({"batch_size": None}, ValueError, "batch_size must be a whole number.*got None"),
            marks=pytest.mark.skipif(TYPECHECK, reason="gives an argument of a wrong type"),
        ),
        ({"learning_rate": -1.0}, ValueError, "learning_rate must be positive"),
        ({"learning_rate": math.inf}, ValueError, "learning_rate must be positive, got inf"),
        ({"clip": 0}, ValueError, "clip must be positive, got 0"),
        ({"patience": True}, ValueError, "patience must be a whole number"),
        ({"average": 1.0}, ValueError, "average is a decay"),
        ({"schedule": "linear"}, ValueError, "schedule must be one of cosine, constant"),
        ({"precision": "16"}, ValueError, "precision must be one of 32, bf16-mixed"),
        ({"device": "cuda:99"}, ValueError, "device 'cuda:99' can't be used"),
    ],
)
def test_what_is_refused(options, error, says):
    x = options.pop("x", data())
    with pytest.raises(error, match=says):
        quick(Bell(2), x, **options)


def test_contexts_are_checked():
    model = Bell(2, context=1)
    with pytest.raises(TypeError, match="needs a context"):
        quick(model, data())
    with pytest.raises(ValueError, match="context has 3 rows, x has 400"):
        quick(model, data(), context=torch.zeros(3, 1))


def test_rows_outside_the_support_are_refused():
    from diffeo.supports import UNIT

    model = Bell(2)
    model.support = UNIT
    x = torch.rand(50, 2)
    x[7, 1] = 1.5
    with pytest.raises(ValueError, match=r"x\[7, 1\] is 1\.5, which is outside \[0, 1\]"):
        quick(model, x)


def test_nothing_to_train():
    model = Bell(2).requires_grad_(False)
    with pytest.raises(TypeError, match="no parameters to train"):
        quick(model, data())
