"""Compile, export, vmap and autocast, for every named model and every bijection."""

import shutil

import pytest
import torch

import diffeo
from tests.catalogue import BIJECTIONS
from tests.densities import ALL, DISCRETE, DISCRETE_IMAGES, IMAGES, MIXED, MODELS, SOUNDS
from tests.properties import tracing
from tests.properties.draws import context_for, redraw
from tests.properties.matrix import cells
from tests.tolerances import tolerance

pytestmark = pytest.mark.traced
SINGLE, DOUBLE = (torch.float32,), (torch.float64,)
NAMES = ("case", "context", "dtype")
SCORED = [*ALL, *DISCRETE, *MIXED, *IMAGES, *DISCRETE_IMAGES, *SOUNDS]


def made(case, context, dtype, n=4):
    module = case.make(context, dtype)
    return module, *case.inputs(module, n, dtype)


def exact(case) -> bool:
    return not case.make().stochastic


# Every named model by itself in every run; other options of them in the whole matrix.
FIRST = [case for case in MODELS if "/" not in case.name]
FIRST += [case for case in IMAGES if case.name.endswith("/image")]
FIRST += [case for case in SOUNDS if case.name.endswith("/sound")]
OTHERS = [
    case
    for case in [*MODELS, *DISCRETE, *MIXED, *IMAGES, *DISCRETE_IMAGES, *SOUNDS]
    if case not in FIRST and "/" in case.name
]
COMPILED = [
    *cells(FIRST, DOUBLE),
    *(
        pytest.param(*cell.values, id=cell.id, marks=pytest.mark.full)
        for cell in cells(OTHERS, DOUBLE)
    ),
]


@pytest.mark.parametrize(NAMES, COMPILED)
def test_log_prob_compiles(case, context, dtype):
    model, x, contexts = made(case, context, dtype)
    tracing.check_compiles(model, x, contexts, bound=tolerance("traced", case.name, dtype))


@pytest.mark.parametrize(NAMES, COMPILED)
def test_log_prob_exports(case, context, dtype):
    model, x, contexts = made(case, context, dtype)
    tracing.check_exports(model, x, contexts, bound=tolerance("traced", case.name, dtype))


@pytest.mark.parametrize(NAMES, cells(SCORED, DOUBLE))
def test_log_prob_vmaps(case, context, dtype):
    model, x, contexts = made(case, context, dtype)
    bound = tolerance("traced", case.name, dtype)
    tracing.check_vmaps(model, x, contexts, bound=bound, stochastic=not model.exact)


@pytest.mark.parametrize(NAMES, cells(SCORED, SINGLE))
def test_log_prob_autocasts(case, context, dtype):
    model, x, contexts = made(case, context, dtype, 32)
    tracing.check_autocast(model, x, contexts, bound=tolerance("autocast", case.name, dtype))


@pytest.mark.parametrize(NAMES, cells(BIJECTIONS, SINGLE))
def test_bijections_autocast(case, context, dtype):
    bijection, x, contexts = made(case, context, dtype, 32)
    tracing.check_autocast(bijection, x, contexts, bound=tolerance("autocast", case.name, dtype))


@pytest.mark.parametrize(NAMES, cells(BIJECTIONS, DOUBLE, keep=exact))
def test_bijections_vmap(case, context, dtype):
    bijection, x, contexts = made(case, context, dtype)
    bound = tolerance("traced", case.name, dtype)
    tracing.check_vmaps(bijection, x, contexts, bound=bound)
    z = bijection(x, contexts)[0].detach()
    tracing.check_vmaps(bijection.inverse, z, contexts, bound=bound)


@pytest.mark.parametrize(
    NAMES, cells(BIJECTIONS, DOUBLE, keep=lambda case: exact(case) and case.make().event_dim > 0)
)
def test_bijections_under_jacrev(case, context, dtype):
    bijection, x, contexts = made(case, context, dtype, 2)
    bound = tolerance("ladj", case.name, dtype)
    tracing.check_jacobian_transforms(bijection, x, contexts, bound=bound)


@pytest.mark.full
@pytest.mark.parametrize(NAMES, cells(BIJECTIONS, DOUBLE))
def test_bijections_compile(case, context, dtype):
    bijection, x, contexts = made(case, context, dtype)
    bound = tolerance("traced", case.name, dtype)
    tracing.check_compiles(bijection, x, contexts, bound=bound)
    z = bijection(x, contexts)[0].detach()
    tracing.check_compiles(bijection.inverse, z, contexts, bound=bound)


@pytest.mark.full
@pytest.mark.parametrize(NAMES, cells([c for c in ALL if c.model is None], DOUBLE))
def test_other_densities_compile_and_export(case, context, dtype):
    model, x, contexts = made(case, context, dtype)
    bound = tolerance("traced", case.name, dtype)
    tracing.check_compiles(model, x, contexts, bound=bound)
    tracing.check_exports(model, x, contexts, bound=bound)


@pytest.mark.slow
@pytest.mark.skipif(
    not (shutil.which("g++") or shutil.which("clang++")), reason="there is no C++ compiler"
)
@pytest.mark.parametrize("name", ["maf", "nsf", "realnvp"])
def test_the_real_compiler(name):
    """Values and gradients of log_prob, by inductor, against eager; in more threads than one."""
    model = redraw(diffeo.create(name, features=4, context=1, transforms=1, hidden=(4,)))
    x, contexts = torch.randn(64, 4), context_for((1,), (64,), torch.float32)
    bound = tolerance("traced", name, torch.float32)
    torch.set_num_threads(2)
    try:
        tracing.check_compiled_gradients(model, x, contexts, bound=bound, backend="inductor")
    finally:
        torch.set_num_threads(1)
