"""Rows that count more or less than others."""

import math

import numpy as np
import pandas as pd
import pytest
import torch

from diffeo.train import fit
from tests.train.simple import Bell

X = torch.randn(300, 2, generator=torch.Generator().manual_seed(0))
COUNTS = torch.arange(300) % 4


def trained(x, **options):
    model = Bell(2)
    chosen = {"learning_rate": 0.05, "max_steps": 300, "batch_size": 1000, "validation": 0}
    history = fit(model, x, progress=False, **chosen | options)
    return model, history


def weighted_moments(x, w):
    mean = (w[:, None] * x).sum(0) / w.sum()
    return mean, ((w[:, None] * (x - mean) ** 2).sum(0) / w.sum()).sqrt()


def test_the_weighted_optimum_is_reached():
    weights = torch.rand(300, generator=torch.Generator().manual_seed(1)) ** 3
    mean, scale = weighted_moments(X, weights)
    model, _ = trained(X, weights=weights)
    torch.testing.assert_close(model.loc.detach(), mean, atol=2e-3, rtol=0)
    torch.testing.assert_close(model.log_scale.detach().exp(), scale, atol=2e-3, rtol=0)


@pytest.mark.parametrize("scale", [1, 1e-30, 1e30])
def test_only_ratios_of_weights_matter(scale):
    reference, _ = trained(X, weights=COUNTS, max_steps=20)
    model, _ = trained(X, weights=COUNTS.double() * scale, max_steps=20)
    torch.testing.assert_close(model.loc, reference.loc)


def test_rows_of_weight_0_are_left_out():
    x = X.clone()
    x[COUNTS == 0] = 1e6
    model, history = trained(x, weights=COUNTS, validation=0.1)
    assert history.rows + history.validation_rows == int((COUNTS > 0).sum())
    assert model.loc.abs().max() < 1


def test_held_out_rows_are_weighted_too():
    weights = COUNTS[:100].float()
    model, history = trained(X, weights=COUNTS, validation=(X[:100], None, weights))
    expected = float((weights * model.log_prob(X[:100])).sum().detach() / weights.sum())
    assert history.best_validation == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(
    "make", [np.asarray, lambda w: w.tolist(), lambda w: pd.Series(w.numpy()), pd.DataFrame]
)
def test_kinds_of_weights(make):
    model, _ = trained(X, weights=make(COUNTS), max_steps=5)
    assert torch.equal(model.loc, trained(X, weights=COUNTS, max_steps=5)[0].loc)


@pytest.mark.parametrize(
    ("weights", "error", "says"),
    [
        (-COUNTS, ValueError, r"weights\[1\] is -1, which is negative.*\(225 rows in all\)"),
        (COUNTS * math.nan, ValueError, r"weights\[0\] is nan, which is not finite"),
        (COUNTS * 0, ValueError, "weights are all 0"),
        (COUNTS[:7], ValueError, r"one number for each of the 300 rows, got shape \(7,\)"),
        (["a"] * 300, TypeError, "weights must hold numbers"),
    ],
)
def test_what_is_refused(weights, error, says):
    with pytest.raises(error, match=says):
        trained(X, weights=weights)


def test_an_objective_that_takes_no_weights_is_refused():
    with pytest.raises(TypeError, match="with weights the objective must take them"):
        trained(X, weights=COUNTS, objective=lambda model, x, context: -model(x, context).mean())
