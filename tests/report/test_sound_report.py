"""The report of a model of sounds: every figure against what it says it is, every sound heard."""

import base64
import copy
import html
import io
import math
import re
import time
import warnings
import wave
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch

from diffeo import SoundModel, create
from diffeo.data import DataError, MelSettings, Sounds
from diffeo.report import gather_sounds, sound_draws, sound_material, sound_report, sound_spectra
from diffeo.report.page import Grid, Notes, Players
from diffeo.report.sound_draws import drawn_beside, longest, scores_by_steps
from diffeo.report.sound_likelihood import verdict
from diffeo.report.sound_material import collect
from diffeo.report.sound_sections import receptive_field, temperatures_section
from diffeo.report.style import png
from diffeo.report.waveforms import waveforms
from diffeo.sound_figures import evaluate_sounds, fit_independent, ratio
from diffeo.steps import sequential
from diffeo.train import History
from diffeo.train.waveforms import wav_bytes
from tests.properties.draws import redraw

RATE = 8000
SMALL = {"layers": 2, "residual": 4, "skip": 4}
MEL = MelSettings(rate=RATE, n_fft=64, hop=16, win=64, n_mels=4)
PICTURED = ("test_a_report_is_one_file_with_its_sounds",)
"""Tests that need the pictures of a page; they take most of its time."""
TITLES = [
    "Warnings", "Bits a sample", "Recordings and draws", "Clip by clip", "Speaker by speaker",
    "Spectra and levels", "Temperatures", "Learning curve", "Model and speed", "Settings",
]  # fmt: skip


@pytest.fixture(autouse=True)
def quick(monkeypatch, request):
    """Few draws, and pictures only where they are looked at, small ones."""
    monkeypatch.setattr(sound_material, "DRAWN", 6)
    looked_at = request.node.name in PICTURED
    for name in ("likelihood", "sections", "spectra"):
        made = partial(png, dpi=40) if looked_at else lambda drawn: b""
        monkeypatch.setattr(f"diffeo.report.sound_{name}.png", made)


def tones(n=8, seed=0, rate=RATE) -> Sounds:
    """Tones in noise, those of ann low and those of ben high, of 200 samples and more."""
    rng = np.random.default_rng(seed)
    clips = [
        0.3 * np.sin(np.arange(200 + 8 * i) * (0.2 if i % 2 else 0.6))
        + rng.normal(0, 0.02, 200 + 8 * i)
        for i in range(n)
    ]
    names = [f"{seed}/<b>{i}.wav" for i in range(n)]
    return Sounds(clips, rate, names, ["ann", "ben"] * (n // 2) + ["ann"] * (n % 2))


def model(name: str = "wavenet", context: Any = (), known: bool = True, **options: Any) -> Any:
    options = {**SMALL, **({"components": 2} if name == "wavenet" else {}), **options}
    if name == "waveglow":
        options |= {"flows": 2}
    mel = MEL if "mel" in context else None
    how: dict[str, Any] = {"context": context, "mel": mel, "segment": 64, **options}
    made = SoundModel.create(name, tones(), **how)
    if name == "waveglow":  # whose matrices could hardly be inverted, drawn anew
        torch.manual_seed(0)
        with torch.no_grad():
            for parameter in made.density.parameters():
                parameter.add_(0.03 * torch.randn_like(parameter))
    else:
        redraw(made.density, 0.1)
    rows = made.rows(tones())
    made.density.eval().initialize(rows.x, rows.context)
    if known:
        fit_independent(made, tones(seed=1))
    return made


def history():
    return History(
        steps=[0, 5, 10],
        train=[math.nan, -150.0, -120.0],
        validation=[-190.0, -150.0, -130.0],
        seconds=[0.0, 1.0, 200.0],
        best_step=10,
        best_validation=-130.0,
        rows=200,
        validation_rows=20,
        stopped="max_steps",
    )


def blocks(page, start, kind):
    section = next(part for part in page.sections if part.title.startswith(start))
    return [block for block in section.blocks if isinstance(block, kind)]


def samples_of(wav: bytes) -> tuple[int, np.ndarray]:
    """The rate and the waveform of a file of one channel of 16 bits."""
    with wave.open(io.BytesIO(wav)) as file:
        assert (file.getnchannels(), file.getsampwidth()) == (1, 2)
        levels = np.frombuffer(file.readframes(file.getnframes()), "<i2")
        return file.getframerate(), levels / 32768


def test_a_report_is_one_file_with_its_sounds(tmp_path):
    vocoder, sounds = model("waveglow", ("mel", "speaker")), tones(9, 2)
    state = torch.get_rng_state()
    path = sound_report(
        vocoder,
        sounds,
        path=tmp_path / "new" / "run.html",
        history=history(),
        settings={"seed": 3},
        seed=3,
        warnings=["half of it is <zero>"],
    )
    assert torch.equal(state, torch.get_rng_state())
    names = ["clips", "extremes", "spectra", "temperatures", "curve"]
    names += [f"drawn-{i}" for i in range(1, 5)]
    assert {p.name for p in path.parent.iterdir()} == {"run.html"} | {
        f"run-{name}.png" for name in names
    }
    page = path.read_text(encoding="utf-8")
    assert page.count("data:image/png;base64,") == len(names)
    assert "<script" not in page and "<b>" not in page and "half of it is &lt;zero&gt;" in page
    assert not re.findall(r'(?:src|href)="(?!data:|#)', page), "the page loads something"
    places = [page.index(f"<h2>{title}</h2>") for title in TITLES]
    assert places == sorted(places)
    found = re.findall(
        r'<audio controls preload="metadata" aria-label="([^"]*)" '
        r'src="data:audio/wav;base64,([^"]*)"',
        page,
    )
    assert len(found) == page.count("<audio") == 8 + 6 + 4
    heard = {html.unescape(name): samples_of(base64.b64decode(data)) for name, data in found}
    assert {rate for rate, _ in heard.values()} == {RATE}
    for name, (_, x) in heard.items():
        kind, _, clip = name.partition(": ")
        if kind == "recorded" and clip:
            recording = sounds.clips[_place(sounds, clip)]
            assert np.abs(x - recording).max() <= 0.5 / 32768
            drawn = heard[f"vocoded: {clip}"][1]
            assert len(drawn) == len(x) and drawn.std() > 0 and np.abs(drawn - x).max() > 0.01
    # Of one clip at several temperatures, the last is the model's own.
    sizes = [float(np.square(heard[f"σ = {t}"][1]).mean()) for t in (0.6, 0.8, 1.0)]
    assert sizes == sorted(sizes) and sizes[0] < sizes[2]
    told = re.search(r"18 sounds of 16 bits \(([0-9.]+) MB\)", page)
    assert told and float(told[1]) == round(sum(2 * len(x) for _, x in heard.values()) / 1e6, 1)


def _place(sounds: Sounds, name: str) -> int:
    """Of a clip, by the last part of its name: what is behind the last /."""
    return [each.rpartition("/")[2] for each in sounds.names].index(name)


def test_figures_are_those_of_an_evaluation():
    speaking, sounds = model(context=("speaker",)), tones(30, 2)
    speaking.density.train()
    page = gather_sounds(speaking, sounds)
    assert speaking.density.training
    speaking.density.eval()
    found, scores = evaluate_sounds(speaking, sounds)
    (grid,) = blocks(page, "Bits a sample", Grid)
    rows = {row[0]: row for row in grid.rows}
    mine = f"{found.bits_per_sample:.3f} ± {found.standard_error:.3f}"
    assert rows["this model"][1] == mine and mine in page.verdict
    for name, key in (("independent samples", "independent"), ("FLAC", "flac")):
        assert rows[name][1] == f"{found.baselines[key]:.3f}"
    gain, error = found.gains["independent"]
    assert rows["independent samples"][3] == f"{gain:.3f} ± {error:.3f}".replace("-", "−")
    assert rows["this model"][2].startswith(f"{found.nats_per_second:,.1f} ".replace("-", "−"))
    assert rows["all 65,536 levels alike"][1] == "16.000"
    lengths = np.array(sounds.lengths)
    bits = -scores / lengths / math.log(2)
    (clips,) = blocks(page, "Clip by clip", Grid)
    worst = int(bits.argmax())
    assert clips.rows[0][0] == sounds.names[worst] and clips.rows[0][-1] == f"{bits[worst]:.3f}"
    best = blocks(page, "Clip by clip", Players)[0].sounds[0]
    assert f"{bits.min():.3f} bits" in best.name
    assert len(samples_of(best.wav)[1]) == lengths[bits.argmin()]
    (speakers,) = blocks(page, "Speaker by speaker", Grid)
    ann = np.array(sounds.speakers) == "ann"
    value, error = ratio((bits * lengths)[ann], lengths[ann])
    row = next(row for row in speakers.rows if row[0] == "ann")
    assert row[1] == "15" and row[3] == f"{value:.3f} ± {error:.3f}"


def test_verdicts_go_by_standard_errors():
    plain = model()
    found = collect(plain, tones(12, 2), 0)
    for off, said in ((-3.0, "learned something"), (3.0, "is worse"), (0.0, "can't be told")):
        baselines = {"independent": found.evaluation.bits_per_sample - off}
        gains = {"independent": (-off, 0.5)}
        judged = _replace(found.evaluation, baselines=baselines, gains=gains)
        assert said in verdict(_replace(found, evaluation=judged))
    assert "No simple model" in verdict(collect(model(known=False), tones(2, 2), 0))


def _replace(value, **changes):
    from dataclasses import replace

    return replace(value, **changes)


@pytest.mark.parametrize(
    ("name", "options", "at_once", "by_steps", "words"),
    [
        ("wavenet", {"head": "gaussian"}, False, False, "a free draw, which"),
        ("wavenet", {"head": "mu-law"}, False, False, "can't stand beside μ-law codes"),
        ("maf", {"transforms": 1}, False, False, "density, counted as"),
        ("iaf", {"transforms": 1}, True, True, "σ = 0.6"),
    ],
)
def test_every_kind_of_model_has_a_page(name, options, at_once, by_steps, words):
    made = model(name, **options)
    assert (sequential(made.density) is None) == at_once
    assert scores_by_steps(made.density) == by_steps
    page = gather_sounds(made, tones(5, 2))
    assert words in repr(page.sections)
    titles = [section.title for section in page.sections]
    assert ("Temperatures" in titles) == at_once and "Speaker by speaker" in titles
    (first, *_) = blocks(page, "Recordings and draws", Players)
    recorded, drawn = (samples_of(sound.wav)[1] for sound in first.sounds)
    assert len(drawn) >= len(recorded) >= 200 and drawn.std() > 0
    assert ("FLAC" in [row[0] for row in blocks(page, "Bits", Grid)[0].rows]) != (
        options.get("head") == "mu-law"
    )


def test_the_same_seed_makes_the_same_sounds():
    plain = model()
    pages = [gather_sounds(plain, tones(9, 2), seed=seed) for seed in (1, 1, 2)]
    first, again, other = (
        [sound.wav for block in blocks(page, "Recordings", Players) for sound in block.sounds]
        for page in pages
    )
    assert first == again != other


def test_many_clips_are_scored_in_part_and_that_is_said(monkeypatch):
    plain, sounds = model(), tones(30, 2)
    each = sum(p.numel() for p in plain.density.parameters())
    monkeypatch.setattr(sound_material, "WORK", each * 3000.0)
    page = gather_sounds(plain, sounds)
    found = collect(plain, sounds, 0)
    assert sound_material.LEAST <= len(found.sounds) < 30
    assert sum(found.sounds.lengths) <= 3000
    assert f"{len(found.sounds)} of 30 clips, drawn at random" in repr(page.sections)
    assert np.allclose(found.scores, plain.log_prob(found.sounds))


def test_a_page_holds_no_more_sound_than_it_says(monkeypatch):
    monkeypatch.setattr(sound_material, "EMBEDDED", 20 * 2 * 50)
    page = gather_sounds(model(), tones(6, 2))
    players = [
        sound
        for section in page.sections
        for block in section.blocks
        if isinstance(block, Players)
        for sound in block.sounds
    ]
    assert {len(samples_of(sound.wav)[1]) for sound in players} == {50}
    assert any("the first 0.01 s" in sound.name for sound in players)


def test_spectra_tell_where_draws_differ():
    """A tone of amplitude a has power a² of full scale, in its own band."""
    time = np.arange(4000) / RATE
    low = Sounds([0.5 * np.sin(2 * np.pi * 750 * time + i) for i in range(4)], RATE)
    high = Sounds([0.1 * np.sin(2 * np.pi * 3250 * time + i) for i in range(4)], RATE)
    ours, theirs = sound_spectra.bands(low), sound_spectra.bands(high)
    assert ours[1].power == pytest.approx(20 * math.log10(0.5), abs=0.3)
    assert theirs[6].power == pytest.approx(-20, abs=0.3)
    assert ours[6].power < -40 > theirs[1].power
    words = sound_spectra.in_words(ours, theirs)
    assert "at 0.5–1 kHz" in words or "at 3–3.5 kHz" in words
    assert "In no band" in sound_spectra.in_words(ours, ours)
    levels = [sound_spectra.loudness(sounds) for sounds in (low, high)]
    assert levels[0]["root mean square"] == pytest.approx(10 * math.log10(0.125), abs=0.01)
    assert levels[0]["loudest sample"] == pytest.approx(-6.02, abs=0.01)
    assert sum(list(levels[0].values())[2:]) == pytest.approx(1)
    assert "14.0 dB quieter" in sound_spectra.levels_in_words(*levels)
    assert "as loud, to 0.1 dB, as recordings" in sound_spectra.levels_in_words(*levels[:1] * 2)


def hum(amplitude: float, samples: int = 4000) -> np.ndarray:
    return amplitude * np.sin(2 * np.pi * 750 * np.arange(samples) / RATE)


def test_clips_count_by_length_in_spectra():
    sounds = Sounds([hum(0.5, 4000), hum(0.05, 16000)], RATE)
    mean = (0.5**2 * 4000 + 0.05**2 * 16000) / 20000
    assert sound_spectra.bands(sounds)[1].power == pytest.approx(10 * math.log10(mean), abs=0.3)


def test_one_clip_tells_nothing_of_differences():
    loud, quiet = (sound_spectra.bands(Sounds([hum(a)], RATE)) for a in (0.5, 0.05))
    assert math.isnan(loud[1].error)
    words = sound_spectra.in_words(loud, quiet)
    assert "One clip has no standard error" in words and "In no band" not in words


def test_what_is_vocoded_is_judged_clip_by_clip():
    """Clips of many loudnesses, each vocoded 1 dB too quiet: that is told by their differences."""
    loudness = (0.5, 0.1, 0.05, 0.3, 0.02)
    ours = sound_spectra.bands(Sounds([hum(a) for a in loudness], RATE))
    theirs = sound_spectra.bands(Sounds([hum(a * 10**-0.05) for a in loudness], RATE))
    for paired, error in ((True, 0.0), (False, math.hypot(ours[1].error, theirs[1].error))):
        told = ours[1].beside(theirs[1], paired)
        assert told == pytest.approx((-1, error), abs=1e-4)
    assert ours[1].error > 1
    assert "1.0 ± 0.0 dB less power" in sound_spectra.in_words(ours, theirs, True)
    assert "In no band" in sound_spectra.in_words(ours, theirs)
    totals = np.array([np.square(hum(a)).sum() for a in loudness])
    mean, error = ratio(totals, np.full(5, 4000))
    assert ours[1].error == pytest.approx(10 / math.log(10) * error / mean, rel=1e-3)
    page = gather_sounds(model("waveglow", ("mel",)), tones(6, 2))
    assert "differences clip by clip" in repr(page.sections)


def test_silence_has_a_page_without_warnings():
    silence = Sounds([np.zeros(200 + 8 * i) for i in range(4)], RATE)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        gather_sounds(model(), silence)


@pytest.mark.parametrize("prediction", [0, 12])
def test_receptive_fields_are_those_of_the_network(prediction):
    """Of a WaveNet, found by changing one sample: those behind it, so many and no more, change."""
    plain = model(layers=3, prediction=prediction)
    net: Any = plain.density.net
    x = torch.randn(32, 1, 80, generator=torch.Generator().manual_seed(0)).double() * 0.1
    moved = x.clone()
    moved[..., 10] += 0.3
    with torch.no_grad():
        off = (net.double()(moved) - net(x)).abs().sum((0, 1, 3))
    seen = torch.nonzero(off).flatten()
    assert int(seen.max()) - 10 == net.receptive_field
    assert net.receptive_field == max(8, prediction)
    told = receptive_field(collect(plain, tones(4, 2), 0))
    assert told.startswith(f"{net.receptive_field} samples ({net.receptive_field / 8:.1f} ms) back")


def test_the_receptive_field_of_waveglow_is_that_of_all_couplings():
    """Found by changing one sample: the groups around it whose latents change, and no others."""
    flow = model("waveglow")
    density: Any = flow.density.double()
    noise = torch.Generator().manual_seed(0)
    x = 0.1 * torch.randn(8, 1, 40 * flow.multiple, generator=noise).double()
    moved = x.clone()
    moved[..., 20 * flow.multiple] += 0.3
    with torch.no_grad():
        one, other = (density.bijection(y)[0] for y in (x, moved))
    changed = torch.nonzero((one - other).abs().sum((0, 1))).flatten()
    samples = (int(changed.max()) - int(changed.min()) + 1) * flow.multiple
    told = receptive_field(collect(model("waveglow"), tones(4, 2), 0))
    assert told.startswith(f"{samples:,} samples ") and "of 2 couplings together" in told


def test_flac_is_told_by_how_many_bits_more_it_takes():
    found = evaluate_sounds(model(), tones(6, 2))[0]
    gain, error = found.gains["flac"]
    assert gain == pytest.approx(found.baselines["flac"] - found.bits_per_sample)
    assert math.isnan(error) and not math.isnan(found.standard_error)


@pytest.mark.filterwarnings("ignore:.*beyond full scale")
def test_temperatures_scale_the_same_noise():
    section = temperatures_section(collect(model("waveglow", ("mel",)), tones(6, 2), 0))
    assert section is not None
    (players,) = [block for block in section.blocks if isinstance(block, Players)]
    cold, _, own = (samples_of(sound.wav)[1] for sound in players.sounds[1:])
    assert np.corrcoef(cold, own)[0, 1] > 0.9


@pytest.mark.filterwarnings("ignore:.*beyond full scale")
def test_long_sounds_of_fixed_length_have_a_page(monkeypatch):
    """What is played of them is cut, and what is drawn is not."""
    monkeypatch.setattr(sound_material, "EMBEDDED", 20 * 2 * 50)
    sounds = Sounds([clip[:200] for clip in tones(6, 2).clips], RATE)
    page = gather_sounds(model("iaf", transforms=1, shape=(1, 200), segment=None), sounds)
    (players,) = blocks(page, "Temperatures", Players)
    assert {len(samples_of(sound.wav)[1]) for sound in players.sounds} == {50}


@pytest.mark.parametrize(
    ("scored", "drawn", "told"),
    [
        ("a GPU", "a CPU", "here, scored on a GPU and drawn on a CPU, "),
        ("a CPU", "a GPU", "here, scored on a CPU and drawn on a GPU, "),
        ("a GPU", "a GPU", "here, on a GPU, "),
    ],
)
def test_every_speed_is_told_with_its_device(monkeypatch, scored, drawn, told):
    """What goes sample by sample is done by a copy on the CPU."""
    plain = model()

    def quick(density, *, stepping=None):
        device = drawn if stepping is None else scored
        return copy.deepcopy(density) if device == "a CPU" else density

    def device_of(density):
        return "a GPU" if density is plain.density else "a CPU"

    monkeypatch.setattr(sound_material, "where_quick", quick)
    monkeypatch.setattr(sound_material, "computed_on", device_of)
    assert told in repr(gather_sounds(plain, tones(4, 2)).sections)


def test_a_page_claims_no_more_of_its_clips_than_is_known():
    page = gather_sounds(model(), tones(4, 2))
    assert "not trained on" in page.subtitle and "held-out sound" in page.verdict
    page = gather_sounds(model(), tones(4, 2), held_out=False)
    assert page.subtitle.endswith("judged by 4 clips.") and page.title == "wavenet on 4 clips"
    assert "held-out" not in page.verdict


def test_a_page_says_that_it_hurried(monkeypatch):
    plain = model()
    calm = collect(plain, tones(4, 2), 0).drawn
    assert calm is not None and not calm.hurried and max(calm.recorded.lengths) > 200
    monkeypatch.setattr(sound_material, "PATIENCE", 0.0)
    page = gather_sounds(plain, tones(4, 2))
    assert "Recordings are cut to 0.01 s" in repr(page.sections)


def test_drawing_takes_no_longer_than_patience(monkeypatch):
    """Drawing takes a second for 64 samples, of a clock that is told."""
    now, draw = [0.0], sound_draws.drawn_like

    def slowly(model, like, seed, **how):
        now[0] += max(like.lengths) / 64
        return draw(model, like, seed, **how)

    monkeypatch.setattr(sound_draws, "drawn_like", slowly)
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    sounds = tones(6).at([4, 5])
    for patience, samples in ((0.0, 64), (2.0, 128), (100.0, 240)):
        recorded, made = drawn_beside(model(), sounds, 1.0, 0, patience)
        assert max(recorded.lengths) == max(made.lengths) == samples


@pytest.mark.filterwarnings("ignore:.*beyond full scale")
def test_draws_stand_beside_recordings():
    vocoder, sounds = model("waveglow", ("mel",)), tones(6)
    recorded, made = drawn_beside(vocoder, sounds.at([0, 5]), 0.02, 0, 60.0)
    assert recorded.lengths == made.lengths == (160, 160)
    assert longest(sounds, 3) == [4, 5, 3]  # one of each speaker, then the longest
    free = drawn_beside(model(), sounds.at([0, 5]), 1.0, 0, 60.0)[1]
    assert free.lengths == (240, 240)


def test_a_model_that_draws_no_sound_has_its_figures_all_the_same(monkeypatch):
    def fail(*arguments, **options):
        raise ValueError("samples are not finite")

    monkeypatch.setattr(sound_material, "drawn_beside", fail)
    page = gather_sounds(model(), tones(30, 2))
    (notes,) = blocks(page, "Warnings", Notes)
    assert notes.lines == ("Nothing is drawn: samples are not finite",)
    assert "Recordings and draws" not in [section.title for section in page.sections]


def test_it_is_told_what_is_being_done():
    told: list[str] = []
    gather_sounds(model(), tones(8, 2), progress=told.append)
    assert told[0].startswith("scoring 8 clips") and "drawing beside 4 clips" in told
    assert len(told) == len(set(told)) >= 4


def test_mistakes_are_refused():
    with pytest.raises(DataError, match="resample"):
        gather_sounds(model(), tones(rate=16000))
    with pytest.raises(TypeError, match="expected a SoundModel"):
        gather_sounds(create("maf", features=2), tones())  # type: ignore[arg-type]


def test_sounds_are_written_as_16_bits():
    x = np.array([0.0, 0.5, -1.0, 1.0, 2.0], np.float32)
    rate, read = samples_of(wav_bytes(x, 11025))
    assert rate == 11025
    assert read.tolist() == [0.0, 0.5, -1.0, 1 - 2**-15, 1 - 2**-15]


def test_rows_of_waveforms_share_their_scales():
    long, short = np.sin(np.arange(800)), 0.1 * np.sin(np.arange(400))
    drawn = waveforms([("a", [("1", long)]), ("b", [("", short)])], RATE)
    one, other = (drawn.axes[i] for i in (0, 2))
    assert one.get_xlim() == other.get_xlim() == (0, 0.1)
    assert one.get_ylim() == other.get_ylim()
    assert [axes.get_title(loc="left") for axes in (one, other)] == ["a: 1", "b"]
