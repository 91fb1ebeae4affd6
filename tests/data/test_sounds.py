"""Sounds of folders: names, speakers, rates, channels, and what is said of them."""

import numpy as np
import pytest

from diffeo.data import DataError, Sounds, read_sounds, write_sound
from diffeo.data.errors import NoPart
from tests.conftest import TYPECHECK

DRAW = np.random.default_rng(0)


def noise(n: int = 800, scale: float = 0.1) -> np.ndarray:
    return np.clip(DRAW.normal(0, scale, n), -1, 1)


@pytest.fixture
def folder(tmp_path):
    """Two speakers, three clips, and a text beside them."""
    pytest.importorskip("soundfile")
    for name, n in {"ben/10.wav": 700, "ben/9.flac": 800, "ann/1.wav": 900}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        write_sound(tmp_path / name, noise(n), 8000)
    (tmp_path / "README.txt").write_text("about")
    return tmp_path


def test_a_folder_of_speakers(folder):
    told = []
    sounds = read_sounds(folder, progress=lambda done, of: told.append((done, of)))
    assert sounds.names == ("ann/1.wav", "ben/9.flac", "ben/10.wav")  # in order, as one counts
    assert sounds.lengths == (900, 800, 700) and sounds.rate == 8000
    assert sounds.speakers == ("ann", "ben", "ben") and sounds.speaker_names == ("ann", "ben")
    assert sounds.notes == ("1 other file left out (.txt)",)
    assert told == [(1, 3), (2, 3), (3, 3)]
    assert repr(sounds) == "Sounds(3 clips, 0.30 s at 8000 Hz, 2 speakers)"
    some = sounds.at([2, 0])
    assert some.names == ("ben/10.wav", "ann/1.wav") and some.speakers == ("ben", "ann")
    assert np.array_equal(some.clips[0], sounds.clips[2])


def test_speakers_from_names(folder):
    for name in ("7_jackson_0.wav", "7_theo_1.wav"):
        write_sound(folder / name, noise(), 8000)
    assert read_sounds(folder).speakers is None  # not all lie in subfolders
    for who in (folder / "ann/1.wav", folder / "ben/9.flac", folder / "ben/10.wav"):
        who.unlink()
    assert read_sounds(folder, speakers="_(.+)_").speakers == ("jackson", "theo")
    assert read_sounds(folder, speakers=lambda name: name[0]).speakers == ("7", "7")
    with pytest.raises(
        DataError, match=r"'x\(\.\)' finds no speaker in the name '7_jackson_0.wav'"
    ):
        read_sounds(folder, speakers="x(.)")
    with pytest.raises(ValueError, match=r"one group .* 7_jackson_32.wav"):
        read_sounds(folder, speakers="_.+_")
    with pytest.raises(ValueError, match="regular expression"):
        read_sounds(folder, speakers="(")


def test_parts_are_no_speakers(folder):
    for part in ("train", "test"):
        (folder / part).mkdir()
    for who in ("ann", "ben"):
        (folder / who).rename(folder / "train" / who)
    write_sound(folder / "test" / "a.wav", noise(), 8000)
    train, test = read_sounds(folder), read_sounds(folder, part="test")
    assert train.names[0] == "train/ann/1.wav" and train.speakers == ("ann", "ben", "ben")
    assert "train' is read" in train.notes[0] or "train is read" in train.notes[0]
    assert test.names == ("test/a.wav",) and test.speakers is None
    with pytest.raises(NoPart, match="'val'"):
        read_sounds(folder, part="val")
    with pytest.raises(NoPart, match="is one file"):
        read_sounds(folder / "test" / "a.wav", part="test")


def test_several_rates_need_one_that_is_asked_for(folder):
    write_sound(folder / "ann" / "2.wav", noise(1600), 16000)
    with pytest.raises(DataError, match=r"ann/2.wav: is at 16,000 Hz, and .*ann/1.wav at 8,000 Hz"):
        read_sounds(folder)
    with pytest.raises(DataError, match=r"--rate \(rate=\), such as 8000"):
        read_sounds(folder)
    sounds = read_sounds(folder, rate=8000)
    assert sounds.lengths == (900, 800, 800, 700) and sounds.rate == 8000
    assert "1 clip: resampled from 16,000 to 8,000 Hz" in sounds.notes
    assert read_sounds(folder, rate=4000).lengths == (450, 400, 400, 350)


def test_channels_are_averaged_and_it_is_said(tmp_path):
    soundfile = pytest.importorskip("soundfile")
    stereo = np.stack([noise(), noise()], 1).astype(np.float32)
    soundfile.write(tmp_path / "a.wav", stereo, 8000, subtype="FLOAT")
    sounds = read_sounds(tmp_path)
    assert np.allclose(sounds.clips[0], stereo.mean(1), atol=1e-7)
    assert sounds.notes == ("1 clip: the mean of 2 channels taken",)
    opposite = np.stack([stereo[:, 0], -stereo[:, 0]], axis=1)
    soundfile.write(tmp_path / "b.wav", opposite, 8000, subtype="FLOAT")
    notes = read_sounds(tmp_path).notes
    assert any("'b.wav') is silence" in note for note in notes), notes


def test_clipped_silent_and_too_loud_clips_are_named(tmp_path):
    soundfile = pytest.importorskip("soundfile")
    peak = noise()
    peak[100:102] = 1  # two samples: a peak, as of a clip that was normalised
    write_sound(tmp_path / "peak.wav", peak, 8000)
    clipped = noise()
    clipped[100:104], clipped[200:203] = 1, -1
    write_sound(tmp_path / "clipped.flac", clipped, 8000)
    write_sound(tmp_path / "silent.wav", np.zeros(500), 8000)
    loud = noise()
    loud[7], loud[70] = 1.5, -1.2
    soundfile.write(tmp_path / "loud.wav", loud, 8000, subtype="FLOAT")
    sounds = read_sounds(tmp_path)
    notes = " | ".join(sounds.notes)
    assert "1 clip ('clipped.flac') is clipped: 7 samples stand at full scale" in notes
    assert "1 clip ('silent.wav') is silence, zeros throughout" in notes
    assert "1 clip ('loud.wav') is beyond full scale: 2 samples cut to it" in notes
    assert "peak" not in notes
    assert max(np.abs(clip).max() for clip in sounds.clips) == 1


def test_nothing_but_silence_is_refused(tmp_path):
    pytest.importorskip("soundfile")
    for i in range(2):
        write_sound(tmp_path / f"{i}.wav", np.zeros(500), 8000)
    with pytest.raises(DataError, match="all 2 clips hold nothing but silence"):
        read_sounds(tmp_path)


def test_a_folder_without_sounds(tmp_path):
    (tmp_path / "a.txt").write_text("a")
    with pytest.raises(DataError, match=r"holds no sound files \(\.wav, \.flac\)$"):
        read_sounds(tmp_path)
    (tmp_path / "b.mp3").write_bytes(b"b")
    with pytest.raises(DataError, match=r"it has 'b.mp3': save them as one of these"):
        read_sounds(tmp_path)
    with pytest.raises(DataError, match="no such file or folder"):
        read_sounds(tmp_path / "absent")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"rate": 0}, "rate must be"),
        ({"rate": -8000}, "rate must be"),
        ({"part": "all"}, "part must"),
    ],
)
def test_arguments_that_can_not_be(tmp_path, options, words):
    with pytest.raises(ValueError, match=words):
        read_sounds(tmp_path, **options)


def test_sounds_of_arrays():
    whole = np.array([-32768, 0, 16384], np.int16)
    sounds = Sounds([whole, np.zeros((1, 5)), np.array([0.5, 0.25])], 8000)
    assert sounds.clips[0].tolist() == [-1, 0, 0.5] and sounds.lengths == (3, 5, 2)
    assert sounds.names == ("0", "1", "2") and sounds.seconds == 10 / 8000
    who = np.array(["a", "b"])
    joined = Sounds.joined(np.arange(-5, 5, dtype=np.int16), [3, 7], 8000, names=who, speakers=who)
    assert joined.lengths == (3, 7) and joined.speaker_names == ("a", "b")
    assert joined.clips[1][-1] == 4 / 32768
    slower = Sounds([noise(1000)], 16000, speakers=["a"]).resampled(8000)
    assert slower.rate == 8000 and slower.lengths == (500,) and slower.speakers == ("a",)
    assert slower.notes == ("1 clip: resampled from 16,000 to 8,000 Hz",)
    assert slower.resampled(8000) is slower


@pytest.mark.parametrize(
    ("clips", "options", "error", "words"),
    [
        ([], {}, DataError, "there is no clip"),
        ([np.zeros((2, 9))], {}, DataError, r"clip 0 must have shape \(samples,\), got \(2, 9\)"),
        ([np.zeros(3), np.zeros(0)], {"names": ["a", "b"]}, DataError, "clip b must have shape"),
        ([np.array([0, np.inf])], {}, DataError, "sample 1 is inf"),
        ([np.zeros(3, np.int32)], {}, TypeError, "or int16, got int32"),
        ([np.zeros(3)], {"names": ["a", "b"]}, ValueError, "2 names, but 1 clips"),
        ([np.zeros(3)], {"speakers": []}, ValueError, "0 speakers, but 1 clips"),
        ([np.zeros(3)], {"rate": 0}, ValueError, "rate must be positive"),
        pytest.param(
            *([np.zeros(3)], {"rate": 8000.0}, TypeError, "rate must be a whole number"),
            marks=pytest.mark.skipif(TYPECHECK, reason="gives an argument of a wrong type"),
        ),
    ],
)
def test_what_are_no_sounds(clips, options, error, words):
    with pytest.raises(error, match=words):
        Sounds(clips, **{"rate": 8000, **options})


def test_lengths_that_do_not_add_up():
    with pytest.raises(DataError, match="lengths add up to 9, of 10 samples"):
        Sounds.joined(np.zeros(10), [4, 5], 8000)
