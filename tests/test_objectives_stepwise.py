"""Objectives of steps: stacks of inverse autoregressive maps, known conditionals, closed forms."""

import math

import pytest
import torch
from torch import nn

import diffeo
from diffeo.affine_stack import AffineStack, entropy_of_element
from diffeo.autoregressive import AutoregressiveDensity, GaussianMixtureHead
from diffeo.bases import GaussianMixture, Logistic, Normal, StudentT
from diffeo.bijections import (
    ActNorm,
    Autoregressive,
    Chain,
    FixedAffine,
    Inverse,
    Permutation,
    Standardize,
)
from diffeo.density import Flow
from diffeo.nets.made import MADE
from diffeo.objectives import (
    feature_loss,
    gaussian_stepwise_kl,
    mean_power,
    power_loss,
    stepwise_kl,
)
from diffeo.scalars import Affine, RationalQuadraticSpline
from diffeo.sound_heads import GaussianHead, LogisticMixtureHead, MuLawHead
from diffeo.steps import StepDensity
from tests.properties.draws import redraw

BASES = {
    "normal": lambda: Normal(3),
    "learned normal": lambda: Normal(3, learned=True),
    "logistic": lambda: Logistic(3),
    "student t": lambda: StudentT(3, df=7.0),
    "learned student t": lambda: StudentT(3, df=7.0, learned=True),
}


def steps(order="forward", context=0, scalar=None):
    tau = scalar or Affine()
    return Autoregressive(tau, MADE(3, tau.num_params, (8,), context, order))


def stack(base="normal", context=0):
    """Two inverse autoregressive maps, a shift and scale before, between and behind them."""
    torch.manual_seed(3)
    first, last = ActNorm(3), Standardize(3)
    first.initialized.fill_(True)
    last.mean.copy_(torch.tensor([1.0, -2.0, 0.5]))
    last.std.copy_(torch.tensor([0.5, 2.0, 3.0]))
    parts = (last, Inverse(steps(context=context)), FixedAffine(2.0, 1.0), first)
    flow = Flow(BASES[base](), Chain(*parts, Inverse(steps(context=context))))
    return redraw(flow, 0.3).double().eval()


def teacher(base="normal", **options):
    """One autoregressive map with shifts and scales on both sides."""
    torch.manual_seed(4)
    parts = (FixedAffine(0.5, -1.0), steps(**options), ActNorm(3))
    return redraw(Flow(BASES[base](), Chain(*parts)), 0.3).double().eval()


@pytest.mark.parametrize("base", BASES)
def test_a_stack_is_its_flow(base):
    flow = stack(base)
    draw = AffineStack(flow).draw(200, samples=3)
    assert draw.others.shape == (3, 200, 3)
    torch.testing.assert_close(draw.others[0], draw.x)
    z = flow.encode(draw.x)
    torch.testing.assert_close(draw.loc + draw.log_scale.exp() * z, draw.x)
    log_prob = flow.base.log_prob(z) - draw.log_scale.sum(-1)
    torch.testing.assert_close(flow.log_prob(draw.x), log_prob)


@pytest.mark.parametrize("base", BASES)
def test_values_of_a_step_share_the_past(base):
    """With the first values of z put back, other values of x_t are x's own."""
    flow = stack(base)
    draw = AffineStack(flow).draw(50, samples=4)
    z = flow.encode(draw.x)
    for t in range(3):
        other = draw.others[2, :, t]
        moved = z.clone()
        moved[:, t] = (other - draw.loc[:, t]) * (-draw.log_scale[:, t]).exp()
        torch.testing.assert_close(flow.decode(moved)[:, : t + 1][:, t], other)
        torch.testing.assert_close(flow.decode(moved)[:, :t], draw.x[:, :t])


def test_a_stack_takes_contexts():
    flow, context = stack(context=2), torch.randn(5, 2, dtype=torch.float64)
    draw = AffineStack(flow).draw((), context, samples=2)
    z = flow.encode(draw.x, context)
    torch.testing.assert_close(draw.loc + draw.log_scale.exp() * z, draw.x)
    assert AffineStack(flow).draw(7, context).x.shape == (7, 5, 3)


@pytest.mark.parametrize("base", BASES)
def test_entropy_is_minus_the_mean_of_log_prob(base):
    flow = stack(base)
    torch.manual_seed(0)
    with torch.no_grad():
        draw = AffineStack(flow).draw(40_000)
        exact = AffineStack(flow).entropy(draw)
        sampled = -flow.log_prob(draw.x)
    error = float((exact - sampled).std()) / 200
    assert abs(float(exact.mean() - sampled.mean())) < 4 * error


def test_entropies_of_elements():
    assert float(entropy_of_element(Logistic(1))) == 2.0
    assert float(entropy_of_element(Normal(1))) == pytest.approx(0.5 * math.log(2 * math.pi) + 0.5)
    # A Cauchy's is log 4π.
    assert float(entropy_of_element(StudentT(1, df=1.0))) == pytest.approx(math.log(4 * math.pi))
    with pytest.raises(ValueError, match="no closed form"):
        entropy_of_element(GaussianMixture(1))


@pytest.mark.parametrize(
    "flow",
    [
        lambda: teacher("normal"),
        lambda: teacher("logistic"),
        lambda: teacher("learned student t"),
        lambda: teacher("normal", order="reverse"),
        lambda: teacher("normal", scalar=RationalQuadraticSpline(4)),
        lambda: (
            redraw(AutoregressiveDensity(MADE(3, 6, (8,)), GaussianMixtureHead(2)), 0.3)
            .double()
            .eval()
        ),
    ],
)
def test_steps_add_up_to_the_density(flow):
    flow = flow()
    x = flow.sample(20)
    found = StepDensity(flow).steps(x)
    torch.testing.assert_close(found.log_density(x).sum(-1), flow.log_prob(x))
    # Another value in place of x_t changes the factors from t on; its own is what is asked for.
    for t in range(3):
        order = [int(i) for i in StepDensity(flow).net.to_positions(torch.arange(3)).flatten()]
        changed = x.clone()
        changed[:, order[t]] += 0.7
        own = found.log_density(changed)[:, order[t]]
        exact = StepDensity(flow).steps(changed).log_density(changed)[:, order[t]]
        torch.testing.assert_close(own, exact)
    several = found.log_density(x.expand(4, 20, 3))
    torch.testing.assert_close(several[2], found.log_density(x))


@pytest.mark.parametrize("base", ["normal", "learned normal"])
def test_gaussian_steps_have_their_moments(base):
    flow = teacher(base)
    x = flow.sample(20)
    found = StepDensity(flow).steps(x)
    mean, log_deviation = found.gaussian
    exact = torch.distributions.Normal(mean, log_deviation.exp()).log_prob(x)
    torch.testing.assert_close(found.log_density(x), exact)
    assert StepDensity(teacher("logistic")).steps(x).gaussian is None


@pytest.mark.parametrize("head", [GaussianHead(16), LogisticMixtureHead(3, 16)])
def test_heads_of_intervals_have_the_density_behind_them(head):
    density = redraw(AutoregressiveDensity(MADE(3, head.num_params, (8,)), head), 0.3)
    x = density.eval().sample(20)
    found = StepDensity(density).steps(x)
    mass = density.log_prob(x) - 3 * math.log(2.0**-15)
    torch.testing.assert_close(found.log_density(x).sum(-1), mass, atol=1e-2, rtol=1e-3)
    assert (found.gaussian is None) == isinstance(head, LogisticMixtureHead)


@pytest.mark.parametrize("student", ["normal", "learned normal"])
@pytest.mark.parametrize("target", ["normal", "learned normal"])
def test_the_closed_form_is_what_samples_give(student, target):
    flow, other = AffineStack(stack(student)), StepDensity(teacher(target))
    torch.manual_seed(0)
    with torch.no_grad():
        draw = flow.draw(20_000, samples=4)
        closed = gaussian_stepwise_kl(flow, draw, other.steps(draw.x))
        sampled = stepwise_kl(flow, draw, other.steps(draw.x))
        whole = flow.flow.log_prob(draw.x) - other.density.log_prob(draw.x)
        penalized = gaussian_stepwise_kl(flow, draw, other.steps(draw.x), 4.0)
    for estimate in (sampled, whole):
        error = float((estimate - closed).std()) / math.sqrt(20_000)
        assert abs(float(estimate.mean() - closed.mean())) < 4 * error
    assert (closed >= -1e-9).all()
    assert (penalized > closed).all()
    (_, own), (_, theirs) = flow.gaussians(draw), other.steps(draw.x).gaussian
    torch.testing.assert_close(penalized - closed, 4 * (own - theirs).square().sum(-1))


def test_estimators_have_the_gradient_of_whole_samples():
    """Of 40,000 draws, each gradient to a tenth of the largest."""
    flow, other = stack("logistic"), teacher("logistic")
    learner, target = AffineStack(flow), StepDensity(other)
    gradients = []
    for way in ("steps", "samples"):
        flow.zero_grad()
        torch.manual_seed(0)
        if way == "steps":
            draw = learner.draw(40_000, samples=2)
            loss = stepwise_kl(learner, draw, target.steps(draw.x)).mean()
        else:
            x, log_q = flow.sample_and_log_prob(40_000, gradients=True)
            loss = (log_q - other.log_prob(x)).mean()
        loss.backward()
        gradients.append(torch.cat([p.grad.flatten() for p in flow.parameters()]))
    assert float((gradients[0] - gradients[1]).abs().max()) < 0.1 * float(gradients[1].abs().max())


def test_closed_forms_need_gaussians():
    learner, target = AffineStack(stack("logistic")), StepDensity(teacher())
    draw = learner.draw(2)
    with pytest.raises(ValueError, match="must be Gaussian"):
        gaussian_stepwise_kl(learner, draw, target.steps(draw.x))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: AutoregressiveDensity(MADE(3, 3, (8,)), GaussianMixtureHead(1)), "is no flow"),
        (lambda: Flow(GaussianMixture(3), Inverse(steps())), "base is a GaussianMixture"),
        (lambda: Flow(Normal(3), steps()), "no affine inverse autoregressive"),
        (lambda: Flow(Normal(3), Chain(Permutation([2, 1, 0]), Inverse(steps()))), "Permutation"),
        (lambda: Flow(Normal(3), FixedAffine(-1.0)), "FixedAffine"),
        (lambda: Flow(Normal(3), Standardize(3)), "no autoregressive map"),
        (
            lambda: Flow(Normal(3), Inverse(steps(scalar=RationalQuadraticSpline(4)))),
            "not affine: RationalQuadraticSpline",
        ),
    ],
)
def test_what_is_no_stack(build, message):
    with pytest.raises(ValueError, match=message):
        AffineStack(build())


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: diffeo.create("maf", features=3, transforms=2), "not one autoregressive map"),
        (lambda: diffeo.create("realnvp", features=3), "not one autoregressive map"),
        (lambda: Normal(3), "no steps that are known"),
        (
            lambda: AutoregressiveDensity(MADE(3, 4, (8,)), MuLawHead(4)),
            "MuLawHead, is discrete",
        ),
    ],
)
def test_what_has_no_known_steps(build, message):
    with pytest.raises(ValueError, match=message):
        StepDensity(build())


def test_orders_are_told_apart():
    same = AffineStack(stack())
    assert same.in_order_of(MADE(3, 2), (3,))
    assert not same.in_order_of(MADE(3, 2, order="reverse"), (3,))
    mixed = Flow(Normal(3), Chain(Inverse(steps()), Inverse(steps("reverse"))))
    assert not AffineStack(mixed).in_order_of(MADE(3, 2), (3,))


def test_power_of_noise_and_of_a_tone():
    torch.manual_seed(0)
    noise = 0.5 * torch.randn(400, 256)
    assert torch.allclose(mean_power(noise, 32), torch.tensor(0.25), atol=0.02)
    tone = torch.sin(2 * math.pi * torch.arange(256) * 4 / 32)
    assert int(mean_power(tone, 32).argmax()) == 4
    assert float(power_loss(noise, noise)) == 0
    assert float(power_loss(2 * noise, noise, 32)) == pytest.approx(9.0, rel=1e-5)
    torch.testing.assert_close(
        power_loss(3 * tone, noise, 32), power_loss(30 * tone, 10 * noise, 32)
    )
    with pytest.raises(ValueError, match="as long as the reference"):
        power_loss(noise, noise[:, :100])
    with pytest.raises(ValueError, match="must be positive"):
        mean_power(noise, 32, 0)


def test_features_and_their_gram_matrices():
    torch.manual_seed(0)
    net = nn.Conv1d(1, 3, 5)
    x, y = torch.randn(4, 1, 40, requires_grad=True), torch.randn(4, 1, 40)
    exact = (net(x) - net(y)).square().mean()
    torch.testing.assert_close(feature_loss(x, y, net), exact)
    torch.testing.assert_close(feature_loss(x, y, lambda s: [net(s), net(s)]), 2 * exact)
    of_x, of_y = (net(signal) @ net(signal).mT / 36 for signal in (x, y))
    torch.testing.assert_close(feature_loss(x, y, net, gram=True), (of_x - of_y).square().mean())
    feature_loss(x, y, net).backward()
    assert x.grad.abs().sum() > 0
    with pytest.raises(ValueError, match="Gram matrices need features"):
        feature_loss(x, y, lambda s: s.mean(-1), gram=True)
