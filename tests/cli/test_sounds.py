"""The commands on sounds: from a folder of clips to a model, and what it is used for."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from diffeo import load
from diffeo.cli import main
from diffeo.cli.options import model_options
from diffeo.cli.sounds import holds_sounds, samples_of
from diffeo.cli.words import _flags, parse
from diffeo.data import Sounds, mel_spectrogram, read_sounds, write_sound
from diffeo.data.images import write_images
from diffeo.models import SOUND_MODELS
from diffeo.sound_model import SoundModel
from diffeo.train.waveforms import IndependentSamples, flac_bytes

soundfile = pytest.importorskip("soundfile")

RATE = 8000
SMALL = ("--layers", 2, "--residual", 4, "--skip", 4)
QUICK = ("--max-steps", 4, "--batch-size", 4, "--threads", 1, "--samples-every", 0)
WAVENET = (*SMALL, "--components", 2, "--segment", 100, *QUICK)
WAVEGLOW = ("--flows", 2, *SMALL, "--segment", 64, *QUICK)
MEL = ("--context", "mel", "--mels", 8, "--hop", 16, "--window", 64)


def words(*parts: object) -> list[str]:
    return [str(part) for part in parts]


def make_clip(samples: int, pitch: float, seed: int) -> np.ndarray:
    """A tone with some noise."""
    rng = np.random.default_rng(seed)
    tone = 0.3 * np.sin(np.arange(samples) * pitch + rng.uniform(0, 6))
    return (tone + rng.normal(0, 0.02, samples)).astype(np.float32)


@pytest.fixture(scope="session")
def clips(tmp_path_factory) -> Path:
    """Twenty clips of some hundred samples, "N_ann.wav" low and "N_ben.wav" high."""
    folder = tmp_path_factory.mktemp("sounds") / "clips"
    folder.mkdir()
    for i in range(20):
        name, pitch = ("ann", 0.2) if i % 2 else ("ben", 0.6)
        clip = make_clip(200 + 10 * i, pitch, i)
        write_sound(folder / f"{i}_{name}.{'flac' if i == 7 else 'wav'}", clip, RATE)
    return folder


@pytest.fixture(scope="session")
def wavenet(clips, tmp_path_factory) -> Path:
    """A WaveNet of both speakers; tests only read it."""
    out = tmp_path_factory.mktemp("runs") / "w"
    given = ("--context", "speaker", "--speakers", "_(.+)[.]")
    assert main(words("train", "wavenet", clips, "--out", out, "--quiet", *given, *WAVENET)) == 0
    return out


@pytest.fixture(scope="session")
def waveglow(clips, tmp_path_factory) -> Path:
    """A WaveGlow given the mel spectrogram; tests only read it."""
    out = tmp_path_factory.mktemp("runs") / "g"
    assert main(words("train", "waveglow", clips, "--out", out, "--quiet", *MEL, *WAVEGLOW)) == 0
    return out


def test_sounds_are_told_from_other_data(clips, photos, tables, empty):
    assert holds_sounds(clips) and holds_sounds(clips / "0_ben.wav")
    assert holds_sounds(Path("song.mp3"))  # which reading refuses, with what to do
    assert not holds_sounds(photos) and not holds_sounds(tables / "train.csv")
    write_sound("a.wav", np.zeros(9), RATE)
    assert holds_sounds(Path())
    write_images(Path("cover.png"), np.zeros((1, 1, 8, 8), np.uint8))
    assert not holds_sounds(Path())


@pytest.mark.parametrize(
    ("text", "samples"), [("8000", 8000), ("0.5s", 4000), ("250ms", 2000), ("1s", 8000)]
)
def test_lengths_are_samples_or_times(text, samples):
    assert samples_of(text, RATE) == samples


@pytest.mark.parametrize("name", SOUND_MODELS)
def test_options_of_models_of_sounds_can_be_typed(name, clips, diffeo):
    options = model_options(name, "sounds")
    flow = name != "wavenet"
    assert set(options) == ({*SOUND_MODELS[name].options} - {"hop"}) | (
        {"memory"} if flow else set()
    )
    assert all(option.doc for option in options.values())
    outcome = diffeo("train", name, clips, "--help")
    assert outcome.status == 0
    for key in (*options, "rate", "segment", "speakers", "mels"):
        assert "--" + key.replace("_", "-") in outcome.out
    for preset, settings in SOUND_MODELS[name].presets.items():
        chosen = vars(parse(words("train", name, clips, "--out", "o", "--preset", preset)).options)
        assert {key: chosen[key] for key in settings} == dict(settings)


def test_training_leaves_model_curve_pictures_samples_and_logs(diffeo, clips, empty, pictures):
    outcome = diffeo("train", "wavenet", clips, "--out", "w", *WAVENET, "--samples-every", 0.001)
    assert outcome.status == 0, outcome.err
    assert "18 clips" in outcome.err and "2 clips held out to judge by" in outcome.err
    assert "at 8,000 Hz" in outcome.err and "segments of 100 samples" in outcome.err
    for said in ("bits a sample of the 2 held-out clips", "of levels of 16 bits", "FLAC",
                 "independent samples", "nats a second", "next: diffeo sample w"):  # fmt: skip
        assert said in outcome.out
    found = {path.name for path in Path("w").iterdir()}
    wanted = {"config.json", "curve.png", "waveforms.png", "samples.wav", "history.csv"}
    assert wanted | {"settings.json"} <= found
    assert list(Path("w/logs").glob("samples-*.wav"))
    drawn = read_sounds(Path("w/samples.wav"))
    assert drawn.rate == RATE and drawn.clips[0].any()
    info = diffeo("info", "w")
    assert "sounds at 8,000 Hz, segments of 100 samples" in info.out and "FLAC" in info.out


def test_the_json_result_is_complete(diffeo, clips, empty):
    outcome = diffeo("train", "wavenet", clips, "--out", "w", "--json", *WAVENET)
    result = json.loads(outcome.out)
    assert (result["rate"], result["segment"], result["clips"]) == (RATE, 100, 18)
    judged = result["validation"]
    assert judged["rows"] == 2 and judged["bits"] == 16 and judged["of"] == "levels"
    assert set(judged["baselines"]) == {"independent", "flac"}
    expected = -judged["bits_per_sample"] * math.log(2) * RATE
    assert judged["nats_per_second"] == pytest.approx(expected)


def test_evaluation_is_of_whole_clips(diffeo, clips, wavenet):
    told = json.loads(diffeo("evaluate", wavenet, clips, "--json").out)
    model = load(wavenet)
    assert isinstance(model, SoundModel)
    sounds = read_sounds(clips, speakers="_(.+)[.]")
    scores = model.log_prob(sounds)
    bits = -scores.sum() / sum(sounds.lengths) / math.log(2)
    assert told["bits_per_sample"] == pytest.approx(bits, rel=1e-5)
    assert told["log_likelihood"] == pytest.approx(scores.mean(), rel=1e-5)
    assert told["samples"] == sum(sounds.lengths) and told["rows"] == 20
    each = -scores / math.log(2) - bits * np.array(sounds.lengths)
    error = np.sqrt(np.square(each).sum() * 20 / 19) / sum(sounds.lengths)
    assert told["standard_error"] == pytest.approx(error, rel=1e-4)
    assert 0 < told["baselines"]["flac"] < 16.5 and 0 < told["baselines"]["independent"] < 16.5


def test_scores_have_a_row_for_each_clip(diffeo, clips, wavenet, empty):
    outcome = diffeo("score", wavenet, clips, "--out", "s.csv", "--threshold", 0.5)
    assert outcome.status == 0, outcome.err
    lines = Path("s.csv").read_text().splitlines()
    assert lines[0] == "sound,samples,log_likelihood,bits_per_sample,percentile,flagged"
    assert len(lines) == 21 and lines[1].startswith("0_ben.wav,200,")
    assert "strangest" in outcome.out and "of the clips held out" in outcome.out


def test_sampling(diffeo, wavenet, empty):
    given = ("--given", "speaker=ann", "--seed", 1)
    assert diffeo("sample", wavenet, "--seconds", 0.02, "--out", "a.wav", *given).status == 0
    one = read_sounds(Path("a.wav"))
    assert (one.rate, one.lengths) == (RATE, (160,))
    assert diffeo("sample", wavenet, "--seconds", 0.02, "--out", "b.flac", *given).status == 0
    assert np.array_equal(read_sounds(Path("b.flac")).clips[0], one.clips[0])
    outcome = diffeo("sample", wavenet, "-n", 3, "--seconds", 0.01, "--out", "many", *given)
    assert outcome.status == 0 and "3 sounds of 0.01 s" in outcome.out
    assert sorted(path.name for path in Path("many").iterdir()) == ["1.wav", "2.wav", "3.wav"]
    unlike = diffeo("sample", wavenet, "--seconds", 0.02, "--out", "c.wav", *given[:2])
    assert "the same again: --seed" in unlike.out
    warm = ("--temperature", 0.1)
    assert diffeo("sample", wavenet, "--seconds", 0.02, "--out", "d.wav", *given, *warm).status == 0
    assert np.abs(read_sounds(Path("d.wav")).clips[0]).std() != np.abs(one.clips[0]).std()


def test_vocoding_gives_sounds_of_the_same_length(diffeo, clips, waveglow, empty):
    clip = clips / "3_ann.wav"
    same = ("--temperature", 0.6, "--seed", 0)
    outcome = diffeo("vocode", waveglow, clip, "--out", "v.wav", *same)
    assert outcome.status == 0, outcome.err
    made, recorded = read_sounds(Path("v.wav")), read_sounds(clip)
    assert made.lengths == recorded.lengths and made.rate == RATE
    assert diffeo("vocode", waveglow, clips, "--out", "all", *same).status == 0
    assert read_sounds(Path("all")).lengths == read_sounds(clips).lengths
    assert Path("all/7_ann.flac").is_file()
    model = load(waveglow)
    assert isinstance(model, SoundModel) and model.mel is not None
    mel = mel_spectrogram(torch_of(recorded), model.mel).numpy()
    np.save("mel.npy", mel)
    told = diffeo("sample", waveglow, "--context-file", "mel.npy", "--out", "m.wav")
    assert told.status == 0, told.err
    np.save("decibels.npy", mel * 20)
    words = ("sample", waveglow, "--context-file", "decibels.npy", "--out", "n.wav")
    assert "was made in another way" in diffeo(*words).mistake
    assert not Path("n.wav").exists()


def torch_of(sounds: Sounds):
    import torch

    return torch.from_numpy(sounds.clips[0])


def test_a_density_counts_as_the_probability_of_levels(diffeo, clips, waveglow):
    told = json.loads(diffeo("evaluate", waveglow, clips, "--json").out)
    model = load(waveglow)
    assert isinstance(model, SoundModel)
    sounds = read_sounds(clips)
    scored = model.scored(sounds)
    assert told["samples"] == scored.sum() < sum(sounds.lengths)  # whole groups of 8
    bits = -model.log_prob(sounds).sum() / scored.sum() / math.log(2) + 15
    assert told["bits_per_sample"] == pytest.approx(bits, rel=1e-5) and told["of"] == "density"


def test_flows_of_sounds_and_mu_law(diffeo, clips, empty):
    assert (
        diffeo("train", "maf", clips, "--out", "m", *SMALL, "--segment", "10ms", *QUICK).status == 0
    )
    assert "of maf" not in diffeo("info", "m").err
    outcome = diffeo(
        "train", "wavenet", clips, "--out", "u", "--head", "mu-law", *WAVENET[:-10], *QUICK
    )
    assert outcome.status == 0, outcome.err
    assert "of 256 μ-law codes" in outcome.out and "FLAC" not in outcome.out


def test_clips_of_another_rate_are_resampled_and_told(diffeo, wavenet, empty):
    write_sound("x.wav", make_clip(400, 0.2, 0), 16_000)
    mistake = diffeo("evaluate", wavenet, "x.wav").mistake
    assert "finds no speaker in the name 'x.wav'" in mistake and "--given speaker=NAME" in mistake
    outcome = diffeo("evaluate", wavenet, "x.wav", "--given", "speaker=ann")
    assert outcome.status == 0 and "resampled from 16,000 to 8,000 Hz" in outcome.err
    assert "1 clip, 0.03 s at 8,000 Hz" in outcome.out


def test_a_run_goes_on(diffeo, clips, empty, monkeypatch):
    """Stopped before it was done; its end is that of a run that was not."""
    whole = ("train", "wavenet", clips, *WAVENET, "--out")
    assert diffeo(*whole, "a").status == 0

    def stop(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("diffeo.cli.train_sounds.judged", stop)
        assert diffeo(*whole, "b").status == 130
    assert (Path("b/unfinished")).is_dir()
    assert diffeo(*whole, "b", "--resume").status == 0
    assert Path("a/model.safetensors").read_bytes() == Path("b/model.safetensors").read_bytes()


def mixed(folder: Path) -> None:
    write_sound(folder / "b.wav", make_clip(300, 0.2, 0), 16_000)


def damaged(folder: Path) -> None:
    (folder / "b.wav").write_bytes(b"RIFF and nothing more")


def hollow(folder: Path) -> None:
    (folder / "b.wav").write_bytes(b"")


def not_numbers(folder: Path) -> None:
    x = make_clip(300, 0.2, 0)
    x[5] = np.nan
    soundfile.write(folder / "b.wav", x, RATE, subtype="FLOAT")


def silent(folder: Path) -> None:
    for name in ("a.wav", "b.wav"):
        write_sound(folder / name, np.zeros(300), RATE)


@pytest.mark.parametrize(
    ("spoil", "parts"),
    [
        (mixed, ("b.wav", "16,000 Hz", "--rate")),
        (damaged, ("b.wav", "damaged")),
        (hollow, ("b.wav", "the file is empty")),
        (not_numbers, ("b.wav", "sample 5 is nan")),
        (silent, ("silence",)),
    ],
)
def test_bad_files_get_a_line_and_nothing_is_written(diffeo, empty, spoil, parts):
    Path("in").mkdir()
    write_sound("in/a.wav", make_clip(300, 0.2, 0), RATE)
    spoil(Path("in"))
    mistake = diffeo("train", "wavenet", "in", "--out", "o", *WAVENET).mistake
    for part in parts:
        assert part in mistake
    assert sorted(path.name for path in Path().iterdir()) == ["in"]


def test_stereo_and_mixed_rates_are_converted_where_told(diffeo, empty):
    Path("in").mkdir()
    for i in range(3):
        write_sound(f"in/{i}.wav", make_clip(300, 0.2, i), RATE)
    soundfile.write("in/s.wav", np.stack([make_clip(600, 0.2, i) for i in (3, 4)], 1), 16_000)
    outcome = diffeo("train", "wavenet", "in", "--out", "o", "--rate", RATE, *WAVENET)
    assert outcome.status == 0, outcome.err
    assert "the mean of 2 channels taken" in outcome.err
    assert "resampled from 16,000 to 8,000 Hz" in outcome.err


MISTAKES = {
    "train wavenet EMPTY --out o": ["holds no sound files"],
    "train wavenet MISSING --out o": ["MISSING", "no such file or folder"],
    "train wavenet TABLE --out o": ["wavenet models sounds", "is a table"],
    "train wavenet PHOTOS --out o": ["wavenet models sounds", "holds images"],
    "train glow CLIPS --out o": ["glow models images", "holds sounds", "wavenet"],
    "train wavenet CLIPS --out o --context pitch": ["--context pitch", "mel, speaker"],
    "train wavenet CLIPS --out o --context speaker": ["0 speakers", "--speakers"],
    "train wavenet CLIPS --out o --speakers _(x)_": ["finds no speaker in the name"],
    "train wavenet CLIPS --out o --speakers (": ["regular expression"],
    "train wavenet CLIPS --out o --hop 64": ["--hop", "--context mel"],
    "train wavenet CLIPS --out o --context mel --window 64 --hop 16": ["n_mels"],
    "train wavenet CLIPS --out o --context mel --hop 3000": ["leave out what lies between them"],
    "vocode WAVEGLOW CLIPS --part test --out o": ["has no subfolder of the part"],
    "train wavenet CLIPS --out o --segment soon": ["--segment", "'soon' is no length"],
    "train wavenet CLIPS --out o --rate 0": ["--rate must be positive"],
    "train wavenet CLIPS --out o --head softmax": ["head", "mu-law"],
    "train wavenet CLIPS --out o --image-size 8": ["no option is called --image-size"],
    "train wavenet CLIP --out o": ["has one clip"],
    "train waveglow CLIPS --out CLIPS/o": ["is inside"],
    "train wavenet WAVENET --out o": ["is a folder that diffeo train wrote"],
    "sample WAVENET --out a.wav": ["conditioned on a speaker", "ann, ben"],
    "sample WAVENET --given speaker=eve --out a.wav": ["speaker=eve", "ann, ben"],
    "sample WAVENET --given ann --out a.wav": ["--given speaker=NAME"],
    "sample WAVENET --given speaker=ann": ["--out"],
    "sample WAVENET --given speaker=ann --out a.mp3": [".wav or .flac"],
    "sample WAVENET --given speaker=ann -n 2 --out a.wav": ["a new folder"],
    "sample WAVENET --given speaker=ann --seconds 0 --out a.wav": ["--seconds must be positive"],
    "sample WAVENET --given speaker=ann --context-file m.npy --out a.wav": ["--context mel"],
    "sample WAVEGLOW --out a.wav": ["conditioned on a mel", "diffeo vocode"],
    "sample WAVEGLOW --given speaker=ann --out a.wav": ["not conditioned on speakers"],
    "sample TRAINED -n 1 --seconds 1 --out a.csv": ["--seconds is for sounds"],
    "sample TRAINED --out a.csv": ["-n N"],
    "vocode WAVENET CLIP --out a.wav": ["not conditioned on a mel", "--context mel"],
    "vocode TRAINED CLIP --out a.wav": ["is a model of a table"],
    "vocode WAVEGLOW CLIP --out CLIP": ["is the file that is read"],
    "vocode WAVEGLOW CLIPS --out a.wav": ["a new folder"],
    "vocode WAVEGLOW TABLE --out a.wav": [".wav and .flac"],
    "evaluate WAVENET CLIPS --samples 3": ["--samples is not for sounds"],
    "evaluate WAVENET TABLE": [".wav and .flac"],
    "score WAVENET CLIPS --out s.csv --drop-missing": ["--drop-missing is not for sounds"],
    "compare WAVENET TRAINED CLIPS": ["one is a model of sounds and the other of a table"],
    "encode WAVENET CLIPS --out z.npy": ["is a model of sounds", "is for images"],
    "decode WAVENET z.npy --out a.wav": ["--out a.wav"],
}


@pytest.mark.parametrize("line", MISTAKES)
def test_a_mistake_gets_one_line(
    diffeo, clips, wavenet, waveglow, photos, tables, trained, empty, line
):
    Path("nothing").mkdir()
    places = {
        "EMPTY": "nothing",
        "CLIPS": clips,
        "CLIP": clips / "0_ben.wav",
        "WAVENET": wavenet,
        "WAVEGLOW": waveglow,
        "TABLE": tables / "train.csv",
        "PHOTOS": photos,
        "TRAINED": trained,
    }
    given = []
    for word in line.split():
        place, slash, rest = word.partition("/")
        given.append(f"{places.get(place, place)}{slash}{rest}")
    mistake = diffeo(*given).mistake
    for part in MISTAKES[line]:
        assert part in mistake
    assert sorted(path.name for path in Path().iterdir()) == ["nothing"]


def test_independent_samples_know_frequencies():
    rng = np.random.default_rng(0)
    sounds = Sounds([rng.normal(0, 0.05, 40_000).astype(np.float32)], RATE)
    simple = IndependentSamples.fit(sounds)
    assert float(simple.log_frequency.exp().sum()) == pytest.approx(1, abs=1e-4)
    others = [rng.normal(0, 0.05, 5000).astype(np.float32)]
    bits = -simple.log_prob(others).sum() / 5000 / math.log(2)
    entropy = math.log2(0.05 * math.sqrt(2 * math.pi * math.e)) + 15
    assert bits == pytest.approx(entropy, abs=0.05)
    again = IndependentSamples.from_state(simple.state())
    assert again.log_prob(others) == pytest.approx(simple.log_prob(others))
    coded = IndependentSamples.fit(sounds, 8, mu_law=True)
    assert len(coded.log_frequency) == 256 and coded.mu_law


def test_flac_is_without_loss_and_smaller():
    noise = np.random.default_rng(0).normal(0, 0.01, 20_000).astype(np.float32)
    entropy = math.log2(0.01 * math.sqrt(2 * math.pi * math.e)) + 15
    size = flac_bytes([noise, noise], RATE)
    assert size is not None and entropy < 8 * size / 40_000 < entropy + 1
    assert flac_bytes([noise], 10**9) is None


def test_flags_of_sounds_hide_no_options_of_models():
    from diffeo.cli.commands import TrainSounds

    for name in SOUND_MODELS:
        flags = {"--" + key.replace("_", "-") for key in model_options(name, "sounds")}
        assert not flags & set(_flags(TrainSounds)), name
