"""The property suite fails every one of `tests/wrong_bijections.py`, and none that is right."""

import pickle

import pytest
import torch
from torch import nn

from tests import wrong_bijections as wrong
from tests.properties import checks, extremes, tracing
from tests.properties.draws import context_for, points, wide_points
from tests.tolerances import BOUNDS

DOUBLE, SINGLE = torch.float64, torch.float32


def drawn(kind, n=6, dtype=DOUBLE):
    bijection = wrong.make(kind, dtype=dtype)
    x = points(bijection.domain, (n, *bijection.event_shape), dtype)
    return bijection, x, context_for(bijection.context_shape, (n,), dtype)


def bound(property_, dtype=DOUBLE):
    return BOUNDS[property_][dtype == SINGLE]


def ladj_of_the_inverse(kind):
    bijection, z, context = drawn(kind)
    checks.check_ladj(bijection, z, context, bound=bound("ladj"), inverse=True)


def context_batches(kind):
    checks.check_context_batches(*drawn(kind, 3), bound=bound("same_numbers"))


def compiles(kind):
    tracing.check_compiles(*drawn(kind), bound=bound("traced"))


class Scored(nn.Module):
    """A log-density up to a constant, which is what is exported."""

    def __init__(self, bijection):
        super().__init__()
        self.bijection = bijection

    def forward(self, x, context):
        z, ladj = self.bijection(x, context)
        return ladj - 0.5 * z.square().sum(-1)


def exports(kind):
    bijection, x, context = drawn(kind)
    tracing.check_exports(Scored(bijection), x, context, bound=bound("traced"))


def extreme(kind):
    bijection = wrong.redraw(kind(), 9.0).eval()
    x = wide_points(bijection.domain, (200, wrong.FEATURES), SINGLE)
    context = context_for(bijection.context_shape, (200,), SINGLE)
    extremes.check_extreme(bijection, x, context, bound=bound("extreme_round_trip", SINGLE))


# Every check of a bijection, as one function of a class.
CHECKS = {
    "contract": lambda kind: checks.check_contract(*drawn(kind)),
    "round trip": lambda kind: checks.check_round_trip(*drawn(kind), bound=bound("round_trip")),
    "round trip in float32": lambda kind: checks.check_round_trip(
        *drawn(kind, dtype=SINGLE), bound=bound("round_trip", SINGLE)
    ),
    "round trip from latent": lambda kind: checks.check_round_trip_from_latent(
        *drawn(kind), bound=bound("round_trip")
    ),
    "ladj": lambda kind: checks.check_ladj(*drawn(kind), bound=bound("ladj")),
    "ladj in float32": lambda kind: checks.check_ladj(
        *drawn(kind, dtype=SINGLE), bound=bound("ladj", SINGLE)
    ),
    "ladj of the inverse": ladj_of_the_inverse,
    "inverse gradients": lambda kind: checks.check_inverse_gradients(
        *drawn(kind), bound=bound("inverse_gradient")
    ),
    "every weight matters": lambda kind: checks.check_every_weight_matters(*drawn(kind)),
    "context matters": lambda kind: checks.check_context_matters(*drawn(kind)),
    "context batches": context_batches,
    "batching": lambda kind: checks.check_batching(*drawn(kind), bound=bound("same_numbers")),
    "NaN stays": lambda kind: checks.check_nan_stays_in_its_row(
        *drawn(kind), bound=bound("same_numbers")
    ),
    "pure": lambda kind: checks.check_pure(*drawn(kind)),
    "copies": lambda kind: checks.check_copies(*drawn(kind)),
    "initialize": lambda kind: checks.check_initialize(*drawn(kind), bound=bound("round_trip")),
    "compiles": compiles,
    "exports": exports,
    "vmaps": lambda kind: tracing.check_vmaps(*drawn(kind), bound=bound("traced")),
    "vmap of jacrev": lambda kind: tracing.check_jacobian_transforms(
        *drawn(kind), bound=bound("ladj")
    ),
    "autocast": lambda kind: tracing.check_autocast(
        *drawn(kind, dtype=SINGLE), bound=bound("autocast", SINGLE)
    ),
    "extreme": extreme,
}

CAUGHT_BY = [
    (wrong.FlippedSign, "ladj"),
    (wrong.FlippedSign, "ladj of the inverse"),
    (wrong.MissingDimension, "ladj"),
    (wrong.MissingDimension, "ladj of the inverse"),
    (wrong.InverseOff, "round trip"),
    (wrong.InverseOff, "round trip from latent"),
    (wrong.InverseTooFewSteps, "round trip"),
    (wrong.InverseLadjNotNegated, "round trip"),
    (wrong.InverseLadjNotNegated, "ladj of the inverse"),
    (wrong.ContextIgnored, "context matters"),
    (wrong.ContextPartlyIgnored, "context matters"),
    (wrong.ContextOfFirstRow, "batching"),
    (wrong.ContextOfFirstRow, "context batches"),
    (wrong.RowsSeeEachOther, "batching"),
    (wrong.NaNSpreads, "NaN stays"),
    (wrong.InPlace, "pure"),
    (wrong.ContextInPlace, "pure"),
    (wrong.LearnsInEvaluation, "pure"),
    (wrong.HalfPrecisionLadj, "ladj"),
    (wrong.HalfPrecisionLadj, "ladj in float32"),
    (wrong.HalfLadj, "contract"),
    (wrong.SinglePrecision, "ladj"),
    (wrong.SinglePrecision, "round trip"),
    (wrong.ElementwiseLadj, "contract"),
    (wrong.OneBatchDimension, "batching"),
    (wrong.InverseWithoutGradients, "inverse gradients"),
    (wrong.InverseWithHalfGradients, "inverse gradients"),
    (wrong.UnusedWeight, "every weight matters"),
    (wrong.Unpicklable, "copies"),
    (wrong.BranchesOnData, "compiles"),
    (wrong.BranchesOnData, "vmaps"),
    (wrong.FixedBatch, "exports"),
    (wrong.AutocastEverything, "autocast"),
    (wrong.NotFiniteFarOut, "extreme"),
    (wrong.CancelsFarOut, "round trip in float32"),
    (wrong.CancelsFarOut, "extreme"),
]


@pytest.mark.parametrize("name", CHECKS)
def test_what_is_right_passes(name):
    CHECKS[name](wrong.Right)


# Where it isn't a check's own AssertionError that says so.
REFUSALS = {
    (wrong.Unpicklable, "copies"): (AttributeError, pickle.PicklingError),
    (wrong.BranchesOnData, "compiles"): torch._dynamo.exc.UserError,
    (wrong.BranchesOnData, "vmaps"): RuntimeError,
    (wrong.FixedBatch, "exports"): torch._dynamo.exc.UserError,
    (wrong.InverseWithoutGradients, "inverse gradients"): RuntimeError,
}


@pytest.mark.parametrize(
    ("kind", "name"), CAUGHT_BY, ids=lambda value: getattr(value, "__name__", value)
)
def test_what_is_wrong_fails(kind, name):
    with pytest.raises(REFUSALS.get((kind, name), AssertionError)):
        CHECKS[name](kind)


def test_every_wrong_bijection_is_listed():
    classes = {
        value
        for value in vars(wrong).values()
        if isinstance(value, type) and issubclass(value, wrong.Right) and value is not wrong.Right
    }
    assert classes == {kind for kind, _ in CAUGHT_BY}
