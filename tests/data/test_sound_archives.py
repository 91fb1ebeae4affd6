"""Sounds in archives: what is read out of them, and what is refused by name."""

import io
import os
import stat
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

from diffeo.data import DataError, read_sounds, write_sound
from diffeo.data.errors import NoPart
from diffeo.data.sound_archives import files_in, has_sounds, is_archive

soundfile = pytest.importorskip("soundfile")

RATE = 8000
ENDS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".zip")


SPARSE = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0"}
"""What a tar says of a file with holes, whose list would begin its bytes."""


def sound(seed: int, n: int = 500, rate: int = RATE, form: str = "WAV") -> bytes:
    """The bytes of a sound of noise."""
    held = io.BytesIO()
    noise = np.random.default_rng(seed).normal(0, 0.1, n).clip(-1, 1)
    soundfile.write(held, noise, rate, format=form, subtype="PCM_16")
    return held.getvalue()


CONTENT = {
    "ben/10.wav": sound(0),
    "ben/9.flac": sound(1, 600, form="FLAC"),
    "ann/1.wav": sound(2, 700),
    "about.txt": b"about",
    "__MACOSX/ann/._1.wav": b"leavings",
}


def pack(path: Path, content: dict[str, bytes], root: str = "") -> Path:
    """An archive of the kind that its name tells."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
            for name, data in content.items():
                packed.writestr(root + name, data)
        return path
    kind = {".tar": "w", ".bz2": "w:bz2", ".xz": "w:xz"}.get(path.suffix, "w:gz")
    with tarfile.open(path, kind) as packed:  # type: ignore[call-overload]
        for name, data in content.items():
            member = tarfile.TarInfo(root + name)
            member.size = len(data)
            packed.addfile(member, io.BytesIO(data))
    return path


def unpack(folder: Path, content: dict[str, bytes]) -> Path:
    for name, data in content.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


@pytest.mark.parametrize("root", ["", "./", "voices-1.0/"])
@pytest.mark.parametrize("end", ENDS)
def test_an_archive_is_read_as_the_folder_that_was_packed(tmp_path, end, root):
    path = pack(tmp_path / f"voices{end}", CONTENT, root)
    assert is_archive(path.name) and has_sounds(path)
    before = sorted(tmp_path.iterdir())
    told = []
    sounds = read_sounds(path, progress=lambda done, of: told.append((done, of)))
    assert sorted(tmp_path.iterdir()) == before  # nothing is unpacked
    plain = read_sounds(unpack(tmp_path / "folder", CONTENT))
    assert sounds.names == plain.names == ("ann/1.wav", "ben/9.flac", "ben/10.wav")
    assert sounds.speakers == plain.speakers == ("ann", "ben", "ben")
    assert sounds.notes == plain.notes == ("1 other file left out (.txt)",)
    assert all(np.array_equal(a, b) for a, b in zip(sounds.clips, plain.clips, strict=True))
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_a_folder_with_one_archive_and_no_sounds(tmp_path):
    pack(tmp_path / "voices.tar", CONTENT)
    (tmp_path / "texts.csv").write_text("a")
    sounds = read_sounds(tmp_path)
    assert len(sounds) == 3 and sounds.notes == ("2 other files left out (.csv, .txt)",)
    pack(tmp_path / "more.zip", CONTENT)
    with pytest.raises(DataError, match=r"holds no sound files .*'more.zip', 'voices.tar': name"):
        read_sounds(tmp_path)
    write_sound(tmp_path / "a.wav", np.full(9, 0.5), RATE)
    sounds = read_sounds(tmp_path)
    assert sounds.names == ("a.wav",) and sounds.notes == (
        "3 other files left out (.csv, .tar, .zip)",
    )


def test_parts_in_an_archive(tmp_path):
    content = {"train/ann/1.wav": sound(0), "train/ben/1.wav": sound(1), "test/2.wav": sound(2)}
    path = pack(tmp_path / "a.tgz", content, "voices/")
    train, test = read_sounds(path), read_sounds(path, part="test")
    assert train.names == ("train/ann/1.wav", "train/ben/1.wav")
    assert train.speakers == ("ann", "ben") and "train is read" in train.notes[0]
    assert test.names == ("test/2.wav",) and test.speakers is None
    with pytest.raises(NoPart, match="'val'"):
        read_sounds(path, part="val")
    alone = pack(tmp_path / "b.tar", {"train/1.wav": sound(0)})  # is no root
    assert read_sounds(alone, part="train").names == ("train/1.wav",)
    with pytest.raises(NoPart, match=r"b\.tar: has no part 'test'"):
        read_sounds(alone, part="test")


def test_rates_and_speakers_as_in_a_folder(tmp_path):
    content = {"7_ann_1.wav": sound(0), "7_ben_1.wav": sound(1, rate=16000), "x.txt": b"."}
    path = pack(tmp_path / "a.tar", content)
    with pytest.raises(
        DataError, match=r"7_ben_1.wav: is at 16,000 Hz, and .*a.tar: 7_ann_1.wav at"
    ):
        read_sounds(path)
    sounds = read_sounds(path, rate=RATE, speakers=r"_(.+)_\d")
    assert sounds.lengths == (500, 250) and sounds.speakers == ("ann", "ben")
    assert "1 clip: resampled from 16,000 to 8,000 Hz" in sounds.notes


def _encrypted(path: Path) -> None:
    """Sets the bit that says so, in both headers of the only member."""
    data = bytearray(pack(path, {"a.wav": sound(0)}).read_bytes())
    data[6] |= 1
    data[data.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(data)


def _linked(path: Path) -> None:
    with tarfile.open(path, "w") as packed:
        member = tarfile.TarInfo("a.wav")
        member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
        packed.addfile(member)


def _of_kind(path: Path, kind: bytes) -> None:
    """A member that is no plain file, as tar tells of them."""
    with tarfile.open(path, "w") as packed:
        member = tarfile.TarInfo("a.wav")
        member.type = kind
        packed.addfile(member)


def _headed(path: Path, /, **headers: str) -> None:
    """A sound with a header of its own, in which names may be anything."""
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as packed:
        member = tarfile.TarInfo("a.wav")
        member.size, member.pax_headers = len(sound(0)), headers
        packed.addfile(member, io.BytesIO(sound(0)))


def _misnamed(path: Path) -> None:
    """A zip whose only name says that it is UTF-8, and is not."""
    pack(path, {"é.wav": sound(0)})
    path.write_bytes(path.read_bytes().replace("é".encode(), b"\xff\xff"))


def _of_mode(path: Path, mode: int) -> None:
    """The same, as zip does."""
    with zipfile.ZipFile(path, "w") as packed:
        member = zipfile.ZipInfo("a.wav")
        member.external_attr = mode << 16
        packed.writestr(member, b"")


def _huge(path: Path) -> None:
    with tarfile.open(path, "w") as packed:
        member = tarfile.TarInfo("a.wav")
        member.size = 2**31
        packed.fileobj.write(member.tobuf())  # type: ignore[union-attr]


def _cut(path: Path, keep: float) -> None:
    pack(path, {"a.wav": sound(0, 4000), "b.wav": sound(1, 4000)})
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])


def _overwritten(path: Path, what: bytes) -> None:
    """Zeros or other bytes amid the samples or the headers of what is packed."""
    pack(path, {"a.wav": sound(0), "b.wav": sound(1), "c.wav": sound(2)})
    data = bytearray(path.read_bytes())
    place = data.rindex(what)
    data[place : place + 9] = b"!damaged!"
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("name", "make", "words"),
    [
        ("a.tar", lambda path: pack(path, {"../a.wav": sound(0)}), "'../a.wav', a path that"),
        ("a.zip", lambda path: pack(path, {"/etc/a.wav": sound(0)}), "'/etc/a.wav', a path that"),
        ("a.zip", lambda path: pack(path, {"..\\a.wav": sound(0)}), "a path that leads out"),
        ("a.zip", lambda path: pack(path, {"v/C:/a.wav": sound(0)}), "'v/C:/a.wav', a path that"),
        ("a.tar", lambda path: _headed(path, path="a\0.wav"), r"'a\\x00.wav', and no file"),
        ("a.tar", lambda path: pack(path, {"9" * 300 + ".wav": b""}), "9…', and no file can"),
        ("a.tar", lambda path: pack(path, {"é" * 130 + ".wav": sound(0)}), "at most 255 bytes"),
        ("a.tar", lambda path: pack(path, {"1" * 5000 + ".txt": b""}), "and no file can be named"),
        ("a.zip", lambda path: pack(path, {"a.wav": b"", "a.wav/1.wav": b""}), "'a.wav' as a file"),
        ("a.zip", _encrypted, "'a.wav' is encrypted; unpack it"),
        ("a.tar", _linked, "'a.wav' is a link; pack the file itself"),
        ("a.tar", lambda path: _of_kind(path, tarfile.LNKTYPE), "'a.wav' is a link"),
        ("a.tar", lambda path: _of_kind(path, tarfile.FIFOTYPE), "'a.wav' is no plain file; leave"),
        ("a.tar", lambda path: _of_kind(path, tarfile.CHRTYPE), "'a.wav' is no plain file"),
        ("a.zip", lambda path: _of_mode(path, stat.S_IFLNK | 0o777), "'a.wav' is a link"),
        ("a.zip", lambda path: _of_mode(path, stat.S_IFIFO | 0o644), "'a.wav' is no plain file"),
        ("a.tar", lambda path: _headed(path, **SPARSE), "a.tar: is damaged, or no archive"),
        ("a.zip", _misnamed, "a.zip: is damaged, or no archive"),
        ("a.tar", _huge, "'a.wav' has 2,147,483,648 bytes, and 1,073,741,824 are the most"),
        ("a.tar", lambda path: _cut(path, 0.4), "damaged, or no archive .unexpected end of data"),
        ("a.tar.gz", lambda path: _cut(path, 0.6), "is not a whole gzip file"),
        ("a.tar.bz2", lambda path: _cut(path, 0.6), "a.tar.bz2: is damaged, or no archive"),
        ("a.tar.xz", lambda path: _cut(path, 0.6), "is not a whole xz file"),
        ("a.zip", lambda path: _cut(path, 0.6), "is not a whole .zip file"),
        ("a.tar", lambda path: _overwritten(path, b"b.wav"), "has a damaged header at byte 2,048"),
        ("a.tar", lambda path: path.write_bytes(b"no archive" * 99), "is damaged, or no archive"),
        ("a.zip", lambda path: path.write_bytes(b"no archive" * 99), "is not a whole .zip file"),
        ("a.tar", lambda path: pack(path, {"a.wav": b"no sound"}), "a.wav: is damaged or no sound"),
        ("a.tar", lambda path: pack(path, {"a.wav": b""}), "a.wav: the file is empty"),
        ("a.tar", lambda path: pack(path, {"a.wav": sound(0)[:300]}), "a.wav: is cut short"),
        ("a.tar", lambda path: pack(path, {"a.txt": b"a"}), "holds no sound files"),
        ("a.zip", lambda path: pack(path, {"b.mp3": b"a"}), "it has 'b.mp3': save them as one"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_an_archive_is_said(tmp_path, name, make, words):
    path = tmp_path / name
    make(path)
    with pytest.raises(DataError, match=words) as caught:
        read_sounds(path)
    assert str(caught.value).startswith(str(path)) and "\n" not in str(caught.value)
    assert len(list(tmp_path.iterdir())) == 1


def test_an_archive_whose_end_is_missing(tmp_path):
    """tarfile takes the end of the file for the end of the archive."""
    path = pack(tmp_path / "a.tar", {"a.wav": sound(0), "b.wav": sound(1)})
    size = 512 + -(-len(sound(0)) // 512) * 512
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(DataError, match=r"a\.tar: is cut short"):
        read_sounds(path)


def test_a_damaged_sound_in_a_zip_is_named(tmp_path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as packed:  # as it is
        packed.writestr("a.wav", sound(0))
    data = bytearray(path.read_bytes())
    data[300:309] = b"!damaged!"
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"CRC-32 for file 'a\.wav'"):
        read_sounds(path)


def test_a_name_that_is_there_twice(tmp_path):
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as packed:
        for _ in range(2):
            member = tarfile.TarInfo("a.wav")
            member.size = len(sound(0))
            packed.addfile(member, io.BytesIO(sound(0)))
    with pytest.raises(DataError, match=r"holds 'a\.wav' twice"):
        read_sounds(path)


@pytest.mark.parametrize("again", ["a//1.wav", "a/./1.wav", "./a/1.wav", "a\\1.wav"])
def test_names_that_a_folder_has_once(tmp_path, again):
    path = pack(tmp_path / "a.tar", {"a/1.wav": sound(0), again: sound(1)})
    with pytest.raises(DataError, match=r"holds 'a/1\.wav' twice"):
        read_sounds(path)


def test_doubled_slashes_are_one(tmp_path):
    """Below the folder that was packed, the rest must not begin with one."""
    path = pack(tmp_path / "a.tar", {"a//tmp/x.wav": sound(0), "a/b///y.wav": sound(1)})
    assert read_sounds(path).names == ("b/y.wav", "tmp/x.wav")


def test_what_is_named_as_an_archive_and_is_no_file(tmp_path):
    if not hasattr(os, "mkfifo"):
        pytest.skip("there are no pipes with names")
    os.mkfifo(tmp_path / "a.tar")
    assert not has_sounds(tmp_path / "a.tar")
    with pytest.raises(DataError, match=r"a\.tar: is no plain file"):
        read_sounds(tmp_path / "a.tar")


def test_a_part_in_two_folders(tmp_path):
    content = {"train/1.wav": sound(0), "Train/2.wav": sound(1), "test/1.wav": sound(2)}
    for root in ("", "voices/"):
        path = pack(tmp_path / "a.tar", content, root)
        for part in (None, "train", "test"):
            words = r"a\.tar: the folders 'Train', 'train' are one part; rename .* pack again"
            with pytest.raises(DataError, match=words):
                read_sounds(path, part=part)


def test_a_changed_archive_is_listed_anew(tmp_path):
    path = pack(tmp_path / "a.tar", {"a.wav": sound(0)})
    assert files_in(path) == ("a.wav",)
    pack(path, {"b.wav": sound(0), "c.wav": sound(1)})
    assert files_in(path) == ("b.wav", "c.wav")


def test_archives_of_other_things_hold_no_sounds(tmp_path):
    assert not has_sounds(pack(tmp_path / "a.tar", {"a.png": b"."}))
    (tmp_path / "b.zip").write_bytes(b"no archive")
    assert not has_sounds(tmp_path / "b.zip") and not has_sounds(tmp_path / "absent.zip")
