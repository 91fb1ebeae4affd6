"""The steps of a WaveNet in C, beside those in PyTorch's operations."""

import pytest
import torch

import diffeo
from diffeo.autoregressive import AutoregressiveDensity
from diffeo.bijections import Autoregressive
from diffeo.draws import Noise
from diffeo.nets import wavenet as module
from diffeo.nets.causal import watch_steps
from diffeo.nets.wavenet import WaveNet, WaveNetStepper, WaveNetStepperInC
from diffeo.scalars import Affine, RationalQuadraticSpline
from diffeo.sound_heads import GaussianHead, LogisticMixtureHead, MuLawHead
from tests.properties.draws import redraw

LENGTH = 40
SHAPES = [
    {},
    {"skip": 5, "width": 3, "gate": 20},
    {"skip": 40, "residual": 40, "gate": 17, "exit": "linear"},
    {"cycle": None, "layers": 6, "weight_norm": True},
    {"linear": 5, "residual": 20},
]
HEADS = [LogisticMixtureHead(3), LogisticMixtureHead(1, 8), GaussianHead(), MuLawHead(16)]


def made(num_params: int = 2, **options) -> WaveNet:
    chosen = {"layers": 5, "residual": 7, "cycle": 3, **options}
    return redraw(WaveNet(num_params, **chosen)).eval()  # type: ignore[return-value]


def needs_c(net: WaveNet) -> None:
    with torch.no_grad():
        if not net.steps_in_c:
            pytest.skip("there is no C compiler")


@pytest.fixture(params=["none", "global", "one", "local"])
def columns(request, monkeypatch) -> int:
    """Columns of the condition; those of local ones come in several calls."""
    monkeypatch.setattr(module, "MOST_STEPS", 16)
    return {"none": 0, "global": 1, "one": LENGTH, "local": LENGTH + 5}[request.param]


def condition(columns: int, batch: tuple[int, ...]) -> torch.Tensor | None:
    own = () if columns == LENGTH else batch
    return torch.randn(*own, 2, columns) if columns else None


@torch.no_grad()
@pytest.mark.parametrize("options", SHAPES, ids=str)
@pytest.mark.parametrize("rows", [1, 3, 9])
@pytest.mark.parametrize("levels", [0, 16])
def test_steps_are_the_same(options, rows, levels, columns):
    if levels and "linear" in options:
        pytest.skip("codes are not predicted linearly")
    net = made(3, context=2 if columns else 0, local=columns != 1, levels=levels, **options)
    net.unit.fill_(0.3)
    needs_c(net)
    c = condition(columns, (rows,))
    one = net.stepper((rows,), c)
    shared = module._Shared(net, (rows,), c)
    other = WaveNetStepper(shared, shared.empty_queues(), shared.nothing_yet())
    assert isinstance(one, WaveNetStepperInC)
    values = None
    for _ in range(LENGTH):
        found, one = one.step(values)
        expected, other = other.step(values)
        torch.testing.assert_close(found, expected, atol=2e-5, rtol=2e-5)
        values = 2 * torch.rand(rows, 1) - 1
    assert expected.std() > 0.01


@torch.no_grad()
@pytest.mark.parametrize("head", HEADS, ids=lambda head: f"{type(head).__name__}")
@pytest.mark.parametrize("temperature", [1.0, 0.5, 0.0])
@pytest.mark.parametrize("batch", [(), (6,)], ids=str)
def test_draws_are_the_same_from_the_same_noise(head, temperature, batch, columns, monkeypatch):
    levels = head.levels if isinstance(head, MuLawHead) else 0
    net = made(head.num_params, context=2 if columns else 0, local=columns != 1, levels=levels)
    needs_c(net)
    model, c = AutoregressiveDensity(net, head), condition(columns, batch)
    arguments = {"temperature": temperature, "event_shape": (1, LENGTH)}
    n = () if columns not in (0, LENGTH) else batch
    found, scored = model.sample_and_log_prob(
        n, c, generator=torch.Generator().manual_seed(1), **arguments
    )
    monkeypatch.setattr(WaveNet, "steps_in_c", False)
    expected, log_prob = model.sample_and_log_prob(
        n, c, generator=torch.Generator().manual_seed(1), **arguments
    )
    assert found.shape == (*batch, 1, LENGTH)
    # A sample may be rounded to the level beside.
    width = getattr(head, "width", 0.0)
    torch.testing.assert_close(found, expected, atol=1.01 * width, rtol=0)
    same = (found == expected).float().mean()
    assert same > 0.9, f"only {same:.0%} of the samples are at the same levels"
    torch.testing.assert_close(scored, model.log_prob(found, c))
    assert temperature == 0 or found.std() > 0.003
    del log_prob


@torch.no_grad()
@pytest.mark.parametrize("scalar", [Affine(), RationalQuadraticSpline(4)])
@pytest.mark.parametrize("batch", [(), (2, 3)], ids=str)
def test_inverses_are_the_same(scalar, batch, columns, monkeypatch):
    net = made(scalar.num_params, context=2 if columns else 0, local=columns != 1)
    needs_c(net)
    flow, c = Autoregressive(scalar, net), condition(columns, batch)
    z = torch.randn(*batch, 1, LENGTH)
    assert flow._inverse_in_c(z) is not None
    x, ladj = flow.inverse(z, c)
    monkeypatch.setattr(WaveNet, "steps_in_c", False)
    expected, log_slope = Autoregressive(scalar, net, solver="step").inverse(z, c)
    torch.testing.assert_close(x, expected, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(ladj, log_slope, atol=1e-3, rtol=1e-4)
    again, back = flow(x, c)
    torch.testing.assert_close(again, z, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(back, -ladj, atol=1e-3, rtol=1e-4)


def test_codes_are_not_drawn_by_other_heads():
    net = made(9, levels=16)
    with torch.no_grad():
        needs_c(net)
        head = LogisticMixtureHead(3)
        assert not net.stepper((), None).draws(head.in_c())  # type: ignore[attr-defined]
        x = AutoregressiveDensity(net, head).sample(2, event_shape=(1, 5))
    assert x.shape == (2, 1, 5)


def test_other_dtypes_and_gradients_take_the_definition():
    net = made()
    assert isinstance(net.stepper(()), WaveNetStepper)  # gradients are recorded
    with torch.no_grad():
        assert isinstance(net.double().stepper(()), WaveNetStepper)
        assert isinstance(net.float().stepper((0,)), WaveNetStepper)


@torch.no_grad()
def test_walks_can_be_watched_and_interrupted(monkeypatch):
    monkeypatch.setattr(module, "MOST_STEPS", 16)
    model = diffeo.create("wavenet", shape=(1, None), layers=2, residual=4)
    seen: list[tuple[int, int]] = []
    for part in (model, model.double()):
        seen.clear()
        with watch_steps(lambda *counts: seen.append(counts)):
            part.sample(event_shape=(1, LENGTH))
        assert seen[-1] == (LENGTH, LENGTH)
        assert [done for done, _ in seen] == sorted({done for done, _ in seen})
    assert len(seen) == LENGTH

    def stop(done: int, steps: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), watch_steps(stop):
        model.float().sample(event_shape=(1, LENGTH))


@torch.no_grad()
def test_far_values_and_nan_stay_what_they_are():
    net = made()
    needs_c(net)
    state = net.stepper((3,))
    _, state = state.step(None)
    params, state = state.step(torch.tensor([[1e30], [float("nan")], [0.1]]))
    assert params[0].isfinite().all() and params[2].isfinite().all()
    assert params[1].isnan().all()


def test_noise_is_drawn_for_all_steps_at_once():
    head = LogisticMixtureHead(2)
    source = Noise((5, 3, 1), torch.float32, torch.device("cpu"), torch.Generator().manual_seed(0))
    noise = head.noise(source)
    assert noise.shape == (5, 3, 1, head.numbers)
    assert noise[..., 0].min() > 0 and noise[..., 0].max() < 1


@torch.no_grad()
@pytest.mark.parametrize("head", HEADS, ids=lambda head: f"{type(head).__name__}")
@pytest.mark.parametrize(("wrong", "temperature"), [("nan", 1.0), ("nan", 0.0), ("inf", 1.0)])
@pytest.mark.parametrize("in_c", [True, False])
def test_weights_that_are_no_numbers_draw_none(head, wrong, temperature, in_c, monkeypatch):
    net = made(head.num_params, levels=head.levels if isinstance(head, MuLawHead) else 0)
    if in_c:
        needs_c(net)
    else:
        monkeypatch.setattr(WaveNet, "steps_in_c", False)
    if wrong == "inf" and head.num_params < 6:
        pytest.skip("there is nothing to choose from")  # one Gaussian, or one logistic
    net.stack.last.bias[0] = float(wrong)
    x = AutoregressiveDensity(net, head).sample(temperature=temperature, event_shape=(1, 5))
    assert x.isnan().all()


@torch.no_grad()
def test_draws_with_a_linear_map_and_a_unit_are_the_same(monkeypatch):
    head = LogisticMixtureHead(3)
    net = made(head.num_params, linear=4)
    net.linear.weight.mul_(0.1)
    net.unit.fill_(0.2)
    head.unit.fill_(0.05)
    needs_c(net)
    model = AutoregressiveDensity(net, head)
    found = model.sample(5, generator=torch.Generator().manual_seed(1), event_shape=(1, LENGTH))
    monkeypatch.setattr(WaveNet, "steps_in_c", False)
    again = model.sample(5, generator=torch.Generator().manual_seed(1), event_shape=(1, LENGTH))
    torch.testing.assert_close(found, again, atol=1.01 * head.width, rtol=0)
    assert found.std() > 0.01 and found.abs().max() < 1
