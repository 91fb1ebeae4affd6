"""Distillation, of teachers whose density is known."""

import math
import re
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import diffeo
from diffeo.autoregressive import AutoregressiveDensity, GaussianMixtureHead, Head
from diffeo.bases import Normal
from diffeo.bijections import ActNorm, Autoregressive
from diffeo.data import Sounds
from diffeo.density import Density, Flow
from diffeo.nets.made import MADE
from diffeo.scalars import Affine
from diffeo.sound_model import SoundModel
from diffeo.supports import Support
from diffeo.train import (
    Losses,
    TrainingInterrupted,
    distill,
    fit_student,
    judge_student,
    student_of,
)
from diffeo.train.checkpoint import CheckpointError
from diffeo.train.devices import where_quick
from diffeo.train.distill_front import without_front
from diffeo.train.distill_loss import DistillationLoss, choose
from tests.properties.draws import redraw
from tests.train.simple import Bell

QUICK = {"max_steps": 120, "rows": 1000, "learning_rate": 0.02, "progress": False}
SMALL = {"transforms": 2, "hidden": (16,)}


def bell(context=0):
    """A Gaussian of known moments, far from where a student starts."""
    model = Bell(2, context=context)
    with torch.no_grad():
        model.loc.copy_(torch.tensor([50.0, -3.0]))
        model.log_scale.copy_(torch.tensor([2.0, -1.0]))
        if context:
            model.slope.normal_(0, 1, generator=torch.Generator().manual_seed(0))
    return model


def walk(transforms=1, base="normal", features=3, scale=0.3, **options):
    """A MAF with weights drawn anew."""
    torch.manual_seed(1)
    model = diffeo.create(
        "maf", features=features, transforms=transforms, hidden=(16,), base=base, **options
    )
    return redraw(model, scale).eval()


def test_a_student_becomes_its_teacher():
    teacher = walk(transforms=2)
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    student = distill(teacher, "iaf", **SMALL, **QUICK)
    figures = judge_student(student, teacher, samples=4000)
    assert figures.kl[0] < 0.05 + 3 * figures.kl[1]
    assert figures.kl_per_dimension[0] == pytest.approx(figures.kl[0] / 3)
    # It would have shown: the start is far off.
    fresh = student_of(teacher, "iaf", **SMALL)
    assert judge_student(fresh, teacher, samples=1000).kl[0] > 0.3
    assert not student.training
    assert all(torch.equal(teacher.state_dict()[name], value) for name, value in before.items())
    assert all(parameter.grad is None for parameter in teacher.parameters())


def test_figures_are_those_of_gaussians():
    teacher, student = bell(), Bell(2)
    with torch.no_grad():
        student.loc.copy_(torch.tensor([51.0, -3.0]))
        student.log_scale.copy_(torch.tensor([2.3, -1.2]))
    figures = judge_student(student, teacher, samples=20_000, teacher_samples=5_000)
    q, p = (
        torch.distributions.Normal(m.loc.detach(), m.log_scale.exp().detach())
        for m in (student, teacher)
    )
    exact = float(torch.distributions.kl_divergence(q, p).sum())
    backward = float(torch.distributions.kl_divergence(p, q).sum())
    assert abs(figures.kl[0] - exact) < 4 * figures.kl[1] < 0.1
    assert abs(figures.reverse_kl[0] - backward) < 4 * figures.reverse_kl[1] < 0.2
    assert abs(figures.student_of_student[0] + float(q.entropy().sum())) < 0.05
    assert figures.teacher_of_student[0] == pytest.approx(
        figures.student_of_student[0] - figures.kl[0], abs=1e-3
    )
    assert (figures.samples, figures.teacher_samples, figures.dimensions) == (20_000, 5_000, 2)
    assert figures.student_speed > 0 < figures.teacher_speed
    assert figures.student_device == figures.teacher_device == "cpu"
    assert "nats" in str(figures)
    assert figures.to_dict()["samples"] == 20_000
    quick = judge_student(student, teacher, samples=10, teacher_samples=0)
    assert math.isnan(quick.reverse_kl[0])


@pytest.mark.parametrize(
    ("teacher", "base", "way"),
    [
        (lambda: walk(base="normal"), "normal", "gaussian"),
        (lambda: walk(base="logistic"), "logistic", "steps"),
        (lambda: walk(base="normal"), "logistic", "steps"),
        (lambda: walk(transforms=2), "normal", "samples"),
        (lambda: walk(scalar="spline", base="normal"), "normal", "samples"),
        (
            lambda: redraw(
                AutoregressiveDensity(MADE(3, 3, (16,)), GaussianMixtureHead(1)), 0.3
            ).eval(),
            "normal",
            "gaussian",
        ),
        (
            lambda: redraw(
                AutoregressiveDensity(MADE(3, 9, (16,)), GaussianMixtureHead(3)), 0.3
            ).eval(),
            "normal",
            "samples",
        ),
    ],
)
def test_all_estimators_that_apply_agree(teacher, base, way):
    """On equal noise the three are the same up to what is averaged: within 5 standard errors."""
    teacher = teacher()
    student = student_of(teacher, "iaf", transforms=2, hidden=(16,), base=base)
    redraw(student, 0.3)
    student, teacher = without_front(student, teacher)
    assert choose(student, teacher, Losses(), (3,))[0] == way
    if way == "samples" and not isinstance(teacher, AutoregressiveDensity):
        return
    ways = {"gaussian": ("gaussian", "steps", "samples"), "steps": ("steps", "samples")}
    x = torch.zeros(4000, 3)
    found = {}
    for estimator in ways.get(way, ("samples",)):
        loss = DistillationLoss(student, teacher, Losses(estimator=estimator), (3,))
        parts = []
        for seed in range(8):
            torch.manual_seed(seed)
            parts.append(float(loss(student, x, None).detach()))
        found[estimator] = torch.tensor(parts)
    whole = found["samples"]
    for values in found.values():
        error = float((values.var() + whole.var()).sqrt()) / math.sqrt(8)
        assert abs(float(values.mean() - whole.mean())) < 5 * error + 1e-3
    # More values a step, and closed forms, are less noisy than single samples.
    assert all(values.std() <= 1.5 * whole.std() for values in found.values())


def test_a_known_order_is_kept():
    assert student_of(walk(), "iaf", **SMALL).config["arguments"]["order"] == "same"
    assert student_of(walk(transforms=2), "iaf", **SMALL).config["arguments"]["order"] == "reverse"
    backwards = Flow(Normal(3), Autoregressive(Affine(), MADE(3, 2, (8,), order="reverse")))
    assert student_of(backwards, "iaf", **SMALL).config["arguments"]["order"] == "reverse"


def test_per_step_distillation_finds_a_gaussian_process():
    """x_t = 0.8 x_{t−1} + 0.5 ε_t is an affine map of the past: the student can be it exactly."""
    teacher = FirstOrder(8)
    student = distill(teacher, "iaf", base="normal", estimator="auto", **SMALL, **QUICK)
    figures = judge_student(student, teacher, samples=4000)
    assert figures.kl[0] < 0.03 + 3 * figures.kl[1]
    lag = student.sample(20_000).double()
    products = (lag[:, 3] * lag[:, 4]).mean() / (lag[:, 3].square().mean())
    assert float(products) == pytest.approx(0.8, abs=0.05)


def test_a_context_passes_through():
    teacher = bell(context=3)
    contexts = torch.randn(1000, 3, generator=torch.Generator().manual_seed(2))
    student = distill(teacher, "iaf", context=contexts, **SMALL, **(QUICK | {"max_steps": 400}))
    assert student.context_shape == (3,)
    new = torch.randn(500, 3, generator=torch.Generator().manual_seed(3))
    figures = judge_student(student, teacher, context=new)
    assert figures.samples == 500
    assert figures.kl[0] < 0.3
    # A function of contexts, and a dict.
    drawn = distill(
        teacher, "iaf", context=lambda n: torch.randn(n, 3), **SMALL, **(QUICK | {"max_steps": 5})
    )
    assert drawn.sample((), new).shape == (500, 2)


def test_the_contrastive_term_tells_contexts_apart():
    """KL with c, less γ KL with another row's: on rows that are alike in pairs of two."""
    teacher, student = bell(context=1), bell(context=1)
    context = torch.tensor([[0.0], [5.0]] * 50)
    x = torch.zeros(100, 2)
    plain = DistillationLoss(student, teacher, Losses(), (2,))
    contrast = DistillationLoss(student, teacher, Losses(contrastive=0.5), (2,))
    assert abs(float(plain(student, x, context).detach())) < 1e-4
    shift = 5 * teacher.slope.detach().squeeze(-1) / teacher.log_scale.detach().exp()
    other = 0.5 * float(shift.square().sum())
    found = float(contrast(student, x, context).detach())
    assert found == pytest.approx(-0.5 * other, rel=0.3)


def test_terms_of_power_and_features():
    teacher = FirstOrder(64)
    student = student_of(teacher, "iaf", base="normal", **SMALL)
    x = teacher.sample(400)

    def loss(**options):
        torch.manual_seed(0)
        objective = DistillationLoss(student, teacher, Losses(**options), (64,))
        return float(objective(student, x, None).detach())

    plain = loss()
    # White noise beside a spectrum that falls.
    assert loss(power=2.0, window=16) - plain == pytest.approx(
        2 * (loss(power=1.0, window=16) - plain), rel=1e-2
    )
    assert loss(power=1.0, window=16) > plain + 0.05
    features = {"features": nn.Sequential(nn.Unflatten(-1, (1, 64)), nn.Conv1d(1, 4, 3))}
    assert loss(perceptual=1.0, **features) > plain
    assert loss(perceptual=1.0, gram=True, **features) > plain
    distill(
        teacher, student, power=1.0, window=16, **(QUICK | {"max_steps": 3}), reference=x[:, :64]
    )


def test_the_front_is_the_teachers():
    x = torch.randn(500, 3, generator=torch.Generator().manual_seed(0)).exp() * 100
    supports = [{"lower": 0.0}, {"lower": 0.0}, {}]
    teacher = diffeo.create(
        "maf", features=3, transforms=1, hidden=(8,), supports=supports, standardize=True
    )
    teacher.initialize(x)
    student = student_of(teacher, "iaf", **SMALL)
    assert student.support == teacher.support
    one, other = without_front(student, teacher)
    assert len(one.bijection.parts) == 2
    assert len(other.bijection.parts) == 1
    learner = distill(teacher, student, **QUICK)
    assert learner is student
    figures = judge_student(student, teacher, samples=2000)
    assert figures.kl[0] < 0.1
    kept = dict(teacher.bijection.parts[1].named_buffers())
    assert torch.equal(dict(student.bijection.parts[1].named_buffers())["mean"], kept["mean"])


def test_a_student_without_the_teachers_front_starts_near_it():
    student = diffeo.create("iaf", features=2, standardize=True, **SMALL)
    fit_student(student, bell(), **(QUICK | {"max_steps": 1}))
    means = student.sample(2000).mean(0)
    assert abs(float(means[0]) - 50) < 1
    assert abs(float(means[1]) + 3) < 0.1


def test_tables():
    frame = pd.DataFrame(
        {
            "count": torch.randint(0, 5, (400,), generator=torch.Generator().manual_seed(0)),
            "size": torch.randn(400, generator=torch.Generator().manual_seed(1)).exp(),
        }
    )
    table = diffeo.Table.create("maf", frame, transforms=1, hidden=(8,))
    table.density.initialize(table.rows(frame).x)
    assert not table.density.exact
    student = diffeo.distill(table, "iaf", **SMALL, **QUICK)
    assert isinstance(student, diffeo.Table)
    drawn = student.sample(50, seed=0)
    assert set(drawn.columns) == {"count", "size"}
    assert drawn["count"].between(0, 4).all()
    assert judge_student(student, table, samples=1000).kl[0] < 0.2


def test_the_same_seed_gives_the_same_student_and_a_run_resumes(tmp_path):
    teacher, options = walk(), {**QUICK, "max_steps": 12, "rows": 200}
    torch.manual_seed(5)
    state = torch.random.get_rng_state()
    student = student_of(teacher, "iaf", **SMALL)
    start = {name: value.clone() for name, value in student.state_dict().items()}
    fit_student(student, teacher, **options)
    torch.random.set_rng_state(state)
    whole = student.state_dict()

    def stop(history):
        if history.steps[-1] >= 6:
            raise KeyboardInterrupt

    again = student_of(teacher, "iaf", **SMALL)
    again.load_state_dict(start)
    place = {"checkpoint": tmp_path / "run", "checkpoint_seconds": 0, "evaluate_every": 6}
    reference = student_of(teacher, "iaf", **SMALL)
    reference.load_state_dict(start)
    fit_student(reference, teacher, **options, evaluate_every=6)
    with pytest.raises(TrainingInterrupted):
        fit_student(again, teacher, **(options | {"progress": stop}), **place)
    again.load_state_dict(start)
    history = fit_student(again, teacher, **options, **place, resume=True)
    assert history.steps[-1] == 12
    found, expected = again.state_dict(), reference.state_dict()
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert whole.keys() == expected.keys()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"losses": Losses(samples=9)}, "samples was 8, and is 9 now"),
        ({"losses": Losses(power=0.5)}, "power was 0.0, and is 0.5 now"),
        ({"teacher": 0.4}, "the teacher differs"),
    ],
)
def test_a_run_resumes_with_its_own_teacher_and_loss_alone(tmp_path, change, words):
    """Where the rows that it starts from are given, they don't tell teachers from each other."""
    teacher, rows = walk(), torch.randn(60, 3)
    options = {**QUICK, "max_steps": 4, "rows": None, "reference": rows, "patience": None}
    place = {"checkpoint": tmp_path / "run", "checkpoint_seconds": 0}
    fit_student(student_of(teacher, "iaf", **SMALL), teacher, **options, **place)
    other = walk(scale=change.get("teacher", 0.3))
    change = {name: value for name, value in change.items() if name != "teacher"}
    student = student_of(teacher, "iaf", **SMALL)
    with pytest.raises(CheckpointError, match=f"is of another run: {re.escape(words)}; give"):
        fit_student(student, other, **options, **place, **change, resume=True)
    fit_student(student, teacher, **options, **place, resume=True)


def test_features_are_part_of_what_a_loss_is():
    network = nn.Linear(3, 2)
    told = Losses(perceptual=1.0, features=network).to_dict()
    with torch.no_grad():
        network.weight.add_(1)
    assert Losses(perceptual=1.0, features=network).to_dict()["features"] != told["features"]
    assert "torch" in Losses(perceptual=1.0, features=torch.fft.fft).to_dict()["features"]


def test_what_few_samples_leave_open_is_said():
    teacher, student = bell(), Bell(2)
    with torch.no_grad():
        student.loc.copy_(teacher.loc)
        student.log_scale.copy_(teacher.log_scale + 0.3)
    figures = judge_student(student, teacher, samples=400)
    assert figures.doubt is None and "few draws" not in str(figures)
    few = judge_student(student, teacher, samples=9, teacher_samples=400)
    assert few.doubt == "KL(student ‖ teacher) is of 9 samples only"
    assert judge_student(student, teacher, samples=400, teacher_samples=0).doubt is None
    one = judge_student(student, teacher, samples=400, teacher_samples=1)
    assert one.doubt == "KL(teacher ‖ student) is of 1 sample only"
    with torch.no_grad():
        student.log_scale.copy_(teacher.log_scale + 0.003)
    near = judge_student(student, teacher, samples=100, teacher_samples=0)
    assert near.kl[1] > abs(near.kl[0])
    assert near.doubt == "KL(student ‖ teacher) is less than its standard error"


def test_what_draws_step_by_step_is_timed_on_the_cpu(monkeypatch):
    teacher = walk()
    student = student_of(teacher, "iaf", **SMALL)
    assert where_quick(teacher) is teacher
    monkeypatch.setattr("diffeo.train.devices.model_device", lambda _: torch.device("cuda"))
    assert where_quick(student) is student
    moved = where_quick(teacher)
    assert moved is not teacher
    assert all(not parameter.is_cuda for parameter in moved.parameters())


@pytest.mark.parametrize("standardize", [True, False])
def test_a_students_context_is_scaled_as_its_teachers(standardize):
    """By name it has the option; the measures are those of the contexts that are given."""
    options = {"context": {"mel": (3, None)}, "hop": 5, "standardize_context": standardize}
    teacher = sound("maf", **options)
    student = student_of(teacher, "iaf", transforms=1, layers=2, residual=4)
    given = {"mel": -8 + 2 * torch.randn(12, 3, 4)}
    quick = {"max_steps": 1, "event_shape": (1, 20), "progress": False}
    fit_student(student, teacher, context=given, **quick)
    scale = student.context_net.scale
    if standardize:
        torch.testing.assert_close(scale[:, 0], given["mel"].std((0, 2), correction=0))
    assert (scale is not None) == standardize


def sound(name, context=None, **options):
    """A model of sounds, quiet ones where it has a scale to set."""
    torch.manual_seed(0)
    model = diffeo.create(name, shape=(1, None), layers=2, residual=4, context=context, **options)
    redraw(model, 0.2)
    for part in model.modules():
        if isinstance(part, ActNorm):
            part.initialized.fill_(False)
    if context is None:
        model.initialize(0.3 + 0.1 * torch.randn(50, 1, 20))
    return model.eval()


SHORT = {**QUICK, "max_steps": 30, "rows": 64, "batch_size": 16, "learning_rate": 0.02}


@pytest.mark.parametrize(
    ("teacher", "way"),
    [
        (lambda: sound("wavenet", head="gaussian"), "gaussian"),
        (lambda: sound("wavenet", head="logistic", components=1), "steps"),
        (lambda: sound("maf"), "steps"),
        (lambda: sound("maf", base="normal"), "gaussian"),
        (lambda: sound("maf", transforms=2), "samples"),
    ],
)
def test_sounds(teacher, way):
    teacher, shape = teacher(), (1, 32)
    student = student_of(teacher, "iaf", transforms=2, layers=2, residual=4)
    assert choose(student, teacher, Losses(), shape)[0] == way
    before = judge_student(student, teacher, samples=200, teacher_samples=0, event_shape=shape)
    fit_student(student, teacher, event_shape=shape, losses=Losses(power=0.1, window=8), **SHORT)
    after = judge_student(student, teacher, samples=200, teacher_samples=0, event_shape=shape)
    assert after.dimensions == 32
    assert after.kl[0] < 0.5 * before.kl[0], (before.kl, after.kl)
    assert student.sample(2, event_shape=(1, 50)).shape == (2, 1, 50)


def test_sounds_with_contexts():
    context = {"mel": (3, None), "speaker": (2,)}
    teacher = sound("wavenet", head="gaussian", context=context, hop=8)
    given = {"mel": torch.randn(64, 3, 4), "speaker": torch.eye(2).repeat(32, 1)}
    student = distill(
        teacher,
        context=given,
        event_shape=(1, 32),
        transforms=1,
        layers=2,
        residual=4,
        contrastive=0.3,
        **SHORT,
    )
    assert student.config["arguments"]["hop"] == 8
    some = {name: value[:5] for name, value in given.items()}
    assert student.sample((), some, event_shape=(1, 32)).shape == (5, 1, 32)
    figures = judge_student(student, teacher, context=some, event_shape=(1, 32))
    assert figures.samples == figures.teacher_samples == 5


def test_models_of_sounds():
    rng = np.random.default_rng(0)
    sounds = Sounds(list(rng.normal(0, 0.1, (4, 200))), rate=8000, speakers=["ann", "ben"] * 2)
    options = {"layers": 2, "residual": 4}
    teacher = SoundModel.create(
        "wavenet", sounds, context=["speaker"], segment=50, head="gaussian", **options
    )
    student = distill(teacher, context=sounds, reference=sounds, transforms=1, **options, **SHORT)
    assert isinstance(student, SoundModel)
    assert (student.speakers, student.rate, student.segment) == (("ann", "ben"), 8000, 50)
    assert student.sample(1, "ben", seconds=0.01).lengths == (80,)
    figures = judge_student(student, teacher, context=sounds, samples=8)
    assert (figures.samples, figures.dimensions) == (8, 50)
    with pytest.raises(TypeError, match="needs a context"):
        distill(teacher, **options, **SHORT)


def test_mu_law_teachers_are_refused():
    with pytest.raises(TypeError, match=r"discrete \(MuLawHead\).*head='logistic'"):
        distill(sound("wavenet", head="mu-law"), event_shape=(1, 32))
    with pytest.raises(ValueError, match="give the whole event_shape"):
        distill(sound("wavenet", head="gaussian"))


def test_the_page_runs():
    names = {}
    page = Path(__file__).parents[2] / "docs/distillation.md"
    blocks = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) == 2
    for block in blocks:
        exec(re.sub(r"max_steps=\d+", "max_steps=2", block), names)
    assert names["history"].steps[-1] == 2


class FirstOrder(AutoregressiveDensity):
    """x_t = 0.8 x_{t−1} + 0.5 ε_t from x_0 = ε_0, with known conditionals."""

    def __init__(self, features):
        super().__init__(_Lag(features), GaussianMixtureHead(1))


class _Lag(MADE):
    def __init__(self, features):
        super().__init__(features, 3, (1,))

    def forward(self, x, context=None):
        before = nn.functional.pad(x[..., :-1], (1, 0))
        scale = torch.full_like(x, math.log(0.5))
        scale[..., 0] = 0.0
        raw = scale / (1 - scale.abs() / math.log(1000.0))
        return torch.stack([torch.zeros_like(x), 0.8 * before, raw], -1)

    def stepper(self, batch, context=None):
        return _Walk(self, torch.zeros(*batch, self.features), 0)


class _Walk:
    def __init__(self, net, x, position):
        self.net, self.x, self.position = net, x, position

    def step(self, values):
        x, position = self.x, self.position
        if values is not None:
            x = torch.cat([x[..., : position - 1], values, x[..., position:]], -1)
        return self.net(x)[..., position : position + 1, :], _Walk(self.net, x, position + 1)


class Coin(Head):
    """0 or 1."""

    num_params = 1
    discrete = True

    def log_prob(self, x, params):
        return -nn.functional.softplus((1 - 2 * x) * params[..., 0])

    def sample(self, params, temperature, generator):
        return (torch.rand(params.shape[:-1]) < params[..., 0].sigmoid()).to(params.dtype)

    def distribution(self, params):
        return torch.distributions.Bernoulli(logits=params[..., 0])


class Opaque(Density):
    """A density whose log_prob goes through numbers without gradients."""

    event_shape = (2,)

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def _log_prob(self, x, context):
        return -x.detach().square().sum(-1)

    def _sample(self, batch, shape, context, temperature, generator):
        return torch.randn(*batch, *shape)


def discrete():
    return AutoregressiveDensity(MADE(2, 1, (8,)), Coin())


def dequantized():
    return diffeo.create("maf", features=2, levels=4, **SMALL)


def iaf(features=2, **options):
    return diffeo.create("iaf", features=features, **{**SMALL, **options})


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda: distill(discrete()), TypeError, "discrete.*head='logistic'"),
        (lambda: distill(dequantized(), iaf()), ValueError, "lives on the real line"),
        (lambda: distill(dequantized(), dequantized()), ValueError, "one position after another"),
        (lambda: distill(Opaque(), iaf()), ValueError, "does not depend on x"),
        (lambda: distill(bell(), "maf"), ValueError, "maf samples one position after another"),
        (lambda: distill(bell(), "glow"), ValueError, "images"),
        (lambda: distill(bell(), iaf(3)), ValueError, r"event shape is \(3,\), the teacher's"),
        (lambda: distill(bell(), iaf(context=1)), ValueError, "student's context"),
        (lambda: distill(bell(context=1), iaf(context=1)), TypeError, "needs a context"),
        (
            lambda: distill(bell(context=1), iaf(context=1), context=torch.zeros(50, 2)),
            ValueError,
            r"shape \(rows, 1\)",
        ),
        (lambda: distill(bell(), context=torch.zeros(5, 1)), TypeError, "takes no context"),
        (lambda: distill(bell(), iaf().double()), TypeError, "float64"),
        (lambda: distill(bell(), iaf(), transforms=3), TypeError, "made already"),
        (lambda: distill(bell(), "iaf", transfroms=3), TypeError, "did you mean 'transforms'"),
        (lambda: distill(bell(), iaf(), event_shape=(3,)), ValueError, "event_shape must fit"),
        (lambda: distill(bell(), iaf(), rows=1), ValueError, "at least 2 rows"),
        (lambda: distill(bell(), iaf(), estimator="steps"), ValueError, "no steps that are known"),
        (lambda: distill(bell(), iaf(), estimator="best"), ValueError, "must be one of"),
        (lambda: distill(bell(), iaf(), samples=0), ValueError, "samples must be at least 1"),
        (lambda: distill(bell(), iaf(), power=-1.0), ValueError, "0 or more"),
        (lambda: distill(bell(), iaf(), contrastive=1.0), ValueError, "below 1"),
        (lambda: distill(bell(), iaf(), perceptual=1.0), ValueError, "give features="),
        (lambda: distill("maf", iaf()), TypeError, "expected a Density, a Table or a SoundModel"),
        (lambda: distill(bell(), 3), TypeError, "must be a name or a Density"),
        (
            lambda: distill(bell(), iaf(), reference=torch.zeros(5, 3)),
            ValueError,
            r"shape \(rows, 2\)",
        ),
        (lambda: judge_student(iaf(), bell(), samples=0), ValueError, "at least 1"),
    ],
)
def test_what_is_refused(call, kind, message):
    with warnings.catch_warnings(), pytest.raises(kind, match=message):
        warnings.simplefilter("error")
        call()


def test_a_student_on_another_set_is_refused():
    student = bell()
    student.support = Support(0.0)
    with pytest.raises(ValueError, match="student lives on"):
        distill(bell(), student)


def test_one_and_the_same_is_refused():
    student = iaf()
    with pytest.raises(ValueError, match="one and the same"):
        distill(student, student)
