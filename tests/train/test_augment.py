"""What is done to the rows of training batches."""

import functools

import pytest
import torch

from diffeo.train import CheckpointError, fit, flip
from diffeo.train.augment import name_of
from tests.conftest import TYPECHECK
from tests.train.resumable import Stateful, plain, train
from tests.train.simple import Bell

untyped = pytest.mark.skipif(TYPECHECK, reason="gives arguments of wrong types")
ROWS = torch.arange(200).reshape(100, 2)


def shift(x):
    """Noise of a size that shows."""
    return x + torch.rand_like(x)


class Jitter:
    """The same as an object."""

    def __call__(self, x):
        return shift(x)


@pytest.mark.parametrize("shape", [(2, 5), (3, 4, 5), (1, 2, 3, 4)])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.bool, torch.float64])
def test_flip_mirrors_half_of_the_images(shape, dtype):
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(0, 256, (1000, *shape), generator=generator).to(dtype)
    torch.manual_seed(0)
    out = flip(x)
    assert out.dtype == dtype
    same = (out == x).flatten(1).all(1)
    mirrored = (out == x.flip(-1)).flatten(1).all(1)
    assert bool((same | mirrored).all())
    if dtype != torch.bool:  # of whose images some are their own mirror image
        # 1000 draws with probability 1/2: outside by chance once in 10⁹.
        assert 400 < int(mirrored.sum()) < 600


def test_flip_draws_from_the_random_state():
    x = torch.arange(300).reshape(100, 1, 3)
    results = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        results.append(flip(x))
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])


def test_flip_refuses_vectors():
    with pytest.raises(ValueError, match=r"flip: x must be images.*got shape \(4, 3\)"):
        flip(torch.zeros(4, 3))


def trained(x, augment, **options):
    model = Bell(2)
    chosen = {"max_steps": 10, "batch_size": 20, "evaluate_every": 5, "progress": False}
    return model, fit(model, x, augment=augment, **chosen | options)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_training_batches_are_augmented_and_nothing_else(dtype):
    x = ROWS.to(dtype)
    kept, seen, used = x.clone(), [], []

    class Told(Bell):
        def initialize(self, x, context=None):
            used.append(("initialize", x))

    def augment(x):
        assert x.dtype == dtype
        seen.append(len(x))
        return x.fill_(7)  # a batch is nobody else's

    def objective(model, x, context):
        used.append((model.training, x.clone()))
        assert x.dtype == torch.float32
        return -model(x, context).mean()

    options = {"max_steps": 10, "batch_size": 20, "evaluate_every": 5, "progress": False}
    fit(Told(2), x, augment=augment, objective=objective, **options)
    assert seen == [20] * 10
    assert torch.equal(x, kept)
    for step, rows in used:
        assert bool((rows == 7).all()) == (step is True)
    assert [step for step, _ in used].count(True) == 10


def test_augmentation_is_reproducible_by_the_seed():
    models = [trained(ROWS.float(), shift, seed=seed)[0] for seed in (0, 0, 1)]
    assert torch.equal(models[0].loc, models[1].loc)
    assert not torch.equal(models[0].loc, models[2].loc)
    assert not torch.equal(models[0].loc, trained(ROWS.float(), None)[0].loc)


def test_it_runs_in_full_precision_and_trains_nothing():
    class Scale(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.factor = torch.nn.Parameter(torch.eye(2))

        def forward(self, x):
            assert not torch.is_grad_enabled()
            assert (x @ self.factor).dtype == torch.float32
            return x @ self.factor

    scale = Scale()
    trained(ROWS.float(), scale, precision="bf16-mixed")
    assert scale.factor.grad is None


@pytest.mark.parametrize("at", [2, 11, 21])
@pytest.mark.parametrize("accumulate", [1, 3])
def test_a_resumed_run_ends_as_an_unbroken_one(tmp_path, at, accumulate):
    path, options = tmp_path / "run.safetensors", {"accumulate": accumulate}
    whole, calls = Stateful(), {"n": 0}
    history = train(whole, augment=shift, **options)

    def stopping(x):
        calls["n"] += 1
        if calls["n"] == at:
            raise InterruptedError
        return shift(x)

    stopping.__module__, stopping.__qualname__ = shift.__module__, shift.__qualname__
    with pytest.raises(InterruptedError):
        train(Stateful(), path, augment=stopping, **options)
    model = Stateful()
    resumed = train(model, path, augment=shift, resume=True, **options)
    assert plain(resumed) == plain(history)
    state = whole.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


def test_a_run_with_another_augmentation_is_not_resumed(tmp_path):
    path = tmp_path / "run.safetensors"
    train(Stateful(), path, augment=shift, max_steps=2)
    says = r"augment was .*test_augment\.shift, and is {} now"
    with pytest.raises(CheckpointError, match=says.format(r"diffeo\.train\.augment\.flip")):
        train(Stateful(), path, augment=flip, max_steps=2, resume=True)
    with pytest.raises(CheckpointError, match=says.format("None")):
        train(Stateful(), path, max_steps=2, resume=True)


def test_names():
    assert name_of(None) is None
    assert name_of(flip) == name_of(functools.partial(flip)) == "diffeo.train.augment.flip"
    assert name_of(Jitter()) == f"{__name__}.Jitter"


@pytest.mark.parametrize(
    ("augment", "error", "says"),
    [
        pytest.param(
            *("flip", TypeError, "augment must be a function or None, got 'flip'"), marks=untyped
        ),
        (flip, ValueError, r"flip: x must be images.*got shape \(20, 2\)"),
        (lambda x: x[:5], ValueError, r"the shape it was given, \(20, 2\), got \(5, 2\)"),
        (lambda x: x.numpy(), TypeError, "augment must give a tensor, got ndarray"),
    ],
)
def test_what_is_refused(augment, error, says):
    with pytest.raises(error, match=says):
        trained(ROWS.float(), augment)
