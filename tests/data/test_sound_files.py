"""One sound file: what is read and written exactly, and what is wrong with others."""

import sys

import numpy as np
import pytest
import torch

from diffeo.data import DataError, read_sounds, write_sound
from diffeo.data.resample import resample

soundfile = pytest.importorskip("soundfile")

RATE = 8000


def levels(n: int = 1000, bits: int = 16) -> np.ndarray:
    """Waveforms at the levels of so many bits, both ends among them."""
    scale = 2 ** (bits - 1)
    whole = np.random.default_rng(0).integers(-scale, scale, n)
    whole[[0, 500]] = -scale, scale - 1
    return (whole / scale).astype(np.float32)


@pytest.mark.parametrize(
    ("name", "bits"), [("a.wav", 16), ("a.flac", 16), ("a.WAV", 24), ("a.flac", 24), ("a.wav", 32)]
)
def test_what_is_written_is_read_again(tmp_path, name, bits):
    x = levels(bits=min(bits, 24))
    assert write_sound(tmp_path / name, x, RATE, bits=bits) == 0
    kind = {16: "PCM_16", 24: "PCM_24", 32: "FLOAT"}[bits]
    assert soundfile.info(tmp_path / name).subtype == kind
    sounds = read_sounds(tmp_path / name)
    assert sounds.rate == RATE and sounds.names == (name,) and sounds.speakers is None
    assert np.array_equal(sounds.clips[0], x) and sounds.clips[0].dtype == np.float32
    # Again: the same bytes of samples.
    write_sound(tmp_path / f"b{name}", sounds.clips[0], RATE, bits=bits)
    again = soundfile.read(tmp_path / f"b{name}")[0]
    assert np.array_equal(soundfile.read(tmp_path / name)[0], again)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([name, f"b{name}"])


@pytest.mark.parametrize(
    ("subtype", "dtype", "scale"),
    [("PCM_U8", "int16", 2**15), ("PCM_32", "int32", 2**31), ("DOUBLE", "float64", 1)],
)
def test_other_ways_to_store_samples(tmp_path, subtype, dtype, scale):
    whole = levels(bits=8).astype(np.float64)
    soundfile.write(tmp_path / "a.wav", (whole * scale).astype(dtype), RATE, subtype=subtype)
    assert np.array_equal(read_sounds(tmp_path / "a.wav").clips[0], whole)


def test_tensors_are_written_and_what_is_beyond_full_scale_is_cut(tmp_path):
    x = torch.tensor([[0.0, 1.0, -1.0, 1.5, -2.0, 1 / 32768]], requires_grad=True)
    assert write_sound(tmp_path / "a.wav", x, RATE) == 2
    whole = soundfile.read(tmp_path / "a.wav", dtype="int16")[0]
    assert whole.tolist() == [0, 32767, -32768, 32767, -32768, 1]


def test_writing_is_whole_or_nothing(tmp_path, monkeypatch):
    path = tmp_path / "a.wav"
    write_sound(path, levels(), RATE)
    before = path.read_bytes()

    def fails(file, *args, **options):
        file.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(soundfile, "write", fails)
    with pytest.raises(DataError, match=r"a\.wav: can't be written: No space left"):
        write_sound(path, levels(), RATE)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["a.wav"]


@pytest.mark.parametrize(
    ("name", "x", "options", "error", "words"),
    [
        ("a.mp3", levels(), {}, DataError, "written as .wav or .flac"),
        ("no/a.wav", levels(), {}, DataError, "the folder .*no does not exist"),
        ("a.wav", levels(), {"bits": 8}, ValueError, "one of 16, 24, 32, got 8"),
        ("a.flac", levels(), {"bits": 32}, ValueError, "one of 16, 24, got 32"),
        ("a.wav", levels(), {"rate": 0}, ValueError, "rate must be a positive"),
        ("a.wav", levels().reshape(2, -1), {}, ValueError, r"shape \(T,\) or \(1, T\)"),
        ("a.wav", np.zeros(0, np.float32), {}, ValueError, "T ≥ 1"),
        ("a.wav", np.zeros(9, np.int16), {}, TypeError, "divide 16-bit samples"),
        ("a.wav", np.array([0, np.nan, np.inf]), {}, DataError, "sample 1 is nan.*2 such"),
    ],
)
def test_what_can_not_be_written(tmp_path, name, x, options, error, words):
    with pytest.raises(error, match=words):
        write_sound(tmp_path / name, x, **{"rate": RATE, **options})
    assert not list(tmp_path.iterdir())


def _written(path, x, **options):
    soundfile.write(path, x, RATE, **options)
    return path.read_bytes()


def _damage(path, kind):
    x = levels()
    if kind == "empty":
        path.write_bytes(b"")
    elif kind == "no samples":
        _written(path, x[:0], subtype="PCM_16")
    elif kind == "cut short":
        path.write_bytes(_written(path, x, subtype="PCM_16")[:1000])
    elif kind == "header only":
        path.write_bytes(_written(path, x, subtype="PCM_16")[:30])
    elif kind == "text":
        path.write_text("no sound\n" * 100)
    elif kind == "cut flac":
        path.write_bytes(_written(path, x)[:1500])
    elif kind == "overwritten flac":
        content = bytearray(_written(path, x))
        content[1000:1100] = bytes(100)
        path.write_bytes(content)
    elif kind == "ogg":
        _written(path, x, format="OGG")
    elif kind == "nan":
        _written(path, np.where(np.arange(1000) == 77, np.nan, x), subtype="FLOAT")
    elif kind == "infinite":
        stereo = np.stack([x, np.where(np.arange(1000) == 5, -np.inf, x)], 1)
        _written(path, stereo, subtype="FLOAT")
    elif kind == "levels":
        _written(path, x * 32768, subtype="FLOAT")
    elif kind == "silence":
        _written(path, x * 0)


@pytest.mark.parametrize(
    ("name", "kind", "words"),
    [
        ("a.wav", "empty", "the file is empty; remove it"),
        ("a.wav", "no samples", "has no samples"),
        ("a.wav", "cut short", "cut short: 956 of 2,000 bytes .* copy it again"),
        ("a.wav", "header only", "damaged or no sound file .*save it again as WAV or FLAC"),
        ("a.wav", "text", "damaged or no sound file"),
        ("a.flac", "cut flac", "damaged or no sound file|cut short"),
        ("a.flac", "overwritten flac", "damaged or no sound file|cut short"),
        ("a.wav", "ogg", "is a file of OGG; save it as WAV or FLAC"),
        ("a.wav", "nan", "sample 77 is nan, not a number; repair"),
        ("a.wav", "infinite", "sample 5 is -inf"),
        ("a.wav", "levels", "numbers up to 32,768, and full scale is 1; divide"),
        ("a.wav", "silence", "holds nothing but silence"),
        ("a.wav", "absent", "no such file or folder"),
        ("a.mp3", "text", "read from .wav and .flac"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(tmp_path, name, kind, words):
    path = tmp_path / name
    _damage(path, kind)
    with pytest.raises(DataError, match=words) as caught:
        read_sounds(path)
    assert str(caught.value).startswith(str(path)) and "\n" not in str(caught.value)


def test_a_length_that_was_not_known_when_writing_began(tmp_path):
    """As of programs that write into pipes."""
    path = tmp_path / "a.wav"
    content = bytearray(_written(path, levels(), subtype="PCM_16"))
    place = content.index(b"data") + 4
    content[place : place + 4] = b"\xff" * 4
    path.write_bytes(content)
    assert len(read_sounds(path).clips[0]) == 1000


def test_a_sound_that_memory_may_not_hold(tmp_path, monkeypatch):
    """As of a small FLAC file of hours of silence."""
    soundfile.write(tmp_path / "a.flac", np.zeros((1000, 2)), RATE)
    monkeypatch.setattr("diffeo.data.sound_files.LONGEST", 1999)
    with pytest.raises(DataError, match="1,000 samples of 2 channels, and 1,999 in all are"):
        read_sounds(tmp_path / "a.flac")


def test_without_the_audio_extra(tmp_path, monkeypatch):
    write_sound(tmp_path / "a.wav", levels(), RATE)
    monkeypatch.setitem(sys.modules, "soundfile", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for attempt in (
        lambda: read_sounds(tmp_path / "a.wav"),
        lambda: write_sound(tmp_path / "b.wav", levels(), RATE),
        lambda: resample(levels(), RATE, 2 * RATE),
    ):
        with pytest.raises(ImportError, match=r'audio extra: pip install "diffeo\[audio\]"'):
            attempt()


@pytest.mark.parametrize(("rate", "to"), [(8000, 16000), (22050, 16000), (44100, 22050)])
def test_resampling_keeps_what_both_rates_can_hold(rate, to):
    def tone(at: int) -> np.ndarray:
        t = np.arange(at // 2) / at
        fade = np.sin(np.pi * t / 0.5) ** 2
        return 0.6 * fade * (np.sin(2 * np.pi * 440 * t) + 0.5 * np.sin(2 * np.pi * 2900 * t))

    y = resample(tone(rate).astype(np.float32), rate, to)
    assert y.dtype == np.float32 and len(y) == -(-(rate // 2) * to // rate)
    off = np.abs(y - tone(to)[: len(y)])
    assert off.max() < 0.02 * 0.9


def test_resampling_takes_away_what_the_lower_rate_can_not_hold():
    t = np.arange(8000) / 16000
    high = np.sin(2 * np.pi * 6000 * t)  # would be heard as 2,000 Hz
    assert np.abs(resample(high, 16000, 8000)[100:-100]).max() < 0.01
    assert resample(np.ones(100, np.float32), 8000, 8000).tolist() == [1.0] * 100
    square = np.sign(np.sin(2 * np.pi * 300 * t)).astype(np.float32)
    assert np.abs(resample(square, 16000, 8000)).max() == 1  # rings beyond, and is cut
    with pytest.raises(ValueError, match="positive whole numbers, got 0"):
        resample(square, 16000, 0)
