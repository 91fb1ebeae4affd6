"""Contexts of sounds, from frames to samples."""

import pytest
import torch

from diffeo.nets.upsample import LEAST_SPREAD, Upsample, fit_condition
from tests.properties.draws import redraw


@pytest.mark.parametrize(
    ("hop", "strides", "overlap"),
    [
        (12, None, 2),
        (12, None, 4),
        (12, (3, 4), 2),
        (5, None, 3),
        (5, None, 2),
        (9, (3, 3), 4),
        (1, None, 1),
        (7, (7,), 1),
    ],
)
def test_starts_as_an_interpolation(hop, strides, overlap):
    """A constant is kept, away from the ends; every frame gives `hop` columns."""
    net = Upsample((2, None), hop, strides, overlap)
    values = torch.tensor([0.7, 3.0])
    y = net(values[:, None].expand(2, 20))
    assert y.shape == (2, 20 * hop)
    middle = y[:, 8 * hop : 12 * hop]
    torch.testing.assert_close(middle, values[:, None].expand_as(middle))


def test_a_frame_is_spread_around_its_samples():
    net = redraw(Upsample((1, None), 8, overlap=2))
    x = torch.randn(1, 10, requires_grad=True)
    reached = [
        [t for t in range(80) if torch.autograd.grad(net(x)[0, t], x)[0][0, f] != 0]
        for f in (0, 4, 9)
    ]
    assert reached == [list(range(12)), list(range(28, 44)), list(range(68, 80))]


@pytest.mark.parametrize("hop", [4, 5, 8])
@pytest.mark.parametrize("overlap", [2, 3, 4])
def test_a_frame_starts_as_a_window_around_the_middle_of_its_samples(hop, overlap):
    """Turned round, a frame and those beside it give the same."""
    net = Upsample((1, None), hop, None, overlap)
    frames = torch.zeros(1, 11)
    frames[0, 5] = 1.0
    y = net(frames)[0]
    torch.testing.assert_close(y, y.flip(0))
    assert y.argmax() in (5 * hop + (hop - 1) // 2, 5 * hop + hop // 2)


@pytest.mark.parametrize("strides", [None, (2, 3)])
def test_local_channels_are_standardized_by_the_data_shown(strides):
    torch.manual_seed(0)
    net = Upsample({"mel": (3, None), "speaker": (2,)}, 6, strides, standardize=True)
    plain = Upsample({"mel": (3, None), "speaker": (2,)}, 6, strides)
    plain.load_state_dict(net.state_dict(), strict=False)
    spread = torch.tensor([2.0, 0.5, 0.0])[:, None]
    mel = -8 + spread * torch.randn(40, 3, 30)
    context = {"mel": mel, "speaker": torch.eye(2)[torch.arange(40) % 2]}
    assert torch.equal(net(context), plain(context))
    net.initialize(context)
    least = LEAST_SPREAD * mel[:, 0].std()
    scaled = (mel - mel.mean((0, 2))[:, None]) / mel.std((0, 2))[:, None].clamp(min=least)
    expected = plain({**context, "mel": scaled})
    torch.testing.assert_close(net(context), expected, atol=2e-3, rtol=2e-3)
    before = net.state_dict()
    net.initialize({**context, "mel": 100 * mel})  # what was learned on stays
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_without_a_local_part_there_is_nothing_to_standardize():
    net = Upsample({"speaker": (4,)}, 256, standardize=True)
    net.initialize({"speaker": torch.eye(4)})
    assert not net.state_dict()


def test_no_frames_are_refused():
    net = Upsample({"mel": (3, None)}, 4)
    with pytest.raises(ValueError, match="mel must have 1 frame or more, got 0"):
        net({"mel": torch.zeros(3, 0)})


def test_vectors_are_beside_every_column():
    net = Upsample({"mel": (3, None), "speaker": (2,), "pitch": ()}, 4)
    mel, speaker, pitch = torch.randn(5, 3, 6), torch.eye(2)[[0, 1, 1, 0, 0]], torch.randn(5)
    y = net({"mel": mel, "speaker": speaker, "pitch": pitch})
    assert y.shape == (5, 6, 24) and net.channels == 6
    assert torch.equal(y[:, 3:5], speaker[:, :, None].expand(5, 2, 24))
    assert torch.equal(y[:, 5], pitch[:, None].expand(5, 24))
    torch.testing.assert_close(y[:, :3], Upsample((3, None), 4)(mel))


def test_vectors_alone_are_one_column():
    net = Upsample({"speaker": (4,)}, 256)
    assert net({"speaker": torch.eye(4)}).shape == (4, 4, 1)
    assert not list(net.parameters())
    assert Upsample(3)(torch.arange(3)).shape == (3, 1)


def test_batches_of_parts_broadcast():
    net = Upsample({"mel": (3, None), "speaker": (2,)}, 4)
    mel, speaker = torch.randn(1, 3, 6), torch.randn(5, 2)
    y = net({"mel": mel, "speaker": speaker})
    assert y.shape == (5, 5, 24)
    rows = [net({"mel": mel[0], "speaker": row}) for row in speaker]
    torch.testing.assert_close(y, torch.stack(rows))
    assert net({"mel": torch.randn(2, 1, 3, 6), "speaker": speaker}).shape == (2, 5, 5, 24)


def test_whole_numbers_become_numbers():
    net = Upsample({"mel": (3, None), "speaker": (2,)}, 4).double()
    y = net({"mel": torch.ones(3, 6, dtype=torch.long), "speaker": torch.tensor([0, 1])})
    assert y.dtype == torch.float64


@pytest.mark.parametrize(
    ("context", "options", "message"),
    [
        (None, {}, "there is no context"),
        ((2, 3, 4), {}, r"context must be a vector"),
        ((None, 3), {}, r"context must be a vector"),
        ((2, None), {"hop": 12, "strides": (3, 3)}, r"strides \(3, 3\) do not make up a hop of 12"),
        ((2, None), {"hop": 0}, "hop must be a positive"),
    ],
)
def test_options_are_checked(context, options, message):
    with pytest.raises(ValueError, match=message):
        Upsample(context, **options)


def test_local_parts_must_have_as_many_frames():
    net = Upsample({"mel": (3, None), "pitch": (1, None)}, 4)
    with pytest.raises(ValueError, match=r"numbers of frames: \{'mel': 5, 'pitch': 4\}"):
        net({"mel": torch.zeros(3, 5), "pitch": torch.zeros(1, 4)})


def test_conditions_are_cropped_and_never_stretched():
    c = torch.randn(2, 3, 10)
    assert torch.equal(fit_condition("x", c, 7), c[..., :7])
    assert fit_condition("x", c[..., :1], 7, local=False).shape == (2, 3, 1)
    with pytest.raises(ValueError, match=r"x: the frames .* cover 10 samples, and .* has 11"):
        fit_condition("x", c, 11)
    with pytest.raises(ValueError, match=r"cover 1 samples, and .* has 7"):
        fit_condition("x", c[..., :1], 7)
    with pytest.raises(ValueError, match=r"cover 80 samples, and .* has 88"):
        fit_condition("x", c, 11, group=8)
