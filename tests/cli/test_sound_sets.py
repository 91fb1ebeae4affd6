"""The commands on archives and public sets of sounds."""

import io
import json
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

from diffeo.cli.errors import CommandError
from diffeo.cli.sounds import holds_sounds, write
from diffeo.cli.words import kind_of
from diffeo.data import read_sounds, write_sound
from diffeo.data.images import write_images
from diffeo.data.sounds import Sounds

pytest.importorskip("soundfile")

WAVENET = (
    *("--layers", 2, "--residual", 4, "--skip", 4, "--components", 2, "--segment", 100),
    *("--max-steps", 2, "--batch-size", 4, "--threads", 1, "--samples-every", 0),
)


@pytest.fixture
def digits(empty) -> Path:
    """Ten clips named as spoken digits: takes 0, 1, 5, 6 and 7 of two people."""
    folder = empty / "digits"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for who in ("ann", "ben"):
        for take in (0, 1, 5, 6, 7):
            clip = rng.normal(0, 0.1, 200 + take).clip(-1, 1)
            write_sound(folder / f"3_{who}_{take}.wav", clip, 8000)
    return folder


@pytest.fixture
def packed(digits) -> Path:
    """The same in an archive, alone in a folder."""
    path = digits.parent / "packed/digits.tar.gz"
    path.parent.mkdir()
    with tarfile.open(path, "w:gz") as archive:
        archive.add(digits, "digits")
    return path


def test_archives_and_sets_are_known_as_sounds(packed, photos, empty):
    assert holds_sounds(packed) and holds_sounds(packed.parent)
    with zipfile.ZipFile("photos.zip", "w") as archive:
        for path in photos.rglob("*.png"):
            archive.write(path, path.name)
    assert not holds_sounds(Path("photos.zip"))
    assert kind_of(Path("photos.zip"), ["vectors"]) == "vectors"
    assert kind_of(Path("photos.zip"), ["sounds"]) == "sounds"  # which reading refuses
    arrays = empty / "arrays"
    arrays.mkdir()
    (arrays / "index.npz").touch()
    assert not holds_sounds(arrays)
    (arrays / "samples_i16.npy.xz").touch()
    assert holds_sounds(arrays)
    write_images(packed.with_name("cover.png"), np.zeros((1, 1, 8, 8), np.uint8))
    assert not holds_sounds(packed.parent)


def test_training_and_evaluation_take_parts_of_their_own(diffeo, packed, empty):
    outcome = diffeo("train", "wavenet", packed, "--out", "w", "--context", "speaker", *WAVENET)
    assert outcome.status == 0, outcome.err
    assert "5 clips" in outcome.err and "2 speakers" in outcome.err and "1 clip held" in outcome.err
    assert "takes 0 to 4 are the part test, the others train; train is read" in outcome.err
    outcome = diffeo("evaluate", "w", packed.parent, "--json")
    assert json.loads(outcome.out)["rows"] == 4 and "test is read" in outcome.err
    train = json.loads(diffeo("evaluate", "w", packed, "--part", "train", "--json").out)
    assert train["rows"] == 6


def test_what_a_command_can_not_do_with_an_archive(diffeo, packed, empty):
    mistake = diffeo("train", "glow", packed, "--out", "g").mistake
    assert "glow models images" in mistake and "holds sounds" in mistake
    Path("no.zip").write_bytes(b"no archive")
    assert (
        "no.zip: is not a whole .zip file"
        in diffeo("train", "wavenet", "no.zip", "--out", "w").mistake
    )
    assert not Path("w").exists() and not Path("g").exists()


def test_an_archive_is_vocoded_into_a_folder(diffeo, packed, empty):
    mel = ("--context", "mel", "--mels", 8, "--hop", 16, "--window", 64)
    assert diffeo("train", "wavenet", packed, "--out", "v", *mel, *WAVENET).status == 0
    mistake = diffeo("vocode", "v", packed, "--out", "again.wav").mistake
    assert "several sounds go into a new folder" in mistake
    outcome = diffeo("vocode", "v", packed, "--out", "again")
    assert outcome.status == 0, outcome.err
    assert read_sounds("again").lengths == read_sounds(packed).lengths


def test_what_is_vocoded_stays_in_its_folder(diffeo, packed, empty):
    mel = ("--context", "mel", "--mels", 8, "--hop", 16, "--window", 64)
    assert diffeo("train", "wavenet", packed, "--out", "v", *mel, *WAVENET).status == 0
    away = empty / "away"
    clip = next((packed.parent.parent / "digits").iterdir()).read_bytes()
    with tarfile.open("evil.tar", "w") as archive:
        member = tarfile.TarInfo(f"a/{away}/x.wav")  # a//…: absolute below a
        member.size = len(clip)
        archive.addfile(member, io.BytesIO(clip))
    outcome = diffeo("vocode", "v", "evil.tar", "--out", "again")
    assert outcome.status == 0, outcome.err
    assert not away.exists()
    assert [path.name for path in Path("again").rglob("*.wav")] == ["x.wav"]


def test_a_folder_of_links_is_vocoded_into_files(diffeo, packed, empty):
    mel = ("--context", "mel", "--mels", 8, "--hop", 16, "--window", 64)
    assert diffeo("train", "wavenet", packed, "--out", "v", *mel, *WAVENET).status == 0
    digits = packed.parent.parent / "digits"
    before = {path: path.read_bytes() for path in digits.iterdir()}
    linked = empty / "linked"
    linked.mkdir()
    try:
        (linked / "one.wav").symlink_to(digits / "3_ann_0.wav")
        (linked / "inside").symlink_to(digits, target_is_directory=True)
    except OSError:
        pytest.skip("links can't be made here")
    outcome = diffeo("vocode", "v", linked, "--out", "again")
    assert outcome.status == 0, outcome.err
    made = [path for path in Path("again").rglob("*") if not path.is_dir()]
    assert len(made) == 11 and not any(path.is_symlink() for path in Path("again").rglob("*"))
    assert {path: path.read_bytes() for path in digits.iterdir()} == before
    (linked / "gone.wav").symlink_to(empty / "absent.wav")
    mistake = diffeo("vocode", "v", linked, "--out", "more").mistake
    assert "gone.wav: can't be read" in mistake and not Path("more").exists()


@pytest.mark.parametrize(
    "name",
    [
        *("{here}/x.wav", "../x.wav", "a/../../x.wav", "..\\x.wav", "\\x.wav"),
        *("C:/x.wav", "a/C:/x.wav", "a\0.wav", ""),
    ],
)
def test_sounds_are_not_written_outside_their_folder(empty, name):
    sounds = Sounds([np.full(9, 0.5), np.full(9, 0.5)], 8000)
    with pytest.raises(CommandError, match=r"--out out: .* would not be a file in the folder"):
        write(Path("out"), sounds, ["a.wav", name.replace("{here}", str(empty))])
    assert not any(empty.iterdir())
