"""Gated convolutions of sequences."""

import pickle

import pytest
import torch
from torch import Tensor

from diffeo.nets.gated import GatedConvolutions, SequenceConv
from tests.properties.draws import redraw

CAUSAL = [True, False]


def made(**options) -> GatedConvolutions:
    chosen = {"layers": 4, "residual": 5, "width": 3, "cycle": 3, **options}
    return redraw(GatedConvolutions(2, 3, **chosen)).double()  # type: ignore[return-value]


def reach(net: GatedConvolutions, at: int, length: int) -> list[int]:
    """The columns of x that column `at` of y depends on."""
    x = torch.randn(1, 2, length, dtype=torch.float64, requires_grad=True)
    of_x = torch.autograd.grad(net(x)[0, :, at].sum(), x)[0]
    return of_x[0].abs().amax(0).nonzero().flatten().tolist()


@pytest.mark.parametrize(
    ("options", "past"),
    [
        ({"width": 2, "layers": 3}, 1 + 2 + 4),
        ({"width": 3, "layers": 4, "cycle": 3, "skip": 4}, 2 * (1 + 2 + 4 + 1)),
        ({"width": 2, "layers": 4, "cycle": None, "exit": "relu", "skip": 6}, 15),
    ],
)
def test_causal_ones_see_the_receptive_field_and_no_more(options, past):
    net = made(**options)
    assert net.receptive_field == past + 1
    assert reach(net, 20, 30) == list(range(20 - past, 21))


def test_others_see_as_much_of_both_sides():
    net = made(causal=False, skip=4)
    assert net.receptive_field == 1 + 2 * 8
    assert reach(net, 15, 30) == list(range(15 - 8, 15 + 9))


@pytest.mark.parametrize("skip", [None, 4])
@pytest.mark.parametrize("exit_", ["linear", "relu"])
def test_starts_at_zero_if_told(skip, exit_):
    x = torch.randn(2, 2, 9)
    assert not GatedConvolutions(2, 3, 3, 5, skip, exit=exit_)(x).any()
    assert GatedConvolutions(2, 3, 3, 5, skip, exit=exit_, zero=False)(x).abs().min() > 0


def test_the_formulas():
    """Of two layers, written out."""
    net = made(layers=2, width=2, skip=4, context_channels=1, exit="relu", gate=6)
    x, c = torch.randn(1, 2, 7, dtype=torch.float64), torch.randn(1, 1, 7, dtype=torch.float64)

    def weight(part: object) -> Tensor:
        assert isinstance(part, SequenceConv)
        return part.taps

    def at_one(part: object, h: Tensor) -> Tensor:
        return torch.einsum("oi,bit->bot", weight(part)[:, :, 0], h)

    h, s = at_one(net.entry, x) + net.entry.bias[:, None], 0.0
    for i, dilation in enumerate((1, 2)):
        before = torch.cat([torch.zeros(1, 5, dilation).double(), h[..., :-dilation]], -1)
        taps = weight(net.gates[i])
        a = torch.einsum("oi,bit->bot", taps[..., 0], before)
        a = a + torch.einsum("oi,bit->bot", taps[..., 1], h) + at_one(net.conditions[i], c)
        a = a + net.gates[i].bias[:, None]  # type: ignore[index]
        z = torch.tanh(a[:, :6]) * torch.sigmoid(a[:, 6:])
        mixed = at_one(net.mixes[i], z) + net.mixes[i].bias[:, None]  # type: ignore[index]
        h, s = (h + mixed[:, :5], s + mixed[:, 5:]) if i == 0 else (h, s + mixed)
    hidden = torch.relu(at_one(net.hidden, torch.relu(s)) + net.hidden.bias[:, None])  # type: ignore
    expected = at_one(net.last, hidden) + net.last.bias[:, None]
    torch.testing.assert_close(net(x, c), expected)


@pytest.mark.parametrize("causal", CAUSAL)
def test_weight_norm_changes_nothing_at_the_start_and_can_be_removed(causal):
    x = torch.randn(2, 2, 9)
    torch.manual_seed(0)
    plain = GatedConvolutions(2, 3, 3, 5, width=3, causal=causal, zero=False)
    torch.manual_seed(0)
    normed = GatedConvolutions(2, 3, 3, 5, width=3, causal=causal, zero=False, weight_norm=True)
    torch.testing.assert_close(normed(x), plain(x))
    redraw(normed)
    expected = normed(x)
    normed.remove_weight_norm()
    torch.testing.assert_close(normed(x), expected)
    assert {name for name, _ in normed.named_parameters()} == {
        name for name, _ in plain.named_parameters()
    }


def test_a_zero_direction_gives_zero():
    conv = SequenceConv(2, 3, weight_norm=True, bias=False)
    with torch.no_grad():
        conv.v[1] = 0
    y = conv(torch.randn(1, 2, 4))
    assert y.isfinite().all() and not y[:, 1].any()


def test_one_column_of_the_condition_serves_all():
    net = made(context_channels=2, skip=3)
    x, c = torch.randn(3, 2, 8).double(), torch.randn(3, 2, 1).double()
    torch.testing.assert_close(net(x, c), net(x, c.expand(3, 2, 8)))
    torch.testing.assert_close(net(x, c[:1]), net(x, c[:1].expand(3, 2, 8)))


def test_pickles():
    net = made(weight_norm=True, skip=3)
    x = torch.randn(1, 2, 6).double()
    assert torch.equal(pickle.loads(pickle.dumps(net))(x), net(x))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layers": 0}, "layers must be a positive whole number"),
        ({"skip": 0}, "skip must be a positive"),
        ({"causal": False, "width": 2}, "width must be odd"),
        ({"exit": "tanh"}, "exit must be one of linear, relu"),
    ],
)
def test_options_are_checked(options, message):
    with pytest.raises(ValueError, match=message):
        made(**options)


@pytest.mark.parametrize(
    ("x", "c", "message"),
    [
        ((1, 3, 5), (1, 2, 5), r"expected shape \(B, 2, T\), got \(1, 3, 5\)"),
        ((1, 2, 5), None, r"condition of shape \(B, 2, 5 or 1\).*got none"),
        ((1, 2, 5), (1, 2, 4), r"got \(1, 2, 4\)"),
        ((2, 2, 5), (3, 2, 5), r"B 2 or 1; got \(3, 2, 5\)"),
    ],
)
def test_shapes_are_checked(x, c, message):
    net = made(context_channels=2)
    with pytest.raises(ValueError, match=message):
        net(torch.zeros(x).double(), None if c is None else torch.zeros(c).double())
