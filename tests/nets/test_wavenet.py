"""WaveNets: what they see, and cached generation against naive recomputation."""

import pytest
import torch

from diffeo.autoregressive import AutoregressiveDensity
from diffeo.nets.wavenet import WaveNet
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
    channels = 2 if columns else 0
    levels = head.levels if isinstance(head, MuLawHead) else 0
    net = made(head.num_params, dtype, width=width, context=channels, levels=levels, **options)
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
    assert expected.std() > 0.01
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
    with pytest.raises(ValueError, match=r"covers 10 samples"):
        state.step(values)


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
