"""Where the defaults of named models go beyond the papers, and that the papers' presets do not."""

import pytest
import torch

import diffeo
from diffeo.bases import Normal, StudentT
from diffeo.bijections import Autoregressive, Coupling, LULinear
from diffeo.models import MODELS
from diffeo.scalars import Composed, RationalQuadraticSpline
from diffeo.train import fit


def scalars(model):
    """The scalar maps of a flow's steps."""
    return [m.scalar for m in model.modules() if isinstance(m, (Autoregressive, Coupling))]


@pytest.mark.parametrize("name", ["nsf", "nsf_coupling"])
def test_splines_follow_affine_maps_except_in_the_papers_presets(name):
    small = {"features": 3, "transforms": 2, "hidden": (8, 8)}
    assert all(isinstance(tau, Composed) for tau in scalars(diffeo.create(name, **small)))
    for preset in MODELS[name].presets:
        model = diffeo.create(name, preset=preset, features=3, transforms=2)
        assert all(isinstance(tau, RationalQuadraticSpline) for tau in scalars(model))


def test_an_affine_map_reaches_spreads_that_a_splines_interval_does_not():
    torch.manual_seed(0)
    spread = torch.randn(500, 1)
    x = torch.cat([spread, spread.exp() * torch.randn(500, 1)], dim=1)
    reached = {}
    for affine in (False, True):
        torch.manual_seed(1)
        small = {"transforms": 1, "hidden": (16,), "linear": "none", "base": "normal"}
        model = diffeo.create("nsf", features=2, affine=affine, **small)
        options = {"max_steps": 80, "evaluate_every": 80, "average": None, "progress": False}
        reached[affine] = fit(model, x, learning_rate=0.03, **options).best_validation
    assert reached[True] > reached[False] + 1


@pytest.mark.parametrize("name", ["planar", "radial", "sylvester"])
def test_steps_of_few_directions_follow_a_linear_map_except_in_the_papers_presets(name):
    for preset, expected in ((None, 1), *((key, 0) for key in MODELS[name].presets)):
        model = diffeo.create(name, preset=preset, features=9)
        assert sum(isinstance(part, LULinear) for part in model.modules()) == expected


# A base with heavy tails would hide what these two look at.


def lowest_far_away(name: str, activation: str, far: float, **options) -> float:
    """The least log-density of far rows, of a flow that has overfitted few."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(400, 4, generator=generator)
    torch.manual_seed(0)
    model = diffeo.create(name, features=4, hidden=(32, 32), activation=activation, base="normal")
    fit(model, x, average=None, progress=False, **options)
    with torch.no_grad():
        return float(model.log_prob(far * torch.randn(200, 4, generator=generator)).min())


LONG = {"far": 20.0, "max_steps": 100, "learning_rate": 0.01, "validation": 0}
SHORT = {"far": 8.0, "max_steps": 60, "learning_rate": 3e-3}


@pytest.mark.parametrize(
    ("name", "options"),
    [("maf", LONG), ("realnvp", LONG), ("iaf", LONG), ("glow1d", LONG), ("sos", SHORT)],
)
def test_far_rows_get_no_extreme_parameters_except_in_the_papers_presets(name, options):
    default = MODELS[name].options["activation"].default
    bounded, rectified = (lowest_far_away(name, a, **options) for a in (default, "relu"))
    assert bounded > -1e8 > rectified
    for preset in MODELS[name].presets.values():
        assert preset["activation"] in ("relu", "elu")


TAILED = [
    name for name, entry in MODELS.items() if entry.options["base"].default == "learned_student_t"
]


@pytest.mark.parametrize("name", TAILED)
def test_the_tails_of_the_base_are_learned_except_in_the_papers_presets(name):
    base = diffeo.create(name, features=3).base
    assert isinstance(base, StudentT)
    assert len(TAILED) == 8
    assert any(parameter.requires_grad for parameter in base.df.parameters())
    for preset in MODELS[name].presets:
        assert isinstance(diffeo.create(name, preset=preset, features=3).base, Normal)


def test_learned_tails_do_not_give_far_rows_up():
    """Student t of 2 degrees of freedom: rows to train on, and others further out."""
    draws = torch.distributions.StudentT(2.0)
    x, new = draws.sample((600, 4)), draws.sample((4000, 4))
    reached = {}
    for base in ("normal", "learned_student_t"):
        torch.manual_seed(1)
        model = diffeo.create("realnvp", features=4, transforms=2, hidden=(16,), base=base)
        fit(model, x, max_steps=150, average=None, progress=False, learning_rate=3e-3)
        with torch.no_grad():
            reached[base] = float(model.log_prob(new).mean())
    assert reached["learned_student_t"] > reached["normal"] + 1
