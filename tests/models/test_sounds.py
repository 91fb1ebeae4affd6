"""Named models of sounds."""

import json
import pickle

import pytest
import torch

import diffeo
from diffeo.bijections import Inverse
from diffeo.models import SOUND_MODELS, find
from diffeo.nets.wavenet import WaveNet
from diffeo.train import fit
from tests.properties.draws import redraw

SMALL = {"layers": 4, "residual": 6, "cycle": 3}
CONTEXT = {"mel": (3, None), "speaker": (2,)}
MODELS = [
    ("wavenet", {}),
    ("wavenet", {"head": "gaussian", "bits": 12}),
    ("wavenet", {"head": "mu-law", "bits": 4}),
    ("maf", {"transforms": 2}),
    ("iaf", {"transforms": 2}),
]
every = pytest.mark.parametrize(("name", "options"), MODELS)


def made(name, context=None, shape=(1, None), **options):
    model = diffeo.create(name, shape=shape, context=context, **{**SMALL, "hop": 5, **options})
    return redraw(model).double().eval()


def nets(model) -> list[WaveNet]:
    return [part for part in model.modules() if isinstance(part, WaveNet)]


def conditions(batch=(2,), frames=8):
    mel = torch.randn(*batch, 3, frames, dtype=torch.float64)
    return {"mel": mel, "speaker": torch.eye(2, dtype=torch.float64)[[0, 1]]}


@every
@pytest.mark.parametrize("context", [None, CONTEXT], ids=["plain", "conditioned"])
def test_samples_of_any_length_carry_their_log_prob(name, options, context):
    model = made(name, context, **options)
    given = None if context is None else conditions()
    leading = 2 if context is None else ()
    for length in (7, 30):
        x, log_prob = model.sample_and_log_prob(leading, given, event_shape=(1, length))
        assert x.shape == (2, 1, length)
        torch.testing.assert_close(model.log_prob(x, given), log_prob)
        if name == "wavenet":
            assert x.abs().max() <= 1
            factors = model.conditionals(x, given).log_prob(x)
            torch.testing.assert_close(factors.sum((-2, -1)), log_prob)
    with pytest.raises(ValueError, match=r"fill \(1, None\)"):
        model.sample(leading, given)


@every
def test_conditions_matter_and_have_to_last(name, options):
    model = made(name, CONTEXT, **options)
    x, given = 0.5 * torch.rand(2, 1, 40, dtype=torch.float64), conditions()
    expected = model.log_prob(x, given)
    for part in given:
        other = {**given, part: given[part] + 1}
        assert ((model.log_prob(x, other) - expected).abs() > 1e-6).all()
    longer = {**given, "mel": torch.cat([given["mel"], given["mel"]], -1)}
    assert ((model.log_prob(x, longer) - expected).abs() > 0).any(), "frames overlap at the end"
    with pytest.raises(ValueError, match=r"covers? 40 samples, and the sound has"):
        model.log_prob(torch.zeros(1, 41, dtype=torch.float64), given)
    with pytest.raises(TypeError, match="needs a context"):
        model.log_prob(x)


@pytest.mark.parametrize("name", SOUND_MODELS)
def test_local_contexts_are_standardized_except_in_the_papers_presets(name):
    entry = SOUND_MODELS[name]
    assert entry.options["standardize_context"].default is True
    of_papers = {key: p for key, p in entry.presets.items() if key != "small"}
    assert all(preset["standardize_context"] is False for preset in of_papers.values())
    assert "standardize_context" not in entry.presets.get("small", {})


@pytest.mark.parametrize("name", SOUND_MODELS)
def test_a_context_is_measured_in_training_and_saved(name, tmp_path):
    sizes = {"flows": 2, "group": 4, "early_every": 4} if name == "waveglow" else {"cycle": 3}
    sizes |= {"layers": 2, "residual": 6, "hop": 4}
    model = diffeo.create(name, shape=(1, None), context=CONTEXT, **sizes)
    torch.manual_seed(0)
    mel = -8 + 2 * torch.randn(20, 3, 5)
    given = {"mel": mel, "speaker": torch.eye(2)[torch.arange(20) % 2]}
    fit(
        model,
        0.1 * torch.randn(20, 1, 20),
        context=given,
        validation=0,
        max_steps=1,
        progress=False,
    )
    state = {key: value for key, value in model.state_dict().items() if key.endswith(".scale")}
    assert len(state) == 1
    torch.testing.assert_close(next(iter(state.values()))[:, 0], mel.std((0, 2), correction=0))
    diffeo.save(model, tmp_path / "m")
    x = 0.1 * torch.randn(20, 1, 20)
    assert torch.equal(diffeo.load(tmp_path / "m").log_prob(x, given), model.log_prob(x, given))


def test_files_that_know_no_standardized_contexts_mean_none(tmp_path):
    sizes = {"flows": 2, "layers": 2, "residual": 6, "hop": 4}
    sizes |= {"standardize_context": False, "normalization": "none"}
    model = redraw(diffeo.create("waveglow", shape=(1, None), context=CONTEXT, **sizes)).eval()
    diffeo.save(model, tmp_path / "m")
    path = tmp_path / "m" / "config.json"
    config = json.loads(path.read_text())
    del config["arguments"]["standardize_context"], config["arguments"]["normalization"]
    path.write_text(json.dumps(config))
    x = 0.1 * torch.randn(2, 1, 16)
    given = {"mel": torch.randn(2, 3, 5), "speaker": torch.eye(2)}
    assert torch.equal(diffeo.load(path.parent).log_prob(x, given), model.log_prob(x, given))


@every
def test_saved_loaded_and_pickled(name, options, tmp_path):
    model = made(name, CONTEXT, **options)
    x, given = 0.5 * torch.rand(2, 1, 12, dtype=torch.float64), conditions()
    expected = model.log_prob(x, given)
    diffeo.save(model, tmp_path / "m")
    loaded = diffeo.load(tmp_path / "m")
    assert loaded.event_shape == (1, None) and loaded.context_shape == CONTEXT
    assert torch.equal(loaded.log_prob(x, given), expected)
    assert torch.equal(pickle.loads(pickle.dumps(model)).log_prob(x, given), expected)


@every
def test_one_speaker_alone_or_frames_alone(name, options):
    speaker = made(name, 2, **options)
    x = torch.zeros(3, 1, 9, dtype=torch.float64)
    assert speaker.log_prob(x, torch.eye(2, dtype=torch.float64)[0]).shape == (3,)
    frames = made(name, (3, None), **options)
    assert frames.log_prob(x, torch.randn(3, 3, 2, dtype=torch.float64)).shape == (3,)


def test_a_student_draws_in_one_pass():
    model = made("iaf", transforms=3)
    for part in model.modules():
        if isinstance(part, WaveNet):
            part.stepper = None  # type: ignore[method-assign,assignment]
    assert model.sample(2, event_shape=(1, 50)).shape == (2, 1, 50)


def test_a_teacher_scores_in_one_pass():
    for name in ("wavenet", "maf"):
        model = made(name)
        nets(model)[0].stepper = None  # type: ignore[method-assign,assignment]
        assert model.log_prob(torch.zeros(2, 1, 50, dtype=torch.float64)).shape == (2,)


def test_layers_are_counted_as_noise_meets_them():
    model = made("iaf", transforms=3, layers=(1, 2, 5))
    counts = [len(net.stack.dilations) for net in nets(model)]
    assert counts == [5, 2, 1], "the chain goes from data to noise"
    assert all(isinstance(part, Inverse) for part in model.bijection.parts[1:])
    counts = [len(net.stack.dilations) for net in nets(made("maf", transforms=2, layers=(1, 4)))]
    assert counts == [1, 4]


def test_flows_start_where_the_data_are():
    x = 0.3 + 0.01 * torch.randn(20, 1, 50)
    model = diffeo.create("maf", shape=(1, None), **SMALL)
    before = model.log_prob(x).mean()
    model.initialize(x)
    z = model.encode(x)
    assert abs(z.mean()) < 1e-3 and abs(z.std() - 1) < 1e-2
    assert model.log_prob(x).mean() > before + 50


@pytest.mark.parametrize(
    ("name", "preset"),
    [(entry.name, key) for entry in SOUND_MODELS.values() for key in entry.presets],
)
def test_every_preset_is_of_options_that_there_are(name, preset):
    assert set(SOUND_MODELS[name].preset(preset)) <= set(SOUND_MODELS[name].options)


def test_presets_are_as_published():
    teacher = diffeo.create("wavenet", preset="24khz", shape=(1, None))
    (net,) = nets(teacher)
    assert net.stack.dilations == tuple(2**i for i in range(10)) * 3
    assert net.receptive_field == 1 + 2 * 3 * 1023
    assert (net.stack.width, net.stack.residual, net.stack.gate, net.stack.skip) == (
        *(3, 512, 256, 256),
    )
    assert net.num_params == 30 and teacher.head.bits == 16  # type: ignore[union-attr]
    first = diffeo.create("wavenet", preset="16khz", shape=(1, None))
    (net,) = nets(first)
    assert net.receptive_field == 3070 and net.levels == net.num_params == 256
    student = diffeo.create("iaf", preset="24khz", shape=(1, None))
    assert [len(net.stack.dilations) for net in nets(student)] == [30, 10, 10, 10]
    assert all((net.stack.residual, net.stack.skip) == (64, None) for net in nets(student))
    assert sum(p.numel() for p in student.parameters()) == STUDENT


LAYER = 3 * 64 * 128 + 128 + 64 * 64 + 64
ENDS = (64 + 64) + (64 * 64 + 64) + (64 * 2 + 2)
STUDENT = 60 * LAYER + 4 * ENDS


def test_a_small_one_learns():
    t = torch.arange(200) / 10
    x = (0.5 * torch.sin(t + torch.rand(16, 1) * 6) + 0.01 * torch.randn(16, 200)).unsqueeze(1)
    model = diffeo.create("wavenet", preset="small", shape=(1, None))
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    losses = []
    for _ in range(25):
        loss = model.bits_per_dim(x).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 1.5


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("wavenet", {"shape": (2, None)}, r"wavenet: models sounds, .*got shape \(2, None\)"),
        (
            "wavenet",
            {"features": 4},
            r"wavenet: models sounds, shape=\(1, None\); got",
        ),
        ("wavenet", {"shape": (1, 4, 4)}, r"wavenet: models sounds"),
        ("wavenet", {"head": "softmax"}, "head must be one of logistic, gaussian, mu-law"),
        ("wavenet", {"head": "mu-law", "bits": 16}, "takes up to 12 bits, got 16"),
        ("wavenet", {"components": 0}, "components must be a whole number"),
        ("wavenet", {"context": (2, 3, 4)}, "wavenet: Upsample: context must be a vector"),
        ("wavenet", {"context": (2, None), "strides": (3, 3)}, "do not make up a hop"),
        ("iaf", {"transforms": 2, "layers": (3,)}, r"one for each of the 2 transforms; got \(3,\)"),
        ("maf", {"scalar": "spline"}, "scalar must be one of affine"),
        ("maf", {"base": "beta"}, "base must be one of logistic"),
        ("maf", {"shape": (1, 4, 4)}, r"maf: models vectors.* and sounds.*; got shape \(1, 4, 4\)"),
        ("glow", {"features": 4}, "glow: models images"),
    ],
)
def test_mistakes_are_named(name, arguments, message):
    shape = {} if "features" in arguments else {"shape": (1, None)}
    with pytest.raises(ValueError, match=message):
        diffeo.create(name, **{**shape, **arguments})


def test_names_have_forms_by_shape():
    assert find("maf", (3,)).summary != find("maf", (1, None)).summary
    assert find("glow", (2, 8)).name == "glow" and find("glow", (1, 8, 8)).name == "glow"
    told = diffeo.describe_models()
    assert "Sounds:" in told and all(f"  {name} " in told for name in SOUND_MODELS)
    assert diffeo.describe_models("maf").count("Options:") == 2
