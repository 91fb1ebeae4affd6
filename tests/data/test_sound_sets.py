"""Public sets of sounds: known by their names, parted, and told who speaks."""

import lzma
from pathlib import Path

import numpy as np
import pytest

from diffeo.data import DataError, read_sounds, write_sound
from diffeo.data.errors import NoPart
from diffeo.data.sound_sets import known_set

DIGITS = [
    f"{digit}_{who}_{take}.wav"
    for digit in (0, 7)
    for who in ("ann", "ben")
    for take in (0, 4, 5, 12)
]
CLIPS = [f"LJ001-{i:04}.wav" for i in range(1, 13)]


def fill(folder: Path, names: list[str], others: tuple[str, ...] = ()) -> Path:
    pytest.importorskip("soundfile")
    folder.mkdir(parents=True, exist_ok=True)
    for i, name in enumerate(names):
        write_sound(folder / name, np.full(100 + i, 0.25), 8000)
    for name in others:
        (folder / name).write_text("text")
    return folder


def arrays(folder: Path, **changed: object) -> Path:
    """The digits as two arrays, ramps of whole numbers; `changed` are arrays of the index."""
    lengths = np.arange(10, 10 + len(DIGITS))
    index = {"name": np.array(DIGITS), "length": lengths, **changed}
    np.savez(folder / "index.npz", **{key: x for key, x in index.items() if x is not None})  # type: ignore[arg-type]
    with lzma.open(folder / "samples_i16.npy.xz", "wb") as file:
        np.save(file, np.arange(lengths.sum(), dtype=np.int16))
    return folder


def check_digits(folder: Path) -> None:
    """Takes 0 to 4 are the test part, and names tell who speaks."""
    train, test = read_sounds(folder), read_sounds(folder, part="test")
    assert [name.rpartition("/")[2] for name in test.names] == [
        name for name in DIGITS if name.endswith(("_0.wav", "_4.wav"))
    ]
    assert {*train.names} & {*test.names} == set() and len(train) + len(test) == len(DIGITS)
    assert train.speaker_names == test.speaker_names == ("ann", "ben")
    assert test.speakers == tuple(name.split("_")[-2] for name in test.names)
    assert "the Free Spoken Digit Dataset: takes 0 to 4 are the part test" in train.notes[0]
    assert "train is read" in train.notes[0] and "--part (part=) chooses" in train.notes[0]
    assert "test is read" in test.notes[0]
    with pytest.raises(NoPart, match="no part 'val', only 'train', 'test'"):
        read_sounds(folder, part="val")


def test_digits_as_files(tmp_path):
    check_digits(fill(tmp_path / "recordings", DIGITS))
    (tmp_path / "README.md").write_text("about")
    check_digits(tmp_path)  # the folder above, as it is published


def test_digits_as_two_arrays(tmp_path):
    check_digits(arrays(tmp_path))
    train = read_sounds(tmp_path)
    assert train.rate == 8000 and train.names[0] == "0_ann_5.wav"
    # The third clip: 10 + 11 samples come before it, and it has 12.
    assert np.array_equal(train.clips[0] * 32768, np.arange(21, 33))
    assert read_sounds(tmp_path, rate=4000).lengths[0] == 6


def test_speakers_that_are_asked_for_and_other_names(tmp_path):
    folder = fill(tmp_path, DIGITS)
    assert read_sounds(folder, speakers=r"^(\d)").speaker_names == ("0", "7")
    fill(folder, ["hello.wav"])  # one other name, and it is a folder like others
    sounds = read_sounds(folder)
    assert len(sounds) == len(DIGITS) + 1 and sounds.speakers is None and sounds.notes == ()
    with pytest.raises(NoPart, match="no subfolder of the part 'test'"):
        read_sounds(folder, part="test")


def test_folders_of_parts_go_before_names(tmp_path):
    for part in ("train", "test"):
        fill(tmp_path / part, DIGITS)
    assert len(read_sounds(tmp_path, part="test")) == len(DIGITS)
    with pytest.raises(NoPart, match="no subfolder of the part 'val'"):
        read_sounds(tmp_path, part="val")
    assert known_set([f"train/{name}" for name in DIGITS]) is None


def test_digits_of_one_part(tmp_path):
    folder = fill(tmp_path, ["3_ann_7.wav", "3_ann_8.wav"])
    assert "train is read" in read_sounds(folder).notes[0]
    with pytest.raises(NoPart, match="only 'train'"):
        read_sounds(folder, part="test")


@pytest.mark.parametrize(("clips", "test"), [(2, 1), (10, 1), (11, 2), (12, 2)])
def test_the_last_tenth_of_ljspeech_is_its_test_part(tmp_path, clips, test):
    folder = fill(tmp_path / "wavs", CLIPS[:clips])
    assert read_sounds(folder).notes == ()  # without its texts it may be anything
    (tmp_path / "metadata.csv").write_text("LJ001-0001|text|text\n")
    held = read_sounds(tmp_path, part="test")
    assert held.names == tuple(f"wavs/{name}" for name in CLIPS[clips - test : clips])
    train = read_sounds(tmp_path)
    assert train.names == tuple(f"wavs/{name}" for name in CLIPS[: clips - test])
    assert f"LJSpeech: the last {test} of {clips} clips are the part test" in train.notes[0]
    assert train.speakers is None  # one person's


EVIL = [
    "1_/../../evil_8.wav",
    "1_..\\evil_8.wav",
    "1_a\0b_8.wav",
    "1_a\nb_8.wav",
    "1_\udcff_8.wav",
    f"1_{'a' * 250}_8.wav",
    f"1_a_{'9' * 5000}.wav",
]


@pytest.mark.parametrize("name", EVIL)
def test_names_in_an_index_are_names_of_files(tmp_path, name):
    assert known_set([name]) is None
    folder = arrays(tmp_path, name=np.array([name, *DIGITS[1:]]))
    with pytest.raises(DataError, match="those of the spoken digits are DIGIT_NAME_NUMBER") as of:
        read_sounds(folder)
    assert str(of.value).startswith(str(folder / "index.npz")) and "\n" not in str(of.value)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"length": None}, "index.npz: lacks the array 'length'"),
        ({"length": np.full(len(DIGITS), 9)}, r"holds 280 samples, and .*index.npz add up to 144"),
        ({"length": np.arange(3)}, "as many names, text, as lengths"),
        ({"length": np.full(len(DIGITS), 0.5)}, "lengths must be whole numbers"),
        ({"length": np.arange(len(DIGITS))}, "lengths must be whole numbers of 1 or more"),
        ({"name": np.arange(len(DIGITS))}, "as many names, text, as lengths"),
        ({"name": np.array(["a.wav", *DIGITS[1:]])}, "holds the name 'a.wav'; those of the spoken"),
        ({"name": np.array([DIGITS[1], *DIGITS[1:]])}, "holds names twice: '0_ann_4.wav'"),
        ({"name": np.array([[], {}] * 8, object)}, "index.npz: is no index of plain arrays"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_an_index_is_said(tmp_path, changed, words):
    with pytest.raises(DataError, match=words):
        read_sounds(arrays(tmp_path, **changed))


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda data: data[: len(data) // 2], "samples_i16.npy.xz: is not a whole xz file"),
        (lambda data: b"no array", "samples_i16.npy.xz: is not a whole xz file"),
        (lambda data: lzma.compress(b"no array"), "is not a whole array of samples, int16"),
        (lambda data: lzma.compress(lzma.decompress(data)[:-9]), "is not a whole array"),
        (lambda data: lzma.compress(lzma.decompress(data) + b"more"), "is not a whole array"),
        (lambda data: lzma.compress(lzma.decompress(data).replace(b"<i2", b"<f2")), "int16"),
    ],
)
def test_what_is_wrong_with_the_samples_is_said(tmp_path, damage, words):
    file = arrays(tmp_path) / "samples_i16.npy.xz"
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(DataError, match=words) as caught:
        read_sounds(tmp_path)
    assert str(caught.value).startswith(str(file)) and "\n" not in str(caught.value)


def test_a_damaged_index_is_named(tmp_path):
    (arrays(tmp_path) / "index.npz").write_bytes(b"no archive of arrays")
    with pytest.raises(DataError, match=r"index\.npz: is "):
        read_sounds(tmp_path)


def test_one_file_and_folders_of_parts_tell_who_speaks(tmp_path):
    fill(tmp_path / "train", ["0_ann_7.wav", "1_ben_2.wav"])
    assert read_sounds(tmp_path).speakers == ("ann", "ben")
    assert read_sounds(tmp_path / "train" / "1_ben_2.wav").speakers == ("ben",)
