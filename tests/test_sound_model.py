"""Models of sounds: whole clips scored, sounds drawn and vocoded, and read from their folder."""

import functools
import json
import math
import re
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

import diffeo
from diffeo import SoundModel
from diffeo.data import DataError, MelSettings, Sounds, mel_spectrogram, write_sound
from diffeo.io import ModelFileError
from diffeo.train import evaluate, fit
from tests.conftest import TYPECHECK

pytest.importorskip("lightning")

RATE = 8000
MEL = MelSettings(rate=RATE, n_fft=128, hop=32, win=128, n_mels=6)
WAVENET = {"layers": 3, "residual": 8, "skip": 8}
LENGTHS = (400, 150, 400, 333, 61)


def sounds(lengths=LENGTHS, speakers=("ann", "ben")) -> Sounds:
    """Ann is low and loud, Ben is high and quiet."""
    draw = np.random.default_rng(0)
    clips, who = [], []
    for i, n in enumerate(lengths):
        ben = i % 2
        t = np.arange(n) / RATE + draw.uniform()
        tone = (0.1 if ben else 0.5) * np.sin(2 * np.pi * (1500 if ben else 200) * t)
        clips.append(np.round((tone + draw.normal(0, 0.01, n)) * 32768).astype(np.int16))
        who.append(speakers[ben])
    return Sounds(clips, RATE, [f"{i}.wav" for i in range(len(lengths))], who)


def model(name="wavenet", context=("mel", "speaker"), redraw=True, **options) -> SoundModel:
    torch.manual_seed(0)
    if name == "waveglow":
        options = {"flows": 2, "layers": 2, "residual": 4, "skip": 4, **options}
    elif name in ("wavenet", "maf"):
        options = {**WAVENET, **options}
    mel = MEL if "mel" in context else None
    made = SoundModel.create(name, sounds(), context=context, mel=mel, **options)
    if redraw:
        with torch.no_grad():
            for key, parameter in made.density.named_parameters():
                if not key.endswith("linear.weight"):  # 1×1 maps stay rotations
                    parameter.normal_(0, 0.1)
    made.density.eval()
    return made


MODELS = [
    ("wavenet", ()),
    ("wavenet", ("mel", "speaker")),
    ("wavenet", ("speaker",)),
    ("waveglow", ("mel",)),
    ("waveglow", ("mel", "speaker")),
    ("maf", ("mel", "speaker")),
]


@pytest.mark.parametrize(("name", "context"), MODELS)
def test_a_clips_score_is_its_own(name, context):
    made, data = model(name, context), sounds()
    told = []
    scores = made.log_prob(data, progress=lambda done, of: told.append((done, of)))
    assert scores.dtype == np.float64 and np.isfinite(scores).all()
    assert told[-1] == (5, 5)
    for i in range(len(data)):
        np.testing.assert_allclose(made.log_prob(data.at([i])), scores[i], rtol=1e-5)
    order = [3, 0, 4, 2, 1]
    np.testing.assert_allclose(made.log_prob(data.at(order)), scores[order], rtol=1e-5)
    # And what the density gives of the whole clip.
    cut = LENGTHS[3] // made.multiple * made.multiple
    x = torch.from_numpy(data.clips[3])
    given = {
        "mel": mel_spectrogram(x, MEL)[:, : -(-cut // 32)],
        "speaker": torch.tensor([0.0, 1.0]),
    }
    given = {part: given[part] for part in context} or None
    with torch.no_grad():
        expected = made.density.log_prob(x[None, None, :cut], given)
    chosen = math.log(16) if name == "wavenet" else 0  # all bits are in use
    np.testing.assert_allclose(scores[3], expected - chosen, rtol=1e-5)
    assert made.scored(data)[3] == cut == (328 if name == "waveglow" else 333)


@pytest.mark.parametrize(("name", "context"), MODELS)
def test_it_comes_back_from_its_folder(tmp_path, name, context):
    made = model(name, context, segment=64)
    made.reference = {"validation_scores": torch.tensor([-100.0, 50.0])}
    diffeo.save(made, tmp_path / "m")
    loaded = diffeo.load(tmp_path / "m")
    assert isinstance(loaded, SoundModel)
    assert (loaded.rate, loaded.segment, loaded.speakers) == (RATE, 64, made.speakers)
    assert loaded.mel == made.mel and loaded.context == context
    assert np.array_equal(loaded.log_prob(sounds()), made.log_prob(sounds()))
    assert loaded.reference["validation_scores"].tolist() == [-100, 50]


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"rate": 0}, "rate must be"),
        ({"speakers": ["a", "b", "c"]}, "3 speakers need"),
        ({"mel": None}, "need a density with context"),
        ({"mel": {"rate": 8000, "width": 3}}, "width"),
        ({"segment": 0}, "segment must be"),
    ],
)
def test_a_damaged_folder_is_refused(tmp_path, entry, words):
    diffeo.save(model(), tmp_path / "m")
    path = tmp_path / "m" / "config.json"
    config = json.loads(path.read_text())
    config["sounds"] |= entry
    path.write_text(json.dumps(config))
    with pytest.raises(ModelFileError, match=words):
        diffeo.load(tmp_path / "m")


def test_it_learns_the_speakers():
    made = model(context=("speaker",), redraw=False, segment=200)
    data = sounds((400,) * 20)
    history = fit(
        made, data, validation=data, max_steps=100, batch_size=8, learning_rate=1e-2, progress=False
    )
    assert history.best_validation > history.validation[0]
    other = Sounds(
        data.clips, RATE, data.names, [{"ann": "ben"}.get(s, "ann") for s in data.speakers]
    )
    assert (made.log_prob(data) > made.log_prob(other)).mean() > 0.9
    ann, ben = (
        made.sample(4, "ann", seconds=0.05, seed=0),
        made.sample(4, "ben", seconds=0.05, seed=0),
    )
    assert np.std(ann.clips) > 1.5 * np.std(ben.clips)
    percentiles = made.percentile(made.log_prob(data), made.scored(data))
    assert 0 <= percentiles.min() <= percentiles.max() <= 1 and percentiles.std() > 0
    assert made.compared[0] == "segment"
    # Segments are rows to whatever takes rows.
    assert evaluate(made, data).rows == 40 and evaluate(made, data).dimensions == 200


def test_clips_of_fewer_bits_are_scored_as_such():
    made, fine = model(context=()), sounds((300, 300, 300))
    of_8_bits = np.round(fine.clips[1] * 128) / 128
    mixed = Sounds([fine.clips[0], of_8_bits, fine.clips[2]], RATE)
    assert made.density.training is False
    found = made.log_prob(mixed)
    assert made.density.training is False and made.density.head.bits == 16
    np.testing.assert_allclose(found[[0, 2]], made.log_prob(fine)[[0, 2]], rtol=1e-6)
    x = torch.from_numpy(of_8_bits.astype(np.float32))[None, None]
    with torch.no_grad():
        params = made.density.net(x)
        density = made.density.head.log_density(x, params).sum() - 300 * math.log(128)
        as_fine = made.density.log_prob(x)
    assert found[1] > as_fine + 200 * math.log(256)
    # Intervals of 1/128 are narrow beside the scales.
    np.testing.assert_allclose(found[1], density - math.log(16), rtol=0.1)


def test_percentiles_compare_whole_clips_with_whole_clips(tmp_path):
    """However much silence a segment of a short clip would have been padded with."""
    made, data = model(context=(), segment=4000), sounds((400,) * 9)
    scores, samples = made.log_prob(data), made.scored(data)
    made.reference["validation_scores"] = torch.full((9,), 1e6)
    made.keep_scores(scores, samples)
    diffeo.save(made, tmp_path / "m")
    loaded = diffeo.load(tmp_path / "m")
    assert isinstance(loaded, SoundModel)
    ranks = scores.argsort().argsort()
    np.testing.assert_allclose(loaded.percentile(scores, samples), (ranks + 1) / 9)
    assert loaded.percentile(scores.min() - 1, 400) == 0
    noun, known = loaded.compared
    assert noun == "clip" and known is not None and len(known) == 9


def test_what_is_cut_to_full_scale_is_said():
    made = model("maf", context=())
    with torch.no_grad():
        for parameter in made.density.parameters():
            parameter.zero_()  # standard logistic noise: 2 / (1 + e) of it, 54 %, is beyond 1
    with pytest.warns(UserWarning, match=r"5[0-9]\.\d\d% of the samples drawn lie beyond"):
        drawn = made.sample(2, seconds=0.2, seed=0)
    assert max(abs(clip).max() for clip in drawn.clips) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        quiet = made.sample(2, seconds=0.2, seed=0, temperature=0.05)
    assert 0 < max(abs(clip).max() for clip in quiet.clips) < 1


@pytest.mark.parametrize("head", ["logistic", "gaussian", "mu-law"])
def test_weights_that_are_no_numbers_draw_no_sound(head, monkeypatch):
    made = model(context=(), head=head)
    with torch.no_grad():
        made.density.net.stack.last.weight.fill_(math.nan)
    with pytest.raises(ValueError, match=r"80 of the samples drawn are no numbers"):
        made.sample(seconds=0.01)


def test_nothing_is_drawn_of_nothing():
    made = model("wavenet", ("mel",))
    with pytest.raises(ValueError, match=r"seconds must be positive, a sample .* at least, got 0"):
        model(context=()).sample(seconds=0)
    with pytest.raises(DataError, match=r"no frames, its shape is \(6, 0\)"):
        made.sample(mel=np.zeros((6, 0), np.float32))
    for name in ("wavenet", "maf", "waveglow"):
        with pytest.raises(ValueError, match=r"event_shape must be 1 or more, got \(1, 0\)"):
            model(name, ()).density.sample(event_shape=(1, 0))
    with pytest.raises(ValueError, match="mel must have 1 frame or more, got 0"):
        made.density.sample((), {"mel": torch.zeros(6, 0)}, event_shape=(1, 5))


def test_what_training_sees():
    made = model("waveglow", segment=96)
    rows = made.rows(sounds())
    pieces = made.segments(sounds())
    assert rows.x.equal(pieces.x) and rows.x.shape == (17, 1, 96) and rows.weights is None
    assert rows.context["mel"].equal(pieces.mel) and pieces.mel.shape == (17, 6, 3)
    assert rows.context["speaker"].argmax(-1).equal(pieces.clip % 2)
    assert not made.rows(sounds(), seed=1).x.equal(made.rows(sounds(), seed=2).x)
    assert made.rows(sounds(), 32, short="drop").x.shape[-1] == 32
    free = model(context=())
    assert free.rows(sounds()).context is None and free.segment == max(LENGTHS)


def test_bits_per_sample():
    data = sounds()
    for options, bits in ({"head": "mu-law"}, 8), ({"head": "logistic"}, 16), ({"bits": 12}, 12):
        made = model(context=(), **options)
        assert made.bits == bits
        scores = made.log_prob(data)
        expected = -scores / np.array(LENGTHS) / math.log(2)
        np.testing.assert_allclose(made.bits_per_sample(scores, made.scored(data)), expected)
    # Zero parameters: every code is as likely as another.
    with torch.no_grad():
        made = model(context=(), head="mu-law")
        for parameter in made.density.parameters():
            parameter.zero_()
    found = made.bits_per_sample(made.log_prob(data), made.scored(data))
    np.testing.assert_allclose(found, 8, rtol=1e-5)
    flow = model("maf", ())
    assert flow.bits is None
    scores, samples = flow.log_prob(data), flow.scored(data)
    mass = scores + samples * math.log(2**-15)  # of intervals as wide as those of 16 bits
    expected = -mass / samples / math.log(2)
    np.testing.assert_allclose(flow.bits_per_sample(scores, samples), expected)


@pytest.mark.parametrize(("name", "context"), MODELS)
def test_drawn_sounds(name, context):
    made = model(name, context)
    given = "ben" if "speaker" in context else None
    mel = mel_spectrogram(torch.from_numpy(sounds().clips[0]), MEL) if "mel" in context else None
    drawn = made.sample(3, given, seconds=0.0126, mel=mel, seed=1)
    assert drawn.lengths == (101, 101, 101) and drawn.rate == RATE
    assert drawn.speakers == (None if given is None else ("ben",) * 3)
    again = made.sample(3, given, seconds=0.0126, mel=mel, seed=1)
    assert np.array_equal(drawn.clips, again.clips)
    assert not np.array_equal(drawn.clips[0], drawn.clips[1])
    assert np.abs(drawn.clips).max() <= 1
    cold = made.sample(3, given, seconds=0.0126, mel=mel, seed=1, temperature=0)
    if name != "wavenet":  # a mixture still draws a component
        assert np.array_equal(cold.clips[0], cold.clips[1])


def test_how_long_sounds_are():
    free = model(context=())
    assert free.sample(seconds=0.01).lengths == (80,)
    made = model("waveglow", ("mel",))
    mel = mel_spectrogram(torch.from_numpy(sounds().clips[3]), MEL)  # 11 frames, of 333 samples
    assert made.sample(mel=mel).lengths == (352,)
    assert made.sample(mel=mel.numpy()[None]).lengths == (352,)
    with pytest.raises(DataError, match=r"covers 0.044 seconds, asked for 0.1"):
        made.sample(mel=mel, seconds=0.1)
    for seconds in (0, -1, math.nan, math.inf, 1e-9):
        with pytest.raises(ValueError, match="seconds must be positive"):
            free.sample(seconds=seconds)
    with pytest.raises(ValueError, match="must be 1 or more, got 0"):
        free.sample(0)


@pytest.mark.filterwarnings("ignore:.*lie beyond full scale")
@pytest.mark.parametrize(("name", "context"), [pair for pair in MODELS if "mel" in pair[1]])
def test_vocoded_sounds(name, context):
    made, data = model(name, context), sounds()
    told = []
    again = made.vocode(data, seed=0, progress=lambda done, of: told.append((done, of)))
    assert again.lengths == LENGTHS and again.names == data.names
    assert again.speakers == data.speakers
    assert told[-1] == (sum(LENGTHS), sum(LENGTHS)) and told == sorted(told)
    assert np.array_equal(made.vocode(data, seed=0).clips[1], again.clips[1])
    louder = Sounds([clip * 0.5 for clip in data.clips], RATE, speakers=data.speakers)
    assert not np.array_equal(made.vocode(louder, seed=0).clips[0], again.clips[0])
    if "speaker" in context:
        nameless = Sounds(data.clips, RATE)
        assert made.vocode(nameless, "ben", seed=0).speakers == ("ben",) * 5
        assert not np.array_equal(made.vocode(data, "ben", seed=0).clips[0], again.clips[0])


@pytest.mark.filterwarnings("ignore:.*lie beyond full scale")
@pytest.mark.parametrize(
    ("name", "options"), [("wavenet", {}), ("maf", {"transforms": 2}), ("waveglow", {})]
)
def test_progress(name, options, monkeypatch):
    """Of steps as they go, of several walks and batches as of one thing."""
    monkeypatch.setattr("diffeo.sound_model.AT_ONCE", 2 * 400)
    made = model(name, (), **options)
    told = []
    made.sample(3, seconds=0.05, progress=lambda done, of: told.append((done, of)))
    assert told == sorted(told) and told[-1] == (1200, 1200)
    assert {(800, 1200)} <= set(told)  # the first batch
    if name == "maf":
        assert (400, 1200) in told  # its first walk
    with pytest.raises(KeyboardInterrupt):
        made.sample(seconds=0.05, progress=_interrupt)


def _interrupt(done, of):
    raise KeyboardInterrupt


def test_a_density_of_sounds_of_one_length():
    data = sounds((64,) * 6)
    torch.manual_seed(0)
    made = SoundModel.create("glow", data, shape=(1, 64), steps=1, filters=4)
    assert made.segment == 64 and made.bits is None and made.multiple == 1
    made.density.initialize(made.rows(data).x)
    assert made.log_prob(data).shape == (6,)
    assert made.sample(2).lengths == (64, 64)
    with pytest.raises(
        DataError, match=r"1.wav: has 150 samples, and the model is of sounds of 64"
    ):
        made.log_prob(sounds((64, 150)))
    with pytest.raises(ValueError, match=r"sounds of 0.008 seconds, asked for 1"):
        made.sample(seconds=1.0)


MELS = mel_spectrogram(torch.linspace(-0.5, 0.5, 400), MEL)


@pytest.mark.parametrize(
    ("attempt", "words"),
    [
        (lambda m, f: m.log_prob(Sounds([np.zeros(90)], 16000)), "sounds at 16,000 Hz.*rate=8000"),
        (lambda m, f: m.log_prob(Sounds([np.zeros(90)], 8000)), "conditioned on speakers, and"),
        (lambda m, f: m.log_prob(sounds(speakers=("ann", "cy"))), "1.wav: 'cy' is no speaker"),
        (lambda m, f: m.rows(sounds(speakers=("ann", "cy"))), "it knows ann, ben"),
        (lambda m, f: m.log_prob(sounds((400, 5))), "1.wav: has 5 samples.*needs 8 at least"),
        (lambda m, f: m.sample(given="ben"), r"conditioned on a mel .* or use vocode"),
        (lambda m, f: m.sample(mel=MELS), "a speaker, one of ann, ben; say which"),
        (lambda m, f: m.sample(given="cy", mel=MELS), "'cy' is no speaker"),
        (lambda m, f: m.sample(given="ben", mel=MELS[:5]), "must have"),
        (lambda m, f: m.sample(given="ben", mel=MELS - 20), "was made in another way"),
        (lambda m, f: m.sample(given="ben", mel=MELS.long()), "torch.int64"),
        (lambda m, f: f.sample(given="ben"), "not conditioned on speakers"),
        (lambda m, f: f.sample(mel=MELS), "not conditioned on a mel"),
        (lambda m, f: f.vocode(sounds()), r"nothing to vocode; train one with"),
        (lambda m, f: m.vocode(Sounds([np.zeros(90)], 16000)), "sounds at 16,000 Hz"),
        (
            lambda m, f: SoundModel.create(
                "wavenet", Sounds([np.zeros(9)], 8000), context="speaker"
            ),
            "there are 0 speakers to condition on",
        ),
    ],
)
def test_what_does_not_fit_is_refused(attempt, words):
    with pytest.raises(DataError, match=words):
        attempt(model("waveglow"), model(context=()))


def test_only_densities_of_sounds():
    with pytest.raises(ValueError, match="needs a density of sounds"):
        SoundModel(diffeo.create("maf", features=3), 8000)
    plain = diffeo.create("wavenet", shape=(1, None), **WAVENET)
    with pytest.raises(ValueError, match="2 speakers need a density with context"):
        SoundModel(plain, 8000, speakers=["a", "b"])
    with pytest.raises(ValueError, match="mel settings are for 22050 Hz, sounds at 8000"):
        SoundModel(plain, 8000, mel=MelSettings())
    with pytest.raises(ValueError, match='"mel" and "speaker", got \'face\''):
        SoundModel.create("wavenet", sounds(), context=["face"])
    with pytest.raises(ValueError, match="multiple of 8 samples, got 100"):
        model("waveglow", segment=100)
    with pytest.raises(ValueError, match="no validation clips or segments"):
        model(context=()).percentile(np.zeros(3), np.ones(3))


@pytest.mark.skipif(TYPECHECK, reason="gives an argument of a wrong type")
def test_what_is_no_sounds_is_refused():
    with pytest.raises(TypeError, match="expected Sounds"):
        model(context=()).log_prob([np.zeros(3)])


def test_what_the_page_on_sounds_types(tmp_path, monkeypatch):
    pytest.importorskip("soundfile")
    monkeypatch.chdir(tmp_path)
    data = sounds((900, 1100, 1000))
    for folder in ("wavs", "test_wavs"):
        for name, clip, who in zip(data.names, data.clips, data.speakers, strict=True):
            (tmp_path / folder / who).mkdir(parents=True, exist_ok=True)
            write_sound(tmp_path / folder / who / name, clip, RATE)
    page = Path(__file__).parents[1] / "docs" / "sounds.md"
    (block,) = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    short = functools.partial(fit, max_steps=2, progress=False)
    monkeypatch.setattr(diffeo.train, "fit", short)
    names: dict = {}
    exec(compile(block, "sounds.md", "exec"), names)
    assert names["again"].lengths == names["test"].lengths
    assert (tmp_path / "again.wav").exists()
