"""WaveNets: what they see, and cached generation against naive recomputation."""

import math

import pytest
import torch

import diffeo
from diffeo.autoregressive import AutoregressiveDensity
from diffeo.nets.wavenet import WaveNet, linear_prediction
from diffeo.sound_heads import GaussianHead, LogisticMixtureHead, MuLawHead
from tests.properties.draws import redraw

LENGTH = 24
DTYPES = pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)


def made(num_params: int = 2, dtype: torch.dtype = torch.float64, **options) -> WaveNet:
    chosen = {"layers": 4, "residual": 6, "cycle": 3, **options}
    return redraw(WaveNet(num_params, **chosen)).to(dtype).eval()  # type: ignore[return-value]


def naive(model: AutoregressiveDensity, context, batch, temperature, generator) -> torch.Tensor:
    """Samples by a parallel pass over all that there is, for each."""
    x = torch.zeros(*batch, 1, LENGTH, dtype=next(model.parameters()).dtype)
    for t in range(LENGTH):
        params = model.net(x, context)[..., t, :]
        x[..., t] = model.head.sample(params, temperature, generator)
    return x


@DTYPES
@pytest.mark.parametrize(
    "head", [LogisticMixtureHead(3), GaussianHead(), MuLawHead(16)], ids=lambda h: type(h).__name__
)
@pytest.mark.parametrize("width", [2, 3])
@pytest.mark.parametrize("batch", [(), (1,), (2, 3)], ids=str)
@pytest.mark.parametrize("context", ["none", "global", "local", "one"])
@torch.no_grad()
def test_cached_generation_is_naive_recomputation(dtype, head, width, batch, context):
    columns = {"none": 0, "global": 1, "local": LENGTH + 3, "one": LENGTH}[context]
    options = {"skip": 5} if batch else {"gate": 4}
    options |= {"linear": 3} if width == 3 and not isinstance(head, MuLawHead) else {}
    channels = 2 if columns else 0
    levels = head.levels if isinstance(head, MuLawHead) else 0
    options |= {"context": channels, "local": columns != 1}
    net = made(head.num_params, dtype, width=width, levels=levels, **options)
    model = AutoregressiveDensity(net, head.to(dtype))
    own = () if context == "one" else batch
    c = torch.randn(*own, 2, columns, dtype=dtype) if columns else None
    seeds = [torch.Generator().manual_seed(3) for _ in range(2)]
    expected = naive(model, c, batch, 1.0, seeds[0])
    positions, values = model.net.positions_of((1, LENGTH)), None
    state, drawn = model.net.stepper(batch, c), []
    for _ in range(positions):
        params, state = state.step(values)
        values = model.head.sample(params, 1.0, seeds[1])
        drawn.append(values)
    found = torch.stack(drawn, -1)
    assert expected.std() > 0.003
    level = 0.0 if dtype == torch.float64 else 4 * 2.0**-15
    torch.testing.assert_close(found, expected, atol=level + 1e-12, rtol=0)


def test_the_receptive_field_of_30_layers_is_3070_samples():
    net = made(layers=30, cycle=10, residual=4, skip=4)
    assert net.receptive_field == 3070
    x = torch.randn(1, 3200, dtype=torch.float64, requires_grad=True)
    of_x = torch.autograd.grad(net(x)[0, 3150].sum(), x)[0][0]
    assert of_x.nonzero().flatten().tolist() == list(range(3150 - 3070, 3150))


def test_codes_as_inputs_know_no_more_than_the_code():
    net = made(levels=8)
    x = torch.tensor([[[0.0, 0.5, -0.9, 0.1, 0.3]]], dtype=torch.float64)
    beside = x + 1e-3
    assert torch.equal(net(x), net(beside))
    assert not torch.equal(net(x), net(-x))


def test_far_samples_count_as_less_far():
    net = made()
    far = torch.full((1, 8), 1e30, dtype=torch.float64)
    assert net(far).isfinite().all()
    assert torch.equal(net(far), net(far * 1e30))


@torch.no_grad()
def test_a_condition_that_ends_too_soon_is_refused():
    net, c = made(context=2), torch.randn(2, 10, dtype=torch.float64)
    x = torch.zeros(1, 11, dtype=torch.float64)
    with pytest.raises(ValueError, match=r"cover 10 samples, and the sound has 11"):
        net(x, c)
    state, values = net.stepper((), c), None
    for _ in range(10):
        _, state = state.step(values)
        values = torch.zeros(1, dtype=torch.float64)
    with pytest.raises(ValueError, match=r"cover 10 samples, and the sound has 11"):
        state.step(values)


@torch.no_grad()
def test_one_column_of_a_local_condition_serves_one_sample():
    """Drawn in PyTorch's operations and in C; one that is for all is declared so."""
    c, head = torch.randn(2, 1), LogisticMixtureHead(3)
    model = AutoregressiveDensity(made(head.num_params, torch.float32, context=2), head)
    wide = AutoregressiveDensity(made(head.num_params, context=2), head).double()
    for density, given in ((model, c), (wide, c.double())):
        with pytest.raises(ValueError, match=r"cover 1 samples, and the sound has \d+"):
            density.sample((), given, event_shape=(1, 5))
        with pytest.raises(ValueError, match=r"cover 1 samples, and the sound has 5"):
            density.log_prob(torch.zeros(1, 5, dtype=given.dtype), given)
        assert density.sample((), given, event_shape=(1, 1)).shape == (1, 1)
    for_all = AutoregressiveDensity(made(head.num_params, context=2, local=False), head).double()
    assert for_all.sample((), c.double(), event_shape=(1, 5)).shape == (1, 5)
    with pytest.raises(ValueError, match=r"must have shape \(\*batch, 2, 1\)"):
        for_all.log_prob(torch.zeros(1, 5).double(), torch.zeros(2, 5).double())


def test_the_future_of_a_condition_is_not_looked_at():
    """A column reaches its own sample and those after it."""
    net = made(context=1)
    x = torch.randn(1, 8, dtype=torch.float64)
    c = torch.randn(1, 8, dtype=torch.float64, requires_grad=True)
    of_c = torch.autograd.grad(net(x, c)[0, 5].sum(), c)[0][0]
    assert of_c[5] != 0 and not of_c[6:].any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"levels": 1}, "levels must be 2 or more"),
        ({"num_params": 0}, "num_params must be a positive"),
        ({"layers": 2.5}, "layers must be a positive whole number"),
    ],
)
def test_options_are_checked(options, message):
    with pytest.raises(ValueError, match=message):
        made(**options)


def tones(rows: int = 3, samples: int = 4000) -> torch.Tensor:
    """A process x_t = 1.6 x_{t−1} − 0.8 x_{t−2} + e_t. Shape (rows, 1, samples)."""
    noise = 0.01 * torch.randn(samples, rows, dtype=torch.float64)
    x = [torch.zeros(rows, dtype=torch.float64)] * 2
    for each in noise:
        x.append(1.6 * x[-1] - 0.8 * x[-2] + each)
    return torch.stack(x[2:], -1).unsqueeze(1)


def test_linear_prediction_has_the_least_squared_error():
    x = tones(samples=500)
    found = linear_prediction(x, 4)
    padded = torch.nn.functional.pad(x, (4, 4))[:, 0]
    past = padded.unfold(-1, 5, 1)
    best = torch.linalg.lstsq(past[..., :4].flatten(0, 1), past[..., 4].flatten()).solution
    torch.testing.assert_close(found, best.flip(0), atol=1e-5, rtol=1e-5)
    truth = torch.tensor([1.6, -0.8, 0, 0], dtype=torch.float64)
    torch.testing.assert_close(linear_prediction(tones(), 4), truth, atol=0.05, rtol=0)


def test_linear_prediction_of_silence_is_zero_and_few_samples_are_enough():
    assert torch.equal(linear_prediction(torch.zeros(2, 1, 9), 3), torch.zeros(3).double())
    assert linear_prediction(torch.ones(1, 2), 5).isfinite().all()
    constant = linear_prediction(torch.ones(1, 1, 100_000), 5)
    assert constant.isfinite().all() and abs(constant.sum() - 1) < 1e-3


@pytest.mark.parametrize("head", [LogisticMixtureHead(1), GaussianHead()], ids=str)
@pytest.mark.parametrize("loudness", [1.0, 1e-3])
def test_means_start_as_the_linear_prediction(head, loudness):
    x = (loudness * tones()).float()
    net = WaveNet(head.num_params, layers=2, residual=4, linear=4)
    model = AutoregressiveDensity(net, head)
    model.initialize(x)
    params = net(x)
    means = head.unpack(params)[1] if isinstance(head, LogisticMixtureHead) else params[..., :1]
    means = means[..., 0] * (1 if isinstance(head, LogisticMixtureHead) else head.unit)
    left = (x - means).square().mean().sqrt() / loudness
    assert 0.0095 < left < 0.0105, "not the noise of the process"


def test_a_density_of_sounds_starts_in_the_unit_of_the_data():
    x, bits = tones().float(), []
    for loudness in (1.0, 2.0**-6):
        torch.manual_seed(0)
        model = diffeo.create("wavenet", shape=(1, None), layers=2, residual=4)
        before = model.log_prob(loudness * x).mean()
        model.initialize(loudness * x)
        after = model.log_prob(loudness * x).mean()
        assert after > before + 100
        bits.append(float(-after.detach() / x.shape[-1]) / math.log(2))
    # Quieter by 6 bits; there the intervals are as wide as the noise and cost a little more.
    assert bits[0] - bits[1] == pytest.approx(6, abs=0.05)


def test_codes_are_not_predicted_linearly():
    with pytest.raises(ValueError, match="0 where inputs are codes, got 4"):
        WaveNet(8, levels=8, linear=4)


def test_the_linear_map_may_see_farther_than_the_layers():
    assert made(layers=3, linear=2).receptive_field == 8
    net = made(layers=3, linear=20)
    assert net.receptive_field == 20
    x = torch.randn(1, 40, dtype=torch.float64, requires_grad=True)
    of_x = torch.autograd.grad(net(x)[0, 35].sum(), x)[0][0]
    assert of_x.nonzero().flatten().tolist() == list(range(35 - 20, 35))
