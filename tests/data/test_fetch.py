"""Public sets of data: fetched from a server on this machine, checked, kept, refused."""

import gzip
import hashlib
import io
import tarfile
from dataclasses import replace

import numpy as np
import pytest

from diffeo.data.errors import DataError
from diffeo.data.fetch import check, fetch, place_of
from diffeo.data.image_sets import SETS, Remote
from diffeo.data.images import read_images
from tests.data.server import serving

FOLDER = "cifar-10-batches-bin"


def md5(data):
    return hashlib.md5(data).hexdigest()


@pytest.fixture(scope="module")
def server():
    with serving() as made:
        yield made


@pytest.fixture
def site(server, monkeypatch):
    """A server without files that was asked for nothing; no proxy stands between."""
    server.files.clear()
    server.asked.clear()
    monkeypatch.setenv("no_proxy", "*")
    return server


def register(monkeypatch, name, *remotes):
    monkeypatch.setitem(SETS, name, replace(SETS[name], files=remotes))


@pytest.fixture
def digits(site, monkeypatch):
    """Two files, of images and labels, on the first of two mirrors."""
    images = bytes([0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 2, 0, 0, 0, 2, *range(8)])
    labels = bytes([0, 0, 8, 1, 0, 0, 0, 2, 3, 4])
    remotes = []
    for name, raw in [
        ("train-images-idx3-ubyte.gz", images),
        ("train-labels-idx1-ubyte.gz", labels),
    ]:
        data = gzip.compress(raw, mtime=0)
        site.files[f"/one/{name}"] = data
        urls = (f"{site.url}/one/{name}", f"{site.url}/two/{name}")
        remotes.append(Remote(name, urls, len(data), md5(data), md5(raw)))
    register(monkeypatch, "mnist", *remotes)
    return remotes


def tar(members):
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz") as packed:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            if content is None:
                info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
            else:
                info.size = len(content)
            packed.addfile(info, io.BytesIO(content or b""))
    return data.getvalue()


@pytest.fixture
def cifar(site, monkeypatch):
    """A function that puts an archive with one batch, and other members, on the server."""
    record = np.arange(3073, dtype=np.uint32).astype(np.uint8).tobytes()
    files = {
        f"{FOLDER}/batches.meta.txt": b"a b c d e f g h i j",
        f"{FOLDER}/test_batch.bin": record,
    }

    def put(**changed):
        members = {**files, **changed}
        data = tar({name: content for name, content in members.items() if content != b"left out"})
        site.files["/c.tar.gz"] = data
        wanted = {f"{FOLDER}/batches.meta.txt": None, f"{FOLDER}/test_batch.bin": len(record)}
        remote = Remote("c.tar.gz", (f"{site.url}/c.tar.gz",), len(data), md5(data), None, wanted)
        register(monkeypatch, "cifar10", remote)
        return data

    return put


def refusal(name, to, **options):
    with pytest.raises(DataError) as caught:
        fetch(name, to, **options)
    message = str(caught.value)
    assert "\n" not in message
    return message.replace(str(to), "FOLDER")


def listing(folder):
    return sorted(path.name for path in folder.iterdir())


def test_the_registry_is_whole():
    assert set(SETS) == {"mnist", "fashion-mnist", "cifar10", "digits"}
    for published in SETS.values():
        assert published.summary and published.licence and published.authors and published.title
        for remote in published.files:
            assert all(url.endswith(remote.name) for url in remote.urls)
            assert len(remote.md5) == 32
            assert (remote.unpacked is None) != (not remote.members)
    sums = [remote.md5 for published in SETS.values() for remote in published.files]
    assert len(set(sums)) == len(sums) == 9


def test_files_are_fetched_once(tmp_path, site, digits):
    to, told = tmp_path / "a" / "b", []
    assert fetch("mnist", str(to), progress=lambda *now: told.append(now)) == to
    assert listing(to) == [remote.name for remote in digits]
    total = sum(remote.size for remote in digits)
    assert (told[0], told[-1]) == ((0, total), (total, total))
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert len(site.asked) == 2
    found = read_images(to)
    assert found.labels.tolist() == [3, 4]
    assert fetch("mnist", to) == to
    assert len(site.asked) == 2
    assert check("mnist", to) == []
    assert place_of("mnist", to) == to


def test_what_was_packed_anew_or_unpacked_is_as_good(tmp_path, site, digits):
    images, labels = digits
    raw = gzip.decompress(site.files[f"/one/{images.name}"])
    (tmp_path / images.name).write_bytes(gzip.compress(raw, 1, mtime=7))
    raw = gzip.decompress(site.files[f"/one/{labels.name}"])
    (tmp_path / labels.name[:-3]).write_bytes(raw)
    assert check("mnist", tmp_path) == []
    fetch("mnist", tmp_path, progress=lambda *_: pytest.fail("nothing is fetched"))
    assert site.asked == []
    # Packed, but not by its name, it could not be read.
    (tmp_path / labels.name[:-3]).write_bytes(gzip.compress(raw, mtime=0))
    assert f"FOLDER/{labels.name[:-3]}: has the md5 checksum" in refusal("mnist", tmp_path)


def test_files_of_another_set_are_known(tmp_path, monkeypatch, site, digits):
    register(monkeypatch, "fashion-mnist", *digits)
    register(monkeypatch, "mnist", *[replace(each, md5="0", unpacked="0") for each in digits])
    fetch("fashion-mnist", tmp_path)
    assert refusal("mnist", tmp_path) == (
        f"FOLDER/{digits[0].name}: is of fashion-mnist (every set of data needs a folder of its "
        "own) (and 1 more); remove what is wrong, or fetch again with --force to replace it"
    )


def test_wrong_files_are_named_and_kept(tmp_path, site, digits):
    images, labels = digits
    path = tmp_path / images.name
    path.write_bytes(b"mine")
    expected = f"FOLDER/{images.name}: has the md5 checksum {md5(b'mine')}, expected {images.md5}"
    assert refusal("mnist", tmp_path) == (
        f"{expected}; remove what is wrong, or fetch again with --force to replace it"
    )
    assert (path.read_bytes(), site.asked) == (b"mine", [])
    assert check("mnist", tmp_path) == [
        expected.replace("FOLDER", str(tmp_path)),
        f"{tmp_path / labels.name}: is missing",
    ]
    fetch("mnist", tmp_path, force=True)
    assert check("mnist", tmp_path) == []
    path.with_suffix("").write_bytes(b"unpacked, and other")
    assert len(check("mnist", tmp_path)) == 1
    fetch("mnist", tmp_path, force=True)
    assert listing(tmp_path) == [images.name, labels.name]


def test_the_second_mirror_is_taken(tmp_path, site, digits):
    for remote in digits:
        site.files[f"/two/{remote.name}"] = site.files.pop(f"/one/{remote.name}")
    fetch("mnist", tmp_path)
    assert site.asked == [f"/{n}/{remote.name}" for remote in digits for n in ("one", "two")]
    assert check("mnist", tmp_path) == []


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "HTTP Error 404: Not Found"),
        (b"short", "sent 5 bytes, expected"),
        (bytes(1000), "sent more than the expected"),
        ("changed", "sent a file with the md5 checksum"),
    ],
)
def test_what_the_server_sends_is_checked(tmp_path, site, digits, content, says):
    name = digits[0].name
    if content == "changed":
        content = site.files[f"/one/{name}"][:-1] + b"x"
    site.files[f"/one/{name}"] = content
    to = tmp_path / "a" / "b"
    message = refusal("mnist", to)
    assert f"mnist: {name} can't be fetched ({site.url}/one/{name}: {says}" in message
    assert f"{site.url}/two/{name}: HTTP Error 404" in message
    assert message.endswith(
        f"; fetch {site.url}/one/{name} by hand, put it into FOLDER, and do this again"
    )
    assert listing(tmp_path) == []


def test_a_connection_that_breaks(tmp_path, site, digits, monkeypatch):
    remote = digits[0]
    site.files["/short"] = site.files[f"/one/{remote.name}"][:-3]
    broken = Remote(remote.name, (f"{site.url}/short",), remote.size, remote.md5, remote.unpacked)
    register(monkeypatch, "mnist", broken)
    assert "can't be fetched" in refusal("mnist", tmp_path)
    assert listing(tmp_path) == []


def test_offline(tmp_path, monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    remote = Remote("a.gz", ("http://127.0.0.1:9/a.gz",), 5, "0" * 32, "0" * 32)
    register(monkeypatch, "mnist", remote)
    assert refusal("mnist", tmp_path / "to") == (
        "mnist: a.gz can't be fetched (http://127.0.0.1:9/a.gz: Connection refused); fetch "
        "http://127.0.0.1:9/a.gz by hand, put it into FOLDER, and do this again"
    )
    assert listing(tmp_path) == []


def test_interrupted(tmp_path, digits):
    def stop(done, _):
        if done:
            assert len(listing(tmp_path / "to")) == 1
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch("mnist", tmp_path / "to", progress=stop)
    assert listing(tmp_path) == []


def test_unknown_names_and_places(tmp_path, digits):
    with pytest.raises(ValueError, match="no set of data 'mnits'; did you mean 'mnist'"):
        fetch("mnits", tmp_path)
    with pytest.raises(ValueError, match="no set of data 'CIFAR-10'; did you mean 'cifar10'"):
        place_of("CIFAR-10", tmp_path)
    with pytest.raises(ValueError, match="no set of data 'x'; there are 'mnist', 'fashion-mnist'"):
        check("x", tmp_path)
    (tmp_path / "a").write_text("")
    assert "FOLDER: can't be made: is a file" in refusal("mnist", tmp_path / "a")


def test_digits_are_written_and_known_again(tmp_path):
    assert fetch("digits", tmp_path / "d") == tmp_path / "d"
    counts = [
        len(read_images(tmp_path / "d", part=part).pixels) for part in ("train", "val", "test")
    ]
    assert counts == [1000, 350, 447] and check("digits", tmp_path / "d") == []
    np.save(tmp_path / "d/val.npy", np.zeros((2, 8, 8), np.uint8))
    assert check("digits", tmp_path / "d") == [f"{tmp_path / 'd/val.npy'}: holds something else"]
    assert "--force" in refusal("digits", tmp_path / "d")
    fetch("digits", tmp_path / "d", force=True)
    assert check("digits", tmp_path / "d") == []


def test_cifar10_is_unpacked(tmp_path, site, cifar):
    cifar(**{f"{FOLDER}/readme.html": b"left alone", "../evil": b"x", "/evil": b"x"})
    assert fetch("cifar10", tmp_path) == tmp_path / FOLDER
    assert listing(tmp_path) == [FOLDER]
    assert listing(tmp_path / FOLDER) == ["MD5SUMS", "batches.meta.txt", "test_batch.bin"]
    assert not (tmp_path.parent / "evil").exists()
    assert read_images(tmp_path / FOLDER, part="test").classes == tuple("abcdefghij")
    assert place_of("cifar10", tmp_path) == place_of("cifar10", tmp_path / FOLDER)
    assert fetch("cifar10", tmp_path / FOLDER) == tmp_path / FOLDER
    assert len(site.asked) == 1
    assert check("cifar10", tmp_path) == []

    path = tmp_path / FOLDER / "test_batch.bin"
    good = path.read_bytes()
    path.write_bytes(b"\x01" + good[1:])
    assert "FOLDER/cifar-10-batches-bin/test_batch.bin: has the md5 checksum" in (
        refusal("cifar10", tmp_path)
    )
    path.write_bytes(good[:-1])
    assert check("cifar10", tmp_path) == [f"{path}: has 3,072 bytes, expected 3,073"]
    fetch("cifar10", tmp_path, force=True)
    assert path.read_bytes() == good
    path.unlink()
    assert check("cifar10", tmp_path) == [f"{path}: is missing"]
    fetch("cifar10", tmp_path)
    assert path.read_bytes() == good


def test_an_archive_put_there_by_hand_is_unpacked(tmp_path, site, cifar):
    data = cifar()
    (tmp_path / "c.tar.gz").write_bytes(b"something else")
    assert "FOLDER/c.tar.gz: has the md5 checksum" in refusal("cifar10", tmp_path)
    (tmp_path / "c.tar.gz").write_bytes(data)
    fetch("cifar10", tmp_path, progress=lambda *_: pytest.fail("nothing is fetched"))
    assert site.asked == []
    assert listing(tmp_path) == ["c.tar.gz", FOLDER]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "FOLDER/c.tar.gz: lacks 'cifar-10-batches-bin/test_batch.bin'"),
        (b"left out", "FOLDER/c.tar.gz: lacks 'cifar-10-batches-bin/test_batch.bin'"),
        (b"short", "in it has 5 bytes, expected 3,073"),
    ],
)
def test_archives_that_are_other_than_expected(tmp_path, cifar, content, says):
    cifar(**{f"{FOLDER}/test_batch.bin": content})
    assert says in refusal("cifar10", tmp_path / "to")
    assert listing(tmp_path) == []


def test_an_archive_that_is_none(tmp_path, site, monkeypatch):
    site.files["/c.tar.gz"] = b"nonsense"
    url = f"{site.url}/c.tar.gz"
    remote = Remote("c.tar.gz", (url,), 8, md5(b"nonsense"), None, {f"{FOLDER}/a": None})
    register(monkeypatch, "cifar10", remote)
    assert "FOLDER/c.tar.gz: can't be unpacked (" in refusal("cifar10", tmp_path)
    assert listing(tmp_path) == []
