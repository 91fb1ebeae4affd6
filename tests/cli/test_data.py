"""`diffeo data`: sets of images from a server on this machine, fetched, checked, told about."""

import gzip
import hashlib
import json
import struct
from dataclasses import replace

import pytest

from diffeo.cli.console import Console
from diffeo.cli.data import _Progress
from diffeo.data import read_images
from diffeo.data.image_sets import SETS, Remote
from tests.data.server import serving

SUFFIX = "ubyte.gz"


@pytest.fixture(scope="module")
def server():
    with serving() as made:
        yield made


@pytest.fixture
def mnist(server, monkeypatch):
    """A server with a MNIST of five images of 2×3 pixels, registered in the place of MNIST."""
    server.files.clear()
    server.asked.clear()
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.delenv("DIFFEO_DATA", raising=False)
    files = []
    for part, n in (("train", 3), ("t10k", 2)):
        images = struct.pack(">4I", 0x803, n, 2, 3) + bytes(range(6 * n))
        labels = struct.pack(">2I", 0x801, n) + bytes(range(n))
        for what, raw in (("images-idx3", images), ("labels-idx1", labels)):
            name = f"{part}-{what}-{SUFFIX}"
            data = server.files[f"/{name}"] = gzip.compress(raw, mtime=0)
            sums = [hashlib.md5(each).hexdigest() for each in (data, raw)]
            files.append(Remote(name, (f"{server.url}/{name}",), len(data), *sums))
    monkeypatch.setitem(SETS, "mnist", replace(SETS["mnist"], files=tuple(files)))
    return server


@pytest.fixture
def fetched(diffeo, empty, mnist):
    """A folder in which it is."""
    assert diffeo("data", "mnist", "--to", "a").status == 0
    mnist.asked.clear()
    return empty / "a"


def left_in(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


TOLD = """\
mnist is in a b/c:
  train  3 images  1×2×3, 3 classes
  test   2 images  1×2×3, 2 classes
  files  FILES
in Python:
  from diffeo.data import read_images
  images = read_images("a b/c", part="train")  # images.pixels, images.labels
"""


def test_a_set_is_fetched_once_and_told_about(diffeo, empty, mnist):
    outcome = diffeo("data", "mnist", "--to", "a b/c")
    size = SETS["mnist"].size / 1e6
    # The names of classes of MNIST are ten, whatever is in the files.
    told = TOLD.replace("3 classes", "10 classes").replace("2 c", "10 c")
    files = outcome.out.partition("files  ")[2].partition("\nin Python")[0]
    assert outcome.out == told.replace("FILES", files)
    assert files.split() == ", ".join(file.name for file in SETS["mnist"].files).split()
    assert outcome.err == f"mnist: {size:.1f} MB to fetch into a b/c\n"
    assert len(mnist.asked) == 4
    assert left_in(empty / "a b/c") == sorted(file.name for file in SETS["mnist"].files)
    code = outcome.out.partition("in Python:\n")[2].replace("\n  ", "\n").strip()
    names: dict = {}
    exec(code, names)
    assert names["images"].pixels.shape == (3, 1, 2, 3)
    again = diffeo("data", "mnist", "--to", "a b/c")
    assert (again.status, again.out, len(mnist.asked)) == (0, outcome.out, 4)
    assert again.err == "all files are there, and their checksums are right\n"


def test_json_and_quiet(diffeo, empty, mnist):
    outcome = diffeo("data", "mnist", "--to", "a", "--json", "--quiet")
    assert (outcome.status, outcome.err) == (0, "")
    assert json.loads(outcome.out) == {
        "name": "mnist",
        "folder": "a",
        "fetched_bytes": SETS["mnist"].size,
        "parts": {
            "train": {"images": 3, "shape": [1, 2, 3], "classes": 10},
            "test": {"images": 2, "shape": [1, 2, 3], "classes": 10},
        },
        "files": [file.name for file in SETS["mnist"].files],
        "warnings": [],
    }
    assert json.loads(diffeo("data", "mnist", "--to", "a", "--json").out)["fetched_bytes"] == 0


def test_all_parts_and_files_are_told(diffeo, empty):
    told = json.loads(diffeo("data", "digits", "--to", "a", "--json").out)
    assert {part: each["images"] for part, each in told["parts"].items()} == {
        "train": 1000,
        "val": 350,
        "test": 447,
    }
    assert sorted(told["files"]) == left_in(empty / "a")


def test_without_a_name_the_sets_are_listed(diffeo):
    outcome = diffeo("data")
    lines = outcome.out.partition("\n\n")[0].splitlines()
    assert [line.split()[0] for line in lines] == list(SETS)
    assert "  11.6 MB  70,000 handwritten digits" in lines[0] and "MIT" in lines[1]
    (first, *_), warnings = json.loads(diffeo("data", "--json").out).values()
    assert (first["name"], first["bytes"], warnings) == ("mnist", 11_594_722, [])


def test_the_folder_of_the_environment(diffeo, empty, mnist, monkeypatch):
    monkeypatch.setenv("DIFFEO_DATA", str(empty / "sets"))
    assert f"mnist is in {empty / 'sets' / 'mnist'}:" in diffeo("data", "mnist").out
    assert diffeo("data", "mnist", "--check").status == 0
    diffeo("data", "mnist", "--to", "b")
    assert len(left_in(empty / "b")) == 4
    (empty / "sets/mnist" / SETS["mnist"].files[0].name).unlink()
    assert "; diffeo data mnist fetches what is" in diffeo("data", "mnist", "--check").mistake


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("data mnits --to a", "there is no set of data 'mnits'; did you mean 'mnist'? There are"),
        ("data MNIST --to a", "did you mean 'mnist'?"),
        ("data list", "There are 'mnist', 'fashion-mnist', 'cifar10'"),
        ("data mnist", "data: say where, --to FOLDER; or set DIFFEO_DATA to a folder"),
        ("data --check", "data: name the set; there are mnist, fashion-mnist, cifar10, digits"),
        ("data mnist --to a --check --force", "give --check or --force, not both"),
        ("data mnist --to a --check", "a: there is no such folder; diffeo data mnist --to a fetch"),
        ("data mnist --to file --check", "file: is a file, not a folder"),
        ("data mnist --to file", "file: can't be made: is a file, not a folder"),
        ("data mnist cifar10", "unexpected: cifar10"),
    ],
)
def test_mistakes(diffeo, empty, mnist, words, says):
    (empty / "file").write_text("mine")
    assert says in diffeo(*words.split()).mistake
    assert (left_in(empty), mnist.asked) == (["file"], [])


def test_check_names_all_that_is_wrong_and_fetches_nothing(diffeo, fetched, mnist):
    assert "all files are there" in diffeo("data", "mnist", "--to", "a", "--check").err
    images, labels, *others = [fetched / file.name for file in SETS["mnist"].files]
    right = images.read_bytes()
    images.write_bytes(b"mine")
    for path in others:
        path.unlink()
    told = diffeo("data", "mnist", "--to", "a", "--check").mistake
    md5 = hashlib.md5(b"mine").hexdigest()
    assert told == (
        f"diffeo: a: {images.name}: has the md5 checksum {md5}, expected "
        f"{SETS['mnist'].files[0].md5}; {others[0].name}, {others[1].name}: are missing; diffeo "
        "data mnist --to a fetches what is missing, with --force also what is wrong"
    )
    assert f"{images.name}: has the md5" in diffeo("data", "mnist", "--to", "a", "--json").mistake
    assert (images.read_bytes(), mnist.asked) == (b"mine", [])
    assert diffeo("data", "mnist", "--to", "a", "--force").status == 0
    assert images.read_bytes() == right
    assert f"/{labels.name}" not in mnist.asked and len(mnist.asked) == 3


def test_what_can_not_be_fetched(diffeo, empty, mnist):
    files = SETS["mnist"].files
    mnist.files[f"/{files[0].name}"] = b"something else"
    told = diffeo("data", "mnist", "--to", "a", "--quiet")
    assert f"mnist: {files[0].name} can't be fetched (http://127.0.0.1:" in told.mistake
    assert told.err.count("\n") == 1
    assert left_in(empty) == []


def test_interrupted(diffeo, empty, mnist, monkeypatch):
    files = SETS["mnist"].files

    def stop(at):
        def called(self, done, total):
            if done >= at:
                raise KeyboardInterrupt

        monkeypatch.setattr(_Progress, "__call__", called)
        return diffeo("data", "mnist", "--to", "a")

    outcome = stop(1)
    assert (outcome.status, outcome.out) == (130, "")
    assert outcome.err == "diffeo: interrupted; nothing was written\n"
    assert left_in(empty) == []
    outcome = stop(files[0].size + 1)
    assert (outcome.status, left_in(empty)) == (130, ["a", f"a/{files[0].name}"])
    assert outcome.err == (
        "diffeo: interrupted; a: what is whole stays there, and the same command fetches the rest\n"
    )
    monkeypatch.undo()
    assert read_images(empty / "a").pixels.shape == (3, 1, 2, 3)


def test_progress_in_lines_and_as_a_bar(capsys, monkeypatch, empty):
    now = [0.0]
    monkeypatch.setattr("diffeo.cli.data.time.monotonic", lambda: now[0])
    with _Progress(Console(), "cifar10", empty) as tell:
        for done, later in ((0, 1.0), (5, 20.0), (6, 1.0), (10, 20.0)):
            now[0] += later
            tell(done * 1_000_000, 10_000_000)
    told = capsys.readouterr()
    assert told.err.splitlines() == [
        f"cifar10: 10.0 MB to fetch into {empty}",
        "cifar10: 5.0 of 10.0 MB",
        "cifar10: 10.0 of 10.0 MB",
    ]
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    with _Progress(Console(), "cifar10", empty) as tell:
        tell(0, 10_000_000)
        tell(5_000_000, 10_000_000)
        assert tell.bar.n == 5_000_000
    assert "5.0 of" not in capsys.readouterr().err
    with _Progress(Console(quiet=True), "cifar10", empty) as tell:
        now[0] += 100
        tell(0, 10_000_000)
    assert tell.bar is None and capsys.readouterr() == ("", "")


def test_cifar10_by_its_sizes_alone(diffeo, empty, monkeypatch):
    record = bytes(3073)
    members = {f"cifar-10-batches-bin/{name}.bin": 3073 for name in ("data_batch_1", "test_batch")}
    remote = Remote("c.tar.gz", (), 1, "0" * 32, members=members)
    monkeypatch.setitem(SETS, "cifar10", replace(SETS["cifar10"], files=(remote,)))
    for name in members:
        (empty / name).parent.mkdir(exist_ok=True)
        (empty / name).write_bytes(record)
    outcome = diffeo("data", "cifar10", "--to", ".", "--check")
    assert outcome.out.startswith(
        "cifar10 is in cifar-10-batches-bin:\n  train  1 image  3×32×32, 10"
    )
    assert outcome.err == (
        "diffeo: cifar-10-batches-bin: only sizes could be compared: MD5SUMS, the checksums, is "
        "not there\n"
    )
