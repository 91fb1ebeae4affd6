"""WaveGlow: the published size, both directions, contexts, lengths, weight norm."""

import pytest
import torch
from torch import Tensor

import diffeo
from diffeo.density import Flow
from diffeo.models.waveglow import remove_weight_norm
from tests.properties.draws import redraw

SMALL = {"flows": 6, "early_every": 2, "layers": 3, "residual": 8, "skip": 8, "hop": 16}
CONTEXT = {"mel": (5, None), "speaker": (3,)}


def small(context: dict | None = CONTEXT, shape: tuple = (1, None)) -> Flow:
    torch.manual_seed(0)
    return redraw(diffeo.create("waveglow", shape=shape, context=context, **SMALL)).double()  # type: ignore[return-value]


def frames(batch: int, count: int) -> dict[str, Tensor]:
    return {"mel": torch.randn(batch, 5, count).double(), "speaker": torch.eye(3)[:1].double()}


def test_has_the_published_size() -> None:
    """87.88 million parameters (Ping et al., 2020, WaveFlow, arXiv:1912.01219, table 2)."""
    with torch.device("meta"):
        flow = diffeo.create(
            "waveglow", shape=(1, None), context={"mel": (80, None)}, preset="published"
        )
    count = sum(parameter.numel() for parameter in flow.parameters())
    assert round(count / 1e6, 2) == 87.88


def test_channels_leave_after_the_flows_that_are_said() -> None:
    """Of 8 channels 2 leave before flows 2 and 4: the first 2 of the latent saw 2 flows only."""
    flow, context = small(), frames(1, 4)
    x = torch.randn(1, 1, 64).double()
    z = flow.encode(x, context)
    assert z.shape == (1, 8, 8)
    for part in list(flow.bijection.parts)[5:]:  # squeeze, then two parts a flow
        for parameter in part.parameters():
            parameter.data += 0.1
    assert torch.equal(flow.encode(x, context)[:, :2], z[:, :2])
    assert (flow.encode(x, context)[:, 2:4] != z[:, 2:4]).all()


@pytest.mark.parametrize("samples", [16, 64, 120])
def test_any_length_goes_there_and_back(samples: int) -> None:
    """Sounds of any whole number of groups, up to what the frames cover."""
    flow, context = small(), frames(2, 8)
    x = 0.3 * torch.randn(2, 1, samples).double()
    z = flow.encode(x, context)
    torch.testing.assert_close(flow.decode(z, context), x)
    drawn, log_prob = flow.sample_and_log_prob(3, context, event_shape=(1, samples))
    assert drawn.shape == (3, 2, 1, samples)
    torch.testing.assert_close(flow.log_prob(drawn, context), log_prob)


def test_log_determinant() -> None:
    """Against the autograd Jacobian, of a whole flow with a condition."""
    flow, context = small(), frames(1, 1)
    x = 0.3 * torch.randn(1, 16).double()
    one = {"mel": context["mel"][0], "speaker": context["speaker"][0]}
    jacobian = torch.autograd.functional.jacobian(lambda t: flow.encode(t, one).flatten(), x)
    expected = torch.linalg.slogdet(jacobian.flatten(1)).logabsdet  # type: ignore[union-attr]
    condition = flow.context_net(one)  # type: ignore[misc]
    torch.testing.assert_close(flow.bijection(x, condition)[1], expected)


def test_contexts_are_heard() -> None:
    """Every part of the context changes the density; a frame changes it near itself alone."""
    flow, context = small(), frames(1, 64)
    x = 0.3 * torch.randn(1, 1, 1024).double()
    z = flow.encode(x, context)
    other = flow.encode(x, {**context, "speaker": torch.eye(3)[1:2].double()})
    assert (z != other).any(1).all()
    context["mel"][:, :, 40] += 1
    changed = (flow.encode(x, context) != z).any(1)[0].nonzero()[:, 0] * 8
    # 6 couplings see 7 columns of 8 samples to each side, a frame is spread over 4.
    reach = 6 * 7 * 8 + 4 * 16
    assert 40 * 16 - reach <= int(changed.min()) < 40 * 16 < int(changed.max()) < 41 * 16 + reach


def test_without_context_and_with_a_vector_alone() -> None:
    """One column of a condition serves all samples."""
    assert small(None).sample(2, event_shape=(1, 32)).shape == (2, 1, 32)
    flow = small({"speaker": (3,)})
    speaker = {"speaker": torch.eye(3).double()}
    assert flow.log_prob(torch.randn(3, 1, 40).double(), speaker).shape == (3,)


def test_weight_norm_is_removable(tmp_path) -> None:
    """The same model afterwards, on disk too."""
    flow, context = small().float(), {k: v.float() for k, v in frames(2, 4).items()}
    x = 0.3 * torch.randn(2, 1, 64)
    before, count = flow.log_prob(x, context), len(list(flow.parameters()))
    assert remove_weight_norm(flow) is flow
    assert len(list(flow.parameters())) < count
    torch.testing.assert_close(flow.log_prob(x, context), before, rtol=1e-5, atol=1e-4)
    diffeo.save(flow, tmp_path / "flow")
    assert torch.equal(
        diffeo.load(tmp_path / "flow").log_prob(x, context), flow.log_prob(x, context)
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"flows": 0}, "flows"),
        ({"early_size": 4, "early_every": 2}, "would leave"),
        ({"group": 1}, "factor"),
    ],
)
def test_refused_options(options: dict, message: str) -> None:
    """Options that leave nothing to transform."""
    with pytest.raises(ValueError, match=message):
        diffeo.create("waveglow", shape=(1, None), **{**SMALL, **options})


def test_refused_lengths() -> None:
    """A length that groups don't make up, and a sound longer than its context."""
    with pytest.raises(ValueError, match="multiple of 8"):
        diffeo.create("waveglow", shape=(1, 100), **SMALL)
    flow = small()
    with pytest.raises(ValueError, match="cover 64 samples, and the sound has 72"):
        flow.log_prob(torch.randn(1, 1, 72).double(), frames(1, 4))
    short = diffeo.create("waveglow", shape=(1, None), context=CONTEXT, **{**SMALL, "hop": 8})
    with pytest.raises(ValueError, match="cover 8 samples, and the sound has 72"):
        short.log_prob(torch.randn(1, 1, 72), {k: v.float() for k, v in frames(1, 1).items()})
    with pytest.raises(ValueError, match="multiple of 8"):
        flow.log_prob(torch.randn(1, 1, 60).double(), frames(1, 4))
