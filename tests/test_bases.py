"""Base distributions: densities against torch's own, against samples, and in the tails."""

import copy
import math
import pickle
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, distributions

from diffeo.base_parameters import LOG_SCALE_BOUND
from diffeo.bases import (
    Base,
    Beta,
    ConditionalNormal,
    GaussianMixture,
    Logistic,
    Normal,
    StudentT,
    Uniform,
)
from diffeo.contexts import Shape
from diffeo.density import Flow
from diffeo.draws import Noise, choose
from diffeo.nets.mlp import MLP
from diffeo.scalars.affine import soft_bound
from tests.conftest import TYPECHECK

CONTEXT = 3
# On purpose: what run-time type checks would refuse before the library does.
untyped = pytest.mark.skipif(TYPECHECK, reason="gives arguments of wrong types")
# P(√n · KS distance > 2.7) = 2 exp(−2 · 2.7²) ≈ 1e-6 for each comparison, under the hypothesis.
KOLMOGOROV = 2.7


@dataclass(frozen=True)
class Case:
    """A base, and torch's distribution of one element of it."""

    name: str
    build: Callable[[Shape], Base]
    truth: Callable[[Base, Tensor | None], distributions.Distribution]
    context: bool = False

    def drawn(self, shape: Shape = (2,), dtype: torch.dtype = torch.float32) -> Base:
        """The base with parameters from N(0, 0.3²)."""
        base = self.build(shape).to(dtype)
        redraw(base)
        return base

    def condition(self, *batch: int, dtype: torch.dtype = torch.float32) -> Tensor | None:
        return torch.randn(*batch, CONTEXT, dtype=dtype) if self.context else None


def redraw(module: torch.nn.Module, scale: float = 0.3) -> None:
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(0.0, scale)


def scale_of(raw: Tensor) -> Tensor:
    return soft_bound(raw, LOG_SCALE_BOUND).exp()


def position(base) -> tuple[Tensor, Tensor]:
    loc, raw = base.position.loc, base.position.raw_log_scale
    if loc is None:
        return torch.zeros_like(base.origin), torch.ones_like(base.origin)
    return loc, scale_of(raw)


def normal(base, context):
    return distributions.Normal(*position(base))


def conditional_normal(base, context):
    loc, raw = base.net(context=context).unbind(-1)
    return distributions.Normal(loc, scale_of(raw))


def logistic(base, context):
    uniform = distributions.Uniform(torch.zeros_like(base.origin), torch.ones_like(base.origin))
    return distributions.TransformedDistribution(
        uniform, [distributions.SigmoidTransform().inv], validate_args=False
    )


def uniform(base, context):
    lower, upper = base.support.lower, base.support.upper
    return distributions.Uniform(lower + base.origin, upper + base.origin)


def beta(base, context):
    dtype = base.origin.dtype
    return distributions.Beta(
        torch.as_tensor(base.a(dtype), dtype=dtype), torch.as_tensor(base.b(dtype), dtype=dtype)
    )


def student_t(base, context):
    df = torch.as_tensor(base.df(base.origin.dtype), dtype=base.origin.dtype)
    return distributions.StudentT(df, *position(base))


def gaussian_mixture(base, context):
    parts = distributions.Normal(base.means, scale_of(base.raw_log_scales))
    return distributions.MixtureSameFamily(distributions.Categorical(logits=base.logits), parts)


CASES = [
    Case("Normal", lambda shape: Normal(shape), normal),
    Case("Normal/learned", lambda shape: Normal(shape, learned=True), normal),
    Case(
        "ConditionalNormal",
        lambda shape: ConditionalNormal(shape, context=CONTEXT, hidden=(8,)),
        conditional_normal,
        context=True,
    ),
    Case("Logistic", lambda shape: Logistic(shape), logistic),
    Case("Uniform", lambda shape: Uniform(shape, -1.0, 3.0), uniform),
    Case("Beta", lambda shape: Beta(shape, 2.0, 3.5), beta),
    Case("Beta/learned", lambda shape: Beta(shape, 1.5, 4.0, learned=True), beta),
    Case("StudentT", lambda shape: StudentT(shape, df=3.0), student_t),
    Case("StudentT/learned", lambda shape: StudentT(shape, df=6.0, learned=True), student_t),
    Case("GaussianMixture", lambda shape: GaussianMixture(shape, 3), gaussian_mixture),
]
OPEN = [Normal, Logistic, Uniform, lambda shape: Beta(shape, 2.0, 2.0), StudentT]
each = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


def grid_of(base: Base, points: int = 200_001) -> Tensor:
    """Midpoints over the support, or over where all but 1e-5 of the mass lies."""
    lower = max(base.support.lower, -400.0)
    upper = min(base.support.upper, 400.0)
    steps = (torch.arange(points, dtype=torch.float64) + 0.5) / points
    return lower + (upper - lower) * steps


@each
@pytest.mark.parametrize("shape", [(), (2,), (2, 1, 3)], ids=str)
@pytest.mark.parametrize(
    ("dtype", "bound"), [(torch.float32, 2e-5), (torch.float64, 1e-11)], ids=str
)
def test_log_prob_is_that_of_torch(case, shape, dtype, bound):
    base = case.drawn(shape, dtype)
    context = case.condition(5, dtype=dtype)
    x = base.sample(4 if case.context else (4, 5), context)
    expected = case.truth(base, context).log_prob(x).reshape(4, 5, -1).sum(-1)
    actual = base.log_prob(x, context)
    assert actual.shape == (4, 5)
    assert actual.dtype == dtype
    torch.testing.assert_close(actual, expected, rtol=bound, atol=bound)


@each
def test_density_integrates_to_one(case):
    base = case.drawn((), torch.float64)
    grid = grid_of(base)
    mass = base.log_prob(grid, case.condition(1, dtype=torch.float64)).exp().mean()
    assert abs(mass * width(grid) - 1) < 1e-3


def width(grid: Tensor) -> Tensor:
    return (grid[-1] - grid[0]) * len(grid) / (len(grid) - 1)


@each
def test_samples_follow_the_density(case):
    """Kolmogorov–Smirnov against the integrated density; false alarms: 1e-6 an element."""
    n = 20_000
    base = case.drawn((2,))
    context = case.condition()
    x = base.sample(n, context).double()
    truth = copy.deepcopy(base).double()
    grid = grid_of(base)
    for i in range(2):
        points = grid.unsqueeze(-1).expand(-1, 2)
        # Of two independent elements, the other held at the first point: a constant factor.
        points = torch.where(torch.arange(2) == i, points, points[len(grid) // 2])
        c = None if context is None else context.double()
        density = truth.log_prob(points, c).exp()
        cdf = density.cumsum(0) / density.sum()
        ordered = x[:, i].sort().values
        below = cdf[(torch.searchsorted(grid, ordered) - 1).clamp(min=0)]
        ranks = torch.arange(n, dtype=torch.float64) / n
        distance = torch.maximum(below - ranks, ranks + 1 / n - below).max()
        assert distance * math.sqrt(n) < KOLMOGOROV


@each
def test_sample_and_log_prob_agrees_with_log_prob(case):
    base = case.drawn()
    context = case.condition(5)
    temperatures = (1.0, 0.3) if base.scalable else (1.0,)
    for temperature in temperatures:
        x, log_prob = base.sample_and_log_prob((2, 4), context, temperature=temperature)
        assert x.shape == ((2, 4, 5, 2) if case.context else (2, 4, 2))
        torch.testing.assert_close(log_prob, base.log_prob(x, context), rtol=1e-6, atol=1e-6)


@each
def test_generator_decides_the_samples(case):
    base, context = case.drawn(), case.condition(2)
    state = torch.get_rng_state()
    draws = [
        base.sample(5, context, generator=torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
    ]
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])
    assert torch.equal(state, torch.get_rng_state())


@each
def test_temperature_multiplies_the_scale(case):
    base, context = case.drawn(), case.condition(2)
    if not base.scalable:
        with pytest.raises(ValueError, match="temperature"):
            base.sample(3, context, temperature=0.5)
        return
    cold, cool, warm = (
        base.sample(50, context, temperature=t, generator=torch.Generator().manual_seed(0))
        for t in (0.0, 0.5, 1.0)
    )
    torch.testing.assert_close(cool - cold, (warm - cold) / 2, rtol=1e-4, atol=1e-5)
    if isinstance(base, GaussianMixture):
        nearest = (cold.unsqueeze(-1) - base.means).abs().amin(-1)
        assert torch.equal(nearest, torch.zeros_like(nearest))
    else:
        location = case.truth(base, context)
        loc = torch.zeros(()) if isinstance(base, Logistic) else location.loc
        assert torch.equal(cold, loc.expand_as(cold))


@each
def test_samples_and_scores_keep_dtype_and_follow_the_module(case):
    for dtype in (torch.float64, torch.bfloat16):
        base = case.drawn(dtype=dtype)
        context = case.condition(3, dtype=dtype)
        x = base.sample(4, context)
        assert x.dtype == dtype
        assert x.isfinite().all()
        log_prob = base.log_prob(x, context)
        assert log_prob.dtype == torch.promote_types(dtype, torch.float32)
        assert log_prob.isfinite().all()


@each
def test_module_holds_nothing_of_another_dtype_and_copies(case):
    base, context = case.drawn(), case.condition(4)
    assert all(t.dtype == torch.float32 for t in (*base.parameters(), *base.buffers()))
    x = base.sample((3, 4) if context is None else 3, context)
    for twin in (copy.deepcopy(base), pickle.loads(pickle.dumps(base))):
        assert torch.equal(twin.log_prob(x, context), base.log_prob(x, context))
    fresh = case.build((2,))
    fresh.load_state_dict(base.state_dict())
    assert torch.equal(fresh.log_prob(x, context), base.log_prob(x, context))


@each
@pytest.mark.parametrize("scale", [1.0, 30.0, 1e4])
def test_finite_at_extreme_parameters(case, scale):
    base = case.build((2,))
    redraw(base, scale)
    context = case.condition(50)
    x = base.sample(50 if context is None else (), context)
    assert x.isfinite().all()
    assert not base.support.outside(x).any()
    assert base.log_prob(x, context).isfinite().all()


@each
def test_tails_are_never_nan(case):
    base = case.drawn(())
    context = case.condition()
    far = torch.tensor([1e4, 1e10, 1e30, 3e38])
    x = torch.cat([-far, torch.zeros(1), far, torch.tensor([math.inf, -math.inf])])
    x.requires_grad_()
    log_prob = base.log_prob(x, context)
    assert not log_prob.isnan().any()
    assert (log_prob[-2:] == -math.inf).all()
    (gradient,) = torch.autograd.grad(log_prob[:9].sum(), x)
    assert not gradient.isnan().any()
    assert base.log_prob(torch.tensor(math.nan), context).isnan()


def test_tails_have_the_right_values():
    x = torch.tensor([-1e30, -200.0, 200.0, 1e30])
    torch.testing.assert_close(Logistic(()).log_prob(x), -x.abs())
    t = StudentT((), df=2.0)
    # log p → log 2/2 · ν^(ν/2)… for ν = 2: p = 1/(2√2 (1 + x²/2)^(3/2)) → x⁻³.
    torch.testing.assert_close(t.log_prob(x[2:]), -3 * x[2:].log(), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(Normal(()).log_prob(x[1:3]), -0.5 * x[1:3].square() - 0.91894)


@pytest.mark.parametrize("df", [0.3, 3.0, 39.0, 41.0, 1e4, 1e7])
def test_student_t_keeps_its_digits_at_large_df(df):
    x = torch.linspace(-3, 3, 13, dtype=torch.float64)
    fixed = StudentT((), df=df)
    learned = StudentT((), df=df, learned=True)
    expected = distributions.StudentT(torch.tensor(df, dtype=torch.float64)).log_prob(x)
    # torch's own float64 result loses up to ν log ν · 2⁻⁵³ to cancellation.
    for base in (fixed, learned):
        torch.testing.assert_close(
            base.log_prob(x.float()).double(), expected, rtol=1e-5, atol=1e-5
        )
        wide = copy.deepcopy(base).double().log_prob(x)
        torch.testing.assert_close(wide, expected, rtol=0, atol=1e-11 + df * 1e-14)


def test_beta_is_finite_at_its_ends():
    for a, b in ((0.5, 0.5), (1.0, 1.0), (3.0, 2.0)):
        ends = torch.tensor([0.0, 1.0], requires_grad=True)
        log_prob = Beta((), a, b).log_prob(ends)
        assert log_prob.isfinite().all()
        assert not torch.autograd.grad(log_prob.sum(), ends)[0].isnan().any()
    assert Beta((), 2.0, 2.0).log_prob(torch.tensor(1.1)) == -math.inf


@pytest.mark.parametrize("build", OPEN)
def test_an_open_extent_is_given_at_sampling(build):
    base = build((1, None))
    with pytest.raises(ValueError, match="event_shape"):
        base.sample(2)
    x, log_prob = base.sample_and_log_prob(2, event_shape=(1, 7))
    assert x.shape == (2, 1, 7)
    torch.testing.assert_close(log_prob, base.log_prob(x))
    closed = build((1, 7))
    torch.testing.assert_close(log_prob, closed.log_prob(x))


@each
def test_rsample_has_gradients_where_they_exist(case):
    base, context = case.drawn(), case.condition(4)
    if not base.reparameterized:
        with pytest.raises(TypeError, match="no gradients"):
            base.rsample(3, context)
        return
    assert not base.sample(3, context).requires_grad
    parameters = list(base.parameters())
    if not parameters:
        return
    gradients = torch.autograd.grad(base.rsample(50, context).square().sum(), parameters)
    assert all(g.isfinite().all() and g.abs().sum() > 0 for g in gradients)


def test_gradients_of_beta_samples_are_those_of_its_mean():
    """E x = a/(a + b); 200,000 draws, tolerance 5 standard errors (false alarms 6e-7)."""
    base = Beta((), 2.0, 3.0, learned=True)
    a = base.a(torch.float32)
    x = base.rsample(200_000)
    raw = base.a.raw
    (actual,) = torch.autograd.grad(x.mean(), raw)
    (chain,) = torch.autograd.grad(a, raw)
    # d mean/da = b/(a + b)²; the pathwise derivative's standard deviation is below 0.2.
    assert abs(actual / chain - 3 / 25) < 5 * 0.2 / math.sqrt(200_000)


def test_conditional_normal_takes_a_network_or_builds_one():
    own = ConditionalNormal(2, MLP(0, (2, 2), (4,), context=5))
    assert own.context_shape == (5,)
    redraw(own)
    assert own.sample(3, torch.randn(4, 5)).shape == (3, 4, 2)
    built = ConditionalNormal(2, context={"a": (2, 2), "b": 1}, hidden=(4,))
    context = {"a": torch.randn(4, 1, 2, 2), "b": torch.randn(3, 1)}
    assert built.sample((), context).shape == (4, 3, 2)
    scalar = ConditionalNormal(2, context=())
    redraw(scalar)
    assert scalar.sample((), torch.randn(6)).shape == (6, 2)
    for wrong in ({}, {"net": own.net, "context": 5}, {"net": torch.nn.Linear(1, 1)}):
        with pytest.raises(TypeError, match="ConditionalNormal"):
            ConditionalNormal(2, **wrong)


def test_conditional_normal_depends_on_its_context_and_starts_standard():
    base = ConditionalNormal(2, context=3)
    x, context = torch.randn(4, 2), torch.randn(4, 3)
    torch.testing.assert_close(base.log_prob(x, context), Normal(2).log_prob(x))
    redraw(base)
    one, other = base.log_prob(x, context), base.log_prob(x, context + 1)
    assert (one - other).abs().min() > 1e-4


def test_gaussian_mixture_starts_like_a_standard_normal():
    grid = torch.linspace(-2.5, 2.5, 101).unsqueeze(-1)
    for components in (1, 2, 10):
        base = GaussianMixture(1, components)
        assert len(set(base.means[0].tolist())) == components
        error = (base.log_prob(grid).exp() - Normal(1).log_prob(grid).exp()).abs().max()
        assert error < 0.05  # of a peak of 0.4
        wide = torch.linspace(-12, 12, 100_001, dtype=torch.float64).unsqueeze(-1)
        density = base.double().log_prob(wide).exp()
        variance = (density * wide.squeeze(-1).square()).sum() / density.sum()
        assert abs(variance - 1) < 1e-5
    assert not list(GaussianMixture(1, 2, learned=False).parameters())


@pytest.mark.parametrize("batch", [(400,), (20, 20)])
def test_initialize_fits_position_and_spread(batch):
    x = torch.randn(*batch, 2) * torch.tensor([3.0, 0.01]) + torch.tensor([100.0, -1.0])
    rows = x.reshape(-1, 2)
    fits = []
    for base in (Normal(2, learned=True), StudentT(2, learned=True), GaussianMixture(2, 4)):
        base.initialize(x)
        fits.append(base.log_prob(x).mean())
    exact = distributions.Normal(rows.mean(0), rows.std(0, correction=0))
    best = exact.log_prob(x).sum(-1).mean()
    torch.testing.assert_close(fits[0], best, rtol=1e-3, atol=1e-3)
    assert all(abs(fit - best) < 0.2 for fit in fits)
    # Constant data, and one row, have no spread: the scale is left at 1.
    for base in (Normal(2, learned=True), GaussianMixture(2, 4)):
        base.initialize(torch.full((5, 2), 7.0))
        assert base.log_prob(torch.full((2,), 7.0)).isfinite()
        base.initialize(torch.full((1, 2), 7.0))
        assert base.log_prob(torch.full((2,), 7.0)) < 0
    fixed = Normal(2)
    fixed.initialize(x)
    assert torch.equal(fixed.log_prob(torch.zeros(2)), Normal(2).log_prob(torch.zeros(2)))


def test_initialize_reaches_the_base_of_a_flow():
    from diffeo.bijections.elementwise import Elementwise
    from diffeo.scalars.affine import Additive

    flow = Flow(Normal(2, learned=True), Elementwise(Additive(), (2,)))
    flow.initialize(torch.randn(500, 2) * 5 + 3)
    assert abs(flow.base.position.loc - 3).max() < 1


@pytest.mark.traced
@each
def test_log_prob_traces(case):
    base, context = case.drawn(), case.condition(6)
    x = base.sample((6,) if context is None else (), context)
    expected = base.log_prob(x, context)
    compiled = torch.compile(base, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(x, context), expected)
    if context is None:
        mapped = torch.vmap(base.log_prob)(x)
    else:
        mapped = torch.vmap(base.log_prob)(x, context)
    torch.testing.assert_close(mapped, expected)
    jacobian = torch.func.jacrev(base.log_prob)(x[0], None if context is None else context[0])
    assert jacobian.isfinite().all()
    torch._dynamo.reset()


@pytest.mark.traced
def test_log_prob_exports_with_any_batch():
    for base in (Normal(2, learned=True), StudentT(2, learned=True), GaussianMixture(2, 3)):
        redraw(base)
        batch = torch.export.Dim("batch", min=1)
        program = torch.export.export(
            base.eval(), (torch.randn(5, 2),), dynamic_shapes={"x": {0: batch}}
        )
        for n in (1, 3, 8):
            x = torch.randn(n, 2)
            torch.testing.assert_close(program.module()(x), base(x))


def test_choose_follows_the_weights():
    weights = torch.tensor([[0.0, 0.25, 0.75], [1.0, 0.0, 0.0]])
    u = torch.tensor([[0.1, 0.1], [0.3, 0.99], [0.2499, 1e-7], [0.9999, 1 - 2**-24]])
    chosen = choose(weights.log(), u)
    assert chosen.tolist() == [[1, 0], [2, 0], [1, 0], [2, 0]]


def test_noise_stays_inside():
    noise = Noise((200_000,), torch.float32, torch.device("cpu"), None)
    u = noise.uniform()
    assert (u.min() > 0) and (u.max() < 1)
    assert noise.gamma(0.01).min() > 0


@untyped
@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (lambda: Normal((0,)), ValueError, "positive"),
        (lambda: Normal("ab"), TypeError, "whole numbers"),
        (lambda: Normal((2.0,)), TypeError, "whole numbers"),
        (lambda: Normal((True,)), TypeError, "whole numbers"),
        (lambda: Normal(2.0), TypeError, "whole numbers"),
        (lambda: Normal((1, None), learned=True), ValueError, "known extents"),
        (lambda: ConditionalNormal((None,), context=2), ValueError, "known extents"),
        (lambda: GaussianMixture((None,)), ValueError, "known extents"),
        (lambda: GaussianMixture(2, 0), ValueError, "components"),
        (lambda: Uniform(2, 1.0, 1.0), ValueError, "lower < upper"),
        (lambda: Uniform(2, 0.0, math.inf), ValueError, "finite"),
        (lambda: Beta(2, 0.0, 1.0), ValueError, "positive"),
        (lambda: Beta(2, 1.0, math.nan), ValueError, "positive"),
        (lambda: StudentT(2, df=-1.0), ValueError, "positive"),
    ],
)
def test_bad_arguments_are_refused(build, error, message):
    with pytest.raises(error, match=message):
        build()
