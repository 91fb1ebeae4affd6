"""Models of images: the papers' structure and sizes, whole numbers, agreement with a peer."""

import math

import normflows
import pytest
import torch

import diffeo
from diffeo.bijections import (
    ActNorm,
    Chain,
    Channels,
    Checkerboard,
    Coupling,
    Dequantize,
    InvertibleConv,
    Lattice,
    MultiScale,
    Squeeze,
)
from diffeo.models import IMAGE_MODELS
from diffeo.models.image_parts import NoiseOptions, variational
from diffeo.nets.glow import GlowNet
from diffeo.noise import fixed_noise
from diffeo.scalars import SigmoidAffine
from diffeo.supports import LINE
from tests.properties import stochastic
from tests.properties.draws import redraw


def test_squeeze_is_pixel_unshuffle():
    x = torch.randn(5, 3, 4, 6)
    assert torch.equal(Squeeze()(x)[0], torch.nn.functional.pixel_unshuffle(x, 2))


def test_a_checkerboard_keeps_the_even_positions_in_their_rows():
    kept, changed = Checkerboard((1, 2, 4)).split(torch.arange(8.0).reshape(1, 2, 4))
    assert kept.tolist() == [[[0, 2], [5, 7]]]
    assert changed.tolist() == [[[1, 3], [4, 6]]]


@pytest.mark.parametrize("along", [(0,), (1,), (2,), (0, 2), (2, 1), (0, 1, 2)])
@pytest.mark.parametrize("flip", [False, True])
def test_a_lattice_keeps_even_positions_along_its_axes(along, flip):
    shape = (3, 2, 4, 6)
    lattice = Lattice(shape, along, flip)
    x = torch.arange(5.0 * 144).reshape(5, *shape)
    kept, changed = lattice.split(x)
    places = torch.meshgrid(*(torch.arange(n) for n in shape[1:]), indexing="ij")
    even = sum(places[axis] for axis in along) % 2 == int(flip)  # type: ignore[operator]
    assert torch.equal(kept.flatten(1).sort().values, x[:, :, even].flatten(1).sort().values)
    assert kept.shape[1:] == lattice.kept_shape and changed.shape[1:] == lattice.changed_shape
    assert torch.equal(lattice.merge(kept, changed), x)


def test_a_lattice_is_laid_out_by_blocks():
    kept, changed = Lattice((1, 2, 4), (0, 1)).split(torch.arange(8.0).reshape(1, 2, 4))
    assert kept.tolist() == [[[0, 2]], [[5, 7]]]
    assert changed.tolist() == [[[1, 3]], [[4, 6]]]


def test_the_latent_scale_by_scale():
    flow = diffeo.create("glow", shape=(3, 16, 8), scales=3, steps=1, filters=4)
    multi = flow.bijection
    assert isinstance(multi, MultiScale)
    assert multi.latent_shapes == ((6, 8, 4), (12, 4, 2), (48, 2, 1))
    z = torch.randn(2, 384)
    parts = multi.split(z)
    assert [tuple(part.shape[1:]) for part in parts] == list(multi.latent_shapes)
    assert torch.equal(multi.join(parts), z)


@pytest.mark.parametrize(
    ("name", "preset", "size", "millions", "share"),
    [
        ("glow", "cifar10", 32, 44.0, 0.005),
        # Ours show their networks contexts by convolutions 3 wide, the published code by 1 wide.
        ("flowpp", "cifar10", 32, 31.443440, 0.01),
        ("flowpp", "imagenet32", 32, 168.955724, 0.011),
        ("flowpp", "imagenet64", 64, 73.489960, 0.005),
    ],
)
def test_published_numbers_of_parameters(name, preset, size, millions, share):
    # Rotations are drawn by numbers, which "meta" has none of.
    with torch.device("meta" if name == "flowpp" else "cpu"):
        model = diffeo.create(name, shape=(3, size, size), preset=preset)
    found = sum(parameter.numel() for parameter in model.parameters()) / 1e6
    assert abs(found - millions) < share * millions


@pytest.mark.parametrize("name", IMAGE_MODELS)
def test_presets_are_of_options_that_there_are(name):
    entry = IMAGE_MODELS[name]
    common = {"levels", "dequantization", "logit", "noise"}
    for preset in entry.presets:
        assert set(entry.preset(preset)) <= set(entry.options) | common


@pytest.mark.parametrize("logit", [False, 0.0, 0.05])
def test_probabilities_of_all_images_sum_to_one(logit):
    """Of two pixels with three levels."""
    model = diffeo.create("nice", shape=(1, 1, 2), levels=3, hidden=(8,), logit=logit)
    model = redraw(model).double().eval()
    grid = torch.cartesian_prod(*[torch.arange(3.0, dtype=torch.float64)] * 2)
    with torch.no_grad():
        x = grid.reshape(9, 1, 1, 1, 2).expand(-1, stochastic.DRAWS, -1, -1, -1)
        draws = model.log_prob(x).exp()
    error = float((draws.var(1) / stochastic.DRAWS).sum().sqrt())
    # What a density puts beyond the levels' interval is no probability of theirs.
    total, beyond = float(draws.mean(1).sum()), _mass_beyond(model)
    assert error < stochastic.PRECISION
    assert abs(total + beyond - 1) < stochastic.SIGMAS * error + 0.01


def test_learned_noise_has_the_density_that_it_says():
    """Its integral over a level is 1 for each image, and forward says what the inverse says."""
    options = NoiseOptions(filters=4, blocks=1, components=2)
    dequantize = redraw(variational(3, (1, 1, 2), LINE, options)).double().eval()
    ticks = (torch.arange(150, dtype=torch.float64) + 0.5) / 150
    noise = torch.cartesian_prod(ticks, ticks).reshape(-1, 1, 1, 2)
    densities = []
    for levels in ([0.0, 2.0], [1.0, 1.0]):
        x = torch.tensor(levels, dtype=torch.float64).reshape(1, 1, 2)
        with torch.no_grad():
            back, log_q = dequantize.inverse(x + noise)
            v, ladj = dequantize(x.expand(50, 1, 1, 2))
            torch.testing.assert_close(dequantize.inverse(v)[1], -ladj)
        assert torch.equal(back, x.expand_as(back))
        densities.append(log_q.exp())
        assert abs(float(densities[-1].mean()) - 1) < 1e-3
    assert (densities[0] - densities[1]).abs().max() > 0.1, "the noise does not see the image"


def _mass_beyond(model) -> float:
    """The share of samples of the density behind the dequantization that lie outside [0, 3)."""
    v = model.base.sample(stochastic.DRAWS)
    for part in reversed(model.bijection.parts[1:]):
        v = part.inverse(v)[0]
    return float(((v < 0) | (v >= 3)).flatten(1).any(1).double().mean())


def test_a_uniform_model_of_256_levels_takes_8_bits():
    shape = (1, 2, 2)
    uniform = diffeo.Flow(diffeo.bases.Uniform(shape, 0.0, 256.0), Dequantize(256, shape))
    x = torch.randint(256, (5, 1, 2, 2)).float()
    assert uniform.bits_per_dim(x).tolist() == [8.0] * 5


@pytest.mark.parametrize("name", IMAGE_MODELS)
def test_images_come_back(name):
    """But for noise at the very edge of a level, which rounding carries over."""
    options = {"filters": 8} if "filters" in IMAGE_MODELS[name].options else {}
    model = diffeo.create(name, shape=(3, 8, 8), levels=256, **options)
    x = torch.randint(256, (20, 3, 8, 8)).float()
    model.initialize(x)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.02 * torch.randn_like(parameter)
    model.eval()
    with torch.no_grad():
        differs = (model.decode(model.encode(x)) - x).abs()
    assert differs.max() <= 1 and differs.mean() < 1e-3


@pytest.mark.parametrize(
    ("name", "shape", "words"),
    [
        ("glow", (3, 30, 30), "must be a multiple of 8"),
        ("glow", (3, 7, 8), "can't be squeezed"),
        ("glow", (12,), "shape=\\(channels"),
        ("maf", (3, 8, 8), "models vectors"),
        ("glow", (1, 2, 2, 2, 2), "models images"),
        ("flowpp", (1, 8, 7), "must be a multiple of 2"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(name, shape, words):
    with pytest.raises(ValueError, match=words):
        diffeo.create(name, shape=shape, **({"scales": 3} if shape == (3, 30, 30) else {}))


def test_couplings_of_several_squeezes():
    options = {"filters": 4, "blocks": 1, "components": 2, "attention": False}
    for couplings in ((2,), (0, 0, 1, 2, 1)):
        flow = diffeo.create("flowpp", shape=(1, 8, 8), couplings=couplings, **options)
        parts = list(flow.bijection.modules())
        assert sum(isinstance(part, Coupling) for part in parts) == sum(couplings)
        assert sum(isinstance(part, Squeeze) for part in parts) == len(couplings) // 2
    with pytest.raises(ValueError, match="an odd number"):
        diffeo.create("flowpp", shape=(1, 8, 8), couplings=(4, 2))
    with pytest.raises(ValueError, match="a multiple of 4"):
        diffeo.create("flowpp", shape=(1, 6, 8), couplings=(0, 0, 1, 2, 1))
    with pytest.raises(ValueError, match=r"2 squeezes on, .* multiple of 8; got shape \(1, 8, 4"):
        diffeo.create("flowpp", shape=(1, 8, 4), couplings=(0, 0, 1, 2, 1))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"levels": 1}, "at least 2"),
        ({"levels": 4, "dequantization": "gaussian"}, "dequantization must be one of"),
        ({"levels": 4, "logit": True}, "logit must be a number or False"),
        ({"levels": 4, "dequantization": "variational", "noise": {"depth": 1}}, "noise has no"),
        ({"levels": 4, "noise": {"filters": 4}}, "noise is an option of"),
        ({"context": (3, 4)}, "vector"),
    ],
)
def test_options_that_do_not_fit_are_refused(options, words):
    with pytest.raises((ValueError, TypeError), match=words):
        diffeo.create("glow", shape=(1, 4, 4), **options)


@pytest.mark.parametrize("name", ["realnvp", "glow"])
@pytest.mark.parametrize("logit", [None, False, 0.0, 0.05])
def test_the_logit_is_kept_with_the_model(name, logit, tmp_path):
    """Also the one that is usual elsewhere: models differ in theirs."""
    model = diffeo.create(name, shape=(1, 4, 4), levels=4, scales=1, filters=4, logit=logit)
    diffeo.save(model, tmp_path / "m")
    loaded = diffeo.load(tmp_path / "m")
    x = torch.randint(4, (3, 1, 4, 4)).float()
    with fixed_noise(0):
        expected = model.eval().log_prob(x)
    with fixed_noise(0):
        assert torch.equal(loaded.log_prob(x), expected)


def test_context_of_a_class_and_an_image():
    shapes = {"class": 4, "small": (2, 2, 2)}
    model = redraw(
        diffeo.create("glow", shape=(1, 8, 8), context=shapes, steps=1, filters=8)
    ).eval()
    x, one = torch.randn(3, 1, 8, 8), {"class": torch.eye(4)[:3], "small": torch.randn(3, 2, 2, 2)}
    scores = model.log_prob(x, one)
    for key in shapes:
        other = one | {key: one[key].flip(0)}
        assert (model.log_prob(x, other)[0] - scores[0]).abs() > 1e-4
    assert model.sample((), one).shape == (3, 1, 8, 8)


def test_memory_reaches_the_scales():
    model = diffeo.create("glow", shape=(1, 8, 8), memory="invert", steps=2, filters=8)
    chains = [part for part in model.modules() if isinstance(part, Chain)]
    assert len(chains) > 2 and all(chain.memory == "invert" for chain in chains)
    plain = diffeo.create("glow", shape=(1, 8, 8), steps=2, filters=8)
    redraw(plain, 0.05)
    model.load_state_dict({f"{_inner(key)}": value for key, value in plain.state_dict().items()})
    x = torch.randn(4, 1, 8, 8)
    for one in (model, plain):
        one.log_prob(x).sum().backward()
    for (name, ours), (_, theirs) in zip(
        model.named_parameters(), plain.named_parameters(), strict=True
    ):
        assert torch.allclose(ours.grad, theirs.grad, rtol=1e-3, atol=1e-4), name


def _inner(key: str) -> str:
    """`memory` puts a chain around the bijection."""
    return key.replace("bijection.", "bijection.parts.0.", 1)


def test_a_glow_step_is_normflows():
    """Weights copied over; ours divides the coupling's scale by σ(2), a constant."""
    theirs = normflows.flows.GlowBlock(6, 16, scale=True, scale_map="sigmoid", use_lu=False)
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.normal_(std=0.2)
    block, convolution, actnorm = theirs.flows
    convolution.W.data = torch.linalg.qr(torch.randn(6, 6)).Q
    actnorm.data_dep_init_done.fill_(1)

    net = GlowNet(3, 3, 2, filters=16)
    ours = Chain(
        ActNorm((6, None, None)),
        InvertibleConv(6),
        Coupling(Channels((6, 5, 5)), SigmoidAffine(), net),
    )
    norm, conv, _ = ours.parts
    with torch.no_grad():
        norm.loc.copy_(actnorm.t[0])
        log_scale = -actnorm.s[0]
        norm.raw_log_scale.copy_(log_scale / (1 - log_scale.abs() / norm.log_scale_bound))
        conv.linear.weight.copy_(convolution.W)
        layers = block.flows[1].param_map.net
        for mine, other in ((net.first, layers[0]), (net.second, layers[2]), (net.exit, layers[4])):
            mine.weight.copy_(other.weight)
            mine.bias.copy_(other.bias)
        # Theirs subtracts the shift.
        net.exit.weight[::2] *= -1
        net.exit.bias[::2] *= -1

    x = torch.randn(4, 6, 5, 5)
    expected, expected_ladj = theirs.inverse(x)
    z, ladj = ours(x)
    factor = 1 / (1 + math.exp(-2))
    z = torch.cat([z[:, :3], z[:, 3:] * factor], dim=1)
    torch.testing.assert_close(z, expected, rtol=1e-5, atol=1e-5)
    ladj = ladj + 3 * 5 * 5 * math.log(factor)
    torch.testing.assert_close(ladj, expected_ladj, rtol=1e-5, atol=1e-5)
