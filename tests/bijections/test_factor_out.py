"""What leaves is left alone; what stays may have any extent."""

import pytest
import torch

from diffeo.bijections import ActNorm, Chain, Channels, Exp, FactorOut, InvertibleConv, Squeeze


def test_first_channels_leave() -> None:
    """The first channels pass; the others are mapped without a look at them."""
    convolution = InvertibleConv(3, 1)
    early = FactorOut(2, convolution, dims=1)
    x = torch.randn(4, 5, 7)
    z, ladj = early(x)
    rest, expected = convolution(x[:, 2:])
    assert torch.equal(z[:, :2], x[:, :2])
    assert torch.equal(z[:, 2:], rest)
    assert torch.equal(ladj, expected)


@pytest.mark.parametrize("time", [8, 24])
def test_time_is_free(time: int) -> None:
    """In a chain behind a squeeze the latent keeps the extents of space."""
    flow = Chain(Squeeze(1, 4), InvertibleConv(4, 1), FactorOut(2, ActNorm((2, None)), dims=1))
    assert flow.output_shape((1, None)) == (4, None)
    assert flow.output_shape((1, time)) == (4, time // 4)
    assert flow.input_shape((4, time // 4)) == (1, time)
    assert Channels((4, None)).kept_shape == (2, None)


def test_initialization_reaches_what_stays() -> None:
    """An actnorm inside is set from the channels that are its."""
    early = FactorOut(1, ActNorm((2, None)), dims=1)
    z = early.initialize(5 + 3 * torch.randn(200, 3, 4))
    torch.testing.assert_close(z[:, 1:].mean((0, 2)), torch.zeros(2), atol=1e-4, rtol=0)
    assert z[:, 0].mean() > 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, ActNorm((2, None)), 1), "leaving must be a positive number"),
        ((1, ActNorm((2, None)), 4), "dims must be 1, 2 or 3"),
        ((1, ActNorm((2, None, None)), 1), "does not map events"),
        ((1, Squeeze(1), 1), "does not map events"),
        ((1, Exp(), 1), "does not map the line to itself"),
    ],
)
def test_refused(arguments: tuple, message: str) -> None:
    """What would lose density, or not fit, is refused when it is built."""
    with pytest.raises(ValueError, match=message):
        FactorOut(*arguments)


def test_channels_for_nothing() -> None:
    """Nothing left for the map is refused where shapes are checked."""
    early = FactorOut(2, InvertibleConv(2, 1), dims=1)
    with pytest.raises(ValueError, match="made for events of shape"):
        early.output_shape((2, 5))
    with pytest.raises(ValueError, match="expected shape"):
        early(torch.randn(3, 2, 5))
    with pytest.raises(ValueError, match="number of channels must be known"):
        Channels((None, 4))
